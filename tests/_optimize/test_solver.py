"""The metric and the solver on objectives whose minimum is known otherwise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_objective import centred_theta, sigmoid_objective, softmax_objective

from skactivation._class_major_losses import SigmoidLoss, SoftmaxLoss
from skactivation._data.blocks import rows_of
from skactivation._optimize import preconditioner as _metric
from skactivation._optimize import solver as _solver
from skactivation._optimize.certificate import self_concordance_gaps
from skactivation._optimize.preconditioner import Kind, cheapest_plan, cheapest_plan_for, metric_at
from skactivation._optimize.solver import Outcome, minimize
from skactivation.linear_model._objective import LinearObjective


def solved(objective, starts, **options):
    """The solution by the plan that is expected to cost least."""
    return minimize(objective, starts, cheapest_plan(objective)[0], **options)


def best_theta(objective):
    """The optimum by Newton's method, in longhand."""
    theta = np.zeros(objective.shape)
    for _ in range(100):
        gradient = objective.value_and_gradient(theta)[1].reshape(objective.n_parts, -1, 1)
        step = np.linalg.solve(objective.hessian(theta), gradient)
        theta -= 0.5 * step.reshape(theta.shape)
        objective.center(theta)
    return theta


@pytest.mark.parametrize("make", [softmax_objective, sigmoid_objective])
def test_the_whole_metric_is_a_cholesky_factor_of_the_hessian(make):
    objective = make()
    theta = centred_theta(objective)
    metric = metric_at(objective, theta, Kind.WHOLE)
    gradient = centred_theta(objective, seed=5)
    hessian = objective.hessian(theta)
    assert metric.is_exact
    assert metric.bounds_hessian.all()
    step = metric.to_coefficients(metric.to_coordinates(gradient))
    n_parts = objective.n_parts
    parts = step.reshape(n_parts, -1)
    assert_allclose(np.einsum("pij,pj->pi", hessian, parts), gradient.reshape(n_parts, -1), rtol=1e-8, atol=1e-10)
    assert_allclose(metric.inverse() @ hessian, np.stack([np.eye(parts.shape[1])] * n_parts), atol=1e-8)
    assert_allclose(metric.norms(gradient) ** 2, (gradient.reshape(parts.shape) * parts).sum(axis=1), rtol=1e-10)
    assert_allclose(metric.decrements(gradient), 0.5 * metric.norms(gradient) ** 2, rtol=1e-14)


@pytest.mark.parametrize("make", [softmax_objective, sigmoid_objective])
def test_every_kind_of_metric_solves_for_the_matrix_that_it_stands_for(make):
    objective = make()
    theta = centred_theta(objective)
    gradient = centred_theta(objective, seed=5)
    blocks = objective.output_hessians(theta)
    mean, shares = objective.mean_hessian(theta)
    expected = {
        Kind.OUTPUTS: np.linalg.solve(blocks, gradient[..., np.newaxis])[..., 0],
        Kind.SHARED: np.linalg.solve(mean, gradient.T).T / shares[:, np.newaxis],
        Kind.DIAGONAL: gradient / objective.hessian_diagonal(theta),
    }
    for kind, solution in expected.items():
        metric = metric_at(objective, theta, kind)
        assert not metric.is_exact
        assert not metric.bounds_hessian.any()
        step = metric.to_coefficients(metric.to_coordinates(gradient))
        assert_allclose(step, solution, rtol=1e-8, atol=1e-9 * np.abs(solution).max())
        slopes = (gradient * step).reshape(objective.n_parts, -1).sum(axis=1)
        assert_allclose(metric.norms(gradient) ** 2, slopes, rtol=1e-10)


def test_a_metric_from_a_sample_is_near_that_of_all_rows(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6000, 3))
    labels = np.where(np.arange(6000) < 6, 2, rng.integers(0, 2, size=6000))  # six rows of the third class
    rows = rows_of(x, 3, None, fit_intercept=True)
    objective = LinearObjective(
        rows, SoftmaxLoss(), lambda block, outputs: labels[block], None, n_outputs=3, penalty=0.5
    )
    theta = np.zeros(objective.shape)
    theta[:, -1] = [0.5, 0.5, -1.0]
    theta[0, 0], theta[1, 0] = 1, -1
    monkeypatch.setattr(_metric, "_LEAST_SAMPLE", 1500)
    for kind in (Kind.OUTPUTS, Kind.SHARED):
        whole, sampled = (metric_at(objective, theta, kind, sampled=sampled) for sampled in (False, True))
        gradient = rng.normal(size=objective.shape)
        ratio = sampled.norms(gradient)[0] / whole.norms(gradient)[0]
        assert 0.8 < ratio < 1.25
        assert ratio != 1


