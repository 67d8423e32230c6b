"""Sparse coefficients: `sparsify` and `densify` of both estimators."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

from skactivation import SigmoidMultiLabel, SoftmaxRegression

X, SPECIES = load_iris(return_X_y=True)
CASES = {
    "softmax": (SoftmaxRegression, SPECIES),
    "softmax of two classes": (SoftmaxRegression, (SPECIES == 1).astype(int)),
    "multilabel": (SigmoidMultiLabel, np.column_stack([SPECIES > 0, SPECIES == 1])),
}
METHODS = ["decision_function", "predict", "predict_proba", "predict_log_proba"]


@pytest.mark.parametrize(("estimator", "y"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_predictions_from_sparse_coefficients_are_those_from_an_array(estimator, y, form):
    model = estimator().fit(X, y)
    rows = form(X)
    before = {method: getattr(model, method)(rows) for method in METHODS}
    score = model.score(rows, y)
    assert model.sparsify() is model
    assert sparse.issparse(model.coef_)
    for method, expected in before.items():
        predicted = getattr(model, method)(rows)
        assert isinstance(predicted, np.ndarray)
        assert predicted.dtype == expected.dtype
        assert_allclose(predicted, expected, rtol=1e-12, atol=1e-12)
    assert model.score(rows, y) == score


@pytest.mark.parametrize(("estimator", "y"), CASES.values(), ids=CASES)
def test_densify_restores_the_array(estimator, y):
    model = estimator().fit(X.astype(np.float32), y)
    coef = model.coef_.copy()
    assert model.sparsify().densify() is model
    for _ in range(2):  # a dense array stays dense
        assert isinstance(model.coef_, np.ndarray)
        assert model.coef_.dtype == np.float32
        assert_array_equal(model.coef_, coef)
        model.densify()


@pytest.mark.parametrize(("estimator", "y"), CASES.values(), ids=CASES)
def test_a_warm_start_works_from_sparse_coefficients(estimator, y):
    dense, thin = (estimator(warm_start=True, C=0.9).fit(X, y) for _ in range(2))
    thin.sparsify()
    for model in (dense, thin):
        model.set_params(C=1.0).fit(X, y)
    assert isinstance(thin.coef_, np.ndarray)
    assert_array_equal(thin.coef_, dense.coef_)
    assert_array_equal(thin.loss_curve_, dense.loss_curve_)
    # The start is the previous fit, not that of a cold fit.
    assert thin.loss_curve_[0] < estimator().fit(X, y).loss_curve_[0]


@pytest.mark.parametrize("estimator", [SoftmaxRegression, SigmoidMultiLabel])
@pytest.mark.parametrize("method", ["sparsify", "densify"])
def test_sparsify_and_densify_need_a_fitted_estimator(estimator, method):
    with pytest.raises(NotFittedError, match=f"This {estimator.__name__} instance is not fitted yet"):
        getattr(estimator(), method)()
