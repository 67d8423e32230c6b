"""Tensors and tables of other libraries: as input everywhere, and as output under array API dispatch."""

import importlib
import os
from types import SimpleNamespace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skactivation import (
    SigmoidMultiLabel,
    SoftmaxRegression,
    SoftmaxRegressionCV,
    TemperatureCalibrator,
    _arrays,
    activations,
    fit_temperature,
    losses,
    metrics,
)
from skactivation._validation import as_array, as_floats

X, y = load_iris(return_X_y=True)
Y = np.eye(3, dtype=int)[y]
NAMES = ["c", "a", "b"]


def has_dispatch():
    """Whether scikit-learn's dispatch is on offer: it takes SCIPY_ARRAY_API=1, and SciPy 1.14."""
    try:
        with config_context(array_api_dispatch=True):
            return os.environ.get("SCIPY_ARRAY_API") == "1"
    except (ImportError, RuntimeError, ValueError):
        return False


needs_dispatch = pytest.mark.skipif(not has_dispatch(), reason="scikit-learn's dispatch needs SCIPY_ARRAY_API=1")


class Tensor:
    """Behaves as PyTorch's tensors do, as far as it matters."""

    def __init__(self, numbers, *, dtype=None, device="cpu", requires_grad=False):
        self.numbers, self.device, self.requires_grad = np.asarray(numbers), device, requires_grad
        self.dtype = f"torch.{self.numbers.dtype}" if dtype is None else dtype
        self.itemsize, self.shape = 2 if "bfloat16" in self.dtype else self.numbers.itemsize, self.numbers.shape

    def __dlpack__(self, **kwargs):
        raise BufferError("not here")

    def __len__(self):
        return len(self.numbers)

    def __array__(self, dtype=None, copy=None):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        if self.device != "cpu":
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if "bfloat16" in self.dtype:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.numbers.astype(dtype or self.numbers.dtype)

    def _like(self, **changes):
        own = {"dtype": self.dtype, "device": self.device, "requires_grad": self.requires_grad}
        return Tensor(self.numbers, **(own | changes))

    def detach(self):
        return self._like(requires_grad=False)

    def cpu(self):
        return self._like(device="cpu")

    def float(self):
        return Tensor(self.numbers.astype(np.float32), device=self.device, requires_grad=self.requires_grad)


KINDS = {
    "float64": {},
    "gradient": {"requires_grad": True},
    "device": {"device": "cuda:0"},
    "bfloat16": {"dtype": "torch.bfloat16", "device": "cuda:0", "requires_grad": True},
}


@pytest.fixture(params=KINDS, ids=str)
def tensor(request):
    def make(numbers):
        kind = KINDS[request.param] if np.asarray(numbers).dtype.kind == "f" else {"device": "cuda:0"}
        return Tensor(numbers, **kind)

    make.dtype = np.float32 if request.param == "bfloat16" else np.float64
    return make


def test_functions_take_tensors(tensor):
    z = X - 4
    exact = z.astype(tensor.dtype)
    assert_array_equal(activations.softmax(tensor(z)), activations.softmax(exact))
    assert activations.softmax(tensor(z)).dtype == tensor.dtype
    assert_array_equal(losses.softmax_cross_entropy(tensor(z), tensor(y)), losses.softmax_cross_entropy(exact, y))
    p = activations.softmax(z[:, :3])
    assert metrics.expected_calibration_error(tensor(y), tensor(p)) == metrics.expected_calibration_error(
        y, p.astype(tensor.dtype)
    )
    assert metrics.cross_entropy(tensor(Y.astype(float)), tensor(p)) == metrics.cross_entropy(
        Y.astype(tensor.dtype), p.astype(tensor.dtype)
    )
    weights = np.linspace(1, 2, 150)
    fits = [
        fit_temperature(logits, labels, sample_weight=w)
        for logits, labels, w in (
            (tensor(z[:, 1:]), tensor(y), tensor(weights)),
            (exact[:, 1:], y, weights.astype(tensor.dtype)),
        )
    ]
    assert fits[0] == fits[1]
    assert_array_equal(fits[0].predict_proba(tensor(z[:, 1:])), fits[0].predict_proba(exact[:, 1:]))


