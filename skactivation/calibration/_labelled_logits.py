"""Check logits together with y, and join them as `LogitRows`: labels of any kind, distributions, indicators."""

from copy import copy
from typing import Any, NamedTuple, Self

import numpy as np
from sklearn.utils import _safe_indexing, indexable

from skactivation._data.class_columns import classes_found, given_classes, named_columns
from skactivation._data.class_totals import WeightedClasses
from skactivation._data.indicators import Indicator
from skactivation._data.labels import check_same_columns, encode_labels, shape_of, soft_targets
from skactivation._data.targets import BinaryTargets, ClassTargets, IndicatorTargets, LabelTotals, Targets
from skactivation._messages import abridged
from skactivation._typing import Array
from skactivation._validation import as_floats, check_same_rows, check_sample_weight
from skactivation.calibration._logits import LogitRows, LogitRowsInBlocks

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
    columns = Columns(logits.shape[1], classes, multilabel)
    labels = columns.read(y, weights)
    totals = labels.totals()
    names = columns.names(totals, every_class=every_class)
    return LogitRowsInBlocks(logits, *columns.encode(labels, totals, names), numbers), names


class NamedLabels(NamedTuple):
    """Multilabel y with weights."""

    targets: IndicatorTargets
    labels: Array
    """Names (L,) of the labels."""

    def totals(self) -> "NamedTotals":
        """What decides whether there is a temperature for each label."""
        return NamedTotals(self.targets.totals, self.labels)


class NamedTotals(NamedTuple):
    """Sums over the rows, for each label."""

    sums: LabelTotals
    labels: Array

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Those of several parts of the rows."""
        return cls(LabelTotals.joined([part.sums for part in parts]), parts[0].labels)


class Columns(NamedTuple):
    """The columns of logits, and how y belongs to them."""

    number: int
    classes: Array | None
    """The classes (K,) of the columns; None if they follow from y, or if columns are labels."""
    multilabel: bool
    """Whether columns are labels that do not exclude each other."""

    @property
    def _n_classes(self) -> int:
        return max(2, self.number)

    def read(self, y: Any, weights: Array | None) -> WeightedClasses | NamedLabels:
        """Check y of some rows, and join it with their weights."""
        if self.multilabel:
            return self._read_labels(y, weights)
        soft = soft_targets(y, _ADVICE)
        if soft is None:
            return WeightedClasses(*encode_labels(y, weights), weights)
        encoded, names = soft
        if encoded.shape[1] != self._n_classes:
            raise ValueError(
                f"y must have a column for each of the {self._n_classes} classes, got {encoded.shape[1]} columns"
            )
        if self.classes is not None and names is not None and not np.array_equal(names, self.classes):
            raise ValueError(
                f"y must have the columns {abridged(self.classes)} in this order, got {abridged(names)}; reorder y"
            )
        return WeightedClasses(encoded, np.arange(self._n_classes) if names is None else names, weights)

    def _read_labels(self, y: Any, weights: Array | None) -> NamedLabels:
        if len(shape_of(y)) == 1:
            raise ValueError(
                "y must have the shape (n, L) if multilabel=True, got one dimension; use reshape(-1, 1) for one label"
            )
        indicator = Indicator(y)
        if indicator.n_labels != self.number:
            raise ValueError(
                f"y must have a column for each of the {self.number} labels, got {indicator.n_labels} columns"
            )
        return NamedLabels(IndicatorTargets(indicator, weights), indicator.names)

    def names(self, totals: Any, *, every_class: bool) -> Array:
        """The classes or labels of the columns, given sums over all rows."""
        if self.multilabel:
            (yes, no, _), names = totals
            unknown = np.flatnonzero(yes + no == 0)
            if unknown.size:
                raise ValueError(
                    f"y has no known entry of positive weight for {abridged(names[unknown])}: drop these columns of "
                    "y and of the logits"
                )
            present = names[np.minimum(yes, no) > 0]
        else:
            present = totals.classes[totals.n_rows > 0]
            if not totals.are_soft:
                names = self._classes_of(present)
            else:
                names = totals.classes if self.classes is None else self.classes
                present = names[totals.n_rows > 0]
        absent = [name for name in names.tolist() if name not in set(present.tolist())] if every_class else []
        if absent:
            raise ValueError(
                f"y has no row of positive weight for the classes {abridged(absent)}, so their biases have no finite "
                "optimum; use scaling='temperature' or add rows of these classes"
            )
        return np.asarray(names)

    def _classes_of(self, found: Array) -> Array:
        """The classes (K,), given those that y holds."""
        if self.classes is not None:
            return self.classes
        classes = classes_found(found, self._n_classes, _NAME_THEM)
        if found.size == 1:
            raise ValueError(
                f"y holds one class, {abridged(found)}: its temperature would say nothing about others. "
                f"Use more rows. If that is what you want: {_NAME_THEM}"
            )
        return classes

    def encode(self, labels: Any, totals: Any, names: Array) -> tuple[Targets, Array | None]:
        """Targets of some rows and their weights, given sums over all rows, and what `names` returned."""
        if self.multilabel:
            targets = copy(labels.targets)
            targets.scale_to(totals.sums)
            return targets, targets.row_weights
        encoded = labels.recoded(names)
        if self.number == 1:
            return BinaryTargets(encoded), labels.weights
        return ClassTargets(encoded, self._n_classes), labels.weights


def classes_in(y: Any) -> Array:
    """The classes (K,) that labels or distributions y contain."""
    soft = soft_targets(y)
    if soft is None:
        return encode_labels(y, None)[1]
    targets, names = soft
    return np.arange(targets.shape[1]) if names is None else names
