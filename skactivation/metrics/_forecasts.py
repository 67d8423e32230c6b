"""Forecasts of events, made from the y_true and y_proba that users pass.

An event is "the row has this class" or "this label applies". Each class is treated alone: it does not matter here that
classes exclude each other. With two classes the event is the second one. With the top label the event is "the most
probable class is the true one".
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from skactivation._activation_kernels import MANY_CLASSES, argmax_block
from skactivation._data.class_columns import encode_columns, given_classes, named_columns
from skactivation._data.labels import as_label_columns, check_same_columns, is_indicator
from skactivation._messages import abridged
from skactivation._threads import over_slices, threads_for
from skactivation._typing import Array
from skactivation._validation import (
    ENTRY_TOLERANCE,
    SUM_TOLERANCE,
    as_array,
    as_floats,
    check_row_sums,
    check_sample_weight,
    sum_tolerance,
)

# Columns that are read together: one cache line of float64.
_TOGETHER = 8
_ADVICE = (
    "Pass `labels`: the class of each column of y_proba, in order (for a one-dimensional y_proba both classes, the "
    "second being the one that it belongs to). Or pass y_proba as a data frame with the classes as column names"
)
_EXCLUSIVE = (
    "divide each row by its sum if the probabilities are rounded; for multilabel probabilities pass y_true as an "
    "indicator with one column per label"
)
_LIST = "; for a list of arrays, as forests return for several labels, pass np.column_stack([p[:, 1] for p in y_proba])"


class Forecast(NamedTuple):
    """Probabilities of one event and its outcomes, in the m rows with a known outcome and a positive weight."""

    probabilities: Array
    """(m,) of float64, in [0, 1]."""
    outcomes: Array
    """(m,): bools, or soft labels from 0 to 1."""
    weights: Array | None
    """(m,), positive, scaled so that the largest is 1; None if all are 1."""
    scale: float
    """The factor that makes `weights` comparable with those of other events."""

    @property
    def total(self) -> float:
        """The sum of `weights`."""
        return float(self.probabilities.size if self.weights is None else self.weights.sum())

    @property
    def weight_in_mean(self) -> float:
        """The weight of this event in a mean over events."""
        return self.scale * self.total


class Forecasts:
    """Forecasts of every class or label.

    Parameters
    ----------
    y_true : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
        Labels of exclusive classes, or an indicator: 0 for no, 1 for yes, between 0 and 1 for soft labels, NaN for
        unknown.
    y_proba : array-like of shape (n,), (n, K) or (n, L)
        Probabilities; a one-dimensional array holds those of the second of two classes.
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
                "y_proba must have the shape (n,), (n, K) or (n, L), with at least one row and one column, got "
                f"{probabilities.shape}{_LIST if isinstance(y_proba, list) and probabilities.ndim == 3 else ''}"
            )
        shape = y_true.shape if sparse.issparse(y_true) else as_array(y_true, "y_true").shape
        n_true = shape[0] if shape else 0
        if n_true != len(probabilities):
            raise ValueError(
                f"y_true and y_proba must have the same number of rows, got {n_true} and {len(probabilities)}"
            )
        # y_true of shape (n, 1) is an indicator of one label only if y_proba has that shape, too.
        holds_classes = len(shape) == 2 and shape[1] == 1 and probabilities.shape[1:] != (1,)
        self.is_indicator = not holds_classes and is_indicator(y_true, "y_true")
        if self.is_indicator:
            probabilities = probabilities.reshape(len(probabilities), -1)
        check_probabilities(probabilities, exclusive=not self.is_indicator, given=given)
        weights = check_sample_weight(
            sample_weight, probabilities.shape if self.is_indicator else probabilities.shape[:1]
        )
        if self.is_indicator:
            self.names, self._truth = _read_indicator(y_true, y_proba, labels, probabilities.shape)
        else:
            self.names, self._truth = _read_labels(y_true, y_proba, labels, probabilities.shape, weights)
        self._probabilities, self._weights = probabilities, weights
        self._largest_weight = 1.0 if weights is None else float(weights.max())
        # 0.4 as a float32 or with six digits is on the edge 0.4, also after a copy into float64.
        self.edge_tolerance = 2.0**-11 if given.dtype == np.float16 else 5e-7
        # Epsilon of the given dtype, since float16 has been converted to float32 above.
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
        """Yield pairs of name and forecast, a few classes or labels at a time; for two classes only the second.

        Labels without a known entry of positive weight are left out. If there are no others, it is an error.
        """
        # tolist would convert dates to integers.
        names = list(self.names) if self.names.dtype.kind in "mM" else self.names.tolist()
        probabilities = self._probabilities
        if self.is_binary and not self.is_indicator:
            second = probabilities if probabilities.ndim == 1 else probabilities[:, 1]
            yield [(names[1], self._forecast(second, self._truth == 1, self._weights))]
            return
        found = False
        truth = self._truth.tocsc() if sparse.issparse(self._truth) else self._truth
        for start in range(0, len(names), _TOGETHER):
            columns = np.ascontiguousarray(probabilities[:, start : start + _TOGETHER].T, dtype=np.float64)
            forecasts = [(names[k], self._column(truth, k, column)) for k, column in enumerate(columns, start)]
            if batch := [pair for pair in forecasts if pair[1].probabilities.size]:
                found = True
                yield batch
        if not found:
            raise ValueError("y_true has no known entry of positive weight: each is NaN or has the weight 0")

    def _column(self, truth: Any, number: int, probabilities: Array) -> Forecast:
        """The forecast of one class or label."""
        if not self.is_indicator:
            outcomes = truth == number
        else:
            outcomes = truth[:, [number]].toarray()[:, 0] if sparse.issparse(truth) else truth[:, number]
        weights = self._weights
        return self._forecast(
            probabilities, outcomes, weights[:, number] if weights is not None and weights.ndim == 2 else weights
        )

    def top_label(self) -> Forecast:
        """The largest probability of each row and whether its class or label is true; ties go to the first class.

        Call it within `threads_for(size)`.
        """
        probabilities, weights = self._probabilities, self._weights
        if probabilities.ndim == 1:
            second = probabilities.astype(np.float64, copy=False)
            top = second > 0.5
            return self._forecast(np.where(top, second, 1 - second), self._truth == top, weights)

        confidences = np.empty(len(probabilities))
        outcomes = np.empty(len(probabilities), self._truth.dtype if self.is_indicator else bool)
        top_weights = np.empty(len(probabilities)) if weights is not None and weights.ndim == 2 else None

        def fill(rows: slice) -> None:
            block, truth = probabilities[rows], self._truth[rows]
            top = argmax_block(np.asarray(block.T, order="C" if block.shape[1] < MANY_CLASSES else "F"))
            places = np.arange(top.size), top
            confidences[rows] = block[places]
            outcomes[rows] = np.asarray(truth[places]).ravel() if self.is_indicator else truth == top
            if top_weights is not None and weights is not None:
                top_weights[rows] = weights[rows][places]

        over_slices(fill, *probabilities.shape)
        forecast = self._forecast(confidences, outcomes, weights if top_weights is None else top_weights)
        if not forecast.probabilities.size:
            raise ValueError("y_true has no known entry of positive weight among the most probable labels of the rows")
        return forecast

    def _forecast(self, probabilities: Array, outcomes: Array, weights: Array | None) -> Forecast:
        """The forecast of an event in the rows with a known outcome and a positive weight."""
        kept = ~np.isnan(outcomes) if outcomes.dtype.kind == "f" else None
        scale = 1.0
        if weights is not None:
            kept = weights > 0 if kept is None else kept & (weights > 0)
            # Scaled to a largest weight of 1, so that sums of huge or tiny weights stay in range.
            largest = weights.max(initial=0, where=kept)
            weights, scale = weights / (largest or 1.0), largest / self._largest_weight
            kept &= weights > 0
        probabilities = np.minimum(probabilities, 1, dtype=np.float64)
        if kept is not None and not kept.all():
            probabilities, outcomes = probabilities[kept], outcomes[kept]
            weights = None if weights is None else weights[kept]
        return Forecast(probabilities, outcomes, weights, scale)