@pytest.mark.parametrize(
    "estimator",
    [
        SoftmaxRegression(),
        SigmoidMultiLabel(),
        SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3),
        SoftmaxRegressionCV(Cs=[0.1, 1.0], cv="loo"),
        TemperatureCalibrator(LogisticRegression(max_iter=1000), cv=3),
        TemperatureCalibrator(SoftmaxRegression(), cv=3, ensemble=True),
        TemperatureCalibrator("logits"),
    ],
    ids=["softmax", "labels", "search", "loo", "calibrator", "ensemble", "logits"],
)
def test_estimators_take_tensors(estimator, tensor):
    rows = X[:, 1:] if estimator.get_params().get("estimator") == "logits" else X
    targets = Y if isinstance(estimator, SigmoidMultiLabel) else y
    weights = np.linspace(1, 2, 150)
    given = clone(estimator).fit(tensor(rows), tensor(targets), sample_weight=tensor(weights))
    exact = rows.astype(tensor.dtype)
    same = clone(estimator).fit(exact, targets, sample_weight=weights.astype(tensor.dtype))
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert_array_equal(getattr(given, method)(tensor(rows)), getattr(same, method)(exact))
    assert given.score(tensor(rows), tensor(targets)) == same.score(exact, targets)
    weighted = [
        model.score(X, Y, sample_weight=w)
        for model, X, Y, w in (
            (given, tensor(rows), tensor(targets), tensor(weights)),
            (same, exact, targets, weights.astype(tensor.dtype)),
        )
    ]
    assert weighted[0] == weighted[1]


def test_small_floats_of_ml_dtypes_become_float32():
    # As np.asarray makes them of tensors of JAX.
    dtype = SimpleNamespace(kind="V", name="bfloat16")
    array = SimpleNamespace(dtype=dtype, astype=lambda dtype: np.ones(3, dtype))
    assert _arrays.with_known_dtype(array).dtype == np.float32


def test_an_array_on_another_device_is_copied(monkeypatch):
    class Remote:
        def __dlpack__(self, **kwargs):
            return None

        def __array__(self, dtype=None, copy=None):
            raise TypeError("on another device")

    numbers = np.arange(3.0)
    monkeypatch.setattr(np, "from_dlpack", lambda given, device: numbers if device == "cpu" else None)
    assert_array_equal(_arrays.without_tensors(Remote(), "X"), numbers)


def test_probabilities_in_bfloat16_sum_to_one_as_well_as_they_can():
    p = SoftmaxRegression().fit(X, y).predict_proba(X).astype(np.float32)
    rounded = (p.view(np.uint32) + 0x8000 & 0xFFFF0000).view(np.float32)
    assert np.abs(rounded.sum(axis=1) - 1).max() > 1e-3
    metrics.expected_calibration_error(y, rounded)
    metrics.cross_entropy(rounded, rounded)
    with pytest.raises(ValueError, match="do not sum to 1"):
        metrics.expected_calibration_error(y, rounded.astype(np.float64))


def test_a_tensor_that_cannot_be_read_is_named():
    class Opaque:
        def __dlpack__(self):
            raise BufferError("no")

        def __array__(self, dtype=None, copy=None):
            raise TypeError("not here")

    with pytest.raises(TypeError, match=r"logits must be an array that NumPy can read, got a .*Opaque"):
        activations.softmax(Opaque())
    with pytest.raises(TypeError, match=r"X must be an array that NumPy can read"):
        SoftmaxRegression().fit(Opaque(), y)


