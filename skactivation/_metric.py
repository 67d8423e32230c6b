r"""The metric: coordinates in which an objective is round.

L-BFGS needs thousands of steps where columns differ in scale or depend on each other. In coordinates u with
theta = L^-T u, where L L^T is close to the Hessian, it needs a few dozen, and minimises the same function.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from skactivation._objective import Objective
from skactivation._threads import in_threads

__all__ = ["Kind", "Metric", "Plan", "cheapest_plan", "metric_at", "stronger_plan"]

Array = NDArray[Any]

# The most that a factor may hold, in elements: 32 MB. Making one takes at most three times as much.
_BUDGET = 2**22
# Largest K D for which the whole Hessian is formed where nothing else gives a proof.
_WHOLE_HESSIAN = 2000


_EPS = float(np.finfo(np.float64).eps)
# Rows in a sample at least; the part of all rows up to which it pays.
_LEAST_SAMPLE, _WORTHWHILE = 4096, 0.5


class Kind(Enum):
    """What stands for the Hessian."""

    WHOLE = "the Hessian itself"
    OUTPUTS = "its blocks on the diagonal, one for each output"
    SHARED = "the mean of these blocks, times a number for each output"
    DIAGONAL = "its diagonal"


class Metric:
    """Cholesky factors of a block-diagonal matrix: coefficients theta = L^-T u.

    Parameters
    ----------
    inverses : ndarray of shape (n_blocks, m, m)
        Inverses of the lower triangular factors L. One factor may serve several outputs of size m.
    shape : tuple of int
        Shape (K, D) of the coefficients.
    scales : ndarray of shape (K,) or None
        Factors on L for each output.
    bounds_hessian : bool
        Whether L L^T is, for certain, no larger than the Hessian at the point where it was taken.
    """

    def __init__(
        self, inverses: Array, shape: tuple[int, int], *, scales: Array | None = None, bounds_hessian: bool = False
    ) -> None:
        self._inverses = inverses
        self._shape = shape
        self._scales = scales
        self.bounds_hessian = bounds_hessian
        self.is_whole = inverses.shape[-1] == shape[0] * shape[1]

    def to_coordinates(self, gradient: Array) -> Array:
        """The gradient (K D,) by u, L^-1 g, for a gradient (K, D) by theta."""
        if self._scales is not None:
            gradient = gradient / self._scales[:, np.newaxis]
        return self._multiply(gradient, self._inverses)

    def to_coefficients(self, u: Array) -> Array:
        """Coefficients (K, D), L^-T u, for coordinates (K D,)."""
        theta = self._multiply(u, self._inverses.transpose(0, 2, 1)).reshape(self._shape)
        return theta if self._scales is None else theta / self._scales[:, np.newaxis]

    def norm(self, gradient: Array) -> float:
        """The gradient's norm by u."""
        return float(np.linalg.norm(self.to_coordinates(gradient)))

    def decrement(self, gradient: Array) -> float:
        """What a Newton step with this metric would gain: half the squared norm."""
        return 0.5 * self.norm(gradient) ** 2

    def longest_step(self) -> float:
        """A bound on the length of coefficients whose norm in the matrix is 1."""
        return float(np.linalg.norm(self._inverses))

    def inverse(self) -> Array:
        """The inverse (K D, K D) of the whole matrix; for a single block only."""
        (inverse,) = self._inverses
        return np.asarray(inverse.T @ inverse)

    def _multiply(self, vector: Array, matrices: Array) -> Array:
        size = matrices.shape[-1]
        if size == 1:
            return np.asarray(matrices.ravel() * vector.ravel())
        if len(matrices) == 1:
            return np.asarray(vector.reshape(-1, size) @ matrices[0].T).ravel()
        return np.asarray(np.matmul(matrices, vector.reshape(-1, size, 1))).ravel()


