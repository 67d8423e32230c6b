"""Faults that were found in the field, each with its kind: what once came out wrong, or was refused though right."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
import warnings
from datetime import date

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from longhand import sigmoid_derivative as exact_derivative
from skactivation import SigmoidMultiLabel, SoftmaxRegression, TemperatureCalibrator, fit_temperature
from skactivation.activations import log_softmax, sigmoid_derivative, softmax
from skactivation.displays import TemperatureDisplay
from skactivation.metrics import (
    calibration_decomposition,
    cross_entropy,
    expected_calibration_error,
    multilabel_log_loss,
    reliability_curve,
)

X, Y = load_iris(return_X_y=True)
rng = np.random.default_rng(0)
P = softmax(rng.normal(size=(150, 3)))


# Certificates hold for the stored coefficients and the user's penalty.


def objective(model, features, targets):
    """F of the stored coefficients, for classes 0 to K - 1 or an indicator, in extended precision."""
    z = features.astype(np.longdouble) @ model.coef_.T.astype(np.longdouble) + model.intercept_
    if targets.ndim == 2:
        losses = np.logaddexp(np.longdouble(0), np.where(targets == 1, -1, 1) * z)
    elif z.shape[1] == 1:
        losses = np.logaddexp(np.longdouble(0), np.where(targets == 1, -1, 1) * z[:, 0])
    else:
        z = z - z.max(axis=1, keepdims=True)
        losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), targets]
    penalty = np.sum(np.square(model.coef_.astype(np.longdouble))) / (2 * np.longdouble(model.C))
    return losses.sum() + (penalty if np.isfinite(model.C) else 0)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("kind", ["two classes", "three classes", "labels"])
@pytest.mark.parametrize("C", [1.0, 1e-6, 1e6])
@pytest.mark.parametrize("size", [1e-150, 1e-290, 1e-295, 1e-298, 1e-300, 1e-305, 1e-308, 1e-320, 5e-324])
def test_columns_of_tiny_range_get_the_coefficient_0_and_a_true_certificate(size, C, kind, form):
    features = np.random.default_rng(0).normal(size=(60, 3))
    features[:, 2] = np.eye(60)[3] * size if size < 1e-323 else np.random.default_rng(1).random(60) * size
    generator = np.random.default_rng(2)
    y = generator.integers(2, size=(60, 2)) if kind == "labels" else generator.integers(2 + (kind[1] == "h"), size=60)
    model = (SigmoidMultiLabel if kind == "labels" else SoftmaxRegression)(C=C).fit(form(features), y)
    assert model.converged_
    assert objective(model, features, y) <= model.loss_ * (1 + model.optimality_gap_ + 1e-14)
    assert np.abs(model.coef_[:, 2]).max() < 1e-140


def test_weights_and_penalties_of_extreme_size_do_not_lose_the_penalty():
    features = np.array([[286.0, -1.2e-305], [437.0, 6.2e-306], [1243.0, 2e-305], [-448.0, -3.3e-306]])
    y, weights = np.array([0, 1, 1, 0]), np.array([1e300, 1e-10, 1.0, 1e300])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = SoftmaxRegression(C=1e300, fit_intercept=False).fit(features, y, weights)
    penalty = np.square(np.longdouble(model.coef_[0, 1])) / 2e300
    assert penalty <= model.loss_ * (1 + 1e-9)


def test_soft_targets_next_to_zero_have_an_optimum():
    features = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    first = np.array([1.0, 1.0, 1e-170, 1e-170])
    with pytest.warns(ConvergenceWarning) as caught:
        SoftmaxRegression(C=np.inf, max_iter=3).fit(features, np.column_stack([first, 1 - first]))
    assert "no finite optimum exists" not in str(caught[0].message)


# Other people's estimators.


class Column(GaussianNB):
    def predict(self, X):
        return super().predict(X).reshape(-1, 1)


@pytest.mark.filterwarnings("ignore:.*lower the temperature:UserWarning")
@pytest.mark.filterwarnings("ignore:the optimum of the scaling:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("options", [{}, {"ensemble": True}, {"scaling": "bias_corrected"}], ids=repr)
def test_predictions_in_a_column_become_one_dimensional(classes, options):
    some = classes > Y
    model = TemperatureCalibrator(Column(), **options).fit(X[some], Y[some])
    expected = TemperatureCalibrator(GaussianNB(), **options).fit(X[some], Y[some])
    assert model.predict(X).shape == (150,)
    assert_array_equal(model.predict(X), expected.predict(X))
    frozen = TemperatureCalibrator(FrozenEstimator(Column().fit(X[some], Y[some]))).fit(X[some], Y[some])
    assert frozen.predict(X).shape == (150,)


class Unruly(ClassifierMixin, BaseEstimator):
    """Gives classes in another order, and probabilities as a frame or in float32."""

    def __init__(self, form="frame"):
        self.form = form

    def fit(self, X, y):
        self.inner_ = GaussianNB().fit(X, y)
        self.classes_ = self.inner_.classes_[::-1]
        return self

    def predict(self, X):
        return list(self.inner_.predict(X))

    def predict_proba(self, X):
        p = self.inner_.predict_proba(X)[:, ::-1]
        return pd.DataFrame(p) if self.form == "frame" else p.astype(np.float32)


@pytest.mark.filterwarnings("ignore:.*lower the temperature:UserWarning")
@pytest.mark.parametrize("form", ["frame", "float32"])
@pytest.mark.parametrize("classes", [2, 3])
def test_outputs_of_any_form_and_order_are_understood(form, classes):
    some = classes > Y
    model = TemperatureCalibrator(Unruly(form)).fit(X[some], Y[some])
    expected = TemperatureCalibrator(GaussianNB()).fit(X[some], Y[some])
    assert_allclose(model.predict_proba(X)[:, ::-1], expected.predict_proba(X), atol=5e-3)  # float32 is floored


class Fitted(GaussianNB):
    def fit(self, X, y, sample_weight=None, eval_set=None, names=None, ragged=None, each=None):
        self.given_ = eval_set, names, ragged, each
        return super().fit(X, y, sample_weight)


def test_fit_parameters_of_any_kind_pass_and_those_with_a_row_each_are_split():
    ragged, each = [[1], [2, 3]], [{"row": row} for row in range(150)]
    model = TemperatureCalibrator(Fitted(), cv=3).fit(
        X, Y, eval_set=[(X[:30], Y[:30])], names={"a": [1]}, ragged=ragged, each=each
    )
    assert model.estimator_.given_[0][0][0].shape == (30, 4)
    assert model.estimator_.given_[2:] == (ragged, each)
    ensemble = TemperatureCalibrator(Fitted(), cv=3, ensemble=True).fit(X, Y, each=each)
    parts = [one.estimator_.given_[3] for one in ensemble.calibrated_estimators_]
    assert [len(part) for part in parts] == [100, 100, 100]


@pytest.mark.filterwarnings("ignore:.*(higher|lower) the temperature:UserWarning")
def test_ties_at_rounding_size_are_no_contradictions():
    model = TemperatureCalibrator(GaussianProcessClassifier()).fit(100 * X[:100], Y[:100])
    assert model.predict_proba(X[:3]).shape == (3, 2)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="joblib's multiprocessing needs fork")
def test_worker_processes_are_given_nothing_that_cannot_be_pickled():
    with joblib.parallel_backend("multiprocessing"):
        model = TemperatureCalibrator(GaussianNB(), n_jobs=2).fit(X, Y)
    assert model.temperature_ == TemperatureCalibrator(GaussianNB()).fit(X, Y).temperature_


@pytest.mark.filterwarnings("ignore:.*lower the temperature:UserWarning")
@pytest.mark.parametrize(
    ("labels", "dtype"),
    [(pd.Series(Y, dtype="Int64"), "int64"), (pd.Series(Y == 1, dtype="boolean"), "bool")],
    ids=["Int64", "boolean"],
)
@pytest.mark.parametrize("classifier", [LogisticRegression(max_iter=1000), GaussianNB(), SoftmaxRegression()], ids=repr)
def test_nullable_labels_keep_their_type(classifier, labels, dtype):
    model = TemperatureCalibrator(classifier).fit(X, labels)
    assert model.classes_.dtype == dtype
    assert model.predict(X).dtype == dtype


# Sparse containers are not taken as valid.


def broken(form, what):
    X_sparse = form(X)
    if what == "row too large":
        X_sparse.indices = X_sparse.indices.copy()
        X_sparse.indices[3] += 190
    elif what == "negative":
        X_sparse.indices = X_sparse.indices.copy()
        X_sparse.indices[3] = -1
    elif what == "indptr falls":
        X_sparse.indptr = X_sparse.indptr.copy()
        X_sparse.indptr[2] = X_sparse.indptr[1] - 1
    else:
        X_sparse.indptr = X_sparse.indptr.copy()
        X_sparse.indptr[-1] += 5
    return X_sparse


@pytest.mark.parametrize("what", ["row too large", "negative", "indptr falls", "indptr too long"])
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_array], ids=["CSR", "CSC"])
@pytest.mark.parametrize(
    "estimator",
    [
        SoftmaxRegression(),
        SigmoidMultiLabel(),
        TemperatureCalibrator(),
        TemperatureCalibrator(LogisticRegression(), ensemble=True),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:y holds 3 classes:UserWarning")
def test_a_malformed_sparse_X_is_an_error_before_anything_is_sliced(estimator, form, what):
    with pytest.raises(ValueError, match="X is not a valid sparse array"):
        estimator.fit(broken(form, what), Y)


@pytest.mark.parametrize("index", [-2, 9])
def test_a_malformed_sparse_Y_is_an_error_everywhere(index):
    indicator = sparse.csr_array(np.eye(3)[Y])
    indicator.indices[2] = index
    message = "is not a valid sparse array: its indices must be from 0 to 2"
    with pytest.raises(ValueError, match=f"Y {message}"):
        SigmoidMultiLabel().fit(X, indicator)
    for metric in (multilabel_log_loss, expected_calibration_error, calibration_decomposition):
        with pytest.raises(ValueError, match=f"y_true {message}"):
            metric(indicator, P)
    with pytest.raises(ValueError, match=f"Y {message}"):
        fit_temperature(P, indicator, multilabel=True)


def test_csc_is_fitted_and_predicted_as_csr():
    dense = X * (rng.random(X.shape) < 0.5)
    by_rows, by_columns = (SoftmaxRegression().fit(form(dense), Y) for form in (sparse.csr_array, sparse.csc_array))
    assert_array_equal(by_rows.coef_, by_columns.coef_)
    assert_array_equal(by_rows.predict_proba(sparse.csr_array(dense)), by_rows.predict_proba(sparse.csc_array(dense)))
    assert by_rows.coef_.T.flags.c_contiguous


# Numbers do not depend on the dtype or the container.


@pytest.mark.parametrize("copied", [False, True])
def test_bins_are_the_same_for_the_same_printed_numbers(copied):
    p, y = np.arange(1, 10) / 10, np.array([0, 0, 1, 0, 1, 1, 0, 1, 1])
    single = p.astype(np.float32)
    single = single.astype(np.float64) if copied else single
    for n_bins in (5, 10, 20, 50):
        expected = reliability_curve(y, p, n_bins=n_bins, kind="classwise")[1]
        curve = reliability_curve(y, single, n_bins=n_bins, kind="classwise")[1]
        assert_array_equal(curve.counts, expected.counts)
        error, of_single = (expected_calibration_error(y, q, n_bins=n_bins, kind="classwise") for q in (p, single))
        assert_allclose(of_single, error, atol=1e-7)
    assert len(reliability_curve(y, p, n_bins=10, kind="classwise")[1].counts) == 9


@pytest.mark.parametrize(
    "form",
    [
        lambda p: p.astype(np.float32).astype(np.float64),
        lambda p: np.round(p, 6),
        lambda p: p.astype(np.float32).tolist(),
        lambda p: ((p.astype(np.float32) + p.astype(np.float32)) / np.float32(2)).astype(float),
        lambda p: p.astype(np.float16),
    ],
    ids=["float32 copied", "six digits", "list", "mean of two models", "float16"],
)
def test_distributions_may_be_rounded(form):
    rounded = form(P)
    SoftmaxRegression().fit(X, rounded)
    fit_temperature(np.log(P), rounded)
    assert_allclose(cross_entropy(rounded, P), cross_entropy(P, P), rtol=1e-3)
    assert_allclose(cross_entropy(P, rounded), cross_entropy(P, P), rtol=1e-3)
    for metric in (expected_calibration_error, calibration_decomposition, reliability_curve):
        metric(Y, rounded)
    with pytest.raises(ValueError, match=r"row 0 sums to 0\.9"):
        SoftmaxRegression().fit(X, 0.9 * P)


def test_a_thousand_classes_may_be_rounded_to_six_digits():
    many = softmax(rng.normal(size=(20, 1000)))
    expected_calibration_error(np.arange(20), np.round(many, 6), labels=np.arange(1000))


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("kind", [int, float, bool, np.uint8, np.float32])
def test_labels_of_one_value_are_decoded_alike_for_any_dtype(kind, value):
    error = expected_calibration_error(np.array([value, value]).astype(kind), [0.9, 0.8], kind="classwise")
    assert_allclose(error, 0.15 if value else 0.85)


def test_integers_as_floats_are_the_numbers_of_columns():
    p = P[:4]
    assert expected_calibration_error([0.0, 1.0, 1.0, 0.0], p) == expected_calibration_error([0, 1, 1, 0], p)


class Table:
    """A table as Arrow has it: columns are arrays, and numpy reads the values."""

    def __init__(self, values):
        self.values, self.shape = values, values.shape
        self.columns = list(values.T)

    def __array__(self, dtype=None, copy=None):
        return self.values


def test_names_that_cannot_be_read_are_an_error():
    message = "must be an array or a data frame in memory, got .*Table"
    with pytest.raises(TypeError, match=message):
        SoftmaxRegression().fit(X, Table(P))
    with pytest.raises(TypeError, match=message):
        SigmoidMultiLabel().fit(X, Table(np.eye(3)[Y]))
    with pytest.raises(TypeError, match=message):
        fit_temperature(Table(np.log(P)), Y)
    with pytest.raises(TypeError, match=message):
        expected_calibration_error(Y, Table(P))


# Temperatures.


def test_probabilities_in_place_of_logits_are_warned_of():
    model = SoftmaxRegression().fit(X, Y)
    p = model.predict_proba(X)
    with pytest.warns(UserWarning, match="look like probabilities"):
        fit_temperature(p, Y)
    with pytest.warns(UserWarning, match="look like probabilities"):
        TemperatureCalibrator("logits").fit(p, Y)
    with pytest.warns(UserWarning, match="look like probabilities"):
        TemperatureDisplay.from_predictions(p, Y)
    fit_temperature(np.log(p), Y)
    fit_temperature(p, np.eye(3)[Y], multilabel=True)


# Activations at temperatures that overflow on the way.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e-294, 1e-160, 1e-16, 1e-3])
def test_the_softmax_of_large_logits_at_small_temperatures_is_finite(temperature, dtype):
    logits = np.array([1e30, -3.3e29, 1.7e22], dtype=dtype)
    assert_array_equal(softmax(logits, temperature=temperature), [1, 0, 0])
    assert log_softmax(logits, temperature=temperature)[0] == 0
    assert not np.isnan(log_softmax(logits, temperature=temperature)).any()


@pytest.mark.parametrize(
    ("logit", "temperature"), [(1e308, 1e308), (3.4e-322, 5e-324), (0.0, 1e308), (1e-300, 1e-300), (-700.0, 1.0)]
)
def test_the_derivative_of_the_sigmoid_at_extreme_temperatures(logit, temperature):
    expected = float(exact_derivative(logit, temperature))
    assert_allclose(sigmoid_derivative(logit, temperature=temperature), expected, rtol=1e-13, atol=5e-324)


# Inputs that scikit-learn would misread.


@pytest.mark.parametrize(
    "values",
    [np.ma.masked_array(X, X > 6), X.astype("datetime64[s]"), X.astype("timedelta64[s]"), X.astype("S5")],
    ids=["masked", "dates", "durations", "bytes"],
)
@pytest.mark.parametrize(
    "estimator",
    [
        SoftmaxRegression(),
        SigmoidMultiLabel(),
        TemperatureCalibrator(LogisticRegression()),
        TemperatureCalibrator("logits"),
    ],
    ids=repr,
)
def test_arrays_that_are_no_numbers_are_an_error(estimator, values):
    with pytest.raises(TypeError, match="X must"):
        estimator.fit(values, Y)


def test_labels_of_kinds_that_scikit_learn_does_not_know():
    names = np.array(["a", "b", "c"])[Y]
    if hasattr(np.dtypes, "StringDType"):
        model = SoftmaxRegression().fit(X, names.astype(np.dtypes.StringDType()))
        assert_array_equal(model.classes_, ["a", "b", "c"])
        assert model.score(X, names) > 0.9
    for labels in (pd.cut(X[:, 0], 3), pd.to_datetime(Y, unit="D", utc=True)):
        with pytest.raises(TypeError, match=r"y must hold strings, numbers or bools.*convert them to strings"):
            SoftmaxRegression().fit(X, pd.Series(labels))


@pytest.mark.parametrize("tol", [np.inf, 0.0, -1.0, np.nan])
def test_a_tolerance_that_certifies_nothing_is_an_error(tol):
    with pytest.raises(ValueError, match="tol must be a number"):
        SoftmaxRegression(tol=tol).fit(X, Y)


def test_a_tolerance_beyond_floats_is_warned_of():
    with pytest.warns(ConvergenceWarning, match="tol"):
        model = SoftmaxRegression(tol=1e-300).fit(X, Y)
    assert not model.converged_
    assert model.optimality_gap_ < 1e-12


def test_columns_in_tiny_units_have_the_right_coefficients():
    small, large = SoftmaxRegression().fit(X * 1e-12, Y), SoftmaxRegression(C=1e-24).fit(X, Y)
    assert_allclose(small.coef_, large.coef_ * 1e12, rtol=1e-6, atol=1e-17)
    assert np.abs(small.coef_).max() > 1e-12


# Late threads.


LATE = """
    import atexit, threading, time
    import numpy as np
    from skactivation import SoftmaxRegression, fit_temperature

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200_000, 10)), rng.integers(3, size=200_000)
    model = SoftmaxRegression(max_iter=5).fit(X[:1000], y[:1000])

    def late():
        time.sleep(0.3)
        model.predict_proba(X)
        fit_temperature(model.decision_function(X), y)
        SoftmaxRegression().fit(X, y)
        print("done")

    {start}
