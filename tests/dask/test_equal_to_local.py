"""Fits to partitions are those to the same rows in memory."""

import pickle
import warnings

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from skactivation import SigmoidMultiLabel, SoftmaxRegression, TemperatureCalibrator
from skactivation.calibration import fit_temperature
from skactivation.dask import DaskSigmoidMultiLabel, DaskSoftmaxRegression, DaskTemperatureCalibrator
from skactivation.dask import fit_temperature as dask_fit_temperature
from skactivation.linear_model import _initial_guess

pytestmark = pytest.mark.usefixtures("client")
RNG = np.random.default_rng(0)
N, D = 1200, 4
# Skewed partitions, and one of a single row.
CHUNKS = (700, 1, 99, 400)
X = RNG.normal(size=(N, D)) * [1, 100, 0.01, 1] + [0, 1e4, 0, 0]
SCORES = ((X - X.mean(axis=0)) / X.std(axis=0)) @ RNG.normal(size=(D, 3))
THREE = np.array(["ash", "birch", "cedar"])[np.argmax(SCORES + RNG.gumbel(size=(N, 3)), axis=1)]
TWO = SCORES[:, 0] + RNG.logistic(size=N) > 0
SOFT = np.exp(SCORES) / np.exp(SCORES).sum(axis=1, keepdims=True)
LABELS = (SCORES + RNG.logistic(size=(N, 3)) > 0.5).astype(float)
UNKNOWN = np.where(RNG.random((N, 3)) < 0.3, np.nan, LABELS)
SOFT_LABELS = np.clip(0.8 * UNKNOWN + 0.1, 0, 1)
SOFT_LABELS[:750] = UNKNOWN[:750]  # the first partitions hold hard labels only
WEIGHTS = RNG.integers(0, 3, size=N).astype(float)
WEIGHTS[700:701] = 0  # a whole partition
ENTRY_WEIGHTS = RNG.random((N, 3)) * [1.0, 7.0, 0.1]


def split(array):
    return da.from_array(array, chunks=(CHUNKS, *array.shape[1:]))


def assert_equal_fits(ours, local, rtol=1e-9):
    assert_allclose(ours.coef_, local.coef_, rtol=rtol, atol=rtol * np.abs(local.coef_).max())
    assert_allclose(ours.intercept_, local.intercept_, rtol=rtol, atol=rtol)
    assert_allclose(ours.loss_, local.loss_, rtol=1e-12)
    assert ours.converged_ == local.converged_
    assert ours.n_evaluations_ == local.n_evaluations_
    assert type(ours.coef_) is np.ndarray


@pytest.mark.parametrize("y", [THREE, TWO, SOFT, SOFT[:, :2] / SOFT[:, :2].sum(axis=1, keepdims=True)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"C": np.inf},
        {"fit_intercept": False},
        {"class_weight": "balanced", "prior_correction": True},
        {"label_smoothing": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_softmax_regression(y, settings, weights):
    if y.ndim == 2 and "class_weight" in settings:
        pytest.skip("class weights are for labels")
    settings = {"tol": 1e-10, **settings}
    local = SoftmaxRegression(**settings).fit(X, y, weights)
    ours = DaskSoftmaxRegression(**settings).fit(split(X), split(y), None if weights is None else split(weights))
    assert_equal_fits(ours, local)
    assert_array_equal(ours.classes_, local.classes_)
    assert_array_equal(ours.prior_shift_, local.prior_shift_)


@pytest.mark.parametrize("Y", [LABELS, UNKNOWN, SOFT_LABELS], ids=["hard", "unknown", "soft"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"C": np.inf}, {"pos_weight": "balanced", "prior_correction": True}, {"label_smoothing": 0.1}],
    ids=str,
)
@pytest.mark.parametrize("weights", [None, WEIGHTS, ENTRY_WEIGHTS], ids=["none", "rows", "entries"])
def test_sigmoid_multilabel(Y, settings, weights):
    settings = {"tol": 1e-10, **settings}
    local = SigmoidMultiLabel(**settings).fit(X, Y, weights)
    ours = DaskSigmoidMultiLabel(**settings).fit(split(X), split(Y), None if weights is None else split(weights))
    assert_equal_fits(ours, local)
    assert_array_equal(ours.label_names_, local.label_names_)
    assert_allclose(ours.prior_shift_, local.prior_shift_, rtol=1e-12)


@pytest.mark.parametrize("estimator", ["softmax", "sigmoids"])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_with_samples_of_the_rows(estimator, weights, monkeypatch):
    monkeypatch.setattr(_initial_guess, "_LEAST_SAMPLE", 100)
    monkeypatch.setattr(_initial_guess, "_ONE_IN", 20)
    plain, dask, y = {
        "softmax": (SoftmaxRegression, DaskSoftmaxRegression, THREE),
        "sigmoids": (SigmoidMultiLabel, DaskSigmoidMultiLabel, UNKNOWN),
    }[estimator]
    local = plain(tol=1e-10).fit(X, y, weights)
    ours = dask(tol=1e-10).fit(split(X), split(y), None if weights is None else split(weights))
    assert_equal_fits(ours, local)
