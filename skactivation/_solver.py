r"""The solver: SciPy's L-BFGS in the coordinates of a metric, then Newton steps, then a certificate.

Nothing here trusts a success flag. A minimum is certified by the smaller of two bounds on F - F*, with g the gradient:

* strong convexity, with the intercepts at their minimum: sum_kj g_kj^2 / (2 penalty_j);
* self-concordance (Bach, "Self-concordant analysis for logistic regression", 2010): along any direction h, the third
  derivative is at most S ||h||_H times the second, where S bounds the spread of a row's logits for a step of length 1
  in the norm of the Hessian H. With nu^2 = g^T H^-1 g and a = S nu < 1, F - F* <= (a + (1 - a) log(1 - a)) / S^2.
  After a step of length r in that norm, the new Hessian is at least exp(-S r) H: one H serves several steps.
"""

from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from skactivation._metric import Kind, Metric, cheapest_plan, metric_at, parts_at_once, stronger_plan
from skactivation._objective import Objective

__all__ = ["Outcome", "Solution", "minimize"]

Array = NDArray[Any]

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
# Newton's method on the intercepts alone, damped, gains at least a constant factor a step.
_INTERCEPT_STEPS = 100
# A step of which less than this share was taken ends where the Hessian is another.
_NEARLY_WHOLE = 0.9
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


class _Point(NamedTuple):
    """Coefficients (K, D), the parts' values (P,) and the gradient (K, D) there."""

    theta: Array
    values: Array
    gradient: Array

    def select(self, parts: Array) -> "_Point":
        """Some of several parts; all or nothing of a single one."""
        if _all(parts):
            return self
        return _Point(*(array[parts] if parts.size > 1 else array[:0] for array in self))

    def updated(self, parts: Array, other: "_Point") -> "_Point":
        """With some parts as they are in another point, which has those alone."""
        if _all(parts):
            return other
        arrays = [array.copy() for array in self]
        for array, new in zip(arrays, other, strict=True):
            array[parts] = new
        return _Point(*arrays)


class _TooCoarseError(Exception):
    """float32 doesn't tell which way is down."""


class _Problem(NamedTuple):
    """Some parts of the objective that is minimised, and their numbers in it."""

    objective: Objective
    parts: Array

    def select(self, parts: Array) -> "_Problem":
        """Some of several parts; all or nothing of a single one."""
        if _all(parts):
            return self
        return _Problem(self.objective.select(parts) if _any(parts) else self.objective, self.parts[parts])