@dataclass(frozen=True)
class Plan:
    """A way to a minimum: a kind of metric, and how long each one serves."""

    kind: Kind
    sampled: bool
    """Whether a sample of the rows will do for a metric."""
    newton: bool
    """Whether Newton's method is tried from the first."""
    shortest: int
    """Iterations of L-BFGS with the first metric."""
    longest: int
    """Iterations of L-BFGS with one metric at most: they double from metric to metric."""
    n_metrics: int
    """Metrics that a fit takes: typical of raw, correlated features, as is the next."""
    n_evaluations: int


# Far from the optimum a Hessian is soon out of date; the less it says, the longer it is worth the memory of L-BFGS.
_NEWTON = Plan(Kind.WHOLE, False, newton=True, shortest=4, longest=8, n_metrics=9, n_evaluations=11)
_WHOLE = Plan(Kind.WHOLE, False, newton=False, shortest=4, longest=8, n_metrics=4, n_evaluations=18)
_OUTPUTS = Plan(Kind.OUTPUTS, False, newton=False, shortest=2, longest=16, n_metrics=4, n_evaluations=28)
_SHARED = Plan(Kind.SHARED, False, newton=False, shortest=12, longest=100, n_metrics=4, n_evaluations=100)
_DIAGONAL = Plan(Kind.DIAGONAL, False, newton=False, shortest=8, longest=128, n_metrics=4, n_evaluations=150)
_PLANS = [
    _NEWTON,
    _WHOLE,
    _OUTPUTS,
    replace(_OUTPUTS, sampled=True, n_evaluations=36),
    _SHARED,
    replace(_SHARED, sampled=True, n_evaluations=110),
    _DIAGONAL,
]


