"""Dense X, block by block."""

from collections.abc import Iterator
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np

from skactivation._data.blocks import Buffers, absent_rows
from skactivation._data.features import (
    COMBINE_WEIGHT_FACTS,
    Columns,
    FeatureBlock,
    FeatureRows,
    FeatureRowsInBlocks,
    WeightFacts,
)
from skactivation._data.stored import StoredRows
from skactivation._data.targets import Targets
from skactivation._threads import even_slices, in_threads
from skactivation._typing import Array

# Size of a block, X and logits together, in numbers of 8 bytes, measured on two cores: smaller blocks spend time on
# calls and on waiting for Python's lock, larger ones leave the cache. Small data are split for threads, into blocks of
# at least the least size.
_BLOCK_SIZE = 2**19
_LEAST_BLOCK_SIZE = 2**16
_LEAST_BLOCK_ROWS = 64
_BLOCKS_WANTED = 16
# Centred columns of up to this many elements, 16 MB, are kept between passes: more memory, less work.
_KEPT_SIZE = 2**21
# Number of entries times logits above which float64 data are also first evaluated in single precision. Below, the
# additional evaluations in double precision cost more than single precision saves.
_SINGLE_PRECISION_WORK = 2**25
# Up to this size, one call for all products is faster than one call for each with half the operations.
_SMALL_PRODUCT_SIZE = 2**15
# Products of column pairs are formed once if the number of weights exceeds this fraction of the number of columns, up
# to this many columns, in arrays of this size. Measured: otherwise a matrix product for each weight is faster.
_PAIRS_FROM, _MOST_COLUMNS_IN_PAIRS, _PAIRS_SIZE = 0.3, 128, 2**18
# Elements of row products that are held at once, 64 MB; largest number of groups of columns.
_ROW_PRODUCTS_SIZE, _MOST_GROUPS = 2**23, 32


class _Room:
    """Arrays for the columns and logits of a block, each allocated when first used."""

    def __init__(self, n_rows: int, n_columns: int, n_outputs: int, dtype: Any) -> None:
        self._shape, self._n_logits, self._dtype = (n_rows, n_columns), n_outputs * n_rows, dtype

    @cached_property
    def columns(self) -> Array:
        # Zeros: arithmetic also touches the intercept's column before it is written.
        return np.zeros(self._shape, self._dtype)

    @cached_property
    def weighted(self) -> Array:
        return np.empty(self._shape, self._dtype)

    @cached_property
    def logits(self) -> Array:
        return np.empty(self._n_logits, self._dtype)


