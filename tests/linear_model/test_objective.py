"""Value, gradient and curvature against longhand and finite differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from longhand import softmax_regression_objective
from skactivation._data import dense
from skactivation._data.indicators import Indicator
from skactivation._data.rows import rows_of
from skactivation._data.targets import ClassTargets, IndicatorTargets
from skactivation.linear_model import _terms
from skactivation.linear_model._objective import LinearObjective

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 4)) * [1e-3, 1.0, 20.0, 1.0] + [0, 5, 100, -1]
LABELS = RNG.integers(0, 3, size=80)
WEIGHTS = RNG.random(80)


Y = np.column_stack([LABELS == 0, RNG.random(80)]).astype(float)
# Weights of the rows for each of two problems, as for two folds of a cross-validation.
TWO_WEIGHTS = np.stack([WEIGHTS * (np.arange(80) % 2 == fold) for fold in (0, 1)])


def softmax_objective(penalty=0.5, form=np.asarray, fit_intercept=True, weights=WEIGHTS):
    """One problem of three classes."""
    return LinearObjective(rows_of(form(X), ClassTargets(LABELS, 3), weights, fit_intercept=fit_intercept), penalty)


def sigmoid_objective(penalty=0.5, form=np.asarray, fit_intercept=True, weights=WEIGHTS):
    """Two labels."""
    targets = IndicatorTargets(Indicator(Y), None)
    return LinearObjective(rows_of(form(X), targets, weights, fit_intercept=fit_intercept), penalty)


def search_objective(penalty=0.5, form=np.asarray, fit_intercept=True, weights=TWO_WEIGHTS):
    """Two problems of three classes on the same rows, with weights and a penalty of their own."""
    rows = rows_of(form(X), ClassTargets(LABELS, 3), weights, n_outputs=6, fit_intercept=fit_intercept)
    return LinearObjective(rows, np.array([penalty, 3 * penalty]))


OBJECTIVES = [softmax_objective, sigmoid_objective, search_objective]


def centred_theta(objective, seed=1, size=1.0):
    theta = np.random.default_rng(seed).normal(size=objective.shape) * size
    objective.center(theta)
    return theta


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_value_and_gradient_are_those_of_the_stated_function(form, fit_intercept):
    objective = softmax_objective(form=form, fit_intercept=fit_intercept)
    theta = centred_theta(objective)
    value, gradient = objective.value_and_gradient(theta)
    coef, intercept = objective.to_features(theta, np.float64)
    expected, expected_gradient = softmax_regression_objective(
        coef, intercept, X, np.eye(3)[LABELS], WEIGHTS, coef, C=2.0
    )
    assert_allclose(value, expected, rtol=1e-11)
    assert_allclose(
        objective.units.feature_gradient(gradient)[0, :, :4],
        expected_gradient[:, :4],
        rtol=1e-9,
        atol=1e-9 * np.abs(X).max(),
    )
    assert_allclose(objective.from_features(coef, intercept), theta, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("make", OBJECTIVES)
@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_the_gradient_is_the_values_derivative(make, penalty):
    objective = make(penalty)
    theta, step = centred_theta(objective), centred_theta(objective, seed=2, size=1e-6)
    _, gradient = objective.value_and_gradient(theta)
    ahead, _ = objective.value_and_gradient(theta + step)
    behind, _ = objective.value_and_gradient(theta - step)
    slopes = (gradient * step).reshape(objective.shape[0], -1).sum(axis=1)
    assert_allclose((ahead - behind) / 2, slopes, rtol=1e-7)


@pytest.mark.parametrize("make", OBJECTIVES)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_the_hessian_is_the_gradients_derivative_for_centred_steps(make, form):
    objective = make(form=form)
    theta, step = centred_theta(objective), centred_theta(objective, seed=2, size=1e-5)
    _, ahead = objective.value_and_gradient(theta + step)
    _, behind = objective.value_and_gradient(theta - step)
    hessian = objective.hessian(theta)
    assert_allclose(hessian, hessian.transpose(0, 2, 1), rtol=1e-12, atol=1e-12)
    # The Hessian is made regular for shifts of all classes: its solution is correct after centring.
    change = ((ahead - behind) / 2).reshape(objective.shape[0], -1, 1)
    solved = np.linalg.solve(hessian, change).reshape(step.shape)
    objective.center(solved)
    assert_allclose(solved, step, rtol=1e-4, atol=1e-9)


def test_curvature_keeps_its_digits_where_rows_are_certain():
    x = np.array([[1.0], [2.0]])
    rows = rows_of(x, ClassTargets(np.array([0, 0]), 3), None, fit_intercept=False)
    objective = LinearObjective(rows, 0.0)
    for lead in (20.0, 30.0, 40.0, 300.0):
        theta = np.array([[[lead], [0.0], [0.0]]])
        # p (1 - p) for the certain class, with p = 1 / (1 + 2 exp(-lead x)).
        others = 2 * np.exp(-lead * x[:, 0])
        expected = np.sum(x[:, 0] ** 2 * others / (1 + others) ** 2)
        # The columns' units are powers of two.
        expected *= objective.units.inverse_scale[0] ** 2
        theta *= objective.units.scale[0]
        assert_allclose(objective.hessian_diagonal(theta)[0, 0, 0], expected, rtol=1e-13)
        gradient = np.array([[1.0], [-0.5], [-0.5]])
        step = np.linalg.solve(objective.hessian(theta)[0] / expected, gradient.ravel())
        # Along (1, -1/2, -1/2) * 2/3, class 0 against the other two, the curvature is `expected`.
        assert_allclose(gradient.ravel() @ step, 1.0, rtol=1e-6)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_diagonal_and_intercept_blocks_are_those_of_the_hessian(form):
    objective = sigmoid_objective(form=form)
    theta = centred_theta(objective)
    hessian = objective.hessian(theta)
    assert_allclose(objective.hessian_diagonal(theta)[:, 0], np.einsum("pjj->pj", hessian), rtol=1e-10)
    assert_allclose(objective.intercept_hessian(theta), hessian[:, 4:, 4:], rtol=1e-10, atol=1e-12)


def test_weights_are_repeated_rows():
    counts = np.random.default_rng(3).integers(0, 3, size=80)
    weighted = softmax_objective(weights=counts.astype(float))
    targets = ClassTargets(np.repeat(LABELS, counts), 3)
    repeated = LinearObjective(rows_of(np.repeat(X, counts, axis=0), targets, None, fit_intercept=True), 0.5)
    theta = centred_theta(weighted)
    # The units of columns may differ, because they depend on rows of weight 0.
    coef, intercept = weighted.to_features(theta, np.float64)
    other = repeated.from_features(coef, intercept)
    assert_allclose(weighted.value_and_gradient(theta)[0], repeated.value_and_gradient(other)[0], rtol=1e-12)
    assert_allclose(
        weighted.units.feature_gradient(weighted.value_and_gradient(theta)[1]),
        repeated.units.feature_gradient(repeated.value_and_gradient(other)[1]),
        rtol=1e-9,
        atol=1e-9,
    )


@pytest.mark.parametrize("make", OBJECTIVES)
def test_no_step_spreads_logits_by_more_than_the_bound(make):
    objective = make()
    theta = centred_theta(objective)
    hessian = objective.hessian(theta)
    bounds = objective.largest_logit_range(np.linalg.inv(hessian))
    n_problems = objective.shape[0]

    def spreads_of(step):
        steps = step.reshape(n_problems, -1)
        lengths = np.sqrt(np.einsum("pi,pij,pj->p", steps, hessian, steps))
        return objective.logit_range((steps / lengths[:, np.newaxis]).reshape(objective.shape))

    spreads = [spreads_of(centred_theta(objective, seed)) for seed in range(200)]
    # The largest range for a row is reached by H^-1 applied to the row, so these steps are tested, too.
    block = next(objective.rows.blocks(objective.rows.slices, np.float64))
    n_logits = objective.shape[1]
    for row in np.vstack(list(block.columns())) * objective.units.inverse_scale:
        for logits in np.eye(n_logits) - np.roll(np.eye(n_logits), 1, axis=0) if n_logits > 1 else np.ones((1, 1)):
            gradient = np.tile(np.outer(logits, row), (n_problems, 1, 1))
            spreads.append(spreads_of(np.linalg.solve(hessian, gradient.reshape(n_problems, -1, 1))))
    assert bounds.shape == (n_problems,)
    assert np.all(np.max(spreads, axis=0) <= bounds * (1 + 1e-12))
    assert np.all(np.max(spreads, axis=0) >= bounds / 3)


def test_values_near_zero_keep_their_digits():
    separable = np.array([[-1.0], [1.0]])
    rows = rows_of(separable, ClassTargets(np.array([0, 1]), 2), None, fit_intercept=False)
    objective = LinearObjective(rows, 0.0)
    value, gradient = objective.value_and_gradient(np.array([[[-30.0], [30.0]]]))
    assert_allclose(value, 2 * np.exp(-60), rtol=1e-13)
    assert_allclose(gradient, [[[2 * np.exp(-60)], [-2 * np.exp(-60)]]], rtol=1e-13)


@pytest.mark.parametrize("make", OBJECTIVES)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_blocks_of_the_hessian_are_its_blocks(make, form):
    objective = make(form=form)
    theta = centred_theta(objective)
    blocks = objective.hessian_blocks(theta)
    mean, shares = objective.mean_hessian_block(theta)
    assert_allclose(np.einsum("pkjj->pkj", blocks), objective.hessian_diagonal(theta), rtol=1e-10)
    assert_allclose(mean, blocks.mean(axis=(0, 1)), rtol=1e-10, atol=1e-12)
    assert_allclose(shares.mean(), 1, rtol=1e-12)
    if make is sigmoid_objective:
        # With one logit per problem, the blocks are the Hessian.
        assert_allclose(blocks[:, 0], objective.hessian(theta), rtol=1e-10, atol=1e-12)


def test_blocks_where_all_rows_are_alike_need_one_product(monkeypatch):
    objective = softmax_objective()
    theta = np.zeros(objective.shape)
    theta[:, :, -1] = [0.5, -1.0, 0.5]
    quick = objective.hessian_blocks(theta)
    monkeypatch.setattr(objective, "has_uniform_curvature", lambda theta: False)
    assert_allclose(quick, objective.hessian_blocks(theta), rtol=1e-12, atol=1e-12)


def test_the_objective_on_a_sample_of_rows_weighs_them_by_the_rows_they_represent():
    objective = softmax_objective()
    theta = centred_theta(objective)
    chosen = np.array([0, 5, 9, 70])
    part = objective.on(objective.rows.take(chosen, np.array([1.0, 2.0, 3.0, 0.5])))
    weights = np.zeros(80)
    weights[chosen] = WEIGHTS[chosen] * [1.0, 2.0, 3.0, 0.5]
    # The reference has all rows with these weights, and so the same units of columns.
    same = objective.on(objective.rows.take(np.arange(80), weights / WEIGHTS))
    assert_allclose(part.value_and_gradient(theta)[0], same.value_and_gradient(theta)[0], rtol=1e-12)
    assert_allclose(part.value_and_gradient(theta)[1], same.value_and_gradient(theta)[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("make", OBJECTIVES)
def test_every_output_has_the_same_total_share_of_curvature(make):
    objective = make()
    point = objective._point(centred_theta(objective))
    (totals,) = objective.rows.sum(_terms.curvatures_by_logit, point, size=1)
    ((shares,),) = objective.rows.sum(_terms.curvature_shares, point, totals, size=1)
    assert shares.shape == (80,)
    assert np.all(shares >= 0)
    # The shares of each output sum to 1.
    assert_allclose(shares.sum(), objective.shape[0] * objective.shape[1], rtol=1e-12)


def test_coefficients_that_combine_rows_are_sums_of_centred_rows():
    objective = softmax_objective()
    combination = np.random.default_rng(0).normal(size=(3, 80))
    theta = objective.from_rows(combination, np.array([1.0, 2.0, -3.0]))
    coef, _ = objective.to_features(theta, np.float64)
    centred = X - np.average(X, axis=0, weights=WEIGHTS)
    expected = (combination - combination.mean(axis=0)) @ centred
    assert_allclose(coef, expected, rtol=1e-9, atol=1e-9)


def test_evaluations_in_single_precision_are_those_of_float32(monkeypatch):
    monkeypatch.setattr(dense, "_KEPT_SIZE", 0)
    rows = rows_of(X.astype(np.float32), ClassTargets(LABELS, 3), WEIGHTS, fit_intercept=True)
    objective = LinearObjective(rows, 0.5)
    theta = centred_theta(objective)
    single = objective.in_single_precision()
    assert single.is_single
    assert not single.in_double_precision().is_single
    double, rounded = (each.value_and_gradient(theta) for each in (objective, single))
    assert double[0] != rounded[0]
    assert_allclose(rounded[0], double[0], rtol=1e-6)
    assert_allclose(rounded[1], double[1], rtol=1e-4, atol=1e-5)


def two_labels_objective():
    """Two labels with row weights of their own."""
    return LinearObjective(rows_of(X, IndicatorTargets(Indicator(Y > 0.5), None), TWO_WEIGHTS, fit_intercept=True), 0.5)


@pytest.mark.parametrize("make", [*OBJECTIVES, two_labels_objective])
def test_hessians_are_right_where_only_the_intercepts_are_not_zero(make):
    # There one block may serve all logits, but only if the problems share the weights of their rows.
    objective = make()
    theta = np.zeros(objective.shape)
    theta[:, :, -1] = np.random.default_rng(0).normal(size=objective.shape[:2])
    objective.center(theta)
    step = centred_theta(objective, seed=2, size=1e-5)
    _, ahead = objective.value_and_gradient(theta + step)
    _, behind = objective.value_and_gradient(theta - step)
    change = ((ahead - behind) / 2).reshape(objective.shape[0], -1, 1)
    solved = np.linalg.solve(objective.hessian(theta), change).reshape(step.shape)
    objective.center(solved)
    assert_allclose(solved, step, rtol=1e-4, atol=1e-9)
    blocks = objective.hessian_blocks(theta)
    assert_allclose(np.einsum("pkjj->pkj", blocks), objective.hessian_diagonal(theta), rtol=1e-10)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_columns_that_depend_on_each_other_in_the_rows_of_one_problem_alone(form):
    # Without a penalty only the first problem has directions in which nothing changes.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 3))
    x[::2, 2] = x[::2, 1]
    weights = np.stack([np.arange(80) % 2 == 0, np.ones(80)]).astype(float)
    together = rows_of(form(x), ClassTargets(LABELS, 3), weights, n_outputs=6, fit_intercept=True)
    objective = LinearObjective(together, np.zeros(2))
    assert np.all(np.linalg.eigvalsh(objective.hessian(np.zeros(objective.shape))) > 1e-3)
    coef = np.zeros((6, 3))
    coef[[0, 3], 1], coef[[0, 3], 2] = 1, -1
    change = objective.units.from_features(coef, np.zeros(6), objective.shape)
    objective.center(change)
    sizes = np.abs(change).reshape(2, -1).max(axis=1)
    assert sizes[0] < 1e-9
    assert sizes[1] > 0.1
    theta, second = centred_theta(objective), objective.select(np.array([False, True]))
    assert_allclose(second.hessian(theta[1:]), objective.hessian(theta)[1:], rtol=1e-12)


def test_selected_problems_keep_their_weights_on_other_rows():
    weights = np.stack([np.ones(80), np.ones(80)])
    weights[1, 3] = 1e-9
    objective = search_objective(weights=weights)
    assert objective.has_tiny_weights.tolist() == [False, True]
    chosen = objective.select(np.array([False, True]))
    assert chosen.on(chosen.rows).has_tiny_weights.tolist() == [True]


@pytest.mark.parametrize("n_columns", [1, 4, 9])
def test_the_bound_on_logit_ranges_without_a_pass_is_reached(n_columns):
    features = np.where(np.random.default_rng(0).random((20, n_columns)) < 0.5, -1.999, 1.999)
    features[0] = 1.999
    objective = LinearObjective(rows_of(features, ClassTargets(np.arange(20) % 3, 3), None, fit_intercept=False), 1.0)
    step = np.zeros((1, 3, n_columns))
    step[0, 0], step[0, 1] = features[0], -features[0]
    step /= np.linalg.norm(step)
    largest, bound = objective.logit_range(step), objective.logit_range_bound(np.ones(1))
    assert_allclose(largest, bound, rtol=1e-3)
    assert (largest <= bound).all()


def test_gradients_have_a_bound_on_their_rounding():
    features = np.random.default_rng(0).normal(size=(500, 3)) + 1e12
    objective = LinearObjective(
        rows_of(features, ClassTargets(np.arange(500) % 3, 3, 0.1), None, fit_intercept=False), 1.0
    )
    # Sums over rows of residuals times columns: no rounding error can exceed this many epsilons of the total.
    bound = objective.gradient_rounding(np.array([1e-3]))
    assert_allclose(bound, 4 * np.finfo(float).eps * 500)
    hard = LinearObjective(rows_of(features, ClassTargets(np.arange(500) % 3, 3), None, fit_intercept=False), 1.0)
    assert_allclose(hard.gradient_rounding(np.array([1e-3])), 4 * np.finfo(float).eps * 1e-3)


@pytest.mark.parametrize("make", OBJECTIVES)
def test_the_bound_on_ranges_is_the_sum_of_two_norms(make):
    objective = make()
    n_problems, n_logits, n_columns = objective.shape
    theta = centred_theta(objective)
    # So small that all norms are below 1.
    inverses = 1e-6 * np.linalg.inv(objective.hessian(theta))
    block = next(objective.rows.blocks(objective.rows.slices, np.float64))
    rows = np.vstack(list(block.columns())) * objective.units.block_scale
    directions = np.eye(n_logits) - (1 / n_logits if n_logits > 1 else 0)
    for problem, inverse in enumerate(inverses):
        steps = np.einsum("kl,bj->bklj", directions, rows).reshape(len(rows), n_logits, n_logits * n_columns)
        norms = np.sort(np.sqrt(np.einsum("bki,ij,bkj->bk", steps, inverse, steps)), axis=1)
        expected = norms[:, -2:].sum(axis=1).max()
        assert_allclose(objective.largest_logit_range(inverses)[problem], expected, rtol=1e-7)
    assert len(inverses) == n_problems


@pytest.mark.parametrize("sign", [1, -1])
def test_the_range_of_a_single_logit_is_its_largest_absolute_value(sign):
    x = sign * np.array([[-3.0], [1.0], [0.5]])
    targets = IndicatorTargets(Indicator(np.array([[0.0], [1.0], [1.0]])), None)
    objective = LinearObjective(rows_of(x, targets, None, fit_intercept=False), 1.0)
    step = objective.units.from_features(np.array([[2.0]]), np.zeros(1), objective.shape)
    assert_allclose(objective.logit_range(step), 6.0)


def test_rows_are_certainly_right_below_log_2_of_the_least_weight():
    objective = softmax_objective()
    assert_allclose(objective.separation_levels(), np.log(2) * WEIGHTS.min())
    entries = np.where(RNG.random((80, 2)) < 0.1, 0.25, 2.0)
    targets = IndicatorTargets(Indicator(Y.round()), entries)
    targets.fit_to(targets.totals, np.array([4.0, 1.0]), 0.0, np.ones(2, dtype=bool))
    levels = LinearObjective(rows_of(X, targets, None, fit_intercept=True), 0.0).separation_levels()
    # In units of the largest weight of an entry, which is 8 for a yes of the first label.
    assert_allclose(levels * targets.units, np.log(2) * np.array([0.25, 0.25]))


def test_columns_that_depend_on_each_other_in_many_blocks():
    x = np.random.default_rng(0).normal(size=(40_000, 4))
    x[:, 3] = x[:, 1] - 2 * x[:, 2]
    rows = rows_of(x, ClassTargets(np.arange(40_000) % 3, 3), None, fit_intercept=True)
    assert len(rows.slices) > 1
    objective = LinearObjective(rows, 0.0)
    change = objective.units.from_features(np.outer([1, 0, -1], [0, 1, -2, -1]), np.zeros(3), objective.shape)
    other = objective.units.from_features(np.outer([1, 0, -1], [1, 0, 0, 0]), np.zeros(3), objective.shape)
    size = np.abs(change).max()
    objective.center(change)
    assert np.abs(change).max() < 1e-9 * size
    before = other.copy()
    objective.center(other)
    assert_allclose(other, before, atol=1e-9)


def test_columns_that_depend_on_each_other_in_each_block_alone():
    x = np.random.default_rng(0).normal(size=(40_000, 2))
    x[:, 1] = np.where(np.arange(40_000) < 20_000, x[:, 0], -x[:, 0])
    rows = rows_of(x, ClassTargets(np.arange(40_000) % 3, 3), None, fit_intercept=False)
    assert len(rows.slices) > 1
    objective = LinearObjective(rows, 0.0)
    theta = centred_theta(objective)
    before = theta.copy()
    objective.center(theta)
    assert_allclose(theta, before, atol=1e-12)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_shared_blocks_are_the_means_of_the_blocks(form):
    rows = rows_of(form(X), ClassTargets(LABELS, 3), TWO_WEIGHTS, n_outputs=6, fit_intercept=True)
    objective = LinearObjective(rows, np.full(2, 0.5), alike=True)
    theta = centred_theta(objective)
    blocks = objective.hessian_blocks(theta)
    assert_allclose(objective.shared_hessian_blocks(theta), blocks.mean(axis=0), rtol=1e-10)
    assert objective.costs.alike


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("make", [search_objective, sigmoid_objective])
def test_problems_may_be_known_by_the_same_number(make, form):
    rows = make().rows
    rows = rows_of(form(X), rows.targets, rows.weights, n_outputs=3 * rows.targets.n_logits, fit_intercept=True)
    numbers = np.array([1, 0, 1])
    several = LinearObjective(rows, np.array([0.1, 0.2, 0.3]), np.ones(3), numbers)
    theta = centred_theta(several)
    values, gradient = several.value_and_gradient(theta)
    hessian = several.hessian(theta)
    for place, number in enumerate(numbers):
        alone = LinearObjective(rows, np.full(2, [0.1, 0.2, 0.3][place])).select(np.arange(2) == number)
        value, its_gradient = alone.value_and_gradient(theta[[place]])
        assert_allclose(values[place], value[0], rtol=1e-12)
        assert_allclose(gradient[place], its_gradient[0], rtol=1e-9, atol=1e-9)
        assert_allclose(hessian[place], alone.hessian(theta[[place]])[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("make", [softmax_objective, sigmoid_objective])
def test_a_problem_without_a_row_gives_the_row_no_weight(make, form):
    objective = make(form=form)
    problems, rows = (np.zeros(3, int) if make is softmax_objective else np.array([1, 0, 1])), np.array([7, 0, 79])
    without = objective.without(problems, rows)
    theta = centred_theta(without)
    values, _ = without.value_and_gradient(theta)
    for number, (problem, row) in enumerate(zip(problems, rows, strict=True)):
        others = make(form=form, weights=WEIGHTS * (np.arange(80) != row))
        coef, intercept = without.to_features(theta, np.float64)
        n_logits = theta.shape[1]
        mine = slice(number * n_logits, (number + 1) * n_logits)
        single = others.select(np.arange(others.shape[0]) == problem)
        at = single.from_features(coef[mine], intercept[mine])
        assert_allclose(values[number], single.value_and_gradient(at)[0][0], rtol=1e-10)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("make", [softmax_objective, sigmoid_objective])
@pytest.mark.parametrize("products", [2**21, 60])
def test_changes_without_a_row_are_those_of_a_newton_step_without_it(make, form, products, monkeypatch):
    monkeypatch.setattr(_terms, "_MOST_PRODUCTS", products)
    objective = make(form=form)
    theta = centred_theta(objective)
    gradient = objective.value_and_gradient(theta)[1]
    changes = objective.changes_without(theta, np.linalg.inv(objective.hessian(theta)))
    n_problems, n_logits, n_columns = objective.shape
    for row in (0, 41):
        for problem in range(n_problems):
            without = objective.without(np.array([problem]), np.array([row]))
            own = gradient[problem] - without.value_and_gradient(theta[[problem]])[1][0]
            step = np.linalg.solve(without.hessian(theta[[problem]])[0], own.ravel()).reshape(1, n_logits, n_columns)
            without.center(step)
            full = np.zeros(objective.shape)
            full[problem] = step
            coef, intercept = objective.to_features(full, np.float64)
            moved = np.asarray(X[row] @ coef.T + intercept).reshape(n_problems, n_logits)[problem]
            change = changes[problem, :, row]
            # Logits of exclusive classes are equal up to a common shift.
            assert_allclose(change - change.mean() * (n_logits > 1), moved - moved.mean() * (n_logits > 1), rtol=1e-6)
