"""Terms of a linear model's objective: contributions of a block of rows to values, gradients, Hessians and ranges.

Each term is a function of a block and a `LinearPoint`; `RowBlocks.sum` adds the terms of all blocks.
"""

from typing import Any, NamedTuple

import numpy as np

from skactivation._class_major_losses import Loss
from skactivation._data.features import FeatureBlock
from skactivation._typing import Array

# The least share of a row's own curvature that other rows and the penalty are taken to leave.
_LEAST_GAP = 1e-12
# Numbers in an array of products that leverages are made of, 16 MB.
_MOST_PRODUCTS = 2**21


class LinearPoint(NamedTuple):
    """Coefficients of the blocks' columns, and the loss and problems that belong to them."""

    loss: Loss
    coefficients: Array
    """Coefficients (P K, D)."""
    problems: Array
    """Numbers (P,) of the problems, which identify their targets and weights."""
    n_logits: int
    """Number K of logits per problem."""

    def logits(self, block: FeatureBlock) -> Array:
        """Logits (P, K, b); the caller may overwrite them."""
        z = block.logits(self.coefficients)
        return z.reshape(-1, self.n_logits, z.shape[1])

    def curvature(self, block: FeatureBlock) -> tuple[Array, Array | None]:
        """Weighted d (P K, b) and q (P, K, b), or None for q: see `Loss.curvature`."""
        curvature = self.loss.curvature(self.logits(block), block.targets(self.problems))
        return _weighted(*curvature, block.weights(self.problems))


def _weighted(diagonal: Array, q: Array | None, weights: Array | None) -> tuple[Array, Array | None]:
    """Curvature, d (P K, b) and q (P, K, b), times the weights of the rows."""
    if weights is not None:
        weights = weights if weights.ndim == 1 else weights[:, np.newaxis]
        diagonal = diagonal * weights
        q = None if q is None else q * np.sqrt(weights)
    return diagonal.reshape(-1, diagonal.shape[2]), q


def losses_and_gradient(block: FeatureBlock, point: LinearPoint) -> tuple[Array, Array, Any]:
    """Sums of losses (P,), their gradient (P K, D) for the block's columns, sums of squared residuals (P K,)."""
    z = point.logits(block)
    sums = point.loss.sums_and_residuals(z, block.targets(point.problems), block.weights(point.problems))
    return sums, *_gradient(block, z)


def _gradient(block: FeatureBlock, residuals: Array) -> tuple[Array, Any]:
    """The gradient and the sums of squares for residuals (P, K, b)."""
    n_logits, residuals = residuals.shape[1], residuals.reshape(-1, residuals.shape[2])
    # Gradients of many blocks are added in double precision, because float32 sums would lose more digits.
    gradient = block.gradient(residuals).astype(np.float64, copy=False)
    return gradient, np.einsum("kb,kb->k", residuals, residuals) if n_logits > 1 else 0.0


def blocks_of_hessian(block: FeatureBlock, point: LinearPoint, pairs: tuple[Array, Array]) -> tuple[Array]:
    """Blocks (P n, D, D) of the Hessians: the K diagonal ones, then those of pairs of logits, not negated."""
    return (_blocks(block, *point.curvature(block), pairs),)


def _blocks(block: FeatureBlock, diagonal: Array, q: Array | None, pairs: tuple[Array, Array]) -> Array:
    if q is None:
        return block.grams(diagonal)
    # Computing diagonal blocks from the others would cancel digits for probabilities close to 1.
    weights = np.concatenate([diagonal.reshape(q.shape), q[:, pairs[0]] * q[:, pairs[1]]], axis=1)
    return block.grams(weights.reshape(-1, weights.shape[2]))


def losses_gradient_and_blocks(
    block: FeatureBlock, point: LinearPoint, pairs: tuple[Array, Array]
) -> tuple[Array, Array, Any, Array]:
    """What `losses_and_gradient` and `blocks_of_hessian` return."""
    z, weights = point.logits(block), block.weights(point.problems)
    sums, diagonal, q = point.loss.sums_residuals_and_curvature(z, block.targets(point.problems), weights)
    return sums, *_gradient(block, z), _blocks(block, *_weighted(diagonal, q, weights), pairs)


def hessian_blocks(block: FeatureBlock, point: LinearPoint) -> tuple[Array]:
    """Diagonal blocks (P K, D, D) of the Hessians."""
    return (block.grams(point.curvature(block)[0]),)


def shared_hessian_blocks(block: FeatureBlock, point: LinearPoint) -> tuple[Array]:
    """Means (K, D, D) of the diagonal blocks over the problems."""
    diagonal, _ = point.curvature(block)
    return (block.grams(diagonal.reshape(-1, point.n_logits, diagonal.shape[1]).mean(axis=0)),)


def mean_hessian_block(block: FeatureBlock, point: LinearPoint) -> tuple[Array, Array]:
    """Mean (D, D) of the diagonal blocks, and the sum of each logit's curvature (P K,)."""
    diagonal, _ = point.curvature(block)
    return block.grams(diagonal.mean(axis=0, keepdims=True))[0], diagonal.sum(axis=1, dtype=np.float64)


def hessian_diagonal(block: FeatureBlock, point: LinearPoint) -> tuple[Array]:
    """Diagonals (P K, D) of the Hessians."""
    return (block.squares(point.curvature(block)[0]),)


