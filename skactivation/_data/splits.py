"""Splits of rows into training and test rows."""

from typing import Any

import numpy as np
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing, indexable

from skactivation._data.labels import encode_labels, shape_of
from skactivation._typing import Array


def splits_of(cv: Any, X: Any, y: Any, split_params: dict[str, Any]) -> Any:
    """Pairs of training and test rows, stratified by codes of one-dimensional labels of any kind."""
    X, y = indexable(X, y)
    # Splitters reject y of two dimensions that is soft or holds NaN: it is not encoded, and not used to stratify.
    codes = None if len(shape_of(y)) == 2 else encode_labels(y, None)[0].astype(np.intp)
    splitter = check_cv(cv, codes, classifier=codes is not None)
    return splitter.split(X, y if codes is None else codes, **split_params)


def numbers_of_rows(rows: Any) -> Array:
    """Row numbers, given as such or as a mask."""
    rows = np.asarray(rows)
    if rows.size == 0:
        return np.zeros(0, dtype=np.intp)
    return np.flatnonzero(rows) if rows.dtype == bool else rows


def selected_rows(value: Any, rows: Array, n_rows: int) -> Any:
    """The given rows of a fit parameter that has as many rows as X; any other parameter unchanged."""
    if isinstance(value, (list, tuple, range)):
        # The items may be anything: arrays of different lengths, dicts.
        return [value[row] for row in rows.tolist()] if len(value) == n_rows else value
    if isinstance(value, (str, dict)) or not any(hasattr(value, name) for name in ("shape", "__array__")):
        return value
    return _safe_indexing(indexable(value)[0], rows) if shape_of(value)[:1] == (n_rows,) else value
