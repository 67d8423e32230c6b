r"""The metric: coordinates in which an objective is round.

L-BFGS needs thousands of steps where columns differ in scale or depend on each other. In coordinates u with
theta = L^-T u, where L L^T is close to the Hessian, it needs a few dozen, and minimises the same function.
"""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
from scipy import linalg

from skactivation._optimize.objective import Objective
from skactivation._threads import in_threads
from skactivation._typing import Array

__all__ = [
    "Kind",
    "Metric",
    "Plan",
    "cheapest_plan",
    "cheapest_plan_for",
    "metric_at",
    "parts_at_once",
    "stronger_plan",
]


# The most that a factor may hold, in elements: 32 MB. Making one takes at most three times as much.
_BUDGET = 2**22
# Largest K D for which the whole Hessian is formed where nothing else gives a proof.
_WHOLE_HESSIAN = 2000


_EPS = float(np.finfo(np.float64).eps)
# A Hessian in float32 will do where its rounding is at most this part of it.
_SHARP = 0.3
# Rows in a sample at least; the part of all rows up to which it pays.
_LEAST_SAMPLE, _WORTHWHILE = 4096, 0.3


def _as_linear(objective: Objective) -> Any:
    # For as long as the core knows linear models.
    from skactivation.linear_model._objective import as_linear

    return as_linear(objective)


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
    n_parts : int
        Parts P of the objective; norms are told apart for each.
    scales : ndarray of shape (K,) or None
        Factors on L for each output.
    is_exact : bool
        Whether L L^T is the Hessian of each part at the point where it was taken, to rounding.
    is_sampled_hessian : bool
        Whether it is that of a sample of the rows.
    bounds_hessian : ndarray of shape (P,) or None
        Whether L L^T is, for certain, no larger than the Hessian of each part there; None for nowhere.
    """

    def __init__(
        self,
        inverses: Array,
        shape: tuple[int, int],
        n_parts: int,
        *,
        scales: Array | None = None,
        is_exact: bool = False,
        is_sampled_hessian: bool = False,
        bounds_hessian: Array | None = None,
    ) -> None:
        self._inverses = inverses
        self._shape = shape
        self._n_parts = n_parts
        self._scales = scales
        self.is_exact = is_exact
        self.is_sampled_hessian = is_sampled_hessian
        self.bounds_hessian = np.zeros(n_parts, dtype=bool) if bounds_hessian is None else bounds_hessian

    def select(self, parts: Array) -> "Metric":
        """The metric of some of several parts, given by a mask (P,)."""
        if np.count_nonzero(parts) == parts.size:
            return self
        blocks_of_part = len(self._inverses) // self._n_parts
        inverses = self._inverses[np.repeat(parts, blocks_of_part)] if blocks_of_part else self._inverses
        n_parts = int(np.count_nonzero(parts))
        return Metric(
            inverses,
            (n_parts, self._shape[1]),
            n_parts,
            scales=None if self._scales is None else self._scales[parts],
            is_exact=self.is_exact,
            is_sampled_hessian=self.is_sampled_hessian,
            bounds_hessian=self.bounds_hessian[parts],
        )

    def to_coordinates(self, gradient: Array) -> Array:
        """The gradient (K D,) by u, L^-1 g, for a gradient (K, D) by theta."""
        if self._scales is not None:
            gradient = gradient / self._scales[:, np.newaxis]
        return self._multiply(gradient, self._inverses)

    def to_coefficients(self, u: Array) -> Array:
        """Coefficients (K, D), L^-T u, for coordinates (K D,)."""
        theta = self._multiply(u, self._inverses.transpose(0, 2, 1)).reshape(self._shape)
        return theta if self._scales is None else theta / self._scales[:, np.newaxis]

    def norms(self, gradient: Array) -> Array:
        """The norm of each part of the gradient (P,) by u."""
        return self.norms_of_coordinates(self.to_coordinates(gradient))

    def norms_of_coordinates(self, u: Array) -> Array:
        """The length of each part (P,) of coordinates."""
        parts = u.reshape(self._n_parts, -1)
        return np.asarray(np.sqrt(np.einsum("pj,pj->p", parts, parts)))

    def decrements(self, gradient: Array) -> Array:
        """What Newton steps with this metric would gain (P,): half the squared norms."""
        return 0.5 * self.norms(gradient) ** 2

    def longest_steps(self) -> Array:
        """Bounds (P,) on the length of coefficients whose norm in the matrix is 1, where a block is a part."""
        return np.asarray(np.linalg.norm(self._inverses, axis=(1, 2)))

    def inverse(self) -> Array:
        """The inverses (P, m, m) of the blocks, where a block is a part."""
        return np.asarray(np.matmul(self._inverses.transpose(0, 2, 1), self._inverses))

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
    """Whether a sample of the rows will do for a metric, until the end is near."""
    newton: bool
    """Whether Newton's method is tried from the first."""
    shortest: int
    """Iterations of L-BFGS with the first metric."""
    longest: int
    """Iterations of L-BFGS with one metric at most: they double from metric to metric."""
    n_metrics: int
    """Metrics that a fit takes: typical of raw, correlated features, as is the next."""
    n_evaluations: int
    near: float = 1e-3
    """The gap relative to F, as far as a Hessian can tell, from which on Newton steps and a certificate are tried."""
    useful: float = 0.01
    """A Newton step that leaves less than this part of the gradient is followed by another with the same Hessian."""