FRAMES = {
    "pandas": lambda data, names=NAMES: pd.DataFrame(dict(zip(names, data.T, strict=True))),
    "pandas, nullable": lambda data, names=NAMES: pd.DataFrame(dict(zip(names, data.T, strict=True))).convert_dtypes(),
    "polars": lambda data, names=NAMES: pl.DataFrame(dict(zip(names, data.T, strict=True))),
}


def arrow(data, names=NAMES):
    pa = pytest.importorskip("pyarrow", exc_type=ImportError)
    return pa.table({name: pa.array(column) for name, column in zip(names, data.T, strict=True)})


def pandas_of_arrow(data, names=NAMES):
    pytest.importorskip("pyarrow", exc_type=ImportError)
    return FRAMES["pandas"](data, names).convert_dtypes(dtype_backend="pyarrow")


FRAMES |= {"Arrow": arrow, "pandas, of Arrow": pandas_of_arrow}
by_frame = pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)


@by_frame
def test_tables_have_names(frame):
    labels = np.array(NAMES)[[1, 2, 0]][y]
    p = SoftmaxRegression().fit(X, labels).predict_proba(X)[:, [2, 0, 1]]
    error = metrics.expected_calibration_error(labels, p, labels=NAMES)
    assert metrics.expected_calibration_error(labels, frame(p)) == error
    fit = fit_temperature(frame(np.log(p)), labels)
    assert fit == fit_temperature(np.log(p), labels, classes=NAMES)
    calibrator = TemperatureCalibrator("logits").fit(frame(np.log(p)), labels)
    assert calibrator.temperature_ == fit.temperature
    assert calibrator.classes_.tolist() == NAMES


@by_frame
def test_tables_as_targets(frame):
    model = SigmoidMultiLabel().fit(X, frame(Y))
    assert model.label_names_.tolist() == NAMES
    assert_allclose(model.coef_, SigmoidMultiLabel().fit(X, Y).coef_)
    assert model.score(X, frame(Y)) == model.score(X, Y)
    soft = 0.8 * Y + 0.2 / 3
    model = SoftmaxRegression().fit(X, frame(soft))
    assert model.classes_.tolist() == NAMES
    assert_allclose(model.coef_, SoftmaxRegression().fit(X, soft).coef_)
    assert_allclose(metrics.cross_entropy(frame(soft), frame(soft)), metrics.cross_entropy(soft, soft))
    with pytest.raises(ValueError, match="y_proba must have the columns of y_true in the same order"):
        metrics.cross_entropy(frame(soft), FRAMES["pandas"](soft)[["a", "b", "c"]])


@by_frame
@pytest.mark.parametrize(
    "estimator",
    [SoftmaxRegression(), TemperatureCalibrator(SoftmaxRegression(), cv=3), SoftmaxRegressionCV(Cs=[1.0, 2.0], cv=3)],
    ids=["softmax", "calibrator", "search"],
)
def test_tables_as_rows(frame, estimator):
    model = clone(estimator).fit(frame(X[:, :3]), y)
    if hasattr(StandardScaler().fit(frame(X[:, :3])), "feature_names_in_"):
        # scikit-learn 1.7 does not read the names of all frames.
        assert model.feature_names_in_.tolist() == NAMES
        with pytest.raises(ValueError, match="feature names"):
            model.predict(frame(X[:, :3], ["x", "y", "z"]))
    same = clone(estimator).fit(X[:, :3], y)
    assert_array_equal(model.predict_proba(frame(X[:, :3])), same.predict_proba(X[:, :3]))


def test_columns_of_labels_of_arrow():
    pa = pytest.importorskip("pyarrow", exc_type=ImportError)
    labels = np.array(NAMES)[y]
    model = SoftmaxRegression().fit(X, pa.chunked_array([labels[:70], labels[70:]]))
    assert_array_equal(model.predict(X), SoftmaxRegression().fit(X, labels).predict(X))
    model = TemperatureCalibrator(SoftmaxRegression(), cv=3).fit(X, pa.array(labels))
    assert_array_equal(model.classes_, np.unique(labels))


