"""Points, evaluations, and what a minimisation returns."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from skactivation._optimize.masks import all_of, any_of
from skactivation._optimize.objective import Objective
from skactivation._typing import Array


class SinglePrecisionError(ArithmeticError):
    """Single precision does not show which way is down: evaluate in double precision."""


class NotFiniteError(ValueError):
    """A value or a derivative is not finite in double precision."""


class Point(NamedTuple):
    """Coefficients (P, K, D), the problems' values (P,), the gradient (P, K, D) there, and the Hessians if known."""

    theta: Array
    values: Array
    gradient: Array
    hessian: Array | None = None
    """The Hessian of each problem (P, m, m)."""

    def select(self, problems: Any) -> "Point":
        """Some of the problems, given by a mask or `ALL`."""
        if all_of(problems):
            return self
        hessian = None if self.hessian is None else self.hessian[problems]
        return Point(self.theta[problems], self.values[problems], self.gradient[problems], hessian)

    def replaced(self, problems: Any, other: "Point") -> "Point":
        """Replace some problems by those of another point, which has only these; return a new point."""
        if all_of(problems):
            return other

        def mixed(ours: Any, theirs: Any) -> Any:
            if ours is None or theirs is None:
                return None
            both = ours.copy()
            both[problems] = theirs
            return both

        return Point(*(mixed(ours, theirs) for ours, theirs in zip(self, other, strict=True)))


class Outcome(Enum):
    """Why the solver stopped."""

    CERTIFIED = "the optimality gap is certified to be at most tol"
    ESTIMATED = "the gap is at most tol by the preconditioner's estimate"
    MAX_ITER = "max_iter was reached"
    STOPPED = "an observer asked to stop"
    STALLED = "no further progress could be certified"
    SEPARATED = "every row is on the right side: no finite optimum exists"


class Progress(NamedTuple):
    """Where a minimisation is after an iteration; what an observer is told."""

    n_iterations: int
    n_evaluations: int
    theta: Array
    """Coefficients (P, K, D)."""
    values: Array
    """Values (P,); NaN where they are not known."""
    gaps: Array
    """Certified bounds (P,) on the relative gaps so far; inf where none is known."""


class ObserverOfGroups:
    """Tells an observer of all problems, where groups of them are minimised one after the other.

    A group that has not begun is where it starts; its values are not known. Once the observer asks to stop, groups that
    follow stop at their first iteration.
    """

    def __init__(self, observe: Callable[[Progress], bool], start: Array) -> None:
        self._observe, self._theta, self._stops = observe, start.copy(), False
        self._values, self._gaps = np.full(len(start), np.nan), np.full(len(start), np.inf)
        self._n_iterations = self._n_evaluations = 0

    def of(self, chosen: Array) -> Callable[[Progress], bool]:
        """The observer of the next group, a mask (P,)."""
        before = self._n_iterations, self._n_evaluations

        def observe(progress: Progress) -> bool:
            self._n_iterations = before[0] + progress.n_iterations
            self._n_evaluations = before[1] + progress.n_evaluations
            self._theta[chosen], self._values[chosen] = progress.theta, progress.values
            self._gaps[chosen] = progress.gaps
            if not self._stops:
                of_all = Progress(
                    self._n_iterations,
                    self._n_evaluations,
                    self._theta.copy(),
                    self._values.copy(),
                    self._gaps.copy(),
                )
                self._stops = self._observe(of_all)
            return self._stops

        return observe


@dataclass(frozen=True)
class Solution:
    """A minimum of each of P problems and its certificate, in the objective's units."""

    theta: Array
    """Coefficients (P, K, D)."""
    values: Array
    """Values (P,)."""
    gradient: Array
    gaps: Array
    """Bounds (P,) on (F - F*) / F for each problem; inf where none is known."""
    outcomes: list[Outcome]
    """Why the solver stopped, for each problem."""
    n_iterations: int
    n_evaluations: int
    history: Array
    """Values (., P) at the start and after each iteration."""

    @classmethod
    def joined(cls, solutions: "list[Solution]") -> "Solution":
        """Solutions of consecutive groups of problems as one. Their iterations count as simultaneous."""
        n_iterations = max(solution.n_iterations for solution in solutions)
        # A problem stays where it ended.
        lasting = [np.minimum(np.arange(n_iterations + 1), len(solution.history) - 1) for solution in solutions]
        return cls(
            theta=np.concatenate([solution.theta for solution in solutions]),
            values=np.concatenate([solution.values for solution in solutions]),
            gradient=np.concatenate([solution.gradient for solution in solutions]),
            gaps=np.concatenate([solution.gaps for solution in solutions]),
            outcomes=[outcome for solution in solutions for outcome in solution.outcomes],
            n_iterations=n_iterations,
            n_evaluations=sum(solution.n_evaluations for solution in solutions),
            history=np.hstack([solution.history[rows] for solution, rows in zip(solutions, lasting, strict=True)]),
        )


class Evaluate:
    """Evaluates objectives and counts how often."""

    def __init__(self) -> None:
        self.n_evaluations = 0

    def __call__(self, objective: Objective, theta: Array, *, finite: bool = True, with_hessian: bool = False) -> Point:
        """The point at some coefficients, once they are centred; finite numbers and the Hessian, if asked for."""
        theta = theta.copy()
        objective.center(theta)
        hessian = None
        if with_hessian:
            values, gradient, hessian = objective.value_gradient_and_hessian(theta)
        else:
            values, gradient = objective.value_and_gradient(theta)
        self.n_evaluations += 1
        if finite and not (all_of(np.isfinite(values)) and all_of(np.isfinite(gradient))):
            if objective.is_single:
                raise SinglePrecisionError
            raise NotFiniteError(
                "the objective is not finite: X holds numbers too large for float64 arithmetic; rescale its columns"
            )
        return Point(theta, values, gradient, hessian)

    def best(
        self, objective: Objective, starts: list[Array], expected: Array | None = None, *, with_hessian: bool = False
    ) -> Point:
        """For each problem the start with the lowest value; all but the first may have none.

        The first one is not evaluated where another one's values (P,) are below those `expected` of it.
        """
        best: Point | None = None
        for start in starts[1:]:
            with suppress(NotFiniteError):
                best = _better(best, self(objective, start, with_hessian=with_hessian and expected is not None))
        if best is not None and expected is not None and all_of(best.values < expected):
            return best
        return _better(best, self(objective, starts[0], with_hessian=with_hessian and len(starts) == 1))


def _better(one: Point | None, other: Point) -> Point:
    """For each problem the point with the lower value."""
    if one is None:
        return other
    lower = other.values < one.values
    return one.replaced(lower, other.select(lower)) if any_of(lower) else one
