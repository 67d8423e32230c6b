r"""The objective of a fit: cross-entropy summed over rows plus an L2 penalty.

    F_p(theta) = sum_i s_i l(z_i, t_i) + 1/2 sum_kj penalty_pkj theta_pkj^2,    z_ik = <theta_pk, x_i>

Labels that do not exclude each other are P problems of one logit; exclusive classes are one problem of K logits.
"""

from copy import copy
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np

from skactivation._data.blocks import CONCATENATE
from skactivation._data.features import FeatureRows, FeatureRowsInBlocks
from skactivation._data.targets import RepeatedTargets
from skactivation._optimize.masks import all_of
from skactivation._optimize.objective import Costs, Curvature, Objective, Sample
from skactivation._typing import Array
from skactivation.linear_model import _terms
from skactivation.linear_model._feature_units import STRONGEST, FeatureUnits
from skactivation.linear_model._null_spaces import null_spaces
from skactivation.linear_model._terms import LinearPoint

_EPS = float(np.finfo(np.float64).eps)
# Replaces a divisor of 0 if all residuals are 0.
_LEAST_SIZE = float(np.finfo(np.float64).tiny)
# Weights are tiny below this fraction of the largest: rounding of F then hides the losses of their rows.
_TINY = 1e-6
# Approximate number of floating-point operations per logit for the loss of a softmax and of a sigmoid.
_SOFTMAX_COST, _SIGMOID_COST = 60.0, 330.0


