r"""The function that a fit minimises: cross-entropy summed over rows plus an L2 penalty.

    F_p(theta) = sum_i s_i l(z_i, t_i) + 1/2 sum_kj penalty_pkj theta_pkj^2,    z_ik = <theta_pk, x_i>

Labels that do not exclude each other are P problems of one logit; exclusive classes are one problem of K logits.
"""

from copy import copy
from functools import cached_property
from typing import Any, Self

import numpy as np

from skactivation._data.blocks import CONCATENATE
from skactivation._data.features import FeatureRows
from skactivation._optimize.objective import Costs, Curvature, Objective
from skactivation._typing import Array
from skactivation.linear_model import _terms
from skactivation.linear_model._feature_units import FeatureUnits
from skactivation.linear_model._terms import LinearPoint

_EPS = float(np.finfo(np.float64).eps)
# Up to here a decomposition of the columns' D x D matrix costs no more than the fit.
_MOST_COLUMNS_DECOMPOSED = 2000
# Instead of 0 where all residuals are 0.
_LEAST_SIZE = float(np.finfo(np.float64).tiny)
# Weights are tiny below this share of the largest: F then has few digits that depend on their rows.
_TINY = 1e-6
# Floating-point operations, about, that the loss of a logit takes: of a softmax, of a sigmoid.
_SOFTMAX_COST, _SIGMOID_COST = 60.0, 330.0