def minimize(
    objective: Objective,
    starts: list[Array],
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
    n_groups = -(-n_parts // parts_at_once(objective)) if n_parts > 1 else 1
    groups = np.arange(n_parts) * n_groups // n_parts
    solutions = []
    for group in range(n_groups):
        chosen = groups == group
        some = starts if n_groups == 1 else [start[chosen] for start in starts]
        run = _Run(objective.select(chosen), tol, max_iter, certified, levels[chosen])
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

    def __init__(self, objective: Objective, tol: float, max_iter: int, certified: bool, levels: Array) -> None:
        self._problem = _Problem(objective, np.arange(objective.n_parts))
        self._certified = certified
        self._levels = levels
        self._has_penalty = objective.has_penalty
        self._plan, _ = cheapest_plan(objective)
        # Evaluations after which another plan is tried.
        self._patience: float = _PATIENCE * self._plan.n_evaluations
        # float32 data are evaluated in float32 until a proof is at stake.
        self._exact = bool(objective.rows.dtype == np.float64)
        self._tol = tol
        self._strictness = np.ones(objective.n_parts)
        self._stage = 0
        # Whether parts are so near their minima that a sample won't do for a metric.
        self._finishing = False
        self._remaining = max_iter
        self._max_iter = max_iter
        self._n_evaluations = 0
        # Parts on which nothing more could be done with the plan as it was, and the points that they had reached.
        self._stuck: list[tuple[_Problem, _Point]] = []
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
            if not problem.parts.size and self._stuck:
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

    def _round(self, problem: _Problem, point: _Point) -> tuple[_Problem, _Point]:
        """A metric, Newton steps, proofs, a stage of L-BFGS, as far as each part needs them; the parts that go on."""
        self._gaps[problem.parts] = np.inf
        # Where the penalty gives a proof, whether it does is known without a metric.
        needs_metric = self._plan.kind is Kind.WHOLE or not self._has_penalty or not self._certified
        metric = self._metric_at(problem, point) if needs_metric else None
        none = np.zeros(problem.parts.size, dtype=bool)
        # A Hessian that rounding may have made says little about rows of small weight.
        newton = none if metric is None or not self._plan.newton else metric.bounds_hessian
        close = self._are_close(problem, point, metric)
        if not self._certified and _any(close):
            problem, point = self._leave(problem, point, close, Outcome.ESTIMATED)
            if _all(close):
                return problem, point
            metric, newton = None if metric is None else metric.select(~close), newton[~close]
            none = close = newton & False
        travelled, whole, moved = np.zeros(problem.parts.size), none, none
        if self._certified:
            close = close & ~newton
        if metric is not None and metric.is_exact and _any(close) and self._be_exact():
            # Newton steps to the last digit need them all.
            point = self._evaluate(problem, point.theta)
        if metric is not None and metric.is_exact and _any(close | newton):
            stepping = close | newton
            # Steps are taken to the last digit: they are cheaper than a proof that fails.
            point, travelled, settled, whole, moved = self._newton_steps(problem, point, metric, stepping)
            close = np.where(stepping, settled | ~moved | (self._remaining == 0), close)
        if _any(close) and self._be_exact():
            return problem, self._evaluate(problem, point.theta)
        if _any(close):
            chosen = problem.select(close)
            part = None if metric is None else metric.select(close)
            proved, gaps = self._prove(chosen, point.select(close), part, travelled[close])
            point = point.updated(close, proved)
            self._gaps[chosen.parts] = gaps
            self._strictness[chosen.parts] *= _STRICTER
        done = self._gaps[problem.parts] <= self._tol
        separated = ~done & (point.values < self._levels[problem.parts])
        leaves = done | separated
        if _any(leaves):
            stays = ~leaves
            remaining = problem.select(stays), point.select(stays)
            self._leave(problem, point, done, Outcome.CERTIFIED)
            self._leave(problem, point, separated, Outcome.SEPARATED)
            (problem, point), newton, whole, moved = remaining, newton[stays], whole[stays], moved[stays]
            if not _any(stays):
                return problem, point
            metric = None if metric is None else metric.select(stays)
        if self._remaining == 0:
            return self._leave(problem, point, moved | True, Outcome.MAX_ITER)
        # Where only a part of Newton's step was any good, a line search knows better.
        descends = (self._strictness[problem.parts] >= _STRICTEST) & ~(newton & whole)
        if _any(descends):
            point, fell = self._descend(problem, point, metric, descends)
            moved = moved | fell
        if not _all(moved):
            self._stuck.append((problem.select(~moved), point.select(~moved)))
            problem, point = problem.select(moved), point.select(moved)
        if problem.parts.size and self._n_evaluations >= self._patience:
            if self._be_exact():
                return problem, self._evaluate(problem, point.theta)
            self._take_stronger_plan()
        return problem, point

    def _unstuck(self) -> tuple[_Problem, _Point]:
        """Parts that were stuck go on in float64 or with a stronger plan, or leave."""
        parts = np.concatenate([problem.parts for problem, _ in self._stuck])
        chosen = np.zeros(self._values.size, dtype=bool)
        chosen[parts] = True
        problem = self._problem.select(chosen)
        point = self._stuck[0][1]
        if self._values.size > 1:
            order = np.argsort(parts)
            point = _Point(*(np.concatenate(arrays)[order] for arrays in zip(*(p for _, p in self._stuck), strict=True)))
        self._stuck = []
        if self._be_exact():
            return problem, self._evaluate(problem, point.theta)
        if self._take_stronger_plan():
            return problem, point
        unknown = np.isinf(self._gaps[problem.parts])
        if _any(unknown):
            chosen_problem = problem.select(unknown)
            never = np.full(chosen_problem.parts.size, np.inf)
            proved, gaps = self._prove(chosen_problem, point.select(unknown), None, never)
            self._gaps[chosen_problem.parts] = gaps
            point = point.updated(unknown, proved)
        done = self._gaps[problem.parts] <= self._tol
        self._leave(problem, point, done, Outcome.CERTIFIED)
        self._leave(problem, point, ~done, Outcome.STALLED)
        return problem.select(done & False), point.select(done & False)

    def _leave(
        self, problem: _Problem, point: _Point, parts: Array, outcome: Outcome
    ) -> tuple[_Problem, _Point]:
        """Note the results of some parts; return the others."""
        if _any(parts):
            leaving, there = problem.select(parts), point.select(parts)
            if self._values.size == 1:
                self._theta, self._gradient = there.theta, there.gradient
            else:
                self._theta[leaving.parts], self._gradient[leaving.parts] = there.theta, there.gradient
            self._values[leaving.parts] = there.values
            for part in leaving.parts:
                self._outcomes[part] = outcome
        return problem.select(~parts), point.select(~parts)

    def _descend(
        self, problem: _Problem, point: _Point, metric: Metric | None, parts: Array
    ) -> tuple[_Point, Array]:
        """A stage of L-BFGS for some parts, and for which there was progress.

        Iterations that leave a value as it was are none. What several parts gain together need not be a gain for each:
        those that lost stay where they were, and may do better once others are done.
        """
        was_exact = self._exact
        chosen, before = problem.select(parts), point.select(parts)
        metric = self._metric_at(chosen, before) if metric is None else metric.select(parts)
        after = self._lbfgs(chosen, before, metric, self._plan.shortest << self._stage)
        self._stage += 1
        fell = after.values < (1 - _NO_FALL) * before.values
        if _any(fell) and not _all(fell):
            after = before.updated(fell, after.select(fell))
            self._values[chosen.parts] = self._history[-1][chosen.parts] = after.values
        point = point.updated(parts, after)
        if self._exact and not was_exact:
            return self._evaluate(problem, point.theta), parts | True
        return point, parts & _any(fell)

    def _take_stronger_plan(self) -> bool:
        """Change to a metric that says more, if there is one."""
        objective = self._problem.objective
        plan = stronger_plan(self._plan, objective.shape, objective.n_parts)
        self._patience = np.inf
        if plan is not None:
            self._plan, self._stage = plan, 0
            self._patience = self._n_evaluations + _PATIENCE * plan.n_evaluations
        return plan is not None

    def _metric_at(self, problem: _Problem, point: _Point) -> Metric:
        sampled = self._plan.sampled and not (self._finishing and self._plan.kind is Kind.WHOLE)
        return metric_at(problem.objective, point.theta, self._plan.kind, sampled=sampled)

    def _be_exact(self) -> bool:
        """Evaluate in float64 from now on; whether that is new."""
        was_exact, self._exact = self._exact, True
        return not was_exact

    def _best(self, problem: _Problem, starts: list[Array]) -> _Point:
        """For each part the start with the lowest value; all but the first may be so far off that they have none."""
        best = self._evaluate(problem, starts[0])
        for start in starts[1:]:
            with suppress(ValueError):
                other = self._evaluate(problem, start)
                lower = other.values < best.values
                best = best.updated(lower, other.select(lower)) if _any(lower) else best
        return best

    def _evaluate(self, problem: _Problem, theta: Array, *, finite: bool = True) -> _Point:
        theta = theta.copy()
        problem.objective.center(theta)
        values, gradient = problem.objective.value_and_gradient(theta, exact=self._exact)
        self._n_evaluations += 1
        if finite and not (_all(np.isfinite(values)) and _all(np.isfinite(gradient))):
            if self._be_exact():
                # Beyond the range of float32.
                return self._evaluate(problem, theta)
            raise ValueError(
                "the objective isn't finite: X holds numbers too large for float64 arithmetic; rescale its columns"
            )
        return _Point(theta, values, gradient)

    def _advance(self, problem: _Problem, point: _Point) -> _Point:
        """Count an iteration that ends at a point."""
        self._remaining -= 1
        self._values[problem.parts] = point.values
        self._history.append(self._values.copy())
        return point

    def _are_close(self, problem: _Problem, point: _Point, metric: Metric | None, share: float = 1.0) -> Array:
        """Whether each part's gap, as far as can be told cheaply, is within a share of what is wanted; or all is tried."""
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
            bounds = _convexity_bounds(problem.objective, np.abs(point.gradient))
            close = bounds <= wanted * 0.5 * self._tol
        elif metric is not None:
            close = metric.decrements(point.gradient) <= wanted * 1e-3 * self._tol
        else:
            close = strictness < 0
        return np.asarray(close | (strictness < _STRICTEST))

    def _stage_is_over(self, problem: _Problem, point: _Point, metric: Metric) -> bool:
        """Whether enough parts are close for something better than L-BFGS."""
        if metric.is_sampled_hessian:
            wanted = 0.1 * self._strictness[problem.parts] * point.values * max(self._plan.near, self._tol)
            self._finishing = bool(np.mean(metric.decrements(point.gradient) <= wanted) >= _ENOUGH)
            return self._finishing
        return bool(np.mean(self._are_close(problem, point, metric, share=0.1)) >= _ENOUGH)

    def _lbfgs(self, problem: _Problem, start: _Point, metric: Metric, max_iter: int) -> _Point:
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
            trial = start if not _any(u) else self._evaluate(problem, start.theta + metric.to_coefficients(unit * u))
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
        self, problem: _Problem, point: _Point, metric: Metric, going: Array
    ) -> tuple[_Point, Array, Array, Array, Array]:
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
            if not _any(going):
                break
            step = -metric.to_coefficients(u)
            after, shares, u = self._newton_step(problem, point, metric, step, norms, going)
            stepped = shares > 0
            whole = np.where(going, shares == 1, whole)
            if not _any(stepped):
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
        self, problem: _Problem, point: _Point, metric: Metric, step: Array, norms: Array, going: Array
    ) -> tuple[_Point, Array, Array]:
        """One step for some parts, the share of it (P,) that was taken, 0 for none, and the gradient by u there.

        The whole step is nearly always right; if not, less and less is tried, down to what is sure to lower F but may
        be short. Not the whole where F wouldn't show how far rows of small weight are thrown.
        """
        objective = problem.objective
        least = np.full(going.size, -1.0)
        shares = np.ones(going.size)
        light = objective.has_light_rows & going
        if _any(light):
            least[light] = _safe_shares(objective.select(light), _part(step, light))
            shares[light] = np.minimum(1.0, 8 * least[light])
        taken, pending = np.zeros(going.size), going
        while _any(pending):
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
            if _all(good) and _all(pending):
                return trial, shares, u
            accepted = pending.copy()
            accepted[pending] = good
            if _any(accepted):
                point = point.updated(accepted, trial.select(good))
                taken[accepted] = shares[accepted]
            pending = pending & ~accepted
            unknown = pending & (least < 0)
            if _any(unknown):
                least[unknown] = _safe_shares(objective.select(unknown), _part(step, unknown))
            # After the least there is nothing to try.
            pending = pending & (shares > least)
            shares[pending] = np.maximum(shares[pending] / 4, least[pending])
        return point, taken, metric.to_coordinates(point.gradient)

    def _prove(
        self, problem: _Problem, point: _Point, metric: Metric | None, travelled: Array
    ) -> tuple[_Point, Array]:
        """Bound the relative gap of each part, given how far from the point where the metric was taken it is.

        Intercepts may move on the way to a bound.
        """
        objective, values = problem.objective, point.values
        wanted = self._tol * values
        gaps, best = np.full(values.size, np.inf), point
        bounded = np.zeros(values.size, dtype=bool) if metric is None else metric.bounds_hessian
        norms = np.zeros(values.size) if metric is None else metric.norms(point.gradient)

        def by_concordance(spreads: Array, parts: Array) -> Array:
            # The Hessian here is at least exp(-S r) times the metric's.
            growth = np.exp(0.5 * spreads * travelled[parts])
            return _self_concordance_gaps(spreads * growth, norms[parts] * growth)

        if metric is not None and _any(bounded):
            # Next to the minimum, a bound on S that needs no look at the rows will do.
            spreads = objective.crude_logit_range(metric.select(bounded).longest_steps())
            gaps[bounded] = by_concordance(spreads, bounded)
        if self._has_penalty:
            promising = _convexity_bounds(objective, np.abs(point.gradient)) <= wanted
            best, gaps = self._try_strong_convexity(problem, best, gaps, promising & ~(gaps <= wanted))
        todo = bounded & ~(gaps <= wanted)
        if metric is not None and _any(todo):
            spreads = objective.select(todo).largest_logit_range(metric.select(todo).inverse())
            closer = np.full(values.size, np.inf)
            closer[todo] = by_concordance(spreads, todo)
            better = closer < gaps
            if _any(better):
                best, gaps = best.updated(better, point.select(better)), np.where(better, closer, gaps)
        if self._has_penalty and _any(np.isinf(gaps)):
            best, gaps = self._try_strong_convexity(problem, best, gaps, np.isinf(gaps))
        # No bound is worth more than the rounding of the value itself.
        with np.errstate(all="ignore"):
            relative = np.where(best.values > 0, gaps / best.values, 0.0)
        return best, relative + objective.rounding_of_value(best.theta)

    def _try_strong_convexity(
        self, problem: _Problem, point: _Point, gaps: Array, parts: Array
    ) -> tuple[_Point, Array]:
        """Points and gaps, improved for some parts where the bound by strong convexity is the better one."""
        if not _any(parts):
            return point, gaps
        other, others_gaps = self._strong_convexity_gaps(problem.select(parts), point.select(parts))
        better = parts.copy()
        better[parts] = others_gaps < gaps[parts]
        if not _any(better):
            return point, gaps
        gaps = gaps.copy()
        gaps[better] = others_gaps[better[parts]]
        return point.updated(better, other.select(better[parts])), gaps

    def _strong_convexity_gaps(self, problem: _Problem, point: _Point) -> tuple[_Point, Array]:
        """The bounds by strong convexity in the coefficients, once the intercepts are near their minimum.

        What is left to their minimum is bounded by self-concordance: a gap of its own, and a drift of the other
        derivatives. Over a step of length r in the norm of the intercepts' Hessian, the derivative by theta_kj changes
        by at most exp(S r) r sqrt(H_kj,kj), by the inequality of Cauchy and Schwarz.
        """
        objective, n_parts = problem.objective, problem.parts.size
        if (objective.penalty[:, -1] > 0).all():
            return point, _convexity_bounds(objective, np.abs(point.gradient))
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
                own = _convexity_bounds(objective, np.abs(point.gradient))
                drifted = np.abs(point.gradient).reshape(numbers.size, -1) + drift[:, np.newaxis]
                bounds = _convexity_bounds(objective, drifted.reshape(objective.shape))
                bounds = bounds + _self_concordance_gaps(spreads, norms)
            bounds = np.where(spreads * norms < 1, bounds, np.inf)
            wanted = np.maximum(self._tol * point.values, 2 * own)
            ends = (bounds <= wanted) | ~(norms < best / 2)
            if _any(ends):
                ended = np.zeros(n_parts, dtype=bool)
                ended[numbers[ends]] = True
                result, gaps[ended] = result.updated(ended, point.select(ends)), bounds[ends]
                stays = ~ends
                problem, point, inverse = problem.select(stays), point.select(stays), inverse[stays]
                objective, numbers, best, norms = problem.objective, numbers[stays], best[stays], norms[stays]
                steps, travelled = steps[stays], travelled[stays]
                if not _any(stays):
                    return result, gaps
            best = norms
            widths = objective.intercept_range(steps.ravel())
            with np.errstate(all="ignore"):
                shares = np.where(widths > 0, np.log1p(widths) / widths, 1.0)
            theta = point.theta.copy()
            theta[:, -1] -= (shares[:, np.newaxis] * steps).ravel()
            point = self._evaluate(problem, theta)
            self._values[problem.parts] = self._history[-1][problem.parts] = point.values
            travelled = travelled + shares * norms
            if (shares < _NEARLY_WHOLE).any():
                inverse = None
        left = np.zeros(n_parts, dtype=bool)
        left[numbers] = True
        return result.updated(left, point), gaps


