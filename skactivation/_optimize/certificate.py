r"""Certificates: bounds on F - F* for each problem, with g the gradient. The cheaper one of two is tried first.

* Strong convexity, with the intercepts at their minimum: sum_kj g_kj^2 / (2 penalty_kj).
* Self-concordance (Bach, "Self-concordant analysis for logistic regression", 2010): along any direction h, the third
  derivative is at most S ||h||_H times the second, where S bounds the range of a row's logits for a step of length 1
  in the norm of the Hessian H. With nu^2 = g^T H^-1 g and a = S nu < 1, F - F* <= (a + (1 - a) log(1 - a)) / S^2.
  After a step of length r in that norm, the new Hessian is at least exp(-S r) H: one H serves several steps.
"""

from contextlib import suppress
from typing import NamedTuple

import numpy as np

from skactivation._optimize.masks import all_of, any_of
from skactivation._optimize.objective import Objective
from skactivation._optimize.preconditioner import Preconditioner
from skactivation._optimize.problems import Evaluate, Point
from skactivation._typing import Array

# Newton steps of the intercepts alone. Each lowers F by at least a constant factor, so that few need as many.
_INTERCEPT_STEPS = 100
# After a step shorter than this share of Newton's the intercepts' Hessian is taken anew: it has changed too much.
_NEARLY_WHOLE = 0.9


def certify(
    objective: Objective,
    point: Point,
    preconditioner: Preconditioner | None,
    travelled: Array,
    tol: float,
    evaluate: Evaluate,
) -> tuple[Point, Array]:
    """Bound the relative gap (P,) of each problem at a point; intercepts may move on the way to a bound.

    `travelled` (P,) is how far the point is, in the preconditioner's norm, from where that was taken. Bounds that need
    a pass over the rows are computed only where the cheaper ones are above `tol`.
    """
    wanted = tol * point.values
    bounded = np.zeros(wanted.size, dtype=bool)
    if preconditioner is not None:
        travelled = travelled * np.sqrt(preconditioner.share)
        preconditioner = preconditioner.lower_bound()
        bounded = preconditioner.bounds_hessian
    norms = np.zeros(wanted.size)
    best, gaps = point, np.full(wanted.size, np.inf)
    if preconditioner is not None and any_of(bounded):
        longest = preconditioner.longest_steps()
        # The Euclidean norm of the rounding of all derivatives.
        rounding = objective.gradient_rounding(point.values) * np.sqrt(point.gradient[0].size)
        norms = preconditioner.norms(point.gradient) + rounding * longest
        # Next to the minimum, a bound on S that needs no look at the rows is enough.
        ranges = objective.select(bounded).logit_range_bound(longest[bounded])
        gaps[bounded] = _bounds_after_steps(ranges, norms[bounded], travelled[bounded])
    unproved = ~(gaps <= wanted)
    if objective.is_strongly_convex and any_of(unproved):
        promising = convexity_bounds(objective, point) <= wanted
        best, gaps = _with_strong_convexity(objective, best, gaps, promising & unproved, tol, evaluate)
    left = bounded & ~(gaps <= wanted)
    if preconditioner is not None and any_of(left):
        ranges = objective.select(left).largest_logit_range(preconditioner.select(left).inverse())
        closer = np.full(wanted.size, np.inf)
        closer[left] = _bounds_after_steps(ranges, norms[left], travelled[left])
        better = closer < gaps
        if any_of(better):
            best, gaps = best.replaced(better, point.select(better)), np.where(better, closer, gaps)
    if objective.is_strongly_convex:
        best, gaps = _with_strong_convexity(objective, best, gaps, np.isinf(gaps), tol, evaluate)
    # No bound is more certain than the rounding of the value itself.
    with np.errstate(all="ignore"):
        relative = np.where(best.values > 0, gaps / best.values, 0.0)
    return best, relative + objective.value_rounding(best.theta)