@pytest.mark.parametrize("n_rows", [10, 1000, 10**5, 10**7])
@pytest.mark.parametrize("n_columns", [2, 100, 5000, 10**6])
@pytest.mark.parametrize("n_outputs", [1, 3, 100])
@pytest.mark.parametrize("separate", [False, True])
def test_a_metric_never_takes_more_than_its_budget(n_rows, n_columns, n_outputs, separate):
    shape, n_parts = (n_outputs, n_columns), n_outputs if separate else 1
    plan, cost = cheapest_plan_for(shape, n_parts, n_rows, n_rows * n_columns, n_rows * n_columns**2, 100.0)
    at_once = max(1, 2**22 // n_columns**2)  # of several parts
    elements = {
        Kind.WHOLE: (n_outputs * n_columns) ** 2 if n_parts == 1 else min(n_parts, at_once) * n_columns**2,
        Kind.OUTPUTS: n_outputs * n_columns**2,
        Kind.SHARED: n_columns**2,
        Kind.DIAGONAL: 0,
    }
    assert elements[plan.kind] <= 2**22
    assert np.isfinite(cost)


def test_small_problems_are_left_to_newtons_method_and_large_ones_to_cheap_metrics():
    def plan(n_rows, n_columns, n_outputs):
        size = n_rows * n_columns
        return cheapest_plan_for((n_outputs, n_columns), 1, n_rows, size, size * n_columns, 60.0)[0]

    assert (plan(150, 5, 3).kind, plan(150, 5, 3).newton) == (Kind.WHOLE, True)
    assert plan(1797, 65, 10).kind is Kind.OUTPUTS
    assert plan(20_000, 101, 10).sampled
    assert plan(20_000, 513, 100).kind is Kind.SHARED
    assert plan(500, 50_000, 3).kind is Kind.DIAGONAL


def test_a_singular_hessian_gets_a_ridge_and_bounds_nothing():
    objective = softmax_objective(penalty=1e-30)
    theta = np.zeros(objective.shape)
    theta[0, -1] = 2000  # every row is certain of class 0: no curvature is left
    theta[1:, -1] = -1000
    metric = metric_at(objective, theta, Kind.WHOLE)
    assert not metric.bounds_hessian.any()
    assert np.isfinite(metric.to_coordinates(np.ones(objective.shape))).all()


@pytest.mark.parametrize("make", [softmax_objective, sigmoid_objective])
@pytest.mark.parametrize(
    "plan",
    [*_metric._PLANS, *_metric._PLANS_FOR_PARTS[1:3]],
    ids=lambda plan: f"{plan.kind.name} {plan.sampled} {plan.newton} {plan.near:g}",
)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_every_plan_reaches_the_optimum_and_proves_it(make, plan, fit_intercept):
    objective = make(fit_intercept=fit_intercept)
    solution = minimize(objective, [np.zeros(objective.shape)], plan, tol=1e-8, max_iter=2000)
    assert set(solution.outcomes) == {Outcome.CERTIFIED}
    best = best_theta(objective)
    values, _ = objective.value_and_gradient(solution.theta)
    assert_allclose(values, solution.values, rtol=1e-14)
    least = objective.value_and_gradient(best)[0]
    assert np.all((values - least) / values <= solution.gaps + 1e-15)
    assert_allclose(solution.theta, best, rtol=1e-3, atol=1e-3)
    assert np.all(solution.history[0] >= solution.history[-1])
    assert_array_equal(solution.history[-1], solution.values)
    assert solution.history.shape == (solution.n_iterations + 1, objective.n_parts)
    assert solution.n_evaluations >= solution.n_iterations


@pytest.mark.parametrize("plan", [plan for plan in _metric._PLANS if plan.kind is not Kind.WHOLE])
def test_no_stage_costs_an_evaluation_of_its_start(plan, monkeypatch):
    # L-BFGS asks for the value where it starts: it is known.
    objective = softmax_objective()
    seen = []
    original = objective.value_and_gradient

    def value_and_gradient(theta, **options):
        seen.append(theta.copy())
        return original(theta, **options)

    monkeypatch.setattr(objective, "value_and_gradient", value_and_gradient)
    solution = minimize(objective, [np.zeros(objective.shape)], plan, tol=1e-6, max_iter=500)
    assert len(seen) == solution.n_evaluations
    assert len({theta.tobytes() for theta in seen}) == len(seen)


def test_without_a_certificate_a_metrics_word_will_do():
    objective = softmax_objective()
    solution = minimize(
        objective, [np.zeros(objective.shape)], cheapest_plan(objective)[0], tol=1e-2, max_iter=100, certified=False
    )
    assert solution.outcomes == [Outcome.ESTIMATED]
    assert solution.gaps == [np.inf]
    least = objective.value_and_gradient(best_theta(objective))[0]
    assert (solution.values - least) / least < 5e-2


def test_the_best_of_several_starts_is_taken_and_hopeless_ones_are_left():
    objective = softmax_objective()
    best = best_theta(objective)
    far = np.full(objective.shape, np.inf)
    with np.errstate(all="ignore"):
        solution = minimize(
            objective, [np.zeros(objective.shape), far, best], cheapest_plan(objective)[0], tol=1e-6, max_iter=100
        )
    assert_allclose(solution.history[0], objective.value_and_gradient(best)[0], rtol=1e-12)


def test_the_start_may_be_the_optimum():
    objective = softmax_objective()
    first = solved(objective, [np.zeros(objective.shape)], tol=1e-6, max_iter=100)
    again = solved(objective, [first.theta], tol=1e-6, max_iter=100)
    assert again.outcomes == [Outcome.CERTIFIED]
    assert again.n_evaluations <= 3


@pytest.mark.parametrize("max_iter", [1, 2])
def test_max_iter_is_kept(max_iter):
    objective = softmax_objective()
    solution = minimize(
        objective, [np.zeros(objective.shape)], cheapest_plan(objective)[0], tol=1e-12, max_iter=max_iter
    )
    assert solution.outcomes == [Outcome.MAX_ITER]
    assert solution.n_iterations == max_iter


def test_a_start_where_the_objective_is_not_finite_is_an_error():
    objective = softmax_objective()
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="the objective isn't finite"):
        solved(objective, [np.full(objective.shape, np.inf)], tol=1e-6, max_iter=10)