# Far from the optimum a Hessian is soon out of date; the less it says, the longer it is worth the memory of L-BFGS.
_NEWTON = Plan(Kind.WHOLE, False, newton=True, shortest=4, longest=8, n_metrics=9, n_evaluations=11)
_WHOLE = Plan(Kind.WHOLE, False, newton=False, shortest=4, longest=8, n_metrics=4, n_evaluations=18)
_OUTPUTS = Plan(Kind.OUTPUTS, False, newton=False, shortest=2, longest=16, n_metrics=4, n_evaluations=28)
_SHARED = Plan(Kind.SHARED, False, newton=False, shortest=12, longest=100, n_metrics=4, n_evaluations=100)
_DIAGONAL = Plan(Kind.DIAGONAL, False, newton=False, shortest=8, longest=128, n_metrics=4, n_evaluations=150)
_CHEAP = [_SHARED, replace(_SHARED, sampled=True, n_evaluations=110), _DIAGONAL]
_PLANS = [_NEWTON, _WHOLE, _OUTPUTS, replace(_OUTPUTS, sampled=True, n_evaluations=36), *_CHEAP]
# Outputs that don't touch each other: their blocks are the Hessian, and the last of them is needed for a proof.
_PARTS = replace(_WHOLE, shortest=12, longest=16, n_metrics=3, n_evaluations=22, near=1e-4, useful=0.3)
_PLANS_FOR_PARTS = [_NEWTON, _PARTS, replace(_PARTS, sampled=True), *_CHEAP]
# Parts are minimised together, as many at a time as the budget allows; for fewer than these, reading rows costs most.
_FEWEST_PARTS = 8
# The shortest and the longest stage of L-BFGS for parts with one metric.
_STAGES = 8, 32


def cheapest_plan(objective: Any) -> tuple[Plan, float]:
    """The plan that is expected to cost least, and its cost."""
    rows, work = objective.rows, objective.work_of_evaluation
    # Without a penalty nothing but a Hessian gives a proof: one part at a time, if need be.
    fewest = _FEWEST_PARTS if objective.has_penalty else 1
    return cheapest_plan_for(
        objective.shape, objective.n_parts, rows.n_rows, rows.n_entries, rows.gram_cost, work, fewest_parts=fewest
    )