def _bounds_after_steps(ranges: Array, norms: Array, travelled: Array) -> Array:
    """Bounds by self-concordance with a Hessian that was taken some way off: it is at least exp(-S r) times that."""
    growth = np.exp(0.5 * ranges * travelled)
    return self_concordance_bounds(ranges * growth, norms * growth)


def self_concordance_bounds(ranges: Array, norms: Array) -> Array:
    """Bounds on F - F* from the range S of logits for steps of length 1 and the norm of the gradient."""
    with np.errstate(all="ignore"):
        a = ranges * norms
        # The series a^2/2 + a^3/6 + a^4/12 + ..., bounded, where the closed form cancels.
        series = 0.5 * norms**2 * (1 + a)
        gaps = np.where(a < 1e-3, series, (a + (1 - a) * np.log1p(-a)) / ranges**2)
    return np.where(a < 1, gaps, np.inf)


def convexity_bounds(objective: Objective, point: Point, drift: Array | float = 0.0) -> Array:
    """Bounds (P,) by strong convexity in the coefficients, if derivatives may change by `drift` (P, K, D)."""
    # In one array: with many columns, others would take longer than the arithmetic.
    shares = np.abs(point.gradient)
    shares += objective.gradient_rounding(point.values)[:, np.newaxis, np.newaxis] + drift
    with np.errstate(all="ignore"):
        np.square(shares, out=shares)
        shares /= objective.penalty
    shares[objective.penalty == 0] = 0
    return np.asarray(0.5 * shares.reshape(len(shares), -1).sum(axis=1))


def _with_strong_convexity(
    objective: Objective, point: Point, gaps: Array, problems: Array, tol: float, evaluate: Evaluate
) -> tuple[Point, Array]:
    """Points and gaps, improved for some problems where the bound by strong convexity is the smaller one."""
    if not any_of(problems):
        return point, gaps
    other, bounds = strong_convexity_bounds(objective.select(problems), point.select(problems), tol, evaluate)
    better = problems.copy()
    better[problems] = bounds < gaps[problems]
    if not any_of(better):
        return point, gaps
    gaps = gaps.copy()
    gaps[better] = bounds[better[problems]]
    return point.replaced(better, other.select(better[problems])), gaps


def strong_convexity_bounds(objective: Objective, point: Point, tol: float, evaluate: Evaluate) -> tuple[Point, Array]:
    """Bounds (P,) by strong convexity in the coefficients, once Newton steps have the intercepts near their minimum."""
    if (objective.penalty[:, :, -1] > 0).all():
        return point, convexity_bounds(objective, point)
    active = np.ones(len(point.values), dtype=bool)
    gaps, least_norms = np.full(active.size, np.inf), np.full(active.size, np.inf)
    inverse, travelled = None, np.zeros(active.size)
    for _ in range(_INTERCEPT_STEPS):
        some, there = objective.select(active), point.select(active)
        if inverse is None:
            inverse, travelled = _inverses(some.intercept_hessian(there.theta)), np.zeros(len(there.values))
        bound = _bound_with_intercepts(some, there, inverse, travelled)
        wanted = np.maximum(tol * there.values, 2 * bound.without_intercepts)
        ended = (bound.gaps <= wanted) | ~(bound.norms < least_norms[active] / 2)
        gaps[active] = np.where(ended, bound.gaps, np.inf)
        least_norms[active] = bound.norms
        if all_of(ended):
            break
        stay = ~ended
        active[active] = stay
        steps, inverse, there = bound.steps[stay], inverse[stay], there.select(stay)
        lengths = safe_step_lengths(_range_of_step(steps))
        theta = there.theta.copy()
        theta[:, :, -1] -= lengths[:, np.newaxis] * steps
        point = point.replaced(active, evaluate(objective.select(active), theta))
        travelled = travelled[stay] + lengths * bound.norms[stay]
        if (lengths < _NEARLY_WHOLE).any():
            inverse = None
    return point, gaps


