"""Cross-entropy as a function of slopes and biases of given logits."""

from copy import copy
from typing import Any, NamedTuple, Self

import numpy as np

from skactivation._class_major_losses import Loss
from skactivation._data.targets import weights_of_yes_and_no
from skactivation._optimize.masks import all_of
from skactivation._optimize.objective import Curvature, Objective
from skactivation._typing import Array
from skactivation.calibration._logits import LogitBlock, LogitRows

_EPS = float(np.finfo(np.float64).eps)
# Weights below this fraction of the largest are tiny: few digits of the objective depend on their rows.
_TINY = 1e-6


class AffineObjective(Objective):
    """Sum of the cross-entropies of logits a_k z_k + b_k as a function of slopes a and biases b.

    For multilabel logits theta has the shape (L, 1, 2): a slope and a bias for each label. For exclusive classes it has
    the shape (1, 1, m): one slope (`shared`) or K, then K biases.
    """

    offers = frozenset({Curvature.WHOLE, Curvature.DIAGONAL})

    def __init__(self, rows: LogitRows, *, shared: bool) -> None:
        # Only with one shared slope do the probabilities not depend on the subtracted largest logit of each row.
        self._rows = rows if shared or not rows.exclusive else rows.with_(tops=None)
        self._loss: Loss = rows.targets.loss
        self._n_columns = rows.n_columns
        self._n_slopes = 1 if shared and rows.exclusive else rows.n_columns
        self._problems = np.arange(rows.n_problems)
        size = self._n_slopes + self._n_columns if rows.exclusive else 2
        self.shape = (rows.n_problems, 1, size)
        self.penalty = np.zeros(self.shape)
        self.has_tiny_weights = np.full(rows.n_problems, rows.least_weight < _TINY)
        # Smallest and largest finite logit of each column (K,), over rows of positive weight, once columns are centred:
        # large offsets would cost digits.
        low, high = self._rows.sum(_range, size=2 * self._n_columns, combine=(np.minimum, np.maximum))
        self._centers = 0.5 * low + 0.5 * high
        self._rows = self._rows.with_(centers=self._centers)
        self._low, self._high = low - self._centers, high - self._centers
        # The slope of a constant column is fixed: its bias has the same effect.
        constant = self._low == self._high
        self._pinned = np.zeros((rows.n_problems, size), dtype=bool)
        if rows.exclusive:
            self._pinned[0, : self._n_slopes] = constant if self._n_slopes > 1 else constant.all()
        else:
            self._pinned[:, 0] = constant

    def start(self, beta: Array) -> Array:
        """Coefficients with the given slopes (P,) and biases of 0."""
        theta = np.zeros(self.shape)
        theta[:, 0, : self._n_slopes if self._rows.exclusive else 1] = beta[:, np.newaxis]
        slopes, _ = self._slopes_and_biases(theta)
        shifts = slopes * self._centers[self._columns()]
        if self._rows.exclusive:
            theta[0, 0, self._n_slopes :] = shifts
        else:
            theta[:, 0, 1] = shifts
        return theta

    def slopes_and_biases(self, theta: Array) -> tuple[Array, Array]:
        """Slopes and biases of each column, both (K,); biases of exclusive classes have the mean 0."""
        slopes, biases = self._slopes_and_biases(theta)
        biases = biases - slopes * self._centers[self._columns()]
        return slopes, biases - biases.mean() if self._rows.exclusive else biases

    def _slopes_and_biases(self, theta: Array) -> tuple[Array, Array]:
        """The same for centred columns."""
        if self._rows.exclusive:
            own = theta[0, 0]
            return np.broadcast_to(own[: self._n_slopes], self._n_columns), own[self._n_slopes :]
        return theta[:, 0, 0], theta[:, 0, 1]

    def select(self, problems: Any) -> Self:
        """The objective of the problems in a mask (P,), or of `ALL`."""
        if all_of(problems):
            return self
        selected = copy(self)
        selected._problems = self._problems[problems]
        selected.shape = (selected._problems.size, *self.shape[1:])
        selected.penalty, selected._pinned = self.penalty[problems], self._pinned[problems]
        selected.has_tiny_weights = self.has_tiny_weights[problems]
        return selected

    def center(self, theta: Array) -> None:
        """Subtract the mean from the biases of exclusive classes."""
        if self._rows.exclusive:
            theta[:, :, self._n_slopes :] -= theta[:, :, self._n_slopes :].mean()

    def value_and_gradient(self, theta: Array) -> tuple[Array, Array]:
        """Values (P,) and the gradient (P, 1, m)."""
        values, by_slopes, by_biases = self._rows.sum(_losses, self._map(theta), size=2 * theta.size)
        if self._rows.exclusive:
            by_slopes = by_slopes.sum(keepdims=True) if self._n_slopes == 1 else by_slopes
            gradient = np.concatenate([by_slopes, by_biases - by_biases.mean()])[np.newaxis]
        else:
            gradient = np.stack([by_slopes, by_biases], axis=1)
        return values, np.where(self._pinned, 0.0, gradient)[:, np.newaxis]

    def hessian(self, theta: Array) -> Array:
        """Hessian of each problem (P, m, m), made regular in the direction that moves all biases alike."""
        size = 4 * self._n_columns**2 if self._rows.exclusive else 3 * theta.size
        own, products = self._rows.sum(_curvatures, self._map(theta), size=size)
        if self._rows.exclusive:
            hessian = self._of_exclusive(own, products)[np.newaxis]
        else:
            hessian = np.stack([np.stack([own[0], own[1]], -1), np.stack([own[1], own[2]], -1)], 1)
        for of_problem, pinned in zip(hessian, self._pinned, strict=True):
            of_problem[pinned], of_problem[:, pinned] = 0, 0
            of_problem[pinned, pinned] = np.trace(of_problem) or 1.0
        return hessian

    def hessian_rounding(self, hessian: Array) -> Array:
        """No entry on the diagonal is a difference of much larger numbers."""
        return np.asarray(np.einsum("pjj->pj", hessian))

    def value_rounding(self, theta: Array) -> Array:
        """Relative rounding of the values: it grows with the size of the logits."""
        sizes = np.max(np.abs(self._logit_ends(theta)), axis=0)
        sizes = sizes.max(keepdims=True) if self._rows.exclusive else sizes
        return np.asarray(_EPS * (8 + 4 * sizes))

    def logit_range(self, step: Array) -> Array:
        """Bound (P,) on how much a step spreads the logits of any row, from the ranges of the columns."""
        ends = self._logit_ends(step)
        if self._rows.exclusive:
            return np.asarray(np.ptp(ends, keepdims=True)[0])
        return np.asarray(np.max(np.abs(ends), axis=0))

    def logit_range_bound(self, length: Array) -> Array:
        """The bound of `logit_range` for any step of the given Euclidean lengths (P,)."""
        largest = np.maximum(np.abs(self._low), np.abs(self._high))
        largest = largest.max(keepdims=True) if self._rows.exclusive else largest[self._problems]
        return np.asarray(2 * length * np.sqrt(1 + largest**2))

    def largest_logit_range(self, inverse: Array) -> Array:
        """The largest spread (P,) of the logits for any step of length 1 in the norm of the Hessian."""
        columns = self._columns()
        if self._rows.exclusive:
            biases = self._n_slopes + columns
            slopes = columns if self._n_slopes > 1 else np.zeros_like(columns)
            of_slopes, mixed, of_biases = (
                inverse[0, i, j] for i, j in ((slopes,) * 2, (slopes, biases), (biases,) * 2)
            )
        else:
            of_slopes, mixed, of_biases = inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]
        # A positive semidefinite form is convex in z, so its maximum is at an end of the range.
        squares = [z * z * of_slopes + 2 * z * mixed + of_biases for z in (self._low[columns], self._high[columns])]
        norms = np.sqrt(np.maximum(0, np.max(squares, axis=0)))
        return np.asarray(np.sort(norms)[-2:].sum(keepdims=True) if self._rows.exclusive else norms)

    def _columns(self) -> Array:
        """Numbers of the columns that belong to these problems."""
        return np.arange(self._n_columns) if self._rows.exclusive else self._problems

    def _map(self, theta: Array) -> "_Map":
        return _Map(self._loss, *self._slopes_and_biases(theta), self._problems)

    def _logit_ends(self, theta: Array) -> Array:
        """Scaled logits (2, .) at both ends of each column's range."""
        slopes, biases = self._slopes_and_biases(theta)
        columns = self._columns()
        return np.array([slopes * z + biases for z in (self._low[columns], self._high[columns])])

    def _of_exclusive(self, own: Array, products: Array) -> Array:
        """Hessian (m, m) in slopes and biases, from the two results of `_curvatures`."""
        n_columns = self._n_columns
        columns = np.arange(n_columns)
        hessian = np.negative(products).reshape(2, n_columns, 2, n_columns)
        hessian[0, columns, 0, columns] = own[0]
        hessian[0, columns, 1, columns] = hessian[1, columns, 0, columns] = own[1]
        hessian[1, columns, 1, columns] = own[2]
        # Moving all biases alike changes nothing, so a rank-one term makes the matrix regular. Its weights follow the
        # curvatures, so that it does not drown classes of little curvature.
        shares = own[2] / np.sqrt(own[2].sum() or 1.0)
        hessian[1, :, 1, :] += np.outer(shares, shares)
        flat = hessian.reshape(2 * n_columns, 2 * n_columns)
        if self._n_slopes == n_columns:
            return flat
        summed = np.vstack([flat[:n_columns].sum(axis=0), flat[n_columns:]])
        return np.column_stack([summed[:, :n_columns].sum(axis=1), summed[:, n_columns:]])


