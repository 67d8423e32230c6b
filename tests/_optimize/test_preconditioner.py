"""Preconditioners of some problems are those of all, restricted to them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skactivation._data import dense
from skactivation._data.indicators import Indicator
from skactivation._data.rows import rows_of
from skactivation._data.targets import BinaryTargets, IndicatorTargets
from skactivation._optimize.objective import Curvature
from skactivation._optimize.preconditioner import Preconditioner, precondition
from skactivation.linear_model._objective import LinearObjective

CURVATURES = [Curvature.WHOLE, Curvature.BLOCKS, Curvature.MEAN_BLOCK, Curvature.DIAGONAL]


def of_labels(Y, weights=None, penalty=0.1):
    X = np.random.default_rng(0).normal(size=(len(Y), 3)) * [1.0, 10.0, 0.1]
    return LinearObjective(rows_of(X, IndicatorTargets(Indicator(Y), None), weights, fit_intercept=True), penalty)


@pytest.mark.parametrize("curvature", CURVATURES)
@pytest.mark.parametrize("sample_size", [None, 40])
def test_the_preconditioner_of_some_problems_is_that_of_all(curvature, sample_size):
    rng = np.random.default_rng(1)
    # The rarer a label, the smaller its curvature: problems differ in scale.
    objective = of_labels((rng.random((200, 4)) < [0.5, 0.1, 0.02, 0.9]).astype(float))
    theta = rng.normal(size=objective.shape)
    sample = None if sample_size is None else objective.sample(theta, sample_size)
    whole = precondition(objective, theta, curvature, sample=sample)
    some = np.array([False, True, True, False])
    part = whole.select(some)
    gradient = rng.normal(size=objective.shape)
    coordinates = whole.to_coordinates(gradient).reshape(4, -1)
    assert_allclose(part.to_coordinates(gradient[some]), coordinates[some].ravel())
    assert_allclose(part.to_coefficients(coordinates[some].ravel()), whole.to_coefficients(coordinates.ravel())[some])
    assert_allclose(part.norms(gradient[some]), whole.norms(gradient)[some])
    assert_array_equal(part.bounds_hessian, whole.bounds_hessian[some])
    assert (part.is_exact, part.share) == (whole.is_exact, whole.share)
    of_hessian = curvature is Curvature.WHOLE
    assert whole.is_exact == (of_hessian and sample is None)
    assert whole.bounds_hessian.all() == whole.bounds_hessian.any() == whole.certifies == of_hessian
    assert whole.share == (pytest.approx(1 / sample[1]) if of_hessian and sample else 1)


@pytest.mark.parametrize("size", [20, 60])
@pytest.mark.parametrize("seed", range(5))
def test_a_share_of_a_samples_hessian_is_below_that_of_all_rows(size, seed):
    rng = np.random.default_rng(seed)
    objective = of_labels((rng.random((200, 4)) < [0.5, 0.1, 0.02, 0.9]).astype(float), rng.random(200))
    theta = rng.normal(size=objective.shape)
    sample, stands_for = drawn = objective.sample(theta, size)
    # No row stands for more than twice the rows of a uniform sample, but for those that were drawn several times.
    assert 1 <= stands_for <= 3 * 200 / size
    made = precondition(objective, theta, Curvature.WHOLE, sample=drawn)
    of_sample, of_all = (np.linalg.inv(part.inverse()) for part in (made, made.lower_bound()))
    # Made in single precision.
    assert_allclose(of_sample, sample.hessian(theta), rtol=1e-3, atol=1e-3)
    for hessian, below in zip(objective.hessian(theta), of_all, strict=True):
        assert np.linalg.eigvalsh(hessian - below).min() > 0


def test_without_a_penalty_a_samples_hessian_proves_nothing():
    rng = np.random.default_rng(0)
    objective = of_labels((rng.random((200, 2)) < 0.5).astype(float), penalty=0.0)
    theta = rng.normal(size=objective.shape)
    made = precondition(objective, theta, Curvature.WHOLE, sample=objective.sample(theta, 50))
    assert not made.bounds_hessian.any()
    assert not made.certifies


@pytest.mark.parametrize(
    ("of_rows", "pos_weight", "tiny"), [(1.0, 1.0, False), (1e-4, 1e-4, True), (1e-4, 1.0, False), (1.0, 1e-7, True)]
)
def test_weights_are_tiny_if_the_products_of_rows_and_targets_weights_are(of_rows, pos_weight, tiny):
    targets = IndicatorTargets(Indicator(np.array([[0.0], [1.0]] * 10)), None)
    targets.fit_to(targets.totals, np.array([pos_weight]), 0.0, np.array([True]))
    weights = np.where(np.arange(20) == 1, of_rows, 1.0)
    rows = rows_of(np.arange(20.0)[:, np.newaxis], targets, weights, fit_intercept=True)
    assert LinearObjective(rows, 0.1).has_tiny_weights == tiny


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6])
def test_a_hessian_known_in_single_precision_has_the_allowances_of_single_precision(distance, monkeypatch):
    monkeypatch.setattr(dense, "_SINGLE_PRECISION_WORK", 0)
    monkeypatch.setattr(dense, "_KEPT_SIZE", 0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20_000, 3)).astype(np.float32)
    X[:, 2] = X[:, 1] + distance * rng.normal(size=20_000)
    targets = BinaryTargets((rng.random(20_000) < 0.4).astype(int))
    objective = LinearObjective(rows_of(X, targets, None, fit_intercept=True), 1e-9)
    single, theta = objective.in_single_precision(), rng.normal(size=objective.shape)
    assert single.is_single
    made = precondition(single, theta, Curvature.WHOLE, hessian=single.value_gradient_and_hessian(theta)[2])
    # In the coordinates of the preconditioner, its own matrix is the identity.
    transposed = np.vstack([made.to_coefficients(row).reshape(1, 4) for row in np.eye(4)])
    seen = transposed @ objective.in_double_precision().hessian(theta)[0] @ transposed.T
    assert not made.bounds_hessian[0] or np.linalg.eigvalsh(seen).min() > 1 - 1e-6
    assert made.bounds_hessian[0] or distance < 1e-2


def test_some_problems_keep_the_factors_that_all_share():
    rng = np.random.default_rng(0)
    inverses = np.tril(rng.normal(size=(4, 3, 3)))
    for n_problems in (2, 4, 6):
        shared = Preconditioner(inverses, (n_problems, 4, 3), is_shared=True)
        gradient = rng.normal(size=(n_problems, 4, 3))
        u = shared.to_coordinates(gradient)
        assert_allclose(u.reshape(gradient.shape), np.einsum("kij,pkj->pki", inverses, gradient), rtol=1e-12)
        theta = np.einsum("kji,pkj->pki", inverses, u.reshape(gradient.shape))
        assert_allclose(shared.to_coefficients(u), theta, rtol=1e-12)
        mask = np.arange(n_problems) > 0
        some = shared.select(mask)
        assert_allclose(some.to_coordinates(gradient[mask]), u.reshape(gradient.shape)[mask].ravel(), rtol=1e-12)
