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


METHODS = "predict", "predict_proba", "decision_function", "predict_log_proba"


def assert_same(predicted, expected):
    """Equal up to rounding: products of blocks with few rows are summed otherwise than those of many."""
    if expected.dtype.kind == "f":
        rtol = 1e-5 if expected.dtype == np.float32 else 1e-12
        assert_allclose(predicted, expected, rtol=rtol, atol=rtol)
    else:
        assert_array_equal(predicted, expected)


def split(array):
    return da.from_array(array, chunks=(CHUNKS, *array.shape[1:]))


def assert_equal_fits(ours, local, rtol=1e-9):
    assert_allclose(ours.coef_, local.coef_, rtol=rtol, atol=rtol * np.abs(local.coef_).max())
    assert_allclose(ours.intercept_, local.intercept_, rtol=rtol, atol=rtol)
    assert_allclose(ours.loss_, local.loss_, rtol=1e-12)
    assert ours.converged_ == local.converged_
    assert ours.n_evaluations_ == local.n_evaluations_
    assert type(ours.coef_) is np.ndarray


FOR_ALL = [{}, {"C": np.inf}, {"fit_intercept": False}, {"label_smoothing": 0.1}]
FOR_LABELS = [{"class_weight": "balanced", "prior_correction": True}]
TWO_SOFT = SOFT[:, :2] / SOFT[:, :2].sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("y", "settings"),
    [
        *((y, settings) for y in (THREE, TWO) for settings in FOR_ALL + FOR_LABELS),
        *((y, settings) for y in (SOFT, TWO_SOFT) for settings in FOR_ALL),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else str(value.shape),
)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["none", "rows"])
def test_softmax_regression(y, settings, weights):
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


LOGITS = SCORES * 3


@pytest.mark.parametrize(
    ("logits", "y", "settings"),
    [
        (LOGITS, THREE, {}),
        (LOGITS.astype(np.float32), THREE, {}),
        (LOGITS, SOFT, {}),
        (LOGITS[:, 0], TWO, {}),
        (LOGITS, np.searchsorted(["ash", "birch", "cedar"], THREE), {"classes": [0, 1, 2]}),
        (LOGITS, UNKNOWN, {"multilabel": True}),
        (LOGITS * 1e-120, THREE, {}),
        (np.where(LOGITS < -9, -np.inf, LOGITS), np.argmax(LOGITS, axis=1), {}),
    ],
    ids=["classes", "float32", "soft", "two", "named", "labels", "tiny", "infinite"],
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.filterwarnings("ignore:the true class has:UserWarning")
def test_fit_temperature(logits, y, settings, weighted):
    weights = {"sample_weight": WEIGHTS} if weighted else {}
    local = fit_temperature(logits, y, **settings, **weights)
    weights = {"sample_weight": split(WEIGHTS)} if weighted else {}
    ours = dask_fit_temperature(split(logits), split(y), **settings, **weights)
    assert_allclose(ours.temperature, local.temperature, rtol=1e-11)
    assert_allclose(ours.loss_before, local.loss_before, rtol=1e-12)
    assert_allclose(ours.loss_after, local.loss_after, rtol=1e-12)
    assert_array_equal(ours.at_limit, local.at_limit)
    assert ours.n_passes == local.n_passes


def test_fit_temperature_of_many_rows_starts_from_a_sample():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(40_000, 5)) * 4
    y = np.argmax(logits / 2.5 + rng.gumbel(size=logits.shape), axis=1)
    local = fit_temperature(logits, y)
    ours = dask_fit_temperature(da.from_array(logits, chunks=(15_000, 5)), da.from_array(y, chunks=15_000))
    assert_allclose(ours.temperature, local.temperature, rtol=1e-12)
    assert ours.n_passes == local.n_passes


