"""Safeguards of certificates and of the solver that no other test would miss."""

import numpy as np
import pytest
from scipy import optimize, sparse
from test_objective import LABELS, X, softmax_objective

from skactivation._class_major_losses import SigmoidLoss, SoftmaxLoss
from skactivation._data.blocks import rows_of
from skactivation._optimize import preconditioner as _metric
from skactivation._optimize.certificate import _strong_convexity_gaps
from skactivation._optimize.preconditioner import Kind, metric_at
from skactivation._optimize.problems import Point, Problem
from skactivation._optimize.solver import Outcome, minimize
from skactivation.linear_model._objective import LinearObjective


def binary_objective(X, yes, penalty, weights=None):
    """Two classes as one logit; `yes` (n,) are shares of the second."""

    def targets(block, outputs):
        return yes[np.newaxis, block], 1 - yes[np.newaxis, block]

    rows = rows_of(X, 1, weights, fit_intercept=True)
    return LinearObjective(rows, SigmoidLoss(), targets, weights, n_outputs=1, penalty=penalty)


def evaluated(problem, theta):
    return Point(theta, *problem.objective.value_and_gradient(theta))


def minimum(objective):
    """The minimum by many damped Newton steps."""
    theta = np.zeros(objective.shape)
    for _ in range(300):
        gradient = objective.value_and_gradient(theta)[1].reshape(objective.n_parts, -1, 1)
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
    intercept = best[0, 1] + distance

    def derivative(slope):
        return objective.value_and_gradient(np.array([[slope, intercept]]))[1][0, 0]

    slope = optimize.brentq(derivative, -1e3, 1e3, xtol=1e-14)
    point = evaluated(Problem(objective, np.arange(1)), np.array([[slope, intercept]]))
    point, gaps = _strong_convexity_gaps(Problem(objective, np.arange(1)), point, 1e3, evaluated)
    assert point.values - objective.value_and_gradient(best)[0] <= gaps


@pytest.mark.parametrize("distance", [0.1, 0.2, 0.3])
def test_the_bound_by_strong_convexity_counts_how_far_intercepts_have_moved(distance):
    # Nearly whole steps keep the Hessian from before them. It falls fastest where all rows are nearly certain.
    share = 1e-6
    objective = binary_objective(np.zeros((4, 1)), np.full(4, share), 1e12)
    best = np.array([[0.0, np.log(share / (1 - share))]])
    problem = Problem(objective, np.arange(1))
    least = evaluated(problem, best).values
    start = evaluated(problem, best + np.array([0, distance]))
    n_steps = 0
    for tol in np.geomspace(1e-2, 1e-6, 40):
        point, gaps = _strong_convexity_gaps(problem, start, tol, evaluated)
        n_steps += point.theta[0, 1] != start.theta[0, 1]
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
        rows = rows_of(X, 2, None, fit_intercept=False)
        yes = rng.random((2, 51))
        objective = LinearObjective(
            rows,
            SigmoidLoss(),
            lambda block, outputs, yes=yes: (yes[outputs][:, block], 1 - yes[outputs][:, block]),
            None,
            n_outputs=2,
            penalty=5.0,
        )
        objective.is_coarse, rows.dtype = True, np.dtype(np.float32)
        size = 10 ** rng.uniform(4, 6)
        weights = size * np.array([[row[1], -row[0]], [-row[1], row[0]]]) + rng.normal(size=(2, 2))
        theta = objective.from_features(weights, np.zeros(2))
        metric = metric_at(objective, theta, Kind.WHOLE)
        exact = objective.hessian(theta)
        for part in np.flatnonzero(metric.bounds_hessian):
            worst = max(worst, below(np.linalg.inv(metric.inverse()[part]), exact[part]))
    assert worst <= 1e-12


def test_a_hessian_of_sparse_rows_is_certain_where_columns_lie_far_from_zero():
    worst, n_certain = -np.inf, 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        X = 10 ** rng.uniform(2, 6) + rng.normal(size=(60, 2))
        dense, thin = (
            LinearObjective(
                rows_of(form(X), 1, None, fit_intercept=True),
                SigmoidLoss(),
                lambda block, outputs: (np.full((1, 60), 0.5)[:, block],) * 2,
                None,
                n_outputs=1,
                penalty=1e-9,
            )
            for form in (np.asarray, sparse.csr_array)
        )
        theta = rng.normal(size=(1, 3))
        metric = metric_at(thin, thin.from_features(*dense.to_features(theta, np.float64)), Kind.WHOLE)
        if metric.bounds_hessian[0]:
            n_certain += 1
            units = dense._inverse_scale / thin._inverse_scale
            matrix = np.linalg.inv(metric.inverse()[0]) * np.outer(units, units)
            worst = max(worst, below(matrix, dense.hessian(theta)[0]))
    assert n_certain > 20
    assert worst <= 1e-10


def test_derivatives_of_exclusive_classes_sum_to_zero():
    # What rounding leaves of the sum over many rows goes to the classes with large residuals.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200_000, 2)) + 5
    labels = rng.integers(0, 2, size=200_000)
    rows = rows_of(x, 3, None, fit_intercept=True)
    objective = LinearObjective(
        rows, SoftmaxLoss(), lambda block, outputs: labels[block], None, n_outputs=3, penalty=0.0
    )
    theta = np.zeros(objective.shape)
    theta[:, -1] = [12.0, 12.0, -24.0]  # hardly any probability is left for the third class
    _, gradient = objective.value_and_gradient(theta)
    z = np.exp(-36.0) / (2 + np.exp(-36.0))
    np.testing.assert_allclose(gradient[2, -1], 200_000 * z, rtol=1e-9)
    assert np.all(np.abs(gradient.sum(axis=0)) <= 2 * np.spacing(np.abs(gradient).max(axis=0)))


class Misleading(LinearObjective):
    """In single precision no value is below that at the start."""

    def value_and_gradient(self, theta, *, exact=True):
        value, gradient = super().value_and_gradient(theta)
        return value if exact or not theta.any() else value + 100, gradient


@pytest.mark.parametrize(
    "plan", [_metric._OUTPUTS, _metric._SHARED, _metric._DIAGONAL], ids=lambda plan: plan.kind.name
)
def test_values_that_mislead_in_single_precision_are_evaluated_in_double_precision(plan):
    objective = softmax_objective(weights=None)
    objective = Misleading(
        rows_of(X, 3, None, fit_intercept=True),
        SoftmaxLoss(),
        lambda block, outputs: LABELS[block],
        None,
        n_outputs=3,
        penalty=0.5,
    )
    objective.is_coarse = True
    solution = minimize(objective, [np.zeros(objective.shape)], plan, tol=1e-8, max_iter=500)
    assert solution.outcomes == [Outcome.CERTIFIED]
    assert solution.values < 0.97 * solution.history[0]
