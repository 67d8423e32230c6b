"""Head starts: smaller problems whose solution is close to that of the whole."""

from collections.abc import Callable

import numpy as np
from scipy import linalg

from skactivation._data.blocks import DenseRows
from skactivation._optimize.preconditioner import cheapest_plan, cheapest_plan_for
from skactivation._optimize.solver import minimize
from skactivation._typing import Array
from skactivation.linear_model._objective import LinearObjective

__all__ = ["head_start"]


# A sample takes at least so many rows, or this part of them; it is worth its while from five times as many on.
_LEAST_SAMPLE, _PART, _WORTH = 10_000, 20, 5
# The relative gap, about, to which its problem is solved: sampling leaves more.
_TOL, _MAX_ITER = 1e-3, 50
# Products of rows with each other take 32 MB at most. Their problem is solved to a proof that holds for the whole.
_MOST_ROWS = 2048
_ROW_SPACE_TOL, _MAX_ITER_IN_ROW_SPACE = 1e-7, 1000


def head_start(objective: LinearObjective, strata: Callable[[], Array], starts: list[Array]) -> list[Array]:
    """Start (K, D) that a smaller problem gives, or none where it isn't worth its while. Its work isn't counted.

    `strata` gives whole numbers (n,) from 0 on: the classes, none of which a sample may leave out.
    """
    rows, n_rows = objective.rows, objective.rows.n_rows
    if len(starts) > 1:
        # A previous fit is a better one.
        return []
    if isinstance(rows, DenseRows) and _row_space_is_cheaper(objective):
        return [_solve_in_row_space(objective, rows, starts[0])]
    size = max(_LEAST_SAMPLE, n_rows // _PART)
    if n_rows < _WORTH * size:
        return []
    sample = objective.part(*_stratified_sample(strata(), size))
    return [minimize(sample, starts, cheapest_plan(sample)[0], tol=_TOL, max_iter=_MAX_ITER, certified=False).theta]


def _row_space_is_cheaper(objective: LinearObjective) -> bool:
    """Whether X has so many more columns than rows that combinations of rows are the easier way."""
    rows, n_rows = objective.rows, objective.rows.n_rows
    if n_rows > _MOST_ROWS or objective.n_features <= n_rows or np.any(rows.units != 1) or not objective.has_penalty:
        return False
    _, cost = cheapest_plan(objective)
    shape = objective.shape[0], n_rows + 1
    size, work = n_rows * shape[1], objective.work_of_evaluation
    _, reduced_cost = cheapest_plan_for(shape, objective.n_parts, n_rows, size, size * shape[1], work)
    return n_rows * rows.n_entries + reduced_cost < cost


def _solve_in_row_space(objective: LinearObjective, rows: DenseRows, start: Array) -> Array:
    """The solution (K, D), found among the combinations of rows: with a penalty it is one of them.

    With centred rows X = L Q, where L (n, r) is the Cholesky factor of X X^T and the rows of Q are orthonormal, L as
    features gives for coefficients V the logits that X gives for V Q, and both have the same norm.
    """
    products = rows.row_products()
    factor, order, rank, _ = linalg.lapack.dpstrf(products, lower=1)
    if rank == 0:
        return start
    order = order - 1
    features = np.zeros((len(products), rank))
    features[order] = np.tril(factor)[:, :rank]
    reduced = objective.on(features)
    start = np.hstack([np.zeros((len(start), rank)), start[:, objective.n_features :]])
    solution = minimize(
        reduced, [start], cheapest_plan(reduced)[0], tol=_ROW_SPACE_TOL, max_iter=_MAX_ITER_IN_ROW_SPACE
    )
    coefficients, intercepts = reduced.to_features(solution.theta, np.float64)
    combination = np.zeros((len(start), len(products)))
    combination[:, order[:rank]] = linalg.solve_triangular(
        factor[:rank, :rank], coefficients.T, lower=True, trans=1, check_finite=False
    ).T
    return objective.from_rows(combination, intercepts)


def _stratified_sample(strata: Array, size: int) -> tuple[Array, Array]:
    """Rows (m,), sorted, and how many rows (m,) each stands for.

    Half of the sample goes to the strata in equal shares, half in proportion to their rows, so that the rare are there.
    The choice is random, for data may come in cycles, and always the same.
    """
    rng = np.random.default_rng(0)
    counts = np.bincount(strata)
    even = 0.5 * size / np.count_nonzero(counts)
    quotas = np.minimum(counts, np.ceil(even + 0.5 * size * counts / strata.size).astype(np.intp))
    order = np.argsort(strata, kind="stable")
    ends = np.cumsum(counts)
    chosen = np.concatenate(
        [
            order[end - count : end] if quota == count else order[end - count + rng.integers(0, count, quota)]
            for end, count, quota in zip(ends, counts, quotas, strict=True)
        ]
    )
    stands_for = np.repeat(counts / np.maximum(quotas, 1), quotas)
    by_row = np.argsort(chosen)
    return chosen[by_row], stands_for[by_row]
