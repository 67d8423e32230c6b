"""Check y as users give it and turn it into numbers: codes of labels, distributions, columns of an indicator."""

from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from skactivation._arrays import column_names
from skactivation._messages import abridged
from skactivation._typing import Array
from skactivation._validation import as_array, as_distributions, check_structure

_EXCLUSIVE = "divide each row by its sum; if the labels don't exclude each other, use SigmoidMultiLabel"


def soft_targets(y: Any, advice: str = _EXCLUSIVE) -> tuple[Array, Array | None] | None:
    """Distributions (n, K) and the names of a data frame's columns (K,); None if y holds labels."""
    shape = _as_array(y).shape
    if len(shape) != 2 or shape[1] < 2:
        return None
    names = column_names(y, "y")
    targets = as_distributions(y, "y", advice)
    if names is None:
        return targets, None
    columns = np.empty(shape[1], dtype=object)
    columns[:] = names
    if len(set(columns.tolist())) < columns.size:
        raise ValueError(
            f"y must have a column for each class, got columns of the same name: {columns.tolist()}; rename them"
        )
    return targets, _unwrapped(columns)


def check_same_columns(**frames: Any) -> None:
    """Raise an error for two data frames whose columns have different names, or another order.

    Default names, 0 to L - 1, are none.
    """
    (one_name, one), (other_name, other) = frames.items()
    names, other_names = column_names(one, one_name), column_names(other, other_name)
    if not names or not other_names or names == other_names or list(range(len(names))) in (names, other_names):
        return
    raise ValueError(
        f"{other_name} must have the columns of {one_name} in the same order, {abridged(_as_objects(names))}, got "
        f"{abridged(_as_objects(other_names))}"
    )


def _as_objects(names: list[Any]) -> Array:
    objects = np.empty(len(names), dtype=object)
    objects[:] = names
    return objects


def shape_of(y: Any) -> tuple[int, ...]:
    """The shape of an array, or of anything that can be converted to one."""
    return tuple(y.shape if hasattr(y, "shape") else _as_array(y).shape)


def as_labels(y: Any, name: str = "y") -> Array:
    """Check labels and return them as an array (n,) of one kind."""
    array = _as_array(y, name)
    if array.dtype.kind == "T":
        # NumPy's strings of variable length, which scikit-learn does not know.
        array = array.astype(object)
    labels = _unwrapped(array if array.ndim == 1 else column_or_1d(array, warn=True), name)
    if labels.dtype == object and labels.size and not isinstance(labels[0], (str, bytes)):
        raise TypeError(
            f"{name} must hold strings, numbers or bools, got labels such as {labels[0]!r}, which scikit-learn does "
            "not know; convert them to strings"
        )
    # Integers, bools and strings are labels whatever their values.
    if labels.dtype.kind not in "iubU":
        try:
            check_classification_targets(labels)
        except ValueError as error:
            raise ValueError(f"{name} must hold class labels: {error}") from error
    return labels


def encode_labels(y: Any, sample_weight: Array | None, name: str = "y") -> tuple[Array, Array]:
    """Codes (n,) of labels and the sorted classes (K,) that occur in rows of positive weight.

    Rows of weight 0 get the code 0 if their class occurs in no other rows.
    """
    classes, codes = _unique(as_labels(y, name))
    if sample_weight is not None:
        counts = np.bincount(codes, sample_weight > 0, minlength=classes.size)
        present = counts > 0
        codes = np.maximum(np.cumsum(present) - 1, 0)[codes] * present[codes]
        classes = classes[present]
    return codes.astype(np.min_scalar_type(classes.size)), classes


def columns_of_labels(y: Any, classes: Array) -> Array:
    """The index in `classes` of each label (n,)."""
    return recode_labels(*encode_labels(y, None), classes)


def recode_labels(codes: Array, found: Array, classes: Array, name: str = "y") -> Array:
    """The index in `classes` of each label (n,), given its code among the labels `found`; others are an error."""
    if np.array_equal(found, classes):
        return codes
    places = {label: place for place, label in enumerate(classes.tolist())}
    missing = [label for label in found.tolist() if label not in places]
    if missing:
        raise ValueError(f"{name} holds labels that aren't among the classes {abridged(classes)}: {abridged(missing)}")
    table = np.array([places[label] for label in found.tolist()], dtype=np.min_scalar_type(classes.size))
    return np.asarray(table[codes])


def _unique(labels: Array) -> tuple[Array, Array]:
    """Sorted distinct labels, and the code (n,) of each row."""
    if labels.dtype.kind in "iub" and labels.size:
        low, high = int(labels.min()), int(labels.max())
        if high - low < labels.size and high <= np.iinfo(np.intp).max:
            # A table of all integers in the range is faster than sorting.
            places = labels.astype(np.intp) - low
            found = np.bincount(places) > 0
            codes = places if found.all() else (np.cumsum(found) - 1)[places]
            return (np.flatnonzero(found) + low).astype(labels.dtype), codes
    classes, codes = np.unique(labels, return_inverse=True)
    return classes, codes


