"""Fits with one value of C after the other, to several weightings of the same rows at once.

A search over F folds fits the same X again and again: only C and the weights of the rows differ, which are 0 outside a
fold's training rows. For one value of C, the fits to all folds are problems of one call of the solver; they share a
preconditioner, since they are nearly the same. Coefficients are smooth functions of log C, so that those with smaller
values of C tell where to start.
"""

from typing import Any, NamedTuple

import numpy as np

from skactivation._data.rows import rows_of
from skactivation._data.targets import IndicatorTargets, JoinedTargets, Targets
from skactivation._optimize.problems import Outcome, Solution
from skactivation._optimize.solver import minimize
from skactivation._optimize.strategy import cheapest_strategy
from skactivation._typing import Array
from skactivation.linear_model._encoded_targets import EncodedTargets
from skactivation.linear_model._objective import LinearObjective

# Extrapolation goes at most so many times as far, in log C, as the last two values of C are from each other.
_FURTHEST = 2.0


class Fits(NamedTuple):
    """Fits of P problems with one value of C; those of the same weighting follow each other."""

    coef: Array
    """Coefficients (P, K, d)."""
    intercept: Array
    """Intercepts (P, K)."""
    gaps: Array
    """Bounds (P,) on the relative optimality gaps."""

    def take(self, problems: Array) -> "Fits":
        """The fits of the problems with the given numbers."""
        return Fits(self.coef[problems], self.intercept[problems], self.gaps[problems])


class PenaltyPath:
    """Fits to rows X with several weightings.

    Parameters
    ----------
    X : {ndarray, sparse array} of shape (n, d)
        Rows, checked.
    encoded : list of EncodedTargets
        Targets and weights of each. Those of exclusive classes have the same targets.
    fit_intercept : bool
        Whether there are intercepts.
    **options
        `tol` and `max_iter`, as for `minimize`, for each value of C.
    """

    def __init__(self, X: Any, encoded: list[EncodedTargets], *, fit_intercept: bool, **options: Any) -> None:
        several = len(encoded) > 1
        weights, largest = None, [1.0]
        if several or encoded[0].weights is not None:
            stacked = np.stack([np.ones(X.shape[0]) if each.weights is None else each.weights for each in encoded])
            largest = stacked.max(axis=1).tolist()
            stacked /= stacked.max(axis=1, keepdims=True)
            weights = stacked if several else stacked[0]
        targets = _joined([each.targets for each in encoded])
        self._units = np.concatenate([unit * each.units for each, unit in zip(encoded, largest, strict=True)])
        self._intercepts = np.concatenate([each.null_logits for each in encoded]).reshape(-1, targets.n_logits)
        self._fit_intercept, self._options, self._hard = fit_intercept, options, targets.hard
        # The labels of a fold have little in common.
        self._alike = several and all(each.units.size == 1 for each in encoded)
        self._rows = rows_of(
            X,
            targets,
            weights,
            n_outputs=self._intercepts.size,
            fit_intercept=fit_intercept,
        )

    def fits(self, Cs: Array) -> list[Fits]:
        """The fits with each value of C, from the smallest to the largest."""
        if self._units.size == 0:
            return [Fits(np.zeros((0, 1, self._rows.n_features)), np.zeros((0, 1)), np.zeros(0))] * len(Cs)
        found: list[Fits] = []
        thetas: list[Array] = []
        for number, C in enumerate(Cs):
            objective = self.objective(C)
            null = self._null(objective)
            levels = objective.separation_levels() if C == np.inf and self._hard else np.zeros(null.shape[0])
            starts = _continued(thetas, Cs[: number + 1]) or [null]
            theta, gaps = minima(objective, starts, null, levels, **self._options)
            thetas = [*thetas[-1:], theta]
            found.append(_fits(objective, theta, gaps))
        return found

    def objective(self, C: float) -> LinearObjective:
        """The problems with one value of C."""
        return LinearObjective(self._rows, np.full(self._units.size, 1 / C), self._units, alike=self._alike)

    def theta(self, objective: LinearObjective, fits: Fits) -> Array:
        """Fits in the coordinates of an objective of these rows."""
        return objective.from_features(fits.coef.reshape(-1, fits.coef.shape[2]), fits.intercept.ravel())

    def _null(self, objective: LinearObjective) -> Array:
        """The intercepts of models without features."""
        theta = np.zeros(objective.shape)
        if self._fit_intercept:
            theta[:, :, -1] = self._intercepts
        return theta


def minima(
    objective: LinearObjective, starts: list[Array], null: Array, levels: Array, **options: Any
) -> tuple[Array, Array]:
    """Coefficients (P, K, D) and bounds (P,) on the gaps; `levels` are as `separated_below` for `minimize`.

    Problems that stall together, because one line search serves all, are solved one by one, also from `null`.
    """
    solution = _minimum(objective, starts, levels, options)
    theta, gaps = solution.theta, solution.gaps
    stalled = [number for number, outcome in enumerate(solution.outcomes) if outcome is Outcome.STALLED]
    for number in stalled if len(gaps) > 1 else []:
        mask = np.arange(gaps.size) == number
        alone = _minimum(objective.select(mask), [null[mask], theta[mask]], levels[mask], options)
        if alone.gaps[0] < gaps[number]:
            theta[number], gaps[number] = alone.theta[0], alone.gaps[0]
    return theta, gaps


def _minimum(objective: LinearObjective, starts: list[Array], levels: Array, options: dict[str, Any]) -> Solution:
    strategy, _ = cheapest_strategy(objective.shape, objective.costs, has_penalty=objective.is_strongly_convex)
    return minimize(objective, starts, strategy, separated_below=levels, **options)


def _joined(targets: list[Targets]) -> Targets:
    """The problems of several targets; exclusive classes have the same targets in each."""
    first = targets[0]
    if len(targets) == 1 or not isinstance(first, IndicatorTargets):
        return first
    return JoinedTargets([each for each in targets if isinstance(each, IndicatorTargets)])


def _continued(thetas: list[Array], Cs: Array) -> list[Array]:
    """Where the solution for the last C may be, given those for the one or two before: there, or on a line in log C."""
    if len(thetas) < 2 or not (np.isfinite(Cs[-1]) and Cs[-3] < Cs[-2]):
        return thetas[-1:]
    before, now, after = np.log(Cs[-3:])
    return [thetas[-1], thetas[-1] + min((after - now) / (now - before), _FURTHEST) * (thetas[-1] - thetas[-2])]


def _fits(objective: LinearObjective, theta: Array, gaps: Array) -> Fits:
    coef, intercept = objective.to_features(theta, np.float64)
    n_problems, n_logits, _ = objective.shape
    return Fits(coef.reshape(n_problems, n_logits, -1), intercept.reshape(n_problems, n_logits), gaps)
