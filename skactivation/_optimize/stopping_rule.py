"""The stopping rule: when a problem is close enough to its minimum for a certificate, by what is known without one."""

from typing import Any

import numpy as np

from skactivation._optimize.certificate import convexity_bounds
from skactivation._optimize.objective import Objective
from skactivation._optimize.preconditioner import Preconditioner
from skactivation._optimize.problems import Point
from skactivation._typing import Array

# Each certificate that fails makes a problem go further by this factor before the next one, down to where values of F
# can't be told apart.
_STRICTER, _STRICTEST = 1e-2, 1e-7
# A stage of L-BFGS for several problems ends when this share of them is close to a tenth of what is wanted; with the
# Hessian of a sample, at this relative gap, whatever is wanted: its Newton steps gain less than L-BFGS.
_ENOUGH, _CLOSER, _NEAR_WITH_SAMPLE = 0.5, 0.1, 1e-6
# The share of tol that the penalty's bound must reach: the other half is left for what the intercepts add.
_SHARE_OF_PENALTY = 0.5
# Without a penalty and without a Hessian, a preconditioner's estimate must be so much smaller than tol.
_CAUTIOUS = 1e-3


class StoppingRule:
    """Estimates of relative gaps, compared with tol times a strictness that rises where certificates fail.

    Problems are given by a mask (P,) or `ALL`; points, objectives and preconditioners are those of these p problems.
    """

    def __init__(self, n_problems: int, *, tol: float, certified: bool) -> None:
        self.tol, self.certified = tol, certified
        self._strictness = np.ones(n_problems)

    def are_close(
        self,
        problems: Any,
        objective: Objective,
        point: Point,
        preconditioner: Preconditioner | None,
        near: float,
        share: float = 1.0,
    ) -> Array:
        """Whether each gap is estimated to be within a share of what is wanted, (p,).

        `near` is the relative gap from which on Newton steps do the rest, where the preconditioner is the Hessian.
        """
        wanted = share * self._strictness[problems] * point.values
        if self.certified and objective.is_strongly_convex and not (preconditioner and preconditioner.certifies):
            bounds = convexity_bounds(objective, point)
            close = bounds <= wanted * _SHARE_OF_PENALTY * self.tol
        elif preconditioner is None:
            close = np.zeros(wanted.size, dtype=bool)
        else:
            tol = self.tol
            if self.certified:
                tol = max(near, tol) if preconditioner.certifies else _CAUTIOUS * tol
            close = preconditioner.decrements(point.gradient) <= wanted * tol
        return np.asarray(close | self.is_exhausted(problems))

    def enough_are_close(
        self, problems: Any, objective: Objective, point: Point, preconditioner: Preconditioner, near: float
    ) -> bool:
        """Whether so many problems are close that a stage of L-BFGS should end."""
        return _enough(self.are_close(problems, objective, point, preconditioner, near, share=_CLOSER))

    def enough_are_near(self, problems: Any, point: Point, preconditioner: Preconditioner) -> bool:
        """Whether so many problems are near their minima that a stage with the Hessian of a sample should end."""
        wanted = self._strictness[problems] * point.values * max(_NEAR_WITH_SAMPLE, self.tol)
        return _enough(preconditioner.decrements(point.gradient) <= wanted)

    def is_exhausted(self, problems: Any) -> Array:
        """Whether problems have gone as far as values of F can be told apart, (p,)."""
        return np.asarray(self._strictness[problems] < _STRICTEST)

    def be_stricter(self, problems: Any) -> None:
        """Ask for more before the next certificate."""
        self._strictness[problems] *= _STRICTER

    def reset(self, problems: Any) -> None:
        """Ask for no more than tol again."""
        self._strictness[problems] = 1


def _enough(close: Array) -> bool:
    return bool(np.mean(close) >= _ENOUGH)
