"""Log losses of held-out rows, from their logits."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from skactivation._data.targets import IndicatorTargets, Targets, weights_of_yes_and_no
from skactivation._typing import Array
from skactivation.linear_model._predictions import linear_logits

# Logits that are held at once, 32 MB.
_MOST_LOGITS = 2**22


class LossSums(NamedTuple):
    """Weighted sums of losses for F sets of rows, M models of each, and P problems: one of classes, or P labels."""

    losses: Array
    """Sums (F, M, P)."""
    weights: Array
    """Sums (F, P) of the weights."""

    def scores(self) -> Array:
        """Minus the mean loss (F, M) over rows, or over the known entries of all labels; NaN if there are none."""
        return np.asarray(-self.losses.sum(axis=2) / self.weights.sum(axis=1, keepdims=True))

    def label_scores(self) -> Array:
        """Minus the mean loss (F, M, P) of each label; NaN without a known entry."""
        return np.asarray(-self.losses / self.weights[:, np.newaxis])


class HeldOutLosses:
    """Losses of rows X under linear models.

    Parameters
    ----------
    X : {ndarray, sparse array} of shape (n, d)
        Rows, checked.
    targets : Targets
        What the rows are, without smoothing and without weights for classes.
    weights : ndarray of shape (n,) or None
        Weights of the rows.
    transform : callable or None
        From the logits (K, .) of linear models to those whose softmax gives the probabilities.
    """

    def __init__(
        self, X: Any, targets: Targets, weights: Array | None, transform: Callable[[Array], Array] | None = None
    ) -> None:
        self._X, self._targets, self._transform = X, targets, transform
        self._weights = np.ones(X.shape[0]) if weights is None else weights / (weights.max() or 1.0)

    def sums(self, coef: Array, intercept: Array, rows: Array) -> tuple[Array, Array]:
        """Sums (M, P) of the losses of M models on some rows, and of the weights (P,).

        Coefficients are (M, L, d), intercepts (M, L), the numbers of the rows (b,).
        """
        n_models, n_outputs, _ = coef.shape
        step = max(1, _MOST_LOGITS // (n_models * n_outputs))
        parts = [
            self._sums(coef.reshape(n_models * n_outputs, -1), intercept, rows[first : first + step])
            for first in range(0, rows.size, step)
        ]
        losses, weights = zip(*parts, strict=True)
        return np.add.reduce(losses), np.add.reduce(weights)

    def of_logits(self, z: Array) -> tuple[Array, Array]:
        """Losses (P, n) of all rows, given their logits (P, K, n), which may be overwritten; weights (P, n)."""
        rows, problems = np.arange(z.shape[2]), np.arange(len(z))
        block = self._targets.block(rows, problems)
        if isinstance(self._targets, IndicatorTargets):
            yes, no = weights_of_yes_and_no(block)
            weights = yes + no
            losses = self._targets.loss.losses_and_residuals(z[:, 0], block) / np.where(weights > 0, weights, 1)
            return losses, weights * self._targets.units[:, np.newaxis] * self._weights
        if self._targets.n_logits == 1:
            z = z[:, 0]
        return self._targets.loss.losses_and_residuals(z, block), self._weights[np.newaxis]

    def _sums(self, coef: Array, intercept: Array, rows: Array) -> tuple[Array, Array]:
        n_models, n_logits = len(intercept), self._targets.n_logits
        logits, _ = linear_logits(self._X[rows], coef, intercept.ravel())
        z = np.ascontiguousarray(logits.T, dtype=np.float64).reshape(n_models, -1, rows.size)
        if self._transform is not None:
            z = np.stack([self._transform(of_model) for of_model in z])
        z = z.reshape(-1, n_logits, rows.size)
        of_model = np.arange(len(z) // n_models)
        weights = self._weights[rows]
        block = self._targets.block(rows, np.tile(of_model, n_models))
        with np.errstate(all="ignore"):
            losses = self._targets.loss.sums_and_residuals(z, block, weights).reshape(n_models, -1)
        if not isinstance(self._targets, IndicatorTargets):
            return losses, weights.sum(keepdims=True)
        yes, no = weights_of_yes_and_no(self._targets.block(rows, of_model))
        units = self._targets.units
        return losses * units, (yes + no) @ weights * units