def cheapest_plan(shape: tuple[int, int], n_rows: int, n_entries: float, gram_cost: float) -> tuple[Plan, float]:
    """The plan that is expected to cost least, and its cost, for K outputs of D columns.

    Costs are in floating-point operations: an entry that is read, a call and an exponential are put into that unit too.
    `gram_cost` is that of all products of columns with each other.
    """
    n_outputs, n_columns = shape
    size = n_outputs * n_columns
    evaluation = (4 * n_outputs + 16) * n_entries + 60 * n_rows * n_outputs + 1e6
    sampled_part = sample_size(shape) / n_rows

    def cost(plan: Plan) -> float:
        gram = (sampled_part if plan.sampled else 1) * gram_cost + 1e5
        factor = 2 / 3 * n_columns**3
        # Making a metric, and its elements.
        metric, memory = {
            Kind.WHOLE: (n_outputs * (n_outputs + 1) // 2 * gram + 2 / 3 * size**3, size**2),
            Kind.OUTPUTS: (n_outputs * (gram + factor + 1e5), size * n_columns),
            Kind.SHARED: (gram + factor, n_columns**2),
            Kind.DIAGONAL: (evaluation, 0),
        }[plan.kind]
        same_as_whole = n_outputs == 1 and plan.kind in (Kind.OUTPUTS, Kind.SHARED)
        if memory > _BUDGET or same_as_whole or (plan.sampled and sampled_part > _WORTHWHILE):
            return np.inf
        # Logits tell which rows matter; SciPy has work of its own in an evaluation.
        metric += 1e6 + (evaluation if plan.sampled else 0)
        call = 0 if plan.newton else 1e6
        return plan.n_metrics * metric + plan.n_evaluations * (evaluation + call)

    best = min(_PLANS, key=cost)
    return best, cost(best)


def stronger_plan(plan: Plan, shape: tuple[int, int]) -> Plan | None:
    """The next plan whose metric says more, whatever it costs, for data on which a plan doesn't get on."""
    n_outputs, n_columns = shape
    if plan.sampled:
        return replace(plan, sampled=False)
    if plan == _NEWTON:
        return _WHOLE
    if plan.kind is Kind.DIAGONAL and n_columns**2 <= _BUDGET:
        return _SHARED
    if plan.kind in (Kind.DIAGONAL, Kind.SHARED) and n_outputs * n_columns**2 <= _BUDGET:
        return _OUTPUTS
    if plan.kind is not Kind.WHOLE and n_outputs * n_columns <= _WHOLE_HESSIAN:
        return _WHOLE
    return None


def sample_size(shape: tuple[int, int]) -> int:
    """Rows whose curvature tells that of all rows well enough for a metric."""
    return max(_LEAST_SAMPLE, 3 * shape[0] * shape[1])


def metric_at(objective: Objective, theta: Array, kind: Kind, *, sampled: bool = False) -> Metric:
    """The metric of some kind at a point; its diagonal, should nothing else be positive definite."""
    shape = objective.shape
    if sampled:
        objective = _sample(objective, theta)
    if kind is Kind.WHOLE:
        hessian = objective.hessian(theta)
        # What sums and the factorisation may round, relative to each diagonal entry (never to their mean: a column of
        # small scale would drown). A matrix that stays positive definite without it bounds the Hessian from below.
        rounding = 4 * _EPS * len(hessian) * objective.rounding(hessian)
        bounds_hessian = bool(hessian.diagonal().min() > 0)
        inverse = _inverse_factor(hessian, -rounding) if bounds_hessian else None
        if inverse is None:
            inverse, bounds_hessian = _inverse_of_nearby_factor(hessian), False
        if inverse is not None:
            return Metric(inverse[np.newaxis], shape, bounds_hessian=bounds_hessian)
    elif kind is Kind.OUTPUTS:
        blocks = objective.output_hessians(theta)
        inverses = in_threads(lambda k: _inverse_of_nearby_factor(blocks[k]), len(blocks))
        if all(inverse is not None for inverse in inverses):
            return Metric(np.stack([inverse for inverse in inverses if inverse is not None]), shape)
    elif kind is Kind.SHARED:
        mean, shares = objective.mean_hessian(theta)
        inverse = _inverse_of_nearby_factor(mean)
        if inverse is not None:
            return Metric(inverse[np.newaxis], shape, scales=np.sqrt(_positive(shares)))
    diagonal = objective.hessian_diagonal(theta).reshape(-1, 1, 1)
    return Metric(1 / np.sqrt(_positive(diagonal)), shape)


def _sample(objective: Objective, theta: Array) -> Objective:
    """The objective on rows that are chosen by their shares in the curvature of each output: so rare classes are there.

    Rows are drawn in even steps along the sum of shares: a row that is longer than a step is drawn several times.
    """
    sums = np.cumsum(objective.shares_of_curvature(theta))
    if not sums[-1] > 0:
        return objective
    size = sample_size(objective.shape)
    chosen, times = np.unique(np.searchsorted(sums, sums[-1] * (np.arange(size) + 0.5) / size), return_counts=True)
    shares = np.diff(sums, prepend=0.0)[chosen]
    return objective.part(chosen, times * (sums[-1] / size) / shares)


def _inverse_of_nearby_factor(matrix: Array) -> Array | None:
    """Inverse of a matrix's Cholesky factor, once ridges relative to each diagonal entry make it positive definite."""
    diagonal = _positive(matrix.diagonal())
    for ridge in (1e-12, 1e-8, 1e-4):
        inverse = _inverse_factor(matrix, (1 + ridge) * diagonal - matrix.diagonal())
        if inverse is not None:
            return inverse
    return None


def _inverse_factor(matrix: Array, ridge: Array) -> Array | None:
    """Inverse of the lower Cholesky factor of a matrix with a ridge, or None where it isn't positive definite."""
    shifted = matrix.astype(np.float64)
    shifted.ravel()[:: len(matrix) + 1] += ridge
    # Symmetric, so that its transpose, which LAPACK takes as it is, will do.
    factor, failed = linalg.lapack.dpotrf(shifted.T, lower=1, overwrite_a=1)
    if failed:
        return None
    inverse, failed = linalg.lapack.dtrtri(factor, lower=1, overwrite_c=1)
    return None if failed or not np.isfinite(inverse).all() else np.ascontiguousarray(inverse)


def _positive(diagonal: Array) -> Array:
    """A diagonal with 1 where there is no curvature at all: any will do."""
    return np.where(diagonal > 0, diagonal, 1.0)