@pytest.mark.filterwarnings("ignore:some slopes are negative:UserWarning")
@pytest.mark.parametrize("scaling", ["temperature", "bias_corrected", "vector"])
@pytest.mark.parametrize("kind", ["logits", "multilabel_logits", "frozen"])
def test_temperature_calibrator(kind, scaling):
    estimator, rows, y = {
        "logits": ("logits", LOGITS, THREE),
        "multilabel_logits": ("multilabel_logits", LOGITS, UNKNOWN),
        "frozen": (FrozenEstimator(SoftmaxRegression(C=1e-4).fit(X[:300], THREE[:300])), X, THREE),
    }[kind]
    local = TemperatureCalibrator(estimator, scaling=scaling).fit(rows, y)
    ours = DaskTemperatureCalibrator(estimator, scaling=scaling).fit(split(rows), split(y))
    for name in ("temperature_", "slope_", "bias_", "loss_before_", "loss_after_"):
        assert_allclose(getattr(ours, name), getattr(local, name), rtol=1e-8, atol=1e-8)
    assert_array_equal(ours.classes_, local.classes_)
    for method in METHODS:
        assert_same(getattr(ours, method)(split(rows)).compute(), getattr(ours.to_local(), method)(rows))
    if kind != "multilabel_logits":
        assert ours.score(split(rows), split(y)) == pytest.approx(local.score(rows, y))


