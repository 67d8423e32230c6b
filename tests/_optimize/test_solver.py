"""The made and the solver on objectives whose minimum is known otherwise."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from test_objective import OBJECTIVES, centred_theta, search_objective, sigmoid_objective, softmax_objective

from skactivation._data.rows import rows_of
from skactivation._data.targets import BinaryTargets, ClassTargets
from skactivation._optimize import solver, strategy
from skactivation._optimize.certificate import safe_step_lengths, self_concordance_bounds
from skactivation._optimize.lbfgs import Stage
from skactivation._optimize.newton import newton_steps
from skactivation._optimize.objective import Costs, Curvature
from skactivation._optimize.preconditioner import precondition
from skactivation._optimize.problems import Evaluate, Outcome
from skactivation._optimize.solver import minimize
from skactivation._optimize.strategy import NEWTON, cheapest_strategy
from skactivation.linear_model._objective import LinearObjective


def cheapest(objective):
    return cheapest_strategy(objective.shape, objective.costs, has_penalty=objective.is_strongly_convex)[0]


def solved(objective, starts, **options):
    """The solution by the strategy that is expected to cost least."""
    return minimize(objective, starts, cheapest(objective), **options)


def best_theta(objective):
    """The optimum by Newton's method, in longhand."""
    theta = np.zeros(objective.shape)
    for _ in range(100):
        gradient = objective.value_and_gradient(theta)[1].reshape(objective.shape[0], -1, 1)
        step = np.linalg.solve(objective.hessian(theta), gradient)
        theta -= 0.5 * step.reshape(theta.shape)
        objective.center(theta)
    return theta


@pytest.mark.parametrize("make", OBJECTIVES)
def test_the_whole_preconditioner_is_a_cholesky_factor_of_the_hessian(make):
    objective = make()
    theta = centred_theta(objective)
    made = precondition(objective, theta, Curvature.WHOLE)
    gradient = centred_theta(objective, seed=5)
    hessian = objective.hessian(theta)
    assert made.is_exact
    assert made.bounds_hessian.all()
    step = made.to_coefficients(made.to_coordinates(gradient))
    n_problems = objective.shape[0]
    parts = step.reshape(n_problems, -1)
    assert_allclose(np.einsum("pij,pj->pi", hessian, parts), gradient.reshape(n_problems, -1), rtol=1e-8, atol=1e-10)
    assert_allclose(made.inverse() @ hessian, np.stack([np.eye(parts.shape[1])] * n_problems), atol=1e-8)
    assert_allclose(made.norms(gradient) ** 2, (gradient.reshape(parts.shape) * parts).sum(axis=1), rtol=1e-10)
    assert_allclose(made.decrements(gradient), 0.5 * made.norms(gradient) ** 2, rtol=1e-14)


@pytest.mark.parametrize("make", OBJECTIVES)
def test_every_preconditioner_solves_for_the_matrix_that_it_stands_for(make):
    objective = make()
    theta = centred_theta(objective)
    gradient = centred_theta(objective, seed=5)
    blocks = objective.hessian_blocks(theta)
    mean, shares = objective.mean_hessian_block(theta)
    expected = {
        Curvature.BLOCKS: np.linalg.solve(blocks, gradient[..., np.newaxis])[..., 0],
        Curvature.MEAN_BLOCK: np.linalg.solve(mean, gradient[..., np.newaxis])[..., 0] / shares[..., np.newaxis],
        Curvature.DIAGONAL: gradient / objective.hessian_diagonal(theta),
    }
    for curvature, solution in expected.items():
        made = precondition(objective, theta, curvature)
        assert not made.is_exact
        assert not made.bounds_hessian.any()
        step = made.to_coefficients(made.to_coordinates(gradient))
        assert_allclose(step, solution, rtol=1e-8, atol=1e-9 * np.abs(solution).max())
        slopes = (gradient * step).reshape(objective.shape[0], -1).sum(axis=1)
        assert_allclose(made.norms(gradient) ** 2, slopes, rtol=1e-10)


def test_a_preconditioner_from_a_sample_is_near_that_of_all_rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6000, 3))
    labels = np.where(np.arange(6000) < 6, 2, rng.integers(0, 2, size=6000))  # six rows of the third class
    objective = LinearObjective(rows_of(x, ClassTargets(labels, 3), None, fit_intercept=True), 0.5)
    theta = np.zeros(objective.shape)
    theta[0, :, -1] = [0.5, 0.5, -1.0]
    theta[0, 0, 0], theta[0, 1, 0] = 1, -1
    for curvature in (Curvature.BLOCKS, Curvature.MEAN_BLOCK):
        samples = (None, objective.sample(theta, 1500))
        whole, sampled = (precondition(objective, theta, curvature, sample=sample) for sample in samples)
        gradient = rng.normal(size=objective.shape)
        ratio = sampled.norms(gradient)[0] / whole.norms(gradient)[0]
        assert 0.8 < ratio < 1.25
        assert ratio != 1