def _any(parts: Array) -> bool:
    """Whether a mask of parts has any; quicker than the method, which matters for small data."""
    return np.count_nonzero(parts) > 0


def _all(parts: Array) -> bool:
    """Whether it has all of them."""
    return np.count_nonzero(parts) == parts.size


def _part(theta: Array, parts: Array) -> Array:
    """The rows of some of several parts."""
    return theta if _all(parts) else theta[parts]


def _safe_shares(objective: Objective, step: Array) -> Array:
    """How much of each part's Newton step (P,) is sure to lower F, given the Hessian itself.

    Along a step that spreads a row's logits by a, F's third derivative is at most a times the second. The share that
    minimises the bound on F that follows is log(1 + a) / a.
    """
    spreads = objective.logit_range(step)
    with np.errstate(all="ignore"):
        return np.where(spreads > 0, np.log1p(spreads) / spreads, 1.0)


def _convexity_bounds(objective: Objective, derivatives: Array) -> Array:
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
        if not _all(np.isfinite(hessian)):
            continue
        with suppress(np.linalg.LinAlgError):
            factor = np.linalg.cholesky(hessian - 1e-12 * np.eye(len(hessian)))
            inverse_factor = np.linalg.inv(factor) * scale
            inverse[:] = inverse_factor.T @ inverse_factor
    return inverses


def _self_concordance_gaps(spreads: Array, norms: Array) -> Array:
    """What self-concordance allows for steps that spread logits by at most so much, and norms of the gradient."""
    with np.errstate(all="ignore"):
        a = spreads * norms
        # The series a^2/2 + a^3/6 + a^4/12 + ..., bounded, where the closed form cancels.
        series = 0.5 * norms**2 * (1 + a)
        gaps = np.where(a < 1e-3, series, (a + (1 - a) * np.log1p(-a)) / spreads**2)
    return np.where(a < 1, gaps, np.inf)
