r"""Certificates: bounds on F - F* for each part of an objective, by the smaller of two, with g the gradient.

* Strong convexity, with the intercepts at their minimum: sum_kj g_kj^2 / (2 penalty_kj).
* Self-concordance (Bach, "Self-concordant analysis for logistic regression", 2010): along any direction h, the third
  derivative is at most S ||h||_H times the second, where S bounds the spread of a row's logits for a step of length 1
  in the norm of the Hessian H. With nu^2 = g^T H^-1 g and a = S nu < 1, F - F* <= (a + (1 - a) log(1 - a)) / S^2.
  After a step of length r in that norm, the new Hessian is at least exp(-S r) H: one H serves several steps.
"""

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from skactivation._optimize.objective import Objective
from skactivation._optimize.preconditioner import Metric, _as_linear
from skactivation._optimize.problems import Point, Problem, all_of, any_of
from skactivation._typing import Array

__all__ = ["convexity_bounds", "prove", "self_concordance_gaps"]

Evaluate = Callable[[Problem, Array], Point]

# Newton's method on the intercepts alone, damped, gains at least a constant factor a step.
_INTERCEPT_STEPS = 100
# A step of which less than this share was taken ends where the Hessian is another.
_NEARLY_WHOLE = 0.9


def prove(
    problem: Problem, point: Point, metric: Metric | None, travelled: Array, tol: float, evaluate: Evaluate
) -> tuple[Point, Array]:
    """Bound the relative gap of each part, given how far from the point where the metric was taken it is.

    Intercepts may move on the way to a bound.
    """
    objective, values = problem.objective, point.values
    wanted = tol * values
    gaps, best = np.full(values.size, np.inf), point
    bounded = np.zeros(values.size, dtype=bool) if metric is None else metric.bounds_hessian
    norms = np.zeros(values.size) if metric is None else metric.norms(point.gradient)

    def by_concordance(spreads: Array, parts: Array) -> Array:
        # The Hessian here is at least exp(-S r) times the metric's.
        growth = np.exp(0.5 * spreads * travelled[parts])
        return self_concordance_gaps(spreads * growth, norms[parts] * growth)

    if metric is not None and any_of(bounded):
        # Next to the minimum, a bound on S that needs no look at the rows will do.
        spreads = objective.crude_logit_range(metric.select(bounded).longest_steps())
        gaps[bounded] = by_concordance(spreads, bounded)
    if objective.has_penalty:
        promising = convexity_bounds(objective, np.abs(point.gradient)) <= wanted
        best, gaps = _try_strong_convexity(problem, best, gaps, promising & ~(gaps <= wanted), tol, evaluate)
    todo = bounded & ~(gaps <= wanted)
    if metric is not None and any_of(todo):
        spreads = objective.select(todo).largest_logit_range(metric.select(todo).inverse())
        closer = np.full(values.size, np.inf)
        closer[todo] = by_concordance(spreads, todo)
        better = closer < gaps
        if any_of(better):
            best, gaps = best.updated(better, point.select(better)), np.where(better, closer, gaps)
    if objective.has_penalty and any_of(np.isinf(gaps)):
        best, gaps = _try_strong_convexity(problem, best, gaps, np.isinf(gaps), tol, evaluate)
    # No bound is worth more than the rounding of the value itself.
    with np.errstate(all="ignore"):
        relative = np.where(best.values > 0, gaps / best.values, 0.0)
    return best, relative + objective.rounding_of_value(best.theta)


def _try_strong_convexity(
    problem: Problem, point: Point, gaps: Array, parts: Array, tol: float, evaluate: Evaluate
) -> tuple[Point, Array]:
    """Points and gaps, improved for some parts where the bound by strong convexity is the better one."""
    if not any_of(parts):
        return point, gaps
    other, others_gaps = _strong_convexity_gaps(problem.select(parts), point.select(parts), tol, evaluate)
    better = parts.copy()
    better[parts] = others_gaps < gaps[parts]
    if not any_of(better):
        return point, gaps
    gaps = gaps.copy()
    gaps[better] = others_gaps[better[parts]]
    return point.updated(better, other.select(better[parts])), gaps


