"""Probabilities beside what happened: y_true and y_proba as users give them, made into forecasts of events.

An event is "the row has this class" or "this label applies"; that classes exclude each other plays no part then. Of two
classes the second is the event. The top label's event is "the most probable class is the true one".
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from skactivation._data.class_columns import encode_columns, given_classes, named_columns
from skactivation._data.labels import as_label_columns, is_indicator
from skactivation._messages import abridged
from skactivation._threads import over_slices, threads_for
from skactivation._typing import Array
from skactivation._validation import as_array, as_floats, check_row_sums, check_sample_weight

# Columns that are read together: they are one cache line of float64.
_TOGETHER = 8
_ADVICE = (
    "Pass `labels`, the class of each column of y_proba in their order (of two classes the second is the one that a "
    "single column belongs to), or a data frame of probabilities whose columns have the classes as names"
)
_EXCLUSIVE = (
    "divide each row by its sum if they are rounded; probabilities of labels that don't exclude each other need an "
    "indicator as y_true, a column for each"
)
_LIST = ": of a list, as forests give for several labels, take np.column_stack([p[:, 1] for p in y_proba])"


class Forecast(NamedTuple):
    """Probabilities of an event and whether it happened, in rows where that is known and that have a weight."""

    probabilities: Array
    """(m,) of float64, in [0, 1]."""
    outcomes: Array
    """(m,): bools, or shares from 0 to 1."""
    weights: Array | None
    """(m,), positive, the largest of them 1; or None for weights of 1."""
    unit: float
    """What a weight of 1 is beside those of other events."""

    @property
    def total(self) -> float:
        """The sum of the weights."""
        return float(self.probabilities.size if self.weights is None else self.weights.sum())

    @property
    def share(self) -> float:
        """How much the event counts beside others."""
        return self.unit * self.total


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
        given = as_array(y_proba, "y_proba")
        probabilities = as_floats(given, "y_proba")
        if probabilities.ndim > 2 or probabilities.size == 0:
            raise ValueError(
                "y_proba must have the shape (n,), (n, K) or (n, L), with at least one of each, got "
                f"{probabilities.shape}{_LIST if isinstance(y_proba, list) and probabilities.ndim == 3 else ''}"
            )
        shape = y_true.shape if sparse.issparse(y_true) else as_array(y_true, "y_true").shape
        if not shape or shape[0] != len(probabilities):
            n_true = shape[0] if shape else 0
            raise ValueError(f"y_true and y_proba must have as many rows, got {n_true} and {len(probabilities)}")
        # A single column of 0 and 1 is a label where the probabilities are a column, too; else its numbers are classes.
        of_classes = len(shape) == 2 and shape[1] == 1 and probabilities.shape[1:] != (1,)
        self.is_indicator = not of_classes and is_indicator(y_true, "y_true")
        read = _read_indicator if self.is_indicator else _read_labels
        check_probabilities(probabilities, exclusive=not self.is_indicator, dtype=given.dtype)
        probabilities = probabilities.reshape(len(probabilities), -1) if self.is_indicator else probabilities
        weights = check_sample_weight(
            sample_weight, probabilities.shape if self.is_indicator else probabilities.shape[:1]
        )
        self.names, self._truth = read(y_true, y_proba, probabilities, labels, weights)
        self._probabilities = probabilities
        self._weights = weights
        self._largest = 1.0 if weights is None else float(weights.max())
        # Of the dtype that was given: float16 is computed with as float32.
        self.epsilon = float(np.finfo(given.dtype if given.dtype.char in "ef" else np.float64).eps)

    @property
    def size(self) -> int:
        """How many probabilities there are."""
        return self._probabilities.size

    @property
    def is_binary(self) -> bool:
        """Whether there is a single event: the second of two classes, or one label."""
        return len(self.names) == (1 if self.is_indicator else 2)

    def batches(self) -> Iterator[list[tuple[Any, Forecast]]]:
        """Yield the names of a few classes or labels with their forecasts; of two classes the second alone.

        Labels of which nothing is known are left out.

        Raises
        ------
        ValueError
            Where nothing is known of any.
        """
        probabilities = self._probabilities
        # Of dates, tolist would make numbers.
        names = list(self.names) if self.names.dtype.kind in "mM" else self.names.tolist()
        if not self.is_indicator and len(names) == 2:
            of_second = probabilities if probabilities.ndim == 1 else probabilities[:, 1]
            yield [(names[1], self._forecast(of_second, self._truth == 1, self._weights))]
            return
        found = False
        truth = self._truth.tocsc() if sparse.issparse(self._truth) else self._truth
        for start in range(0, len(names), _TOGETHER):
            columns = np.ascontiguousarray(probabilities[:, start : start + _TOGETHER].T, dtype=np.float64)
            batch = []
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
                forecast = self._forecast(column, happened, weights)
                if forecast.probabilities.size:
                    batch.append((names[number], forecast))
            if batch:
                found = True
                yield batch
        if not found:
            raise ValueError("y_true has no known entry of positive weight")

    def top_label(self) -> Forecast:
        """The probability of the most probable class or label of each row, and whether it is true.

        The first one where several are equally probable. For holders of `threads_for` as many numbers.
        """
        probabilities, weights = self._probabilities, self._weights
        if probabilities.ndim == 1:
            second = probabilities.astype(np.float64, copy=False)
            top = second > 0.5
            return self._forecast(np.where(top, second, 1 - second), self._truth == top, weights)

        confidences = np.empty(len(probabilities))
        outcomes = np.empty(len(probabilities), self._truth.dtype if self.is_indicator else bool)
        of_tops = np.empty(len(probabilities)) if weights is not None and weights.ndim == 2 else None

        def fill(rows: slice) -> None:
            block, truth = probabilities[rows], self._truth[rows]
            top = block.argmax(axis=1)
            places = np.arange(top.size), top
            confidences[rows] = block[places]
            outcomes[rows] = np.asarray(truth[places]).ravel() if self.is_indicator else truth == top
            if of_tops is not None and weights is not None:
                of_tops[rows] = weights[rows][places]

        over_slices(fill, *probabilities.shape)
        forecast = self._forecast(confidences, outcomes, weights if of_tops is None else of_tops)
        if not forecast.probabilities.size:
            raise ValueError("y_true has no known entry of positive weight for the most probable label of any row")
        return forecast

    def _forecast(self, probabilities: Array, outcomes: Array, weights: Array | None) -> Forecast:
        """Rows of positive weight with a known outcome."""
        kept = ~np.isnan(outcomes) if outcomes.dtype.kind == "f" else None
        unit = 1.0
        if weights is not None:
            kept = weights > 0 if kept is None else kept & (weights > 0)
            # Sums of weights of any size stay in range.
            largest = weights.max(initial=0, where=kept)
            weights, unit = weights / (largest or 1.0), largest / self._largest
            kept &= weights > 0
        probabilities = np.minimum(probabilities, 1, dtype=np.float64)
        if kept is not None and not kept.all():
            probabilities, outcomes = probabilities[kept], outcomes[kept]
            weights = None if weights is None else weights[kept]
        return Forecast(probabilities, outcomes, weights, unit)


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
        given = named_columns(y_proba, y_true, weights, "y_true")
    codes, classes = encode_columns(y_true, n_classes, weights, classes=given, advice=_ADVICE, name="y_true")
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
    named = list(getattr(y_proba, "columns", []))
    # What pandas calls columns without names says nothing.
    if named and hasattr(y_true, "columns") and named not in (list(y_true.columns), list(range(len(named)))):
        raise ValueError(
            f"y_proba must have the columns of y_true in the same order, {abridged(truth.names)}, got "
            f"{abridged(np.array(named, dtype=object))}"
        )
    if labels is not None:
        return given_classes(labels, truth.names.size, "labels"), truth.values
    if len(set(truth.names.tolist())) < truth.names.size:
        raise ValueError(f"y_true must have columns of different names, got {abridged(truth.names)}")
    return truth.names, truth.values


def check_probabilities(probabilities: Array, *, exclusive: bool, dtype: Any = np.float64) -> None:
    """See that all lie in [0, 1], and that those of exclusive classes (n, K) sum to one in each row.

    To within the root of machine epsilon: theirs, or that of a shorter dtype that they were given in.
    """
    if not probabilities.size:
        return
    has_sums = exclusive and probabilities.ndim == 2 and probabilities.shape[1] > 1
    ones = np.ones(probabilities.shape[1] if has_sums else 0, probabilities.dtype)

    def extremes(rows: slice) -> tuple[float, float, float]:
        block = probabilities[rows]
        return block.min(), block.max(), np.abs(block @ ones - 1).max() if has_sums else 0.0

    with threads_for(probabilities.size), np.errstate(all="ignore"):
        of_slices = over_slices(extremes, len(probabilities), probabilities[0].size)
    (lowest, *_), (*_, highest, furthest) = np.min(of_slices, axis=0), np.max(of_slices, axis=0)
    tolerance = np.sqrt(np.finfo(np.float16 if dtype == np.float16 else probabilities.dtype).eps)
    if not (lowest >= 0 and highest <= 1 + tolerance):
        raise ValueError("y_proba must hold probabilities, got values outside [0, 1] or NaN")
    if furthest > tolerance:
        check_row_sums(probabilities, "y_proba", _EXCLUSIVE, tolerance)
