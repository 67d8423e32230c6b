r"""The metric: coordinates in which an objective is round.

L-BFGS needs thousands of steps where columns differ in scale or depend on each other. In coordinates u with
theta = L^-T u, where L L^T is close to the Hessian, it needs a few dozen, and minimises the same function.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from skactivation._objective import Objective

__all__ = ["Metric", "metric_at"]

Array = NDArray[Any]

# Largest K D for which the whole Hessian is formed: 32 MB, and a Cholesky factor in a fraction of a second.
_WHOLE_HESSIAN = 2000


class Metric:
    """A block-diagonal Cholesky factor: blocks of K D (the whole Hessian) or of 1 (its diagonal).

    Parameters
    ----------
    factors : ndarray of shape (n_blocks, m, m)
        Lower triangular factors L, block by block.
    shape : tuple of int
        Shape (K, D) of the coefficients.
    bounds_hessian : bool
        Whether L L^T is, for certain, no larger than the Hessian at the point where it was taken.
    """

    def __init__(self, factors: Array, shape: tuple[int, int], *, bounds_hessian: bool) -> None:
        self._factors = factors
        self._shape = shape
        self.bounds_hessian = bounds_hessian
        self.is_whole = len(factors) == 1

    def to_coordinates(self, gradient: Array) -> Array:
        """The gradient (K D,) by u, L^-1 g, for a gradient (K, D) by theta."""
        return self._solve(gradient.ravel(), transposed=False)

    def to_coefficients(self, u: Array) -> Array:
        """Coefficients (K, D), L^-T u, for coordinates (K D,)."""
        return self._solve(u, transposed=True).reshape(self._shape)

    def norm(self, gradient: Array) -> float:
        """The gradient's norm by u."""
        return float(np.linalg.norm(self.to_coordinates(gradient)))

    def decrement(self, gradient: Array) -> float:
        """What a Newton step with this metric would gain: half the squared norm."""
        return 0.5 * self.norm(gradient) ** 2

    def inverse(self) -> Array:
        """The inverse (K D, K D) of the whole matrix; for a single block only."""
        (factor,) = self._factors
        return np.asarray(linalg.cho_solve((factor, True), np.eye(factor.shape[0]), overwrite_b=True))

    def _solve(self, vector: Array, *, transposed: bool) -> Array:
        size = self._factors.shape[-1]
        if size == 1:
            return vector / self._factors.ravel()
        (factor,) = self._factors
        return np.asarray(
            linalg.solve_triangular(factor, vector, lower=True, trans=int(transposed), check_finite=False)
        )


def metric_at(objective: Objective, theta: Array) -> Metric:
    """The metric that pays at a point: the whole Hessian where it is small, else its diagonal."""
    n_outputs, n_columns = objective.shape
    if n_outputs * n_columns <= _WHOLE_HESSIAN:
        return _whole_hessian(objective, theta)
    diagonal = objective.hessian_diagonal(theta).reshape(-1, 1, 1)
    return Metric(np.sqrt(_positive(diagonal)), objective.shape, bounds_hessian=False)


def _whole_hessian(objective: Objective, theta: Array) -> Metric:
    hessian = objective.hessian(theta)
    size = hessian.shape[0]
    found = hessian.diagonal().copy()
    diagonal = _positive(found)
    # What sums and the factorisation may round, relative to each diagonal entry (never to their mean: a column of
    # small scale would drown). A matrix that stays positive definite without it bounds the Hessian from below.
    rounding = 4 * np.finfo(np.float64).eps * size
    for sign, ridge in ((-1, rounding), (1, 1e-12), (1, 1e-8), (1, 1e-4)):
        np.fill_diagonal(hessian, diagonal * (1 + sign * ridge))
        try:
            factor = linalg.cholesky(hessian, lower=True, check_finite=False)
        except linalg.LinAlgError:
            continue
        return Metric(factor[np.newaxis], objective.shape, bounds_hessian=sign < 0 and bool(np.all(found > 0)))
    return Metric(np.sqrt(diagonal).reshape(-1, 1, 1), objective.shape, bounds_hessian=False)


def _positive(diagonal: Array) -> Array:
    """A diagonal with 1 where there is no curvature at all: any will do."""
    return np.where(diagonal > 0, diagonal, 1.0)
