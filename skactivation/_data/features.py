"""X in blocks, with targets and weights: the data of a linear model's objective.

X is centred and scaled block by block; a small dense X is kept as a centred copy. Coefficients of shape (K, D)
belong to *columns*: the centred columns of X and, with an intercept, a column of ones. Centring keeps the digits of
columns with a large common offset. Rows of weight 0 are ignored, whatever they hold: their columns and logits are 0.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np

from skactivation._data.blocks import CONCATENATE, RowBlocks, Rows
from skactivation._data.sampling import even_steps, rows_at_ranks, stratum_quotas, stratum_ranks
from skactivation._data.targets import Targets
from skactivation._typing import Array

# Larger powers of two are no floats; with this one the smallest float becomes 2^-51.
_LARGEST_EXPONENT = 1023
# Powers of two up to which, in both directions, squares of columns and sums of them are in the range of floats.
_MOST_IN_DOUBLE, _MOST_IN_SINGLE = 300, 40


class Columns(NamedTuple):
    """Centres, ranges and units of the columns, shared by a data set and its samples."""

    center: Array
    """Centres (d,), subtracted from the columns of X."""
    largest: Array
    """Largest absolute value of the centred columns (d,), in X's units."""
    units: Array
    """Powers of two (d,) that multiply the columns; 1 unless squares would leave the range of floats."""

    @classmethod
    def of_range(cls, center: Array, largest: Array, dtype: Any) -> "Columns":
        """Columns with units that keep squares in the range of single or double precision."""
        exponents = np.frexp(np.where(largest > 0, largest, 1.0))[1]
        extreme = np.abs(exponents) > (_MOST_IN_DOUBLE if dtype == np.float64 else _MOST_IN_SINGLE)
        return cls(center, largest, np.ldexp(1.0, np.where(extreme, np.minimum(-exponents, _LARGEST_EXPONENT), 0)))

    @property
    def fit_single_precision(self) -> bool:
        """Whether squares of all columns are in the range of single precision, with or without units."""
        exponents = np.frexp(self.largest * self.units)[1]
        return bool((np.abs(exponents) <= _MOST_IN_SINGLE).all())

    @classmethod
    def as_they_are(cls, n_features: int) -> "Columns":
        """Columns without centring or scaling."""
        return cls(np.zeros(n_features), np.ones(n_features), np.ones(n_features))


class WeightFacts(NamedTuple):
    """Facts about the weights of rows that certificates use: for each of several (W,), or for the only ones (1,)."""

    least: Array
    """The least positive weight."""
    largest: Array
    """The largest weight."""
    total: Array
    """The sum of the weights."""

    @classmethod
    def of(cls, weights: Array) -> "WeightFacts":
        """Facts about weights (n,) or (W, n)."""
        weights = np.atleast_2d(weights)
        least = np.min(weights, axis=1, where=weights > 0, initial=np.inf)
        return cls(least, weights.max(axis=1), weights.sum(axis=1))


_NO_WEIGHTS = WeightFacts(*np.ones((3, 1)))
COMBINE_WEIGHT_FACTS = np.minimum, np.maximum, np.add
"""Ufuncs that combine the `WeightFacts` of blocks."""


class FeatureBlock(ABC):
    """Some rows of X with their targets and weights."""

    rows: slice
    """Slice of the rows."""
    all_targets: Targets
    all_weights: Array | None
    """Targets and weights of all rows."""

    def targets(self, problems: Array) -> Any:
        """Targets of the given problems, in the form that the loss takes."""
        return self.all_targets.block(self.rows, problems)

    def weights(self, problems: Array) -> Array | None:
        """Weights of the rows: (b,), or (p, b) if problems have their own; None if all are 1."""
        weights = self.all_weights
        if weights is None:
            return None
        if weights.ndim == 1:
            return weights[self.rows]
        return np.asarray(weights[self.all_targets.row_weights_of(problems), self.rows])

    def row_weights(self) -> tuple[Array, WeightFacts]:
        """Weights (b,) of the rows, the largest over the problems, and facts about them."""
        weights = self.all_weights
        if weights is None:
            ones = np.ones(self.rows.stop - self.rows.start)
            return ones, WeightFacts(ones[:1], ones[:1], np.full(1, float(ones.size)))
        weights = weights[..., self.rows]
        return weights if weights.ndim == 1 else weights.max(axis=0), WeightFacts.of(weights)

    @abstractmethod
    def logits(self, coefficients: Array) -> Array:
        """Class-major logits (K, b) for coefficients (K, D)."""

    @abstractmethod
    def gradient(self, residuals: Array) -> Array:
        """Sum over the rows of residual times columns, (K, D), for class-major residuals (K, b)."""

    @abstractmethod
    def squares(self, weights: Array) -> Array:
        """Sum over the rows of weight times squared columns, (K, D), for class-major weights (K, b)."""

    @abstractmethod
    def grams(self, weights: Array) -> Array:
        """Sums over the rows of weight times products of columns, (m, D, D), for nonnegative weights (m, b)."""

    @abstractmethod
    def quadratic_forms(self, form: Array) -> Array:
        """x^T A x of each row's columns x, (b,), for a symmetric matrix A (D, D)."""

    @abstractmethod
    def columns(self) -> Iterator[Array]:
        """Yield the columns as dense arrays (., D) of limited size."""


