"""Preconditioners of some problems are those of all, restricted to them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skactivation._data.indicators import Indicator
from skactivation._data.rows import rows_of
from skactivation._data.targets import IndicatorTargets
from skactivation._optimize.objective import Curvature
from skactivation._optimize.preconditioner import precondition
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
    whole = precondition(objective, theta, curvature, sample_size=sample_size)
    some = np.array([False, True, True, False])
    part = whole.select(some)
    gradient = rng.normal(size=objective.shape)
    coordinates = whole.to_coordinates(gradient).reshape(4, -1)
    assert_allclose(part.to_coordinates(gradient[some]), coordinates[some].ravel())
    assert_allclose(part.to_coefficients(coordinates[some].ravel()), whole.to_coefficients(coordinates.ravel())[some])
    assert_allclose(part.norms(gradient[some]), whole.norms(gradient)[some])
    assert_array_equal(part.bounds_hessian, whole.bounds_hessian[some])
    assert (part.is_exact, part.is_sampled_hessian) == (whole.is_exact, whole.is_sampled_hessian)
    # A sample proves nothing.
    of_all = curvature is Curvature.WHOLE and sample_size is None
    assert whole.is_exact == of_all
    assert whole.bounds_hessian.all() == whole.bounds_hessian.any() == of_all
    assert whole.is_sampled_hessian == (curvature is Curvature.WHOLE and sample_size is not None)


@pytest.mark.parametrize(
    ("of_rows", "pos_weight", "tiny"), [(1.0, 1.0, False), (1e-4, 1e-4, True), (1e-4, 1.0, False), (1.0, 1e-7, True)]
)
def test_weights_are_tiny_if_the_products_of_rows_and_targets_weights_are(of_rows, pos_weight, tiny):
    targets = IndicatorTargets(Indicator(np.array([[0.0], [1.0]] * 10)), None)
    targets.fit_to(np.array([pos_weight]), 0.0, np.array([True]))
    weights = np.where(np.arange(20) == 1, of_rows, 1.0)
    rows = rows_of(np.arange(20.0)[:, np.newaxis], targets, weights, fit_intercept=True)
    assert LinearObjective(rows, 0.1).has_tiny_weights == tiny
