"""Splits of rows into training and test rows."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, indexable

from skactivation._data.labels import encode_labels, shape_of
from skactivation._typing import Array
from skactivation._validation import as_array


def splits_of(cv: Any, X: Any, y: Any, split_params: dict[str, Any]) -> Any:
    """Pairs of training and test rows, stratified by codes of one-dimensional labels of any kind."""
    X, y = indexable(X, y)
    codes = _codes(y)
    splitter = check_cv(cv, codes, classifier=codes is not None)
    return splitter.split(X, y if codes is None else codes, **split_params)


def _codes(y: Any) -> Array | None:
    """Codes (n,) of classes by which rows can be stratified; None if there are none."""
    shape = shape_of(y)
    if len(shape) == 1:
        return encode_labels(y, None)[0].astype(np.intp)
    # Splitters reject y of several columns that is soft or holds NaN: it is not used to stratify.
    if len(shape) != 2 or shape[1] != 1 or sparse.issparse(y):
        return None
    column = as_array(y, "y")[:, 0]
    is_hard = column.dtype.kind in "OUSTbiu" or bool(np.all(np.isin(column, (0, 1))))
    return encode_labels(column, None)[0].astype(np.intp) if is_hard else None


def numbers_of_rows(rows: Any, n_rows: int) -> Array:
    """Row numbers, given as such or as a mask, checked."""
    rows = np.asarray(rows)
    if rows.size == 0:
        return np.zeros(0, dtype=np.intp)
    if rows.dtype == bool and rows.shape == (n_rows,):
        return np.flatnonzero(rows)
    if rows.dtype.kind not in "iu" or rows.ndim != 1 or rows.min() < -n_rows or rows.max() >= n_rows:
        raise ValueError(f"rows must be numbers below {n_rows} in one dimension, or a mask of {n_rows} rows")
    return np.asarray(rows % n_rows)


def selected_rows(value: Any, rows: Array, n_rows: int) -> Any:
    """The given rows of a fit parameter that has as many rows as X; any other parameter unchanged."""
    if isinstance(value, (list, tuple, range)):
        # The items may be anything: arrays of different lengths, dicts.
        return [value[row] for row in rows.tolist()] if len(value) == n_rows else value
    if isinstance(value, (str, dict)) or not any(hasattr(value, name) for name in ("shape", "__array__")):
        return value
    return _safe_indexing(indexable(value)[0], rows) if shape_of(value)[:1] == (n_rows,) else value
