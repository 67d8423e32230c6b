"""Logits together with y as users give it: labels of any kind, distributions, indicators."""

from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, check_consistent_length, indexable

from skactivation._class_major_losses import LabelSigns, softmax_targets
from skactivation._data.class_columns import coded, given_classes, named_columns
from skactivation._data.indicators import Indicator, LabelWeights
from skactivation._data.labels import abridged, encode_labels, shape_of, soft_targets
from skactivation._typing import Array
from skactivation._validation import as_floats, check_sample_weight
from skactivation.calibration._logits import Logits

__all__ = ["classes_in", "given_logits", "labelled"]


_ADVICE = (
    "divide each row by its sum; labels that don't exclude each other are calibrated by "
    "fit_temperature(..., multilabel=True)"
)
_NAME_THEM = (
    "Pass `classes`, the label of each column (fit_temperature and TemperatureDisplay take them), or a data frame of "
    "logits whose columns have the labels as names"
)


def given_logits(logits: Any, y: Any, classes: Any, sample_weight: Any, *, several: bool) -> tuple[Logits, Array]:
    """Logits, y, classes and weights as users give them, checked; the classes or labels of the columns."""
    z = as_floats(logits, "logits")
    if z.ndim not in (1, 2) or z.size == 0:
        raise ValueError(f"logits must have the shape (n,), (n, K) or (n, L), with at least one of each, got {z.shape}")
    if several and z.ndim == 1:
        raise ValueError("logits must have the shape (n, L) for several labels, got one dimension; use reshape(-1, 1)")
    z = z.reshape(len(z), -1)
    check_consistent_length(z, y)
    weights = check_sample_weight(sample_weight, z.shape if several else z.shape[:1])
    if several and classes is not None:
        raise ValueError("classes can't be given with multilabel=True: the columns of y are those of logits")
    names = None if several else named_columns(logits, y, weights)
    if classes is not None:
        names = given_classes(classes, max(2, z.shape[1]))
    return labelled(z, y, weights, classes=names, several=several)


def labelled(
    logits: Array,
    y: Any,
    weights: Array | None,
    *,
    classes: Array | None = None,
    several: bool = False,
    rows: Array | None = None,
    every_class: bool = False,
) -> tuple[Logits, Array]:
    """Logits (m, K) of classes, (m, 1) of two, or (m, L) of several labels, with their targets; the classes or labels.

    Where `classes` doesn't name the columns, y does, as far as that is clear. `rows` (m,) says which rows of y and of
    the weights belong to the logits, None that it is all of them. Where every class must have a share in the targets,
    one without is an error.
    """
    if rows is not None:
        y, weights = _safe_indexing(indexable(y)[0], rows), None if weights is None else weights[rows]
    if weights is not None:
        if not weights.any():
            raise ValueError("sample_weight is zero for every row that is to calibrate; at least one must be positive")
        # Sums of weights of any size stay in range.
        weights = weights / weights.max()
    result, names = _labelled(logits, y, weights, classes=classes, several=several, every_class=every_class)
    result.numbers = rows
    return result, names


def _labelled(
    logits: Array, y: Any, weights: Array | None, *, classes: Array | None, several: bool, every_class: bool
) -> tuple[Logits, Array]:
    """The same for rows and weights that belong to the logits."""
    if several:
        if len(shape_of(y)) == 1:
            raise ValueError("y must have a column for each of several labels, got one dimension")
        return _of_labels(logits, Indicator(y), weights, every_class=every_class)
    n_classes = max(2, logits.shape[1])
    soft = soft_targets(y, _ADVICE)
    if soft is None:
        encoded, classes = coded(y, n_classes, weights, classes=classes, advice=_NAME_THEM)
    else:
        encoded, names = soft
        if encoded.shape[1] != n_classes:
            raise ValueError(f"y must have a column for each of the {n_classes} classes, got {encoded.shape[1]}")
        if classes is None:
            classes = np.arange(n_classes) if names is None else names
        elif names is not None and not np.array_equal(names, classes):
            raise ValueError(f"y must have the columns {abridged(classes)} in this order, got {abridged(names)}")
    if every_class:
        _check_shares(_shares(encoded, n_classes, weights), classes)
    return _of_classes(logits, encoded, weights), classes


def classes_in(y: Any, weights: Array | None) -> Array:
    """The classes (K,) of labels or distributions."""
    soft = soft_targets(y)
    if soft is None:
        return encode_labels(y, weights)[1]
    targets, names = soft
    return np.arange(targets.shape[1]) if names is None else names


def _shares(encoded: Array, n_classes: int, weights: Array | None) -> Array:
    """The weight (K,) of each class."""
    if encoded.ndim == 1:
        return np.bincount(encoded, weights, minlength=n_classes)
    return np.asarray(encoded.sum(axis=0, dtype=np.float64) if weights is None else weights @ encoded)


def _check_shares(shares: Array, names: Array) -> None:
    absent = names[shares == 0]
    if absent.size:
        raise ValueError(
            f"y has no row of positive weight for the classes {abridged(absent)}, so that their biases have no finite "
            "optimum; use scaling='temperature'"
        )


def _of_classes(logits: Array, encoded: Array, weights: Array | None) -> Logits:
    n_classes = logits.shape[1]
    if n_classes > 1:
        return Logits(logits, True, lambda rows: softmax_targets(encoded[rows], n_classes, 0.0), weights)
    if encoded.ndim == 1:
        signs = np.where(encoded == 1, -1, 1).astype(np.int8)[np.newaxis]
        return Logits(logits, False, lambda rows: LabelSigns(signs[:, rows], None), weights)
    yes = (encoded[:, 1] / encoded.sum(axis=1, dtype=np.float64))[np.newaxis]
    return Logits(logits, False, lambda rows: (yes[:, rows], 1 - yes[:, rows]), weights)


def _of_labels(
    logits: Array, indicator: Indicator, weights: Array | None, *, every_class: bool
) -> tuple[Logits, Array]:
    n_labels = logits.shape[1]
    if indicator.n_labels != n_labels:
        raise ValueError(f"y must have a column for each of the {n_labels} labels, got {indicator.n_labels}")
    of_labels = LabelWeights(indicator, weights)
    yes, no = of_labels.totals()
    unknown = np.flatnonzero(yes + no == 0)
    if unknown.size:
        raise ValueError(
            f"y has no known entry of positive weight for {abridged(indicator.names[unknown])}: drop these columns, "
            "and those of their logits"
        )
    if every_class:
        _check_shares(np.minimum(yes, no), indicator.names)
    outputs = np.arange(n_labels)
    return Logits(logits, False, lambda rows: of_labels.targets(rows, outputs), of_labels.rows), indicator.names