@pytest.mark.parametrize("n_rows", [10, 1000, 10**5, 10**7])
@pytest.mark.parametrize("n_columns", [2, 100, 5000, 10**6])
@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (1, 100), (3, 1), (100, 1), (10, 10)])
def test_a_preconditioner_never_takes_more_than_its_budget(n_rows, n_columns, shape):
    n_problems, n_logits = shape
    costs = Costs(n_rows, n_rows * n_columns, n_rows * n_columns**2, 100.0)
    chosen, cost = cheapest_strategy((*shape, n_columns), costs)
    at_once = strategy.problems_at_once(chosen, (*shape, n_columns))
    factors = {
        Curvature.WHOLE: at_once * [n_logits * n_columns],
        Curvature.BLOCKS: n_logits * [n_columns],
        Curvature.MEAN_BLOCK: [n_columns],
        Curvature.DIAGONAL: [],
    }[chosen.curvature]
    assert 1 <= at_once <= n_problems
    assert sum(size**2 for size in factors) * 8 <= 32 * 2**20
    assert np.isfinite(cost)


def test_small_problems_are_left_to_newtons_method_and_large_ones_to_cheap_preconditioners():
    def chosen(n_rows, n_columns, n_logits):
        size = n_rows * n_columns
        return cheapest_strategy((1, n_logits, n_columns), Costs(n_rows, size, size * n_columns, 60.0))[0]

    assert (chosen(150, 5, 3).curvature, chosen(150, 5, 3).newton) == (Curvature.WHOLE, True)
    assert chosen(1797, 65, 10).curvature is Curvature.BLOCKS
    assert chosen(20_000, 101, 10).sampled
    assert chosen(20_000, 513, 100).curvature is Curvature.MEAN_BLOCK
    assert chosen(500, 50_000, 3).curvature is Curvature.DIAGONAL


def test_a_singular_hessian_gets_a_ridge_and_bounds_nothing():
    objective = softmax_objective(penalty=1e-30)
    theta = np.zeros(objective.shape)
    theta[0, 0, -1] = 2000  # every row is certain of class 0: no curvature is left
    theta[0, 1:, -1] = -1000
    made = precondition(objective, theta, Curvature.WHOLE)
    assert not made.bounds_hessian.any()
    assert np.isfinite(made.to_coordinates(np.ones(objective.shape))).all()


@pytest.mark.parametrize("make", OBJECTIVES)
@pytest.mark.parametrize(
    "way",
    [*strategy._FOR_ONE_PROBLEM, *strategy._FOR_SEVERAL_PROBLEMS[1:3]],
    ids=lambda way: f"{way.curvature.name} {way.sampled} {way.newton} {way.near:g}",
)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_every_strategy_reaches_the_optimum_and_certifies_it(make, way, fit_intercept):
    objective = make(fit_intercept=fit_intercept)
    solution = minimize(objective, [np.zeros(objective.shape)], way, tol=1e-8, max_iter=2000)
    assert set(solution.outcomes) == {Outcome.CERTIFIED}
    best = best_theta(objective)
    values, _ = objective.value_and_gradient(solution.theta)
    assert_allclose(values, solution.values, rtol=1e-14)
    least = objective.value_and_gradient(best)[0]
    assert np.all((values - least) / values <= solution.gaps + 1e-15)
    assert_allclose(solution.theta, best, rtol=1e-3, atol=1e-3)
    assert np.all(solution.history[0] >= solution.history[-1])
    assert_array_equal(solution.history[-1], solution.values)
    assert solution.history.shape == (solution.n_iterations + 1, objective.shape[0])
    assert solution.n_evaluations >= solution.n_iterations


@pytest.mark.parametrize(
    "way",
    [way for way in strategy._FOR_ONE_PROBLEM if way.curvature is not Curvature.WHOLE],
    ids=lambda way: f"{way.curvature.name} {way.sampled}",
)
def test_no_stage_costs_an_evaluation_of_its_start(way, monkeypatch):
    # L-BFGS asks for the value where it starts: it is known.
    objective = softmax_objective()
    seen = []
    original = objective.value_and_gradient

    def value_and_gradient(theta):
        seen.append(theta.copy())
        return original(theta)

    monkeypatch.setattr(objective, "value_and_gradient", value_and_gradient)
    solution = minimize(objective, [np.zeros(objective.shape)], way, tol=1e-6, max_iter=500)
    assert len(seen) == solution.n_evaluations
    assert len({theta.tobytes() for theta in seen}) == len(seen)