class _InterceptBound(NamedTuple):
    steps: Array
    """Newton steps of the intercepts (P, K), to be subtracted."""
    norms: Array
    """Their lengths (P,) in the norm of the intercepts' Hessian."""
    gaps: Array
    """Bounds (P,) on F - F*."""
    without_intercepts: Array
    """What the bounds would be if the intercepts were at their minimum already."""


def _bound_with_intercepts(objective: Objective, point: Point, inverse: Array, travelled: Array) -> _InterceptBound:
    """What strong convexity and self-concordance allow, given the inverse (P, K, K) of the intercepts' Hessian.

    What the intercepts lack to their minimum adds a gap of its own, and moves the other derivatives. Over a step of
    length r in the norm of the intercepts' Hessian, the derivative by theta_kj changes by at most
    exp(S r) r sqrt(H_kj,kj), by the inequality of Cauchy and Schwarz.
    """
    # The Hessian here is at least exp(-S r) times that where it was taken.
    ranges = _range_of_unit_steps(inverse)
    growth = np.exp(0.5 * ranges * travelled)
    ranges = ranges * growth
    gradient = point.gradient[:, :, -1]
    steps = np.einsum("pkl,pl->pk", inverse, gradient)
    norms = growth * np.sqrt(np.sum(gradient * steps, axis=1))
    own = convexity_bounds(objective, point)
    with np.errstate(all="ignore"):
        lengths = np.where(norms > 0, -np.log1p(-ranges * norms) / ranges, 0.0)
        drift = np.exp(ranges * lengths) * lengths * np.sqrt(objective.largest_curvature)
        gaps = convexity_bounds(objective, point, drift[:, np.newaxis, np.newaxis])
        gaps = gaps + self_concordance_bounds(ranges, norms)
    return _InterceptBound(steps, norms, np.where(ranges * norms < 1, gaps, np.inf), own)


def _range_of_step(steps: Array) -> Array:
    """How far steps of the intercepts (P, K) spread the logits of a row, (P,)."""
    return np.asarray(np.ptp(steps, axis=1) if steps.shape[1] > 1 else np.abs(steps[:, 0]))


def _range_of_unit_steps(inverse: Array) -> Array:
    """The same for any step of length 1 in the norm of the intercepts' Hessians, given the inverses (P, K, K)."""
    own = np.einsum("pkk->pk", inverse)
    if own.shape[1] == 1:
        return np.asarray(np.sqrt(own[:, 0]))
    return np.asarray(np.sqrt(np.max(own[:, :, np.newaxis] + own[:, np.newaxis] - 2 * inverse, axis=(1, 2))))


def safe_step_lengths(ranges: Array) -> Array:
    """How much of each Newton step (P,) is certain to lower F, given the range of logits that the step causes.

    Along a step with the range a, F's third derivative is at most a times the second. The length that minimises the
    bound on F that follows is log(1 + a) / a.
    """
    with np.errstate(all="ignore"):
        return np.where(ranges > 0, np.log1p(ranges) / ranges, 1.0)


def _inverses(hessians: Array) -> Array:
    """The inverses of matrices (P, k, k); NaN for one that is not positive definite to rounding."""
    inverses = np.full_like(hessians, np.nan)
    with np.errstate(all="ignore"):
        scales = 1 / np.sqrt(np.einsum("pkk->pk", hessians))
        scaled = hessians * scales[:, np.newaxis] * scales[:, :, np.newaxis]
    for hessian, scale, inverse in zip(scaled, scales, inverses, strict=True):
        if not all_of(np.isfinite(hessian)):
            continue
        with suppress(np.linalg.LinAlgError):
            factor = np.linalg.cholesky(hessian - 1e-12 * np.eye(len(hessian)))
            inverse_factor = np.linalg.inv(factor) * scale
            inverse[:] = inverse_factor.T @ inverse_factor
    return inverses
