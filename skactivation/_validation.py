"""Validation of parameters, weights and soft targets; errors name the parameter, the value and what to do.

`unchanged_on_error` restores an estimator after an error in `fit`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite, check_consistent_length

from skactivation._arrays import refuse_not_in_memory, with_known_dtype, without_tensors
from skactivation._typing import Array

SUM_TOLERANCE = 1e-3
"""How far a row of probabilities may be from a sum of 1, unless it has half precision."""
ENTRY_TOLERANCE = 1e-3
"""How far a probability may be above 1, by rounding to float16 or to printed digits."""


def check_real(
    value: Any, name: str, *, low: float = 0.0, high: float = np.inf, allow_low: bool = True, allow_high: bool = True
) -> float:
    """Return a real number as a float; raise an error if it is outside the interval."""
    interval = f"{'[' if allow_low else '('}{low:g}, {high:g}{']' if allow_high else ')'}"
    if not isinstance(value, Real) or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a number in {interval}, got {value!r} of type {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError(f"{name} must be a number in {interval}, got a number too large for a float") from error
    if not (low <= number <= high) or (number == low and not allow_low) or (number == high and not allow_high):
        raise ValueError(f"{name} must be a number in {interval}, got {value!r}")
    return number


def check_boolean(value: Any, name: str) -> bool:
    """Return a bool from a Python or NumPy bool; raise an error for any other type."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r} of type {type(value).__name__}")
    return bool(value)


def check_choice(value: Any, name: str, choices: tuple[str, ...]) -> str:
    """Return the value if it is one of the strings in `choices`."""
    if not isinstance(value, str) or value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"{name} must be {', '.join(others)} or {last}, got {value!r}")
    return value


