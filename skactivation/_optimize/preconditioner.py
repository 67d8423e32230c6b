"""Preconditioners: coordinates in which the level sets of an objective are round.

L-BFGS needs thousands of steps where columns differ in scale or depend on each other. In coordinates u with
theta = L^-T u, where L L^T is close to the Hessian, it needs a few dozen, and minimises the same function.
"""

from typing import Any

import numpy as np
from scipy import linalg

from skactivation._optimize.masks import all_of
from skactivation._optimize.objective import Curvature, Objective, Sample
from skactivation._threads import in_threads
from skactivation._typing import Array

_EPS, _SINGLE_EPS = float(np.finfo(np.float64).eps), float(np.finfo(np.float32).eps)
# A Hessian in single precision is sharp enough where its rounding is at most this share of it: with more, certificates
# get loose; with less, more Hessians are formed anew in double precision.
_SHARP = 0.3
# Operations of all factorisations from which threads pay.
_WORTH_THREADS = 10_000_000
# Allows for the rounding of weights, and tells the Hessian of a sample from that of all rows.
_SLIGHTLY_LESS = 1 - 1e-12


class Preconditioner:
    """Cholesky factors of a block-diagonal matrix: coefficients theta = L^-T u.

    Parameters
    ----------
    inverses : ndarray of shape (n_blocks, m, m)
        Inverses of the lower triangular factors L: as many for each problem, or one for all rows (m,) of coefficients;
        or K of them that all problems share.
    shape : tuple of int
        Shape (P, K, D) of the coefficients.
    scales : ndarray of shape (P, K) or None
        Factors on L for each logit.
    bounds_hessian : ndarray of shape (P,) or None
        Whether `share` times L L^T is certain to be no larger than the Hessian where it was taken; None for nowhere.
    is_shared : bool
        Whether all problems share the factors.
    is_exact : bool
        Whether L L^T is the Hessian of each problem where it was taken. A Hessian without a Cholesky factor is replaced
        by one with a larger diagonal, or by its diagonal: `bounds_hessian` is false there.
    share : float
        1, unless L L^T is the Hessian of a sample of the rows: where each of these stands for up to m rows, L L^T / m
        is no larger than the Hessian of all rows, and the share is 1 / m, or slightly less.
    """

    def __init__(
        self,
        inverses: Array,
        shape: tuple[int, int, int],
        *,
        scales: Array | None = None,
        bounds_hessian: Array | None = None,
        is_exact: bool = False,
        is_shared: bool = False,
        share: float = 1.0,
    ) -> None:
        self._is_shared = is_shared or len(inverses) < shape[0]
        self._inverses, self._shape, self._scales = inverses, shape, scales
        self.bounds_hessian = np.zeros(shape[0], dtype=bool) if bounds_hessian is None else bounds_hessian
        self.is_exact, self.share = is_exact, share

    def select(self, problems: Any) -> "Preconditioner":
        """The preconditioner of some problems, given by a mask (P,) or `ALL`."""
        if all_of(problems):
            return self
        blocks_each = len(self._inverses) // self._shape[0]
        return Preconditioner(
            self._inverses if self._is_shared else self._inverses[np.repeat(problems, blocks_each)],
            (int(np.count_nonzero(problems)), *self._shape[1:]),
            scales=None if self._scales is None else self._scales[problems],
            bounds_hessian=self.bounds_hessian[problems],
            is_exact=self.is_exact,
            is_shared=self._is_shared,
            share=self.share,
        )

    @property
    def is_sampled_hessian(self) -> bool:
        """Whether L L^T is the Hessian of a sample of the rows."""
        return self.share < 1

    @property
    def certifies(self) -> bool:
        """Whether certificates are tried with it near the minimum: with the Hessian, or where a share is below it."""
        return self.is_exact or (self.share < 1 and all_of(self.bounds_hessian))

    def lower_bound(self) -> "Preconditioner":
        """The preconditioner of `share` times L L^T."""
        if self.share == 1:
            return self
        inverses = self._inverses / np.sqrt(self.share)
        return Preconditioner(inverses, self._shape, bounds_hessian=self.bounds_hessian)

    def to_coordinates(self, gradient: Array) -> Array:
        """The gradient (P K D,) by u, L^-1 g, for a gradient (P, K, D) by theta."""
        if self._scales is not None:
            gradient = gradient / self._scales[:, :, np.newaxis]
        return self._multiply(gradient, self._inverses)

    def to_coefficients(self, u: Array) -> Array:
        """Coefficients (P, K, D), L^-T u, for coordinates (P K D,)."""
        theta = self._multiply(u, self._inverses.transpose(0, 2, 1)).reshape(self._shape)
        return theta if self._scales is None else theta / self._scales[:, :, np.newaxis]

    def norms(self, gradient: Array) -> Array:
        """The norm (P,) of each problem's gradient by u."""
        return self.norms_of_coordinates(self.to_coordinates(gradient))

    def norms_of_coordinates(self, u: Array) -> Array:
        """The Euclidean length (P,) of each problem's coordinates."""
        return np.asarray(np.sqrt(np.add.reduce((u * u).reshape(self._shape[0], -1), axis=1)))

    def decrements(self, gradient: Array) -> Array:
        """What Newton steps with this matrix would gain (P,): half the squared norms."""
        return 0.5 * self.norms(gradient) ** 2

    def longest_steps(self) -> Array:
        """Bounds (P,) on the length of coefficients whose norm in the matrix is 1, for whole Hessians."""
        return np.asarray(np.linalg.norm(self._inverses, axis=(1, 2)))

    def inverse(self) -> Array:
        """The inverses (P, m, m) of the matrices, for whole Hessians."""
        return np.asarray(np.matmul(self._inverses.transpose(0, 2, 1), self._inverses))

    def _multiply(self, vector: Array, matrices: Array) -> Array:
        size = matrices.shape[-1]
        if size == 1:
            return np.asarray(matrices.ravel() * vector.ravel())
        if len(matrices) == 1:
            return np.asarray(vector.reshape(-1, size) @ matrices[0].T).ravel()
        if self._is_shared:
            of_logits = vector.reshape(self._shape).transpose(1, 2, 0)
            return np.asarray(np.matmul(matrices, of_logits).transpose(2, 0, 1)).ravel()
        return np.asarray(np.matmul(matrices, vector.reshape(-1, size, 1))).ravel()


