"""Newton's method: steps of several problems with one preconditioner while it serves them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from skactivation._optimize.certificate import safe_step_lengths
from skactivation._optimize.masks import ALL, all_of, any_of
from skactivation._optimize.objective import Objective
from skactivation._optimize.preconditioner import Preconditioner
from skactivation._optimize.problems import Evaluate, Point
from skactivation._typing import Array

# The relative gap below which a Newton step that gains little shows that there is little to gain.
_NEAR = 1e-3
# Steps end where what is left, relative to F, is negligible even in the coefficients. A larger number costs digits of
# the coefficients, a smaller one steps that change nothing.
_NEGLIGIBLE = 1e-22
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


class NewtonSteps(NamedTuple):
    """Where Newton steps have led, for each problem."""

    point: Point
    travelled: Array
    """Length (P,) of the steps in the preconditioner's norm."""
    settled: Array
    """Whether further steps would gain nothing (P,)."""
    whole: Array
    """Whether the last step was a whole one (P,)."""
    moved: Array
    """Whether there was any step (P,)."""


def newton_steps(
    objective: Objective,
    point: Point,
    preconditioner: Preconditioner,
    evaluate: Evaluate,
    *,
    useful: float,
    max_iter: int,
    advance: Callable[[Point], None],
) -> NewtonSteps:
    """Take steps while each leaves less than a `useful` share of the gradient; `advance` is called after each."""
    u = preconditioner.to_coordinates(point.gradient)
    first = norms = preconditioner.norms_of_coordinates(u)
    travelled, active = np.zeros(norms.size), np.ones(norms.size, dtype=bool)
    whole = moved = ~active
    for _ in range(min(_MOST_STEPS, max_iter)):
        active = active & (norms**2 > _NEGLIGIBLE * point.values)
        if not any_of(active):
            break
        step = -preconditioner.to_coefficients(u)
        after, lengths, u = _step(objective, point, preconditioner, step, norms, active, evaluate)
        stepped = lengths > 0
        whole = np.where(active, lengths == 1, whole)
        if not any_of(stepped):
            break
        point, moved = after, moved | stepped
        advance(point)
        travelled = travelled + lengths * norms
        before, norms = norms, preconditioner.norms_of_coordinates(u)
        # For the others a new Hessian will do better.
        active = stepped & (norms < useful * before)
    near = first**2 <= 2 * _NEAR * point.values
    settled = (norms**2 <= _NEGLIGIBLE * point.values) | (near & (norms > first / 2))
    return NewtonSteps(point, travelled, settled, whole, moved)


def _step(
    objective: Objective,
    point: Point,
    preconditioner: Preconditioner,
    step: Array,
    norms: Array,
    active: Array,
    evaluate: Evaluate,
) -> tuple[Point, Array, Array]:
    """One step of the active problems: the point, how much of the step (P,) was taken, the gradient by u there.

    The whole step is nearly always right. If not, shorter ones are tried, down to the one that is certain to lower F
    but may be short.
    """
    lengths, taken = np.ones(active.size), np.zeros(active.size)
    pending: Any = ALL if all_of(active) else active
    safe = np.full(active.size, np.nan)  # not known yet
    blind = objective.has_tiny_weights & active
    if any_of(blind):
        safe[blind] = safe_step_lengths(objective.select(blind).logit_range(step[blind]))
        lengths[blind] = np.minimum(1.0, _BLIND * safe[blind])
    while True:
        before, length = point.select(pending), lengths[pending]
        theta = before.theta + length[:, np.newaxis, np.newaxis] * step[pending]
        trial = evaluate(objective.select(pending), theta, finite=False)
        some = preconditioner.select(pending)
        u = some.to_coordinates(trial.gradient)
        good = _is_good(before, trial, norms[pending], some.norms_of_coordinates(u), length)
        if pending is ALL and all_of(good):
            return trial, lengths, u
        accepted = np.zeros(active.size, dtype=bool)
        accepted[pending] = good
        point = point.replaced(accepted, trial.select(good))
        taken[accepted] = lengths[accepted]
        pending = active & (taken == 0)
        unknown = pending & np.isnan(safe)
        if any_of(unknown):
            safe[unknown] = safe_step_lengths(objective.select(unknown).logit_range(step[unknown]))
        # After the safe length there is nothing left to try.
        pending = pending & (lengths > safe)
        if not any_of(pending):
            return point, taken, preconditioner.to_coordinates(point.gradient)
        lengths[pending] = np.maximum(lengths[pending] * _SHORTER, safe[pending])


def _is_good(before: Point, trial: Point, norms: Array, trial_norms: Array, lengths: Array) -> Array:
    """Whether trial steps are accepted: F falls enough; or the gradient does, where values differ by rounding only."""
    fall = before.values - trial.values
    flat = (trial_norms < norms) & (fall >= -_ROUNDING * before.values)
    return np.asarray((fall >= _SUFFICIENT * lengths * norms**2) | flat)