def check_integer(value: Any, name: str, *, low: int) -> int:
    """Return an integer of at least `low`."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer >= {low}, got {value!r} of type {type(value).__name__}")
    if value < low:
        raise ValueError(f"{name} must be an integer >= {low}, got {value!r}")
    return int(value)


def check_verbose(verbose: Any) -> None:
    """Raise an error for anything but an integer of at least 0, or a bool."""
    if not isinstance(verbose, (bool, np.bool_)):
        check_integer(verbose, "verbose", low=0)


def check_same_rows(**arrays: Any) -> None:
    """Raise an error that names two arrays with different numbers of rows, or one that is not in memory."""
    for name, array in arrays.items():
        refuse_not_in_memory(array, name)
    try:
        check_consistent_length(*arrays.values())
    except ValueError as error:
        numbers = [_num_rows(array) for array in arrays.values()]
        raise ValueError(
            f"{' and '.join(arrays)} must have the same number of rows, got {' and '.join(map(str, numbers))}"
        ) from error


def _num_rows(array: Any) -> int:
    return int(array.shape[0]) if hasattr(array, "shape") else len(array)


def check_two_classes(classes: Any, estimator: str, holder: str = "y holds") -> None:
    """Raise an error for fewer than two classes."""
    if len(classes) < 2:
        raise ValueError(
            f"{estimator} needs at least two classes, but {holder} one class: {np.asarray(classes).tolist()}"
        )


def as_array(values: Any, name: str) -> Array:
    """Return a dense array, of any dtype, from a list, a data frame or a tensor."""
    refuse_not_in_memory(values, name)
    values = without_tensors(values, name)
    if sparse.issparse(values):
        raise TypeError(f"{name} must be dense, got a sparse array; use {name}.toarray()")
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: fill or drop the masked entries")
    try:
        return with_known_dtype(np.asarray(values))
    except ValueError as error:
        raise ValueError(f"{name} must be an array, got rows of different lengths: {error}") from error
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name} must be an array that NumPy can read: {error}") from error


def as_floats(values: Any, name: str) -> Array:
    """Return an array of float32 (from float32 and float16) or float64 (from all other real numbers)."""
    array = as_array(values, name)
    got = f"{name} must be an array of real numbers, got dtype {array.dtype}"
    if array.dtype.kind in "cmM":
        raise TypeError(got)
    if array.dtype.kind not in "biuf" and (array.dtype != object or any(entry is None for entry in array.flat)):
        raise ValueError(got + (" that contains None" if array.dtype == object else ""))
    try:
        with np.errstate(all="ignore"):
            return array.astype(np.float32 if array.dtype.char in "ef" else np.float64, copy=False)
    except TypeError as error:
        raise TypeError(f"{got}: {error}") from error
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{got}: {error}") from error


def check_structure(array: Any, name: str) -> None:
    """Raise an error for a sparse array with invalid indices, on which SciPy may crash. It is not changed.

    SciPy's `check_format` would change the caller's array.
    """
    if array.ndim != 2:
        return
    if array.format in ("csr", "csc", "bsr"):
        n_slots, width = array.shape if array.format != "csc" else array.shape[::-1]
        if array.format == "bsr":
            n_slots, width = n_slots // array.blocksize[0], width // array.blocksize[1]
        pointers = array.indptr
        if (
            pointers.size != n_slots + 1
            or pointers[0] != 0
            or np.any(np.diff(pointers) < 0)
            or pointers[-1] > array.indices.size
            or array.indices.size != len(array.data)
        ):
            raise ValueError(
                f"{name} is not a valid sparse array: its indptr must increase from 0 to the number of entries, and "
                "each entry must have an index"
            )
        _check_range(array.indices[: pointers[-1]], width, "indices", name)
    elif array.format == "coo":
        for width, coordinates, which in zip(array.shape, (array.row, array.col), ("row", "col"), strict=True):
            _check_range(coordinates, width, which, name)
    elif array.format == "lil":
        _check_range(np.array([number for row in array.rows for number in row]), array.shape[1], "rows", name)


def _check_range(numbers: Array, width: int, which: str, name: str) -> None:
    if numbers.size and not (numbers.min() >= 0 and numbers.max() < width):
        raise ValueError(
            f"{name} is not a valid sparse array: its {which} must be from 0 to {width - 1}, got {numbers.min()} to "
            f"{numbers.max()}"
        )


def check_sample_weight(
    sample_weight: Any, shape: tuple[int, ...], *, allow_rows: bool = True, allow_zeros: bool = False
) -> Array | None:
    """Return weights as float64, or None; they must be finite, non-negative and not all 0, of shape (n,) or `shape`.

    Those of a part of the rows may all be 0, with `allow_zeros`; see `refuse_zero_weights`.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Real):
        sample_weight = np.full(shape[0], sample_weight)
    weights = as_floats(sample_weight, "sample_weight").astype(np.float64, copy=False)
    assert_all_finite(weights, input_name="sample_weight")
    if weights.shape != shape and not (allow_rows and weights.shape == shape[:1]):
        needed = f"{shape[:1]} or {shape}: one weight per row or per entry"
        if len(shape) == 1:
            needed = f"{shape}: one weight per row"
        raise ValueError(f"sample_weight has the shape {weights.shape}, but must have the shape {needed}")
    if weights.size and weights.min() < 0:
        row = np.unravel_index(int(np.argmin(weights)), weights.shape)[0]
        raise ValueError(f"sample_weight must not be negative, got {weights.min():g} in row {row}; use 0 to ignore it")
    if not allow_zeros and weights.size:
        refuse_zero_weights(weights.max() > 0)
    return weights


def refuse_zero_weights(any_positive: bool) -> None:
    """Raise an error if no weight is positive."""
    if not any_positive:
        raise ValueError("sample_weight is zero for every row; at least one weight must be positive")


def check_pos_weight(pos_weight: Any, yes: Array, no: Array) -> Array:
    """Return the factors (L,) on the loss of entries 1, given the total weights (L,) of entries 1 and 0."""
    if pos_weight is None:
        return np.ones(yes.size)
    if isinstance(pos_weight, str):
        if pos_weight != "balanced":
            raise ValueError(f"pos_weight must be a number, an array, 'balanced' or None, got {pos_weight!r}")
        both = (yes > 0) & (no > 0)
        return np.asarray(np.where(both, no, 1.0) / np.where(both, yes, 1.0))
    if isinstance(pos_weight, Real):
        number = check_real(pos_weight, "pos_weight", allow_low=False, allow_high=False)
        return np.full(yes.size, number)
    if isinstance(pos_weight, dict):
        raise TypeError(f"pos_weight must be a number, an array, 'balanced' or None, got a dict: {pos_weight!r}")
    factors = as_floats(pos_weight, "pos_weight").astype(np.float64)
    if factors.shape != yes.shape:
        raise ValueError(f"pos_weight must be a number or have the shape {yes.shape}, got {factors.shape}")
    if not np.all((factors > 0) & np.isfinite(factors)):
        raise ValueError(f"pos_weight must be positive and finite, got {pos_weight!r}")
    return factors


