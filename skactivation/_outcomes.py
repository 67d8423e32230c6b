"""Probabilities beside what happened: y_true and y_proba as users give them, made into forecasts of events.

An event is "the row has this class" or "this label applies"; that classes exclude each other plays no part then. Of two
classes the second is the event. The top label's event is "the most probable class is the true one".
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skactivation._class_columns import coded, given_classes, named_columns
from skactivation._labels import abridged, as_label_columns, is_indicator, shape_of
from skactivation._validation import as_distributions, as_floats, check_sample_weight

__all__ = ["Forecast", "Outcomes", "as_probabilities"]

Array = NDArray[Any]

# Columns that are read together: they are one cache line of float64.
_TOGETHER = 8
_ADVICE = (
    "Pass `labels`, the class of each column of y_proba in their order (of two classes the second is the one that a "
    "single column belongs to), or a data frame of probabilities whose columns have the classes as names"
)
_TOP = "the most probable label of any row"
_EXCLUSIVE = "probabilities of labels that don't exclude each other need an indicator as y_true, a column for each"


class Forecast(NamedTuple):
    """Probabilities of an event and whether it happened, in rows where that is known and that have a weight."""

    probabilities: Array
    """(m,) of float64, in [0, 1]."""
    outcomes: Array
    """(m,): bools, or shares from 0 to 1."""
    weights: Array | None
    """(m,), positive, or None for weights of 1."""

    @property
    def total(self) -> float:
        """The sum of the weights."""
        return float(self.probabilities.size if self.weights is None else self.weights.sum())


class Outcomes:
    """What was forecast and what happened, column by column.

    Parameters
    ----------
    y_true : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
        Labels of exclusive classes, or an indicator: 0 for no, 1 for yes, between them soft labels, NaN for not known.
    y_proba : array-like of shape (n,), (n, K) or (n, L)
        Probabilities; in one dimension those of the second of two classes.
    labels : array-like of shape (K,) or None
        The class of each column.
    sample_weight : array-like of shape (n,) or (n, L) or None
        Weights of rows, or of the entries of an indicator.
    """

    def __init__(self, y_true: Any, y_proba: Any, labels: Any, sample_weight: Any) -> None:
        probabilities = as_probabilities(y_proba)
        if probabilities.ndim > 2 or probabilities.size == 0:
            raise ValueError(
                "y_proba must have the shape (n,), (n, K) or (n, L), with at least one of each, got "
                f"{probabilities.shape}"
            )
        shape = shape_of(y_true)
        if not shape or shape[0] != len(probabilities):
            n_true = shape[0] if shape else 0
            raise ValueError(f"y_true and y_proba must have as many rows, got {n_true} and {len(probabilities)}")
        # A single column of 0 and 1 is a label, unless the probabilities are those of classes.
        of_classes = len(shape) == 2 and shape[1] == 1 and probabilities.shape[1:] not in ((), (1,))
        self.is_indicator = is_indicator(y_true) and not of_classes
        read = _read_indicator if self.is_indicator else _read_labels
        probabilities = probabilities.reshape(len(probabilities), -1) if self.is_indicator else probabilities
        weights = check_sample_weight(
            sample_weight, probabilities.shape if self.is_indicator else probabilities.shape[:1]
        )
        self.names, self._truth = read(y_true, y_proba, probabilities, labels, weights)
        self._probabilities = probabilities
        # Sums of weights of any size stay in range.
        self._weights = None if weights is None else weights / weights.max()
        self.epsilon = float(np.finfo(probabilities.dtype).eps)

    @property
    def is_binary(self) -> bool:
        """Whether there is a single event: the second of two classes, or one label."""
        return len(self.names) == (1 if self.is_indicator else 2)

    def events(self) -> Iterator[tuple[Any, Forecast]]:
        """Yield the name of each class or label with its forecast; of two classes the second alone.

        Raises
        ------
        ValueError
            Where nothing is known of one.
        """
        names, probabilities = self.names.tolist(), self._probabilities
        if not self.is_indicator and len(names) == 2:
            of_second = probabilities if probabilities.ndim == 1 else probabilities[:, 1]
            yield names[1], _forecast(of_second, self._truth == 1, self._weights, repr(names[1]))
            return
        truth = self._truth.tocsc() if sparse.issparse(self._truth) else self._truth
        for start in range(0, len(names), _TOGETHER):
            columns = np.ascontiguousarray(probabilities[:, start : start + _TOGETHER].T, dtype=np.float64)
            for number, column in enumerate(columns, start):
                if not self.is_indicator:
                    happened = truth == number
                elif sparse.issparse(truth):
                    happened = truth[:, [number]].toarray()[:, 0]
                else:
                    happened = truth[:, number]
                weights = self._weights
                if weights is not None and weights.ndim == 2:
                    weights = weights[:, number]
                yield names[number], _forecast(column, happened, weights, repr(names[number]))

    def top_label(self) -> Forecast:
        """The probability of the most probable class or label of each row, and whether it is true.

        The first one where several are equally probable.
        """
        probabilities, weights = self._probabilities, self._weights
        if probabilities.ndim == 1:
            second = probabilities.astype(np.float64, copy=False)
            top = second > 0.5
            return _forecast(np.where(top, second, 1 - second), self._truth == top, weights, _TOP)
        top, rows = probabilities.argmax(axis=1), np.arange(len(probabilities))
        outcomes = np.asarray(self._truth[rows, top]).ravel() if self.is_indicator else self._truth == top
        if weights is not None and weights.ndim == 2:
            weights = weights[rows, top]
        return _forecast(probabilities[rows, top], outcomes, weights, _TOP)


def _read_labels(
    y_true: Any, y_proba: Any, probabilities: Array, labels: Any, weights: Array | None
) -> tuple[Array, Any]:
    """The classes (K,) and each row's column (n,)."""
    if probabilities.shape[1:] == (1,):
        raise ValueError(
            "y_proba must have a column for each class, got one column; pass the probabilities of the second of two "
            "classes in one dimension, y_proba[:, 0]"
        )
    n_classes = 2 if probabilities.ndim == 1 else probabilities.shape[1]
    given = None if labels is None else given_classes(labels, n_classes, "labels")
    if given is None:
        given = named_columns(y_proba, y_true, "y_true")
    if probabilities.ndim == 2:
        as_distributions(probabilities, "y_proba", _EXCLUSIVE)
    codes, classes = coded(y_true, n_classes, weights, classes=given, advice=_ADVICE, name="y_true")
    return classes, codes