def test_data_frames():
    frame = pd.DataFrame(X, columns=list("abcd"))
    dd = pytest.importorskip("dask.dataframe", exc_type=ImportError)
    rows, y = dd.from_pandas(frame, npartitions=3), dd.from_pandas(pd.Series(THREE), npartitions=3)
    local, ours = SoftmaxRegression().fit(frame, THREE), DaskSoftmaxRegression().fit(rows, y)
    assert_equal_fits(ours, local)
    assert ours.feature_names_in_.tolist() == list("abcd")
    for method in METHODS:
        predicted = getattr(ours, method)(rows)
        assert isinstance(predicted, da.Array)
        assert_same(predicted.compute(), getattr(ours.to_local(), method)(frame))
    with pytest.raises(ValueError, match="feature names should match"):
        ours.predict(rows[["a", "b", "d", "c"]])
    names = ["yes", "no", "maybe"]
    many = dd.from_pandas(pd.DataFrame(UNKNOWN, columns=names), npartitions=3)
    assert DaskSigmoidMultiLabel().fit(rows, many).label_names_.tolist() == names
    logits = pd.DataFrame(LOGITS, columns=["cedar", "birch", "ash"])
    assert_allclose(
        dask_fit_temperature(dd.from_pandas(logits, npartitions=3), y).temperature,
        fit_temperature(logits, THREE).temperature,
        rtol=1e-12,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("kind", ["classes", "two", "labels"])
def test_predictions_are_lazy_and_have_the_chunks_of_x(kind, dtype):
    dask, y = {
        "classes": (DaskSoftmaxRegression, THREE),
        "two": (DaskSoftmaxRegression, TWO),
        "labels": (DaskSigmoidMultiLabel, LABELS),
    }[kind]
    rows = X.astype(dtype)
    model = dask().fit(split(rows), split(y))
    empty = da.concatenate([split(rows), da.zeros((0, D), chunks=(1, D), dtype=dtype)])
    for method in METHODS:
        expected = getattr(model.to_local(), method)(rows)
        for given in (split(rows), split(rows).rechunk({1: 2}), empty):
            predicted = getattr(model, method)(given)
            assert isinstance(predicted, da.Array)
            assert predicted.shape == expected.shape
            assert predicted.dtype == expected.dtype
            assert_same(predicted.compute(), expected)
        assert predicted.chunks[0][: len(CHUNKS)] == CHUNKS
        assert_array_equal(getattr(model, method)(rows), expected)  # an array in memory gives one
    with pytest.raises(ValueError, match="features"):
        model.predict(split(rows)[:, :2])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_scores(weights):
    parts = None if weights is None else split(weights)
    soft = DaskSoftmaxRegression().fit(split(X), split(THREE))
    for y in (THREE, SOFT):
        assert soft.score(split(X), split(y), parts) == pytest.approx(soft.to_local().score(X, y, weights))
    labels = DaskSigmoidMultiLabel().fit(split(X), split(UNKNOWN))
    known = UNKNOWN.copy()
    known[::3] = np.nan
    assert labels.score(split(X), split(known), parts) == pytest.approx(labels.to_local().score(X, known, weights))


def test_a_warm_start_begins_where_the_last_fit_ended():
    model = DaskSoftmaxRegression(C=0.1, warm_start=True).fit(split(X), split(THREE))
    start = model.loss_
    model.set_params(C=0.1).fit(split(X), split(THREE))
    assert model.loss_curve_[0] == pytest.approx(start, rel=1e-9)


def test_classes_that_one_partition_lacks_and_partitions_that_lack_rows():
    order = np.argsort(THREE)
    rows, y = X[order], THREE[order]
    ends = np.searchsorted(y, ["birch", "cedar"])
    chunks = (int(ends[0]), int(ends[1] - ends[0]), int(N - ends[1]))
    given, labels = da.from_array(rows, chunks=(chunks, D)), da.from_array(y, chunks=(chunks,))
    assert_equal_fits(DaskSoftmaxRegression().fit(given, labels), SoftmaxRegression().fit(rows, y))
    kept = da.from_array(y != "birch", chunks=(chunks,))  # nothing of the second partition
    local = SoftmaxRegression().fit(rows[y != "birch"], y[y != "birch"])
    assert_equal_fits(DaskSoftmaxRegression().fit(given[kept], labels[kept]), local)


def test_chunks_that_do_not_match_are_aligned():
    given = split(X).rechunk({1: 2})
    y, weights = da.from_array(THREE, chunks=500), da.from_array(WEIGHTS, chunks=333)
    local = SoftmaxRegression().fit(X, THREE, WEIGHTS)
    assert_equal_fits(DaskSoftmaxRegression().fit(given, y, weights), local)
    assert_equal_fits(DaskSoftmaxRegression().fit(given, THREE, WEIGHTS), local)  # y in memory is split


def test_unknown_chunks_are_matched_partition_by_partition():
    unknown = split(X)[split(WEIGHTS) >= 0], split(THREE)[split(WEIGHTS) >= 0]
    assert np.isnan(unknown[0].chunks[0]).all()
    assert_equal_fits(DaskSoftmaxRegression().fit(*unknown), SoftmaxRegression().fit(X, THREE))


def test_weights_zero_leave_out_a_class_and_a_label():
    weights = (THREE != "birch").astype(float)
    with pytest.warns(UserWarning, match="birch"):
        local = SoftmaxRegression().fit(X, THREE, weights)
    with pytest.warns(UserWarning, match="birch"):
        ours = DaskSoftmaxRegression().fit(split(X), split(THREE), split(weights))
    assert_equal_fits(ours, local)
    constant = LABELS.copy()
    constant[:, 1] = 1
    with pytest.warns(UserWarning, match="always 1"):
        ours = DaskSigmoidMultiLabel().fit(split(X), split(constant))
    with pytest.warns(UserWarning, match="always 1"):
        assert_equal_fits(ours, SigmoidMultiLabel().fit(X, constant))


def test_separable_data_without_a_penalty_warn_as_in_memory():
    y = X[:, 0] > 0
    with pytest.warns(match="separate") as here:
        SoftmaxRegression(C=np.inf).fit(X, y)
    with pytest.warns(match="separate") as there:
        DaskSoftmaxRegression(C=np.inf).fit(split(X), split(y))
    assert str(there[0].message).startswith("Dask" + str(here[0].message)[:60])


def test_clones_keep_the_client_and_files_do_not(client):
    model = DaskSoftmaxRegression(client=client, C=2.0).fit(split(X), split(THREE))
    assert clone(model).client is client
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.client is None
    assert loaded.C == 2.0
    assert model.client is client
    assert_array_equal(loaded.predict(split(X)).compute(), model.predict(split(X)).compute())
    plain = model.to_local()
    assert type(plain) is SoftmaxRegression
    assert plain.get_params() == {name: value for name, value in model.get_params().items() if name != "client"}
    assert_array_equal(plain.coef_, model.coef_)


def test_integers_and_persisted_arrays_of_float32():
    counts = RNG.integers(0, 9, size=(N, 3))
    assert_equal_fits(DaskSoftmaxRegression().fit(split(counts), split(TWO)), SoftmaxRegression().fit(counts, TWO))
    single = X.astype(np.float32)
    ours = DaskSoftmaxRegression().fit(split(single).persist(), split(TWO).persist())
    local = SoftmaxRegression().fit(single, TWO)
    assert ours.coef_.dtype == np.float32
    assert_allclose(ours.coef_, local.coef_, rtol=1e-6)


def test_a_frozen_classifier_of_scikit_learn():
    classifier = FrozenEstimator(LogisticRegression(max_iter=10_000).fit(X[:300], THREE[:300]))
    local = TemperatureCalibrator(classifier).fit(X[300:], THREE[300:])
    ours = DaskTemperatureCalibrator(classifier).fit(split(X)[300:], split(THREE)[300:])
    assert_allclose(ours.temperature_, local.temperature_, rtol=1e-11)


def test_no_warning_comes_from_dask():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = DaskSoftmaxRegression().fit(split(X), split(THREE))
        model.predict(split(X)).compute()


def test_columns_of_parquet_files_whose_partitions_dask_would_merge(tmp_path):
    dd = pytest.importorskip("dask.dataframe", exc_type=ImportError)
    frame = pd.DataFrame(RNG.normal(size=(8000, 10)), columns=[f"f{number}" for number in range(10)])
    frame["label"] = RNG.choice(["no", "yes"], 8000)
    for number, start in enumerate(range(0, 8000, 2000)):
        frame[start : start + 2000].to_parquet(tmp_path / f"{number}.parquet")
    both = dd.read_parquet(tmp_path)
    rows, y = both.drop(columns="label"), both["label"]
    assert y.optimize().npartitions < y.npartitions == 4
    model = DaskSoftmaxRegression().fit(rows, y)
    assert_equal_fits(model, SoftmaxRegression().fit(frame.drop(columns="label"), frame["label"]))
    assert model.predict(rows).numblocks == (4,)
    assert model.score(rows, y) == pytest.approx(model.to_local().score(frame.drop(columns="label"), frame["label"]))


def test_an_error_of_a_lazy_prediction_names_the_partition():
    model = DaskSoftmaxRegression().fit(split(X), split(THREE))
    bad = X.copy()
    bad[900] = np.nan
    with pytest.raises(ValueError, match="partition 3: Input X contains NaN"):
        model.predict(split(bad)).compute()
    dd = pytest.importorskip("dask.dataframe", exc_type=ImportError)
    frame = dd.from_pandas(pd.DataFrame(bad), npartitions=4)
    with pytest.raises(ValueError, match="partition 3: Input X contains NaN"):
        model.predict(frame).compute()


def test_weights_of_entries_are_no_weights_of_a_score():
    model = DaskSigmoidMultiLabel().fit(split(X), split(LABELS), split(ENTRY_WEIGHTS))
    with pytest.raises(ValueError, match="partition 0: sample_weight must hold one weight per row"):
        model.score(split(X), split(LABELS), split(ENTRY_WEIGHTS))


def test_names_of_a_y_in_memory_count():
    soft = pd.DataFrame(SOFT, columns=["ash", "birch", "cedar"])
    assert DaskSoftmaxRegression().fit(split(X), soft).classes_.tolist() == ["ash", "birch", "cedar"]
    labels = pd.DataFrame(LABELS, columns=["p", "q", "r"])
    assert DaskSigmoidMultiLabel().fit(split(X), labels).label_names_.tolist() == ["p", "q", "r"]
    with pytest.raises(ValueError, match="reorder y"):
        dask_fit_temperature(split(LOGITS), soft, classes=["cedar", "birch", "ash"])


def test_features_of_a_frozen_classifier_have_other_names_than_the_columns_of_y():
    dd = pytest.importorskip("dask.dataframe", exc_type=ImportError)
    frame, labels = pd.DataFrame(X, columns=list("abcd")), pd.DataFrame(LABELS, columns=["p", "q", "r"])
    classifier = FrozenEstimator(SigmoidMultiLabel().fit(frame[:300], labels[:300]))
    local = TemperatureCalibrator(classifier).fit(frame, labels)
    parts = (dd.from_pandas(each, npartitions=3) for each in (frame, labels))
    assert_allclose(DaskTemperatureCalibrator(classifier).fit(*parts).temperature_, local.temperature_, rtol=1e-10)