"""


@pytest.mark.parametrize("start", ["threading.Thread(target=late).start()", "atexit.register(late)"])
def test_calls_after_the_main_thread_has_ended_are_served(start):
    code = textwrap.dedent(LATE).format(start=start)
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "done\n", result.stderr


# Messages.


def test_messages_name_what_is_wrong_and_what_to_do():
    frame = pd.DataFrame(X, columns=list("abcd"))
    with pytest.raises(ValueError, match=r"its column 'city' holds strings such as 'x'; encode it.*OneHotEncoder"):
        SoftmaxRegression().fit(frame.assign(city="x"), Y)
    for days in (frame.assign(d=date(2020, 1, 1)), np.full((len(Y), 1), date(2020, 1, 1), dtype=object)):
        with pytest.raises(TypeError, match=r"its column ('d'|0) holds datetime.date\(2020, 1, 1\)"):
            SoftmaxRegression().fit(days, Y)
    with pytest.raises(ValueError, match=r"rows of different lengths.*MultiLabelBinarizer"):
        TemperatureCalibrator("multilabel_logits").fit(X[:4], [[1, 2], [0], [1], []])
    for dates in (frame.assign(d=pd.Timestamp("2020-01-01")), pd.DataFrame({"d": pd.to_datetime(Y, unit="D")})):
        with pytest.raises(TypeError, match=r"its column 'd' is of type datetime64.*make numbers of it"):
            SoftmaxRegression().fit(dates, Y)
    with pytest.raises(ValueError, match=r"cv must be .* got 'prefit'.*FrozenEstimator"):
        TemperatureCalibrator(GaussianNB(), cv="prefit").fit(X, Y)
    with pytest.raises(ValueError, match="logits and y must have the same number of rows, got 150 and 149"):
        fit_temperature(np.log(P), Y[:-1])
    with pytest.raises(ValueError, match="must be an array of real numbers"):
        SoftmaxRegression().fit(X, P.astype(str))


@pytest.mark.filterwarnings("ignore:split 1 of cv:UserWarning")
def test_warnings_of_an_ensemble_name_the_split():
    with pytest.warns(UserWarning, match=r"split 0 of cv: the true class"):
        TemperatureCalibrator(LogisticRegression(), ensemble=True, cv=2).fit(X[:100], Y[:100])


class Given(ClassifierMixin, BaseEstimator):
    """X holds the logits of the first two of three classes."""

    def fit(self, X, y):
        self.classes_ = np.array([0, 1, 2])
        return self

    def predict(self, X):
        return self.decision_function(X).argmax(axis=1)

    def decision_function(self, X):
        return np.column_stack([X, np.zeros(len(X))])


@pytest.mark.parametrize(
    ("rows", "message"),
    [([40, 5], r"rows \[5, 40\]; the first one holds \[nan, 5\.0"), ([40], r"row 40, which holds \[nan, 40\.0")],
)
def test_an_error_about_held_out_rows_shows_the_first_of_them(rows, message):
    logits, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 3
    logits[rows] = [[np.nan, row] for row in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(ValueError, match=message):
            TemperatureCalibrator(Given(), cv=KFold(3, shuffle=True, random_state=0)).fit(logits, y)


@pytest.mark.parametrize("scaling", ["vector", "bias_corrected"])
@pytest.mark.parametrize("offset", [1e6, 1e9])
def test_offsets_of_columns_cost_no_digits(scaling, offset):
    generator = np.random.default_rng(0)
    logits = np.round(generator.normal(size=(300, 3)), 3)
    y = (logits + generator.gumbel(size=(300, 3))).argmax(axis=1)
    plain, shifted = (
        TemperatureCalibrator("logits", scaling=scaling).fit(logits + np.array([0, shift, 0]), y)
        for shift in (0.0, offset)
    )
    assert_allclose(shifted.loss_after_, plain.loss_after_, rtol=1e-6)
    assert_allclose(shifted.slope_, plain.slope_, rtol=1e-4)
    assert shifted.optimality_gap_ < 1e-8


def test_logits_of_several_labels_are_calibrated_in_a_pipeline():
    generator = np.random.default_rng(0)
    logits = 3 * generator.normal(size=(200, 3))
    y = (logits / 3 + generator.logistic(size=(200, 3)) > 0).astype(int)
    model = TemperatureCalibrator("multilabel_logits").fit(logits, y)
    assert_array_equal(model.temperature_, fit_temperature(logits, y, multilabel=True).temperature)
    assert model.predict_proba(logits).shape == model.predict(logits).shape == (200, 3)
    assert_array_equal(model.predict(logits), logits > 0)
    assert 0 < model.score(logits, y) < 1


def test_rows_of_weight_zero_must_be_finite_too():
    features = np.vstack([X, np.full((1, 4), np.nan)])
    with pytest.raises(ValueError, match="contains NaN"):
        SoftmaxRegression().fit(features, np.append(Y, 0), np.append(np.ones(150), 0))


def test_frames_in_another_order_are_never_paired_by_position():
    generator = np.random.default_rng(0)
    p = pd.DataFrame(P, columns=["a", "b", "c"])
    y = (generator.random((150, 3)) < P).astype(int)
    indicator = pd.DataFrame(y, columns=["b", "a", "c"])
    soft = pd.DataFrame(P[:, ::-1], columns=["c", "b", "a"])
    for call in (
        lambda: multilabel_log_loss(indicator, p),
        lambda: cross_entropy(soft, p),
        lambda: fit_temperature(np.log(p), indicator, multilabel=True),
        lambda: fit_temperature(np.log(p), soft),
        lambda: TemperatureCalibrator("multilabel_logits").fit(np.log(p), indicator),
        lambda: TemperatureCalibrator("logits").fit(np.log(p), soft),
        lambda: expected_calibration_error(indicator, p),
    ):
        with pytest.raises(ValueError, match=r"must have the columns of .* in the same order"):
            call()
    cross_entropy(soft[["a", "b", "c"]], p)
    fit_temperature(np.log(p), soft[["a", "b", "c"]])


def test_the_cross_entropy_of_no_distribution_is_an_error():
    with pytest.raises(ValueError, match=r"row 0 sums to 0\.9"):
        cross_entropy(P, 0.9 * P)


def test_a_series_as_X_is_an_error_of_its_shape():
    for estimator in (SoftmaxRegression(), SigmoidMultiLabel()):
        with pytest.raises(ValueError, match="Expected"):
            estimator.fit(pd.Series(X[:, 0]), Y)


def test_nan_in_probabilities_is_named():
    p = P.copy()
    p[7, 1] = np.nan
    with pytest.raises(ValueError, match="got NaN in row 7"):
        expected_calibration_error(Y, p)


@pytest.mark.filterwarnings("ignore:y has no row of positive weight:UserWarning")
@pytest.mark.parametrize("factors", [{0: 1000, 1: 1000, 2: 0}, {0: 0, 1: 1000, 2: 0.01}, {0: 5, 1: 0, 2: 0}], ids=repr)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_prior_correction_never_favours_a_class_without_weight(factors, n_classes):
    some = n_classes > Y
    factors = {label: factor for label, factor in factors.items() if label < n_classes}
    model = SoftmaxRegression(class_weight=factors, prior_correction=True).fit(X[some], Y[some])
    absent = [label for label, factor in factors.items() if factor == 0]
    if not absent:
        return
    n_rows = np.isin(Y[some], absent, invert=True).sum()
    assert model.predict_proba(X)[:, absent].max() <= 0.5 / (n_rows + 1) * (1 + 1e-12)


@pytest.mark.parametrize("what", ["index", "negative", "indptr", "lil"])
def test_malformed_sparse_arrays_of_other_formats_are_an_error(what):
    blocks = sparse.bsr_array(np.kron(np.eye(75), np.ones((2, 2))), blocksize=(2, 2))
    if what == "lil":
        blocks = blocks.tolil()
        blocks.rows[0] = [999]
        blocks.data[0] = [1.0]
    elif what == "indptr":
        blocks.indptr[-1] = 10**6
    else:
        blocks.indices[0] = 90 if what == "index" else -3
    with pytest.raises(ValueError, match="X is not a valid sparse array"):
        SoftmaxRegression().fit(blocks, Y)


def test_a_sparse_X_of_one_dimension_is_an_error_of_its_shape():
    with pytest.raises(ValueError, match=r"Expected 2D|1 sample"):  # older SciPy makes a row of it
        SoftmaxRegression().fit(sparse.coo_array(X[:, 0]), Y)


def test_pipelines_around_anything_get_it():
    grades = np.array(["low", "high"])[(X[:, :2] > X[:, :2].mean(axis=0)).astype(int)].astype("S")
    model = TemperatureCalibrator(make_pipeline(OneHotEncoder(), LogisticRegression())).fit(grades, Y)
    assert model.predict_proba(grades).shape == (150, 3)


class Indexed(GaussianNB):
    def fit(self, X, y):
        assert list(X.index) == list(y.index)
        return super().fit(X, y)


@pytest.mark.parametrize("dtype", ["int64", "Int64", "object"])
def test_a_series_keeps_its_index_on_the_way_to_the_classifier(dtype):
    index = np.arange(150) + 1000
    TemperatureCalibrator(Indexed(), cv=3).fit(pd.DataFrame(X, index), pd.Series(Y, index, dtype=dtype))


class Dying(GaussianNB):
    def fit(self, X, y):
        if os.getpid() != self.parent:
            os._exit(9)
        return super().fit(X, y)

    def __init__(self, parent=0, priors=None, var_smoothing=1e-9):
        self.parent = parent
        super().__init__(priors=priors, var_smoothing=var_smoothing)


def test_a_killed_worker_is_an_error_and_the_estimator_stays_as_it_was():
    model = TemperatureCalibrator(GaussianNB()).fit(X, Y)
    before = dict(vars(model.set_params(estimator=Dying(os.getpid()), n_jobs=2)))
    with joblib.parallel_backend("loky"), pytest.raises(Exception, match=r"worker|process"):
        model.fit(X, Y)
    assert all(vars(model)[name] is value for name, value in before.items())
    assert_array_equal(model.predict(X), model.estimator_.predict(X))


def test_many_columns_in_single_precision_sum_to_one_in_any_layout():
    for layout in (np.ascontiguousarray, np.asfortranarray):
        p = layout(np.full((2, 256_000), 1 / 256_000, dtype=np.float32))
        assert cross_entropy(p, p) == pytest.approx(np.log(256_000), rel=1e-4)