def test_without_a_certificate_the_preconditioners_estimate_is_enough():
    objective = softmax_objective()
    solution = minimize(
        objective, [np.zeros(objective.shape)], cheapest(objective), tol=1e-2, max_iter=100, certified=False
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
            objective, [np.zeros(objective.shape), far, best], cheapest(objective), tol=1e-6, max_iter=100
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
    solution = minimize(objective, [np.zeros(objective.shape)], cheapest(objective), tol=1e-12, max_iter=max_iter)
    assert solution.outcomes == [Outcome.MAX_ITER]
    assert solution.n_iterations == max_iter


def test_a_start_where_the_objective_is_not_finite_is_an_error():
    objective = softmax_objective()
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="the objective is not finite"):
        solved(objective, [np.full(objective.shape, np.inf)], tol=1e-6, max_iter=10)


@pytest.mark.parametrize(("spread", "norm"), [(1.0, 0.5), (1e3, 9e-4), (1e-3, 2.0), (1.0, 9.99e-4), (1.0, 1.001e-3)])
def test_the_self_concordance_gap_is_the_largest_fall_that_the_bound_allows(spread, norm):
    # The lower bound on F along a step of length r: -norm r + (exp(-S r) + S r - 1) / S^2.
    r = np.linspace(0, 20 / spread, 2_000_001)
    fall = norm * r - (np.expm1(-spread * r) + spread * r) / spread**2
    (gap,) = self_concordance_bounds(np.array([spread]), np.array([norm]))
    assert fall.max() <= gap * (1 + 1e-6)
    assert gap <= fall.max() * (1 + 2e-3)


def test_the_self_concordance_gap_is_unknown_for_long_gradients():
    gaps = self_concordance_bounds(np.array([2.0, np.inf]), np.array([0.5, 0.0]))
    assert_array_equal(gaps, np.inf)


def test_the_whole_preconditioner_is_below_the_hessian_by_what_may_be_rounded():
    objective = softmax_objective()
    theta = centred_theta(objective)
    (hessian,) = objective.hessian(theta)
    matrix = np.linalg.inv(precondition(objective, theta, Curvature.WHOLE).inverse()[0])
    below = (hessian - matrix).diagonal() / hessian.diagonal()
    assert np.all(below > 0)
    assert np.all(below < 1e-10)


def test_a_newton_step_is_shortened_until_it_is_sure_to_lower_the_value():
    x = np.array([[-1.0], [1.0]])
    objective = LinearObjective(rows_of(x, BinaryTargets(np.array([0, 1])), None, fit_intercept=False), 1e-3)
    evaluate = Evaluate()
    far = evaluate(objective, np.array([[[-9.0]]]))
    made = precondition(objective, far.theta, Curvature.WHOLE)
    full = -made.to_coefficients(made.to_coordinates(far.gradient))
    length = safe_step_lengths(objective.logit_range(full))
    assert objective.value_and_gradient(far.theta + full)[0] > far.values
    assert objective.value_and_gradient(far.theta + length * full)[0] < far.values
    steps = newton_steps(objective, far, made, evaluate, [1.0], useful=0.01, max_iter=10, advance=lambda point: None)
    assert steps.point.values < far.values
    assert all(steps.moved)
    assert not any(steps.settled)


def test_problems_that_lose_in_a_stage_for_all_stay_where_they_were(monkeypatch):
    # The first stage leaves the first problem at its optimum and takes the second far away.
    objective = sigmoid_objective()
    evaluate = Evaluate()
    start, best, far = (
        evaluate(objective, theta)
        for theta in (np.zeros(objective.shape), best_theta(objective), np.full(objective.shape, 9.0))
    )
    mixed = best.replaced(np.array([False, True]), far.select(np.array([False, True])))
    original, seen = solver.lbfgs_stage, []

    def stage(objective, before, *arguments, advance, **options):
        seen.append(before)
        if len(seen) > 1:
            return original(objective, before, *arguments, advance=advance, **options)
        advance(mixed)
        return Stage(mixed, needs_double=False)

    monkeypatch.setattr(solver, "lbfgs_stage", stage)
    solution = minimize(objective, [start.theta], strategy._DIAGONAL, tol=1e-8, max_iter=500)
    assert solution.outcomes == [Outcome.CERTIFIED] * 2
    assert_array_equal(solution.history[1], [best.values[0], start.values[1]])
    assert_array_equal(seen[1].theta[-1], start.theta[1])


class Rounded(LinearObjective):
    """In single precision its values are 1 too high."""

    def in_single_precision(self):
        single = self._in(np.dtype(np.float64))
        if single is self:
            single = self.on(self.rows)
        single.is_single = True
        return single

    def in_double_precision(self):
        double = self.on(self.rows)
        double.is_single = False
        return double

    def value_and_gradient(self, theta):
        values, gradient = super().value_and_gradient(theta)
        return values + self.is_single, gradient


