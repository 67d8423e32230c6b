"""The solver: SciPy's L-BFGS in the coordinates of a metric, then Newton steps, then a certificate.

Nothing here trusts a success flag.
"""

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from scipy import optimize

from skactivation._optimize.certificate import convexity_bounds, prove
from skactivation._optimize.objective import Objective
from skactivation._optimize.preconditioner import Kind, Metric, Plan, metric_at, parts_at_once, stronger_plan
from skactivation._optimize.problems import Point, Problem, all_of, any_of
from skactivation._typing import Array

__all__ = ["Outcome", "Solution", "minimize"]


# Pairs of points that L-BFGS remembers; fewer where they would take more than 64 MB.
_MEMORY, _LEAST_MEMORY, _MEMORY_SIZE = 20, 4, 2**23
# How many times the usual number of evaluations a plan may take.
_PATIENCE = 3
# Falls of F by less than this, relative to it, can't be told in float32; in float64.
_COARSE, _NO_FALL = 1e-8, 1e-15
# A line search among values that are closer than this and takes more trials than that is one that float32 leads astray.
_COARSE_CHANGE, _COARSE_TRIALS = 1e-6, 2
# The gap relative to F from which on a Newton step that gains little says that there is little to gain.
_NEAR = 1e-3
# Each failure to certify makes the solver go further before it tries again, down to where values can't be told apart.
_STRICTER, _STRICTEST = 1e-2, 1e-7
# Newton steps end where what is left is negligible even in the coefficients.
_NEGLIGIBLE = 1e-22
_NEWTON_STEPS = 8
# L-BFGS first tries twice the share of a Newton step that is safe: that is for the worst row.
_CAUTION = 2.0
# A step of Newton's method must lower F by this share of what its slope promises.
_SUFFICIENT = 1e-4
# What sums over many rows may have lost, relative to them.
_ROUNDING = 1e-11
# L-BFGS works on several parts at once until this share of them is close.
_ENOUGH = 0.5


class Outcome(Enum):
    """Why the solver stopped."""

    CERTIFIED = "the optimality gap is certified to be at most tol"
    ESTIMATED = "the gap is at most tol as far as the metric can tell"
    MAX_ITER = "max_iter was reached"
    STALLED = "no further progress could be certified"
    SEPARATED = "every row is on the right side: no finite optimum exists"


@dataclass(frozen=True)
class Solution:
    """A minimum of each of an objective's P parts, and their certificates, in the objective's units."""

    theta: Array
    """Coefficients (K, D) of the objective's columns."""
    values: Array
    """Values (P,) of the parts."""
    gradient: Array
    gaps: Array
    """Bounds (P,) on (F - F*) / F for each part; inf where none is known."""
    outcomes: list[Outcome]
    """Why the solver stopped, for each part."""
    n_iterations: int
    n_evaluations: int
    history: Array
    """Values (., P) at the start and after each iteration."""


class _TooCoarseError(Exception):
    """float32 doesn't tell which way is down."""


