"""Fits with one value of C after the other, to several weightings of the same rows at once.

A search over F folds fits the same X again and again: only C and the weights of the rows differ, which are 0 outside a
fold's training rows. For one value of C, the fits to all folds are problems of one call of the solver; they share a
preconditioner, since they are nearly the same. Coefficients are smooth functions of log C, so that those with smaller
values of C tell where to start. A sample of the rows serves as long as fits get on with it.
"""

from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from skactivation._callbacks import NO_TASK, Watch
from skactivation._data.rows import rows_of
from skactivation._data.targets import IndicatorTargets, JoinedTargets, Targets
from skactivation._optimize.objective import Sample
from skactivation._optimize.problems import Outcome, Progress, Solution
from skactivation._optimize.solver import minimize
from skactivation._optimize.strategy import Strategy, cheapest_strategy, sample_size
from skactivation._typing import Array
from skactivation.linear_model._encoded_targets import EncodedTargets
from skactivation.linear_model._objective import LinearObjective

# Extrapolation goes at most so many times as far, in log C, as the last two values of C are from each other.
_FURTHEST = 2.0
# A sample of the rows is drawn anew after a fit that has taken more evaluations than this.
_QUICK = 8


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

    def fits(self, Cs: Array, watch: Watch, *, with_tasks: bool = True) -> list[Fits]:
        """The fits with each value of C, from the smallest to the largest; fewer if a callback stops them.

        `with_tasks` says whether callbacks are told of each value.
        """
        if self._units.size == 0:
            return [Fits(np.zeros((0, 1, self._rows.n_features)), np.zeros((0, 1)), np.zeros(0))] * len(Cs)
        found, steps = [], _Steps()
        for number, C in enumerate(Cs.tolist(), 1):
            task = watch.task(f"C={C:g}") if with_tasks else NO_TASK
            task.begin()
            objective = self.objective(C)
            null = self._null(objective)
            levels = objective.separation_levels() if C == np.inf and self._hard else np.zeros(null.shape[0])
            starts, options = steps.starts(C) or [null], {**self._options, **steps.known(objective)}
            place = f"C={C:g} ({number} of {Cs.size}), "
            observe = partial(_print_progress, watch, place, self._units) if watch.is_verbose else None
            solution = minima(objective, starts, null, levels, observe=observe, **options)
            steps.note(C, objective, solution)
            found.append(fits_of(objective, solution.theta, solution.gaps))
            if task.end():
                break
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


class _Done(NamedTuple):
    """A fit that is done."""

    place: float
    """log C."""
    penalty: Array
    """Penalties (P, K, D) on the coefficients."""
    theta: Array
    values: Array


class _Steps:
    """What the last three fits tell of the next one."""

    def __init__(self) -> None:
        self._done: list[_Done] = []
        self._sample: Sample | None = None

    def note(self, C: float, objective: LinearObjective, solution: Solution) -> None:
        """Note a fit that is done."""
        self._done = [*self._done[-2:], _Done(float(np.log(C)), objective.penalty, solution.theta, solution.values)]
        if solution.n_evaluations > _QUICK:
            self._sample = None

    def starts(self, C: float) -> list[Array]:
        """Where the solution may be: at the last one, or further along the path that the coefficients take with log C.

        From one step to the next, a problem's slope changes by a factor: about 1 where the classes are separated, so
        that coefficients grow with log C; less where they are not, so that coefficients converge.
        """
        places, thetas = [done.place for done in self._done], [done.theta for done in self._done]
        width = float(np.log(C)) - places[-1] if places else np.inf
        widths = np.diff(places)
        if not (widths.size and np.isfinite(width) and widths.min() > 0):
            return thetas[-1:]
        slopes = [(after - before) / by for before, after, by in zip(thetas[:-1], thetas[1:], widths, strict=True)]
        step = min(width, _FURTHEST * widths[-1]) * slopes[-1]
        if len(slopes) > 1:
            step *= _factors(*slopes)[:, np.newaxis, np.newaxis]
        return [thetas[-1], thetas[-1] + step]

    def known(self, objective: LinearObjective) -> dict[str, Any]:
        """What is known of the next objective, as options of `minimize`: values at the first start, a sample."""
        if not self._done:
            return {}
        last = self._done[-1]
        # The losses are the same as before, only the penalty differs.
        change = 0.5 * np.sum((objective.penalty - last.penalty) * np.square(last.theta), axis=(1, 2))
        return {"expected": last.values + change, "sample": self._sample_of(objective, last.theta)}

    def _sample_of(self, objective: LinearObjective, theta: Array) -> Sample | None:
        """A sample of the rows, if the strategy takes one."""
        if not _strategy(objective).sampled:
            return None
        if self._sample is None:
            self._sample = objective.sample(theta, sample_size(objective.shape))
        rows = cast(LinearObjective, self._sample.objective).rows
        return self._sample._replace(objective=objective.on(rows))


