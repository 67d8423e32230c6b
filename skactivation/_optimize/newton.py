"""Newton's method for several problems: steps with one Hessian after another, each while it serves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skactivation._optimize.certificate import safe_step_lengths
from skactivation._optimize.masks import ALL, all_of, mask_of
from skactivation._optimize.objective import Curvature, Objective
from skactivation._optimize.preconditioner import Preconditioner, precondition
from skactivation._optimize.problems import Evaluate, Point
from skactivation._typing import Array

# The relative gap below which a Newton step that gains little shows that there is little to gain.
_NEAR = 1e-3
# Steps end where what is left, relative to F, is negligible even in the coefficients. A larger number costs digits of
# the coefficients, a smaller one steps that change nothing.
NEGLIGIBLE = 1e-22
# Steps with one Hessian at most: convergence is linear, so that a new Hessian soon does better.
_MOST_STEPS = 8
# A step must lower F by this share of what its slope promises.
_SUFFICIENT = 1e-4
# Sums over many rows may have lost so much, relative to them: smaller rises of F say nothing.
_ROUNDING = 1e-11
# Where tiny row weights make F blind to some rows, the first step tried is at most so many times the safe one.
_BLIND = 8
# A step that is not good is tried again at this share of its length.
_SHORTER = 1 / 4
# Where a step promises more than this share of F, the Hessian at its end will be needed.
_HESSIAN_FROM = 1e-4
# Far from the minimum, where a step promises more than this share of F, curvature falls along it, so that whole steps
# are too short. Where the last one was, the next is up to so many times as long. Longer ones miss more often.
_FAR, _LONGEST = 1e-2, 1.5


class NewtonSteps(NamedTuple):
    """Where Newton steps have led. Facts about each problem are in lists: quicker than arrays, if there are few."""

    point: Point
    preconditioner: Preconditioner
    """The last one."""
    travelled: list[float]
    """Length of the steps in its norm."""
    settled: list[bool]
    """Whether further steps would gain nothing."""
    whole: list[bool]
    """Whether the last step was a whole one, or longer."""
    moved: list[bool]
    """Whether there was any step."""
    next_lengths: list[float]
    """How long the first step with the next Hessian should be, relative to a whole one."""


def newton_steps(
    objective: Objective,
    point: Point,
    preconditioner: Preconditioner,
    evaluate: Evaluate,
    next_lengths: list[float],
    *,
    useful: float,
    max_iter: int,
    advance: Callable[[Point], bool],
    n_hessians: int = 1,
    negligible: float = NEGLIGIBLE,
) -> NewtonSteps:
    """Take steps with one Hessian after another, `n_hessians` at most, while all problems get on with whole steps.

    The first step of each problem has the length `next_lengths`, relative to a whole one, if that is good. With one
    Hessian, steps go on while each leaves less than a `useful` share of the gradient, and until what they may gain is
    `negligible` relative to F. `advance` is called after each, and says whether it is the last one.
    """
    walk = _Walk(objective, evaluate, useful, negligible, advance, max_iter, with_hessian=n_hessians > 1)
    steps = walk.with_one_hessian(point, preconditioner, next_lengths)
    for _ in range(n_hessians - 1):
        if walk.n_left == 0 or not _all_get_on(steps):
            break
        made = precondition(objective, steps.point.theta, Curvature.WHOLE, hessian=steps.point.hessian)
        if not all_of(made.bounds_hessian):
            break
        # All problems have moved with the Hessian before, whether or not they move with this one.
        steps = walk.with_one_hessian(steps.point, made, steps.next_lengths)._replace(moved=steps.moved)
    return steps


def _all_get_on(steps: NewtonSteps) -> bool:
    """Whether there is something to gain, and whole steps were good for all problems for which there is."""
    whole = [whole for whole, settled in zip(steps.whole, steps.settled, strict=True) if not settled]
    return bool(whole) and all(whole)


@dataclass
class _Walk:
    """What does not change from one Hessian to the next, and how many steps are left."""

    objective: Objective
    evaluate: Evaluate
    useful: float
    negligible: float
    advance: Callable[[Point], bool]
    n_left: int
    with_hessian: bool
    """Whether a Hessian that is likely to be needed next should come with a point."""

    def with_one_hessian(self, point: Point, preconditioner: Preconditioner, lengths: list[float]) -> NewtonSteps:
        """Take steps with one Hessian; the first of them have these lengths, relative to whole ones, where good."""
        u = preconditioner.to_coordinates(point.gradient)
        first = norms = preconditioner.norms_of_coordinates(u).tolist()
        travelled, whole, moved = [0.0] * len(norms), [False] * len(norms), [False] * len(norms)
        facts = zip(lengths, norms, point.values.tolist(), strict=True)
        lengths = [length if norm * norm > _FAR * value else 1.0 for length, norm, value in facts]
        active = list(range(len(norms)))
        for _ in range(min(_MOST_STEPS, self.n_left)):
            active = [p for p in active if norms[p] * norms[p] > self.negligible * point.values[p]]
            if not active:
                break
            far = self.with_hessian and any(norms[p] * norms[p] > _HESSIAN_FROM * point.values[p] for p in active)
            after = _step(self.objective, point, preconditioner, u, norms, lengths, active, self.evaluate, far)
            for p in active:
                whole[p] = after.lengths[p] >= 1
            active = [p for p in active if after.lengths[p] > 0]
            if not active:
                break
            for p in active:
                moved[p] = True
                travelled[p] += after.lengths[p] * norms[p]
            lengths, before = _next_lengths(u, after, norms), norms
            point, u, norms = after.point, after.u, after.norms
            self.n_left = 0 if self.advance(point) else self.n_left - 1
            if self.n_left == 0:
                break
            # For the others a new Hessian will do better.
            active = [p for p in active if norms[p] < self.useful * before[p]]
        facts = zip(first, norms, point.values.tolist(), strict=True)
        settled = [_is_settled(*each, self.negligible) for each in facts]
        return NewtonSteps(point, preconditioner, travelled, settled, whole, moved, lengths)


def _is_settled(first: float, norm: float, value: float, negligible: float) -> bool:
    """Whether further steps of a problem would gain nothing, given its first and last norm."""
    is_near = first * first <= 2 * _NEAR * value
    return norm * norm <= negligible * value or (is_near and norm > first / 2)


class _Step(NamedTuple):
    """Where a step has led."""

    point: Point
    lengths: list[float]
    """How much of the step each problem took: 0 if it took none."""
    u: Array
    """The gradient by u."""
    norms: list[float]
    """The lengths of each problem's u."""


