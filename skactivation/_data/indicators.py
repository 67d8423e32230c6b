"""Multilabel y, stored compactly: an `Indicator` gives the signs or values of 0, 1, soft and unknown labels."""

from copy import copy
from typing import Any, Self

import numpy as np
from scipy import sparse

from skactivation._data.labels import as_label_columns
from skactivation._threads import even_slices
from skactivation._typing import Array

# Entries of Y that are processed together.
_PART_SIZE = 2**20
_UNKNOWN = 2


class Indicator:
    """Y (n, L): which labels each row has. NaN is an unknown label, a number between 0 and 1 a soft label.

    Without soft labels, each entry (dense) or stored entry (sparse) takes one byte.
    """

    def __init__(self, Y: Any) -> None:
        columns = as_label_columns(Y)
        self.names, self.dtype, values = columns.names, columns.dtype, columns.values
        self.n_rows, self.n_labels = values.shape
        self.is_sparse = bool(sparse.issparse(values))
        # Class of sparse predictions; None for dense ones.
        self.container: str | None = None
        if self.is_sparse:
            self.container = "csr_array" if isinstance(Y, sparse.sparray) else "csr_matrix"
        entries = values.data if self.is_sparse else values
        known = ~np.isnan(entries) if entries.dtype.kind == "f" else np.ones((1, 1), dtype=bool)
        self.all_known = bool(known.all())
        self.is_hard = bool(np.all((entries == 0) | (entries == 1) | ~known))
        self._values: Any = None if self.is_hard else values
        self._signs: Array | None = None
        self._all = np.arange(self.n_labels)
        self._codes: Any = None
        if self.is_hard and self.is_sparse:
            codes = np.where(entries == 0, 0, np.where(entries == 1, 1, _UNKNOWN)).astype(np.int8)
            self._codes = sparse.csr_array((codes, values.indices, values.indptr), shape=values.shape)
        elif self.is_hard:
            self._signs = np.empty((self.n_labels, self.n_rows), dtype=np.int8)
            for rows in self.slices():
                part = values[rows].T
                signs = np.subtract(1, 2 * part.astype(np.int8) if self.all_known else np.nan_to_num(2 * part, nan=1.0))
                self._signs[:, rows] = signs

    def take(self, chosen: Array) -> Self:
        """The rows with the given numbers."""
        other = copy(self)
        other.n_rows = chosen.size
        other._values, other._codes = (
            None if entries is None else entries[chosen] for entries in (self._values, self._codes)
        )
        other._signs = None if self._signs is None else self._signs[:, chosen]
        return other

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """The rows of several parts with the same labels, all of them dense."""
        other = copy(parts[0])
        other.n_rows = sum(part.n_rows for part in parts)
        other.all_known, other.is_hard = all(part.all_known for part in parts), all(part.is_hard for part in parts)
        other._values = other._signs = other._codes = None
        if other.is_hard:
            other._signs = np.concatenate([part.signs(slice(None), part._all) for part in parts], axis=1)
        else:
            other._values = np.concatenate([part.values(slice(None), part._all).T for part in parts])
        return other

    def slices(self) -> list[slice]:
        """Slices of rows that are processed together."""
        return even_slices(self.n_rows, -(-self.n_rows * self.n_labels // _PART_SIZE))

    def signs(self, rows: Any, outputs: Array) -> Array:
        """-1 for yes, 1 for no, 0 for unknown, int8 (., b), for the given rows and labels. Y must not be soft."""
        if self._signs is not None:
            if np.array_equal(outputs, self._all):
                return self._signs[:, rows]
            return self._signs[outputs, rows] if isinstance(rows, slice) else self._signs[np.ix_(outputs, rows)]
        return self._from_entries(self._codes, rows, outputs, np.array([1, -1, 0], dtype=np.int8))

    def values(self, rows: Any, outputs: Array) -> Array:
        """Y as floats (., b) for the given rows and labels; NaN for unknown."""
        if self.is_hard:
            return np.asarray(np.array([1.0, np.nan, 0.0])[self.signs(rows, outputs) + 1])
        if self.is_sparse:
            return self._from_entries(self._values, rows, outputs, None)
        return np.asarray(self._values[rows][:, outputs].T, dtype=np.float64)

    def _from_entries(self, entries: Any, rows: Any, outputs: Array, table: Array | None) -> Array:
        """Entries of a sparse array (., b), mapped by a table if one is given."""
        once, places = np.unique(outputs, return_inverse=True)
        if once.size < outputs.size:
            return self._from_entries(entries, rows, once, table)[places]
        part = entries[rows]
        place = np.full(self.n_labels, -1)
        place[outputs] = np.arange(outputs.size)
        row = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
        label = place[part.indices]
        chosen = label >= 0
        shape = outputs.size, part.shape[0]
        if table is None:
            result = np.zeros(shape)
            result[label[chosen], row[chosen]] = part.data[chosen]
            return result
        result = np.full(shape, table[0])
        result[label[chosen], row[chosen]] = table[part.data[chosen]]
        return result
