"""The one seam for data: sums of terms over blocks of rows that stay in cache.

X is never copied, scaled or centred as a whole. Coefficients theta of shape (K, D) belong to *columns*: X's own,
centred, then (with an intercept) a column of ones. Centring keeps the digits of columns with a large common offset.
A row of weight 0 isn't there, whatever numbers it holds: its columns and logits are 0.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

__all__ = ["Block", "DenseRows", "Rows", "SparseRows", "rows_of"]

Array = NDArray[Any]
# What a term returns for a block: numbers and arrays, each added up over the blocks.
Parts = tuple[Any, ...]

# Elements of X and of the logits in a block of dense rows: about the size of a second-level cache.
_DENSE_BLOCK_SIZE = 65536
# Sparse products pay for a pass over all coefficients in every block, hence fewer and larger ones; but no larger than
# that their columns fit into 8 MB, where they are needed as an array.
_SPARSE_BLOCK_ROWS = 8192
_SPARSE_COLUMNS_SIZE = 2**20


class Block(Protocol):
    """Some rows of X with what a linear model needs of them."""

    def logits(self, theta: Array) -> Array:
        """Class-major logits (K, b) for coefficients (K, D)."""

    def gradient(self, residuals: Array) -> Array:
        """Sum over the rows of residual times columns, (K, D), for class-major residuals (K, b)."""

    def squares(self, weights: Array) -> Array:
        """Sum over the rows of weight times squared columns, (K, D), for class-major weights (K, b)."""

    def columns(self) -> Array:
        """The columns as an array (b, D)."""


class Rows(Protocol):
    """X, block by block."""

    n_rows: int
    n_columns: int
    center: Array
    largest: Array

    def blocks(self) -> Iterator[tuple[slice, Block]]:
        """Yield blocks in order, each with the slice of X's rows that it holds."""


def sum_over_blocks(rows: Rows, term: Callable[[slice, Block], Parts]) -> Parts:
    """Add up what a term gives for each block, always in the same order."""
    blocks = rows.blocks()
    total = term(*next(blocks))
    for block_rows, block in blocks:
        total = tuple(before + part for before, part in zip(total, term(block_rows, block), strict=True))
    return total


def rows_of(X: Any, n_classes: int, weights: Array | None, *, fit_intercept: bool) -> Rows:
    """Return the rows of a validated X, dense or sparse."""
    kind = SparseRows if sparse.issparse(X) else DenseRows
    return kind(X, n_classes, weights, fit_intercept=fit_intercept)


def _absent_rows(weights: Array | None) -> Array | None:
    """Which rows (n,) have weight 0, or None for none."""
    if weights is None or weights.min() > 0:
        return None
    absent: Array = weights == 0
    return absent


def _present_rows(x: Any, shares: Array) -> tuple[Any, Array]:
    """The rows whose share in the weights is positive, and their shares."""
    present = shares > 0
    return (x, shares) if present.all() else (x[present], shares[present])


class DenseBlock:
    """Centred columns (b, D) of some rows, in a buffer of their own."""

    def __init__(self, x: Array) -> None:
        self._x = x

    def logits(self, theta: Array) -> Array:
        return theta @ self._x.T

    def gradient(self, residuals: Array) -> Array:
        return residuals @ self._x

    def squares(self, weights: Array) -> Array:
        return weights @ np.square(self._x)

    def columns(self) -> Array:
        return self._x


