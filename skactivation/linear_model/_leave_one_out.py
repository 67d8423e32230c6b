"""Leave-one-out cross-validation from one fit to all rows, and from refits without the rows that need one.

A Newton step from the optimum, with the Hessian without a row, leads near the optimum without that row (Rad and Maleki,
"A scalable estimate of the out-of-sample prediction error via approximate leave-one-out", 2020). All the steps come
from one Hessian, because a row's part of it has the rank K. Where a row decides what is predicted for it, one step is
not enough: such rows are left out in fact. They are found by how much the step raises their loss.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from skactivation._callbacks import Watch
from skactivation._optimize.objective import Curvature
from skactivation._optimize.preconditioner import precondition
from skactivation._typing import Array
from skactivation.linear_model._held_out_losses import HeldOutLosses
from skactivation.linear_model._objective import LinearObjective
from skactivation.linear_model._penalty_path import Fits, PenaltyPath, minima

# Hessians, which are inverted, have at most so many rows.
_MOST_COEFFICIENTS = 2000
# Refits end where the error of the mean loss, relative to it, is expected to be at most this: half of what is promised.
_ERROR = 0.005
# Refits at first; their number doubles. Weights of the rows that refits hold at once, 32 MB.
_REFITS, _MOST_WEIGHTS = 8, 2**22


class LeftOut(NamedTuple):
    """Losses of rows under fits without them, for one value of C."""

    losses: Array
    """Losses (P, n): of exclusive classes (1, n), of labels (L, n)."""
    weights: Array
    """Weights (P, n) of these losses, 0 for labels not known."""
    gap: float
    """Largest bound on the relative gap of a fit without a row."""


class LeaveOneOut:
    """Losses of rows that are left out.

    Parameters
    ----------
    path : PenaltyPath
        Problems on all rows: one, or several of one logit.
    X : {ndarray, sparse array} of shape (n, d)
        The rows.
    losses : HeldOutLosses
        The losses.
    offset : ndarray of shape (P, K)
        What predictions add to the logits of a fit.
    by_label : bool
        Whether the mean loss of each problem has to be right, instead of that of all.
    **options
        `tol` and `max_iter` of the refits.
    """

    def __init__(
        self, path: PenaltyPath, X: Any, losses: HeldOutLosses, offset: Array, *, by_label: bool, **options: Any
    ) -> None:
        self._path, self._X, self._losses, self._options = path, X, losses, options
        self._offset, self._by_label = offset[:, :, np.newaxis], by_label

    def left_out(self, C: float, fits: Fits, watch: Watch) -> LeftOut:
        """Losses of the rows, given the fits to all of them."""
        objective = self._path.objective(C)
        theta = self._path.theta(objective, fits)
        z = _logits(self._X, fits) + self._offset
        before, weights = self._losses.of_logits(z.copy())
        z += _newton_changes(objective, theta)
        losses, _ = self._losses.of_logits(z.copy())
        # Those come first whose losses rise most.
        rises = np.abs(losses - before) * weights
        order = np.argsort(-rises, axis=None, kind="stable")[: np.count_nonzero(weights)]
        end, batch, gap = 0, _REFITS, 0.0
        while end < order.size:
            chosen = np.unravel_index(order[end : end + batch], losses.shape)
            z[chosen[0], :, chosen[1]], gaps = self._refitted(objective, theta, *chosen)
            estimates, (losses, _) = losses, self._losses.of_logits(z.copy())
            errors = np.zeros_like(losses)
            errors[chosen] = np.abs(losses - estimates)[chosen] * weights[chosen]
            end, batch, gap = end + gaps.size, 2 * batch, max(gap, float(gaps.max()))
            rest = np.zeros_like(rises)
            rest.ravel()[order[end:]] = rises.ravel()[order[end:]]
            watch.line(partial("C={:g}, {} of {} losses by refits".format, C, end, order.size))
            if self._is_right(errors, rises, rest, losses * weights, chosen):
                break
        return LeftOut(losses, weights, gap)

    def _is_right(self, errors: Array, rises: Array, rest: Array, losses: Array, last: Any) -> bool:
        """Whether the mean loss is expected to be right, given the last batch's errors (P, n) and the rises of others.

        Errors of the others are expected to be no larger, beside what their losses rise, and smaller in sum.
        """
        share = (errors[last] / np.maximum(rises[last], np.finfo(float).tiny)).max()
        sums = [each.sum(axis=1) if self._by_label else each.sum() for each in (errors, rest, losses)]
        return bool(np.all(np.maximum(sums[0], share * sums[1]) <= _ERROR * sums[2]))

    def _refitted(self, objective: LinearObjective, theta: Array, problems: Array, rows: Array) -> tuple[Array, Array]:
        """Logits (R, K) of the rows (R,) in fits of the problems (R,) without them, and the gaps (R,)."""
        step = max(1, _MOST_WEIGHTS // (objective.rows.n_rows * theta.shape[1] + theta[0].size))
        logits, gaps = [], []
        for first in range(0, rows.size, step):
            p, i = problems[first : first + step], rows[first : first + step]
            others = objective.without(p, i)
            without = minima(others, [theta[p]], np.zeros_like(theta[p]), np.zeros(i.size), **self._options)
            coef, intercept = others.to_features(without.theta, np.float64)
            of_own_row = np.asarray(self._X[i] @ coef.T + intercept).reshape(i.size, i.size, -1)
            logits.append(np.einsum("iik->ik", of_own_row) + self._offset[p, :, 0])
            gaps.append(without.gaps)
        return np.concatenate(logits), np.concatenate(gaps)


def _newton_changes(objective: LinearObjective, theta: Array) -> Array:
    """What a Newton step without a row changes in its logits, (P, K, n)."""
    n_problems, n_logits, n_columns = objective.shape
    if n_logits * n_columns > _MOST_COEFFICIENTS:
        raise ValueError(
            f"cv='loo' takes at most {_MOST_COEFFICIENTS} coefficients of exclusive classes or of a label, got "
            f"{n_logits * n_columns}: use folds, such as cv=10"
        )
    # Hessians of so many problems at a time, 32 MB.
    step = max(1, _MOST_WEIGHTS // (n_logits * n_columns) ** 2)
    changes = []
    for first in range(0, n_problems, step):
        some = (np.arange(n_problems) // step) == first // step
        part = objective.select(some)
        inverse = precondition(part, theta[some], Curvature.WHOLE).inverse()
        changes.append(part.changes_without(theta[some], inverse))
    return np.concatenate(changes)


def _logits(X: Any, fits: Fits) -> Array:
    """Logits (P, K, n)."""
    n_problems, n_logits, _ = fits.coef.shape
    logits = np.asarray(X @ fits.coef.reshape(n_problems * n_logits, -1).T) + fits.intercept.ravel()
    return np.ascontiguousarray(logits.T).reshape(n_problems, n_logits, -1)
