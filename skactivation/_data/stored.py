"""Rows that something else holds, such as a file, and that are read by slices: HDF5 data sets, Zarr arrays."""

from threading import Lock
from typing import Any

import numpy as np
from scipy import sparse

from skactivation._arrays import columns_of, is_tensor
from skactivation._typing import Array

# Numbers that are read at once where the caller does not say how many rows: 8 MB.
_READ_SIZE = 2**20


def is_stored(X: Any) -> bool:
    """Whether X is an array of numbers in two dimensions that is no NumPy array, tensor, sparse array or data frame."""
    if isinstance(X, np.ndarray) or sparse.issparse(X) or is_tensor(X) or columns_of(X):
        return False
    shape, dtype = getattr(X, "shape", None), getattr(X, "dtype", None)
    is_array = isinstance(shape, tuple) and len(shape) == 2 and getattr(dtype, "kind", "") in tuple("biuf")
    return is_array and hasattr(X, "__getitem__")


class StoredRows:
    """X (n, d) in a file or elsewhere: ``X[a:b]`` reads rows. One thread reads at a time.

    Parameters
    ----------
    source : object
        Has `shape` and `dtype`, and ``source[a:b]`` gives what NumPy can read.
    """

    ndim = 2

    def __init__(self, source: Any) -> None:
        self._source, self._lock = source, Lock()
        self.shape: tuple[int, int] = source.shape
        self.dtype = np.dtype(np.float32 if source.dtype.kind == "f" and source.dtype.itemsize < 8 else np.float64)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """The number of entries."""
        return self.shape[0] * self.shape[1]

    def __getitem__(self, rows: Any) -> Array:
        """Rows given by a slice or by their numbers, of all columns or of a slice of them: ``X[rows, columns]``."""
        rows, columns = rows if isinstance(rows, tuple) else (rows, slice(None))
        if isinstance(rows, slice):
            with self._lock:
                return np.asarray(self._source[rows, columns] if columns != slice(None) else self._source[rows]).astype(
                    self.dtype, copy=False
                )
        found = np.empty((len(rows), self.shape[1]), self.dtype)
        order = np.argsort(rows, kind="stable")
        ascending = np.asarray(rows)[order]
        for part in self._slices():
            first, last = np.searchsorted(ascending, (part.start, part.stop))
            if first < last:
                found[order[first:last]] = self[part][ascending[first:last] - part.start]
        return found[:, columns]

    def refuse_not_finite(self) -> None:
        """Raise an error that names the first row with an entry that is not finite, if there is one."""
        for part in self._slices():
            bad = ~np.isfinite(self[part]).all(axis=1)
            if bad.any():
                row = part.start + int(np.argmax(bad))
                raise ValueError(f"Input X contains NaN or infinity, first in row {row}; drop or repair such rows")

    def _slices(self) -> list[slice]:
        step = max(1, _READ_SIZE // max(1, self.shape[1]))
        return [slice(start, min(start + step, len(self))) for start in range(0, len(self), step)]
