"""Labels and soft targets as users give them, turned into numbers."""

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from skactivation._messages import abridged
from skactivation._typing import Array
from skactivation._validation import as_array, as_distributions

_EXCLUSIVE = "divide each row by its sum, or, for labels that don't exclude each other, use SigmoidMultiLabel"


def soft_targets(y: Any, advice: str = _EXCLUSIVE) -> tuple[Array, Array | None] | None:
    """Distributions (n, K) and the names of a data frame's columns (K,), or None where y holds labels."""
    shape = _as_array(y).shape
    if len(shape) != 2 or shape[1] < 2:
        return None
    names = getattr(y, "columns", None)
    targets = as_distributions(y, "y", advice)
    if names is None:
        return targets, None
    columns = np.empty(shape[1], dtype=object)
    columns[:] = list(names)
    if len(set(columns.tolist())) < columns.size:
        raise ValueError(f"y must have a column for each class, got columns of the same name: {columns.tolist()}")
    return targets, _unwrapped(columns)


def shape_of(y: Any) -> tuple[int, ...]:
    """The shape of anything that can be made an array."""
    return tuple(y.shape if hasattr(y, "shape") else np.asarray(y).shape)


def as_labels(y: Any, name: str = "y") -> Array:
    """Labels (n,) of one kind, checked."""
    array = _as_array(y, name)
    labels = _unwrapped(array if array.ndim == 1 else column_or_1d(array, warn=True), name)
    if labels.dtype.kind not in "iubU":
        # Those are labels whatever their values.
        try:
            check_classification_targets(labels)
        except ValueError as error:
            raise ValueError(f"{name} must hold labels of classes: {error}") from error
    return labels


def encode_labels(y: Any, sample_weight: Array | None, name: str = "y") -> tuple[Array, Array]:
    """Codes (n,) of labels and the sorted classes (K,) that occur in rows of positive weight.

    Rows of weight 0 whose class doesn't occur otherwise get the code 0.
    """
    classes, codes = _unique(as_labels(y, name))
    if sample_weight is not None:
        counts = np.bincount(codes, sample_weight > 0, minlength=classes.size)
        present = counts > 0
        codes = np.maximum(np.cumsum(present) - 1, 0)[codes] * present[codes]
        classes = classes[present]
    return codes.astype(np.min_scalar_type(classes.size)), classes


def columns_of_labels(y: Any, classes: Array) -> Array:
    """The place in `classes` (n,) of each label."""
    return recode_labels(*encode_labels(y, None), classes)


def recode_labels(codes: Array, found: Array, classes: Array, name: str = "y") -> Array:
    """The place in `classes` (n,) of each label, given its code among those that were found; all must be there."""
    if np.array_equal(found, classes):
        return codes
    places = {label: place for place, label in enumerate(classes.tolist())}
    missing = [label for label in found.tolist() if label not in places]
    if missing:
        raise ValueError(f"{name} holds labels that aren't among the classes {abridged(classes)}: {abridged(missing)}")
    table = np.array([places[label] for label in found.tolist()], dtype=np.min_scalar_type(classes.size))
    return np.asarray(table[codes])


def _unique(labels: Array) -> tuple[Array, Array]:
    """Sorted distinct labels and the code (n,) of each."""
    if labels.dtype.kind in "iub" and labels.size:
        low, high = int(labels.min()), int(labels.max())
        if high - low < labels.size and high <= np.iinfo(np.intp).max:
            # A table of all integers in the range is quicker than sorting.
            places = labels.astype(np.intp) - low
            found = np.bincount(places) > 0
            codes = places if found.all() else (np.cumsum(found) - 1)[places]
            return (np.flatnonzero(found) + low).astype(labels.dtype), codes
    classes, codes = np.unique(labels, return_inverse=True)
    return classes, codes


def _as_array(y: Any, name: str = "y") -> Array:
    advice = "; sklearn.preprocessing.MultiLabelBinarizer makes columns of collections of labels"
    try:
        array = as_array(y, name)
    except ValueError as error:
        raise ValueError(f"{error}{advice}") from error
    if array.dtype == object and array.ndim == 1 and array.size and isinstance(array[0], (set, frozenset, list, tuple)):
        raise TypeError(f"{name} must hold labels, got collections of them, such as {array[0]!r}{advice}")
    if array.ndim > 2:
        raise ValueError(f"{name} must have the shape (n,) or (n, K), got {array.shape}")
    return array