@pytest.mark.parametrize(("spread", "norm"), [(1.0, 0.5), (1e3, 9e-4), (1e-3, 2.0), (1.0, 9.99e-4), (1.0, 1.001e-3)])
def test_the_self_concordance_gap_is_the_largest_fall_that_the_bound_allows(spread, norm):
    # The lower bound on F along a step of length r: -norm r + (exp(-S r) + S r - 1) / S^2.
    r = np.linspace(0, 20 / spread, 2_000_001)
    fall = norm * r - (np.expm1(-spread * r) + spread * r) / spread**2
    (gap,) = self_concordance_gaps(np.array([spread]), np.array([norm]))
    assert fall.max() <= gap * (1 + 1e-6)
    assert gap <= fall.max() * (1 + 2e-3)


def test_the_self_concordance_gap_is_unknown_for_long_gradients():
    gaps = self_concordance_gaps(np.array([2.0, np.inf]), np.array([0.5, 0.0]))
    assert_array_equal(gaps, np.inf)


def test_the_whole_metric_is_below_the_hessian_by_what_may_be_rounded():
    objective = softmax_objective()
    theta = centred_theta(objective)
    (hessian,) = objective.hessian(theta)
    matrix = np.linalg.inv(metric_at(objective, theta, Kind.WHOLE).inverse()[0])
    below = (hessian - matrix).diagonal() / hessian.diagonal()
    assert np.all(below > 0)
    assert np.all(below < 1e-10)


def test_a_newton_step_is_shortened_until_it_is_sure_to_lower_the_value():
    x = np.array([[-1.0], [1.0]])
    rows = rows_of(x, 1, None, fit_intercept=False)
    yes = np.array([[0.0, 1.0]])

    def targets(block, outputs):
        return yes[:, block], 1 - yes[:, block]

    objective = LinearObjective(rows, SigmoidLoss(), targets, None, n_outputs=1, penalty=1e-3)
    run = _solver._Run(objective, _metric._PARTS, tol=1e-6, max_iter=10, certified=True, levels=np.zeros(1))
    far = run._evaluate(run._problem, np.array([[-9.0]]))
    metric = metric_at(objective, far.theta, Kind.WHOLE)
    full = -metric.to_coefficients(metric.to_coordinates(far.gradient))
    share = _solver._safe_shares(objective, full)
    assert objective.value_and_gradient(far.theta + full)[0] > far.values
    assert objective.value_and_gradient(far.theta + share * full)[0] < far.values
    point, _, settled, _, moved = run._newton_steps(run._problem, far, metric, np.array([True]))
    assert point.values < far.values
    assert moved.all()
    assert not settled.any()


def test_parts_that_lose_in_a_stage_for_all_stay_where_they_were(monkeypatch):
    objective = sigmoid_objective()
    run = _solver._Run(objective, _metric._PARTS, tol=1e-6, max_iter=10, certified=True, levels=np.zeros(2))
    start = run._evaluate(run._problem, np.zeros(objective.shape))
    run._history.append(start.values.copy())
    best = run._evaluate(run._problem, best_theta(objective))
    far = run._evaluate(run._problem, np.full(objective.shape, 9.0))
    mixed = best.updated(np.array([False, True]), far.select(np.array([False, True])))
    monkeypatch.setattr(run, "_lbfgs", lambda *arguments: mixed)
    metric = metric_at(objective, start.theta, Kind.DIAGONAL)
    after, progressed = run._descend(run._problem, start, metric, np.array([True, True]))
    assert_array_equal(after.values, [best.values[0], start.values[1]])
    assert_array_equal(after.theta, [best.theta[0], start.theta[1]])
    assert progressed.all()


def test_what_was_stuck_in_float32_is_evaluated_again_before_anything_is_said_of_it():
    objective = sigmoid_objective()
    run = _solver._Run(objective, _metric._PARTS, tol=1e-6, max_iter=10, certified=True, levels=np.zeros(2))
    point = run._evaluate(run._problem, np.zeros(objective.shape))
    run._stuck, run._stuck_coarsely = [(run._problem, point._replace(values=2 * point.values))], True
    problem, again = run._unstuck()
    assert_array_equal(again.values, point.values)
    assert problem.parts.size == 2