def check_thresholds(threshold: Any, n_labels: int, names: Any = None) -> Array:
    """Return thresholds in [0, 1] as an array: one for all labels, or one per label (L,).

    A dict has those of some labels by their `names` (L,), if they have names; the others have 1/2.
    """
    if isinstance(threshold, dict) and names is not None:
        places = {name: place for place, name in enumerate(np.asarray(names).tolist())}
        unknown = [name for name in threshold if name not in places]
        if unknown:
            raise ValueError(f"threshold has the label {unknown[0]!r}, but the labels are {list(places)}")
        of_labels = np.full(n_labels, 0.5)
        for name, value in threshold.items():
            of_labels[places[name]] = check_real(value, f"threshold[{name!r}]", high=1.0)
        return of_labels
    if isinstance(threshold, Real):
        return np.array(check_real(threshold, "threshold", high=1.0))
    if threshold is None or isinstance(threshold, (str, dict)):
        raise TypeError(f"threshold must be a number in [0, 1] or an array of them, got {threshold!r}")
    thresholds = as_floats(threshold, "threshold").astype(np.float64)
    if thresholds.shape != (n_labels,):
        raise ValueError(f"threshold must be a number or have the shape {(n_labels,)}, got {thresholds.shape}")
    if not np.all((thresholds >= 0) & (thresholds <= 1)):
        raise ValueError(f"threshold must lie in [0, 1], got {threshold!r}")
    return thresholds


def as_distributions(targets: Any, name: str, advice: str) -> Array:
    """Return soft targets (n, K) as float32 or float64; entries must lie in [0, 1] and rows sum to one."""
    given = as_array(targets, name)
    array = as_floats(given, name)
    assert_all_finite(array, input_name=name)
    tolerance = sum_tolerance(given)
    for place in (int(array.argmin()), int(array.argmax())) if array.size else ():
        entry = array.flat[place]
        if not 0 <= entry <= 1 + ENTRY_TOLERANCE:
            row, column = divmod(place, array.shape[1])
            raise ValueError(
                f"{name} must hold a distribution in each row if it has two dimensions: entries from 0 to 1, "
                f"got {entry:g} in row {row}, column {column}"
            )
    check_row_sums(array, name, advice, tolerance)
    return array


def sum_tolerance(given: Array) -> float:
    """How far a row of probabilities may be from a sum of 1: more in half precision."""
    # bfloat16 has become float32, the lower half of whose bits are 0 then.
    is_half = given.dtype == np.float16 or (
        given.dtype == np.float32 and not (np.ascontiguousarray(given).view(np.uint32) & 0xFFFF).any()
    )
    return 0.03 if is_half else SUM_TOLERANCE


# Columns of which einsum may add single-precision numbers one after another.
_FEW_COLUMNS = 64


def check_row_sums(array: Array, name: str, advice: str, tolerance: float) -> None:
    """Raise an error if a row of numbers (n, K) does not sum to one."""
    # For few columns, einsum is faster than a sum, and accurate enough; a product with ones would wake BLAS's threads.
    sums = np.einsum("ij->i", array) if array.shape[1] <= _FEW_COLUMNS else array.sum(axis=1, dtype=np.float64)
    wrong = np.abs(sums - 1) > tolerance
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{name} must hold a distribution in each row if it has two dimensions, but row {row} sums to "
            f"{sums[row]:.6g} ({np.count_nonzero(wrong)} of {wrong.size} rows do not sum to 1); {advice}"
        )


@contextmanager
def unchanged_on_error(estimator: BaseEstimator) -> Iterator[None]:
    """Restore all attributes of the estimator after any exception, including Ctrl-C."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        # One step, which a second interrupt cannot divide.
        estimator.__dict__ = before
        raise
