"""Initial guesses from smaller problems, whose solution is close to that of the whole."""

from typing import Any

import numpy as np
from scipy import linalg

from skactivation._data.rows import rows_of
from skactivation._optimize.solver import minimize
from skactivation._optimize.strategy import cheapest_strategy
from skactivation._typing import Array
from skactivation.linear_model._objective import LinearObjective

# A sample takes at least so many rows, or one in so many. A smaller one is too far from the whole, a larger one costs
# more than it saves. It is worth its cost where there are at least so many times as many rows.
_LEAST_SAMPLE, _ONE_IN, _WORTH = 10_000, 20, 5
# The relative gap, about, to which the sample's problem is solved: sampling itself leaves more.
_TOL, _MAX_ITER = 1e-3, 50
# Products of so many rows with each other take 32 MB. Their problem is solved closely: its solution is the whole's.
_MOST_ROWS = 2048
_ROW_SPACE_TOL, _ROW_SPACE_MAX_ITER = 1e-7, 1000


def guesses_from_smaller_problems(objective: LinearObjective, starts: list[Array]) -> list[Array]:
    """A guess (P, K, D) from combinations of rows or from a sample of rows; none where it is not worth its cost.

    What it takes is not counted as passes over the rows.
    """
    if len(starts) > 1:
        # A previous fit is a better guess.
        return []
    if _row_space_is_cheaper(objective):
        return [_solve_in_row_space(objective, starts[0])]
    n_rows = objective.rows.n_rows
    size = max(_LEAST_SAMPLE, n_rows // _ONE_IN)
    if n_rows < _WORTH * size:
        return []
    sample = objective.on(objective.rows.take(*_stratified_sample(objective.rows.targets.strata(), size)))
    return [_minimum(sample, starts, tol=_TOL, max_iter=_MAX_ITER, certified=False)]


def _minimum(objective: LinearObjective, starts: list[Array], **options: Any) -> Array:
    strategy, _ = cheapest_strategy(objective.shape, objective.costs, has_penalty=objective.is_strongly_convex)
    return minimize(objective, starts, strategy, **options).theta


def _row_space_is_cheaper(objective: LinearObjective) -> bool:
    """Whether X has so many more columns than rows that combinations of rows are the cheaper unknowns."""
    rows, n_rows = objective.rows, objective.rows.n_rows
    if not rows.has_row_products or n_rows > _MOST_ROWS or rows.n_features <= n_rows:
        return False
    if np.any(rows.columns.units != 1) or not objective.is_strongly_convex:
        return False
    costs = objective.costs
    _, cost = cheapest_strategy(objective.shape, costs)
    size = n_rows * (n_rows + 1)
    reduced = costs._replace(n_entries=size, gram_cost=size * (n_rows + 1))
    _, reduced_cost = cheapest_strategy((*objective.shape[:2], n_rows + 1), reduced)
    return bool(n_rows * rows.n_entries + reduced_cost < cost)


def _solve_in_row_space(objective: LinearObjective, start: Array) -> Array:
    """The solution (P, K, D), found among the combinations of rows: with a penalty it is one of them.

    With centred rows X = L Q, where L (n, r) is the Cholesky factor of X X^T and the rows of Q are orthonormal, L as
    features gives for coefficients V the logits that X gives for V Q, and both have the same norm.
    """
    rows = objective.rows
    products = rows.row_products()
    factor, order, rank, _ = linalg.lapack.dpstrf(products, lower=1)
    if rank == 0:
        return start
    order = order - 1
    features = np.zeros((len(products), rank))
    features[order] = np.tril(factor)[:, :rank]
    reduced = objective.on(
        rows_of(features, rows.targets, rows.weights, n_outputs=rows.n_outputs, fit_intercept=rows.fit_intercept)
    )
    reduced_start = np.zeros(reduced.shape)
    reduced_start[:, :, rank:] = start[:, :, rows.n_features :]
    theta = _minimum(reduced, [reduced_start], tol=_ROW_SPACE_TOL, max_iter=_ROW_SPACE_MAX_ITER)
    coefficients, intercepts = reduced.to_features(theta, np.float64)
    combination = np.zeros((len(coefficients), len(products)))
    combination[:, order[:rank]] = linalg.solve_triangular(
        factor[:rank, :rank], coefficients.T, lower=True, trans=1, check_finite=False
    ).T
    return objective.from_rows(combination, intercepts)


def _stratified_sample(strata: Array, size: int) -> tuple[Array, Array]:
    """Rows (m,), sorted, and how many rows (m,) each stands for.

    Half of the sample goes to the strata in equal shares, half in proportion to their rows, so that rare strata are
    there. The choice is random, for data may come in cycles, and always the same.
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