def precondition(
    objective: Objective,
    theta: Array,
    curvature: Curvature,
    *,
    sample: Sample | None = None,
    hessian: Array | None = None,
) -> Preconditioner:
    """The preconditioner from a curvature at a point; from the diagonal, where nothing else is positive definite.

    A sample of the rows stands for all of them where that saves time. A Hessian (P, m, m) that is known already, from
    this objective, saves a pass over the rows.
    """
    made, share = None, 1.0
    if sample is not None and not (curvature is Curvature.WHOLE and objective.has_uniform_curvature(theta)):
        objective, share = sample.objective, _SLIGHTLY_LESS / sample.most_rows_each
    if curvature is Curvature.WHOLE:
        made = _from_hessians(objective, theta, hessian if share == 1 else None, share)
    elif curvature is Curvature.BLOCKS:
        made = _from_blocks(objective.in_single_precision().hessian_blocks(theta), objective.shape)
    elif curvature is Curvature.SHARED_BLOCKS:
        blocks = objective.in_single_precision().shared_hessian_blocks(theta)
        made = _from_blocks(blocks, objective.shape, is_shared=True)
    elif curvature is Curvature.MEAN_BLOCK:
        made = _from_mean_block(objective, theta)
    if made is not None:
        return made
    diagonal = objective.in_double_precision().hessian_diagonal(theta).reshape(-1, 1, 1)
    return Preconditioner(1 / np.sqrt(_positive(diagonal)), objective.shape)


def _from_hessians(objective: Objective, theta: Array, known: Array | None, share: float) -> Preconditioner | None:
    """The Hessian of each problem, or the diagonal of one that has no factor; None for a single one without.

    The objective is that of all rows, or of a sample with a share below 1.
    """
    n_problems = objective.shape[0]
    # For several problems single precision is tried first: it is cheaper, and allowances show where it is enough.
    is_cheap = known is None and n_problems > 1
    # A known Hessian has the precision of the objective that it comes from.
    cheap = objective if known is not None else objective.in_double_precision()
    if is_cheap:
        cheap = objective.in_single_precision()
    hessians, inverses, bounds = _factors(cheap, theta, known)
    if cheap.is_single and not all_of(bounds):
        vague = ~bounds
        exact = objective.in_double_precision().select(vague)
        hessians[vague], exact_inverses, bounds[vague] = _factors(exact, theta[vague], None)
        for problem, inverse in zip(np.flatnonzero(vague), exact_inverses, strict=True):
            inverses[problem] = inverse
    if n_problems == 1:
        (inverse,) = inverses
        if inverse is None:
            return None
        stacked = inverse[np.newaxis]
    else:
        diagonals = (np.diag(1 / np.sqrt(_positive(hessian.diagonal()))) for hessian in hessians)
        stacked = np.stack([other if L is None else L for L, other in zip(inverses, diagonals, strict=True)])
    return Preconditioner(
        stacked,
        objective.shape,
        # Without a penalty, directions in which a sample is flat count as flat in all rows.
        bounds_hessian=bounds & (share == 1 or objective.is_strongly_convex),
        is_exact=share == 1,
        share=share,
    )