class LinearObjective(Objective):
    """Value, gradient and curvature, each in one pass over the rows.

    Parameters
    ----------
    rows : FeatureRows
        X with targets and weights.
    penalty : float or ndarray of shape (P,)
        Strength of the penalty of each problem, 1 / C in the units of the weights; 0 for none.
    """

    offers = frozenset(Curvature)

    def __init__(self, rows: FeatureRows, penalty: Any) -> None:
        targets = rows.targets
        self.rows, self.units = rows, FeatureUnits(rows)
        self._loss = targets.loss
        self._strengths = np.asarray(penalty) if np.ndim(penalty) else np.full(targets.n_problems, penalty)
        self.shape = (self._strengths.size, targets.n_logits, rows.n_columns)
        self.penalty = self.units.penalty(self._strengths, targets.n_logits)
        self.is_strongly_convex = bool(np.all(self.penalty[:, :, : rows.n_features] > 0))
        self._problems = np.arange(self.shape[0])
        weights = rows.weight_facts
        self.has_tiny_weights = self._of_problems(weights.least / weights.largest) * self._least_weights() < _TINY
        self._dtype: Any = np.dtype(np.float64)
        self._logits = np.arange(targets.n_logits)
        # Every two logits of a problem.
        self._pairs = np.nonzero(np.tri(targets.n_logits, k=-1))
        # Without a penalty, columns that depend on each other leave directions in which F is constant.
        self._null_space = np.empty((rows.n_columns, 0))
        if not self._strengths.any() and rows.n_columns <= _MOST_COLUMNS_DECOMPOSED:
            self._null_space = _null_space(rows, self.units.block_scale)

    @property
    def costs(self) -> Costs:
        """What evaluations and curvatures cost."""
        rows = self.rows
        logit_cost = _SOFTMAX_COST if self.shape[1] > 1 else _SIGMOID_COST
        return Costs(rows.n_rows, rows.n_entries, rows.gram_cost, logit_cost)

    @property
    def largest_curvature(self) -> Array:
        """A bound (P,) on the diagonal of the Hessian without the penalty: columns are scaled to at most 2."""
        return np.asarray(4 * 0.25 * self._of_problems(self.rows.weight_facts.total))

    def separation_levels(self) -> Array:
        """Sums of losses (P,) below which the loss of every row is below log 2: each row is on the right side."""
        return np.asarray(np.log(2) * self._least_weights() * self._of_problems(self.rows.weight_facts.least))

    def in_single_precision(self) -> Self:
        """The same with evaluations in the rows' own precision, which is single where that is worth it."""
        return self._in(self.rows.dtype)

    def in_double_precision(self) -> Self:
        """The same with evaluations in double precision."""
        return self._in(np.dtype(np.float64))

    def select(self, problems: Array) -> Self:
        """Some of the problems, given by a mask (P,)."""
        n_problems = np.count_nonzero(problems)
        if n_problems == problems.size:
            return self
        selected = copy(self)
        selected._problems = self._problems[problems]
        selected._strengths, selected.penalty = self._strengths[problems], self.penalty[problems]
        selected.has_tiny_weights = self.has_tiny_weights[problems]
        selected.shape = (int(n_problems), *self.shape[1:])
        return selected

    def on(self, rows: FeatureRows) -> Self:
        """The same problems on other rows of the same targets."""
        other = type(self)(rows, self._strengths)
        other._problems = self._problems
        return other

    def sample(self, theta: Array, n_rows: int) -> Self:
        """The objective on rows that are drawn by their shares in the curvature of each logit: rare classes are there.

        Rows are drawn in even steps along the sum of shares: a row that is longer than a step is drawn several times.
        """
        sums = np.cumsum(self.curvature_shares(theta))
        if not sums[-1] > 0:
            return self
        places = sums[-1] * (np.arange(n_rows) + 0.5) / n_rows
        chosen, times = np.unique(np.searchsorted(sums, places), return_counts=True)
        shares = np.diff(sums, prepend=0.0)[chosen]
        return self.on(self.rows.take(chosen, times * (sums[-1] / n_rows) / shares))

    def center(self, theta: Array) -> None:
        """Remove from coefficients, in place, what changes no probability.

        That is each column's mean over the classes, for exclusive classes: the penalty is smallest at mean 0, so that
        the optimum has it. And the null space of X, where nothing is penalised.
        """
        if self.shape[1] > 1:
            theta -= theta.sum(axis=1, keepdims=True) / self.shape[1]
        self._project(theta)

    def value_and_gradient(self, theta: Array) -> tuple[Array, Array]:
        """The value of each problem (P,) and its gradient (P, K, D)."""
        n_problems, n_logits, _ = self.shape
        values, gradient, squares = self._sum(_terms.losses_and_gradient, theta, size=theta.size)
        gradient = gradient.reshape(self.shape) * self.units.block_scale
        if n_logits > 1:
            # Rounding leaves a sum over the classes that is not 0. It belongs to the classes with large residuals:
            # spread evenly, it would drown those whose rows are nearly certain.
            sizes = np.sqrt(squares).reshape(n_problems, n_logits, 1)
            totals = np.maximum(sizes.sum(axis=1, keepdims=True), _LEAST_SIZE)
            gradient -= (sizes / totals) * gradient.sum(axis=1, keepdims=True)
        penalty_gradient = self.penalty * theta
        gradient += penalty_gradient
        if self._null_space.size:
            self._project(gradient)
        halves = 0.5 * penalty_gradient.reshape(n_problems, -1), theta.reshape(n_problems, -1)
        return values + np.einsum("pj,pj->p", *halves), gradient

    def hessian(self, theta: Array) -> Array:
        """The Hessian of each problem (P, m, m), classes outermost.

        Where a shift of all classes changes nothing, the matrix is made regular: steps that solve for a centred
        gradient are right once they are centred, and so are norms of centred gradients.
        """
        n_problems, n_logits, n_columns = self.shape
        if n_logits == 1:
            own = self.hessian_blocks(theta)
        else:
            size = n_problems * n_columns**2 * n_logits * (n_logits + 1) // 2
            cost = n_columns * n_logits
            own, others = self._sum(_terms.hessian_with_pairs, theta, self._pairs, size=size, cost=cost)
            own = self._with_penalty(own)
            others *= self._scale_products
        curvatures = np.einsum("pkjj->pkj", own).copy()
        if self._null_space.size:
            own += curvatures.mean(axis=2)[:, :, np.newaxis, np.newaxis] * (self._null_space @ self._null_space.T)
        if n_logits == 1:
            return np.asarray(own[:, 0])
        hessian = np.zeros((n_problems, n_logits, n_columns, n_logits, n_columns))
        one, other = self._pairs
        others = np.negative(others, out=others).reshape(n_problems, one.size, n_columns, n_columns)
        logits = self._logits
        for whole, blocks, of_pairs in zip(hessian, own, others, strict=True):
            whole[one, :, other] = whole[other, :, one] = of_pairs
            whole[logits, :, logits] = blocks
        of_columns = np.einsum("pkjlj->pjkl", hessian)
        of_columns += _regular_shift(curvatures.transpose(0, 2, 1), self.penalty[:, 0])
        size = n_logits * n_columns
        return hessian.reshape(n_problems, size, size)

    def hessian_blocks(self, theta: Array) -> Array:
        """The diagonal blocks (P, K, D, D) of the Hessian."""
        if self.has_uniform_curvature(theta):
            # One block, times a number for each logit.
            mean, shares = self._mean_block(theta)
            return self._add_penalty(np.multiply.outer(shares, mean))
        size = self.shape[0] * self.shape[1] * self.shape[2] ** 2
        return self._with_penalty(*self._sum(_terms.hessian_blocks, theta, size=size, cost=self.shape[2]))

    def mean_hessian_block(self, theta: Array) -> tuple[Array, Array]:
        """The mean (D, D) of these blocks, and each one's share in the curvature (P, K), with mean 1."""
        mean, shares = self._mean_block(theta)
        return mean + np.diag(self.penalty.mean(axis=(0, 1))), shares

    def hessian_diagonal(self, theta: Array) -> Array:
        """The diagonal (P, K, D) of the Hessian."""
        (squares,) = self._sum(_terms.hessian_diagonal, theta, size=theta.size)
        scale = self.units.block_scale
        return np.asarray(squares.reshape(self.shape) * scale * scale + self.penalty)

    def has_uniform_curvature(self, theta: Array) -> bool:
        """Whether all rows have the same curvature, so that one product of the columns gives all blocks."""
        return self.rows.targets.uniform and not theta[:, :, : self.rows.n_features].any()

    def curvature_shares(self, theta: Array) -> Array:
        """Sum over the logits of each row's share (n,) in the logit's curvature: rows that matter to any of them."""
        cheap = self.in_single_precision()
        (totals,) = cheap._sum(_terms.curvatures_by_logit, theta, size=self.shape[0] * self.shape[1])
        totals[totals == 0] = 1
        (shares,) = cheap._sum(_terms.curvature_shares, theta, totals, size=1, combine=CONCATENATE)
        return np.concatenate(shares)

    def intercept_hessian(self, theta: Array) -> Array:
        """The Hessian of each problem by its intercepts alone (P, K, K), made regular as `hessian` is."""
        n_problems, n_logits, _ = self.shape
        (hessian,) = self._sum(_terms.intercept_hessian, theta, size=n_problems * n_logits**2)
        if n_logits > 1:
            own = np.einsum("pkk->pk", hessian)
            hessian = hessian + _regular_shift(own[:, np.newaxis], np.zeros((n_problems, 1)))[:, 0]
        return np.asarray(hessian)

    def hessian_rounding(self, hessian: Array) -> Array:
        """Sizes (P, m) of the sums behind the diagonals of `hessian`: rounding is relative to them."""
        diagonal: Array = np.einsum("pjj->pj", hessian)
        offsets = self.rows.offsets
        if self.units.has_intercept and offsets.any():
            # What is subtracted after summing, sum w (x^2 - (x - c)^2), is c^2 sum w for the mean c, about.
            squares = np.square(offsets * self.units.block_scale[:-1])
            sizes = diagonal.reshape(self.shape).copy()
            sizes[:, :, :-1] += 4 * squares * sizes[:, :, -1:]
            diagonal = sizes.reshape(diagonal.shape)
        return diagonal

    def value_rounding(self, theta: Array) -> Array:
        """A bound (P,) on the rounding of each problem's value, relative to it.

        A logit is a sum of products whose sizes add up to at most twice those of the coefficients; a row's residuals,
        by which that counts, add up to about twice its loss.
        """
        return np.asarray(_EPS * (2 + 4 * np.abs(theta).sum(axis=2).max(axis=1)))

    def logit_range(self, step: Array) -> Array:
        """How far a step (P, K, D) spreads the logits of any row, for each problem (P,)."""
        cheap = self.in_single_precision()
        (largest,) = cheap._sum(_terms.largest_range, step, size=self.shape[0], combine=np.maximum)
        return np.asarray(largest, dtype=np.float64)

    def logit_range_bound(self, length: Array) -> Array:
        """A bound on the same for steps of some Euclidean lengths (P,): columns are scaled to at most 2."""
        return np.asarray(np.sqrt(2.0) * 2.0 * np.sqrt(self.shape[2]) * length)

    def largest_logit_range(self, inverse: Array) -> Array:
        """The same for any step of length 1 in the norm of each Hessian, given the inverses (P, m, m)."""
        n_problems, n_logits, n_columns = self.shape
        forms = inverse.reshape(n_problems, n_logits, n_columns, n_logits, n_columns)
        own = np.einsum("pkikj->pkij", forms)
        if n_logits > 1:
            # Norms of (e_k - 1/K) (x) x: the largest two bound that of (e_k - e_l) (x) x for any k and l.
            mean = forms.mean(axis=3)
            own = own - mean - mean.transpose(0, 1, 3, 2) + mean.mean(axis=1)[:, np.newaxis]
        own = own * self._scale_products
        (largest,) = self.rows.sum(
            _terms.largest_quadratic_form, own, size=n_problems, combine=np.maximum, cost=n_columns
        )
        return np.asarray(largest)

    def largest_residuals(self, theta: Array) -> Array:
        """Each logit's largest residual (P, K) over rows with a positive weight."""
        size = self.shape[0] * self.shape[1]
        (largest,) = self._sum(_terms.largest_residuals, theta, size=size, combine=np.maximum)
        return np.asarray(largest.reshape(self.shape[:2]))

    def from_rows(self, combination: Array, intercepts: Array) -> Array:
        """Coefficients (P, K, D) whose features are a combination (P K, n) of X's centred rows."""
        size = combination.shape[0] * self.shape[2]
        (theta,) = self.rows.sum(_terms.combined_rows, combination, size=size)
        theta = np.array(theta)
        theta[:, self.rows.n_features :] = intercepts[:, np.newaxis]
        return np.asarray((theta * self.units.scale).reshape(self.shape))

    def to_features(self, theta: Array, dtype: Any) -> tuple[Array, Array]:
        """Coefficients (P K, d) and intercepts (P K,) of X as it came."""
        theta = theta.copy()
        self.center(theta)
        return self.units.to_features(theta, dtype)

    def from_features(self, weights: Array, intercepts: Array) -> Array:
        """The inverse of `to_features`."""
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
        """Sum a term of a block, the point and more arguments over the rows."""
        coefficients = (theta * self.units.block_scale).reshape(-1, self.shape[2])
        # Fortran order: sparse products then take the coefficients as they are.
        point = LinearPoint(self._loss, np.asfortranarray(coefficients), self._problems, self.shape[1])
        return self.rows.sum(term, point, *arguments, size=size, dtype=self._dtype, combine=combine, cost=cost)

    def _mean_block(self, theta: Array) -> tuple[Array, Array]:
        cost = self.shape[2] / (self.shape[0] * self.shape[1])
        mean, curvatures = self._sum(_terms.mean_hessian_block, theta, size=self.shape[2] ** 2, cost=cost)
        shares = curvatures / (curvatures.mean() or 1.0)
        return mean * self._scale_products, shares.reshape(self.shape[:2])

    def _with_penalty(self, blocks: Array) -> Array:
        """Sums (P K, D, D) over the blocks' columns as blocks (P, K, D, D) of the Hessian."""
        return self._add_penalty(blocks.reshape(*self.shape, self.shape[2]) * self._scale_products)

    def _add_penalty(self, blocks: Array) -> Array:
        diagonals = np.einsum("pkjj->pkj", blocks)
        diagonals += self.penalty
        return blocks

    @cached_property
    def _scale_products(self) -> Array:
        """What takes products of the blocks' columns (D, D) to theta's."""
        return np.multiply.outer(self.units.block_scale, self.units.block_scale)

    def _project(self, theta: Array) -> None:
        """Remove from coefficients, or from a gradient, what lies in the null space of X."""
        if self._null_space.size:
            flat = theta.reshape(-1, self.shape[2])
            flat -= (flat @ self._null_space) @ self._null_space.T

    def _of_problems(self, facts: Array) -> Array:
        """Facts (P,) about the data of these problems, from facts about all problems or one fact for all."""
        return facts[self._problems] if facts.size > 1 else np.full(self.shape[0], facts[0])

    def _least_weights(self) -> Array:
        """The targets' own least positive weight (P,)."""
        return self._of_problems(self.rows.targets.least_weights())


