"""Estimators in files: pickle, joblib, cloudpickle, skops; equal bits come out of each, also in another process."""

import pickle
import subprocess
import sys
from io import BytesIO

import joblib
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skactivation
from skactivation import (
    SigmoidMultiLabel,
    SigmoidMultiLabelCV,
    SoftmaxRegression,
    SoftmaxRegressionCV,
    TemperatureCalibrator,
)

X, y = load_iris(return_X_y=True)
# Mixed, so that each fold has all classes.
mixed = np.random.default_rng(0).permutation(150)
X, y = X[mixed], y[mixed]
Y = np.eye(3, dtype=int)[y]
CASES = {
    "softmax": (SoftmaxRegression(), y),
    "strings": (SoftmaxRegression(), np.array(["a", "b", "c"])[y]),
    "labels": (SigmoidMultiLabel(), Y),
    "sparse labels": (SigmoidMultiLabel(), sparse.csr_array(Y)),
    "search": (SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3), y),
    "search of labels": (SigmoidMultiLabelCV(Cs=[0.1, 1.0], cv=3, per_label=True), Y),
    "calibrator": (TemperatureCalibrator(LogisticRegression(max_iter=1000), cv=3), y),
    "ensemble": (TemperatureCalibrator(SoftmaxRegression(), cv=3, ensemble=True), y),
    "calibrated labels": (TemperatureCalibrator(SigmoidMultiLabel(C=0.1), cv=3), Y[:, 1:]),
    "pipeline": (make_pipeline(StandardScaler(), SoftmaxRegression()), y),
}
by_case = pytest.mark.parametrize(("estimator", "targets"), CASES.values(), ids=CASES)


def assert_same(model, loaded):
    for method in ("predict_proba", "decision_function"):
        assert_array_equal(getattr(loaded, method)(X), getattr(model, method)(X))
    expected, predicted = model.predict(X), loaded.predict(X)
    assert type(predicted) is type(expected)
    assert (predicted != expected).sum() == 0


def by_joblib(model):
    file = BytesIO()
    joblib.dump(model, file)
    return joblib.load(BytesIO(file.getvalue()))


def by_cloudpickle(model):
    cloudpickle = pytest.importorskip("cloudpickle")
    return pickle.loads(cloudpickle.dumps(model))


def by_skops(model):
    skops = pytest.importorskip("skops.io")
    return skops.loads(skops.dumps(model), trusted=skactivation.TRUSTED_TYPES)


@by_case
@pytest.mark.parametrize("copied", [lambda m: pickle.loads(pickle.dumps(m)), by_joblib, by_cloudpickle, by_skops])
def test_copies(copied, estimator, targets):
    model = clone(estimator).fit(X, targets)
    assert_same(model, copied(model))


def test_trusted_types_are_those_of_the_package():
    assert all(name.startswith("skactivation.") for name in skactivation.TRUSTED_TYPES)
    skops = pytest.importorskip("skops.io")
    for estimator, targets in CASES.values():
        file = skops.dumps(clone(estimator).fit(X, targets))
        assert set(skops.get_untrusted_types(data=file)) <= set(skactivation.TRUSTED_TYPES)


def test_a_temperature_in_a_file_of_skops():
    skops = pytest.importorskip("skops.io")
    fit = skactivation.fit_temperature(X[:, 1:], y)
    assert skops.loads(skops.dumps(fit), trusted=skactivation.TRUSTED_TYPES) == fit


def test_another_process_predicts_the_same_bits(tmp_path):
    models = [clone(estimator).fit(X, targets) for estimator, targets in CASES.values()]
    joblib.dump((models, X), tmp_path / "models.joblib")
    program = (
        "import sys, joblib, numpy; models, X = joblib.load(sys.argv[1]); "
        "numpy.savez(sys.argv[2], *(model.predict_proba(X) for model in models))"
    )
    found = tmp_path / "probabilities.npz"
    subprocess.run([sys.executable, "-c", program, tmp_path / "models.joblib", found], check=True)
    with np.load(found) as arrays:
        for model, array in zip(models, arrays.values(), strict=True):
            assert_array_equal(array, model.predict_proba(X))


def test_a_file_of_another_version(monkeypatch):
    model = SoftmaxRegression().fit(X, y)
    file = pickle.dumps(model).replace(skactivation.__version__.encode(), b"9.9.9")
    with pytest.warns(InconsistentVersionWarning, match=r"SoftmaxRegression from version 9\.9\.9"):
        pickle.loads(file)
