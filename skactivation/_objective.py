r"""The function that a fit minimises: cross-entropy summed over rows plus an L2 penalty.

    F(theta) = sum_i s_i l(z_i, t_i) + 1/2 sum_kj penalty_j theta_kj^2,    z_i = theta x_i

Coefficients theta have the shape (K, D), for K logits and D columns (X's features, then the intercept). A column is
divided by a power of two near its largest value, on the coefficients' side, so that all numbers stay in range whatever
the units of X.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skactivation._blocks import Block, Rows, rows_of, sum_over_blocks
from skactivation.losses import Loss

__all__ = ["Objective"]

Array = NDArray[Any]

# Up to here a decomposition of the columns' D x D matrix costs no more than the fit.
_MOST_COLUMNS_DECOMPOSED = 2000


class Objective:
    """Value, gradient and curvature, each in one pass over the data.

    Parameters
    ----------
    rows : Rows
        X, block by block.
    loss : Loss
        Cross-entropy on class-major logits.
    targets : callable
        From a slice of rows, or their numbers, to the loss's targets for them.
    weights : ndarray of shape (n,) or None
        Weights of the rows.
    n_outputs : int
        Logits of a row, K.
    penalty : float
        Strength of the penalty, 1 / C; 0 for none.
    """

    def __init__(
        self,
        rows: Rows,
        loss: Loss,
        targets: Callable[[Any], Any],
        weights: Array | None,
        *,
        n_outputs: int,
        penalty: float,
    ) -> None:
        self.rows = rows
        self._penalty = penalty
        self._loss = loss
        self._targets = targets
        self._weights = weights
        self.shape = (n_outputs, rows.n_columns)
        self.n_features = rows.center.size
        # Every two outputs.
        self._pairs = np.nonzero(np.tri(n_outputs, k=-1))
        # Powers of two: scaling is exact.
        exponents = np.zeros(rows.n_columns, dtype=np.intc)
        exponents[: self.n_features] = np.frexp(np.where(rows.largest > 0, rows.largest, 1.0))[1] - 1
        self._scale = np.ldexp(1.0, exponents)
        self._inverse_scale = np.ldexp(1.0, -exponents)
        # From theta to coefficients of the blocks' columns.
        self._block_scale = self._inverse_scale.copy()
        self._block_scale[: self.n_features] /= rows.units
        self.penalty = np.zeros(rows.n_columns)
        if penalty > 0:
            with np.errstate(all="ignore"):
                strengths = penalty * np.square(self._inverse_scale[: self.n_features])
            # Beyond this range a coefficient is 0, or free, to the last digit.
            self.penalty[: self.n_features] = np.minimum(strengths, 1e300)
        # Without a penalty, columns that depend on each other leave directions in which F is constant.
        self._null_space = np.empty((rows.n_columns, 0))
        if penalty == 0 and rows.n_columns <= _MOST_COLUMNS_DECOMPOSED:
            self._null_space = self._dependent_columns()

    def rounding_of_value(self, theta: Array) -> float:
        """How much of F, relatively, rounding may take.

        A logit is a sum of products whose sizes add up to at most twice those of the coefficients; a row's residuals,
        by which that counts, to about twice its loss.
        """
        return float(np.finfo(np.float64).eps * (2 + 4 * np.abs(theta).sum(axis=1).max()))

    @property
    def has_penalty(self) -> bool:
        """Whether F is strongly convex in the coefficients of all features."""
        return bool(np.all(self.penalty[: self.n_features] > 0))

    @cached_property
    def has_light_rows(self) -> bool:
        """Whether some rows weigh so little beside others that the value hardly depends on them."""
        return self._weights is not None and bool(self._weights[self._weights > 0].min() < 1e-6 * self._weights.max())

    @property
    def largest_curvature(self) -> float:
        """What no entry on the diagonal of the sums' Hessian exceeds: columns are scaled to at most 2."""
        total = self.rows.n_rows if self._weights is None else self._weights.sum()
        return float(4 * 0.25 * total)

    def part(self, chosen: Array, stands_for: Array) -> "Objective":
        """The objective on some rows (m,), with numbers (m,) that say for how many each stands."""
        weights = stands_for if self._weights is None else stands_for * self._weights[chosen]
        return Objective(
            self.rows.part(chosen, weights),
            self._loss,
            lambda where: self._targets(chosen[where]),
            weights,
            n_outputs=self.shape[0],
            penalty=self._penalty,
        )

    def on(self, X: Array) -> "Objective":
        """The objective with other features (n, r) in the place of X's."""
        return Objective(
            rows_of(X, self.shape[0], self._weights, fit_intercept=self.shape[1] > self.n_features),
            self._loss,
            self._targets,
            self._weights,
            n_outputs=self.shape[0],
            penalty=self._penalty,
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

    def value_and_gradient(self, theta: Array, *, exact: bool = True) -> tuple[float, Array]:
        """F and its gradient (K, D) at coefficients (K, D); if not exact, with the precision of X's dtype."""
        coefficients = self._unscaled(theta)

        def term(rows: slice, block: Block) -> tuple[float, Array, Array]:
            z = block.logits(coefficients)
            losses = self._loss.losses_and_residuals(z, self._targets(rows))
            if self._weights is not None:
                weights = self._weights[rows]
                z *= weights
                losses = losses * weights
            # Over many blocks, sums in float32 would lose what float32 has to give.
            gradient = block.gradient(z).astype(np.float64, copy=False)
            return losses.sum(dtype=np.float64), gradient, np.einsum("kb,kb->k", z, z)

        dtype = np.float64 if exact else self.rows.dtype
        value, gradient, squares = sum_over_blocks(self.rows, term, size=theta.size, dtype=dtype)
        gradient = gradient * self._block_scale
        if self._loss.shift_invariant and squares.any():
            # Rounding leaves a sum over the classes that isn't 0. It belongs to the classes with large residuals:
            # spread evenly it would drown those whose rows are all but certain.
            sizes = np.sqrt(squares)
            gradient -= np.multiply.outer(sizes / sizes.sum(), gradient.sum(axis=0))
        penalty_gradient = self.penalty * theta
        gradient += penalty_gradient
        self._project(gradient)
        return float(value + 0.5 * np.vdot(penalty_gradient, theta)), gradient

    def hessian(self, theta: Array) -> Array:
        """The Hessian (K D, K D), classes outermost.

        Where a shift of all classes changes nothing, the matrix is made regular: steps that solve for a centred
        gradient are right once they are centred, and so are norms of centred gradients.
        """
        n_outputs, n_columns = self.shape
        pairs = self._pairs

        def term(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array, Array]:
            # Own blocks aren't differences from the others', which would cancel where probabilities are close to 1.
            own = block.grams(diagonal)
            if rank_one is None or not pairs[0].size:
                return own, np.zeros(())
            return own, block.grams(rank_one[pairs[0]] * rank_one[pairs[1]])

        size = n_columns**2 * n_outputs * (n_outputs + 1) // 2
        own, others = self._sum_curvature(theta, term, size)
        scales = np.multiply.outer(self._block_scale, self._block_scale)
        own *= scales
        curvatures = np.einsum("kjj->kj", own)
        curvatures += self.penalty
        hessian = np.zeros((n_outputs, n_columns, n_outputs, n_columns))
        if others.ndim:
            others *= scales
            hessian[pairs[0], :, pairs[1]] = hessian[pairs[1], :, pairs[0]] = np.negative(others, out=others)
        outputs = np.arange(n_outputs)
        hessian[outputs, :, outputs] = own
        if self._loss.shift_invariant:
            of_columns = np.einsum("kjlj->jkl", hessian)
            of_columns += _regular_shift(curvatures.T, self.penalty)
        if self._null_space.size:
            for k in range(n_outputs):
                hessian[k, :, k] += own[k].diagonal().mean() * self._null_space @ self._null_space.T
        return hessian.reshape(n_outputs * n_columns, -1)

    def output_hessians(self, theta: Array) -> Array:
        """The Hessian's blocks (K, D, D), one for each output."""
        if self._loss.shift_invariant and not theta[:, : self.n_features].any():
            # All rows have the same curvature: one block, times a number for each output.
            mean, shares = self.mean_hessian(theta)
            penalty = np.diag(self.penalty)
            return np.asarray(shares[:, np.newaxis, np.newaxis] * (mean - penalty) + penalty)

        def term(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array]:
            return (block.grams(diagonal),)

        (own,) = self._sum_curvature(theta, term, self.shape[0] * self.shape[1] ** 2, exact=False)
        own = own * np.outer(self._block_scale, self._block_scale)
        columns = np.arange(self.shape[1])
        own[:, columns, columns] += self.penalty
        result: Array = own
        return result

    def mean_hessian(self, theta: Array) -> tuple[Array, Array]:
        """The mean (D, D) of those blocks, and how much of the curvature belongs to each output (K,), with mean 1."""

        def term(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array, Array]:
            return block.grams(diagonal.mean(axis=0, keepdims=True))[0], diagonal.sum(axis=1)

        mean, curvatures = self._sum_curvature(theta, term, self.shape[1] ** 2, exact=False)
        mean = mean * np.outer(self._block_scale, self._block_scale)
        return mean + np.diag(self.penalty), curvatures / curvatures.mean()

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
            diagonal, _ = self._loss.curvature(block.logits(coefficients), self._targets(rows))
            shares[rows] = (1 / totals) @ diagonal
            return ()

        sum_over_blocks(self.rows, term, size=1, dtype=self.rows.dtype)
        return shares if self._weights is None else shares * self._weights

    def rounding(self, hessian: Array) -> Array:
        """What sizes the sums (K D,) behind the diagonal of `hessian` had: rounding is relative to them."""
        diagonal: Array = hessian.diagonal()
        if self.shape[1] > self.n_features and self.rows.offsets.any():
            # What is taken off after summing, sum w (x^2 - (x - c)^2), is c^2 sum w for the mean c, and of this order.
            offsets = np.square(self.rows.offsets * self._block_scale[:-1])
            sizes = diagonal.reshape(self.shape).copy()
            sizes[:, :-1] += 4 * offsets * sizes[:, -1:]
            diagonal = sizes.ravel()
        return diagonal

    def intercept_hessian(self, theta: Array) -> Array:
        """The Hessian (K, K) in the intercepts alone, made regular as `hessian` is."""

        def term(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array]:
            hessian = np.zeros((diagonal.shape[0],) * 2) if rank_one is None else -rank_one @ rank_one.T
            np.fill_diagonal(hessian, diagonal.sum(axis=1))
            return (hessian,)

        (hessian,) = self._sum_curvature(theta, term, self.shape[0] ** 2)
        if self._loss.shift_invariant:
            hessian = hessian + _regular_shift(hessian.diagonal()[np.newaxis], np.zeros(1))[0]
        result: Array = hessian
        return result

    def logit_range(self, step: Array) -> float:
        """How far a step (K, D) spreads the logits of a row, at most."""
        coefficients = self._unscaled(step)

        def term(rows: slice, block: Block) -> tuple[Any]:
            z = block.logits(coefficients)
            if self._loss.shift_invariant:
                return ((z.max(axis=0) - z.min(axis=0)).max(),)
            return (max(z.max(), -z.min()),)

        (largest,) = sum_over_blocks(self.rows, term, size=1, dtype=self.rows.dtype, combine=np.maximum)
        return float(largest)

    def crude_logit_range(self, length: float) -> float:
        """Bound the spread of any row's logits after a step of some length: columns are scaled to at most 2."""
        return float(np.sqrt(2.0) * 2.0 * np.sqrt(self.shape[1]) * length)

    def largest_logit_range(self, inverse: Array) -> float:
        """Bound the spread of a row's logits after any step of length 1 in the norm of a Hessian, given its inverse."""
        n_outputs, n_columns = self.shape
        forms = inverse.reshape(n_outputs, n_columns, n_outputs, n_columns)
        outputs = np.arange(n_outputs)
        quadratic = forms[outputs, :, outputs, :]
        if self._loss.shift_invariant:
            # Norms of (e_k - 1/K) (x) x: the largest two bound that of (e_k - e_l) (x) x for any k and l.
            mean = forms.mean(axis=2)
            quadratic = quadratic - mean - mean.transpose(0, 2, 1) + mean.mean(axis=0)
        quadratic = quadratic * np.outer(self._block_scale, self._block_scale)

        def term(rows: slice, block: Block) -> tuple[Any]:
            squares = np.stack([block.quadratic_forms(form) for form in quadratic])
            norms = np.sort(np.sqrt(np.maximum(squares, 0)), axis=0)
            return ((norms[-2:].sum(axis=0) if self._loss.shift_invariant else norms[-1]).max(),)

        (largest,) = sum_over_blocks(self.rows, term, size=1, combine=np.maximum)
        return float(largest)

    def intercept_range(self, step: Array) -> float:
        """How far a step (K,) of the intercepts spreads the logits of a row."""
        return float(np.ptp(step) if self._loss.shift_invariant else np.abs(step).max())

    def largest_intercept_range(self, inverse: Array) -> float:
        """How far any step of length 1 in the norm of the intercepts' Hessian does, given its inverse (K, K)."""
        own = inverse.diagonal()
        if not self._loss.shift_invariant:
            return float(np.sqrt(own.max()))
        return float(np.sqrt(np.max(own[:, np.newaxis] + own - 2 * inverse)))

    def largest_residuals(self, theta: Array) -> Array:
        """Each output's largest residual (K,) over rows with a positive weight."""
        coefficients = self._unscaled(theta)

        def term(rows: slice, block: Block) -> tuple[Array]:
            z = block.logits(coefficients)
            self._loss.losses_and_residuals(z, self._targets(rows))
            if self._weights is not None:
                z *= self._weights[rows] > 0
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
            diagonal, rank_one = self._loss.curvature(z, self._targets(rows))
            if self._weights is not None:
                weights = self._weights[rows]
                diagonal = diagonal * weights
                rank_one = None if rank_one is None else rank_one * np.sqrt(weights)
            return term(block, diagonal, rank_one)

        dtype = np.float64 if exact else self.rows.dtype
        return sum_over_blocks(self.rows, weighted_term, size=size, dtype=dtype)


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