def _strong_convexity_gaps(problem: Problem, point: Point, tol: float, evaluate: Evaluate) -> tuple[Point, Array]:
    """The bounds by strong convexity in the coefficients, once the intercepts are near their minimum.

    What is left to their minimum is bounded by self-concordance: a gap of its own, and a drift of the other
    derivatives. Over a step of length r in the norm of the intercepts' Hessian, the derivative by theta_kj changes
    by at most exp(S r) r sqrt(H_kj,kj), by the inequality of Cauchy and Schwarz.
    """
    objective, n_parts = _as_linear(problem.objective), problem.parts.size
    if (objective.penalty[:, -1] > 0).all():
        return point, convexity_bounds(objective, np.abs(point.gradient))
    result, gaps = point, np.full(n_parts, np.inf)
    # What follows is about the parts that are still going, in `numbers`.
    numbers, best = np.arange(n_parts), np.full(n_parts, np.inf)
    inverse, travelled = None, np.zeros(n_parts)
    for _ in range(_INTERCEPT_STEPS):
        if inverse is None:
            inverse, travelled = _inverses(objective.intercept_hessian(point.theta)), np.zeros(numbers.size)
        # The Hessian here is at least exp(-S r) times that where it was taken.
        spreads = objective.largest_intercept_range(inverse)
        growth = np.exp(0.5 * spreads * travelled)
        spreads = spreads * growth
        gradient = point.gradient[:, -1].reshape(numbers.size, -1)
        steps = np.einsum("pkl,pl->pk", inverse, gradient)
        norms = growth * np.sqrt(np.sum(gradient * steps, axis=1))
        with np.errstate(all="ignore"):
            lengths = np.where(norms > 0, -np.log1p(-spreads * norms) / spreads, 0.0)
            drift = np.exp(spreads * lengths) * lengths * np.sqrt(objective.largest_curvature)
            own = convexity_bounds(objective, np.abs(point.gradient))
            drifted = np.abs(point.gradient).reshape(numbers.size, -1) + drift[:, np.newaxis]
            bounds = convexity_bounds(objective, drifted.reshape(objective.shape))
            bounds = bounds + self_concordance_gaps(spreads, norms)
        bounds = np.where(spreads * norms < 1, bounds, np.inf)
        wanted = np.maximum(tol * point.values, 2 * own)
        ends = (bounds <= wanted) | ~(norms < best / 2)
        if any_of(ends):
            ended = np.zeros(n_parts, dtype=bool)
            ended[numbers[ends]] = True
            result, gaps[ended] = result.updated(ended, point.select(ends)), bounds[ends]
            stays = ~ends
            problem, point, inverse = problem.select(stays), point.select(stays), inverse[stays]
            objective, numbers, best, norms = _as_linear(problem.objective), numbers[stays], best[stays], norms[stays]
            steps, travelled = steps[stays], travelled[stays]
            if not any_of(stays):
                return result, gaps
        best = norms
        widths = objective.intercept_range(steps.ravel())
        with np.errstate(all="ignore"):
            shares = np.where(widths > 0, np.log1p(widths) / widths, 1.0)
        theta = point.theta.copy()
        theta[:, -1] -= (shares[:, np.newaxis] * steps).ravel()
        point = evaluate(problem, theta)
        travelled = travelled + shares * norms
        if (shares < _NEARLY_WHOLE).any():
            inverse = None
    left = np.zeros(n_parts, dtype=bool)
    left[numbers] = True
    return result.updated(left, point), gaps


def convexity_bounds(objective: Objective, derivatives: Array) -> Array:
    """What strong convexity allows each part (P,), for absolute derivatives (K, D) by the coefficients."""
    penalty = objective.penalty
    with np.errstate(all="ignore"):
        shares = np.where(penalty > 0, np.square(derivatives) / penalty, 0.0)
    return np.asarray(0.5 * shares.reshape(objective.n_parts, -1).sum(axis=1))


def _inverses(hessians: Array) -> Array:
    """The inverses of matrices (P, k, k); NaN for one that isn't positive definite to rounding."""
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


def self_concordance_gaps(spreads: Array, norms: Array) -> Array:
    """What self-concordance allows for steps that spread logits by at most so much, and norms of the gradient."""
    with np.errstate(all="ignore"):
        a = spreads * norms
        # The series a^2/2 + a^3/6 + a^4/12 + ..., bounded, where the closed form cancels.
        series = 0.5 * norms**2 * (1 + a)
        gaps = np.where(a < 1e-3, series, (a + (1 - a) * np.log1p(-a)) / spreads**2)
    return np.where(a < 1, gaps, np.inf)