def _null_space(rows: FeatureRows, scale: Array) -> Array:
    """An orthonormal basis (D, r) of the null space of X's scaled columns.

    Columns that depend on each other to rounding count as dependent: their products with any coefficients can't be told
    apart in floating point.
    """
    size = rows.n_columns
    (triangle,) = rows.sum(_terms.triangle, scale, size=size**2, combine=_terms.triangles)
    norms = np.linalg.norm(triangle, axis=0)
    norms[norms == 0] = 1
    _, singular, vectors = np.linalg.svd(triangle / norms)
    singular = np.append(singular, np.zeros(size - singular.size))
    null = vectors[singular <= 10 * size * _EPS * singular[0]].T
    return np.linalg.qr(null / norms[:, np.newaxis])[0]


def _regular_shift(curvatures: Array, penalty: Array) -> Array:
    """What makes matrices over the classes regular in the direction in which all classes move, (P, D, K, K).

    Given each column's curvatures (P, D, K) by class and its penalty (P, D). The penalty is removed in that direction,
    as centring does; then v v^T is added, with v weighted by curvature: so a class whose curvature is tiny, since all
    rows are certain of it, does not drown.
    """
    totals = curvatures.sum(axis=2, keepdims=True)
    totals[totals == 0] = 1
    v = curvatures / np.sqrt(totals)
    shift: Array = v[:, :, :, np.newaxis] * v[:, :, np.newaxis, :]
    shift -= (penalty / curvatures.shape[2])[:, :, np.newaxis, np.newaxis]
    return shift
