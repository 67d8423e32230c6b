"""Safeguards of certificates and of the solver that no other test would miss."""

import numpy as np
import pytest
from scipy import optimize, sparse
from test_objective import LABELS, X

from skactivation._data.indicators import Indicator
from skactivation._data.rows import rows_of
from skactivation._data.targets import BinaryTargets, ClassTargets, IndicatorTargets
from skactivation._optimize import strategy
from skactivation._optimize.certificate import strong_convexity_bounds
from skactivation._optimize.objective import Curvature
from skactivation._optimize.preconditioner import precondition
from skactivation._optimize.problems import Evaluate, Outcome
from skactivation._optimize.solver import minimize
from skactivation.linear_model._objective import LinearObjective


def binary_objective(X, yes, penalty):
    """Two classes as one logit; `yes` (n,) are shares of the second."""
    targets = BinaryTargets(np.column_stack([1 - yes, yes]))
    return LinearObjective(rows_of(X, targets, None, fit_intercept=True), penalty)


def minimum(objective):
    """The minimum by many damped Newton steps."""
    theta = np.zeros(objective.shape)
    for _ in range(300):
        gradient = objective.value_and_gradient(theta)[1].reshape(objective.shape[0], -1, 1)
        theta = theta - 0.5 * np.linalg.solve(objective.hessian(theta), gradient).reshape(theta.shape)
    return theta


@pytest.mark.parametrize("seed", [613, 629, 1150, 1232])
@pytest.mark.parametrize("distance", [-1.0, 1.0])
def test_the_bound_by_strong_convexity_counts_what_intercepts_may_still_move(seed, distance):
    # The intercept is off, the slope is the best one beside it: the slope's derivative is 0 here, not at the minimum.
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(8, 1)) * 10 ** rng.uniform(-1, 1)
    objective = binary_objective(x, (rng.random(8) < 0.5).astype(float), 0.01)
    best = minimum(objective)
    intercept = best[0, 0, 1] + distance

    def derivative(slope):
        return objective.value_and_gradient(np.array([[[slope, intercept]]]))[1][0, 0, 0]

    slope = optimize.brentq(derivative, -1e3, 1e3, xtol=1e-14)
    evaluate = Evaluate()
    point = evaluate(objective, np.array([[[slope, intercept]]]))
    point, gaps = strong_convexity_bounds(objective, point, 1e3, evaluate)
    assert point.values - objective.value_and_gradient(best)[0] <= gaps


@pytest.mark.parametrize("distance", [0.1, 0.2, 0.3])
def test_the_bound_by_strong_convexity_counts_how_far_intercepts_have_moved(distance):
    # Nearly whole steps keep the Hessian from before them. It falls fastest where all rows are nearly certain.
    share = 1e-6
    objective = binary_objective(np.zeros((4, 1)), np.full(4, share), 1e12)
    best = np.array([[[0.0, np.log(share / (1 - share))]]])
    evaluate = Evaluate()
    least = evaluate(objective, best).values
    start = evaluate(objective, best + np.array([0, distance]))
    n_steps = 0
    for tol in np.geomspace(1e-2, 1e-6, 40):
        point, gaps = strong_convexity_bounds(objective, start, tol, evaluate)
        n_steps += point.theta[0, 0, 1] != start.theta[0, 0, 1]
        assert point.values - least <= gaps
    assert n_steps > 5


def below(matrix, hessian):
    """By how much, relatively, a matrix exceeds a Hessian in any direction; negative for nowhere."""
    scale = 1 / np.sqrt(hessian.diagonal())
    pencil = np.linalg.solve(scale[:, np.newaxis] * hessian * scale, scale[:, np.newaxis] * matrix * scale)
    return np.linalg.eigvals(pencil).real.max() - 1


def test_a_hessian_in_float32_is_certain_where_logits_are_rounded():
    # Two columns cancel in logits that are small; every row is the same, so that roundings don't cancel.
    worst = -np.inf
    for seed in range(300):
        rng = np.random.default_rng(seed)
        row = np.array([rng.random(), 1.0])
        X = np.vstack([np.tile(row, (50, 1)), -row])
        targets = IndicatorTargets(Indicator(rng.random((51, 2))), None)
        rows = rows_of(X, targets, None, fit_intercept=False)
        rows.dtype = np.dtype(np.float32)
        objective = LinearObjective(rows, 5.0)
        size = 10 ** rng.uniform(4, 6)
        weights = size * np.array([[row[1], -row[0]], [-row[1], row[0]]]) + rng.normal(size=(2, 2))
        theta = objective.from_features(weights, np.zeros(2))
        made = precondition(objective, theta, Curvature.WHOLE)
        exact = objective.hessian(theta)
        for problem in np.flatnonzero(made.bounds_hessian):
            worst = max(worst, below(np.linalg.inv(made.inverse()[problem]), exact[problem]))
    assert worst <= 1e-12


def test_a_hessian_of_sparse_rows_is_certain_where_columns_lie_far_from_zero():
    worst, n_certain = -np.inf, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        X = 10 ** rng.uniform(2, 6) + rng.normal(size=(60, 2))
        targets = BinaryTargets(np.full((60, 2), 0.5))
        dense, thin = (
            LinearObjective(rows_of(form(X), targets, None, fit_intercept=True), 1e-9)
            for form in (np.asarray, sparse.csr_array)
        )
        theta = rng.normal(size=(1, 1, 3))
        made = precondition(thin, thin.from_features(*dense.to_features(theta, np.float64)), Curvature.WHOLE)
        if made.bounds_hessian[0]:
            n_certain += 1
            units = dense.units.inverse_scale / thin.units.inverse_scale
            matrix = np.linalg.inv(made.inverse()[0]) * np.outer(units, units)
            worst = max(worst, below(matrix, dense.hessian(theta)[0]))
    assert n_certain > 20
    assert worst <= 1e-10


def test_derivatives_of_exclusive_classes_sum_to_zero():
    # What rounding leaves of the sum over many rows goes to the classes with large residuals.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200_000, 2)) + 5
    labels = rng.integers(0, 2, size=200_000)
    objective = LinearObjective(rows_of(x, ClassTargets(labels, 3), None, fit_intercept=True), 0.0)
    theta = np.zeros(objective.shape)
    theta[0, :, -1] = [12.0, 12.0, -24.0]  # hardly any probability is left for the third class
    _, gradient = objective.value_and_gradient(theta)
    z = np.exp(-36.0) / (2 + np.exp(-36.0))
    np.testing.assert_allclose(gradient[0, 2, -1], 200_000 * z, rtol=1e-9)
    assert np.all(np.abs(gradient.sum(axis=1)) <= 2 * np.spacing(np.abs(gradient).max(axis=1)))


class Misleading(LinearObjective):
    """In single precision no value is below that at the start."""

    def value_and_gradient(self, theta):
        value, gradient = super().value_and_gradient(theta)
        return value + 100 if self.is_single and theta.any() else value, gradient


@pytest.mark.parametrize(
    "way", [strategy._BLOCKS, strategy._MEAN_BLOCK, strategy._DIAGONAL], ids=lambda way: way.curvature.name
)
def test_values_that_mislead_in_single_precision_are_evaluated_in_double_precision(way):
    rows = rows_of(X, ClassTargets(LABELS, 3), None, fit_intercept=True)
    rows.dtype = np.dtype(np.float32)
    objective = Misleading(rows, 0.5)
    solution = minimize(objective, [np.zeros(objective.shape)], way, tol=1e-8, max_iter=500)
    assert solution.outcomes == [Outcome.CERTIFIED]
    assert solution.values < 0.97 * solution.history[0]