class _Map(NamedTuple):
    """Slopes and biases to apply to blocks of logits, and the loss of the result."""

    loss: Loss
    slopes: Array
    biases: Array
    problems: Array

    def apply(self, block: LogitBlock) -> tuple[Array, Array, Any]:
        """Logits (., b), scaled logits (P, K, b), and targets for the loss."""
        exclusive = block.data.exclusive
        block, targets = block.select(self.problems)
        z, mapped, infinite = block.z, block.spare, block.infinite
        if infinite is not None and not exclusive:
            # Infinite logits on the right side have loss 0 for every positive slope.
            targets = tuple(weights * ~infinite for weights in weights_of_yes_and_no(targets))
        np.multiply(z, self.slopes[:, np.newaxis], out=mapped)
        mapped += self.biases[:, np.newaxis]
        if infinite is not None and exclusive:
            mapped[infinite] = -np.inf
        return z, mapped[np.newaxis] if exclusive else mapped[:, np.newaxis], targets


def _losses(block: LogitBlock, mapped: _Map) -> tuple[Array, Array, Array]:
    """Sums of losses (P,), and their derivatives by slopes and by biases, both (K,)."""
    z, logits, targets = mapped.apply(block)
    sums = mapped.loss.sums_and_residuals(logits, targets, block.weights())
    residuals = logits.reshape(z.shape)
    return sums, np.einsum("kb,kb->k", residuals, z), residuals.sum(axis=1)


def _curvatures(block: LogitBlock, mapped: _Map) -> tuple[Array, Array]:
    """Sums (3, K) of each logit's curvature times z^2, z and 1, and of q q^T (2 K, 2 K) for exclusive classes."""
    z, logits, targets = mapped.apply(block)
    diagonal, rank_one = mapped.loss.curvature(logits, targets)
    diagonal, weights = diagonal.reshape(z.shape), block.weights()
    if weights is not None:
        diagonal = diagonal * weights
    own = np.array([np.einsum("kb,kb->k", diagonal, power) for power in (z * z, z, np.ones_like(z))])
    if rank_one is None:
        return own, np.zeros(())
    q = rank_one[0] if weights is None else rank_one[0] * np.sqrt(weights)
    stacked = np.concatenate([q * z, q])
    return own, stacked @ stacked.T


def _range(block: LogitBlock) -> tuple[Array, Array]:
    """Smallest and largest logit of each column (K,)."""
    block, _ = block.select(np.arange(block.data.n_problems))
    return block.z.min(axis=1), block.z.max(axis=1)