def _read_indicator(
    y_true: Any, y_proba: Any, probabilities: Array, labels: Any, weights: Array | None
) -> tuple[Array, Any]:
    """The names of the labels (L,) and the indicator (n, L), dense or sparse."""
    truth = as_label_columns(y_true, "y_true")
    if probabilities.shape != truth.values.shape:
        raise ValueError(
            f"y_proba must have y_true's shape {truth.values.shape}, got {probabilities.shape}; labels of exclusive "
            "classes go into y_true in one dimension"
        )
    named = getattr(y_proba, "columns", None)
    if named is not None and hasattr(y_true, "columns") and list(named) != list(y_true.columns):
        raise ValueError(
            f"y_proba must have the columns of y_true in the same order, {abridged(truth.names)}, got "
            f"{abridged(np.array(list(named), dtype=object))}"
        )
    if labels is not None:
        return given_classes(labels, truth.names.size, "labels"), truth.values
    if len(set(truth.names.tolist())) < truth.names.size:
        raise ValueError(f"y_true must have columns of different names, got {abridged(truth.names)}")
    return truth.names, truth.values


def as_probabilities(y_proba: Any) -> Array:
    """Probabilities of float32 or float64, of any shape, checked."""
    probabilities = as_floats(y_proba, "y_proba")
    if not np.all((probabilities >= 0) & (probabilities <= 1 + np.sqrt(np.finfo(probabilities.dtype).eps))):
        raise ValueError("y_proba must hold probabilities, got values outside [0, 1] or NaN")
    return probabilities


def _forecast(probabilities: Array, outcomes: Array, weights: Array | None, what: str) -> Forecast:
    """Rows of positive weight with a known outcome."""
    kept = ~np.isnan(outcomes) if outcomes.dtype.kind == "f" else None
    if weights is not None:
        kept = weights > 0 if kept is None else kept & (weights > 0)
    probabilities = np.minimum(probabilities, 1, dtype=np.float64)
    if kept is not None and not kept.all():
        probabilities, outcomes = probabilities[kept], outcomes[kept]
        weights = None if weights is None else weights[kept]
    if not probabilities.size:
        raise ValueError(f"y_true has no known entry of positive weight for {what}")
    return Forecast(probabilities, outcomes, weights)
