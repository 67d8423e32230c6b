"""Initial guesses: samples contain rare classes, combinations of rows reach the optimum."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skactivation import SoftmaxRegression
from skactivation.linear_model import _base, _initial_guess
from skactivation.linear_model._initial_guess import _stratified_sample, guess_from_smaller_problem


def test_a_sample_has_all_rows_of_rare_classes_and_stands_for_all_rows():
    strata = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [9000, 990, 10]))
    chosen, stands_for = _stratified_sample(strata, 600)
    assert 500 <= chosen.size <= 610  # the rare stratum has only 10 rows
    assert np.all(np.diff(chosen) >= 0)
    assert set(np.flatnonzero(strata == 3)) <= set(chosen)
    for stratum in (0, 1, 3):
        assert_allclose(stands_for[strata[chosen] == stratum].sum(), np.sum(strata == stratum))
    again, _ = _stratified_sample(strata, 600)
    assert_array_equal(chosen, again)


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
        guess, sample = guess_from_smaller_problem(objective, start)
        assert sample is None
        seen.append(objective.value_and_gradient(guess)[0][0])
        return None, None

    settings = {"fit_intercept": fit_intercept, "tol": 1e-11}
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
