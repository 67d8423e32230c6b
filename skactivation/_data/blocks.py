"""The one seam for data: sums of terms over blocks of rows that stay in cache, on all threads that the caller allows.

X is never copied, scaled or centred as a whole. Coefficients theta of shape (K, D) belong to *columns*: X's own,
centred, then (with an intercept) a column of ones. Centring keeps the digits of columns with a large common offset.
A row of weight 0 isn't there, whatever numbers it holds: its columns and logits are 0.

Blocks, their grouping and the order of all sums follow from the data's shape alone: results are the same bits for any
number of threads.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from skactivation._threads import even_slices, in_threads
from skactivation._typing import Array

__all__ = [
    "Block",
    "Blocks",
    "DenseRows",
    "Rows",
    "SparseRows",
    "absent_rows",
    "dense_slices",
    "rows_of",
    "sum_over_blocks",
]

# What a term returns for a block: numbers and arrays, combined with those of the other blocks.
Parts = tuple[Any, ...]

# Numbers of 8 bytes, of X and of the logits, in a block of dense rows, measured: smaller ones pay for calls and for
# waiting on Python's lock, larger ones for memory. Small data are split too, for threads, as long as it pays.
_DENSE_BLOCK_SIZE = 2**19
_LEAST_BLOCK_SIZE = 2**16
_LEAST_BLOCK_ROWS = 64
# Centred columns that are kept from one evaluation to the next, in elements: 16 MB.
_KEPT_SIZE = 2**21
_BLOCKS_WANTED = 16
# Products of entries and outputs from which on float64 data, too, are evaluated in float32 until a proof is at stake.
_COARSE_WORK = 2**25
# Elements up to which one call for many products is quicker than a call for each at half the operations.
_SMALL_PRODUCT_SIZE = 2**13
# Products of every two columns are worth forming for more weights than this share of the columns, and few columns;
# measured, as is their size.
_PAIRS_FROM, _MOST_COLUMNS_IN_PAIRS, _PAIRS_SIZE = 0.3, 128, 2**18
# Sparse products go over all coefficients in every block: that must be little beside the block's entries.
_SPARSE_BLOCK_ROWS = 8192
_ENTRIES_PER_COEFFICIENT = 8
_MOST_SPARSE_LOGITS = 2**21
# Elements of a dense array made from sparse rows: 8 MB.
_DENSE_PART_SIZE = 2**20
# Elements of the partial sums that are held at once: 64 MB.
_PARTIAL_SUMS_SIZE = 2**23
_MOST_GROUPS = 32


class Block(Protocol):
    """Some rows of X with what a linear model needs of them. It is valid until the next block is asked for."""

    def logits(self, theta: Array) -> Array:
        """Class-major logits (K, b) for coefficients (K, D)."""

    def gradient(self, residuals: Array) -> Array:
        """Sum over the rows of residual times columns, (K, D), for class-major residuals (K, b)."""

    def squares(self, weights: Array) -> Array:
        """Sum over the rows of weight times squared columns, (K, D), for class-major weights (K, b)."""

    def grams(self, weights: Array) -> Array:
        """Sums over the rows of weight times products of columns, (P, D, D), for weights (P, b), none negative."""

    def quadratic_forms(self, form: Array) -> Array:
        """x^T A x of each row's columns x, (b,), for a symmetric matrix A (D, D)."""

    def columns(self) -> Iterator[Array]:
        """The columns as arrays (., D) that are small enough for any kind of X."""


class Blocks(Protocol):
    """Data, block by block."""

    n_passes: int
    """How often all rows have been read."""
    slices: list[slice]
    """The rows of each block."""

    @property
    def only(self) -> tuple[slice, Any] | None:
        """The one block, in float64, that small data consist of; None where blocks are made each time."""

    def blocks(self, slices: list[slice], dtype: Any) -> Iterator[tuple[slice, Any]]:
        """Yield some blocks, one at a time, each with the slice of the rows that it holds."""


