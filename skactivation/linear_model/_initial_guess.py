"""An initial guess from a smaller problem with nearly the same solution."""

from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

from skactivation._data.rows import rows_of
from skactivation._optimize.objective import Sample
from skactivation._optimize.problems import Solution
from skactivation._optimize.solver import minimize
from skactivation._optimize.strategy import cheapest_strategy, sample_size
from skactivation._typing import Array
from skactivation.linear_model._objective import LinearObjective

# A sample has at least _LEAST_SAMPLE rows, and at least one in _ONE_IN: the solution on fewer rows is too inaccurate,
# and more rows cost more than they save. Sampling pays from _WORTH times as many rows on.
_LEAST_SAMPLE, _ONE_IN, _WORTH = 10_000, 20, 5
# Its entries take at most 128 MB, so that memory does not grow with rows that are stored elsewhere.
_MOST_ENTRIES = 2**24
# The sample's problem is solved to this relative gap only, because the sampling error is larger.
_TOL, _MAX_ITER = 1e-3, 50
# The products of this many rows take 32 MB. Their problem is solved accurately, because it has the same solution.
_MOST_ROWS = 2048
_ROW_SPACE_TOL, _ROW_SPACE_MAX_ITER = 1e-7, 1000


class Guess(NamedTuple):
    """An initial guess."""

    theta: Array
    """Coefficients (P, K, D)."""
    expected: Array
    """The values (P,) that the smaller problem had at the start: of a sample, they are not quite those of all rows."""
    sample: Sample | None
    """The sample of the rows that it is the solution on, if it is large enough for Hessians."""


def guess_from_smaller_problem(objective: LinearObjective, start: Array) -> Guess | None:
    """The best combination of rows, or the solution on a sample of rows; None if neither is worth it.

    Its evaluations are not counted; passes over all rows are.
    """
    products = objective.rows.row_products() if _row_space_is_cheaper(objective) else None
    if products is not None:
        return _solve_in_row_space(objective, products, start)
    n_rows = objective.rows.n_rows
    size = max(_LEAST_SAMPLE, min(n_rows // _ONE_IN, _MOST_ENTRIES // objective.rows.n_columns))
    if n_rows < _WORTH * size:
        return None
    sampled = objective.rows.stratified_sample(size)
    sample = Sample(objective.on(sampled.rows), sampled.most_rows_each)
    solution = _minimum(sample.objective, start, tol=_TOL, max_iter=_MAX_ITER, certified=False)
    is_large = sampled.rows.n_rows >= sample_size(objective.shape)
    return Guess(solution.theta, solution.history[0], sample if is_large else None)


def _minimum(objective: Any, start: Array, **options: Any) -> Solution:
    strategy, _ = cheapest_strategy(objective.shape, objective.costs, has_penalty=objective.is_strongly_convex)
    return minimize(objective, [start], strategy, **options)


def _row_space_is_cheaper(objective: LinearObjective) -> bool:
    """Whether X has so few rows that optimising over combinations of rows is cheaper than over columns."""
    rows, n_rows = objective.rows, objective.rows.n_rows
    if n_rows > _MOST_ROWS or rows.n_features <= n_rows:
        return False
    if np.any(rows.columns.units != 1) or not objective.is_strongly_convex:
        return False
    costs = objective.costs
    _, cost = cheapest_strategy(objective.shape, costs)
    size = n_rows * (n_rows + 1)
    reduced = costs._replace(n_entries=size, gram_cost=size * (n_rows + 1))
    _, reduced_cost = cheapest_strategy((*objective.shape[:2], n_rows + 1), reduced)
    return bool(n_rows * rows.n_entries + reduced_cost < cost)


def _solve_in_row_space(objective: LinearObjective, products: Array, start: Array) -> Guess | None:
    """The solution (P, K, D) as a combination of rows, given their products (n, n); with a penalty the optimum is one.

    Let X = L Q for centred rows, where L (n, r) is the Cholesky factor of X X^T and Q has orthonormal rows. With
    features L, coefficients V give the same logits as V Q with features X, and V and V Q have the same norm.
    """
    rows = objective.rows
    factor, order, rank, _ = linalg.lapack.dpstrf(products, lower=1)
    if rank == 0:
        return None
    order = order - 1
    features = np.zeros((len(products), rank))
    features[order] = np.tril(factor)[:, :rank]
    reduced = objective.on(
        rows_of(features, rows.targets, rows.weights, n_outputs=rows.n_outputs, fit_intercept=rows.fit_intercept)
    )
    reduced_start = np.zeros(reduced.shape)
    reduced_start[:, :, rank:] = start[:, :, rows.n_features :]
    solution = _minimum(reduced, reduced_start, tol=_ROW_SPACE_TOL, max_iter=_ROW_SPACE_MAX_ITER)
    coefficients, intercepts = reduced.to_features(solution.theta, np.float64)
    combination = np.zeros((len(coefficients), len(products)))
    combination[:, order[:rank]] = linalg.solve_triangular(
        factor[:rank, :rank], coefficients.T, lower=True, trans=1, check_finite=False
    ).T
    return Guess(objective.from_rows(combination, intercepts), solution.history[0], None)
