"""Predictions of many and few rows, dense and sparse, against NumPy, and entries of X that are not finite."""

import numpy as np
import pytest
from scipy import sparse

from skactivation import SoftmaxRegression
from skactivation._activation_kernels import argmax_block
from skactivation.activations import softmax

SIZES = (1, 700, 15_000)
CONTAINERS = {"dense": np.asarray, "Fortran": np.asfortranarray, "CSR": sparse.csr_array, "CSC": sparse.csc_matrix}


def fitted(n_classes, n_features, dtype=np.float64):
    """A model whose coefficients are random, but for the first feature's: they are 0."""
    rng = np.random.default_rng(0)
    model = SoftmaxRegression()
    model.classes_, model.n_features_in_ = np.arange(n_classes), n_features
    n_logits = n_classes if n_classes > 2 else 1
    model.coef_ = np.asfortranarray(rng.normal(size=(n_logits, n_features)).astype(dtype))
    model.coef_[:, 0] = 0
    model.intercept_ = rng.normal(size=n_logits).astype(dtype)
    return model


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_classes", "n_features"), [(2, 5), (2, 80), (4, 7), (10, 70), (40, 6), (60, 100)])
def test_predictions_are_those_of_one_product(n_classes, n_features, dtype, container):
    rng = np.random.default_rng(1)
    model = fitted(n_classes, n_features, dtype)
    for n_rows in SIZES:
        X = rng.normal(size=(n_rows, n_features)).astype(dtype)
        logits = X.astype(np.float64) @ model.coef_.T + model.intercept_
        both = np.hstack([np.zeros_like(logits), logits]) if n_classes == 2 else logits
        given, tolerance = CONTAINERS[container](X), 1e-4 if dtype == np.float32 else 1e-12
        found = model.decision_function(given)
        assert found.dtype == dtype
        np.testing.assert_allclose(found.reshape(n_rows, -1), logits, atol=tolerance)
        np.testing.assert_allclose(model.predict_proba(given), softmax(both), atol=tolerance)
        gaps = np.diff(np.sort(both, axis=1)[:, -2:])[:, 0]
        np.testing.assert_array_equal(model.predict(given)[gaps > tolerance], both.argmax(axis=1)[gaps > tolerance])


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("method", ["decision_function", "predict", "predict_proba"])
@pytest.mark.parametrize("n_classes", [2, 10, 40])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_an_entry_that_is_not_finite_is_an_error_wherever_it_is(value, n_classes, method, container):
    message = "contains NaN" if np.isnan(value) else "contains infinity"
    for n_features, sparsified in ((5, False), (80, False), (5, True)):
        model = fitted(n_classes, n_features)
        if sparsified:
            model.sparsify()
        for n_rows in SIZES:
            # A coefficient of 0 must not hide the entry.
            for row, feature in ((n_rows - 1, 0), (n_rows // 2, n_features - 1)):
                X = np.ones((n_rows, n_features))
                X[row, feature] = value
                with pytest.raises(ValueError, match=message):
                    getattr(model, method)(CONTAINERS[container](X))


def test_logits_that_overflow_are_no_error():
    X = np.array([[1.0, 1.0], [1.0, -1.0]] * 300)
    model = fitted(3, 2)
    model.coef_ = np.array([[0.0, 1.7e308], [1.7e308, 0.0], [-1.7e308, -1.7e308]])
    np.testing.assert_array_equal(model.predict(np.array([[1.0, 1.1], [-1.2, -1.1]])), [0, 2])
    np.testing.assert_array_equal(model.predict(X), np.tile([0, 1], 300))
    assert model.decision_function(X).max() == 1.7e308


@pytest.mark.parametrize("n_rows", [5, 5000])
@pytest.mark.parametrize("n_classes", [2, 3, 31, 32, 300])
def test_the_first_of_equal_logits_is_the_largest(n_classes, n_rows):
    z = np.random.default_rng(0).integers(4, size=(n_classes, n_rows)).astype(float)
    for of_classes in (z, np.asfortranarray(z), z.astype(np.float32), z - 1e300, np.where(z == 3, np.inf, z)):
        np.testing.assert_array_equal(argmax_block(of_classes), of_classes.argmax(axis=0))
    z[1, ::3] = z[-1, ::6] = np.nan
    np.testing.assert_array_equal(argmax_block(z), z.argmax(axis=0))
