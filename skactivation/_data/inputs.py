"""Check X, the features, as users give them; for y, see `labels`."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from skactivation._arrays import columns_of, entries_of, refuse_not_in_memory, without_tensors
from skactivation._data.stored import StoredRows, is_stored
from skactivation._typing import Array
from skactivation._validation import check_structure

_FLOATS = (np.dtype(np.float64), np.dtype(np.float32))
# What NumPy says of entries that are no numbers.
_NOT_CONVERTED = ("could not convert string", "float() argument", "setting an array element with a sequence")


def check_features(estimator: BaseEstimator, X: Any, *, reset: bool, finite: bool = True) -> Any:
    """Return X as a dense, stored or CSR array of float32 or float64, copied only if needed.

    Without `finite`, entries that are not finite may pass: the caller looks for them. Rows that are stored elsewhere
    stay there, as `StoredRows`; in a fit, the pass that measures the columns looks for such entries.
    """
    X = without_tensors(X, "X")
    refuse_unreadable(X)
    # Nothing can be learned from one row.
    least = 2 if reset else 1
    if is_stored(X) and X.shape[0] >= least and X.shape[1] > 0:
        stored = StoredRows(validate_data(estimator, X, reset=reset, skip_check_array=True))
        if finite and not reset:
            stored.refuse_not_finite()
        return stored
    if _is_ready(X, finite) and X.shape[0] >= least:
        # Names and number of the features remain to be checked.
        return validate_data(estimator, X, reset=reset, skip_check_array=True)
    refuse_dates_and_bytes(X)
    _refuse_dates(X)
    try:
        checked = validate_data(
            estimator,
            X,
            reset=reset,
            ensure_min_samples=least,
            accept_sparse=("csr", "csc"),
            accept_large_sparse=True,
            dtype=[np.float64, np.float32],
        )
    except (TypeError, ValueError) as error:
        if any(cause in str(error) for cause in _NOT_CONVERTED):
            _refuse_objects(X, error)
        if "contains NaN" in str(error) or "contains infinity" in str(error):
            _refuse_not_finite(X, error)
        raise
    # Products and slices of rows are several times as fast in CSR format as in CSC.
    return checked.tocsr() if sparse.issparse(checked) else checked


def _is_ready(X: Any, finite: bool) -> bool:
    """Whether X is what `check_features` would return: a NumPy or CSR array of floats in two dimensions."""
    numbers = X if type(X) is np.ndarray else X.data if sparse.issparse(X) and X.format == "csr" else None
    if numbers is None or numbers.dtype not in _FLOATS or X.ndim != 2 or X.shape[1] == 0:
        return False
    if not finite:
        return True
    with np.errstate(all="ignore"):
        return bool(np.isfinite(numbers.sum()))


def refuse_unreadable(X: Any) -> None:
    """Raise an error for an X that scikit-learn would misread or crash on: a masked array, an invalid sparse array."""
    refuse_not_in_memory(X, "X")
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError("X must not be a masked array: fill or drop the masked entries")
    if sparse.issparse(X):
        check_structure(X, "X")


def refuse_dates_and_bytes(X: Any) -> None:
    """Raise an error for an array of dates, durations or bytes: scikit-learn would take them as numbers."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "mMS":
        raise TypeError(f"X must hold numbers, got an array of dtype {X.dtype}; convert it")


def _refuse_dates(X: Any) -> None:
    """Raise an error that names a data frame's first column of dates or times: it would be taken as numbers."""
    for name, dtype in columns_of(X):
        if dtype.lower().startswith(("date", "time", "duration", "period")):
            raise TypeError(f"X must hold numbers, but its column {name!r} is of type {dtype}; make numbers of it")


def _refuse_objects(X: Any, error: Exception) -> None:
    """Raise an error that names the first column with a string or another object that is no number, if there is one."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "OU":
        columns: Any = enumerate(X.T)
    else:
        columns = ((name, entries_of(X, place)) for place, (name, _) in enumerate(columns_of(X)))
    for name, entries in columns:
        entry = next((entry for entry in entries if not _is_number(entry)), None)
        if isinstance(entry, str):
            raise ValueError(
                f"X must hold numbers, but its column {name!r} holds strings such as {str(entry)!r}; encode it, for "
                "example with OneHotEncoder in a ColumnTransformer"
            ) from error
        if entry is not None:
            raise type(error)(f"X must hold numbers, but its column {name!r} holds {entry!r}: {error}") from error


def _refuse_not_finite(X: Any, error: Exception) -> None:
    """Raise an error that also names the first column of a data frame with an entry that is not finite."""
    for place, (name, _) in enumerate(columns_of(X)):
        entries = np.asarray(entries_of(X, place), dtype=np.float64)
        if not np.isfinite(entries).all():
            row = int(np.argmin(np.isfinite(entries)))
            raise ValueError(f"{error}\nIts column {name!r} holds {entries[row]} in row {row}.") from error


def _is_number(entry: Any) -> bool:
    try:
        float(entry)
    except (TypeError, ValueError):
        return False
    return True


def check_logits(estimator: BaseEstimator, X: Any, *, reset: bool) -> Array:
    """Return an X that holds logits as an array (n, K); they may be infinite but not NaN."""
    X = without_tensors(X, "X")
    refuse_unreadable(X)
    refuse_dates_and_bytes(X)
    logits: Array = validate_data(estimator, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite=False)
    if np.isnan(logits).any():
        row = int(np.argmax(np.isnan(logits).any(axis=1)))
        raise ValueError(
            f"Input X contains NaN: with estimator='logits' X holds logits, but row {row} is {logits[row]}; drop or "
            "repair such rows"
        )
    return logits
