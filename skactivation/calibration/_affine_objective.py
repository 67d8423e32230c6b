"""Cross-entropy as a function of slopes and biases of given logits."""

from copy import copy
from typing import Any, Self

import numpy as np

from skactivation._class_major_losses import LabelSigns, SigmoidLoss, SoftmaxLoss
from skactivation._data.blocks import sum_over_blocks
from skactivation._optimize.objective import Objective
from skactivation._typing import Array
from skactivation.calibration._logits import LogitBlock, Logits, entry_weights, weights_of_labels

__all__ = ["AffineObjective"]


class AffineObjective(Objective):
    """The sum of the cross-entropies as a function of slopes a and biases b: logits become a_k z_k + b_k.

    Labels that don't exclude each other have theta (L, 2), a slope and a bias each. For exclusive classes theta is
    (1, m): slopes, K of them or one for all classes, then K biases.
    """

    is_coarse = False
    has_penalty = False

    def __init__(self, logits: Logits, *, shared: bool) -> None:
        # One slope leaves the probabilities as they are whatever is taken from all logits of a row; several don't.
        self._logits = logits if shared or not logits.exclusive else logits.unshifted()
        self._loss: SoftmaxLoss | SigmoidLoss = SoftmaxLoss() if logits.exclusive else SigmoidLoss()
        self._n_columns = logits.values.shape[1]
        self._n_slopes = 1 if shared and logits.exclusive else self._n_columns
        self._parts = np.arange(logits.n_parts)
        self.n_parts = logits.n_parts
        self.shape = (1, self._n_slopes + self._n_columns) if logits.exclusive else (self.n_parts, 2)
        self.penalty = np.zeros(self.shape)
        self._low, self._high = self._ranges()
        # Slopes of constant columns change nothing that biases don't.
        constant = self._low == self._high
        self._pinned = np.zeros(self.shape, dtype=bool)
        if logits.exclusive:
            self._pinned[0, : self._n_slopes] = constant if self._n_slopes > 1 else constant.all()
        else:
            self._pinned[:, 0] = constant

    @property
    def has_light_rows(self) -> Array:
        """Whether weights of rows differ so much that values hardly show what some of them lose."""
        weights = self._logits.weights
        light = weights is not None and weights[weights > 0].min(initial=1) < 1e-6 * weights.max()
        return np.full(self.n_parts, light)

    def start(self, beta: Array) -> Array:
        """The coefficients without a bias, for slopes (P,)."""
        theta = np.zeros(self.shape)
        if self._logits.exclusive:
            theta[0, : self._n_slopes] = beta[0]
        else:
            theta[:, 0] = beta
        return theta

    def slopes_and_biases(self, theta: Array) -> tuple[Array, Array]:
        """Slopes and biases of the columns, both (K,)."""
        if self._logits.exclusive:
            return np.broadcast_to(theta[0, : self._n_slopes], self._n_columns), theta[0, self._n_slopes :]
        return theta[:, 0], theta[:, 1]

    def select(self, parts: Array) -> Self:
        """Some of several parts."""
        if np.count_nonzero(parts) == parts.size:
            return self
        selected = copy(self)
        selected._parts = self._parts[parts]
        selected.n_parts = selected._parts.size
        selected.shape, selected.penalty = (selected.n_parts, 2), self.penalty[parts]
        selected._pinned = self._pinned[parts]
        return selected

    def center(self, theta: Array) -> None:
        """Take the mean from the biases of exclusive classes."""
        if self._logits.exclusive:
            theta[:, self._n_slopes :] -= theta[:, self._n_slopes :].mean()

    def value_and_gradient(self, theta: Array, *, exact: bool = True) -> tuple[Array, Array]:
        """Values (P,) and the gradient."""
        weights = self._logits.weights

        def term(rows: slice, block: LogitBlock) -> Any:
            z, scaled, targets = self._scaled(theta, rows, block)
            sums = self._loss.sums_and_residuals(scaled, targets, None if weights is None else weights[rows])
            return sums, np.einsum("kb,kb->k", scaled, z), scaled.sum(axis=1)

        values, by_slopes, by_biases = sum_over_blocks(self._logits, term, size=2 * theta.size)
        if not self._logits.exclusive:
            return values, np.where(self._pinned, 0.0, np.stack([by_slopes, by_biases], axis=1))
        by_slopes = by_slopes.sum(keepdims=True) if self._n_slopes == 1 else by_slopes
        by_biases = by_biases - by_biases.mean()
        return values, np.where(self._pinned, 0.0, np.concatenate([by_slopes, by_biases])[np.newaxis])

    def hessian(self, theta: Array, *, exact: bool = True) -> Array:
        """The Hessian of each part, regular where all biases move."""
        weights, exclusive = self._logits.weights, self._logits.exclusive

        def term(rows: slice, block: LogitBlock) -> Any:
            z, scaled, targets = self._scaled(theta, rows, block)
            diagonal, rank_one = self._loss.curvature(scaled, targets)
            if weights is not None:
                diagonal = diagonal * weights[rows]
            own = np.array([np.einsum("kb,kb->k", diagonal, power) for power in (z * z, z, np.ones_like(z))])
            if not exclusive or rank_one is None:
                return own, np.zeros(())
            if weights is not None:
                rank_one = rank_one * np.sqrt(weights[rows])
            stacked = np.concatenate([rank_one * z, rank_one])
            return own, stacked @ stacked.T

        own, products = sum_over_blocks(
            self._logits, term, size=4 * self._n_columns**2 if exclusive else 3 * theta.size
        )
        if not exclusive:
            hessian = np.stack([np.stack([own[0], own[1]], -1), np.stack([own[1], own[2]], -1)], 1)
        else:
            hessian = self._of_exclusive(own, products)[np.newaxis]
        for part, pinned in zip(hessian, self._pinned, strict=True):
            part[pinned], part[:, pinned] = 0, 0
            part[pinned, pinned] = np.trace(part) or 1.0
        return hessian

    def _of_exclusive(self, own: Array, products: Array) -> Array:
        """The Hessian (m, m) by slopes and biases, from the curvatures' sums with z^2, z and 1, and those of q q^T."""
        n_columns = self._n_columns
        columns = np.arange(n_columns)
        hessian = np.negative(products).reshape(2, n_columns, 2, n_columns)
        hessian[0, columns, 0, columns] = own[0]
        hessian[0, columns, 1, columns] = hessian[1, columns, 0, columns] = own[1]
        hessian[1, columns, 1, columns] = own[2]
        # Where all biases move nothing changes: a class of little curvature must not drown in what is added there.
        shares = own[2] / np.sqrt(own[2].sum() or 1.0)
        hessian[1, :, 1, :] += np.outer(shares, shares)
        flat = hessian.reshape(2 * n_columns, 2 * n_columns)
        if self._n_slopes == n_columns:
            return flat
        summed = np.vstack([flat[:n_columns].sum(axis=0), flat[n_columns:]])
        return np.column_stack([summed[:, :n_columns].sum(axis=1), summed[:, n_columns:]])

    def hessian_diagonal(self, theta: Array) -> Array:
        """The Hessian's diagonal, in theta's shape."""
        return np.asarray(np.einsum("pjj->pj", self.hessian(theta))).reshape(theta.shape)

    def rounding(self, hessian: Array) -> Array:
        """No entry on the diagonal is a difference of much larger numbers."""
        return np.asarray(np.einsum("pjj->pj", hessian))

    def rounding_of_value(self, theta: Array) -> Array:
        """Logits are rounded relative to their sizes, and a row's loss moves by about twice as much times itself."""
        sizes = np.max(np.abs(self._logit_ends(theta)), axis=0)
        sizes = sizes.max(keepdims=True) if self._logits.exclusive else sizes
        return np.asarray(np.finfo(np.float64).eps * (8 + 4 * sizes))

    def logit_range(self, step: Array) -> Array:
        """How far a step spreads the logits of a row: no further than the ranges of the columns allow."""
        ends = self._logit_ends(step)
        if self._logits.exclusive:
            return np.asarray(np.ptp(ends, keepdims=True)[0])
        return np.asarray(np.max(np.abs(ends), axis=0))

    def crude_logit_range(self, length: Array) -> Array:
        """How far steps of some lengths (P,) do."""
        largest = np.maximum(np.abs(self._low), np.abs(self._high))
        largest = largest.max(keepdims=True) if self._logits.exclusive else largest[self._parts]
        return np.asarray(2 * length * np.sqrt(1 + largest**2))

    def largest_logit_range(self, inverse: Array) -> Array:
        """How far steps of length 1 in the norm of the Hessian do, at the ends of the columns' ranges."""
        if self._logits.exclusive:
            biases = self._n_slopes + np.arange(self._n_columns)
            slopes = np.arange(self._n_columns) if self._n_slopes > 1 else np.zeros(self._n_columns, dtype=int)
            of_slopes, mixed, of_biases = (
                inverse[0, i, j] for i, j in ((slopes,) * 2, (slopes, biases), (biases,) * 2)
            )
        else:
            of_slopes, mixed, of_biases = inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]
        parts = slice(None) if self._logits.exclusive else self._parts
        # A quadratic form that isn't negative is convex in z: it is largest at an end.
        squares = [z * z * of_slopes + 2 * z * mixed + of_biases for z in (self._low[parts], self._high[parts])]
        norms = np.sqrt(np.maximum(0, np.max(squares, axis=0)))
        return np.asarray(np.sort(norms)[-2:].sum(keepdims=True) if self._logits.exclusive else norms)

    def _logit_ends(self, theta: Array) -> Array:
        """Logits (2, .) at the ends of the columns' ranges."""
        slopes, biases = self.slopes_and_biases(theta)
        parts = slice(None) if self._logits.exclusive else self._parts
        return np.array([slopes * z + biases for z in (self._low[parts], self._high[parts])])

    def _ranges(self) -> tuple[Array, Array]:
        """The least and the largest finite logit of each column (K,), in rows that count."""

        def term(rows: slice, block: LogitBlock) -> Any:
            if not self._logits.exclusive:
                entries = entry_weights(self._logits.targets(rows))
                if entries is not None:
                    block.z[entries == 0] = 0
            return block.z.min(axis=1), block.z.max(axis=1)

        low, high = sum_over_blocks(self._logits, term, size=2 * self._n_columns, combine=(np.minimum, np.maximum))
        return low, high

    def _scaled(self, theta: Array, rows: slice, block: LogitBlock) -> tuple[Array, Array, Any]:
        """Logits (., b), what they become, and the loss's targets."""
        z, spare, infinite = block
        targets = self._logits.targets(rows)
        if not self._logits.exclusive:
            entries = entry_weights(targets)
            if entries is not None:
                z[entries == 0] = 0
            if infinite is not None:
                # Their loss is 0 for every slope above 0.
                targets = tuple(weights * ~infinite for weights in weights_of_labels(targets, z.shape))
            if self._parts.size < len(z):
                z, spare = z[self._parts], spare[: self._parts.size]
                targets = _of_parts(targets, self._parts)
        slopes, biases = self.slopes_and_biases(theta)
        np.multiply(z, slopes[:, np.newaxis], out=spare)
        spare += biases[:, np.newaxis]
        if infinite is not None and self._logits.exclusive:
            spare[infinite] = -np.inf
        return z, spare, targets


def _of_parts(targets: Any, parts: Array) -> Any:
    """Targets of some labels."""
    if isinstance(targets, LabelSigns):
        return LabelSigns(targets.signs[parts], None if targets.weights is None else targets.weights[parts])
    return tuple(weights[parts] for weights in targets)
