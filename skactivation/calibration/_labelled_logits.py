"""Check logits together with y, and join them as `LogitRows`: labels of any kind, distributions, indicators."""

from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing, indexable

from skactivation._data.class_columns import encode_columns, given_classes, named_columns
from skactivation._data.indicators import Indicator
from skactivation._data.labels import check_same_columns, encode_labels, shape_of, soft_targets
from skactivation._data.targets import BinaryTargets, ClassTargets, IndicatorTargets
from skactivation._messages import abridged
from skactivation._typing import Array
from skactivation._validation import as_floats, check_same_rows, check_sample_weight, sum_tolerance
from skactivation.calibration._logits import LogitRows

_ADVICE = (
    "divide each row by its sum; if the labels don't exclude each other, use fit_temperature(..., multilabel=True) "
    "or TemperatureCalibrator('multilabel_logits')"
)
_NAME_THEM = (
    "Pass `classes`, the label of each column, to fit_temperature or TemperatureDisplay; or pass a data frame of "
    "logits whose column names are the labels"
)


def given_logits(logits: Any, y: Any, classes: Any, sample_weight: Any, *, multilabel: bool) -> tuple[LogitRows, Array]:
    """Check logits, y, classes and weights as users give them; also return the classes or labels of the columns."""
    z = as_floats(logits, "logits")
    if z.ndim not in (1, 2) or z.size == 0:
        raise ValueError(f"logits must have the shape (n,), (n, K) or (n, L), with at least one of each, got {z.shape}")
    if multilabel and z.ndim == 1:
        raise ValueError("logits must have the shape (n, L) if multilabel=True, got one dimension; use reshape(-1, 1)")
    z = z.reshape(len(z), -1)
    check_same_rows(logits=z, y=y)
    weights = check_sample_weight(sample_weight, z.shape if multilabel else z.shape[:1])
    if multilabel and classes is not None:
        raise ValueError(
            "classes can't be given with multilabel=True; omit them: column k of y belongs to column k of logits"
        )
    check_same_columns(logits=logits, y=y)
    names = None if multilabel else named_columns(logits, y, weights)
    if classes is not None:
        names = given_classes(classes, max(2, z.shape[1]))
    return labelled_logits(z, y, weights, classes=names, multilabel=multilabel)


def labelled_logits(
    logits: Array,
    y: Any,
    weights: Array | None,
    *,
    classes: Array | None,
    multilabel: bool,
    numbers: Array | None = None,
    every_class: bool = False,
) -> tuple[LogitRows, Array]:
    """Join logits with their targets; also return the classes or labels of the columns.

    Parameters
    ----------
    logits : ndarray of shape (m, K), (m, 1) or (m, L)
        Logits of K classes, of two classes, or of L labels.
    y, weights : array-like, ndarray or None
        Targets and weights of all rows.
    classes : ndarray of shape (K,) or None
        The classes of the columns; None if they follow from y.
    multilabel : bool
        Whether columns are labels that do not exclude each other.
    numbers : ndarray of shape (m,) or None
        The rows of y and weights that belong to the logits; None for all.
    every_class : bool
        Whether a class without a row of positive weight is an error.
    """
    if numbers is not None:
        y, weights = _safe_indexing(indexable(y)[0], numbers), None if weights is None else weights[numbers]
    if weights is not None:
        if not weights.any():
            raise ValueError(
                "sample_weight is zero for every row that is used to calibrate; at least one weight must be positive"
            )
        # Sums of very large or small weights stay in the range of floats.
        weights = weights / weights.max()
    if multilabel:
        targets, shares, names = _indicator_targets(y, logits.shape[1], weights)
        weights = targets.row_weights
    else:
        targets, shares, names = _class_targets(y, logits.shape[1], weights, classes)
    absent = names[shares == 0]
    if every_class and absent.size:
        raise ValueError(
            f"y has no row of positive weight for the classes {abridged(absent)}, so their biases have no finite "
            "optimum; use scaling='temperature' or add rows of these classes"
        )
    return LogitRows(logits, targets, weights, numbers), names


def look_like_probabilities(logits: Array) -> str | None:
    """A message if all rows (n, K) lie in [0, 1] and sum to 1, as probabilities do and logits do not."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        return None
    # The first row nearly always decides.
    for rows in (logits[:1], logits):
        if not (np.all((rows >= 0) & (rows <= 1)) and np.abs(rows.sum(axis=1) - 1).max() <= sum_tolerance(rows)):
            return None
    return (
        "the logits look like probabilities: all rows lie in [0, 1] and sum to 1. A temperature for probabilities is "
        "wrong for logits. Pass the logits, or np.log(np.maximum(p, np.finfo(p.dtype).eps))"
    )


def classes_in(y: Any) -> Array:
    """The classes (K,) that labels or distributions y contain."""
    soft = soft_targets(y)
    if soft is None:
        return encode_labels(y, None)[1]
    targets, names = soft
    return np.arange(targets.shape[1]) if names is None else names


def _class_targets(y: Any, n_columns: int, weights: Array | None, classes: Array | None) -> tuple[Any, Array, Array]:
    """Targets of exclusive classes, the total weight (K,) of each class, and the classes (K,)."""
    n_classes = max(2, n_columns)
    soft = soft_targets(y, _ADVICE)
    if soft is None:
        given = classes is not None
        encoded, classes = encode_columns(y, n_classes, weights, classes=classes, advice=_NAME_THEM)
        if not given and encoded.min() == encoded.max():
            raise ValueError(
                f"y holds one class, {abridged(classes[encoded[:1]])}: its temperature would say nothing about others. "
                f"Use more rows. If that is what you want: {_NAME_THEM}"
            )
        shares = np.bincount(encoded, weights, minlength=n_classes)
    else:
        encoded, names = soft
        if encoded.shape[1] != n_classes:
            raise ValueError(
                f"y must have a column for each of the {n_classes} classes, got {encoded.shape[1]} columns"
            )
        if classes is None:
            classes = np.arange(n_classes) if names is None else names
        elif names is not None and not np.array_equal(names, classes):
            raise ValueError(
                f"y must have the columns {abridged(classes)} in this order, got {abridged(names)}; reorder y"
            )
        shares = encoded.sum(axis=0, dtype=np.float64) if weights is None else weights @ encoded
    targets = BinaryTargets(encoded) if n_columns == 1 else ClassTargets(encoded, n_classes)
    return targets, np.asarray(shares), classes


def _indicator_targets(y: Any, n_labels: int, weights: Array | None) -> tuple[IndicatorTargets, Array, Array]:
    """Multilabel targets, the smaller of the total weights (L,) of yes and no, and the names (L,)."""
    if len(shape_of(y)) == 1:
        raise ValueError(
            "y must have the shape (n, L) if multilabel=True, got one dimension; use reshape(-1, 1) for one label"
        )
    indicator = Indicator(y)
    if indicator.n_labels != n_labels:
        raise ValueError(f"y must have a column for each of the {n_labels} labels, got {indicator.n_labels} columns")
    targets = IndicatorTargets(indicator, weights)
    yes, no, _ = targets.totals
    unknown = np.flatnonzero(yes + no == 0)
    if unknown.size:
        raise ValueError(
            f"y has no known entry of positive weight for {abridged(indicator.names[unknown])}: drop these columns of "
            "y and of the logits"
        )
    return targets, np.minimum(yes, no), indicator.names
