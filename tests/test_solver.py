"""The metric and the solver on objectives whose minimum is known otherwise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_objective import centred_theta, sigmoid_objective, softmax_objective

from skactivation import _metric, _solver
from skactivation._blocks import rows_of
from skactivation._metric import metric_at
from skactivation._objective import Objective
from skactivation._solver import Outcome, minimize
from skactivation.losses import SigmoidLoss


@pytest.mark.parametrize("make", [softmax_objective, sigmoid_objective])
def test_the_whole_metric_is_a_cholesky_factor_of_the_hessian(make):
    objective = make()
    theta = centred_theta(objective)
    metric = metric_at(objective, theta)
    gradient = centred_theta(objective, seed=5)
    hessian = objective.hessian(theta)
    assert metric.is_whole
    assert metric.bounds_hessian
    step = metric.to_coefficients(metric.to_coordinates(gradient))
    assert_allclose(hessian @ step.ravel(), gradient.ravel(), rtol=1e-8, atol=1e-10)
    assert_allclose(metric.inverse() @ hessian, np.eye(len(hessian)), atol=1e-8)
    assert_allclose(metric.norm(gradient) ** 2, gradient.ravel() @ step.ravel(), rtol=1e-10)
    assert_allclose(metric.decrement(gradient), 0.5 * metric.norm(gradient) ** 2, rtol=1e-14)


def test_beyond_the_limit_the_metric_is_the_diagonal(monkeypatch):
    objective = softmax_objective()
    theta = centred_theta(objective)
    monkeypatch.setattr(_metric, "_WHOLE_HESSIAN", objective.shape[0] * objective.shape[1] - 1)
    metric = metric_at(objective, theta)
    assert not metric.is_whole
    assert not metric.bounds_hessian
    gradient = centred_theta(objective, seed=5)
    step = metric.to_coefficients(metric.to_coordinates(gradient))
    assert_allclose(step * objective.hessian_diagonal(theta), gradient, rtol=1e-12)


def test_a_singular_hessian_gets_a_ridge_and_bounds_nothing():
    objective = softmax_objective(penalty=1e-30)
    theta = np.zeros(objective.shape)
    theta[0, -1] = 2000  # every row is certain of class 0: no curvature is left
    theta[1:, -1] = -1000
    metric = metric_at(objective, theta)
    assert not metric.bounds_hessian
    assert np.isfinite(metric.to_coordinates(np.ones(objective.shape))).all()


@pytest.mark.parametrize("make", [softmax_objective, sigmoid_objective])
@pytest.mark.parametrize("limit", [2000, 0])
def test_the_gradient_vanishes_at_the_solution(make, limit, monkeypatch):
    monkeypatch.setattr(_metric, "_WHOLE_HESSIAN", limit)
    objective = make()
    if make is sigmoid_objective and limit == 0:
        # Two labels, two intercepts: the solver minimises over both.
        assert objective.shape[0] == 2
    solution = minimize(objective, np.zeros(objective.shape), tol=1e-10, max_iter=2000)
    assert solution.outcome is Outcome.CERTIFIED
    value, gradient = objective.value_and_gradient(solution.theta)
    assert_allclose(value, solution.value, rtol=1e-14)
    assert np.abs(gradient).max() < (1e-10 if limit else 1e-3)
    assert solution.values[0] >= solution.values[-1]
    assert len(solution.values) == solution.n_iterations + 1
    assert solution.n_evaluations >= solution.n_iterations


def test_the_start_may_be_the_optimum():
    objective = softmax_objective()
    first = minimize(objective, np.zeros(objective.shape), tol=1e-6, max_iter=100)
    again = minimize(objective, first.theta, tol=1e-6, max_iter=100)
    assert again.outcome is Outcome.CERTIFIED
    assert again.n_evaluations <= 3


@pytest.mark.parametrize("max_iter", [1, 2, 4])
def test_max_iter_is_kept(max_iter):
    objective = softmax_objective()
    solution = minimize(objective, np.zeros(objective.shape), tol=1e-12, max_iter=max_iter)
    assert solution.outcome is Outcome.MAX_ITER
    assert solution.n_iterations == max_iter


def test_a_start_where_the_objective_is_not_finite_is_an_error():
    objective = softmax_objective()
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="the objective isn't finite"):
        minimize(objective, np.full(objective.shape, np.inf), tol=1e-6, max_iter=10)


@pytest.mark.parametrize(("spread", "norm"), [(1.0, 0.5), (1e3, 9e-4), (1e-3, 2.0), (1.0, 9.99e-4), (1.0, 1.001e-3)])
def test_the_self_concordance_gap_is_the_largest_fall_that_the_bound_allows(spread, norm):
    # The lower bound on F along a step of length r: -norm r + (exp(-S r) + S r - 1) / S^2.
    r = np.linspace(0, 20 / spread, 2_000_001)
    fall = norm * r - (np.expm1(-spread * r) + spread * r) / spread**2
    gap = _solver._self_concordance_gap(spread, norm)
    assert fall.max() <= gap * (1 + 1e-6)
    assert gap <= fall.max() * (1 + 2e-3)


def test_the_self_concordance_gap_is_unknown_for_long_gradients():
    assert _solver._self_concordance_gap(2.0, 0.5) == np.inf
    assert _solver._self_concordance_gap(np.inf, 0.0) == np.inf


def test_the_whole_metric_is_below_the_hessian_by_what_may_be_rounded():
    objective = softmax_objective()
    theta = centred_theta(objective)
    hessian = objective.hessian(theta)
    matrix = np.linalg.inv(metric_at(objective, theta).inverse())
    below = (hessian - matrix).diagonal() / hessian.diagonal()
    assert np.all(below > 0)
    assert np.all(below < 1e-10)


def test_a_newton_step_is_shortened_until_it_is_sure_to_lower_the_value():
    x = np.array([[-1.0], [1.0]])
    rows = rows_of(x, 1, None, fit_intercept=False)
    yes = np.array([[0.0, 1.0]])

    def targets(block):
        return yes[:, block], 1 - yes[:, block]

    objective = Objective(rows, SigmoidLoss(), targets, None, n_outputs=1, penalty=1e-3)
    run = _solver._Run(objective, tol=1e-6, max_iter=10)
    far = run._evaluate(np.array([[-9.0]]))
    metric = metric_at(objective, far.theta)
    full = -metric.to_coefficients(metric.to_coordinates(far.gradient))
    step, share = run._newton_step(far, metric)
    assert_allclose(step, share * full)
    assert objective.value_and_gradient(far.theta + full)[0] > far.value
    assert objective.value_and_gradient(far.theta + step)[0] < far.value