def intercept_hessian(block: FeatureBlock, point: LinearPoint) -> tuple[Array]:
    """Hessian (P, K, K) of each problem with respect to its intercepts."""
    diagonal, q = point.curvature(block)
    totals = diagonal.sum(axis=1).reshape(-1, point.n_logits)
    if q is None:
        return (totals[:, :, np.newaxis],)
    hessian = -np.stack([of_problem @ of_problem.T for of_problem in q])
    logits = np.arange(point.n_logits)
    hessian[:, logits, logits] = totals
    return (hessian,)


def curvatures_by_logit(block: FeatureBlock, point: LinearPoint) -> tuple[Array]:
    """Sum of each logit's curvature (P K,)."""
    return (point.curvature(block)[0].sum(axis=1, dtype=np.float64),)


def curvature_shares(block: FeatureBlock, point: LinearPoint, totals: Array) -> tuple[list[Array]]:
    """Share (b,) of each row in a logit's curvature, summed over the logits, in a list."""
    return ([(1 / totals) @ point.curvature(block)[0]],)


def largest_range(block: FeatureBlock, point: LinearPoint) -> tuple[Array]:
    """Largest range (P,) of the logits of a row; with one logit, its largest absolute value."""
    z = point.logits(block)
    if point.n_logits > 1:
        return ((z.max(axis=1) - z.min(axis=1)).max(axis=1),)
    return (np.maximum(z.max(axis=2), -z.min(axis=2))[:, 0],)


def largest_quadratic_form(block: FeatureBlock, forms: Array) -> tuple[Array]:
    """Largest over the rows (P,) of the sum of the two largest square roots of x^T A_k x, for forms A (P, K, D, D)."""
    squares = np.stack([block.quadratic_forms(form) for form in forms.reshape(-1, *forms.shape[2:])])
    norms = np.sqrt(np.maximum(squares, 0)).reshape(*forms.shape[:2], -1)
    return (np.sort(norms, axis=1)[:, -2:].sum(axis=1).max(axis=1),)


def largest_residuals(block: FeatureBlock, point: LinearPoint) -> tuple[Array]:
    """Largest absolute residual (P K,) of each logit over rows of positive weight."""
    z, weights = point.logits(block), block.weights(point.problems)
    counted = None if weights is None else (weights > 0).astype(z.dtype)
    point.loss.sums_and_residuals(z, block.targets(point.problems), counted)
    return (np.abs(z).max(axis=2).ravel(),)


def combined_rows(block: FeatureBlock, combination: Array) -> tuple[Array]:
    """Linear combinations (P K, D) of the rows, with factors (P K, n)."""
    return (block.gradient(combination[:, block.rows]),)


def triangle(block: FeatureBlock, scale: Array, problem: int | None) -> tuple[Array]:
    """Triangular factor of the QR decomposition of the block's scaled columns, in all rows or those of a problem."""
    weights = None if problem is None else block.weights(np.array([problem]))
    factor, start = np.zeros((0, scale.size)), 0
    for x in block.columns():
        present = slice(None) if weights is None else weights[0, start : start + len(x)] > 0
        factor, start = triangles(factor, x[present] * scale), start + len(x)
    return (factor,)


def triangles(one: Array, other: Array) -> Array:
    """Triangular factor of the QR decomposition of two stacked matrices."""
    return np.asarray(np.linalg.qr(np.vstack([one, other]), mode="r"))


def changes_without(block: FeatureBlock, point: LinearPoint, forms: Array) -> tuple[list[Array]]:
    """What leaving out a row changes in its logits, (P, K, b), in a list: a Newton step's worth.

    `forms` (P, D, K, K, D) are the inverses of the Hessians. With a row's leverage G, a matrix (K, K) of its quadratic
    forms, its curvature W and its residuals g, the change is G (I - W G)^-1 g.
    """
    z, targets, weights = point.logits(block).copy(), block.targets(point.problems), block.weights(point.problems)
    diagonal, q = _weighted(*point.loss.curvature(z.copy(), targets), weights)
    point.loss.sums_and_residuals(z, targets, weights)
    diagonal, changes = diagonal.reshape(z.shape), np.empty_like(z)
    n_columns, n_logits = forms.shape[1:3]
    step = max(1, _MOST_PRODUCTS // (n_logits**2 * n_columns))
    start = 0
    for columns in block.columns():
        for first in range(0, len(columns), step):
            x = columns[first : first + step]
            rows = slice(start + first, start + first + len(x))
            for problem, form in enumerate(forms):
                products = (x @ form.reshape(n_columns, -1)).reshape(len(x), n_logits, n_logits, n_columns)
                leverage = np.einsum("bkli,bi->bkl", products, x)
                of_problem = None if q is None else q[problem, :, rows].T
                changes[problem, :, rows] = _change(
                    leverage, diagonal[problem, :, rows].T, of_problem, z[problem, :, rows].T
                ).T
        start += len(columns)
    return ([changes],)


def _change(leverage: Array, diagonal: Array, q: Array | None, residuals: Array) -> Array:
    """Changes (b, K) of logits, from leverages (b, K, K), d and q (b, K) of the curvatures, and residuals (b, K)."""
    if q is None:
        return np.asarray(leverage[:, 0] * residuals / np.maximum(1 - diagonal * leverage[:, 0], _LEAST_GAP))
    curvature = -q[:, :, np.newaxis] * q[:, np.newaxis]
    classes = np.arange(q.shape[1])
    curvature[:, classes, classes] = diagonal
    steps = np.linalg.solve(np.eye(q.shape[1]) - curvature @ leverage, residuals[:, :, np.newaxis])
    return np.asarray((leverage @ steps)[:, :, 0])