def _read_labels(
    y_true: Any, y_proba: Any, labels: Any, shape: tuple[int, ...], weights: Array | None
) -> tuple[Array, Any]:
    """The classes (K,) and the column of each row's class (n,)."""
    if shape[1:] == (1,):
        raise ValueError(
            "y_proba must have a column for each class, got one column; pass the probabilities of the second of two "
            "classes in one dimension, y_proba[:, 0]"
        )
    n_classes = 2 if len(shape) == 1 else shape[1]
    if labels is None:
        classes = named_columns(y_proba, y_true, weights, "y_true")
    else:
        classes = given_classes(labels, n_classes, "labels")
    codes, classes = encode_columns(y_true, n_classes, weights, classes=classes, advice=_ADVICE, name="y_true")
    return classes, codes


def _read_indicator(y_true: Any, y_proba: Any, labels: Any, shape: tuple[int, ...]) -> tuple[Array, Any]:
    """The names of the labels (L,) and the indicator (n, L), dense or sparse."""
    truth = as_label_columns(y_true, "y_true")
    if shape != truth.values.shape:
        raise ValueError(
            f"y_proba must have y_true's shape {truth.values.shape}, got {shape}; for exclusive classes pass y_true "
            "as a one-dimensional array of labels"
        )
    check_same_columns(y_true=y_true, y_proba=y_proba)
    if labels is not None:
        return given_classes(labels, truth.names.size, "labels"), truth.values
    if len(set(truth.names.tolist())) < truth.names.size:
        raise ValueError(f"y_true must have distinct column names, got {abridged(truth.names)}; rename them")
    return truth.names, truth.values


def check_probabilities(probabilities: Array, *, exclusive: bool, given: Array | None = None) -> None:
    """Raise an error unless all lie in [0, 1] and, for exclusive classes (n, K), each row sums to 1.

    The tolerance depends on the precision of the numbers as they were `given`.
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
    if np.isnan(lowest) and np.isnan(probabilities).any():
        row = int(np.argmax(np.isnan(probabilities.reshape(len(probabilities), -1)).any(axis=1)))
        raise ValueError(f"y_proba must hold probabilities, got NaN in row {row}; drop or repair such rows")
    if not (lowest >= 0 and highest <= 1 + ENTRY_TOLERANCE):
        raise ValueError("y_proba must hold probabilities, got values outside [0, 1]; convert logits first")
    if furthest > SUM_TOLERANCE:
        tolerance = sum_tolerance(probabilities if given is None else given)
        check_row_sums(probabilities, "y_proba", _EXCLUSIVE, tolerance)
