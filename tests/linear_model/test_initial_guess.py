"""Initial guesses: samples contain rare classes, combinations of rows reach the optimum."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skactivation import SoftmaxRegression
from skactivation._data.rows import rows_of
from skactivation._data.targets import BinaryTargets
from skactivation._optimize.objective import Curvature, Sample
from skactivation._optimize.preconditioner import precondition
from skactivation.linear_model import _base, _initial_guess
from skactivation.linear_model._initial_guess import guess_from_smaller_problem
from skactivation.linear_model._objective import LinearObjective


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_with_few_rows_the_initial_guess_is_the_optimum(n_classes, fit_intercept, monkeypatch):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(40, 500)) + 3
    X[5] = X[6]  # a repeated row makes X X^T singular
    y = np.arange(40) % n_classes
    weights = rng.integers(0, 3, size=40).astype(float)
    seen = []

    def spy(objective, start):
        guess = guess_from_smaller_problem(objective, start)
        assert guess.sample is None
        assert_allclose(guess.expected, objective.value_and_gradient(start)[0], rtol=1e-10)
        seen.append(objective.value_and_gradient(guess.theta)[0][0])

    settings = {"fit_intercept": fit_intercept, "tol": 1e-12}
    quick = SoftmaxRegression(**settings).fit(X, y, weights)
    monkeypatch.setattr(_base, "guess_from_smaller_problem", spy)
    slow = SoftmaxRegression(**settings).fit(X, y, weights)
    assert_allclose(seen, [slow.loss_ / weights.max()], rtol=1e-6)
    assert quick.n_evaluations_ <= 4 < slow.n_evaluations_
    assert_allclose(quick.loss_, slow.loss_, rtol=1e-10)
    assert_allclose(quick.coef_, slow.coef_, rtol=1e-4, atol=1e-6 * np.abs(slow.coef_).max())


def test_a_sample_saves_evaluations_and_changes_no_result(monkeypatch):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(5000, 6)) * [1, 10, 0.1, 1, 1, 1]
    y = np.argmax(X @ rng.normal(size=(6, 4)) + 2 * rng.gumbel(size=(5000, 4)), axis=1)
    X, y = X[np.argsort(y)], np.sort(y)  # in the order of the classes
    weights = rng.integers(0, 4, size=5000).astype(float)
    without = SoftmaxRegression(tol=1e-11).fit(X, y, weights)
    monkeypatch.setattr(_initial_guess, "_LEAST_SAMPLE", 600)
    with_sample = SoftmaxRegression(tol=1e-11).fit(X, y, weights)
    assert with_sample.n_evaluations_ < without.n_evaluations_
    assert with_sample.loss_curve_[0] < without.loss_curve_[0]
    assert_allclose(with_sample.coef_, without.coef_, rtol=1e-6, atol=1e-7)


def test_a_misleading_sample_does_no_harm(monkeypatch):
    # The sample is separable, the whole data set is not.
    rng = np.random.default_rng(3)
    X = rng.normal(size=(3000, 40))
    y = (X[:, 0] + 2 * rng.normal(size=3000) > 0).astype(int)
    without = SoftmaxRegression(C=np.inf).fit(X, y)
    monkeypatch.setattr(_initial_guess, "_LEAST_SAMPLE", 30)
    monkeypatch.setattr(_initial_guess, "_ONE_IN", 1000)
    with_sample = SoftmaxRegression(C=np.inf).fit(X, y)
    assert with_sample.converged_
    assert_allclose(with_sample.coef_, without.coef_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", ["outlier", "heavy rows"])
def test_where_the_sample_lacks_the_rows_that_matter_the_fit_starts_from_intercepts_only(kind, monkeypatch):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(4000, 5))
    y = (X[:, 0] + rng.normal(size=4000) > 0).astype(int)
    weights = np.ones(4000)
    if kind == "outlier":
        X[17, 1], y[17] = 1e5, 1
    else:
        # They contradict the others.
        weights[20:30], X[20:30], y[20:30] = 1e5, 3.0, 0
    without = SoftmaxRegression().fit(X, y, weights)
    monkeypatch.setattr(_initial_guess, "_LEAST_SAMPLE", 300)
    with_sample = SoftmaxRegression().fit(X, y, weights)
    assert with_sample.loss_curve_[0] <= without.loss_curve_[0] * (1 + 1e-12)
    assert with_sample.n_evaluations_ <= without.n_evaluations_ + 2
    assert_allclose(with_sample.loss_, without.loss_, rtol=1e-6)


def test_a_samples_hessian_is_below_that_of_all_rows():
    rng = np.random.default_rng(5)
    X = np.zeros((3000, 6))
    # Rows that are alone in their columns: a row drawn twice would show.
    X[:, 0], X[np.arange(5) + 2000, np.arange(1, 6)] = rng.normal(size=3000), 1.0
    targets = BinaryTargets((rng.random(3000) < 0.3).astype(int))
    objective = LinearObjective(rows_of(X, targets, None, fit_intercept=True), 0.01)
    theta = rng.normal(size=objective.shape)
    for size in (300, 900, 2500):
        rows, most_rows_each = objective.rows.stratified_sample(size)
        sample = Sample(objective.on(rows), most_rows_each)
        below = np.linalg.inv(precondition(objective, theta, Curvature.WHOLE, sample=sample).lower_bound().inverse())
        assert np.linalg.eigvalsh(objective.hessian(theta)[0] - below[0]).min() > 0