class LinearObjective(Objective):
    """Value, gradient and curvature of P problems with K logits and D columns, each in one pass over the rows.

    Parameters
    ----------
    rows : FeatureRows
        X with targets and weights.
    penalty : float or ndarray of shape (P,)
        Penalty strength of each problem, 1 / C; 0 for none.
    units : float or ndarray of shape (P,)
        What the weights of each problem were divided by: the objective is divided by it, too.
    problems : ndarray of shape (P,) or None
        The numbers by which the rows know the problems, some maybe several times; None for all of them once.
    alike : bool
        Whether the problems are nearly the same: fits of the same targets to most of the rows, with one penalty.
    """

    offers = frozenset(Curvature)

    def __init__(
        self,
        rows: FeatureRows,
        penalty: Any,
        units: Any = 1.0,
        problems: Array | None = None,
        *,
        alike: bool = False,
    ) -> None:
        targets = rows.targets
        self.rows, self.units = rows, FeatureUnits(rows)
        self._loss = targets.loss
        size = np.size(penalty) if np.ndim(penalty) else targets.n_problems
        self._strengths, self._units = np.zeros(size) + penalty, np.zeros(size) + units
        self.shape = (self._strengths.size, targets.n_logits, rows.n_columns)
        self.penalty = self.units.penalty(self._strengths, self._units, targets.n_logits)
        self.is_strongly_convex = bool(np.all(self.penalty[:, :, : rows.n_features] > 0))
        self._problems = np.arange(self.shape[0]) if problems is None else problems
        self._alike = alike
        self.has_tiny_weights = np.zeros(self.shape[0], dtype=bool)
        if rows.is_weighted or not targets.uniform:
            weights = rows.weight_facts
            self.has_tiny_weights = self._of_weights(weights.least / weights.largest) * self._least_weights() < _TINY
        self._dtype: Any = np.dtype(np.float64)
        # All pairs of logits of a problem, for blocks of the Hessian off the diagonal, and the places of the blocks.
        self._pairs, self._places = _pairs_of_logits(targets.n_logits)
        # Without a penalty, F is constant in the directions given by linearly dependent columns.
        self._null_spaces = null_spaces(rows, self.units.block_scale, self._problems, self._strengths)

    @property
    def costs(self) -> Costs:
        """Sizes that determine the cost of evaluations and curvatures."""
        rows = self.rows
        logit_cost = _SOFTMAX_COST if self.shape[1] > 1 else _SIGMOID_COST
        return Costs(rows.n_rows, rows.n_entries, rows.gram_cost, logit_cost, self._alike)

    def gradient_rounding(self, values: Array) -> Array:
        """Bound (P,) on the rounding of each derivative, for columns scaled to at most 2.

        The residual of a row is at most 1; for hard targets it is at most the row's loss, and rounding relative to it.
        """
        total = self._of_weights(self.rows.weight_facts.total)
        return np.asarray(4 * _EPS * (np.minimum(total, values) if self.rows.targets.hard else total))

    @property
    def largest_curvature(self) -> Array:
        """Bound (P,) on the diagonal of the Hessian without the penalty, for columns scaled to at most 2."""
        return np.asarray(4 * 0.25 * self._of_weights(self.rows.weight_facts.total))

    def separation_levels(self) -> Array:
        """Sums of losses (P,) below which every row has a loss below log 2 and is classified correctly."""
        return np.asarray(np.log(2) * self._least_weights() * self._of_weights(self.rows.weight_facts.least))

    def in_single_precision(self) -> Self:
        """The same objective, evaluated in the rows' precision, which is single if that saves time."""
        return self._in(self.rows.dtype)

    def in_double_precision(self) -> Self:
        """The same objective, evaluated in double precision."""
        return self._in(np.dtype(np.float64))

    def select(self, problems: Any) -> Self:
        """The objective of selected problems, given by a mask (P,) or `ALL`."""
        if all_of(problems):
            return self
        selected = copy(self)
        selected._problems = self._problems[problems]
        selected._strengths, selected._units = self._strengths[problems], self._units[problems]
        selected.penalty = self.penalty[problems]
        selected.has_tiny_weights = self.has_tiny_weights[problems]
        selected._null_spaces = None if self._null_spaces is None else self._null_spaces.select(problems)
        selected.shape = (selected._problems.size, *self.shape[1:])
        return selected

    def on(self, rows: FeatureRows) -> Self:
        """The same problems on other rows with the same targets."""
        return type(self)(rows, self._strengths, self._units, self._problems, alike=self._alike)

    def without(self, problems: Array, rows: Array) -> Self:
        """Problems (R,), given by their numbers, each without one of the rows (R,)."""
        of_all = self.rows
        if not isinstance(of_all, FeatureRowsInBlocks):
            raise TypeError("rows can only be left out of data in memory")
        weights = np.tile(np.ones(of_all.n_rows) if of_all.weights is None else of_all.weights, (rows.size, 1))
        weights[np.arange(rows.size), rows] = 0
        targets = RepeatedTargets(of_all.targets, self._problems[problems])
        others = of_all.reweighted(targets, weights, rows.size * self.shape[1])
        return type(self)(others, self._strengths[problems], self._units[problems], alike=self.shape[0] == 1)

    def sample(self, theta: Array, n_rows: int) -> Sample:
        """A sample of rows, drawn by the share of each in the curvature of every logit."""
        cheap = self.in_single_precision()
        (totals,) = cheap._sum(_terms.curvatures_by_logit, theta, size=self.shape[0] * self.shape[1])
        if not totals.sum() > 0:
            return Sample(self, 1.0)
        totals[totals == 0] = 1
        rows, most_rows_each = self.rows.sample_by(
            n_rows, _terms.curvature_shares, cheap._point(theta), totals, dtype=cheap._dtype
        )
        return Sample(self.on(rows), most_rows_each)

    def center(self, theta: Array) -> None:
        """Project coefficients, in place, onto those orthogonal to directions that change no probability.

        For exclusive classes, this subtracts each column's mean over the classes: the optimum has mean 0, because that
        minimises the penalty. Without a penalty, it also removes the component in the null space of X.
        """
        if self.shape[1] > 1:
            theta -= np.add.reduce(theta, axis=1, keepdims=True) / self.shape[1]
        if self._null_spaces is not None:
            self._null_spaces.project(theta)

    def value_and_gradient(self, theta: Array) -> tuple[Array, Array]:
        """Value (P,) and gradient (P, K, D) of each problem."""
        return self._value_and_gradient(theta, *self._sum(_terms.losses_and_gradient, theta, size=theta.size))

    def value_gradient_and_hessian(self, theta: Array) -> tuple[Array, Array, Array]:
        """Values (P,), gradients (P, K, D) and Hessians (P, m, m) in one pass."""
        size, cost = self._size_of_hessian
        *sums, blocks = self._sum(_terms.losses_gradient_and_blocks, theta, self._pairs, size=size, cost=cost)
        return *self._value_and_gradient(theta, *sums), self._hessian(self._with_penalty(blocks))

    def _value_and_gradient(self, theta: Array, values: Array, gradient: Array, squares: Array) -> tuple[Array, Array]:
        """Value and gradient, given the sums over the rows."""
        n_problems, n_logits, _ = self.shape
        gradient = gradient.reshape(self.shape) * self.units.block_scale
        if n_logits > 1:
            # The gradient's sum over the classes is a rounding error. It is subtracted in proportion to the residuals,
            # because equal parts would exceed the gradients of classes with tiny residuals.
            shares = np.sqrt(squares).reshape(n_problems, n_logits, 1)
            shares /= np.maximum(np.add.reduce(shares, axis=1, keepdims=True), _LEAST_SIZE)
            gradient -= shares * np.add.reduce(gradient, axis=1, keepdims=True)
        penalty_gradient = self.penalty * theta
        gradient += penalty_gradient
        if self._null_spaces is not None:
            self._null_spaces.project(gradient)
        penalty_gradient *= theta
        return values + 0.5 * np.add.reduce(penalty_gradient.reshape(n_problems, -1), axis=1), gradient

    def hessian(self, theta: Array) -> Array:
        """Hessian of each problem (P, m, m) with m = K D, ordered by class, then column.

        If a shift of all classes does not change F, a term makes the matrix regular. Newton steps for centred gradients
        are correct after centring, and so are the norms of centred gradients.
        """
        if self.shape[1] == 1:
            return self._hessian(self.hessian_blocks(theta))
        size, cost = self._size_of_hessian
        (blocks,) = self._sum(_terms.blocks_of_hessian, theta, self._pairs, size=size, cost=cost)
        return self._hessian(self._with_penalty(blocks))

    def _hessian(self, blocks: Array) -> Array:
        """The Hessian, given its diagonal blocks and those of pairs of logits, not negated (P, n, D, D)."""
        n_problems, n_logits, n_columns = self.shape
        own = blocks[:, :n_logits]
        curvatures = own.diagonal(axis1=2, axis2=3).copy()
        if self._null_spaces is not None:
            projections = self._null_spaces.projections()
            own += curvatures.mean(axis=2)[:, :, np.newaxis, np.newaxis] * projections[:, np.newaxis]
        if n_logits == 1:
            return np.asarray(own[:, 0])
        np.negative(blocks[:, n_logits:], out=blocks[:, n_logits:])
        hessian = blocks.take(self._places, axis=1)
        diagonals = hessian.reshape(n_problems, n_logits, n_logits, -1)[..., :: n_columns + 1]
        diagonals += _regular_shift(curvatures, self.penalty[:, 0])
        size = n_logits * n_columns
        return hessian.transpose(0, 1, 3, 2, 4).reshape(n_problems, size, size)

    def hessian_blocks(self, theta: Array) -> Array:
        """Diagonal blocks (P, K, D, D) of the Hessian."""
        if self.has_uniform_curvature(theta):
            # All logits share one block, up to a factor.
            mean, shares = self._mean_block(theta)
            return self._add_penalty(np.multiply.outer(shares, mean))
        size = self.shape[0] * self.shape[1] * self.shape[2] ** 2
        return self._with_penalty(*self._sum(_terms.hessian_blocks, theta, size=size, cost=self.shape[2]))

    def shared_hessian_blocks(self, theta: Array) -> Array:
        """Means (K, D, D) of the diagonal blocks over the problems."""
        size, cost = self.shape[1] * self.shape[2] ** 2, self.shape[2] / self.shape[0]
        (blocks,) = self._sum(_terms.shared_hessian_blocks, theta, size=size, cost=cost)
        blocks = blocks * self._scale_products
        np.einsum("kjj->kj", blocks)[...] += self.penalty.mean(axis=0)
        return np.asarray(blocks)

    def mean_hessian_block(self, theta: Array) -> tuple[Array, Array]:
        """Mean (D, D) of the diagonal blocks, and the relative curvature (P, K) of each block, with mean 1."""
        mean, shares = self._mean_block(theta)
        return mean + np.diag(self.penalty.mean(axis=(0, 1))), shares

    def hessian_diagonal(self, theta: Array) -> Array:
        """Diagonal (P, K, D) of the Hessian."""
        (squares,) = self._sum(_terms.hessian_diagonal, theta, size=theta.size)
        scale = self.units.block_scale
        return np.asarray(squares.reshape(self.shape) * scale * scale + self.penalty)

    def has_uniform_curvature(self, theta: Array) -> bool:
        """Whether all rows have the same curvature, so that one Gram matrix gives all blocks."""
        of_rows = self.rows.targets.uniform and not self.rows.have_weights_of_problems
        return of_rows and not theta[:, :, : self.rows.n_features].any()

    def intercept_hessian(self, theta: Array) -> Array:
        """Hessian (P, K, K) of each problem with respect to its intercepts, made regular as `hessian` is."""
        n_problems, n_logits, _ = self.shape
        (hessian,) = self._sum(_terms.intercept_hessian, theta, size=n_problems * n_logits**2)
        if n_logits > 1:
            own = hessian.diagonal(axis1=1, axis2=2)
            hessian = hessian + _regular_shift(own[:, :, np.newaxis], np.zeros((n_problems, 1)))[..., 0]
        return np.asarray(hessian)

    def hessian_rounding(self, hessian: Array) -> Array:
        """Magnitudes (P, m) of the sums for the diagonals of `hessian`; rounding errors are relative to them."""
        diagonal: Array = hessian.diagonal(axis1=1, axis2=2)
        if self._squared_offsets is not None:
            # Centring after the summation subtracts sum w (x^2 - (x - c)^2), approximately c^2 sum w for the mean c.
            sizes = diagonal.reshape(self.shape).copy()
            sizes[:, :, :-1] += 4 * self._squared_offsets * sizes[:, :, -1:]
            diagonal = sizes.reshape(diagonal.shape)
        return diagonal

    def value_rounding(self, theta: Array) -> Array:
        """Bound (P,) on the relative rounding error of each problem's value.

        The products that form a logit sum to at most twice the sizes of the coefficients, and a row's residuals, which
        multiply this error, to about twice its loss.
        """
        return np.asarray(_EPS * (2 + 4 * np.abs(theta).sum(axis=2).max(axis=1)))

    def logit_range(self, step: Array) -> Array:
        """Largest range (P,) of the logits of a row, for a step (P, K, D)."""
        cheap = self.in_single_precision()
        (largest,) = cheap._sum(_terms.largest_range, step, size=self.shape[0], combine=np.maximum)
        return np.asarray(largest, dtype=np.float64)

    def logit_range_bound(self, length: Array) -> Array:
        """Bound (P,) on `logit_range` for steps of Euclidean length (P,), for columns scaled to at most 2."""
        _, n_logits, n_columns = self.shape
        # The difference of two logits takes the coefficients of both.
        return np.asarray(2.0 * np.sqrt(n_columns * min(n_logits, 2)) * length)

    def largest_logit_range(self, inverse: Array) -> Array:
        """Bound (P,) on `logit_range` for steps of length 1 in each Hessian's norm, given its inverse (P, m, m)."""
        n_problems, n_logits, n_columns = self.shape
        forms = inverse.reshape(n_problems, n_logits, n_columns, n_logits, n_columns)
        own = np.einsum("pkikj->pkij", forms)
        if n_logits > 1:
            # The sum of the two largest norms of (e_k - 1/K) (x) x bounds that of (e_k - e_l) (x) x for all k and l.
            mean = forms.mean(axis=3)
            own = own - mean - mean.transpose(0, 1, 3, 2) + mean.mean(axis=1)[:, np.newaxis]
        own = own * self._scale_products
        (largest,) = self.rows.sum(
            _terms.largest_quadratic_form, own, size=n_problems, combine=np.maximum, cost=n_columns
        )
        return np.asarray(largest)

    def changes_without(self, theta: Array, inverse: Array) -> Array:
        """What a Newton step without a row changes in its logits (P, K, n), for inverse Hessians (P, m, m)."""
        n_problems, n_logits, n_columns = self.shape
        forms = inverse.reshape(n_problems, n_logits, n_columns, n_logits, n_columns)
        scale = self.units.block_scale
        forms = forms.transpose(0, 2, 1, 3, 4) * scale[:, np.newaxis, np.newaxis, np.newaxis] * scale
        (changes,) = self._sum(
            _terms.changes_without, theta, forms, size=1, combine=CONCATENATE, cost=n_logits * n_columns
        )
        return np.concatenate(changes, axis=2)

    def largest_residuals(self, theta: Array) -> Array:
        """Largest absolute residual (P, K) of each logit over rows of positive weight."""
        size = self.shape[0] * self.shape[1]
        (largest,) = self._sum(_terms.largest_residuals, theta, size=size, combine=np.maximum)
        return np.asarray(largest.reshape(self.shape[:2]))

    def from_rows(self, combination: Array, intercepts: Array) -> Array:
        """Coefficients (P, K, D) that are linear combinations, with factors (P K, n), of X's centred rows."""
        size = combination.shape[0] * self.shape[2]
        (theta,) = self.rows.sum(_terms.combined_rows, combination, size=size)
        theta = np.array(theta)
        theta[:, self.rows.n_features :] = intercepts[:, np.newaxis]
        return np.asarray((theta * self.units.scale).reshape(self.shape))

    def to_features(self, theta: Array, dtype: Any) -> tuple[Array, Array]:
        """Coefficients (P K, d) and intercepts (P K,) for the original X."""
        theta = np.where(self.penalty < STRONGEST, theta, 0.0)
        self.center(theta)
        return self.units.to_features(theta, dtype)

    def from_features(self, weights: Array, intercepts: Array) -> Array:
        """Inverse of `to_features`."""
        theta = self.units.from_features(weights, intercepts, self.shape)
        self.center(theta)
        return theta

    def _in(self, dtype: Any) -> Self:
        if dtype == self._dtype:
            return self
        other = copy(self)
        other._dtype, other.is_single = dtype, bool(dtype == np.float32)
        return other

    def _sum(
        self, term: Any, theta: Array, *arguments: Any, size: int, combine: Any = np.add, cost: float = 1.0
    ) -> Any:
        """Sum a term, a function of a block, the point and more arguments, over the rows."""
        return self.rows.sum(
            term, self._point(theta), *arguments, size=size, dtype=self._dtype, combine=combine, cost=cost
        )

    def _point(self, theta: Array) -> LinearPoint:
        """Coefficients in the form that terms take."""
        coefficients = (theta * self.units.block_scale).reshape(-1, self.shape[2])
        # In Fortran order, sparse products need no copy of the coefficients.
        return LinearPoint(self._loss, np.asfortranarray(coefficients), self._problems, self.shape[1])

    def _mean_block(self, theta: Array) -> tuple[Array, Array]:
        cost = self.shape[2] / (self.shape[0] * self.shape[1])
        mean, curvatures = self._sum(_terms.mean_hessian_block, theta, size=self.shape[2] ** 2, cost=cost)
        shares = curvatures / (curvatures.mean() or 1.0)
        return mean * self._scale_products, shares.reshape(self.shape[:2])

    @property
    def _size_of_hessian(self) -> tuple[int, int]:
        """The number of elements of the Hessian's blocks, and their cost relative to that of the logits."""
        n_problems, n_logits, n_columns = self.shape
        return n_problems * n_logits * (n_logits + 1) // 2 * n_columns**2, n_columns * n_logits

    def _with_penalty(self, blocks: Array) -> Array:
        """Blocks (P, n, D, D) of the Hessian from sums (P n, D, D) over the rows; the first K are diagonal ones."""
        n_problems, _, n_columns = self.shape
        return self._add_penalty(blocks.reshape(n_problems, -1, n_columns, n_columns) * self._scale_products)

    def _add_penalty(self, blocks: Array) -> Array:
        n_problems, n_logits, n_columns = self.shape
        diagonals = blocks.reshape(n_problems, -1, n_columns**2)[:, :n_logits, :: n_columns + 1]
        diagonals += self.penalty
        return blocks

    @cached_property
    def _scale_products(self) -> Array:
        """Factors (D, D) from products of the blocks' columns to those of the solver's columns."""
        return np.multiply.outer(self.units.block_scale, self.units.block_scale)

    @cached_property
    def _squared_offsets(self) -> Array | None:
        """Squares (d,) of what is subtracted from the solver's columns after sums are formed; None for zeros."""
        offsets = self.rows.offsets
        if not self.units.has_intercept or not offsets.any():
            return None
        return np.asarray(np.square(offsets * self.units.block_scale[:-1]))

    def _of_weights(self, facts: Array) -> Array:
        """Facts (P,) about the rows' weights of each problem, from those about all weights (W,)."""
        if facts.size == 1:
            return np.full(self.shape[0], facts[0])
        return np.asarray(facts[self.rows.targets.row_weights_of(self._problems)])

    def _least_weights(self) -> Array:
        """Smallest positive weight (P,) of the targets."""
        least = self.rows.targets.least_weights()
        return least[self._problems] if least.size > 1 else np.full(self.shape[0], least[0])


@lru_cache(maxsize=16)
def _pairs_of_logits(n_logits: int) -> tuple[tuple[Array, Array], Array]:
    """All pairs of logits, and the place (K, K) of each block of the Hessian in what the term for it returns."""
    one, other = np.nonzero(np.tri(n_logits, k=-1))
    places = np.diag(np.arange(n_logits))
    places[one, other] = places[other, one] = n_logits + np.arange(one.size)
    return (one, other), places


def _regular_shift(curvatures: Array, penalty: Array) -> Array:
    """Matrices (P, K, K, D) that make Hessians over the classes regular in the direction of a shift of all classes.

    The arguments are each column's curvature (P, K, D) by class and its penalty (P, D). The matrices subtract the
    penalty in that direction, as centring does, and add v v^T, with v proportional to the curvatures, so that rounding
    does not hide classes of tiny curvature.
    """
    totals = np.add.reduce(curvatures, axis=1, keepdims=True)
    totals[totals == 0] = 1
    v = curvatures / np.sqrt(totals)
    shift: Array = v[:, :, np.newaxis] * v[:, np.newaxis]
    shift -= (penalty / curvatures.shape[1])[:, np.newaxis, np.newaxis]
    return shift