class DenseRows:
    """A dense X, C- or Fortran-ordered, float32 or float64, in memory or memory-mapped."""

    def __init__(self, X: Array, n_classes: int, weights: Array | None, *, fit_intercept: bool) -> None:
        self._X = X
        self._fit_intercept = fit_intercept
        self._absent = _absent_rows(weights)
        self.n_rows, n_features = X.shape
        self.n_columns = n_features + fit_intercept
        self._block_rows = int(np.clip(_DENSE_BLOCK_SIZE // (self.n_columns + 2 * n_classes), 128, 4096))
        self.center = np.zeros(n_features)
        low, high, mean = np.full(n_features, np.inf), np.full(n_features, -np.inf), np.zeros(n_features)
        shares = np.full(self.n_rows, 1 / self.n_rows) if weights is None else weights / weights.sum()
        for block_rows in self._slices():
            x, share = _present_rows(X[block_rows], shares[block_rows])
            np.minimum(low, x.min(axis=0, initial=np.inf), out=low)
            np.maximum(high, x.max(axis=0, initial=-np.inf), out=high)
            mean += share @ x
        if fit_intercept:
            # A constant column is centred to exact zeros; a mean may leave its range by a rounding.
            self.center = np.where(low == high, low, np.clip(mean, low, high))
        self.largest = np.maximum(high - self.center, self.center - low)

    def blocks(self) -> Iterator[tuple[slice, Block]]:
        for block_rows in self._slices():
            x = np.empty((block_rows.stop - block_rows.start, self.n_columns))
            np.subtract(self._X[block_rows], self.center, out=x[:, : self.center.size])
            if self._fit_intercept:
                x[:, -1] = 1
            if self._absent is not None:
                x[self._absent[block_rows]] = 0
            yield block_rows, DenseBlock(x)

    def _slices(self) -> Iterator[slice]:
        for start in range(0, self.n_rows, self._block_rows):
            yield slice(start, min(start + self._block_rows, self.n_rows))


class SparseBlock:
    """Some rows of a sparse X; centring is done on the coefficients' side, so that zeros stay zeros."""

    def __init__(self, x: Any, center: Array, fit_intercept: bool, absent: Array | None) -> None:
        self._x = x
        self._center = center
        self._fit_intercept = fit_intercept
        self._absent = absent

    def logits(self, theta: Array) -> Array:
        weights = theta[:, : self._center.size]
        z: Array = np.array(weights @ self._x.T, order="C")
        if self._fit_intercept:
            z += (theta[:, -1] - weights @ self._center)[:, np.newaxis]
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

    def columns(self) -> Array:
        x = np.ones((self._x.shape[0], self._center.size + self._fit_intercept))
        np.subtract(self._x.toarray(), self._center, out=x[:, : self._center.size])
        if self._absent is not None:
            x[self._absent] = 0
        return x

    def _with_intercept(self, sums: Array, totals: Array, center: Array) -> Array:
        """Sums over X's columns, moved to the centre, beside the totals that belong to the intercept."""
        if not self._fit_intercept:
            return sums
        return np.hstack([sums - np.outer(totals, center), totals[:, np.newaxis]])


class SparseRows:
    """A sparse X in CSR or CSC format."""

    def __init__(self, X: Any, n_classes: int, weights: Array | None, *, fit_intercept: bool) -> None:
        self._X = X
        self._fit_intercept = fit_intercept
        self._absent = _absent_rows(weights)
        self.n_rows, n_features = X.shape
        self.n_columns = n_features + fit_intercept
        self.center = np.zeros(n_features)
        self.largest = np.zeros(n_features)
        shares = np.full(self.n_rows, 1 / self.n_rows) if weights is None else weights / weights.sum()
        mean = np.zeros(n_features)
        for block_rows, block in self._slices():
            x, share = _present_rows(block, shares[block_rows])
            mean += share @ x
            if x.shape[0]:
                # Entries stored in parts may exceed this by a factor: it only keeps numbers in range.
                np.maximum(self.largest, abs(x).max(axis=0).toarray().ravel(), out=self.largest)
        if fit_intercept:
            self.center = mean

    def blocks(self) -> Iterator[tuple[slice, Block]]:
        for block_rows, x in self._slices():
            absent = None if self._absent is None else self._absent[block_rows]
            yield block_rows, SparseBlock(x, self.center, self._fit_intercept, absent)

    def _slices(self) -> Iterator[tuple[slice, Any]]:
        step = _SPARSE_BLOCK_ROWS
        if self.n_columns <= _SPARSE_COLUMNS_SIZE // 256:
            step = min(step, _SPARSE_COLUMNS_SIZE // self.n_columns)
        for start in range(0, self.n_rows, step):
            block_rows = slice(start, min(start + step, self.n_rows))
            yield block_rows, self._X[block_rows]
