"""Check X, the features, as users give them; for y, see `labels`."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import validate_data

from skactivation._typing import Array


def check_features(estimator: BaseEstimator, X: Any, *, reset: bool) -> Any:
    """Return X as a dense, CSR or CSC array of float32 or float64, copied only if needed."""
    refuse_masked(X)
    X = validate_data(
        estimator,
        X,
        reset=reset,
        accept_sparse=("csr", "csc"),
        accept_large_sparse=True,
        dtype=[np.float64, np.float32],
    )
    if sparse.issparse(X):
        _check_structure(X)
    return X


def refuse_masked(X: Any) -> None:
    """Raise an error for a masked array: scikit-learn would ignore the mask."""
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError("X must not be a masked array: fill or drop the masked entries")


def check_logits(estimator: BaseEstimator, X: Any, *, reset: bool) -> Array:
    """Return an X that holds logits as an array (n, K); they may be infinite but not NaN."""
    refuse_masked(X)
    logits: Array = validate_data(estimator, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite=False)
    if np.isnan(logits).any():
        row = int(np.argmax(np.isnan(logits).any(axis=1)))
        raise ValueError(
            f"Input X contains NaN: with estimator='logits' X holds logits, but row {row} is {logits[row]}; drop or "
            "repair such rows"
        )
    return logits


def _check_structure(X: Any) -> None:
    """Check the indices of a sparse array. X.check_format would change the caller's array."""
    entries: Array = X.indices[: X.indptr[-1]]
    width = X.shape[1] if X.format == "csr" else X.shape[0]
    if entries.size and not (entries.min() >= 0 and entries.max() < width):
        raise ValueError(
            f"X is not a valid sparse array: its indices must lie in 0..{width - 1}, "
            f"got {entries.min()}..{entries.max()}"
        )
    if X.indptr[0] != 0 or np.any(np.diff(X.indptr) < 0) or X.indptr[-1] > X.indices.size:
        raise ValueError("X is not a valid sparse array: its indptr must increase from 0 to the number of entries")