class Rows(Blocks, Protocol):
    """X, block by block."""

    n_rows: int
    n_columns: int
    dtype: Any
    """What sums that need not be exact are computed in."""
    center: Array
    """What is taken from X's columns (d,)."""
    offsets: Array
    """What is taken from the columns after sums are formed, not before: digits are lost where it is large."""
    largest: Array
    """Largest absolute value of the centred columns (d,), in X's units."""
    units: Array
    """Powers of two (d,) by which columns are multiplied: 1 but for numbers whose squares leave the range of floats."""
    n_entries: int
    """Entries that a product has to look at."""
    gram_cost: float
    """Operations, about, that products of the columns with each other take."""

    def part(self, chosen: Array, weights: Array) -> "Rows":
        """Some rows, given by their numbers and new weights, with the same columns."""


def sum_over_blocks(
    rows: Blocks, term: Callable[[slice, Any], Parts], *, size: int, dtype: Any = np.float64, combine: Any = np.add
) -> Parts:
    """Add up what a term gives for each block, in an order that follows from the data's shape alone.

    Blocks are reduced in groups, each on one thread, then groups are. `size` is the number of elements of all parts,
    `dtype` that of the columns and logits, `combine` the ufunc that stands for the sum, or one for each part.
    """
    rows.n_passes += 1
    if rows.only is not None and dtype == np.float64:
        return term(*rows.only)
    n_blocks = len(rows.slices)
    n_groups = min(n_blocks, _MOST_GROUPS, max(2, _PARTIAL_SUMS_SIZE // size))

    def joined(total: Parts, parts: Parts) -> Parts:
        ufuncs = combine if isinstance(combine, tuple) else (combine,) * len(parts)
        return tuple(
            # In place, since a partial sum is nobody else's.
            ufunc(before, part, out=before) if isinstance(before, np.ndarray) and before.ndim else ufunc(before, part)
            for ufunc, before, part in zip(ufuncs, total, parts, strict=True)
        )

    def reduced_group(group: int) -> Parts:
        blocks = rows.blocks(rows.slices[group * n_blocks // n_groups : (group + 1) * n_blocks // n_groups], dtype)
        total = term(*next(blocks))
        for where, block in blocks:
            total = joined(total, term(where, block))
        return total

    total, *others = in_threads(reduced_group, n_groups)
    for parts in others:
        total = joined(total, parts)
    return total


def rows_of(X: Any, n_outputs: int, weights: Array | None, *, fit_intercept: bool) -> Rows:
    """Return the rows of a validated X, dense or sparse, for a number of logits a row."""
    kind = SparseRows if sparse.issparse(X) else DenseRows
    return kind(X, n_outputs, weights, fit_intercept=fit_intercept)


def dense_slices(n_rows: int, n_columns: int, dtype: Any) -> list[slice]:
    """Blocks of dense rows: of X and its logits, with some number of columns together."""
    size = n_rows * n_columns * np.dtype(dtype).itemsize // 8
    wanted = max(-(-size // _DENSE_BLOCK_SIZE), min(_BLOCKS_WANTED, size // _LEAST_BLOCK_SIZE))
    return even_slices(n_rows, min(wanted, n_rows // _LEAST_BLOCK_ROWS))


def _units(largest: Array, dtype: Any) -> Array:
    """Powers of two that take columns near 1 where the squares of their values would overflow or vanish."""
    exponents = np.frexp(np.where(largest > 0, largest, 1.0))[1]
    extreme = np.abs(exponents) > (300 if dtype == np.float64 else 40)
    return np.ldexp(1.0, np.where(extreme, -exponents, 0))


def absent_rows(weights: Array | None) -> Array | None:
    """Which rows (n,) have weight 0, or None for none."""
    if weights is None or weights.min() > 0:
        return None
    absent: Array = weights == 0
    return absent


class _Buffers:
    """Room for the columns and the logits of a block: fresh memory would cost as much as the work in it."""

    def __init__(self, n_rows: int, n_columns: int, n_outputs: int, dtype: Any) -> None:
        # Memory that is never touched takes no room.
        self.columns = np.empty((n_rows, n_columns), dtype)
        self.logits = np.empty(n_outputs * n_rows, dtype)
        self._weighted: Array | None = None

    @property
    def weighted(self) -> Array:
        """Room for weighted columns, made when it is first needed."""
        if self._weighted is None:
            self._weighted = np.empty_like(self.columns)
        return self._weighted


class DenseBlock:
    """Centred columns x (b, D) of some rows."""

    def __init__(self, x: Array, buffers: _Buffers) -> None:
        self._x = x
        self._buffers = buffers

    def logits(self, theta: Array) -> Array:
        shape = len(theta), len(self._x)
        z = self._buffers.logits[: shape[0] * shape[1]].reshape(shape)
        return np.matmul(theta.astype(z.dtype, copy=False), self._x.T, out=z)

    def gradient(self, residuals: Array) -> Array:
        return residuals @ self._x

    def squares(self, weights: Array) -> Array:
        return weights @ np.square(self._x)

    def grams(self, weights: Array) -> Array:
        n_columns = self._x.shape[1]
        if weights.size * n_columns <= _SMALL_PRODUCT_SIZE:
            return np.asarray(np.matmul(weights[:, np.newaxis, :] * self._x.T, self._x))
        if len(weights) > _PAIRS_FROM * n_columns + 2 and n_columns <= _MOST_COLUMNS_IN_PAIRS:
            return self._grams_from_pairs(weights)
        products = np.empty((len(weights), n_columns, n_columns), self._x.dtype)
        weighted = self._buffers.weighted[: len(self._x)]
        for roots, product in zip(np.sqrt(weights).astype(self._x.dtype, copy=False), products, strict=True):
            np.multiply(self._x, roots[:, np.newaxis], out=weighted)
            # A matrix times its own transpose takes half of a product's operations.
            np.matmul(weighted.T, weighted, out=product)
        return products

    def _grams_from_pairs(self, weights: Array) -> Array:
        """The same where weights are many: each product of two columns is formed once, for all of them."""
        n_rows, n_columns = self._x.shape
        n_pairs = n_columns * (n_columns + 1) // 2
        step = max(_LEAST_BLOCK_ROWS, _PAIRS_SIZE // n_pairs)
        weights = weights.astype(self._x.dtype, copy=False)
        sums = np.zeros((len(weights), n_pairs), self._x.dtype)
        pairs = np.empty((n_pairs, step), self._x.dtype)
        for start in range(0, n_rows, step):
            columns = np.ascontiguousarray(self._x[start : start + step].T)
            pairs_there, end = pairs[:, : columns.shape[1]], 0
            for first in range(n_columns):
                begin, end = end, end + n_columns - first
                np.multiply(columns[first:], columns[first], out=pairs_there[begin:end])
            sums += weights[:, start : start + step] @ pairs_there.T
        products = np.empty((len(weights), n_columns, n_columns), self._x.dtype)
        rows, columns = np.triu_indices(n_columns)
        products[:, rows, columns] = sums
        products[:, columns, rows] = sums
        return products

    def quadratic_forms(self, form: Array) -> Array:
        forms: Array = np.einsum("ij,ij->i", self._x @ form, self._x)
        return forms

    def columns(self) -> Iterator[Array]:
        yield self._x


class DenseRows:
    """A dense X, C- or Fortran-ordered, float32 or float64, in memory or memory-mapped."""

    def __init__(
        self, X: Array, n_outputs: int, weights: Array | None, *, fit_intercept: bool, like: Rows | None = None
    ) -> None:
        self._X = X
        self._n_outputs = n_outputs
        self._absent = absent_rows(weights)
        self._scaled = False
        self._columns: dict[Any, Array] = {}
        self.only: tuple[slice, Block] | None = None
        self.n_rows, n_features = X.shape
        self.n_columns = n_features + fit_intercept
        self.n_passes = 0
        self.n_entries = self.n_rows * self.n_columns
        self.gram_cost = self.n_entries * (self.n_columns + 10.0)
        is_kept = self.n_entries <= _KEPT_SIZE
        # float32 where that is worth it.
        is_coarse = self.n_entries * n_outputs > _COARSE_WORK or (X.dtype == np.float32 and not is_kept)
        self.dtype = np.dtype(np.float32 if is_coarse else np.float64)
        self.slices = dense_slices(self.n_rows, self.n_columns + n_outputs, self.dtype)
        # Buffers that no thread holds at the moment.
        self._free: dict[Any, deque[_Buffers]] = {np.dtype(kind): deque() for kind in (np.float32, np.float64)}
        self.offsets = np.zeros(n_features)
        if like is None:
            self.center, self.units = np.zeros(n_features), np.ones(n_features)
            self.center, self.largest = self._ranges(weights)
            self.units = _units(self.largest, self.dtype)
        else:
            self.center, self.largest, self.units = like.center, like.largest, like.units
        self._scaled = bool((self.units != 1).any())
        if is_kept:
            columns = np.empty((self.n_rows, self.n_columns))
            self._fill(columns, slice(0, self.n_rows))
            self._columns = {columns.dtype: columns, self.dtype: columns.astype(self.dtype, copy=False)}
            if len(self.slices) == 1:
                buffers = _Buffers(self.n_rows, self.n_columns, n_outputs, np.float64)
                self.only = self.slices[0], DenseBlock(columns, buffers)

    def row_products(self) -> Array:
        """Products (n, n) of the rows of X with each other, centred."""
        step = max(1, _DENSE_BLOCK_SIZE // self.n_rows)
        n_parts = -(-self.center.size // step)
        n_groups = min(n_parts, max(2, _PARTIAL_SUMS_SIZE // self.n_rows**2), _MOST_GROUPS)

        def products(group: int) -> Array:
            total = np.zeros((self.n_rows, self.n_rows))
            for part in range(group * n_parts // n_groups, (group + 1) * n_parts // n_groups):
                columns = slice(part * step, (part + 1) * step)
                x = self._X[:, columns] - self.center[columns]
                if self._absent is not None:
                    x[self._absent] = 0
                total += x @ x.T
            return total

        self.n_passes += 1
        total, *others = in_threads(products, n_groups)
        for part in others:
            total += part
        return total

    def part(self, chosen: Array, weights: Array) -> "DenseRows":
        fit_intercept = self.n_columns > self.center.size
        return DenseRows(self._X[chosen], self._n_outputs, weights, fit_intercept=fit_intercept, like=self)

    def blocks(self, slices: list[slice], dtype: Any) -> Iterator[tuple[slice, Block]]:
        free = self._free[np.dtype(dtype)]
        try:
            buffers = free.pop()
        except IndexError:
            longest = max(rows.stop - rows.start for rows in self.slices)
            buffers = _Buffers(longest, self.n_columns, self._n_outputs, dtype)
        if np.dtype(dtype) in self._columns:
            for rows in slices:
                yield rows, DenseBlock(self._columns[np.dtype(dtype)][rows], buffers)
        else:
            for rows in slices:
                x = buffers.columns[: rows.stop - rows.start]
                self._fill(x, rows)
                yield rows, DenseBlock(x, buffers)
        free.append(buffers)

    def _fill(self, columns: Array, rows: slice) -> None:
        """Put centred columns of some rows into an array."""
        # A centre of float32 data is one of theirs: the difference is exact enough in either precision.
        x, n_features = self._X[rows], self.center.size
        center = self.center.astype(np.result_type(x, columns), copy=False)
        if self._scaled:
            columns[:, :n_features] = (x.astype(np.float64, copy=False) - center) * self.units
        else:
            np.subtract(x, center, out=columns[:, :n_features], casting="same_kind")
        columns[:, n_features:] = 1
        if self._absent is not None:
            columns[self._absent[rows]] = 0

    def _ranges(self, weights: Array | None) -> tuple[Array, Array]:
        """The centre of each feature, and its largest distance from there, in rows of positive weight."""
        n_features = self.center.size
        total = self.n_rows if weights is None else weights.sum()

        def term(rows: slice, block: Block) -> Parts:
            (x,) = block.columns()
            x = x[:, :n_features]
            share = np.full(len(x), 1 / total) if weights is None else weights[rows] / total
            if self._absent is not None:
                x = x[~self._absent[rows]]
                share = share[~self._absent[rows]]
            return x.min(axis=0, initial=np.inf), x.max(axis=0, initial=-np.inf), share @ x

        low, high, center = sum_over_blocks(self, term, size=3 * n_features, combine=(np.minimum, np.maximum, np.add))
        if self.n_columns == n_features:
            return np.zeros(n_features), np.maximum(high, -low)
        # A constant column is centred to exact zeros; a mean may leave its range by a rounding. A centre that X's dtype
        # holds is the same in float32 and in float64.
        np.minimum(np.maximum(center, low), high, out=center)
        np.copyto(center, low, where=low == high)
        center = np.asarray(center.astype(np.result_type(self._X.dtype, self.dtype)), dtype=np.float64)
        return center, np.maximum(high - center, center - low)


class SparseBlock:
    """Some rows of a sparse X; centring is done on the coefficients' side, so that zeros stay zeros."""

    def __init__(self, x: Any, center: Array, fit_intercept: bool, absent: Array | None) -> None:
        self._x = x
        self._center = center
        self._fit_intercept = fit_intercept
        self._absent = absent

    def logits(self, theta: Array) -> Array:
        weights = theta[:, : self._center.size].astype(self._x.dtype, copy=False)
        z: Array = np.array(weights @ self._x.T, order="C")
        if self._fit_intercept:
            z += (theta[:, -1] - weights @ self._center)[:, np.newaxis].astype(z.dtype)
        if self._absent is not None:
            z[:, self._absent] = 0
        return z

    def gradient(self, residuals: Array) -> Array:
        return self._with_intercept(residuals @ self._x, residuals.sum(axis=1), self._center)

    def squares(self, weights: Array) -> Array:
        x, totals = self._x, weights.sum(axis=1)
        # sum w (x - c)^2 = sum w x^2 - 2 c sum w x + c^2 sum w
        uncentred = weights @ x.multiply(x) - 2 * self._center * (weights @ x)
        return self._with_intercept(uncentred, totals, -np.square(self._center))

    def grams(self, weights: Array) -> Array:
        lengths = np.diff(self._x.indptr)
        size = self._center.size + self._fit_intercept
        products = np.empty((len(weights), size, size))
        weighted = self._x.copy()
        for weight, product in zip(weights, products, strict=True):
            weighted.data = self._x.data * np.repeat(weight, lengths)
            uncentred = (self._x.T @ weighted).toarray()
            if not self._fit_intercept:
                product[:] = uncentred
                continue
            sums, total = weight @ self._x, weight.sum()
            product[-1, -1] = total
            product[-1, :-1] = product[:-1, -1] = sums - total * self._center
            # sum w (x - c)(x - c)^T = sum w x x^T - c sum w x^T - (sum w (x - c)) c^T
            product[:-1, :-1] = uncentred - np.outer(self._center, sums) - np.outer(product[:-1, -1], self._center)
        return products

    def quadratic_forms(self, form: Array) -> Array:
        # In x itself: [x - c, 1] = [x, 1] shifted by a matrix, which is moved over to the form.
        n_features = self._center.size
        own = form[:n_features, :n_features]
        cross = -2 * (own @ self._center)
        constant = self._center @ own @ self._center
        if self._fit_intercept:
            cross += 2 * form[:n_features, -1]
            constant += form[-1, -1] - 2 * form[-1, :n_features] @ self._center
        forms = np.empty(self._x.shape[0])
        step = max(1, _DENSE_PART_SIZE // n_features)
        for start in range(0, forms.size, step):
            x = self._x[start : start + step]
            forms[start : start + step] = np.asarray(x.multiply(x @ own).sum(axis=1)).ravel() + x @ cross
        forms += constant
        if self._absent is not None:
            forms[self._absent] = 0
        return forms

    def columns(self) -> Iterator[Array]:
        step = max(1, _DENSE_PART_SIZE // self._center.size)
        for start in range(0, self._x.shape[0], step):
            part = self._x[start : start + step]
            x = np.ones((part.shape[0], self._center.size + self._fit_intercept))
            np.subtract(part.toarray(), self._center, out=x[:, : self._center.size])
            if self._absent is not None:
                x[self._absent[start : start + step]] = 0
            yield x

    def _with_intercept(self, sums: Array, totals: Array, center: Array) -> Array:
        """Sums over X's columns, moved to the centre, beside the totals that belong to the intercept."""
        if not self._fit_intercept:
            return sums
        return np.hstack([sums - np.outer(totals, center), totals[:, np.newaxis]])


class SparseRows:
    """A sparse X in CSR or CSC format."""

    def __init__(
        self, X: Any, n_outputs: int, weights: Array | None, *, fit_intercept: bool, like: Rows | None = None
    ) -> None:
        self._X = X
        # A view, so that X's own flags stay as they are.
        view = sparse.csr_array((X.data, X.indices, X.indptr), shape=X.shape) if X.format == "csr" else None
        self.only: tuple[slice, Block] | None = None
        self._is_tidy = view is not None and bool(view.has_canonical_format)
        self._n_outputs = n_outputs
        self._fit_intercept = fit_intercept
        self._absent = absent_rows(weights)
        self.n_rows, n_features = X.shape
        self.n_columns = n_features + fit_intercept
        self.n_passes = 0
        self.n_entries = X.nnz + self.n_columns
        self.dtype = X.dtype
        # Each entry meets the others of its row, and that slowly.
        self.gram_cost = 20.0 * self.n_entries**2 / self.n_rows + self.n_columns**2
        wanted = min(-(-self.n_rows // _SPARSE_BLOCK_ROWS), X.nnz // (_ENTRIES_PER_COEFFICIENT * n_features))
        self.slices = even_slices(self.n_rows, max(wanted, self.n_rows * n_outputs // _MOST_SPARSE_LOGITS))
        self.offsets, self.units = np.zeros(n_features), np.ones(n_features)
        if like is None:
            self.center, self.largest = self._ranges(weights)
            self.units = _units(self.largest, self.dtype)
        else:
            self.center, self.largest, self.units = like.center, like.largest, like.units
        self.offsets = self.center * self.units

    def part(self, chosen: Array, weights: Array) -> "SparseRows":
        return SparseRows(self._X[chosen], self._n_outputs, weights, fit_intercept=self._fit_intercept, like=self)

    def blocks(self, slices: list[slice], dtype: Any) -> Iterator[tuple[slice, Block]]:
        for rows in slices:
            absent = None if self._absent is None else self._absent[rows]
            x = self._part(rows).astype(dtype, copy=False)
            if self.units.min() != 1 or self.units.max() != 1:
                x.data = x.data * self.units[x.indices]
            yield rows, SparseBlock(x, self.offsets, self._fit_intercept, absent)

    def _ranges(self, weights: Array | None) -> tuple[Array, Array]:
        """The mean of each feature, and a bound on its largest distance from there, in rows of positive weight."""
        n_features = self.offsets.size
        total = self.n_rows if weights is None else weights.sum()

        def term(rows: slice, block: Block) -> Parts:
            x = self._part(rows)
            share = np.full(x.shape[0], 1 / total) if weights is None else weights[rows] / total
            if self._absent is not None:
                x, share = x[~self._absent[rows]], share[~self._absent[rows]]
            # Entries stored in parts may exceed this by a factor: it only keeps numbers in range.
            largest = abs(x).max(axis=0).toarray().ravel() if x.shape[0] else np.zeros(n_features)
            return largest.astype(np.float64), share @ x

        largest, mean = sum_over_blocks(self, term, size=2 * n_features, combine=(np.maximum, np.add))
        center = mean if self._fit_intercept else np.zeros(n_features)
        return center, largest + np.abs(center)

    def _part(self, rows: slice) -> Any:
        """Some rows in CSR format; where SciPy has nothing to tidy up in place, they share X's memory."""
        if not self._is_tidy:
            return sparse.csr_array(self._X[rows])
        indptr = self._X.indptr[rows.start : rows.stop + 1]
        entries = slice(indptr[0], indptr[-1])
        part = sparse.csr_array(
            (self._X.data[entries], self._X.indices[entries], indptr - indptr[0]),
            shape=(rows.stop - rows.start, self._X.shape[1]),
        )
        part.has_canonical_format = True
        return part