def _as_array(y: Any, name: str = "y") -> Array:
    advice = "; for collections of labels, use sklearn.preprocessing.MultiLabelBinarizer"
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
    """Convert labels of dtype object to bools, integers or floats; strings stay objects; mixed kinds are an error."""
    if labels.dtype != object:
        if labels.dtype.kind == "f":
            assert_all_finite(labels, input_name=name)
        if labels.dtype.kind in "mM" and np.isnat(labels).any():
            raise ValueError(f"Input {name} contains NaT: row {int(np.argmax(np.isnat(labels)))}; drop such rows")
        return labels
    missing = [row for row, label in enumerate(labels) if _is_missing(label)]
    if missing:
        raise ValueError(
            f"Input {name} contains NaN or None: row {missing[0]} has the label {labels[missing[0]]!r}; drop such rows"
        )
    kinds = {_kind(type(label)) for label in labels}
    if len(kinds) > 1:
        raise TypeError(f"{name} must hold labels of one kind, got {' and '.join(sorted(kinds))}; convert them")
    return np.asarray(labels.tolist()) if kinds <= {"bool", "integer", "float"} else labels


def _is_missing(label: Any) -> bool:
    try:
        return label is None or bool(label != label)
    except TypeError:
        # Comparisons with pandas.NA are NA, which has no truth value.
        return True


def _kind(kind: type) -> str:
    """The kind of labels that a type belongs to; labels of one kind may be mixed."""
    for parent, name in ((str, "string"), ((bool, np.bool_), "bool"), (Integral, "integer"), (Real, "float")):
        if issubclass(kind, parent):
            return name
    return kind.__name__


def without_nullable(y: Any) -> Any:
    """Labels (n,) of a nullable or object type in NumPy's types, since classifiers may take them for floats.

    A series keeps its index.
    """
    labels = as_labels(y)
    if isinstance(getattr(y, "dtype", None), np.dtype) and y.dtype == labels.dtype:
        return y
    return y.astype(labels.dtype) if hasattr(y, "index") and hasattr(y, "astype") else labels


class LabelClasses(list[Array]):
    """Values 0 and 1 of each label, as `classes_`. cross_val_predict reads its shape, which a list lacks."""

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)


class LabelColumns(NamedTuple):
    """A checked indicator."""

    values: Any
    """Values (n, L) in [0, 1], NaN for not known: an array of bools, integers or floats, or a CSR array."""
    names: Array
    """Names of the labels (L,)."""
    dtype: Any
    """dtype of predictions."""


def is_indicator(y: Any, name: str = "y") -> bool:
    """Whether y has a column for each label; a single column must hold only numbers in [0, 1] and missing entries."""
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


def is_soft(y: Any) -> bool:
    """Whether an indicator or distributions hold anything but 0 and 1."""
    entries = y.data if sparse.issparse(y) else as_array(y, "y")
    return entries.dtype.kind not in "biu" and not np.all((entries == 0) | (entries == 1))


def as_label_columns(Y: Any, name: str = "Y") -> LabelColumns:
    """Check a dense or sparse indicator (n, L)."""
    if sparse.issparse(Y):
        if Y.ndim != 2 or Y.shape[1] == 0:
            raise ValueError(f"{name} must have the shape (n, L) with L >= 1, got {Y.shape}")
        check_structure(Y, name)
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
            advice = "; for labels in one dimension, use scikit-learn's metrics" if values.ndim == 1 else ""
            raise ValueError(f"{name} must have the shape (n, L) with L >= 1, got {values.shape}{advice}")
        dtype = values.dtype
        if dtype.kind == "O":
            # pandas' nullable columns, or None for unknown entries.
            dtype = np.dtype(np.int64)
            values = np.array([np.nan if _is_missing(entry) else entry for entry in values.flat]).reshape(values.shape)
        if values.dtype.kind not in "biuf":
            raise TypeError(
                f"{name} must hold 0 and 1 (NaN for unknown), a column for each label, got entries like "
                f"{values.flat[0]!s}; convert them to numbers, as in (Y == 'yes').astype(int)"
            )
        entries = values
    # These ignore NaN.
    extremes = [least.reduce(entries, axis=None) for least in (np.fmin, np.fmax)] if entries.size else []
    if any(extreme < 0 or extreme > 1 for extreme in extremes):
        raise ValueError(
            f"{name} must hold 0 and 1 (numbers between for soft labels, NaN for unknown) if it has two dimensions, "
            f"got {entries[(entries < 0) | (entries > 1)][0]}; pass labels of exclusive classes in one dimension"
        )
    columns = column_names(Y, name)
    return LabelColumns(values, np.arange(values.shape[1]) if columns is None else _names(columns), dtype)


def _names(columns: Any) -> Array:
    """Names of a data frame's columns (K,): integers, or objects."""
    names = np.empty(len(columns), dtype=object)
    for place, name in enumerate(columns):
        names[place] = name
    return np.asarray(names.tolist()) if all(_kind(type(name)) == "integer" for name in names) else names