class DenseBlock(FeatureBlock):
    """Centred columns x (b, D) of a slice of rows."""

    def __init__(self, data: FeatureRowsInBlocks, rows: slice, x: Array, room: _Room) -> None:
        self.rows, self.all_targets, self.all_weights = rows, data.targets, data.weights
        self.x, self._room = x, room

    def logits(self, coefficients: Array) -> Array:
        shape = len(coefficients), len(self.x)
        z = self._room.logits[: shape[0] * shape[1]].reshape(shape)
        return np.matmul(coefficients.astype(z.dtype, copy=False), self.x.T, out=z)

    def gradient(self, residuals: Array) -> Array:
        return residuals @ self.x

    def squares(self, weights: Array) -> Array:
        return weights @ np.square(self.x)

    def grams(self, weights: Array) -> Array:
        n_columns = self.x.shape[1]
        if len(weights) > _PAIRS_FROM * n_columns + 2 and n_columns <= _MOST_COLUMNS_IN_PAIRS:
            sums = self._sums_of_pairs(weights.astype(self.x.dtype, copy=False))
            return sums.take(_pair_numbers(n_columns), axis=1)
        if weights.size * n_columns <= _SMALL_PRODUCT_SIZE:
            return np.asarray(np.matmul(weights[:, np.newaxis, :] * self.x.T, self.x))
        products = np.empty((len(weights), n_columns, n_columns), self.x.dtype)
        weighted = self._room.weighted[: len(self.x)]
        for roots, product in zip(np.sqrt(weights).astype(self.x.dtype, copy=False), products, strict=True):
            np.multiply(self.x, roots[:, np.newaxis], out=weighted)
            # A product with the own transpose takes half of the operations.
            np.matmul(weighted.T, weighted, out=product)
        return products

    def quadratic_forms(self, form: Array) -> Array:
        forms: Array = np.einsum("ij,ij->i", self.x @ form, self.x)
        return forms

    def columns(self) -> Iterator[Array]:
        yield self.x

    def _sums_of_pairs(self, weights: Array) -> Array:
        """Weighted sums (m, n_pairs) of the products of two columns, each formed once for all weights."""
        n_rows, n_columns = self.x.shape
        step = max(_LEAST_BLOCK_ROWS, _PAIRS_SIZE // (n_columns * (n_columns + 1) // 2))
        if n_rows <= step:
            return np.asarray(weights @ self._pairs.T)
        sums = np.zeros((len(weights), n_columns * (n_columns + 1) // 2), self.x.dtype)
        for start in range(0, n_rows, step):
            sums += weights[:, start : start + step] @ _products_of_pairs(self.x[start : start + step]).T
        return sums

    @cached_property
    def _pairs(self) -> Array:
        """Products of columns: of the only block of small data, they are formed once for all passes."""
        return _products_of_pairs(self.x)


def _products_of_pairs(x: Array) -> Array:
    """Products (n_pairs, b) of each column of x (b, D) with itself and those that follow."""
    columns = np.ascontiguousarray(x.T)
    n_columns = len(columns)
    products = np.empty((n_columns * (n_columns + 1) // 2, len(x)), x.dtype)
    end = 0
    for first in range(n_columns):
        begin, end = end, end + n_columns - first
        np.multiply(columns[first:], columns[first], out=products[begin:end])
    return products


@lru_cache(maxsize=16)
def _pair_numbers(n_columns: int) -> Array:
    """Numbers (D, D) of the pairs in `_products_of_pairs`."""
    rows, columns = np.triu_indices(n_columns)
    numbers = np.empty((n_columns, n_columns), dtype=np.intp)
    numbers[rows, columns] = numbers[columns, rows] = np.arange(rows.size)
    return numbers


class DenseRows(FeatureRowsInBlocks):
    """A dense X, C- or Fortran-ordered, float32 or float64, in memory, memory-mapped or stored elsewhere."""

    def __init__(
        self,
        X: Array,
        targets: Targets,
        weights: Array | None,
        *,
        n_outputs: int,
        fit_intercept: bool,
        columns: Columns,
    ) -> None:
        super().__init__(X, targets, weights, n_outputs=n_outputs, fit_intercept=fit_intercept, columns=columns)
        self._absent = absent_rows(weights)
        estimate(self, X.dtype)
        self.work = float(self.n_entries * n_outputs)
        self.slices = dense_slices(self.n_rows, self.n_columns + n_outputs, self.dtype)
        dtypes = (np.dtype(np.float32), np.dtype(np.float64))
        self._buffers = {dtype: Buffers() for dtype in dtypes}
        self._kept: dict[Any, Array] = {}

    def blocks(self, slices: list[slice], dtype: Any) -> Iterator[DenseBlock]:
        """Yield the blocks of the given slices."""
        buffers, kept = self._buffers[np.dtype(dtype)], self._kept.get(np.dtype(dtype))
        room = buffers.take(partial(self._room, dtype))
        for rows in slices:
            if kept is not None:
                x = kept[rows]
            else:
                x = room.columns[: rows.stop - rows.start]
                self._fill(x, rows)
            yield DenseBlock(self, rows, x, room)
        buffers.give_back(room)

    def row_products(self) -> Array:
        """Products (n, n) of the rows of X with each other, centred."""
        step = max(1, _BLOCK_SIZE // self.n_rows)
        n_steps = -(-self.n_features // step)
        n_groups = min(n_steps, max(2, _ROW_PRODUCTS_SIZE // self.n_rows**2), _MOST_GROUPS)

        def products(group: int) -> Array:
            total = np.zeros((self.n_rows, self.n_rows))
            for number in range(group * n_steps // n_groups, (group + 1) * n_steps // n_groups):
                features = slice(number * step, (number + 1) * step)
                x = self._X[:, features] - self.columns.center[features]
                if self._absent is not None:
                    x[self._absent] = 0
                total += x @ x.T
            return total

        self.n_passes += 1
        total, *others = in_threads(products, n_groups)
        for part in others:
            total += part
        return total

    def _keep(self) -> None:
        """Keep the centred columns of small data."""
        if self.n_entries > _KEPT_SIZE:
            return
        x = np.zeros((self.n_rows, self.n_columns))
        self._fill(x, slice(0, self.n_rows))
        self._kept = {x.dtype: x, self.dtype: x.astype(self.dtype, copy=False)}
        if len(self.slices) == 1:
            self.only = DenseBlock(self, self.slices[0], x, self._room(x.dtype))

    def _room(self, dtype: Any) -> _Room:
        longest = max(rows.stop - rows.start for rows in self.slices)
        return _Room(longest, self.n_columns, self.n_outputs, dtype)

    def _fill(self, x: Array, rows: slice) -> None:
        """Write the centred columns of a slice of rows into x."""
        features, n_features = self._X[rows], self.n_features
        # The centre of float32 data is a float32 number, so both precisions subtract the same number.
        center = self.columns.center.astype(np.result_type(features, x), copy=False)
        if (self.columns.units != 1).any():
            x[:, :n_features] = (features.astype(np.float64, copy=False) - center) * self.columns.units
        elif features.dtype == x.dtype:
            # The same numbers as below, in less time: all of x, which is in cache now, changes at once. The intercept's
            # column is written afterwards.
            x[:, :n_features] = features
            x -= np.append(center, np.zeros(x.shape[1] - n_features, center.dtype))
        else:
            np.subtract(features, center, out=x[:, :n_features], casting="same_kind")
        x[:, n_features:] = 1
        if self._absent is not None:
            x[self._absent[rows]] = 0

    def _measure(self) -> tuple[Columns, WeightFacts]:
        columns, weights = measure(self, self._X.dtype)
        if isinstance(self._X, StoredRows) and not np.isfinite(columns.largest).all():
            self._X.refuse_not_finite()
        return columns, weights


def estimate(rows: FeatureRows, dtype: Any) -> None:
    """Set the size, the costs and the precision of dense rows, of X with a dtype."""
    rows.n_entries = rows.n_rows * rows.n_columns
    rows.gram_cost = rows.n_entries * (rows.n_columns + 10.0)
    is_small = rows.n_entries <= _KEPT_SIZE
    is_single = rows.n_entries * rows.n_outputs > _SINGLE_PRECISION_WORK or (dtype == np.float32 and not is_small)
    rows.dtype = np.dtype(np.float32 if is_single else np.float64)


def measure(rows: FeatureRows, dtype: Any) -> tuple[Columns, WeightFacts]:
    """Centre and range of each column of dense rows, of X with a dtype; and facts about the weights; in one pass."""
    kinds = (np.minimum, np.maximum, np.add, np.add, *COMBINE_WEIGHT_FACTS)
    low, high, mean, sum_of_weights, *facts = rows.sum(
        _ranges, rows.n_features, rows.n_rows, size=3 * rows.n_features, combine=kinds
    )
    weights = WeightFacts(*facts)
    if not rows.fit_intercept:
        return Columns.of_range(np.zeros(rows.n_features), np.maximum(high, -low), rows.dtype), weights
    # Rounding may take a mean out of the range. A constant column must become exactly 0.
    center = np.minimum(np.maximum(mean * (rows.n_rows / sum_of_weights), low), high)
    np.copyto(center, low, where=low == high)
    # A centre that X's dtype can hold is the same number in single and double precision.
    center = np.asarray(center.astype(np.result_type(dtype, rows.dtype)), dtype=np.float64)
    return Columns.of_range(center, np.maximum(high - center, center - low), rows.dtype), weights


def _ranges(block: DenseBlock, n_features: int, n_rows: int) -> tuple[Any, ...]:
    """Range and weighted sum / n_rows of each feature over rows of positive weight; facts about the weights."""
    x, of_rows, facts = block.x[:, :n_features], *block.row_weights()
    if block.all_weights is not None and of_rows.min() == 0:
        x, of_rows = x[of_rows > 0], of_rows[of_rows > 0]
    low, high = x.min(axis=0, initial=np.inf), x.max(axis=0, initial=-np.inf)
    return low, high, (of_rows / n_rows) @ x, of_rows.sum(), *facts


def dense_slices(n_rows: int, n_columns: int, dtype: Any) -> list[slice]:
    """Slices of dense rows, given the number of columns of X and its logits together."""
    size = n_rows * n_columns * np.dtype(dtype).itemsize // 8
    wanted = max(-(-size // _BLOCK_SIZE), min(_BLOCKS_WANTED, size // _LEAST_BLOCK_SIZE))
    return even_slices(n_rows, min(wanted, n_rows // _LEAST_BLOCK_ROWS))
