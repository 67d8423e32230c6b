r"""The solver: SciPy's L-BFGS in the coordinates of a metric, then Newton steps, then a certificate.

Nothing here trusts a success flag. A minimum is certified by the smaller of two bounds on F - F*, with g the gradient:

* strong convexity, with the intercepts at their minimum: sum_kj g_kj^2 / (2 penalty_j);
* self-concordance (Bach, "Self-concordant analysis for logistic regression", 2010): along any direction h, the third
  derivative is at most S ||h||_H times the second, where S bounds the spread of a row's logits for a step of length 1
  in the norm of the Hessian H. With nu^2 = g^T H^-1 g and a = S nu < 1, F - F* <= (a + (1 - a) log(1 - a)) / S^2.
  After a step of length r in that norm, the new Hessian is at least exp(-S r) H: one H serves several steps.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from skactivation._metric import Kind, Metric, cheapest_plan, metric_at, stronger_plan
from skactivation._objective import Objective

__all__ = ["Outcome", "Solution", "minimize"]

Array = NDArray[Any]

# Pairs of points that L-BFGS remembers; fewer where they would take more than 64 MB.
_MEMORY, _LEAST_MEMORY, _MEMORY_SIZE = 20, 4, 2**23
# How many times the usual number of evaluations a plan may take.
_PATIENCE = 3
# Falls of F by less than this, relative to it, can't be told in float32; in float64.
_COARSE, _NO_FALL = 1e-8, 1e-15
# The gap relative to F, as far as a whole Hessian can tell, from which on Newton steps and a certificate are tried.
_NEAR = 1e-3
# Each failure to certify makes the solver go further before it tries again, down to where values can't be told apart.
_STRICTER, _STRICTEST = 1e-2, 1e-7
# Newton steps end where what is left is negligible even in the coefficients.
_NEGLIGIBLE = 1e-22
_NEWTON_STEPS = 8
# L-BFGS first tries twice the share of a Newton step that is safe: that is for the worst row.
_CAUTION = 2.0
# A step of Newton's method must lower F by this share of what its slope promises; one that leaves less than that part
# of the gradient is followed by another with the same Hessian.
_SUFFICIENT, _USEFUL = 1e-4, 0.01
# What sums over many rows may have lost, relative to them.
_ROUNDING = 1e-11
# Newton's method on the intercepts alone, damped, gains at least a constant factor a step.
_INTERCEPT_STEPS = 100
# A step of which less than this share was taken ends where the Hessian is another.
_NEARLY_WHOLE = 0.9


class Outcome(Enum):
    """Why the solver stopped."""

    CERTIFIED = "the optimality gap is certified to be at most tol"
    ESTIMATED = "the gap is at most tol as far as the metric can tell"
    MAX_ITER = "max_iter was reached"
    STALLED = "no further progress could be certified"
    SEPARATED = "every row is on the right side: no finite optimum exists"


@dataclass(frozen=True)
class Solution:
    """A minimum and its certificate, in the objective's units."""

    theta: Array
    """Coefficients (K, D) of the objective's columns."""
    value: float
    gradient: Array
    gap: float
    """A bound on (F - F*) / F; inf where none is known."""
    outcome: Outcome
    n_iterations: int
    n_evaluations: int
    values: list[float]
    """F at the start and after each iteration."""


class _Point(NamedTuple):
    theta: Array
    value: float
    gradient: Array


def minimize(
    objective: Objective,
    starts: list[Array],
    *,
    tol: float,
    max_iter: int,
    separated_below: float = 0.0,
    certified: bool = True,
) -> Solution:
    """Minimise an objective from the best of some starts (K, D) until the gap is certified.

    A value under `separated_below` proves that the infimum is 0 and isn't reached. Where no certificate is asked for,
    the gap that a metric tells will do.
    """
    return _Run(objective, tol, max_iter, certified).solve(starts, separated_below)