class FeatureRows(Rows):
    """X (n, d) with targets and weights, wherever they are: what objectives and their samples take."""

    targets: Targets
    """y as the loss takes it."""
    weights: Array | None
    """Weights of the rows in memory, (n,) for all problems, or (W, n) of which each problem has one; None if all are 1,
    or if they are elsewhere."""
    is_weighted: bool
    """Whether the rows have weights."""
    weight_facts: WeightFacts
    n_rows: int
    n_features: int
    n_outputs: int
    """Number of logits of a row, P K."""
    n_columns: int
    """Number of columns D: of X and, with an intercept, that of ones."""
    fit_intercept: bool
    columns: Columns
    """Centres and units of the columns."""
    dtype: Any
    """Precision of sums for which single precision may do."""
    n_entries: int
    """Number of entries that a product reads."""
    gram_cost: float
    """Approximate number of floating-point operations for the Gram matrix of the columns."""

    @abstractmethod
    def stratified_sample(self, size: int) -> "SampledRows":
        """About `size` rows, some of each of the targets' strata."""

    @abstractmethod
    def sample_by(self, n_rows: int, shares: Any, *arguments: Any, dtype: Any) -> "SampledRows":
        """At most `n_rows` rows, drawn by the shares that a term `shares` gives as a list; see `even_steps`."""

    @property
    def have_weights_of_problems(self) -> bool:
        """Whether each problem has one of several weights of the rows."""
        return self.weights is not None and self.weights.ndim == 2

    @property
    def offsets(self) -> Array:
        """Offsets (d,) subtracted after sums are formed: large ones cost digits. 0 if columns are centred before."""
        return np.zeros(self.n_features)

    def row_products(self) -> Array | None:
        """Products (n, n) of the rows of X with each other, centred; None if they cannot be had at a low cost."""
        return None


class SampledRows(NamedTuple):
    """Some rows, in memory. Their weights make up for the rows that they stand for."""

    rows: FeatureRows
    most_rows_each: float
    """How many rows, itself included, one of them stands for at most."""


class FeatureRowsInBlocks(RowBlocks, FeatureRows):
    """X (n, d) with targets and weights, block by block.

    Parameters
    ----------
    X : {array, sparse array} of shape (n, d)
        Features, checked.
    targets : Targets
        y as the loss takes it.
    weights : ndarray of shape (n,) or (W, n), or None
        Weights of the rows, for all problems; or several, of which each problem has one.
    n_outputs : int
        Number of logits of a row, P K.
    fit_intercept : bool
        Whether there is a column of ones.
    columns : Columns
        Centres and units of the columns.
    """

    def __init__(
        self, X: Any, targets: Targets, weights: Array | None, *, n_outputs: int, fit_intercept: bool, columns: Columns
    ) -> None:
        self._X = X
        self.targets, self.weights, self.is_weighted = targets, weights, weights is not None
        self.n_outputs, self.fit_intercept, self.columns = n_outputs, fit_intercept, columns
        self.n_rows, self.n_features = X.shape
        self.n_columns = self.n_features + fit_intercept
        self.weight_facts = _NO_WEIGHTS  # until `measured` and `take` set it

    @classmethod
    def measured(cls, X: Any, targets: Targets, weights: Array | None, *, n_outputs: int, fit_intercept: bool) -> Self:
        """Create the rows; one pass over X measures the columns."""
        as_they_are = Columns.as_they_are(X.shape[1])
        rows = cls(X, targets, weights, n_outputs=n_outputs, fit_intercept=fit_intercept, columns=as_they_are)
        rows.columns, rows.weight_facts = rows._measure()
        rows._keep()
        return rows

    def take(self, chosen: Array, stands_for: Array) -> Self:
        """The rows with numbers `chosen` (m,) and the same columns; `stands_for` (m,) multiplies their weights."""
        weights = stands_for if self.weights is None else stands_for * self.weights[..., chosen]
        rows = self._like(self._X[chosen], self.targets.take(chosen), weights, self.n_outputs)
        # Single precision is enough for a sample, which is no more than near to all rows.
        rows.dtype = np.dtype(np.float32) if self.columns.fit_single_precision else self.dtype
        rows._keep()
        return rows

    def stratified_sample(self, size: int) -> SampledRows:
        """About `size` rows, some of each of the targets' strata."""
        strata = self.targets.strata()
        counts = np.bincount(strata)
        quotas = stratum_quotas(counts, size)
        stand_for = counts / np.maximum(quotas, 1)
        chosen, stands_for = rows_at_ranks(strata, *stratum_ranks(counts, quotas), stand_for)
        return SampledRows(self.take(chosen, stands_for), float(stands_for.max()))

    def sample_by(self, n_rows: int, shares: Any, *arguments: Any, dtype: Any) -> SampledRows:
        """At most `n_rows` rows, drawn by the shares that a term `shares` gives as a list; see `even_steps`."""
        (parts,) = self.sum(shares, *arguments, size=1, dtype=dtype, combine=CONCATENATE)
        of_rows = np.concatenate(parts)
        chosen, stands_for = even_steps(of_rows, np.full(1, of_rows.sum()), np.full(1, self.n_rows), 0, n_rows)
        return SampledRows(self.take(chosen, stands_for), max(1.0, float(stands_for.max())))

    def reweighted(self, targets: Targets, weights: Array, n_outputs: int) -> Self:
        """The same rows and columns with other targets and weights."""
        rows = self._like(self._X, targets, weights, n_outputs)
        rows._keep()
        return rows

    def _like(self, X: Any, targets: Targets, weights: Array, n_outputs: int) -> Self:
        rows = type(self)(
            X, targets, weights, n_outputs=n_outputs, fit_intercept=self.fit_intercept, columns=self.columns
        )
        rows.weight_facts = WeightFacts.of(weights)
        return rows

    def _keep(self) -> None:
        """For small data, keep arrays that every pass would compute again."""

    @abstractmethod
    def _measure(self) -> tuple[Columns, WeightFacts]:
        """Centre and range of each column, and facts about the weights, over rows of positive weight."""
