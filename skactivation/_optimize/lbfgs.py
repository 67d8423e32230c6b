"""A stage of SciPy's L-BFGS in the coordinates of a preconditioner: the only caller of `scipy.optimize`."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import optimize

from skactivation._optimize.certificate import safe_step_lengths
from skactivation._optimize.masks import any_of
from skactivation._optimize.objective import Objective
from skactivation._optimize.preconditioner import Preconditioner
from skactivation._optimize.problems import Evaluate, NotFiniteError, Point, SinglePrecisionError
from skactivation._typing import Array

# Pairs of points that L-BFGS remembers; fewer where they would take more than this many elements, 64 MB.
_MEMORY, _LEAST_MEMORY, _MEMORY_SIZE = 10, 4, 2**23
# L-BFGS tries this many times the safe length of a Newton step first: the safe one is right for the worst row.
_CAUTION = 2.0
# Falls of F by less than this, relative to it, do not show in single precision.
_SINGLE_PRECISION = 1e-8
# In single precision, a line search is misled where values are closer than this after more trials than that.
_CLOSE, _TRIALS = 1e-6, 2
# Evaluations of a stage at most, for each iteration: a line search that takes more has failed.
_EVALUATIONS_EACH = 20


class Stage(NamedTuple):
    """What a stage has led to."""

    point: Point
    needs_double: bool
    """Whether single precision shows no further progress."""


def lbfgs_stage(
    objective: Objective,
    start: Point,
    preconditioner: Preconditioner,
    evaluate: Evaluate,
    *,
    max_iter: int,
    advance: Callable[[Point], bool],
    is_over: Callable[[Point], bool],
) -> Stage:
    """Minimise the sum of the problems for some iterations.

    `advance` is called with the point after each iteration, and the stage ends where `is_over` says so. The point is
    the start itself where no iteration succeeds. SciPy's own tolerances are off, and its success flag is not read.
    """
    descent = _Descent(objective, start, preconditioner, evaluate)

    def after_iteration(u: Array) -> None:
        descent.accept()
        if advance(descent.accepted) or descent.needs_double or is_over(descent.accepted):
            raise StopIteration

    memory = max(_LEAST_MEMORY, min(_MEMORY, _MEMORY_SIZE // (2 * start.theta.size)))
    options = {"maxiter": max_iter, "maxfun": _EVALUATIONS_EACH * max_iter, "maxcor": memory, "ftol": 0.0, "gtol": 0.0}
    try:
        optimize.minimize(
            descent.value_and_gradient,
            np.zeros(start.theta.size),
            jac=True,
            method="L-BFGS-B",
            callback=after_iteration,
            options=options,
        )
    except SinglePrecisionError:
        descent.needs_double = True
    except NotFiniteError:
        pass  # a trial step was too long: the stage ends where the last iteration did
    return Stage(descent.accepted, descent.needs_double)


class _Descent:
    """The function that L-BFGS minimises, of coordinates u, and the point that it has reached."""

    def __init__(self, objective: Objective, start: Point, preconditioner: Preconditioner, evaluate: Evaluate) -> None:
        self._objective, self._preconditioner, self._evaluate = objective, preconditioner, evaluate
        self._start = self._trial = self.accepted = start
        self._unit = _first_step_length(objective, start, preconditioner)
        self._n_trials = 0
        self.needs_double = False

    def value_and_gradient(self, u: Array) -> tuple[float, Array]:
        self._n_trials += 1
        if self._objective.is_single and self._n_trials > _TRIALS:
            value = self.accepted.values.sum()
            if abs(self._trial.values.sum() - value) < _CLOSE * value:
                raise SinglePrecisionError
        step = self._preconditioner.to_coefficients(self._unit * u)
        self._trial = self._evaluate(self._objective, self._start.theta + step) if any_of(u) else self._start
        gradient = self._unit * self._preconditioner.to_coordinates(self._trial.gradient)
        return float(self._trial.values.sum()), gradient

    def accept(self) -> None:
        """End an iteration at the point that was evaluated last: there the line search of SciPy ends."""
        fall = self.accepted.values.sum() - self._trial.values.sum()
        self._n_trials, self.accepted = 0, self._trial
        self.needs_double = self._objective.is_single and fall < _SINGLE_PRECISION * self._trial.values.sum()


def _first_step_length(objective: Objective, start: Point, preconditioner: Preconditioner) -> float:
    """The unit of u that makes the first step, which has length 1 in L-BFGS-B, the Newton step.

    It is damped as the problems need it on average.
    """
    gradient = preconditioner.to_coordinates(start.gradient)
    slopes = np.square(preconditioner.norms_of_coordinates(gradient))
    safe = safe_step_lengths(objective.logit_range(preconditioner.to_coefficients(gradient)))
    total = slopes.sum()
    return float(np.minimum(1.0, _CAUTION * safe) @ slopes / np.sqrt(total)) if total > 0 else 0.0
