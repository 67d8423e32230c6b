"""Sparse X, block by block."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from skactivation._data.blocks import absent_rows
from skactivation._data.features import COMBINE_WEIGHT_FACTS, Columns, FeatureBlock, FeatureRowsInBlocks, WeightFacts
from skactivation._data.targets import Targets
from skactivation._threads import even_slices
from skactivation._typing import Array

# Rows of a block: fewer leave more blocks for threads, more need fewer calls. A sparse product reads all coefficients,
# so a block must have many entries for each coefficient.
_BLOCK_ROWS = 8192
_ENTRIES_PER_COEFFICIENT = 8
# Largest number of logits of a block, which limits memory.
_MOST_LOGITS = 2**21
# Elements of a dense array made from sparse rows: 8 MB.
_DENSE_SIZE = 2**20


class SparseBlock(FeatureBlock):
    """A slice of rows of a sparse X. Centring is applied to the coefficients, so that zeros stay zeros."""

    def __init__(self, data: FeatureRowsInBlocks, rows: slice, x: Any, absent: Array | None) -> None:
        self.rows, self.all_targets, self.all_weights, self.x = rows, data.targets, data.weights, x
        self._offsets, self._fit_intercept, self._absent = data.offsets, data.fit_intercept, absent

    def logits(self, coefficients: Array) -> Array:
        of_features = coefficients[:, : self._offsets.size].astype(self.x.dtype, copy=False)
        z: Array = np.array(of_features @ self.x.T, order="C")
        if self._fit_intercept:
            z += (coefficients[:, -1] - of_features @ self._offsets)[:, np.newaxis].astype(z.dtype)
        if self._absent is not None:
            z[:, self._absent] = 0
        return z

    def gradient(self, residuals: Array) -> Array:
        return self._with_intercept(residuals @ self.x, residuals.sum(axis=1), self._offsets)

    def squares(self, weights: Array) -> Array:
        totals = weights.sum(axis=1)
        # sum w (x - c)^2 = sum w x^2 - 2 c sum w x + c^2 sum w
        uncentred = weights @ self.x.multiply(self.x) - 2 * self._offsets * (weights @ self.x)
        return self._with_intercept(uncentred, totals, -np.square(self._offsets))

    def grams(self, weights: Array) -> Array:
        lengths = np.diff(self.x.indptr)
        size = self._offsets.size + self._fit_intercept
        products = np.empty((len(weights), size, size))
        weighted = self.x.copy()
        for weight, product in zip(weights, products, strict=True):
            weighted.data = self.x.data * np.repeat(weight, lengths)
            uncentred = (self.x.T @ weighted).toarray()
            if not self._fit_intercept:
                product[:] = uncentred
                continue
            sums, total = weight @ self.x, weight.sum()
            product[-1, -1] = total
            product[-1, :-1] = product[:-1, -1] = sums - total * self._offsets
            # sum w (x - c)(x - c)^T = sum w x x^T - c sum w x^T - (sum w (x - c)) c^T
            product[:-1, :-1] = uncentred - np.outer(self._offsets, sums) - np.outer(product[:-1, -1], self._offsets)
        return products

    def quadratic_forms(self, form: Array) -> Array:
        # The form in [x - c, 1] is rewritten as a form in x with linear and constant terms.
        n_features = self._offsets.size
        own = form[:n_features, :n_features]
        cross = -2 * (own @ self._offsets)
        constant = self._offsets @ own @ self._offsets
        if self._fit_intercept:
            cross += 2 * form[:n_features, -1]
            constant += form[-1, -1] - 2 * form[-1, :n_features] @ self._offsets
        forms = np.empty(self.x.shape[0])
        step = max(1, _DENSE_SIZE // n_features)
        for start in range(0, forms.size, step):
            x = self.x[start : start + step]
            forms[start : start + step] = np.asarray(x.multiply(x @ own).sum(axis=1)).ravel() + x @ cross
        forms += constant
        if self._absent is not None:
            forms[self._absent] = 0
        return forms

    def columns(self) -> Iterator[Array]:
        step = max(1, _DENSE_SIZE // self._offsets.size)
        for start in range(0, self.x.shape[0], step):
            part = self.x[start : start + step]
            x = np.ones((part.shape[0], self._offsets.size + self._fit_intercept))
            np.subtract(part.toarray(), self._offsets, out=x[:, : self._offsets.size])
            if self._absent is not None:
                x[self._absent[start : start + step]] = 0
            yield x

    def _with_intercept(self, sums: Array, totals: Array, offsets: Array) -> Array:
        """Centre sums over the columns of X, and append the totals for the intercept."""
        if not self._fit_intercept:
            return sums
        centred = np.empty((totals.size, offsets.size + 1), np.result_type(sums, totals, offsets))
        np.multiply(totals[:, np.newaxis], -offsets, out=centred[:, :-1])
        centred[:, :-1] += sums
        centred[:, -1] = totals
        return centred


class SparseRows(FeatureRowsInBlocks):
    """A sparse X in CSR or CSC format."""

    def __init__(
        self, X: Any, targets: Targets, weights: Array | None, *, n_outputs: int, fit_intercept: bool, columns: Columns
    ) -> None:
        super().__init__(X, targets, weights, n_outputs=n_outputs, fit_intercept=fit_intercept, columns=columns)
        # A view: checking the format would set flags on X itself.
        view = sparse.csr_array((X.data, X.indices, X.indptr), shape=X.shape) if X.format == "csr" else None
        self._is_tidy = view is not None and bool(view.has_canonical_format)
        self._absent = absent_rows(weights)
        self.dtype = X.dtype
        self.n_entries = X.nnz + self.n_columns
        # Sparse products and sigmoids take longer than their number of multiplications suggests.
        self.work = 8.0 * (self.n_entries + self.n_rows) * n_outputs
        # Each entry is multiplied with all entries of its row, in slow sparse code.
        self.gram_cost = 20.0 * self.n_entries**2 / self.n_rows + self.n_columns**2
        wanted = min(-(-self.n_rows // _BLOCK_ROWS), X.nnz // (_ENTRIES_PER_COEFFICIENT * self.n_features))
        self.slices = even_slices(self.n_rows, max(wanted, self.n_rows * n_outputs // _MOST_LOGITS))

    @property
    def offsets(self) -> Array:
        """Offsets (d,) subtracted after sums are formed."""
        return self.columns.center * self.columns.units

    def blocks(self, slices: list[slice], dtype: Any) -> Iterator[SparseBlock]:
        """Yield the blocks of the given slices."""
        units = self.columns.units
        for rows in slices:
            absent = None if self._absent is None else self._absent[rows]
            x = self._slice(rows)
            if units.min() != 1 or units.max() != 1:
                x.data = x.data * units[x.indices]
            x = x.astype(dtype, copy=False)
            yield SparseBlock(self, rows, x, absent)

    def _slice(self, rows: slice) -> Any:
        """Rows in CSR format. They share X's memory if it is canonical, since SciPy then changes nothing in place."""
        if not self._is_tidy:
            return sparse.csr_array(self._X[rows])
        part = csr_slice(self._X, rows)
        part.has_canonical_format = True
        return part

    def _measure(self) -> tuple[Columns, WeightFacts]:
        kinds = (np.maximum, np.add, np.add, *COMBINE_WEIGHT_FACTS)
        largest, mean, sum_of_weights, *facts = self.sum(_ranges, self.n_rows, size=2 * self.n_features, combine=kinds)
        mean = mean * (self.n_rows / sum_of_weights)
        center = mean if self.fit_intercept else np.zeros(self.n_features)
        return Columns.of_range(center, largest + np.abs(center), self.dtype), WeightFacts(*facts)


def csr_slice(X: Any, rows: slice) -> Any:
    """A slice of the rows of a CSR array, which shares its memory; SciPy's own slices are copies."""
    indptr = X.indptr[rows.start : rows.stop + 1]
    entries = slice(indptr[0], indptr[-1])
    return sparse.csr_array(
        (X.data[entries], X.indices[entries], indptr - indptr[0]), shape=(rows.stop - rows.start, X.shape[1])
    )


def _ranges(block: SparseBlock, n_rows: int) -> tuple[Any, ...]:
    """Largest absolute value and weighted sum / n_rows of each feature over rows of positive weight; weight facts."""
    x, of_rows, facts = block.x, *block.row_weights()
    if of_rows.min() == 0:
        x, of_rows = x[of_rows > 0], of_rows[of_rows > 0]
    # Duplicate entries may make this too small by a factor, which is harmless: it only keeps numbers in range.
    largest = abs(x).max(axis=0).toarray().ravel() if x.shape[0] else np.zeros(x.shape[1])
    return largest.astype(np.float64), (of_rows / n_rows) @ x, of_rows.sum(), *facts