def test_record_batches_are_tables():
    pa = pytest.importorskip("pyarrow", exc_type=ImportError)
    table = arrow(X[:, :3])
    (batch,) = table.combine_chunks().to_batches()
    model = SoftmaxRegression().fit(batch, y)
    assert_array_equal(model.coef_, SoftmaxRegression().fit(table, y).coef_)
    soft = pa.RecordBatch.from_arrays([pa.array(column) for column in Y.T.astype(float)], names=NAMES)
    assert SoftmaxRegression(label_smoothing=0.1).fit(X, soft).classes_.tolist() == NAMES


def test_columns_of_the_same_name_in_arrow():
    pa = pytest.importorskip("pyarrow", exc_type=ImportError)
    table = pa.Table.from_arrays([pa.array(column) for column in Y.T], names=["a", "a", "b"])
    with pytest.raises(ValueError, match=r"the columns of a data frame of pyarrow\.lib cannot be read"):
        SigmoidMultiLabel().fit(X, table)


def test_groups_and_fit_parameters_may_be_tensors():
    groups = np.arange(150) % 5
    searches = [
        SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=GroupKFold(5)).fit(X, y, groups=given)
        for given in (groups, Tensor(groups, device="cuda:0"))
    ]
    assert_array_equal(searches[0].scores_, searches[1].scores_)


def test_lists_that_numpy_cannot_read_are_named():
    with pytest.raises(TypeError, match="logits must be an array that NumPy can read"):
        activations.softmax([Tensor([1.0, 2.0], requires_grad=True)])


def test_columns_that_hold_no_numbers_are_named():
    pa = pytest.importorskip("pyarrow", exc_type=ImportError)
    days = pa.array(np.arange(150).astype("datetime64[D]"))
    with pytest.raises(TypeError, match=r"X must hold numbers, but its column 'day' is of type Date"):
        SoftmaxRegression().fit(pa.table({"a": X[:, 0], "day": days}), y)
    with pytest.raises(ValueError, match="its column 'name' holds strings such as 'b'"):
        SoftmaxRegression().fit(pa.table({"a": X[:, 0], "name": ["b"] * 150}), y)


@pytest.mark.parametrize("frame", [FRAMES["pandas"], FRAMES["pandas, nullable"], FRAMES["polars"], arrow])
def test_a_column_with_nan_is_named(frame):
    wrong = X[:, :3].copy()
    wrong[7, 1] = np.nan
    with pytest.raises(ValueError, match=r"Input X contains NaN[\s\S]*Its column 'a' holds nan in row 7"):
        SoftmaxRegression().fit(frame(wrong), y)


def test_tables_not_in_memory_are_refused():
    lazy = pl.DataFrame(X).lazy()
    message = "must be an array or a data frame in memory, got polars.*LazyFrame; compute or collect it"
    with pytest.raises(TypeError, match="y " + message):
        SigmoidMultiLabel().fit(X, lazy)
    with pytest.raises(TypeError, match="X " + message):
        SoftmaxRegression().fit(lazy, y)
    with pytest.raises(TypeError, match="y_true " + message):
        metrics.multilabel_log_loss(lazy, X)