def minimize(
    objective: Objective,
    starts: list[Array],
    plan: Plan,
    *,
    tol: float,
    max_iter: int,
    separated_below: Any = 0.0,
    certified: bool = True,
) -> Solution:
    """Minimise each part of an objective from the best of some starts (K, D) until its gap is certified.

    A value under `separated_below`, a number or one for each part, proves that the infimum is 0 and isn't reached.
    Where no certificate is asked for, the gap that a metric tells will do.
    """
    n_parts = objective.n_parts
    levels = np.broadcast_to(separated_below, (n_parts,))
    n_groups = -(-n_parts // parts_at_once(plan, objective.shape, n_parts))
    groups = np.arange(n_parts) * n_groups // n_parts
    solutions = []
    for group in range(n_groups):
        chosen = groups == group
        some = starts if n_groups == 1 else [start[chosen] for start in starts]
        run = _Run(objective.select(chosen), plan, tol, max_iter, certified, levels[chosen])
        solutions.append(run.solve(some))
    return solutions[0] if n_groups == 1 else _joined(solutions)


def _joined(solutions: list[Solution]) -> Solution:
    """Solutions of consecutive parts as one. Their iterations count as if they were made at the same time."""
    n_iterations = max(solution.n_iterations for solution in solutions)
    # A part stays where it ended.
    lasting = [np.minimum(np.arange(n_iterations + 1), len(solution.history) - 1) for solution in solutions]
    return Solution(
        theta=np.vstack([solution.theta for solution in solutions]),
        values=np.concatenate([solution.values for solution in solutions]),
        gradient=np.vstack([solution.gradient for solution in solutions]),
        gaps=np.concatenate([solution.gaps for solution in solutions]),
        outcomes=[outcome for solution in solutions for outcome in solution.outcomes],
        n_iterations=n_iterations,
        n_evaluations=sum(solution.n_evaluations for solution in solutions),
        history=np.hstack([solution.history[rows] for solution, rows in zip(solutions, lasting, strict=True)]),
    )


class _Run:
    """One minimisation and its counters. Parts leave it, one by one, as they are done."""

    def __init__(
        self, objective: Objective, plan: Plan, tol: float, max_iter: int, certified: bool, levels: Array
    ) -> None:
        self._problem = Problem(objective, np.arange(objective.n_parts))
        self._certified = certified
        self._levels = levels
        self._has_penalty = objective.has_penalty
        self._plan = plan
        # Evaluations after which another plan is tried.
        self._patience: float = _PATIENCE * self._plan.n_evaluations
        # Where rows say so, evaluations are in float32 until a proof is at stake.
        self._exact = not objective.is_coarse
        self._tol = tol
        self._strictness = np.ones(objective.n_parts)
        self._stage = 0
        # Whether parts are so near their minima that a sample won't do for a metric.
        self._finishing = False
        self._remaining = max_iter
        self._max_iter = max_iter
        self._n_evaluations = 0
        # Parts on which nothing more could be done with the plan as it was, and the points that they had reached.
        self._stuck: list[tuple[Problem, Point]] = []
        self._stuck_coarsely = False
        # Parts for which there was no room with a stronger plan, yet.
        self._waiting: list[tuple[Problem, Point]] = []
        # What is known of all parts.
        self._values = np.zeros(objective.n_parts)
        self._history: list[Array] = []
        self._theta, self._gradient = np.zeros(objective.shape), np.zeros(objective.shape)
        self._gaps = np.full(objective.n_parts, np.inf)
        self._outcomes = [Outcome.STALLED] * objective.n_parts

    def solve(self, starts: list[Array]) -> Solution:
        problem = self._problem
        point = self._best(problem, starts)
        self._values[:] = point.values
        self._history.append(self._values.copy())
        while problem.parts.size:
            problem, point = self._round(problem, point)
            if not problem.parts.size and self._waiting:
                problem, point = self._waiting.pop()
            elif not problem.parts.size and self._stuck:
                problem, point = self._unstuck()
        return Solution(
            theta=self._theta,
            values=self._values,
            gradient=self._gradient,
            gaps=self._gaps,
            outcomes=self._outcomes,
            n_iterations=self._max_iter - self._remaining,
            n_evaluations=self._n_evaluations,
            history=np.array(self._history),
        )

    def _round(self, problem: Problem, point: Point) -> tuple[Problem, Point]:
        """A metric, Newton steps, proofs, a stage of L-BFGS, as far as each part needs them; the parts that go on."""
        self._gaps[problem.parts] = np.inf
        # Where the penalty gives a proof, whether it does is known without a metric.
        needs_metric = self._plan.kind is Kind.WHOLE or not self._has_penalty or not self._certified
        metric = self._metric_at(problem, point) if needs_metric else None
        none = np.zeros(problem.parts.size, dtype=bool)
        # A Hessian that rounding may have made says little about rows of small weight.
        newton = none if metric is None or not self._plan.newton else metric.bounds_hessian
        # Newton's steps show by themselves when they are done.
        close = none if self._certified and all_of(newton) else self._are_close(problem, point, metric)
        if not self._certified and any_of(close):
            problem, point = self._leave(problem, point, close, Outcome.ESTIMATED)
            if all_of(close):
                return problem, point
            metric, newton = None if metric is None else metric.select(~close), newton[~close]
            none = close = newton & False
        travelled, whole, moved = np.zeros(problem.parts.size), none, none
        if self._certified:
            close = close & ~newton
        if metric is not None and metric.is_exact and any_of(close) and self._be_exact():
            # Newton steps to the last digit need them all.
            point = self._evaluate(problem, point.theta)
        if metric is not None and metric.is_exact and any_of(close | newton):
            stepping = close | newton
            # Steps are taken to the last digit: they are cheaper than a proof that fails.
            point, travelled, settled, whole, moved = self._newton_steps(problem, point, metric, stepping)
            close = np.where(stepping, settled | ~moved | (self._remaining == 0), close)
        if any_of(close) and self._be_exact():
            return problem, self._evaluate(problem, point.theta)
        if any_of(close):
            chosen = problem.select(close)
            part = None if metric is None else metric.select(close)
            point = point.updated(close, self._prove(chosen, point.select(close), part, travelled[close]))
            self._strictness[chosen.parts] *= _STRICTER
        done = self._gaps[problem.parts] <= self._tol
        separated = ~done & (point.values < self._levels[problem.parts])
        leaves = done | separated
        if any_of(separated) and self._be_exact():
            return problem, self._evaluate(problem, point.theta)
        if any_of(leaves):
            stays = ~leaves
            remaining = problem.select(stays), point.select(stays)
            self._leave(problem, point, done, Outcome.CERTIFIED)
            self._leave(problem, point, separated, Outcome.SEPARATED)
            (problem, point), newton, whole, moved = remaining, newton[stays], whole[stays], moved[stays]
            if not any_of(stays):
                return problem, point
            metric = None if metric is None else metric.select(stays)
        if self._remaining == 0:
            return self._leave(problem, point, moved | True, Outcome.MAX_ITER)
        # Where only a part of Newton's step was any good, a line search knows better.
        descends = (self._strictness[problem.parts] >= _STRICTEST) & ~(newton & whole)
        if any_of(descends):
            point, fell = self._descend(problem, point, metric, descends)
            moved = moved | fell
        if not all_of(moved):
            self._stuck.append((problem.select(~moved), point.select(~moved)))
            self._stuck_coarsely |= not self._exact
            problem, point = problem.select(moved), point.select(moved)
        if problem.parts.size and self._n_evaluations >= self._patience:
            if self._be_exact():
                return problem, self._evaluate(problem, point.theta)
            if self._take_stronger_plan():
                return self._as_many_as_fit(problem, point)
        return problem, point

    def _as_many_as_fit(self, problem: Problem, point: Point) -> tuple[Problem, Point]:
        """The parts that a new plan has room for; the others wait."""
        self._strictness[problem.parts] = 1
        n_parts = problem.parts.size
        at_once = parts_at_once(self._plan, problem.objective.shape, n_parts)
        for start in range(at_once, n_parts, at_once):
            some = (np.arange(n_parts) >= start) & (np.arange(n_parts) < start + at_once)
            self._waiting.append((problem.select(some), point.select(some)))
        first = np.arange(n_parts) < at_once
        return problem.select(first), point.select(first)

    def _unstuck(self) -> tuple[Problem, Point]:
        """Parts that were stuck go on in float64 or with a stronger plan, or leave."""
        parts = np.concatenate([problem.parts for problem, _ in self._stuck])
        chosen = np.zeros(self._values.size, dtype=bool)
        chosen[parts] = True
        problem = self._problem.select(chosen)
        point = self._stuck[0][1]
        if self._values.size > 1:
            order = np.argsort(parts)
            point = Point(*(np.concatenate(arrays)[order] for arrays in zip(*(p for _, p in self._stuck), strict=True)))
        was_coarse, self._stuck, self._stuck_coarsely = self._stuck_coarsely, [], False
        if was_coarse:
            # Others may have gone on to float64 since.
            self._exact = True
            self._strictness[problem.parts] = 1
            return problem, self._evaluate(problem, point.theta)
        if self._take_stronger_plan():
            return self._as_many_as_fit(problem, point)
        unknown = np.isinf(self._gaps[problem.parts])
        if any_of(unknown):
            chosen_problem = problem.select(unknown)
            never = np.full(chosen_problem.parts.size, np.inf)
            point = point.updated(unknown, self._prove(chosen_problem, point.select(unknown), None, never))
        done = self._gaps[problem.parts] <= self._tol
        self._leave(problem, point, done, Outcome.CERTIFIED)
        self._leave(problem, point, ~done, Outcome.STALLED)
        return problem.select(done & False), point.select(done & False)

    def _prove(self, problem: Problem, point: Point, metric: Metric | None, travelled: Array) -> Point:
        """Note bounds on the gaps of some parts. Intercepts may move on the way to them."""
        proved, gaps = prove(problem, point, metric, travelled, self._tol, self._evaluate)
        self._gaps[problem.parts] = gaps
        self._values[problem.parts] = self._history[-1][problem.parts] = proved.values
        return proved

    def _leave(self, problem: Problem, point: Point, parts: Array, outcome: Outcome) -> tuple[Problem, Point]:
        """Note the results of some parts; return the others."""
        if any_of(parts):
            leaving, there = problem.select(parts), point.select(parts)
            if self._values.size == 1:
                self._theta, self._gradient = there.theta, there.gradient
            else:
                self._theta[leaving.parts], self._gradient[leaving.parts] = there.theta, there.gradient
            self._values[leaving.parts] = there.values
            for part in leaving.parts:
                self._outcomes[part] = outcome
        return problem.select(~parts), point.select(~parts)

    def _descend(self, problem: Problem, point: Point, metric: Metric | None, parts: Array) -> tuple[Point, Array]:
        """A stage of L-BFGS for some parts, and which of them go on: all, where any value fell.

        What several parts gain together need not be a gain for each: those that lost stay where they were, and may do
        better once others are done.
        """
        was_exact = self._exact
        chosen, before = problem.select(parts), point.select(parts)
        metric = self._metric_at(chosen, before) if metric is None else metric.select(parts)
        after = self._lbfgs(chosen, before, metric, self._plan.shortest << self._stage)
        self._stage += 1
        fell = after.values < (1 - _NO_FALL) * before.values
        if any_of(fell) and not all_of(fell):
            after = before.updated(fell, after.select(fell))
            self._values[chosen.parts] = self._history[-1][chosen.parts] = after.values
        point = point.updated(parts, after)
        if self._exact and not was_exact:
            return self._evaluate(problem, point.theta), parts | True
        return point, parts & any_of(fell)

    def _take_stronger_plan(self) -> bool:
        """Change to a metric that says more, if there is one."""
        objective = self._problem.objective
        plan = stronger_plan(self._plan, objective.shape, objective.n_parts)
        self._patience = np.inf
        if plan is not None:
            self._plan, self._stage = plan, 0
            self._patience = self._n_evaluations + _PATIENCE * plan.n_evaluations
        return plan is not None

    def _metric_at(self, problem: Problem, point: Point) -> Metric:
        sampled = self._plan.sampled and not (self._finishing and self._plan.kind is Kind.WHOLE)
        return metric_at(problem.objective, point.theta, self._plan.kind, sampled=sampled)

    def _be_exact(self) -> bool:
        """Evaluate in float64 from now on; whether that is new."""
        was_exact, self._exact = self._exact, True
        return not was_exact

    def _best(self, problem: Problem, starts: list[Array]) -> Point:
        """For each part the start with the lowest value; all but the first may be so far off that they have none."""
        best = self._evaluate(problem, starts[0])
        for start in starts[1:]:
            with suppress(ValueError):
                other = self._evaluate(problem, start)
                lower = other.values < best.values
                best = best.updated(lower, other.select(lower)) if any_of(lower) else best
        return best

    def _evaluate(self, problem: Problem, theta: Array, *, finite: bool = True) -> Point:
        theta = theta.copy()
        problem.objective.center(theta)
        values, gradient = problem.objective.value_and_gradient(theta, exact=self._exact)
        self._n_evaluations += 1
        if finite and not (all_of(np.isfinite(values)) and all_of(np.isfinite(gradient))):
            if self._be_exact():
                # Beyond the range of float32.
                return self._evaluate(problem, theta)
            raise ValueError(
                "the objective isn't finite: X holds numbers too large for float64 arithmetic; rescale its columns"
            )
        return Point(theta, values, gradient)

    def _advance(self, problem: Problem, point: Point) -> Point:
        """Count an iteration that ends at a point."""
        self._remaining -= 1
        self._values[problem.parts] = point.values
        self._history.append(self._values.copy())
        return point

    def _are_close(self, problem: Problem, point: Point, metric: Metric | None, share: float = 1.0) -> Array:
        """Whether each part's gap, as far as can be told cheaply, is within a share of what is wanted; or all true."""
        strictness = self._strictness[problem.parts]
        if self._remaining == 0:
            return strictness >= 0
        wanted = share * strictness * point.values
        if not self._certified and metric is not None:
            close = metric.decrements(point.gradient) <= wanted * self._tol
        elif metric is not None and metric.is_exact:
            close = metric.decrements(point.gradient) <= wanted * max(self._plan.near, self._tol)
        elif self._has_penalty:
            # Half of tol is left for what the intercepts add.
            bounds = convexity_bounds(problem.objective, np.abs(point.gradient))
            close = bounds <= wanted * 0.5 * self._tol
        elif metric is not None:
            close = metric.decrements(point.gradient) <= wanted * 1e-3 * self._tol
        else:
            close = strictness < 0
        return np.asarray(close | (strictness < _STRICTEST))

    def _stage_is_over(self, problem: Problem, point: Point, metric: Metric) -> bool:
        """Whether enough parts are close for something better than L-BFGS."""
        if metric.is_sampled_hessian:
            wanted = 0.1 * self._strictness[problem.parts] * point.values * max(self._plan.near, self._tol)
            self._finishing = bool(np.mean(metric.decrements(point.gradient) <= wanted) >= _ENOUGH)
            return self._finishing
        return bool(np.mean(self._are_close(problem, point, metric, share=0.1)) >= _ENOUGH)

    def _lbfgs(self, problem: Problem, start: Point, metric: Metric, max_iter: int) -> Point:
        """Some L-BFGS iterations in the metric's coordinates; the start itself where none succeeds."""
        trial = accepted = start
        # L-BFGS-B's first step has the length 1: let that be the Newton step, damped as the parts need it on average.
        gradient = metric.to_coordinates(start.gradient)
        slopes = np.square(metric.norms_of_coordinates(gradient))
        shares = np.minimum(1.0, _CAUTION * _safe_shares(problem.objective, metric.to_coefficients(gradient)))
        total = slopes.sum()
        unit = float(shares @ slopes / np.sqrt(total)) if total > 0 else 0.0
        memory = max(_LEAST_MEMORY, min(_MEMORY, _MEMORY_SIZE // (2 * start.theta.size)))
        max_iter = min(max_iter, self._plan.longest, self._remaining)

        n_trials = 0

        def value_and_gradient(u: Array) -> tuple[float, Array]:
            nonlocal trial, n_trials
            n_trials += 1
            if not self._exact and n_trials > _COARSE_TRIALS:
                value = accepted.values.sum()
                if abs(trial.values.sum() - value) < _COARSE_CHANGE * value:
                    self._exact = True
                    raise _TooCoarseError
            trial = start if not any_of(u) else self._evaluate(problem, start.theta + metric.to_coefficients(unit * u))
            return float(trial.values.sum()), unit * metric.to_coordinates(trial.gradient)

        def after_iteration(u: Array) -> None:
            # The line search ends at the point that it evaluated last.
            nonlocal accepted, n_trials
            n_trials = 0
            fall = accepted.values.sum() - trial.values.sum()
            accepted = self._advance(problem, trial)
            if not self._exact and fall < _COARSE * trial.values.sum():
                self._exact = True
                raise StopIteration
            if self._stage_is_over(problem, accepted, metric):
                raise StopIteration

        with suppress(_TooCoarseError):
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

    def _newton_steps(
        self, problem: Problem, point: Point, metric: Metric, going: Array
    ) -> tuple[Point, Array, Array, Array, Array]:
        """Newton steps of some parts with one factor while it serves them.

        For each part: their length in the metric's norm; whether nothing is left that further steps would get; whether
        the last step was a whole one; and whether there was one.
        """
        stepping = going
        u = metric.to_coordinates(point.gradient)
        first = metric.norms_of_coordinates(u)
        norms, travelled = first, np.zeros(going.size)
        whole, moved = np.zeros(going.size, dtype=bool), np.zeros(going.size, dtype=bool)
        for _ in range(min(_NEWTON_STEPS, self._remaining)):
            going = going & (norms**2 > _NEGLIGIBLE * point.values)
            if not any_of(going):
                break
            step = -metric.to_coefficients(u)
            after, shares, u = self._newton_step(problem, point, metric, step, norms, going)
            stepped = shares > 0
            whole = np.where(going, shares == 1, whole)
            if not any_of(stepped):
                break
            point, moved = self._advance(problem, after), moved | stepped
            travelled = travelled + shares * norms
            before, norms = norms, metric.norms_of_coordinates(u)
            # For the others a Hessian taken anew will do better.
            going = stepped & (norms < self._plan.useful * before)
        near = first**2 <= 2 * _NEAR * point.values
        settled = (norms**2 <= _NEGLIGIBLE * point.values) | (near & (norms > first / 2))
        return point, travelled, settled & stepping, whole, moved

    def _newton_step(
        self, problem: Problem, point: Point, metric: Metric, step: Array, norms: Array, going: Array
    ) -> tuple[Point, Array, Array]:
        """One step for some parts, the share of it (P,) that was taken, 0 for none, and the gradient by u there.

        The whole step is nearly always right; if not, less and less is tried, down to what is sure to lower F but may
        be short. Not the whole where F wouldn't show how far rows of small weight are thrown.
        """
        objective = problem.objective
        least = np.full(going.size, -1.0)
        shares = np.ones(going.size)
        light = objective.has_light_rows & going
        if any_of(light):
            least[light] = _safe_shares(objective.select(light), _part(step, light))
            shares[light] = np.minimum(1.0, 8 * least[light])
        taken, pending = np.zeros(going.size), going
        while any_of(pending):
            tried, before, share = problem.select(pending), point.select(pending), shares[pending]
            by_row = share if share.size > 1 else share[0]
            theta = before.theta + (_part(step, pending).T * by_row).T
            trial = self._evaluate(tried, theta, finite=False)
            chosen = metric.select(pending)
            u = chosen.to_coordinates(trial.gradient)
            trial_norms = chosen.norms_of_coordinates(u)
            fall, norm = before.values - trial.values, norms[pending]
            # Near the minimum values of F differ by less than their rounding; gradients still tell.
            flat = (trial_norms < norm) & (fall >= -_ROUNDING * before.values)
            good = (fall >= _SUFFICIENT * share * norm**2) | flat
            if all_of(good) and all_of(pending):
                return trial, shares, u
            accepted = pending.copy()
            accepted[pending] = good
            if any_of(accepted):
                point = point.updated(accepted, trial.select(good))
                taken[accepted] = shares[accepted]
            pending = pending & ~accepted
            unknown = pending & (least < 0)
            if any_of(unknown):
                least[unknown] = _safe_shares(objective.select(unknown), _part(step, unknown))
            # After the least there is nothing to try.
            pending = pending & (shares > least)
            shares[pending] = np.maximum(shares[pending] / 4, least[pending])
        return point, taken, metric.to_coordinates(point.gradient)


def _part(theta: Array, parts: Array) -> Array:
    """The rows of some of several parts."""
    return theta if all_of(parts) else theta[parts]


def _safe_shares(objective: Objective, step: Array) -> Array:
    """How much of each part's Newton step (P,) is sure to lower F, given the Hessian itself.

    Along a step that spreads a row's logits by a, F's third derivative is at most a times the second. The share that
    minimises the bound on F that follows is log(1 + a) / a.
    """
    spreads = objective.logit_range(step)
    with np.errstate(all="ignore"):
        return np.where(spreads > 0, np.log1p(spreads) / spreads, 1.0)