class _Run:
    """One minimisation and its counters."""

    def __init__(self, objective: Objective, tol: float, max_iter: int, certified: bool) -> None:
        self._objective = objective
        self._certified = certified
        self._has_penalty = objective.has_penalty
        rows = objective.rows
        self._plan, _ = cheapest_plan(objective.shape, rows.n_rows, rows.n_entries, rows.gram_cost)
        # Evaluations after which another plan is tried.
        self._patience: float = _PATIENCE * self._plan.n_evaluations
        # float32 data are evaluated in float32 until a proof is at stake.
        self._exact = bool(rows.dtype == np.float64)
        self._tol = tol
        self._strictness = 1.0
        self._stage = 0
        self._remaining = max_iter
        self._max_iter = max_iter
        self._n_evaluations = 0
        self._values: list[float] = []

    def solve(self, starts: list[Array], separated_below: float) -> Solution:
        point = self._best(starts)
        self._values.append(point.value)
        while True:
            before, gap = self._remaining, np.inf
            # Where the penalty gives a proof, whether it does is known without a metric.
            needs_metric = self._plan.kind is Kind.WHOLE or not self._has_penalty or not self._certified
            metric = self._metric_at(point) if needs_metric else None
            # A Hessian that rounding may have made says little about rows of small weight.
            is_newton = self._plan.newton and metric is not None and metric.bounds_hessian
            travelled, whole = 0.0, False
            close = not (is_newton and self._certified) and self._is_close(point, metric)
            if close and not self._certified:
                return self._solution(point, np.inf, Outcome.ESTIMATED)
            if metric is not None and metric.is_whole and (close or is_newton):
                # Steps are taken to the last digit: they are cheaper than a proof that fails.
                point, travelled, settled, whole = self._newton_steps(point, metric)
                close = settled or self._remaining in (0, before)
            if close and self._be_exact():
                point = self._evaluate(point.theta)
                continue
            if close:
                point, gap = self._prove(point, metric, travelled)
                self._strictness *= _STRICTER
            if gap <= self._tol:
                outcome = Outcome.CERTIFIED
            elif point.value < separated_below:
                outcome = Outcome.SEPARATED
            elif self._remaining == 0:
                outcome = Outcome.MAX_ITER
            else:
                moved = self._remaining < before
                # Where only a part of Newton's step was any good, a line search knows better.
                if self._strictness >= _STRICTEST and not (is_newton and whole):
                    point, fell = self._descend(point, metric)
                    moved = moved or fell
                if moved and self._n_evaluations < self._patience:
                    continue
                if self._be_exact():
                    point = self._evaluate(point.theta)
                    continue
                if self._take_stronger_plan() or moved:
                    continue
                if gap == np.inf:
                    point, gap = self._prove(point, metric, np.inf)
                outcome = Outcome.CERTIFIED if gap <= self._tol else Outcome.STALLED
            return self._solution(point, gap, outcome)

    def _descend(self, point: _Point, metric: Metric | None) -> tuple[_Point, bool]:
        """A stage of L-BFGS, and whether F fell: iterations that leave it as it was are no progress."""
        was_exact = self._exact
        after = self._lbfgs(point, metric or self._metric_at(point), self._plan.shortest << self._stage)
        self._stage += 1
        if self._exact and not was_exact:
            return self._evaluate(after.theta), True
        return after, after.value < (1 - _NO_FALL) * point.value

    def _solution(self, point: _Point, gap: float, outcome: Outcome) -> Solution:
        return Solution(
            *point,
            gap=gap,
            outcome=outcome,
            n_iterations=self._max_iter - self._remaining,
            n_evaluations=self._n_evaluations,
            values=self._values,
        )

    def _take_stronger_plan(self) -> bool:
        """Change to a metric that says more, if there is one."""
        plan = stronger_plan(self._plan, self._objective.shape)
        self._patience = np.inf
        if plan is not None:
            self._plan, self._stage = plan, 0
            self._patience = self._n_evaluations + _PATIENCE * plan.n_evaluations
        return plan is not None

    def _metric_at(self, point: _Point) -> Metric:
        return metric_at(self._objective, point.theta, self._plan.kind, sampled=self._plan.sampled)

    def _be_exact(self) -> bool:
        """Evaluate in float64 from now on; whether that is new."""
        was_exact, self._exact = self._exact, True
        return not was_exact

    def _best(self, starts: list[Array]) -> _Point:
        """The start with the lowest value; all but the first may be so far off that they have none."""
        best = self._evaluate(starts[0])
        for start in starts[1:]:
            with suppress(ValueError):
                best = min(best, self._evaluate(start), key=lambda point: point.value)
        return best

    def _evaluate(self, theta: Array, *, finite: bool = True) -> _Point:
        theta = theta.copy()
        self._objective.center(theta)
        value, gradient = self._objective.value_and_gradient(theta, exact=self._exact)
        self._n_evaluations += 1
        if finite and not (np.isfinite(value) and np.isfinite(gradient).all()):
            if self._be_exact():
                # Beyond the range of float32.
                return self._evaluate(theta)
            raise ValueError(
                "the objective isn't finite: X holds numbers too large for float64 arithmetic; rescale its columns"
            )
        return _Point(theta, value, gradient)

    def _advance(self, point: _Point) -> _Point:
        """Count an iteration that ends at a point."""
        self._remaining -= 1
        self._values.append(point.value)
        return point

    def _is_close(self, point: _Point, metric: Metric | None, share: float = 1.0) -> bool:
        """Whether the gap, as far as can be told cheaply, is within a share of what is wanted; or all is tried."""
        if self._remaining == 0 or self._strictness < _STRICTEST:
            return True
        wanted = share * self._strictness * point.value
        if not self._certified and metric is not None:
            return metric.decrement(point.gradient) <= wanted * self._tol
        if metric is not None and metric.is_whole:
            return metric.decrement(point.gradient) <= wanted * max(_NEAR, self._tol)
        if self._has_penalty:
            # Half of tol is left for what the intercepts add.
            return self._convexity_bound(np.abs(point.gradient)) <= wanted * 0.5 * self._tol
        return metric is not None and metric.decrement(point.gradient) <= wanted * 1e-3 * self._tol

    def _shares(self, step: Array) -> Iterator[float]:
        """How much of a Newton step to try: the whole, then less and less, down to what is sure to lower F.

        Not the whole where F wouldn't show how far rows of small weight are thrown.
        """
        least = self._share(step) if self._objective.has_light_rows else None
        share = 1.0 if least is None else min(1.0, 8 * least)
        while least is None or share > least:
            yield share
            least = self._share(step) if least is None else least
            share = max(share / 4, least)
        yield least

    def _share(self, step: Array) -> float:
        """How much of a Newton step is sure to lower F, given the Hessian itself.

        Along a step that spreads a row's logits by a, F's third derivative is at most a times the second. The share
        that minimises the bound on F that follows is log(1 + a) / a.
        """
        spread = self._objective.logit_range(step)
        return float(np.log1p(spread) / spread) if spread > 0 else 1.0

    def _lbfgs(self, start: _Point, metric: Metric, max_iter: int) -> _Point:
        """Some L-BFGS iterations in the metric's coordinates; the start itself where none succeeds."""
        trial = accepted = start
        # L-BFGS-B's first step has the length 1: let that be the Newton step, damped.
        gradient = metric.to_coordinates(start.gradient)
        share = min(1.0, _CAUTION * self._share(metric.to_coefficients(gradient)))
        unit = share * float(np.linalg.norm(gradient))
        memory = max(_LEAST_MEMORY, min(_MEMORY, _MEMORY_SIZE // (2 * start.theta.size)))
        max_iter = min(max_iter, self._plan.longest, self._remaining)

        def value_and_gradient(u: Array) -> tuple[float, Array]:
            nonlocal trial
            trial = start if not u.any() else self._evaluate(start.theta + metric.to_coefficients(unit * u))
            return trial.value, unit * metric.to_coordinates(trial.gradient)

        def after_iteration(u: Array) -> None:
            # The line search ends at the point that it evaluated last.
            nonlocal accepted
            fall = accepted.value - trial.value
            accepted = self._advance(trial)
            if not self._exact and fall < _COARSE * trial.value:
                self._exact = True
                raise StopIteration
            if self._is_close(accepted, metric, share=0.1):
                raise StopIteration

        optimize.minimize(
            value_and_gradient,
            np.zeros(start.theta.size),
            jac=True,
            method="L-BFGS-B",
            callback=after_iteration,
            # Its own tolerances are off: what is small is for this module to say.
            options={"maxiter": max_iter, "maxcor": memory, "ftol": 0.0, "gtol": 0.0, "maxfun": 20 * max_iter},
        )
        return accepted

    def _newton_steps(self, point: _Point, metric: Metric) -> tuple[_Point, float, bool, bool]:
        """Newton steps with one factor while it serves, and their length in the metric's norm.

        Then whether nothing is left that further steps would get, and whether the last step was a whole one.
        """
        gradient = metric.to_coordinates(point.gradient)
        first = float(np.linalg.norm(gradient))
        travelled, norm, whole = 0.0, first, False
        for _ in range(min(_NEWTON_STEPS, self._remaining)):
            if norm**2 <= _NEGLIGIBLE * point.value:
                break
            step = -metric.to_coefficients(gradient)
            # The whole step is nearly always right; if not, one that is sure to lower F is, but that may be short.
            for share in self._shares(step):
                trial = self._evaluate(point.theta + share * step, finite=False)
                gradient = metric.to_coordinates(trial.gradient)
                trial_norm = float(np.linalg.norm(gradient))
                fall = point.value - trial.value
                # Near the minimum values of F differ by less than their rounding; gradients still tell.
                if fall >= _SUFFICIENT * share * norm**2 or (trial_norm < norm and fall >= -_ROUNDING * point.value):
                    break
            else:
                whole = False
                break
            whole = share == 1.0
            point, travelled = self._advance(trial), travelled + share * norm
            useful = trial_norm < _USEFUL * norm
            norm = trial_norm
            if not useful:
                # A Hessian taken anew will do better.
                break
        near = first**2 <= 2 * _NEAR * point.value
        settled = norm**2 <= _NEGLIGIBLE * point.value or (near and norm > first / 2)
        return point, travelled, settled, whole

    def _prove(self, point: _Point, metric: Metric | None, travelled: float) -> tuple[_Point, float]:
        """Bound the relative gap, given how far from the point where the metric was taken it is.

        Intercepts may move on the way to a bound.
        """
        wanted = self._tol * point.value
        bounds = [(point, np.inf)]
        if metric is not None and metric.bounds_hessian:
            # Next to the minimum, a bound on S that needs no look at the rows will do.
            spread = self._objective.crude_logit_range(metric.longest_step())
            bounds.append((point, self._concordance_bound(point, metric, spread, travelled)))
        promising = self._has_penalty and self._convexity_bound(np.abs(point.gradient)) <= wanted
        if promising and not bounds[-1][1] <= wanted:
            bounds.append(self._strong_convexity_gap(point))
        if metric is not None and metric.bounds_hessian and not bounds[-1][1] <= wanted:
            spread = self._objective.largest_logit_range(metric.inverse())
            bounds.append((point, self._concordance_bound(point, metric, spread, travelled)))
        if self._has_penalty and all(gap == np.inf for _, gap in bounds):
            bounds.append(self._strong_convexity_gap(point))
        point, gap = min(bounds, key=lambda bound: bound[1])
        # No bound is worth more than the rounding of the value itself.
        relative = gap / point.value if point.value > 0 else 0.0
        return point, relative + self._objective.rounding_of_value(point.theta)

    def _concordance_bound(self, point: _Point, metric: Metric, spread: float, travelled: float) -> float:
        """The bound by self-concordance; the Hessian here is at least exp(-S r) times the metric's."""
        growth = float(np.exp(0.5 * spread * travelled))
        return _self_concordance_gap(spread * growth, metric.norm(point.gradient) * growth)

    def _strong_convexity_gap(self, point: _Point) -> tuple[_Point, float]:
        """The bound by strong convexity in the coefficients, once the intercepts are near their minimum.

        What is left to their minimum is bounded by self-concordance: a gap of its own, and a drift of the other
        derivatives. Over a step of length r in the norm of the intercepts' Hessian, the derivative by theta_kj changes
        by at most exp(S r) r sqrt(H_kj,kj), by the inequality of Cauchy and Schwarz.
        """
        if self._objective.penalty[-1] > 0:
            return point, self._convexity_bound(np.abs(point.gradient))
        best, inverse, travelled = np.inf, None, 0.0
        for _ in range(_INTERCEPT_STEPS):
            if inverse is None:
                inverse, travelled = _inverse(self._objective.intercept_hessian(point.theta)), 0.0
            if inverse is None:
                break
            # The Hessian here is at least exp(-S r) times that where it was taken.
            spread = self._objective.largest_intercept_range(inverse)
            growth = float(np.exp(0.5 * spread * travelled))
            spread *= growth
            gradient = point.gradient[:, -1]
            norm = growth * float(np.sqrt(gradient @ inverse @ gradient))
            gap, own = np.inf, self._convexity_bound(np.abs(point.gradient))
            if spread * norm < 1:
                length = -np.log1p(-spread * norm) / spread if norm > 0 else 0.0
                drift = np.exp(spread * length) * length * np.sqrt(self._objective.largest_curvature)
                gap = self._convexity_bound(np.abs(point.gradient) + drift) + _self_concordance_gap(spread, norm)
            if gap <= max(self._tol * point.value, 2 * own) or not norm < best / 2:
                return point, gap
            best = norm
            step = inverse @ gradient
            width = self._objective.intercept_range(step)
            share = np.log1p(width) / width if width > 0 else 1.0
            theta = point.theta.copy()
            theta[:, -1] -= share * step
            point = self._evaluate(theta)
            self._values[-1] = point.value
            travelled += share * norm
            if share < _NEARLY_WHOLE:
                inverse = None
        return point, np.inf

    def _convexity_bound(self, derivatives: Array) -> float:
        """What strong convexity allows for absolute derivatives (K, D) by the coefficients."""
        penalty = self._objective.penalty
        with np.errstate(over="ignore"):
            shares = np.square(derivatives[:, penalty > 0]) / penalty[penalty > 0]
        return float(0.5 * shares.sum())


def _inverse(hessian: Array) -> Array | None:
    """The inverse of a positive definite matrix, or None where it isn't one to rounding."""
    with np.errstate(all="ignore"):
        scale = 1 / np.sqrt(hessian.diagonal())
        scaled = hessian * scale * scale[:, np.newaxis]
    if not np.isfinite(scaled).all():
        return None
    try:
        factor = np.linalg.cholesky(scaled - 1e-12 * np.eye(len(scaled)))
    except np.linalg.LinAlgError:
        return None
    inverse_factor = np.linalg.inv(factor) * scale
    inverse: Array = inverse_factor.T @ inverse_factor
    return inverse


def _self_concordance_gap(spread: float, norm: float) -> float:
    a = spread * norm
    if not a < 1:
        return np.inf
    if a < 1e-3:
        # The series a^2/2 + a^3/6 + a^4/12 + ..., bounded, where the closed form cancels.
        return 0.5 * norm**2 * (1 + a)
    return float((a + (1 - a) * np.log1p(-a)) / spread**2)