# StandardScaler divides by 0 where array-api-strict tells of it.
@pytest.mark.filterwarnings("ignore:invalid value encountered in divide")
@needs_dispatch
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("library", ["array_api_strict", "torch"])
@pytest.mark.parametrize(
    "estimator",
    [
        SoftmaxRegression(),
        SigmoidMultiLabel(),
        TemperatureCalibrator("logits"),
        make_pipeline(StandardScaler(), SoftmaxRegression()),
        make_pipeline(StandardScaler(), TemperatureCalibrator("logits")),
        TemperatureCalibrator(make_pipeline(StandardScaler(), SoftmaxRegression()), cv=3),
        TemperatureCalibrator(SoftmaxRegression(), cv=3, ensemble=True),
        SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3),
    ],
    ids=["softmax", "labels", "logits", "pipeline", "pipeline of logits", "calibrator", "ensemble", "search"],
)
def test_dispatch(estimator, library, dtype):
    namespace = pytest.importorskip(library)
    rows = X.astype(dtype)
    if "logits" in str(estimator):
        rows = rows[:, 1:]
    targets = Y if isinstance(estimator, SigmoidMultiLabel) else y
    expected = clone(estimator).fit(rows, targets)
    given = namespace.asarray(rows)
    with config_context(array_api_dispatch=True):
        model = clone(estimator).fit(given, namespace.asarray(targets))
        for method in ("predict_proba", "predict_log_proba", "decision_function", "predict"):
            result = getattr(model, method)(given)
            assert type(result) is type(given)
            assert result.device == given.device
            numbers = np.asarray(result)
            assert numbers.dtype == getattr(expected, method)(rows).dtype
            assert_allclose(numbers, getattr(expected, method)(rows), rtol=1e-4 if dtype == np.float32 else 1e-9)
        assert model.score(given, namespace.asarray(targets)) == expected.score(rows, targets)
    if not hasattr(model, "steps"):
        assert isinstance(model.predict_proba(rows), np.ndarray)


def test_without_dispatch_arrays_of_numpy_come_out():
    namespace = pytest.importorskip("array_api_strict")
    model = SoftmaxRegression().fit(X, y)
    assert type(model.predict_proba(namespace.asarray(X))) is np.ndarray


@needs_dispatch
def test_dispatch_with_two_classes_strings_and_another_device():
    namespace = pytest.importorskip("array_api_strict")
    rows, codes = load_breast_cancer(return_X_y=True)
    names = np.array(["no", "yes"])[codes]
    given = namespace.asarray(rows, device=namespace.Device("device1"))
    expected = SoftmaxRegression().fit(rows, names)
    with config_context(array_api_dispatch=True):
        model = SoftmaxRegression().fit(given, names)
        probabilities = model.predict_proba(given)
        assert probabilities.device == given.device
        predicted = model.predict(given)
    assert_array_equal(predicted, expected.predict(rows))


@needs_dispatch
def test_a_frozen_classifier_gets_what_it_was_fitted_to():
    namespace = pytest.importorskip("array_api_strict")
    given, labels = namespace.asarray(X), namespace.asarray(y)
    with config_context(array_api_dispatch=True):
        classifier = LogisticRegression(max_iter=1000).fit(given, labels)
        model = TemperatureCalibrator(FrozenEstimator(classifier)).fit(given, labels)
        probabilities = model.predict_proba(given)
        assert type(probabilities) is type(given)
    plain = TemperatureCalibrator(FrozenEstimator(LogisticRegression(max_iter=1000).fit(X, y))).fit(X, y)
    assert_allclose(np.asarray(probabilities), plain.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_real_bfloat16(library):
    pytest.importorskip(library)
    namespace = importlib.import_module({"torch": "torch", "jax": "jax.numpy"}[library])
    given, labels = namespace.asarray(X, dtype=namespace.bfloat16), namespace.asarray(y)
    exact = np.asarray(as_array(given, "X"))
    assert exact.dtype == np.float32
    assert_allclose(exact, X, rtol=2**-8)
    model = SoftmaxRegression().fit(given, labels)
    assert_array_equal(model.coef_, SoftmaxRegression().fit(exact, y).coef_)
    assert_array_equal(model.predict_proba(given), model.predict_proba(exact))
    assert_array_equal(activations.softmax(given), activations.softmax(exact))


def test_as_array_and_as_floats_agree_on_tensors():
    tensor = Tensor([[1.0, 2.0]], dtype="torch.bfloat16", requires_grad=True)
    assert as_array(tensor, "X").dtype == as_floats(tensor, "X").dtype == np.float32
