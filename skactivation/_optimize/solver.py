"""The solver: P problems, each in one phase at a time. Only this file knows the order of the phases.

A round takes the active problems through five stages: a preconditioner for all, Newton steps and a certificate for
those near their minimum, retirement of those that are done, a stage of L-BFGS for the others. Evaluations are in single
precision, where the objective offers it, until a certificate needs double precision. Nothing here trusts a success
flag.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from skactivation._optimize.certificate import certify
from skactivation._optimize.lbfgs import lbfgs_stage
from skactivation._optimize.masks import ALL, all_of, any_of
from skactivation._optimize.newton import NEGLIGIBLE, newton_steps
from skactivation._optimize.objective import Curvature, Objective, Sample
from skactivation._optimize.preconditioner import Preconditioner, precondition
from skactivation._optimize.problems import (
    Evaluate,
    ObserverOfGroups,
    Outcome,
    Point,
    Progress,
    SinglePrecisionError,
    Solution,
)
from skactivation._optimize.stopping_rule import StoppingRule
from skactivation._optimize.strategy import Strategy, problems_at_once, sample_size, stronger_strategy
from skactivation._typing import Array

# How many times the usual number of evaluations a strategy may take before a stronger one replaces it. Smaller numbers
# give up strategies that would have done, larger ones waste evaluations.
_PATIENCE = 3
# Hessians that Newton's method takes before anything else is looked at, where all problems get on with it.
_HESSIANS = 10
# Newton steps with the Hessian of a sample end where it is expected to certify so much of tol: its factor is uncertain.
_MARGIN = 1e-3
# Falls of F by less than this, relative to it, are none.
_NO_FALL = 1e-15


class Phase:
    """What a problem needs next: plain numbers, since looking up members of an Enum would slow down small fits."""

    WAITING = 0
    """For memory: preconditioners of only so many problems fit at a time."""
    PRECONDITION = 1
    NEWTON = 2
    CERTIFY = 3
    DESCEND = 4
    STALLED = 5
    """No stage lowers its value. Once all others are done, double precision or another strategy is tried."""
    DONE = 6


_ACTIVE = {Phase.PRECONDITION, Phase.NEWTON, Phase.CERTIFY, Phase.DESCEND}


def minimize(
    objective: Objective,
    starts: list[Array],
    strategy: Strategy,
    *,
    tol: float,
    max_iter: int,
    separated_below: Any = 0.0,
    certified: bool = True,
    expected: Array | None = None,
    sample: Sample | None = None,
    observe: Callable[[Progress], bool] | None = None,
) -> Solution:
    """Minimise each problem of an objective until its relative optimality gap is certified to be at most tol.

    Parameters
    ----------
    objective : Objective
        P problems.
    starts : list of ndarray of shape (P, K, D)
        Each problem starts from the best of them. All but the first may be useless.
    strategy : Strategy
        How to begin; a stronger one follows where it does not get on.
    tol : float
        Relative optimality gap.
    max_iter : int
        Most iterations.
    separated_below : float or ndarray of shape (P,)
        A value below it shows that the infimum is 0 and is not reached.
    certified : bool
        Whether a certificate is asked for; if not, the preconditioner's estimate of the gap is enough to stop.
    expected : ndarray of shape (P,) or None
        About the values at the first start. If those at another one are lower, the first one is not evaluated.
    sample : Sample or None
        A sample of the rows, if there is one already.
    observe : callable or None
        Told of each iteration; the minimisation ends there if it returns true.

    Returns
    -------
    Solution
        With an outcome for each problem.
    """
    n_problems = objective.shape[0]
    levels = np.zeros(n_problems) + separated_below
    n_groups = -(-n_problems // problems_at_once(strategy, objective.shape))
    groups = np.arange(n_problems) * n_groups // n_problems
    solutions = []
    of_groups = None if observe is None or n_groups == 1 else ObserverOfGroups(observe, starts[0])
    for group in range(n_groups):
        chosen: Any = groups == group if n_groups > 1 else ALL
        run = _Run(objective.select(chosen), strategy, tol, max_iter, certified, levels[chosen])
        run.sample = None if sample is None else sample.select(chosen)
        run.observe = observe if of_groups is None else of_groups.of(chosen)
        some = None if expected is None else expected[chosen]
        solutions.append(run.solve([start[chosen] for start in starts], some))
    return solutions[0] if n_groups == 1 else Solution.joined(solutions)


class _Run:
    """One minimisation: where each of the P problems is, in which phase, and what has been spent."""

    def __init__(
        self, objective: Objective, strategy: Strategy, tol: float, max_iter: int, certified: bool, levels: Array
    ) -> None:
        n_problems = objective.shape[0]
        self.objective, self.strategy = objective.in_single_precision(), strategy
        self.max_iter, self.levels, self.separable = max_iter, levels, any_of(levels > 0)
        self.rule = StoppingRule(n_problems, tol=tol, certified=certified)
        self.evaluate = Evaluate()
        self.n_iterations, self.n_stages = 0, 0
        # Evaluations after which another strategy is tried.
        self.patience: float = _PATIENCE * strategy.n_evaluations
        # A sample of the rows, once it is drawn; whether certificates need Hessians of all rows.
        self.sample: Sample | None = None
        self.needs_all_rows = False
        self.observe: Callable[[Progress], bool] | None = None
        self.is_stopped = False
        # A preconditioner of all problems that serves another stage of L-BFGS, if there is one.
        self.serving: Preconditioner | None = None
        # Of each problem: the phase, the outcome, the certified gap.
        self.phase = np.full(n_problems, Phase.WAITING)
        self.outcomes = [Outcome.STALLED] * n_problems
        self.gaps = np.full(n_problems, np.inf)
        # Of each problem, in this round: whether it takes Newton steps wherever it is; what these did; how far it has
        # moved from where the preconditioner was taken.
        self.by_newton, self.whole, self.moved = np.zeros((3, n_problems), dtype=bool)
        self.travelled = np.zeros(n_problems)
        # Of each problem: the length of its next Newton step, relative to a whole one.
        self.lengths = np.ones(n_problems)
        # The preconditioner of the problems of this round, given by a mask or ALL.
        self.preconditioner: Preconditioner | None = None
        self.of_this_round: Any = ALL

    def solve(self, starts: list[Array], expected: Array | None) -> Solution:
        # The first Hessian, which several problems share, costs hardly anything.
        with_hessian = self.strategy.newton and self.phase.size == 1
        try:
            self.point = self.evaluate.best(self.objective, starts, expected, with_hessian=with_hessian)
        except SinglePrecisionError:
            self.objective = self.objective.in_double_precision()
            self.point = self.evaluate.best(self.objective, starts, expected)
        self.values = self.point.values.copy()
        self.history = [self.values.copy()]
        while self._admit():
            self._advance(Phase.PRECONDITION, self._precondition)
            self._advance(Phase.NEWTON, self._newton)
            self._advance(Phase.CERTIFY, self._certify)
            self._retire()
            self._advance(Phase.DESCEND, self._descend)
            self._lose_patience()
        return Solution(
            theta=self.point.theta,
            values=self.values,
            gradient=self.point.gradient,
            gaps=self.gaps,
            outcomes=self.outcomes,
            n_iterations=self.n_iterations,
            n_evaluations=self.evaluate.n_evaluations,
            history=np.array(self.history),
        )

    def _advance(self, phase: int, stage: Callable[[Any], Any]) -> None:
        """Let the problems of a phase go through its stage, which returns their next phases."""
        phases = self.phase.tolist()
        if phase in phases:
            problems = self.phase == phase if phases.count(phase) < len(phases) else ALL
            self.phase[problems] = stage(problems)

    # The stages. Each gets its problems, a mask (P,) or ALL, and returns their next phases, (p,) or one for all.

    def _precondition(self, problems: Any) -> Any:
        """Make a preconditioner, and tell from it what each problem needs."""
        objective, point = self.objective.select(problems), self.point.select(problems)
        self.gaps[problems], self.travelled[problems] = np.inf, 0
        self.whole[problems] = self.moved[problems] = False
        strategy = self.strategy
        # Where the penalty gives a certificate, whether it does is known without a preconditioner.
        needed = strategy.curvature is Curvature.WHOLE or not objective.is_strongly_convex or not self.rule.certified
        self.of_this_round = problems
        self.preconditioner = made = self._preconditioner_at(problems, objective, point) if needed else None
        # A Hessian that may be no more than rounding says little about rows of tiny weight.
        by_newton = made.bounds_hessian if made is not None and strategy.newton else np.zeros(len(point.values), bool)
        self.by_newton[problems] = by_newton
        if not self.rule.certified:
            close = self._are_close(problems, point, made)
            self._finish(problems, close, Outcome.ESTIMATED)
            return np.where(close, Phase.DONE, np.where(by_newton, Phase.NEWTON, Phase.DESCEND))
        if all_of(by_newton):
            # Newton steps show by themselves when they are done.
            return Phase.NEWTON
        close = self._are_close(problems, point, made)
        near = Phase.NEWTON if made is not None and made.certifies else Phase.CERTIFY
        return np.where(by_newton, Phase.NEWTON, np.where(close, near, Phase.DESCEND))

    def _newton(self, problems: Any) -> Any:
        """Newton steps to the last digit: they are cheaper than a certificate that fails."""
        by_newton = self.by_newton[problems]
        if not all_of(by_newton):
            self._switch_to_double()
        preconditioner = self._preconditioner_of(problems)
        together = problems is ALL and all_of(by_newton)
        negligible = NEGLIGIBLE if preconditioner.share == 1 else _MARGIN * preconditioner.share * self.rule.tol
        steps = newton_steps(
            self.objective.select(problems),
            self.point.select(problems),
            preconditioner,
            self.evaluate,
            self.lengths[problems].tolist(),
            useful=self.strategy.useful,
            max_iter=self.max_iter - self.n_iterations,
            advance=lambda point: self._count_iteration(problems, point),
            n_hessians=_HESSIANS if together else 1,
            negligible=negligible if self.rule.certified else self.rule.tol,
        )
        if together:
            self.preconditioner = steps.preconditioner
        self.point = self.point.replaced(problems, steps.point)
        self.travelled[problems], self.moved[problems] = steps.travelled, steps.moved
        self.whole[problems], self.lengths[problems] = steps.whole, steps.next_lengths
        exhausted = self.n_iterations == self.max_iter
        settled = np.array([s or not m or exhausted for s, m in zip(steps.settled, steps.moved, strict=True)])
        after = Phase.CERTIFY
        if not self.rule.certified:
            # What a further step would gain is known from the Hessian.
            settled, after = np.array(steps.settled), Phase.DONE
            self._finish(problems, settled, Outcome.ESTIMATED)
        if all_of(settled):
            return after
        # Where only part of a step of Newton's method was good, the line search of L-BFGS does better.
        stays = (by_newton & steps.whole) | self.rule.is_exhausted(problems)
        goes_on = np.where(stays, Phase.PRECONDITION, Phase.DESCEND)
        return np.where(settled, after, goes_on)

    def _certify(self, problems: Any) -> Any:
        """Certificates of the optimality gap. Intercepts may move on the way to them."""
        if self.n_iterations == self.max_iter:
            self._switch_to_double()  # a new round could do nothing that this one can't
        elif self._restart_in_double():
            return Phase.PRECONDITION
        point, gaps = certify(
            self.objective.select(problems),
            self.point.select(problems),
            self._preconditioner_of(problems),
            self.travelled[problems],
            self.rule.tol,
            self.evaluate,
        )
        self._correct_values(problems, point)
        self.gaps[problems] = gaps
        self.rule.be_stricter(problems)
        certified = gaps <= self.rule.tol
        self.needs_all_rows = self.needs_all_rows or not all_of(certified)
        self._finish(problems, certified, Outcome.CERTIFIED)
        descends = ~self.rule.is_exhausted(problems) & ~(self.by_newton & self.whole)[problems]
        goes_on = self.moved[problems] | (self.n_iterations == self.max_iter)
        goes_on = np.where(goes_on, Phase.PRECONDITION, Phase.STALLED)
        return np.where(certified, Phase.DONE, np.where(descends, Phase.DESCEND, goes_on))

    def _retire(self) -> None:
        """Finish the problems without an optimum, and all of them where there are no iterations left."""
        if not self.separable and self.n_iterations < self.max_iter:
            return
        active = self._active()
        separated = (active | (self.phase == Phase.STALLED)) & (self.point.values < self.levels)
        if any_of(separated):
            if self._restart_in_double():
                return
            self._finish(separated, ALL, Outcome.SEPARATED)
            active &= ~separated
        if self.n_iterations == self.max_iter and any_of(active):
            self._finish(active, ALL, Outcome.STOPPED if self.is_stopped else Outcome.MAX_ITER)

    def _descend(self, problems: Any) -> Any:
        """A stage of L-BFGS. All go on if any value fell; those whose value did not fall stay where they were."""
        objective, before = self.objective.select(problems), self.point.select(problems)
        made, self.serving = self._preconditioner_to_descend(problems, objective, before), None
        longest, begun = min(self.strategy.longest, self.strategy.shortest << self.n_stages), self.n_iterations
        self.n_stages += 1
        after, needs_double = lbfgs_stage(
            objective,
            before,
            made,
            self.evaluate,
            max_iter=min(longest, self.max_iter - self.n_iterations),
            advance=lambda point: self._count_iteration(problems, point),
            is_over=lambda point: self._stage_is_over(problems, objective, point, made),
        )
        if made.is_sampled_hessian and not made.certifies and self._stage_is_over(problems, objective, after, made):
            self.needs_all_rows = True
        fell = after.values < (1 - _NO_FALL) * before.values
        if any_of(fell) and not all_of(fell):
            after = before.replaced(fell, after.select(fell))
        self._correct_values(problems, after)
        if needs_double and self._restart_in_double():
            # What has served only a few iterations serves on.
            if self.preconditioner is None and problems is ALL and 2 * (self.n_iterations - begun) <= longest:
                self.serving = made
            return Phase.PRECONDITION
        goes_on = any_of(fell) | self.moved[problems]
        return np.where(goes_on, Phase.PRECONDITION, Phase.STALLED)

    # What the stages work with.

    def _are_close(self, problems: Any, point: Point, preconditioner: Preconditioner | None) -> Array:
        """Whether each problem is close enough to its minimum for a certificate, (p,), or has no iterations left."""
        if self.n_iterations == self.max_iter:
            return np.ones(len(point.values), dtype=bool)
        return self.rule.are_close(problems, self.objective.select(problems), point, preconditioner, self.strategy.near)

    def _stage_is_over(self, problems: Any, objective: Objective, point: Point, preconditioner: Preconditioner) -> bool:
        """Whether enough problems are close for something better than L-BFGS, or no iterations are left."""
        near = self.strategy.near
        if self.n_iterations == self.max_iter:
            return True
        if preconditioner.is_sampled_hessian:
            return self.rule.enough_are_near(problems, point, preconditioner)
        return self.rule.enough_are_close(problems, objective, point, preconditioner, near)

    def _preconditioner_to_descend(self, problems: Any, objective: Objective, point: Point) -> Preconditioner:
        """One that serves on, that of this round, or a new one."""
        made = self._preconditioner_of(problems) if self.serving is None else self.serving.select(problems)
        return made or self._preconditioner_at(problems, objective, point)

    def _preconditioner_at(self, problems: Any, objective: Objective, point: Point) -> Preconditioner:
        curvature, sampled = self.strategy.curvature, self.strategy.sampled
        if self.needs_all_rows and curvature is Curvature.WHOLE:
            sampled = False
        sample = self._sample(problems) if sampled else None
        return precondition(objective, point.theta, curvature, sample=sample, hessian=point.hessian)

    def _sample(self, problems: Any) -> Sample:
        """A sample of the rows, which is drawn once, with some of the problems."""
        if self.sample is None:
            self.sample = self.objective.sample(self.point.theta, sample_size(self.objective.shape))
        return self.sample.select(problems)

    def _preconditioner_of(self, problems: Any) -> Any:
        """That of some of the problems of this round; None where there is none."""
        if self.preconditioner is None or problems is ALL:
            return self.preconditioner
        return self.preconditioner.select(problems[self.of_this_round])

    # Changes of what all problems share.

    def _admit(self) -> bool:
        """Once no problem is active, let as many in as there is room for; whether any is active then."""
        phases = set(self.phase.tolist())
        if not _ACTIVE.isdisjoint(phases):
            return True
        if Phase.WAITING not in phases and Phase.STALLED in phases:
            self._rescue(self.phase == Phase.STALLED)
        waiting = np.flatnonzero(self.phase == Phase.WAITING)
        n_admitted = problems_at_once(self.strategy, (waiting.size, *self.objective.shape[1:]))
        self.phase[waiting[:n_admitted]] = Phase.PRECONDITION
        return bool(waiting.size)

    def _rescue(self, stalled: Array) -> None:
        """Try what is left for stalled problems: double precision, a stronger strategy, a last certificate."""
        if self._switch_to_double() or self._take_stronger_strategy():
            self._start_anew(stalled)
            return
        unknown = stalled & np.isinf(self.gaps)
        if any_of(unknown):
            self.preconditioner = None
            self._certify(unknown)
        certified = (self.gaps <= self.rule.tol)[stalled]
        self._finish(stalled, certified, Outcome.CERTIFIED)
        self._finish(stalled, ~certified, Outcome.STALLED)

    def _lose_patience(self) -> None:
        """Change to double precision, or to a stronger strategy, where one takes too many evaluations."""
        if self.evaluate.n_evaluations < self.patience:
            return
        active = self._active()
        if any_of(active) and not self._restart_in_double() and self._take_stronger_strategy():
            self._start_anew(active)

    def _take_stronger_strategy(self) -> bool:
        """Change to a strategy whose preconditioner says more; whether there is one."""
        stronger = stronger_strategy(self.strategy, self.objective)
        self.patience = np.inf
        if stronger is not None:
            self.strategy, self.n_stages, self.serving = stronger, 0, None
            self.patience = self.evaluate.n_evaluations + _PATIENCE * stronger.n_evaluations
        return stronger is not None

    def _switch_to_double(self) -> bool:
        """Evaluate unfinished problems in double precision from now on; return whether that is a change."""
        if not self.objective.is_single:
            return False
        self.objective = self.objective.in_double_precision()
        unfinished = self.phase != Phase.DONE
        theta = self.point.select(unfinished).theta
        self.point = self.point.replaced(unfinished, self.evaluate(self.objective.select(unfinished), theta))
        self._start_anew(self.phase == Phase.STALLED)
        return True

    def _restart_in_double(self) -> bool:
        """Start a round anew in double precision; return whether that is a change."""
        switched = self._switch_to_double()
        if switched:
            self.phase[self._active()] = Phase.PRECONDITION
        return switched

    def _start_anew(self, problems: Array) -> None:
        self.phase[problems] = Phase.WAITING
        self.rule.reset(problems)

    # Books.

    def _active(self) -> Array:
        return (self.phase > Phase.WAITING) & (self.phase < Phase.STALLED)

    def _count_iteration(self, problems: Any, point: Point) -> bool:
        """Note an iteration that ends at a point; whether it is the last one."""
        self.n_iterations += 1
        self.values[problems] = point.values
        self.history.append(self.values.copy())
        if self.observe is not None:
            theta = self.point.replaced(problems, point).theta
            progress = Progress(
                self.n_iterations, self.evaluate.n_evaluations, theta, self.history[-1], self.gaps.copy()
            )
            if self.observe(progress):
                self.max_iter, self.is_stopped = self.n_iterations, True
        return self.n_iterations == self.max_iter

    def _correct_values(self, problems: Any, point: Point) -> None:
        """Set the point of some problems; it belongs to the iteration that was counted last."""
        self.point = self.point.replaced(problems, point)
        self.values[problems] = self.history[-1][problems] = point.values

    def _finish(self, problems: Any, which: Any, outcome: Outcome) -> None:
        """Note the outcome of some problems: `which` (p,) of them."""
        for problem in np.arange(self.phase.size)[problems][which]:
            self.outcomes[problem] = outcome
            self.phase[problem] = Phase.DONE
            self.values[problem] = self.point.values[problem]