def _from_blocks(blocks: Array, shape: tuple[int, int, int], is_shared: bool = False) -> Preconditioner | None:
    blocks = blocks.reshape(-1, *blocks.shape[-2:])
    inverses = in_threads(lambda block: _inverse_of_nearby_factor(blocks[block]), len(blocks))
    found = [inverse for inverse in inverses if inverse is not None]
    return Preconditioner(np.stack(found), shape, is_shared=is_shared) if len(found) == len(blocks) else None


def _from_mean_block(objective: Objective, theta: Array) -> Preconditioner | None:
    mean, shares = objective.in_single_precision().mean_hessian_block(theta)
    inverse = _inverse_of_nearby_factor(mean)
    if inverse is None:
        return None
    return Preconditioner(inverse[np.newaxis], objective.shape, scales=np.sqrt(_positive(shares)))


def _factors(objective: Objective, theta: Array, known: Array | None) -> tuple[Array, list[Array | None], Array]:
    """The Hessians (P, m, m), inverses of their Cholesky factors, whether L L^T is certain to be below each (P,)."""
    hessians = objective.hessian(theta) if known is None else known
    # What sums and the factorisation may round, relative to each diagonal entry (never to their mean: a column of
    # small scale would drown). A matrix that stays positive definite without it bounds the Hessian from below.
    size = hessians.shape[-1]
    eps = (size + 64) * _SINGLE_EPS if objective.is_single else size * _EPS
    rounding = 4 * eps * objective.hessian_rounding(hessians)

    def factor(problem: int) -> tuple[Array | None, bool]:
        return _inverse_of_hessian(hessians[problem], rounding[problem])

    parallel = len(hessians) * size**3 >= _WORTH_THREADS
    factors = in_threads(factor, len(hessians)) if parallel else [factor(problem) for problem in range(len(hessians))]
    inverses = [inverse for inverse, _ in factors]
    bounds = np.array([is_below for _, is_below in factors])
    if objective.is_single:
        # Logits in single precision, sums of D products with columns of up to 2, move all curvature of a row by no more
        # than twice this, relative to it.
        moved = (theta.shape[2] + 4) * _SINGLE_EPS * np.abs(theta).sum(axis=(1, 2))
        inverses = [None if L is None else L * (1 + move) for L, move in zip(inverses, moved, strict=True)]
        bounds &= [_is_sharp(inverse, allowance) for inverse, allowance in zip(inverses, rounding, strict=True)]
    return hessians, inverses, bounds


def _is_sharp(inverse: Array | None, allowance: Array) -> bool:
    """Whether what was subtracted from a Hessian's diagonal is little beside the Hessian in all directions."""
    return inverse is not None and float(allowance @ np.square(inverse).sum(axis=0)) < _SHARP


def _inverse_of_hessian(hessian: Array, rounding: Array) -> tuple[Array | None, bool]:
    """Inverse of a Hessian's Cholesky factor, and whether its matrix is certain to be below the Hessian."""
    inverse = _inverse_factor(hessian, -rounding) if hessian.diagonal().min() > 0 else None
    if inverse is not None:
        return inverse, True
    return _inverse_of_nearby_factor(hessian), False


def _inverse_of_nearby_factor(matrix: Array) -> Array | None:
    """Inverse of a matrix's Cholesky factor, with the least ridge, relative to each diagonal entry, that allows one."""
    diagonal = _positive(matrix.diagonal())
    for ridge in (1e-12, 1e-8, 1e-4):
        inverse = _inverse_factor(matrix, (1 + ridge) * diagonal - matrix.diagonal())
        if inverse is not None:
            return inverse
    return None


def _inverse_factor(matrix: Array, ridge: Array) -> Array | None:
    """Inverse of the lower Cholesky factor of a matrix with a ridge, or None where it is not positive definite."""
    shifted = matrix.astype(np.float64)
    shifted.ravel()[:: len(matrix) + 1] += ridge
    # Symmetric, so that LAPACK can take its transpose, which needs no copy.
    factor, failed = linalg.lapack.dpotrf(shifted.T, lower=1, overwrite_a=1)
    if failed:
        return None
    inverse, failed = linalg.lapack.dtrtri(factor, lower=1, overwrite_c=1)
    return None if failed or not all_of(np.isfinite(inverse)) else np.ascontiguousarray(inverse)


def _positive(diagonal: Array) -> Array:
    """A diagonal with 1 where there is no curvature: any number will do there."""
    return np.where(diagonal > 0, diagonal, 1.0)
