r"""The function that a fit minimises: cross-entropy summed over rows plus an L2 penalty.

    F(theta) = sum_i s_i l(z_i, t_i) + 1/2 sum_kj penalty_kj theta_kj^2,    z_i = theta x_i

Labels that don't exclude each other share no coefficient: F is then a sum of P = K separate *parts*, one for each
output, whose values, Hessians (D, D) and bounds are told apart. Exclusive classes are one part, P = 1.

Coefficients theta have the shape (K, D), for K logits and D columns (X's features, then the intercept). A column is
divided by a power of two near its largest value, on the coefficients' side, so that all numbers stay in range whatever
the units of X.
"""

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from skactivation._class_major_losses import Loss
from skactivation._data.blocks import Block, Rows, rows_of, sum_over_blocks
from skactivation._optimize.objective import Objective
from skactivation._typing import Array

__all__ = ["LinearObjective", "as_linear"]


# Up to here a decomposition of the columns' D x D matrix costs no more than the fit.
_MOST_COLUMNS_DECOMPOSED = 2000


class LinearObjective(Objective):
    """Value, gradient and curvature, each in one pass over the data.

    Parameters
    ----------
    rows : Rows
        X, block by block.
    loss : Loss
        Cross-entropy on class-major logits.
    targets : callable
        From a slice of rows, or their numbers, and the numbers of the outputs to the loss's targets for them.
    weights : ndarray of shape (n,) or None
        Weights of the rows.
    n_outputs : int
        Logits of a row, K.
    penalty : float or ndarray of shape (K,)
        Strength of the penalty, 1 / C in the units of the weights; 0 for none.
    lightest : ndarray of shape (P,) or None
        What the targets' own weights multiply those of the rows with at least, where at most it is 1.
    uniform : bool
        Whether the targets have no weights of their own, so that rows of equal logits have equal curvature.
    outputs : ndarray of shape (K,) or None
        The numbers of the outputs, where they are some of those that `targets` knows.
    """

    def __init__(
        self,
        rows: Rows,
        loss: Loss,
        targets: Callable[[Any, Array], Any],
        weights: Array | None,
        *,
        n_outputs: int,
        penalty: float | Array,
        lightest: Array | None = None,
        uniform: bool = True,
        outputs: Array | None = None,
    ) -> None:
        self.rows = rows
        self._loss = loss
        self._targets = targets
        self._weights = weights
        self._strengths = np.broadcast_to(penalty, (n_outputs,))
        self._uniform = uniform
        self._outputs = np.arange(n_outputs) if outputs is None else outputs
        self.shape = (n_outputs, rows.n_columns)
        self.n_parts = 1 if loss.shift_invariant else n_outputs
        self.is_coarse = bool(rows.dtype == np.float32)
        self.n_features = rows.center.size
        self._lightest = np.ones(self.n_parts) if lightest is None else lightest
        self._lightest_row = 1.0 if weights is None else float(weights[weights > 0].min() / weights.max())
        # Every two outputs, where they touch each other.
        self._pairs = np.nonzero(np.tri(n_outputs, k=-1)) if loss.shift_invariant else None
        # Powers of two: scaling is exact.
        exponents = np.zeros(rows.n_columns, dtype=np.intc)
        exponents[: self.n_features] = np.frexp(np.where(rows.largest > 0, rows.largest, 1.0))[1] - 1
        self._scale = np.ldexp(1.0, exponents)
        self._inverse_scale = np.ldexp(1.0, -exponents)
        # From theta to coefficients of the blocks' columns.
        self._block_scale = self._inverse_scale.copy()
        self._block_scale[: self.n_features] /= rows.units
        self.penalty = np.zeros(self.shape)
        with np.errstate(all="ignore"):
            strengths = np.outer(self._strengths, np.square(self._inverse_scale[: self.n_features]))
        # Beyond this range a coefficient is 0, or free, to the last digit.
        self.penalty[:, : self.n_features] = np.where(
            self._strengths[:, np.newaxis] > 0, np.minimum(strengths, 1e300), 0
        )
        # Without a penalty, columns that depend on each other leave directions in which F is constant.
        self._null_space = np.empty((rows.n_columns, 0))
        if not self._strengths.any() and rows.n_columns <= _MOST_COLUMNS_DECOMPOSED:
            self._null_space = self._dependent_columns()

    def rounding_of_value(self, theta: Array) -> Array:
        """How much of each part's value (P,), relatively, rounding may take.

        A logit is a sum of products whose sizes add up to at most twice those of the coefficients; a row's residuals,
        by which that counts, to about twice its loss.
        """
        sizes = np.abs(theta).sum(axis=1).reshape(self.n_parts, -1).max(axis=1)
        return np.asarray(np.finfo(np.float64).eps * (2 + 4 * sizes))

    @property
    def has_penalty(self) -> bool:
        """Whether F is strongly convex in the coefficients of all features."""
        return bool(np.all(self.penalty[:, : self.n_features] > 0))

    @property
    def has_light_rows(self) -> Array:
        """Whether some rows weigh so little beside others that a part's value (P,) hardly depends on them."""
        return np.asarray(self._lightest * self._lightest_row < 1e-6)

    @property
    def work_of_evaluation(self) -> float:
        """Floating-point operations, about, that logits of a row and output take besides products."""
        return 60.0 if self._loss.shift_invariant else 330.0

    @property
    def largest_curvature(self) -> float:
        """What no entry on the diagonal of the sums' Hessian exceeds: columns are scaled to at most 2."""
        total = self.rows.n_rows if self._weights is None else self._weights.sum()
        return float(4 * 0.25 * total)

    def select(self, parts: Array) -> "LinearObjective":
        """Some of several parts, given by a mask (P,)."""
        if np.count_nonzero(parts) == parts.size:
            return self
        selected = copy(self)
        selected._outputs = self._outputs[parts]
        selected._strengths, selected.penalty = self._strengths[parts], self.penalty[parts]
        selected._lightest = self._lightest[parts]
        selected.n_parts = int(np.count_nonzero(parts))
        selected.shape = (selected.n_parts, self.shape[1])
        return selected

    def has_even_curvature(self, theta: Array) -> bool:
        """Whether all rows have the same curvature, so that one product of the columns gives all outputs' Hessians."""
        return self._uniform and not theta[:, : self.n_features].any()

    def part(self, chosen: Array, stands_for: Array) -> "LinearObjective":
        """The objective on some rows (m,), with numbers (m,) that say for how many each stands."""
        weights = stands_for if self._weights is None else stands_for * self._weights[chosen]
        return self._with(
            self.rows.part(chosen, weights), lambda where, outputs: self._targets(chosen[where], outputs), weights
        )

    def on(self, X: Array) -> "LinearObjective":
        """The objective with other features (n, r) in the place of X's."""
        rows = rows_of(X, self.shape[0], self._weights, fit_intercept=self.shape[1] > self.n_features)
        return self._with(rows, self._targets, self._weights)

    def _with(self, rows: Rows, targets: Callable[[Any, Array], Any], weights: Array | None) -> "LinearObjective":
        """The objective with other rows."""
        return LinearObjective(
            rows,
            self._loss,
            targets,
            weights,
            n_outputs=self.shape[0],
            penalty=self._strengths,
            lightest=self._lightest,
            uniform=self._uniform,
            outputs=self._outputs,
        )

    def from_rows(self, combination: Array, intercepts: Array) -> Array:
        """Coefficients (K, D) whose part in X's features is a combination (K, n) of X's centred rows."""

        def term(rows: slice, block: Block) -> tuple[Array]:
            return (block.gradient(combination[:, rows]),)

        (theta,) = sum_over_blocks(self.rows, term, size=combination.shape[0] * self.shape[1])
        theta = np.array(theta)
        theta[:, self.n_features :] = intercepts[:, np.newaxis]
        theta *= self._scale
        return theta

    def value_and_gradient(self, theta: Array, *, exact: bool = True) -> tuple[Array, Array]:
        """The value of each part (P,) and the gradient (K, D) at coefficients (K, D).

        If not exact, with the precision of X's dtype.
        """
        coefficients = self._unscaled(theta)
        shift_invariant = self._loss.shift_invariant

        def term(rows: slice, block: Block) -> tuple[Array, Array, Any]:
            z = block.logits(coefficients)
            weights = None if self._weights is None else self._weights[rows]
            sums = self._loss.sums_and_residuals(z, self._targets(rows, self._outputs), weights)
            # Over many blocks, sums in float32 would lose what float32 has to give.
            gradient = block.gradient(z).astype(np.float64, copy=False)
            return sums, gradient, np.einsum("kb,kb->k", z, z) if shift_invariant else 0.0

        dtype = np.float64 if exact else self.rows.dtype
        values, gradient, squares = sum_over_blocks(self.rows, term, size=theta.size, dtype=dtype)
        gradient = gradient * self._block_scale
        if shift_invariant and squares.any():
            # Rounding leaves a sum over the classes that isn't 0. It belongs to the classes with large residuals:
            # spread evenly it would drown those whose rows are all but certain.
            sizes = np.sqrt(squares)
            gradient -= np.multiply.outer(sizes / sizes.sum(), gradient.sum(axis=0))
        penalty_gradient = self.penalty * theta
        gradient += penalty_gradient
        self._project(gradient)
        halves = 0.5 * penalty_gradient.reshape(self.n_parts, -1), theta.reshape(self.n_parts, -1)
        return values + np.einsum("pj,pj->p", *halves), gradient

    def hessian(self, theta: Array, *, exact: bool = True) -> Array:
        """The Hessian of each part: (K, D, D) for parts of one output, else (1, K D, K D), classes outermost.

        If not exact, the former may have the precision of an evaluation that isn't.

        Where a shift of all classes changes nothing, the matrix is made regular: steps that solve for a centred
        gradient are right once they are centred, and so are norms of centred gradients.
        """
        if self._pairs is None:
            own = self.output_hessians(theta, exact=exact)
            others = None
        else:
            own, others = self._hessian_by_outputs(theta, self._pairs)
        curvatures = np.einsum("kjj->kj", own).copy()
        if self._null_space.size:
            null = self._null_space @ self._null_space.T
            own += curvatures.mean(axis=1)[:, np.newaxis, np.newaxis] * null
        if others is None or self._pairs is None:
            return own
        n_outputs, n_columns = self.shape
        hessian = np.zeros((n_outputs, n_columns, n_outputs, n_columns))
        one, other = self._pairs
        if others.ndim:
            hessian[one, :, other] = hessian[other, :, one] = np.negative(others, out=others)
        outputs = np.arange(n_outputs)
        hessian[outputs, :, outputs] = own
        of_columns = np.einsum("kjlj->jkl", hessian)
        of_columns += _regular_shift(curvatures.T, self.penalty[0])
        return hessian.reshape(1, n_outputs * n_columns, -1)

    def _hessian_by_outputs(self, theta: Array, pairs: Any) -> tuple[Array, Array]:
        """Blocks of single outputs (K, D, D), penalty included, and minus those of every two (., D, D)."""

        def term(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array, Array]:
            # Own blocks aren't differences from the others', which would cancel where probabilities are close to 1.
            own = block.grams(diagonal)
            if rank_one is None or not pairs[0].size:
                return own, np.zeros(())
            return own, block.grams(rank_one[pairs[0]] * rank_one[pairs[1]])

        n_outputs, n_columns = self.shape
        own, others = self._sum_curvature(theta, term, n_columns**2 * n_outputs * (n_outputs + 1) // 2)
        scales = np.multiply.outer(self._block_scale, self._block_scale)
        own *= scales
        curvatures = np.einsum("kjj->kj", own)
        curvatures += self.penalty
        if others.ndim:
            others *= scales
        return own, others

    def output_hessians(self, theta: Array, *, exact: bool = False) -> Array:
        """The Hessian's blocks (K, D, D), one for each output."""
        if self.has_even_curvature(theta):
            # All rows have the same curvature: one block, times a number for each output.
            mean, shares = self._mean_curvature(theta, exact=exact)
            own = np.multiply.outer(shares, mean)
        else:

            def term(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array]:
                return (block.grams(diagonal),)

            (own,) = self._sum_curvature(theta, term, self.shape[0] * self.shape[1] ** 2, exact=exact)
            own = own * np.outer(self._block_scale, self._block_scale)
        columns = np.arange(self.shape[1])
        own[:, columns, columns] += self.penalty
        return np.asarray(own)

    def mean_hessian(self, theta: Array) -> tuple[Array, Array]:
        """The mean (D, D) of those blocks, and how much of the curvature belongs to each output (K,), with mean 1."""
        mean, shares = self._mean_curvature(theta, exact=False)
        return mean + np.diag(self.penalty.mean(axis=0)), shares

    def _mean_curvature(self, theta: Array, *, exact: bool) -> tuple[Array, Array]:
        def term(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array, Array]:
            return block.grams(diagonal.mean(axis=0, keepdims=True))[0], diagonal.sum(axis=1, dtype=np.float64)

        mean, curvatures = self._sum_curvature(theta, term, self.shape[1] ** 2, exact=exact)
        mean = mean * np.outer(self._block_scale, self._block_scale)
        return mean, curvatures / (curvatures.mean() or 1.0)

    def hessian_diagonal(self, theta: Array) -> Array:
        """The Hessian's diagonal (K, D)."""

        def term(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array]:
            return (block.squares(diagonal),)

        (squares,) = self._sum_curvature(theta, term, theta.size)
        diagonal: Array = squares * self._block_scale * self._block_scale + self.penalty
        return diagonal

    def shares_of_curvature(self, theta: Array) -> Array:
        """Sum over the outputs of each row's share (n,) in the output's curvature: rows that matter to any of them."""

        def total(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array]:
            return (diagonal.sum(axis=1, dtype=np.float64),)

        (totals,) = self._sum_curvature(theta, total, self.shape[0], exact=False)
        totals[totals == 0] = 1
        shares = np.empty(self.rows.n_rows)
        coefficients = self._unscaled(theta)

        def term(rows: slice, block: Block) -> tuple[()]:
            diagonal, _ = self._loss.curvature(block.logits(coefficients), self._targets(rows, self._outputs))
            shares[rows] = (1 / totals) @ diagonal
            return ()

        sum_over_blocks(self.rows, term, size=1, dtype=self.rows.dtype)
        return shares if self._weights is None else shares * self._weights

    def rounding(self, hessian: Array) -> Array:
        """What sizes the sums (P, .) behind the diagonals of `hessian` had: rounding is relative to them."""
        diagonal: Array = np.einsum("pjj->pj", hessian)
        if self.shape[1] > self.n_features and self.rows.offsets.any():
            # What is taken off after summing, sum w (x^2 - (x - c)^2), is c^2 sum w for the mean c, and of this order.
            offsets = np.square(self.rows.offsets * self._block_scale[:-1])
            sizes = diagonal.reshape(self.shape).copy()
            sizes[:, :-1] += 4 * offsets * sizes[:, -1:]
            diagonal = sizes.reshape(diagonal.shape)
        return diagonal

    def intercept_hessian(self, theta: Array) -> Array:
        """The Hessian of each part in its k intercepts alone (P, k, k), made regular as `hessian` is."""
        shift_invariant = self._loss.shift_invariant

        def term(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array]:
            totals = diagonal.sum(axis=1)
            if not shift_invariant:
                return (totals,)
            hessian = np.zeros((len(totals),) * 2) if rank_one is None else -rank_one @ rank_one.T
            np.fill_diagonal(hessian, totals)
            return (hessian,)

        (hessian,) = self._sum_curvature(theta, term, self.shape[0] ** 2)
        if not shift_invariant:
            return np.reshape(hessian, (-1, 1, 1))
        hessian = hessian + _regular_shift(hessian.diagonal()[np.newaxis], np.zeros(1))[0]
        return np.asarray(hessian[np.newaxis])

    def logit_range(self, step: Array) -> Array:
        """How far a step (K, D) spreads the logits of a row, at most, for each part (P,)."""
        coefficients = self._unscaled(step)

        def term(rows: slice, block: Block) -> tuple[Any]:
            z = block.logits(coefficients)
            if self._loss.shift_invariant:
                return ((z.max(axis=0) - z.min(axis=0)).max(keepdims=True),)
            return (np.maximum(z.max(axis=1), -z.min(axis=1)),)

        (largest,) = sum_over_blocks(self.rows, term, size=self.n_parts, dtype=self.rows.dtype, combine=np.maximum)
        return np.asarray(largest, dtype=np.float64)

    def crude_logit_range(self, length: Array) -> Array:
        """Bound the spread of any row's logits after steps of some lengths: columns are scaled to at most 2."""
        return np.asarray(np.sqrt(2.0) * 2.0 * np.sqrt(self.shape[1]) * length)

    def largest_logit_range(self, inverse: Array) -> Array:
        """Bound the spread of a row's logits after any step of length 1 in the norm of each part's Hessian.

        Given the Hessians' inverses (P, m, m); for each part (P,).
        """
        n_outputs, n_columns = self.shape
        quadratic = inverse
        if self._loss.shift_invariant:
            # Norms of (e_k - 1/K) (x) x: the largest two bound that of (e_k - e_l) (x) x for any k and l.
            forms = inverse.reshape(n_outputs, n_columns, n_outputs, n_columns)
            outputs = np.arange(n_outputs)
            mean = forms.mean(axis=2)
            quadratic = forms[outputs, :, outputs, :] - mean - mean.transpose(0, 2, 1) + mean.mean(axis=0)
        quadratic = quadratic * np.outer(self._block_scale, self._block_scale)

        def term(rows: slice, block: Block) -> tuple[Any]:
            squares = np.stack([block.quadratic_forms(form) for form in quadratic])
            norms = np.sqrt(np.maximum(squares, 0))
            if self._loss.shift_invariant:
                return (np.sort(norms, axis=0)[-2:].sum(axis=0).max(keepdims=True),)
            return (norms.max(axis=1),)

        (largest,) = sum_over_blocks(self.rows, term, size=self.n_parts, combine=np.maximum)
        return np.asarray(largest)

    def intercept_range(self, step: Array) -> Array:
        """How far a step (K,) of the intercepts spreads the logits of a row, for each part (P,)."""
        return np.ptp(step, keepdims=True) if self._loss.shift_invariant else np.abs(step)

    def largest_intercept_range(self, inverse: Array) -> Array:
        """How far any step of length 1 in the norm of the intercepts' Hessians does (P,), given inverses (P, k, k)."""
        own = np.einsum("pkk->pk", inverse)
        if not self._loss.shift_invariant:
            return np.asarray(np.sqrt(own[:, 0]))
        return np.asarray(np.sqrt(np.max(own[:, :, np.newaxis] + own[:, np.newaxis] - 2 * inverse, axis=(1, 2))))

    def largest_residuals(self, theta: Array) -> Array:
        """Each output's largest residual (K,) over rows with a positive weight."""
        coefficients = self._unscaled(theta)

        def term(rows: slice, block: Block) -> tuple[Array]:
            z = block.logits(coefficients)
            counted = None if self._weights is None else (self._weights[rows] > 0).astype(z.dtype)
            self._loss.sums_and_residuals(z, self._targets(rows, self._outputs), counted)
            return (np.abs(z).max(axis=1),)

        (largest,) = sum_over_blocks(self.rows, term, size=self.shape[0], combine=np.maximum)
        return np.asarray(largest)

    def to_features(self, theta: Array, dtype: Any) -> tuple[Array, Array]:
        """Coefficients (K, d) and intercepts (K,) of X as it came, from coefficients of its columns (K, D)."""
        theta = theta.copy()
        self.center(theta)
        coefficients = theta * self._inverse_scale
        # The intercept makes up for the centre with the coefficients as they are stored.
        weights = coefficients[:, : self.n_features].astype(dtype)
        if self.shape[1] == self.n_features:
            return weights, np.zeros(self.shape[0], dtype=dtype)
        shifts = (weights.astype(np.longdouble) * self.rows.center).sum(axis=1)
        return weights, (coefficients[:, -1] - shifts).astype(dtype)

    def from_features(self, weights: Array, intercepts: Array) -> Array:
        """The inverse of `to_features`."""
        theta = np.empty(self.shape)
        theta[:, : self.n_features] = weights
        if self.shape[1] > self.n_features:
            # More digits than the intercepts have: large offsets nearly cancel.
            shifts = (weights.astype(np.longdouble) * self.rows.center).sum(axis=1)
            theta[:, -1] = intercepts + shifts
        theta *= self._scale
        self.center(theta)
        return theta

    def rounding_of_offsets(self, weights: Array, gradient: Array) -> Array:
        """How much of each part's value (P,), at a point with some gradient, `from_features` may have rounded away.

        The sums that make up for the centre have the digits of extended precision alone.
        """
        if self.shape[1] == self.n_features:
            return np.zeros(self.n_parts)
        sizes = (np.abs(weights.astype(np.float64)) * np.abs(self.rows.center)).sum(axis=1)
        shifts = self.n_features * float(np.finfo(np.longdouble).eps) * sizes
        # No intercept has more than a quarter of all weight as its curvature, two together no more than half.
        lost = np.abs(gradient[:, -1]) * shifts + 0.25 * self.largest_curvature * shifts**2
        return np.asarray(lost.reshape(self.n_parts, -1).sum(axis=1))

    def feature_gradient(self, gradient: Array) -> Array:
        """The gradient by coefficients and intercepts of X as it came, (K, D)."""
        result: Array = gradient * self._scale
        if self.shape[1] > self.n_features:
            result[:, : self.n_features] += np.outer(gradient[:, -1], self.rows.center)
        return result

    def _unscaled(self, theta: Array) -> Array:
        # Fortran order: sparse products then take the coefficients as they are.
        return np.asfortranarray(theta * self._block_scale)

    def center(self, theta: Array) -> None:
        """Take from coefficients what changes no probability.

        That is each column's mean over the classes, for exclusive classes: the penalty is smallest at mean 0, so that
        the optimum has it. And the null space of X, where nothing is penalised.
        """
        if self._loss.shift_invariant:
            theta -= theta.sum(axis=0) / len(theta)
        self._project(theta)

    def _project(self, theta: Array) -> None:
        """Take from coefficients, or from a gradient, what lies in the null space of X."""
        if self._null_space.size:
            theta -= (theta @ self._null_space) @ self._null_space.T

    def _dependent_columns(self) -> Array:
        """An orthonormal basis (D, r) of the null space of X's columns.

        Columns that depend on each other to rounding count as dependent: their products with any coefficients can't be
        told apart in floating point.
        """
        n_columns = self.shape[1]
        triangle = np.zeros((0, n_columns))
        self.rows.n_passes += 1
        for _, block in self.rows.blocks(self.rows.slices, np.float64):
            for x in block.columns():
                triangle = np.asarray(np.linalg.qr(np.vstack([triangle, x * self._block_scale]), mode="r"))
        norms = np.linalg.norm(triangle, axis=0)
        norms[norms == 0] = 1
        _, singular, vectors = np.linalg.svd(triangle / norms)
        singular = np.append(singular, np.zeros(n_columns - singular.size))
        null = vectors[singular <= 10 * n_columns * np.finfo(np.float64).eps * singular[0]].T
        return np.linalg.qr(null / norms[:, np.newaxis])[0]

    def _sum_curvature(
        self, theta: Array, term: Callable[[Block, Array, Array | None], Any], size: int, *, exact: bool = True
    ) -> Any:
        """Sum a term of (block, d (K, b), q (K, b) or None), both weighted as a loss's curvature is, over blocks."""
        coefficients = self._unscaled(theta)

        def weighted_term(rows: slice, block: Block) -> Any:
            z = block.logits(coefficients)
            diagonal, rank_one = self._loss.curvature(z, self._targets(rows, self._outputs))
            if self._weights is not None:
                weights = self._weights[rows]
                diagonal = diagonal * weights
                rank_one = None if rank_one is None else rank_one * np.sqrt(weights)
            return term(block, diagonal, rank_one)

        dtype = np.float64 if exact else self.rows.dtype
        return sum_over_blocks(self.rows, weighted_term, size=size, dtype=dtype)


def as_linear(objective: Objective) -> LinearObjective:
    """The objective, which must be a linear model's: for what only those can do."""
    if not isinstance(objective, LinearObjective):
        raise TypeError(
            f"only a linear model's objective has other metrics than the whole Hessian, and intercepts to bound, got a "
            f"{type(objective).__name__}"
        )
    return objective


def _regular_shift(curvatures: Array, penalty: Array) -> Array:
    """What makes matrices over the classes regular in the direction in which all classes move, (D, K, K).

    Given each column's curvatures (D, K) by class and its penalty (D,). The penalty is taken away in that direction, as
    centring does; then v v^T is added, with v weighted by curvature: a class whose curvature is tiny, since all rows
    are certain of it, isn't drowned.
    """
    totals = curvatures.sum(axis=1, keepdims=True)
    totals[totals == 0] = 1
    v = curvatures / np.sqrt(totals)
    shift: Array = v[:, :, np.newaxis] * v[:, np.newaxis, :]
    shift -= (penalty / curvatures.shape[1])[:, np.newaxis, np.newaxis]
    return shift