def cheapest_plan_for(
    shape: tuple[int, int],
    n_parts: int,
    n_rows: int,
    n_entries: float,
    gram_cost: float,
    work: float,
    *,
    fewest_parts: int = _FEWEST_PARTS,
) -> tuple[Plan, float]:
    """The plan that is expected to cost least, and its cost, for K outputs of D columns in P parts.

    Costs are in floating-point operations: an entry that is read, a call and an exponential are put into that unit too.
    `gram_cost` is that of all products of columns with each other, `work` that of a logit besides products.
    """
    n_outputs, n_columns = shape
    size = n_outputs * n_columns // n_parts
    evaluation = (4 * n_outputs + 16) * n_entries + work * n_rows * n_outputs + 1e6
    sampled_part = sample_size(shape, n_parts) / n_rows

    def cost_of_metric(plan: Plan) -> float:
        gram = (sampled_part if plan.sampled else 1) * gram_cost + 1e5
        factor = 2 / 3 * n_columns**3
        n_grams = n_outputs * (n_outputs + 1) // 2 if n_parts == 1 else n_parts
        # Making a metric, and its elements.
        metric, memory = {
            Kind.WHOLE: (n_grams * gram + n_parts * 2 / 3 * size**3, size**2 * min(n_parts, fewest_parts)),
            Kind.OUTPUTS: (n_outputs * (gram + factor + 1e5), size * n_columns),
            Kind.SHARED: (gram + factor, n_columns**2),
            Kind.DIAGONAL: (evaluation, 0),
        }[plan.kind]
        same_as_whole = n_outputs == 1 and plan.kind in (Kind.OUTPUTS, Kind.SHARED)
        if memory > _BUDGET or same_as_whole or (plan.sampled and sampled_part > _WORTHWHILE):
            return np.inf
        # Logits tell which rows matter; SciPy has work of its own in an evaluation.
        metric += 1e6 + (evaluation if plan.sampled else 0)
        return metric

    def cost(plan: Plan) -> float:
        last = n_parts * gram_cost if plan.sampled and plan.kind is Kind.WHOLE else 0
        call = 0 if plan.newton else 1e6
        return plan.n_metrics * cost_of_metric(plan) + last + plan.n_evaluations * (evaluation + call)

    plans = _PLANS if n_parts == 1 else _PLANS_FOR_PARTS
    if n_parts > 1 and fewest_parts == 1 and size**2 <= _BUDGET:
        plans = [plan for plan in plans if plan.kind is Kind.WHOLE] or plans
    best = min(plans, key=cost)
    if n_parts > 1 and best.kind is Kind.WHOLE:
        # A metric is worth as many iterations as it costs.
        length = int(np.clip(cost_of_metric(best) / evaluation, *_STAGES))
        best = replace(best, shortest=length, longest=length)
    return best, cost(best)


def stronger_plan(plan: Plan, shape: tuple[int, int], n_parts: int) -> Plan | None:
    """The next plan whose metric says more, whatever it costs, for data on which a plan doesn't get on."""
    n_outputs, n_columns = shape
    if plan.sampled:
        return replace(plan, sampled=False)
    if plan.newton:
        return _WHOLE if n_parts == 1 else _PARTS
    if plan.kind is Kind.DIAGONAL and n_columns**2 <= _BUDGET:
        return _SHARED
    if n_parts > 1:
        return _PARTS if plan.kind is not Kind.WHOLE and n_columns**2 <= _BUDGET else None
    if plan.kind in (Kind.DIAGONAL, Kind.SHARED) and n_outputs * n_columns**2 <= _BUDGET:
        return _OUTPUTS
    if plan.kind is not Kind.WHOLE and n_outputs * n_columns <= _WHOLE_HESSIAN:
        return _WHOLE
    return None


