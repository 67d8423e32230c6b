"""Leave-one-out cross-validation from one fit to all rows, and from refits without the rows that need one.

A Newton step from the optimum, with the Hessian without a row, leads near the optimum without that row (Rad and Maleki,
"A scalable estimate of the out-of-sample prediction error via approximate leave-one-out", 2020). All the steps come
from one Hessian, because a row's part of it has the rank K. Where a row decides what is predicted for it, one step is
not enough: such rows are left out in fact. They are found by how much the step raises their loss.
"""

from typing import Any, NamedTuple

import numpy as np

from skactivation._optimize.objective import Curvature
from skactivation._optimize.preconditioner import precondition
from skactivation._optimize.solver import minimize
from skactivation._optimize.strategy import cheapest_strategy
from skactivation._typing import Array
from skactivation.linear_model._held_out_losses import HeldOutLosses
from skactivation.linear_model._objective import LinearObjective
from skactivation.linear_model._penalty_path import Fits, PenaltyPath

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
    n_refits: int
    """How many fits without a row there were."""


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
    **options
        `tol` and `max_iter` of the refits.
    """

    def __init__(self, path: PenaltyPath, X: Any, losses: HeldOutLosses, offset: Array, **options: Any) -> None:
        self._path, self._X, self._losses, self._options = path, X, losses, options
        self._offset = offset[:, :, np.newaxis]

    def left_out(self, C: float, fits: Fits) -> LeftOut:
        """Losses of the rows, given the fits to all of them."""
        objective = self._path.objective(C)
        _, n_logits, n_columns = objective.shape
        if n_logits * n_columns > _MOST_COEFFICIENTS:
            raise ValueError(
                f"cv='loo' takes at most {_MOST_COEFFICIENTS} coefficients of exclusive classes or of a label, got "
                f"{n_logits * n_columns}: use folds, such as cv=10"
            )
        theta = self._path.theta(objective, fits)
        inverse = precondition(objective, theta, Curvature.WHOLE).inverse()
        changes, steps = objective.left_out_steps(theta, inverse)
        z = _logits(self._X, fits) + self._offset
        before, weights = self._losses.of_logits(z.copy())
        z += changes
        losses, _ = self._losses.of_logits(z.copy())
        # Those come first whose losses rise most.
        rises = np.abs(losses - before) * weights
        order = np.argsort(-rises, axis=None, kind="stable")[: np.count_nonzero(weights)]
        end, batch = 0, _REFITS
        while end < order.size:
            chosen = np.unravel_index(order[end : end + batch], losses.shape)
            z[chosen[0], :, chosen[1]] = self._refitted(objective, theta, inverse, steps, *chosen)
            estimates, (losses, _) = losses, self._losses.of_logits(z.copy())
            errors = np.abs(losses - estimates)[chosen] * weights[chosen]
            end, batch = end + errors.size, 2 * batch
            # Errors of the others are expected to be no larger, beside what their losses rise.
            share = (errors / np.maximum(rises[chosen], np.finfo(float).tiny)).max()
            if share * rises.ravel()[order[end:]].sum() <= _ERROR * (losses * weights).sum():
                break
        return LeftOut(losses, weights, end)

    def _refitted(
        self, objective: LinearObjective, theta: Array, inverse: Array, steps: Array, problems: Array, rows: Array
    ) -> Array:
        """Logits (R, K) of the rows (R,) in fits of the problems (R,) without them."""
        step = max(1, _MOST_WEIGHTS // objective.rows.n_rows)
        logits = []
        for first in range(0, rows.size, step):
            p, i = problems[first : first + step], rows[first : first + step]
            pull = objective.gradient_of_rows(i, steps[p, :, i]).reshape(i.size, -1, 1)
            start = theta[p] + np.matmul(inverse[p], pull).reshape(i.size, *theta.shape[1:])
            others = objective.without(p, i)
            strategy, _ = cheapest_strategy(others.shape, others.costs, has_penalty=others.is_strongly_convex)
            solution = minimize(others, [start], strategy, **self._options)
            coef, intercept = others.to_features(solution.theta, np.float64)
            of_own_row = np.asarray(self._X[i] @ coef.T + intercept).reshape(i.size, i.size, -1)
            logits.append(np.einsum("iik->ik", of_own_row) + self._offset[p, :, 0])
        return np.concatenate(logits)


def _logits(X: Any, fits: Fits) -> Array:
    """Logits (P, K, n)."""
    n_problems, n_logits, _ = fits.coef.shape
    logits = np.asarray(X @ fits.coef.reshape(n_problems * n_logits, -1).T) + fits.intercept.ravel()
    return np.ascontiguousarray(logits.T).reshape(n_problems, n_logits, -1)