def _next_lengths(u: Array, step: _Step, norms: list[float]) -> list[float]:
    """How long the next step of each problem should be: where slopes that fall linearly would have been 0.

    That is at t / (1 - r), with the ratio r of the slopes at the end and at the start of a step of length t.
    """
    slopes = np.add.reduce((u * step.u).reshape(len(norms), -1), axis=1).tolist()
    steepness = [slope / (norm * norm) if norm > 0 else 0.0 for slope, norm in zip(slopes, norms, strict=True)]
    return [
        max(1.0, min(t / (1 - r), _LONGEST)) if r < 1 else _LONGEST
        for t, r in zip(step.lengths, steepness, strict=True)
    ]


def _step(
    objective: Objective,
    point: Point,
    preconditioner: Preconditioner,
    u: Array,
    norms: list[float],
    first_lengths: list[float],
    active: list[int],
    evaluate: Evaluate,
    with_hessian: bool,
) -> _Step:
    """One step of the active problems.

    The first length is nearly always right. If not, shorter ones are tried, down to the one that is certain to lower F
    but may be short.
    """
    step = preconditioner.to_coefficients(u)
    lengths, tried, safe = [0.0] * len(norms), first_lengths.copy(), {}
    blind = [p for p in active if objective.has_tiny_weights[p]]
    if blind:
        safe = _safe_lengths(objective, step, blind)
        for p in blind:
            tried[p] = min(1.0, _BLIND * safe[p])
    pending = active
    while True:
        problems = mask_of(pending, len(norms))
        before, some = point.select(problems), preconditioner.select(problems)
        tried_there = np.array([tried[p] for p in pending])[:, np.newaxis, np.newaxis]
        theta = before.theta - tried_there * step[problems]
        trial = evaluate(objective.select(problems), theta, finite=False, with_hessian=with_hessian)
        u = some.to_coordinates(trial.gradient)
        trial_norms = some.norms_of_coordinates(u).tolist()
        values = zip(before.values.tolist(), trial.values.tolist(), trial_norms, strict=True)
        good = [_is_good(*facts, norms[p], tried[p]) for p, facts in zip(pending, values, strict=True)]
        if problems is ALL and all(good):
            return _Step(trial, tried, u, trial_norms)
        accepted = [p for p, is_good in zip(pending, good, strict=True) if is_good]
        for p in accepted:
            lengths[p] = tried[p]
        point = point.replaced(mask_of(accepted, len(norms)), trial.select(np.array(good)))
        pending = [p for p in pending if p not in accepted]
        safe |= _safe_lengths(objective, step, [p for p in pending if p not in safe])
        # After the safe length there is nothing left to try.
        pending = [p for p in pending if tried[p] > safe[p]]
        if not pending:
            u = preconditioner.to_coordinates(point.gradient)
            return _Step(point, lengths, u, preconditioner.norms_of_coordinates(u).tolist())
        for p in pending:
            tried[p] = 1.0 if tried[p] > 1 else max(tried[p] * _SHORTER, safe[p])


def _is_good(value: float, trial_value: float, trial_norm: float, norm: float, length: float) -> bool:
    """Whether a trial step is accepted: F falls enough; or the gradient does, where values differ by rounding only."""
    fall = value - trial_value
    if fall >= _SUFFICIENT * length * norm * norm:
        return True
    return trial_norm < norm and fall >= -_ROUNDING * value


def _safe_lengths(objective: Objective, step: Array, problems: list[int]) -> dict[int, float]:
    """How much of the steps of some problems is certain to lower F."""
    if not problems:
        return {}
    chosen = mask_of(problems, len(step))
    lengths = safe_step_lengths(objective.select(chosen).logit_range(step[chosen]))
    return dict(zip(problems, lengths.tolist(), strict=True))