def parts_at_once(plan: Plan, shape: tuple[int, int], n_parts: int) -> int:
    """How many parts of several are minimised together."""
    return n_parts if n_parts == 1 or plan.kind is not Kind.WHOLE else max(1, _BUDGET // shape[1] ** 2)


def sample_size(shape: tuple[int, int], n_parts: int) -> int:
    """Rows whose curvature tells that of all rows well enough for a metric."""
    n_outputs, n_columns = shape
    return max(_LEAST_SAMPLE, 3 * n_outputs * n_columns if n_parts == 1 else 20 * n_columns)


def metric_at(objective: Objective, theta: Array, kind: Kind, *, sampled: bool = False) -> Metric:
    """The metric of some kind at a point; its diagonal, should nothing else be positive definite."""
    shape, n_parts = objective.shape, objective.n_parts
    sampled = sampled and not (kind is Kind.WHOLE and objective.has_even_curvature(theta))
    if sampled:
        objective = _sample(_as_linear(objective), theta)
    if kind is Kind.WHOLE:
        # What need not be exact to be proved wrong by no more than this is cheaper.
        coarse = n_parts > 1 and objective.is_coarse
        hessians, factors = _factors_of_hessians(objective, theta, exact=not coarse)
        vague = np.array([coarse and not bounds for _, bounds in factors])
        if vague.any():
            hessians[vague], exact_factors = _factors_of_hessians(objective.select(vague), theta[vague], exact=True)
            for part, factor in zip(np.flatnonzero(vague), exact_factors, strict=True):
                factors[part] = factor
        if n_parts > 1 or factors[0][0] is not None:
            inverses = np.stack(
                [
                    np.diag(1 / np.sqrt(_positive(hessian.diagonal()))) if inverse is None else inverse
                    for (inverse, _), hessian in zip(factors, hessians, strict=True)
                ]
            )
            bounds_hessian = np.array([not sampled and bounds for _, bounds in factors])
            return Metric(
                inverses,
                shape,
                n_parts,
                is_exact=not sampled,
                is_sampled_hessian=sampled,
                bounds_hessian=bounds_hessian,
            )
    elif kind is Kind.OUTPUTS:
        blocks = _as_linear(objective).output_hessians(theta)
        outputs = in_threads(lambda k: _inverse_of_nearby_factor(blocks[k]), len(blocks))
        if all(inverse is not None for inverse in outputs):
            return Metric(np.stack([inverse for inverse in outputs if inverse is not None]), shape, n_parts)
    elif kind is Kind.SHARED:
        mean, shares = _as_linear(objective).mean_hessian(theta)
        inverse = _inverse_of_nearby_factor(mean)
        if inverse is not None:
            return Metric(inverse[np.newaxis], shape, n_parts, scales=np.sqrt(_positive(shares)))
    diagonal = objective.hessian_diagonal(theta).reshape(-1, 1, 1)
    return Metric(1 / np.sqrt(_positive(diagonal)), shape, n_parts)


def _factors_of_hessians(
    objective: Objective, theta: Array, *, exact: bool
) -> tuple[Array, list[tuple[Array | None, bool]]]:
    """The Hessian of each part (P, m, m), and what `_inverse_of_hessian` makes of each."""
    hessians = objective.hessian(theta, exact=exact)
    # What sums and the factorisation may round, relative to each diagonal entry (never to their mean: a column of
    # small scale would drown). A matrix that stays positive definite without it bounds the Hessian from below.
    size = hessians.shape[-1] * _EPS if exact else (hessians.shape[-1] + 64) * float(np.finfo(np.float32).eps)
    rounding = 4 * size * objective.rounding(hessians)
    factors = in_threads(lambda part: _inverse_of_hessian(hessians[part], rounding[part]), objective.n_parts)
    if not exact:
        # Logits in float32 move all curvature of a row, by no more than this relative to it.
        moved = 4 * float(np.finfo(np.float32).eps) * np.abs(theta).sum(axis=1)
        factors = [
            (None if inverse is None else inverse * (1 + move), bounds and _is_sharp(inverse, allowance))
            for (inverse, bounds), move, allowance in zip(factors, moved, rounding, strict=True)
        ]
    return hessians, factors


def _is_sharp(inverse: Array | None, allowance: Array) -> bool:
    """Whether what was taken off a Hessian's diagonal is little beside the Hessian in all directions."""
    return inverse is not None and float(allowance @ np.square(inverse).sum(axis=0)) < _SHARP


def _inverse_of_hessian(hessian: Array, rounding: Array) -> tuple[Array | None, bool]:
    """Inverse of a Hessian's Cholesky factor, and whether its matrix is for certain below the Hessian."""
    inverse = _inverse_factor(hessian, -rounding) if hessian.diagonal().min() > 0 else None
    if inverse is not None:
        return inverse, True
    return _inverse_of_nearby_factor(hessian), False


def _sample(objective: Any, theta: Array) -> Any:
    """The objective on rows that are chosen by their shares in the curvature of each output: so rare classes are there.

    Rows are drawn in even steps along the sum of shares: a row that is longer than a step is drawn several times.
    """
    sums = np.cumsum(objective.shares_of_curvature(theta))
    if not sums[-1] > 0:
        return objective
    size = sample_size(objective.shape, objective.n_parts)
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