def _unwrapped(labels: Array, name: str = "y") -> Array:
    """Labels of dtype object as bools, integers or floats, or strings in objects; mixed kinds are an error."""
    if labels.dtype != object:
        if labels.dtype.kind == "f":
            assert_all_finite(labels, input_name=name)
        if labels.dtype.kind in "mM" and np.isnat(labels).any():
            raise ValueError(f"Input {name} contains NaT: row {int(np.argmax(np.isnat(labels)))}")
        return labels
    missing = [row for row, label in enumerate(labels) if _is_missing(label)]
    if missing:
        raise ValueError(f"Input {name} contains NaN or None: row {missing[0]} has the label {labels[missing[0]]!r}")
    kinds = {_kind(type(label)) for label in labels}
    if len(kinds) > 1:
        raise TypeError(f"{name} must hold labels of one kind, got {' and '.join(sorted(kinds))}; convert them")
    return np.asarray(labels.tolist()) if kinds <= {"bool", "integer", "float"} else labels


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except TypeError:
        # pandas' NA is neither equal to itself nor not.
        return True


def _kind(kind: type) -> str:
    """The name under which labels of a type may stand together."""
    for parent, name in ((str, "string"), ((bool, np.bool_), "bool"), (Integral, "integer"), (Real, "float")):
        if issubclass(kind, parent):
            return name
    return kind.__name__


class LabelClasses(list[Array]):
    """No and yes of each of several labels. scikit-learn's cross_val_predict asks for the shape of `classes_`."""

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)


class LabelColumns(NamedTuple):
    """An indicator as users give it, checked."""

    values: Any
    """Values (n, L) in [0, 1], NaN for not known: an array of bools, integers or floats, or a CSR array."""
    names: Array
    """Names of the labels (L,)."""
    dtype: Any
    """What predictions are to be."""


def is_indicator(y: Any, name: str = "y") -> bool:
    """Whether y has a column for each label. A single column has, if all in it is 0, 1 or between them, or missing."""
    if sparse.issparse(y):
        return True
    array = _as_array(y, name)
    if array.ndim != 2:
        return False
    if array.shape[1] != 1:
        return True
    if array.dtype.kind == "O":
        return all(_is_missing(entry) or (isinstance(entry, Real) and 0 <= float(entry) <= 1) for entry in array.flat)
    return array.dtype.kind in "biuf" and bool(np.all(((array >= 0) & (array <= 1)) | (array != array)))


def as_label_columns(Y: Any, name: str = "Y") -> LabelColumns:
    """Columns of labels (n, L) as users give them, dense or sparse."""
    if sparse.issparse(Y):
        if Y.ndim != 2 or Y.shape[1] == 0:
            raise ValueError(f"{name} must have the shape (n, L) with L >= 1, got {Y.shape}")
        values = sparse.csr_array(Y)
        if not values.has_canonical_format:
            values = values.copy()
            values.sum_duplicates()
        if values.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold bools, integers or floats, got a sparse array of dtype {values.dtype}")
        entries, dtype = values.data, values.dtype
    else:
        values = _as_array(Y, name)
        if values.ndim != 2 or values.shape[1] == 0:
            advice = "; for labels in one dimension use scikit-learn's metrics" if values.ndim == 1 else ""
            raise ValueError(f"{name} must have the shape (n, L) with L >= 1, got {values.shape}{advice}")
        dtype = values.dtype
        if dtype.kind == "O":
            # pandas' nullable columns, or None for not known.
            dtype = np.dtype(np.int64)
            values = np.array([np.nan if _is_missing(entry) else entry for entry in values.flat]).reshape(values.shape)
        if values.dtype.kind not in "biuf":
            raise TypeError(
                f"{name} must hold 0 and 1 (NaN for not known), a column for each label, got entries like "
                f"{values.flat[0]!s}; turn yes and no into numbers, as in (Y == 'yes').astype(int)"
            )
        entries = values
    wrong = ~((entries >= 0) & (entries <= 1)) & (entries == entries)
    if wrong.any():
        raise ValueError(
            f"{name} must hold 0 and 1 (between them soft labels, NaN for not known) if it has two dimensions, got "
            f"{entries[wrong][0]}; give labels of exclusive classes in one dimension"
        )
    columns = getattr(Y, "columns", None)
    return LabelColumns(values, np.arange(values.shape[1]) if columns is None else _names(columns), dtype)


def _names(columns: Any) -> Array:
    """Names of a data frame's columns (K,): integers, or objects."""
    names = np.empty(len(columns), dtype=object)
    for place, name in enumerate(columns):
        names[place] = name
    return np.asarray(names.tolist()) if all(_kind(type(name)) == "integer" for name in names) else names