@pytest.mark.parametrize("way", [strategy._BLOCKS, strategy._MEAN_BLOCK, NEWTON], ids=lambda way: way.curvature.name)
def test_what_stalls_in_single_precision_is_evaluated_in_double_precision_before_it_is_given_up(way, monkeypatch):
    objective = Rounded(softmax_objective().rows, 0.5)
    original, n_stages = solver.lbfgs_stage, 0

    def stage(objective, before, *arguments, **options):
        nonlocal n_stages
        n_stages += 1
        if objective.is_single:
            return Stage(before, needs_double=False)  # nothing is gained
        return original(objective, before, *arguments, **options)

    monkeypatch.setattr(solver, "lbfgs_stage", stage)
    monkeypatch.setattr(solver, "stronger_strategy", lambda *arguments: None)
    solution = minimize(objective, [np.zeros(objective.shape)], way, tol=1e-8, max_iter=500)
    assert solution.outcomes == [Outcome.CERTIFIED]
    assert_allclose(solution.values, softmax_objective().value_and_gradient(solution.theta)[0], rtol=1e-14)
    assert n_stages > 1 or way is NEWTON


def test_problems_with_weights_and_penalties_of_their_own_are_those_of_separate_fits():
    objective = search_objective()
    together = solved(objective, [np.zeros(objective.shape)], tol=1e-12, max_iter=500)
    assert together.outcomes == [Outcome.CERTIFIED] * 2
    for problem in range(2):
        alone = softmax_objective((0.5, 1.5)[problem], weights=objective.rows.weights[problem])
        single = solved(alone, [np.zeros(alone.shape)], tol=1e-12, max_iter=500)
        assert_allclose(together.values[problem], single.values[0], rtol=1e-12)
        mine = objective.to_features(together.theta, np.float64)[0].reshape(2, 3, -1)[problem]
        assert_allclose(mine, alone.to_features(single.theta, np.float64)[0], rtol=1e-6, atol=1e-8)


def test_no_room_for_all_problems_lets_them_in_one_after_another(monkeypatch):
    objective = search_objective()
    expected = solved(objective, [np.zeros(objective.shape)], tol=1e-10, max_iter=500)
    monkeypatch.setattr(strategy, "_MOST_ELEMENTS", 15**2)
    monkeypatch.setattr(solver, "_PATIENCE", 0)  # the diagonal gives way to Hessians at once
    solution = minimize(objective, [np.zeros(objective.shape)], strategy._DIAGONAL, tol=1e-10, max_iter=500)
    assert solution.outcomes == [Outcome.CERTIFIED] * 2
    assert_allclose(solution.values, expected.values, rtol=1e-9)


@pytest.mark.parametrize("make", OBJECTIVES)
@pytest.mark.parametrize("way", [strategy._BLOCKS, strategy._DIAGONAL, NEWTON], ids=lambda way: way.curvature.name)
def test_a_fit_that_runs_out_of_iterations_in_single_precision_gets_a_certificate(make, way):
    objective = make()
    least = objective.value_and_gradient(best_theta(objective))[0]
    objective.rows.dtype = np.dtype(np.float32)
    n_finite = 0
    for max_iter in range(1, 8):
        solution = minimize(objective, [np.zeros(objective.shape)], way, tol=1e-14, max_iter=max_iter)
        assert set(solution.outcomes) <= {Outcome.MAX_ITER, Outcome.CERTIFIED}
        assert_allclose(solution.values, objective.value_and_gradient(solution.theta)[0], rtol=1e-14)
        assert np.all((solution.values - least) / solution.values <= solution.gaps)
        n_finite += np.isfinite(solution.gaps).all()
    assert n_finite >= 3


class Short(LinearObjective):
    """Not finite beyond a distance from 0."""

    def value_and_gradient(self, theta):
        values, gradient = super().value_and_gradient(theta)
        return np.where(np.abs(theta).max() > 0.1, np.inf, values), gradient


def test_a_trial_step_out_of_range_ends_the_stage_only():
    objective = Short(softmax_objective(penalty=1e4).rows, 1e4)
    solution = minimize(objective, [np.zeros(objective.shape)], strategy._DIAGONAL, tol=1e-8, max_iter=50)
    assert np.isfinite(solution.values).all()
    assert solution.values <= solution.history[0]


def test_a_stalled_problem_without_an_optimum_is_separated():
    objective = sigmoid_objective(penalty=0.0)
    run = solver._Run(objective, strategy._DIAGONAL, 1e-6, 10, True, np.array([np.inf, 0.0]))
    run.point = run.evaluate(objective, np.zeros(objective.shape))
    run.values, run.history = run.point.values.copy(), [run.point.values.copy()]
    run.phase[:] = solver.Phase.STALLED
    run._retire()
    assert run.outcomes == [Outcome.SEPARATED, Outcome.STALLED]
    assert run.phase.tolist() == [solver.Phase.DONE, solver.Phase.STALLED]
