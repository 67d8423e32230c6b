r"""The function that a fit minimises: cross-entropy summed over rows plus an L2 penalty.

    F(theta) = sum_i s_i l(z_i, t_i) + 1/2 sum_kj penalty_j theta_kj^2,    z_i = theta x_i

Coefficients theta have the shape (K, D), for K logits and D columns (X's features, then the intercept). A column is
divided by a power of two near its largest value, on the coefficients' side, so that all numbers stay in range whatever
the units of X.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skactivation._blocks import Block, Rows, sum_over_blocks
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
        From a slice of rows to the loss's targets for them.
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
        targets: Callable[[slice], Any],
        weights: Array | None,
        *,
        n_outputs: int,
        penalty: float,
    ) -> None:
        self._rows = rows
        self._loss = loss
        self._targets = targets
        self._weights = weights
        self.shape = (n_outputs, rows.n_columns)
        self.n_features = rows.center.size
        # Powers of two: scaling is exact.
        exponents = np.zeros(rows.n_columns, dtype=np.intc)
        exponents[: self.n_features] = np.frexp(np.where(rows.largest > 0, rows.largest, 1.0))[1] - 1
        self._scale = np.ldexp(1.0, exponents)
        self._inverse_scale = np.ldexp(1.0, -exponents)
        self.penalty = np.zeros(rows.n_columns)
        with np.errstate(all="ignore"):
            strengths = penalty * np.square(self._inverse_scale[: self.n_features])
        # Beyond this range a coefficient is 0, or free, to the last digit.
        self.penalty[: self.n_features] = np.clip(np.nan_to_num(strengths), 0.0, 1e300)
        # Without a penalty, columns that depend on each other leave directions in which F is constant.
        self._null_space = np.empty((rows.n_columns, 0))
        if penalty == 0 and rows.n_columns <= _MOST_COLUMNS_DECOMPOSED:
            self._null_space = self._dependent_columns()

    def value_and_gradient(self, theta: Array) -> tuple[float, Array]:
        """F and its gradient (K, D) at coefficients (K, D)."""
        coefficients = self._unscaled(theta)

        def term(rows: slice, block: Block) -> tuple[float, Array, Array]:
            z = block.logits(coefficients)
            losses = self._loss.losses_and_residuals(z, self._targets(rows))
            if self._weights is not None:
                weights = self._weights[rows]
                z *= weights
                losses = losses * weights
            return losses.sum(), block.gradient(z), np.abs(z).sum(axis=1)

        value, gradient, sizes = sum_over_blocks(self._rows, term)
        gradient *= self._inverse_scale
        if self._loss.shift_invariant and sizes.sum() > 0:
            # Rounding leaves a sum over the classes that isn't 0. It belongs to the classes with large residuals:
            # spread evenly it would drown those whose rows are all but certain.
            gradient -= np.outer(sizes / sizes.sum(), gradient.sum(axis=0))
        gradient += self.penalty * theta
        self._project(gradient)
        return float(value + 0.5 * np.sum(self.penalty * np.square(theta))), gradient

    def hessian(self, theta: Array) -> Array:
        """The Hessian (K D, K D), classes outermost.

        Where a shift of all classes changes nothing, the matrix is made regular: steps that solve for a centred
        gradient are right once they are centred, and so are norms of centred gradients.
        """
        n_outputs, n_columns = self.shape

        def term(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array, Array]:
            # Rows lie innermost, so that products of a matrix with its transpose run along memory.
            x = np.ascontiguousarray(block.columns().T) * self._inverse_scale[:, np.newaxis]
            own = np.empty((n_outputs, n_columns, n_columns))
            for k, weights in enumerate(diagonal):
                weighted = x * np.sqrt(weights)
                np.matmul(weighted, weighted.T, out=own[k])
            if rank_one is None:
                return own, np.zeros(())
            tensor = (rank_one[:, np.newaxis, :] * x).reshape(n_outputs * n_columns, -1)
            return own, tensor @ tensor.T

        own, outer = self._sum_curvature(theta, term)
        hessian = np.zeros((n_outputs, n_columns, n_outputs, n_columns))
        hessian -= outer.reshape(hessian.shape) if outer.ndim else outer
        for k in range(n_outputs):
            # Not a difference from `outer`, which would cancel where probabilities are close to 1.
            hessian[k, :, k] = own[k] + np.diag(self.penalty)
        if self._loss.shift_invariant:
            columns = np.arange(n_columns)
            curvatures = own[:, columns, columns] + self.penalty
            hessian[:, columns, :, columns] += _regular_shift(curvatures.T, self.penalty)
        if self._null_space.size:
            for k in range(n_outputs):
                hessian[k, :, k] += own[k].diagonal().mean() * self._null_space @ self._null_space.T
        return hessian.reshape(n_outputs * n_columns, -1)

    def hessian_diagonal(self, theta: Array) -> Array:
        """The Hessian's diagonal (K, D)."""

        def term(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array]:
            return (block.squares(diagonal),)

        (squares,) = self._sum_curvature(theta, term)
        diagonal: Array = squares * self._inverse_scale * self._inverse_scale + self.penalty
        return diagonal

    def intercept_hessian(self, theta: Array) -> Array:
        """The Hessian (K, K) in the intercepts alone, made regular as `hessian` is."""

        def term(block: Block, diagonal: Array, rank_one: Array | None) -> tuple[Array]:
            hessian = np.zeros((diagonal.shape[0],) * 2) if rank_one is None else -rank_one @ rank_one.T
            np.fill_diagonal(hessian, diagonal.sum(axis=1))
            return (hessian,)

        (hessian,) = self._sum_curvature(theta, term)
        if self._loss.shift_invariant:
            hessian = hessian + _regular_shift(hessian.diagonal()[np.newaxis], np.zeros(1))[0]
        result: Array = hessian
        return result

    def logit_range(self, step: Array) -> float:
        """How far a step (K, D) spreads the logits of a row, at most."""
        coefficients = self._unscaled(step)
        largest = 0.0
        for _, block in self._rows.blocks():
            z = block.logits(coefficients)
            spread = np.ptp(z, axis=0) if self._loss.shift_invariant else np.abs(z)
            largest = max(largest, float(spread.max()))
        return largest

    def largest_logit_range(self, inverse: Array) -> float:
        """Bound the spread of a row's logits after any step of length 1 in the norm of a Hessian, given its inverse."""
        n_outputs, n_columns = self.shape
        forms = inverse.reshape(n_outputs, n_columns, n_outputs, n_columns)
        quadratic = forms[np.arange(n_outputs), :, np.arange(n_outputs), :]
        if self._loss.shift_invariant:
            # Norms of (e_k - 1/K) (x) x: the largest two bound that of (e_k - e_l) (x) x for any k and l.
            mean = forms.mean(axis=2)
            quadratic = quadratic - mean - mean.transpose(0, 2, 1) + mean.mean(axis=0)

        largest = 0.0
        for _, block in self._rows.blocks():
            x = block.columns() * self._inverse_scale
            squares = np.stack([((x @ form) * x).sum(axis=1) for form in quadratic])
            norms = np.sort(np.sqrt(np.maximum(squares, 0)), axis=0)
            spread = norms[-2:].sum(axis=0) if self._loss.shift_invariant else norms[-1]
            largest = max(largest, float(spread.max()))
        return largest

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
        largest = np.zeros(self.shape[0])
        for rows, block in self._rows.blocks():
            z = block.logits(coefficients)
            self._loss.losses_and_residuals(z, self._targets(rows))
            if self._weights is not None:
                z *= self._weights[rows] > 0
            np.maximum(largest, np.abs(z).max(axis=1), out=largest)
        return largest

    def to_features(self, theta: Array, dtype: Any) -> tuple[Array, Array]:
        """Coefficients (K, d) and intercepts (K,) of X as it came, from coefficients of its columns (K, D)."""
        theta = theta.copy()
        self.center(theta)
        coefficients = theta * self._inverse_scale
        # The intercept makes up for the centre with the coefficients as they are stored.
        weights = coefficients[:, : self.n_features].astype(dtype)
        if self.shape[1] == self.n_features:
            return weights, np.zeros(self.shape[0], dtype=dtype)
        shifts = (weights.astype(np.longdouble) * self._rows.center).sum(axis=1)
        return weights, (coefficients[:, -1] - shifts).astype(dtype)

    def from_features(self, weights: Array, intercepts: Array) -> Array:
        """The inverse of `to_features`."""
        theta = np.empty(self.shape)
        theta[:, : self.n_features] = weights
        if self.shape[1] > self.n_features:
            # More digits than the intercepts have: large offsets nearly cancel.
            shifts = (weights.astype(np.longdouble) * self._rows.center).sum(axis=1)
            theta[:, -1] = intercepts + shifts
        theta *= self._scale
        self.center(theta)
        return theta

    def feature_gradient(self, gradient: Array) -> Array:
        """The gradient by coefficients and intercepts of X as it came, (K, D)."""
        result: Array = gradient * self._scale
        if self.shape[1] > self.n_features:
            result[:, : self.n_features] += np.outer(gradient[:, -1], self._rows.center)
        return result

    def _unscaled(self, theta: Array) -> Array:
        # Fortran order: sparse products then take the coefficients as they are.
        return np.asfortranarray(theta * self._inverse_scale)

    def center(self, theta: Array) -> None:
        """Take from coefficients what changes no probability.

        That is each column's mean over the classes, for exclusive classes: the penalty is smallest at mean 0, so that
        the optimum has it. And the null space of X, where nothing is penalised.
        """
        if self._loss.shift_invariant:
            theta -= theta.mean(axis=0)
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
        for _, block in self._rows.blocks():
            x = block.columns() * self._inverse_scale
            triangle = np.asarray(np.linalg.qr(np.vstack([triangle, x]), mode="r"))
        norms = np.linalg.norm(triangle, axis=0)
        norms[norms == 0] = 1
        _, singular, vectors = np.linalg.svd(triangle / norms)
        singular = np.append(singular, np.zeros(n_columns - singular.size))
        null = vectors[singular <= 10 * n_columns * np.finfo(np.float64).eps * singular[0]].T
        return np.linalg.qr(null / norms[:, np.newaxis])[0]

    def _sum_curvature(self, theta: Array, term: Callable[[Block, Array, Array | None], Any]) -> Any:
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

        return sum_over_blocks(self._rows, weighted_term)


def _regular_shift(curvatures: Array, penalty: Array) -> Array:
    """What makes matrices over the classes regular in the direction in which all classes move, (D, K, K).

    Given each column's curvatures (D, K) by class and its penalty (D,). The penalty is taken away in that direction, as
    centring does; then v v^T is added, with v weighted by curvature: a class whose curvature is tiny, since all rows
    are certain of it, isn't drowned.
    """
    totals = curvatures.sum(axis=1, keepdims=True)
    v = np.divide(curvatures, np.sqrt(totals), out=np.zeros_like(curvatures), where=totals > 0)
    shift: Array = (
        v[:, :, np.newaxis] * v[:, np.newaxis, :] - (penalty / curvatures.shape[1])[:, np.newaxis, np.newaxis]
    )
    return shift