def _factors(before: Array, now: Array) -> Array:
    """By which factors (P,), from 0 to 1, slopes (P, K, D) have changed."""
    with np.errstate(all="ignore"):
        factors = np.einsum("pkj,pkj->p", before, now) / np.einsum("pkj,pkj->p", before, before)
    return np.asarray(np.clip(np.nan_to_num(factors), 0, 1))


def minima(objective: LinearObjective, starts: list[Array], null: Array, levels: Array, **options: Any) -> Solution:
    """Minima of problems; `levels` are as `separated_below` for `minimize`, which gets the options.

    Problems that stall together, because one line search serves all, are solved one by one, also from `null`.
    """
    solution = minimize(objective, starts, _strategy(objective), separated_below=levels, **options)
    stalled = [number for number, outcome in enumerate(solution.outcomes) if outcome is Outcome.STALLED]
    for number in stalled if solution.gaps.size > 1 else []:
        mask = np.arange(solution.gaps.size) == number
        one, own = objective.select(mask), [null[mask], solution.theta[mask]]
        limits = {name: options[name] for name in ("tol", "max_iter")}
        alone = minimize(one, own, _strategy(one), separated_below=levels[mask], **limits)
        if alone.gaps[0] < solution.gaps[number]:
            solution.theta[number], solution.values[number] = alone.theta[0], alone.values[0]
            solution.gaps[number] = alone.gaps[0]
    return solution


def progress_line(progress: Progress, units: Array) -> str:
    """A line about an iteration of a minimisation; the units of its problems are (P,)."""
    gap = progress.gaps.max()
    certified = f", certified gap {gap:.2g}" if np.isfinite(gap) else ""
    value = float(progress.values @ units)
    objective = f", objective {value:.9g}" if np.isfinite(value) else ""
    return f"iteration {progress.n_iterations}, {progress.n_evaluations} evaluations{objective}{certified}"


def _print_progress(watch: Watch, place: str, units: Array, progress: Progress) -> bool:
    watch.line(lambda: place + progress_line(progress, units))
    return False


def _strategy(objective: LinearObjective) -> Strategy:
    strategy, _ = cheapest_strategy(objective.shape, objective.costs, has_penalty=objective.is_strongly_convex)
    return strategy


def _joined(targets: list[Targets]) -> Targets:
    """The problems of several targets; exclusive classes have the same targets in each."""
    first = targets[0]
    if len(targets) == 1 or not isinstance(first, IndicatorTargets):
        return first
    return JoinedTargets([each for each in targets if isinstance(each, IndicatorTargets)])


def fits_of(objective: LinearObjective, theta: Array, gaps: Array) -> Fits:
    """Coefficients (P, K, D) of an objective as those of the features."""
    coef, intercept = objective.to_features(theta, np.float64)
    n_problems, n_logits, _ = objective.shape
    return Fits(coef.reshape(n_problems, n_logits, -1), intercept.reshape(n_problems, n_logits), gaps)
