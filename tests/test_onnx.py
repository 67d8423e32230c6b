"""ONNX graphs give the probabilities and labels of their estimators."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC

from skactivation import (
    SigmoidMultiLabel,
    SigmoidMultiLabelCV,
    SoftmaxRegression,
    SoftmaxRegressionCV,
    TemperatureCalibrator,
    fit_temperature,
)

runtime, skl2onnx = pytest.importorskip("onnxruntime"), pytest.importorskip("skl2onnx")
types = pytest.importorskip("skl2onnx.common.data_types")
graphs = pytest.importorskip("skactivation.onnx")
to_onnx = skl2onnx.to_onnx
DoubleTensorType, FloatTensorType, StringTensorType = (
    types.DoubleTensorType,
    types.FloatTensorType,
    types.StringTensorType,
)

IRIS, TWO, WINE = (load(return_X_y=True) for load in (load_iris, load_breast_cancer, load_wine))
# Mixed, so that each fold has all classes.
mixed = np.random.default_rng(0).permutation(150)
IRIS = IRIS[0][mixed], IRIS[1][mixed]
NAMES = np.array(["no", "yes", "maybe"])
PRECISIONS = [(np.float64, 1e-12), (np.float32, 1e-5)]
by_precision = pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=["float64", "float32"])


def outputs(graph, **inputs):
    session = runtime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs or None)


def graph_of(model, X, dtype, **options):
    kind = DoubleTensorType if dtype == np.float64 else FloatTensorType
    return to_onnx(model, initial_types=[("X", kind([None, X.shape[1]]))], options=options or {"zipmap": False})


def assert_same(model, X, dtype, tolerance, **options):
    X = X.astype(dtype)
    labels, probabilities = outputs(graph_of(model, X, dtype, **options), X=X)
    assert_allclose(probabilities, model.predict_proba(X), rtol=0, atol=tolerance)
    assert probabilities.dtype == dtype
    assert_array_equal(labels, model.predict(X))


@by_precision
@pytest.mark.parametrize("data", [IRIS, TWO, (TWO[0], NAMES[TWO[1]]), (WINE[0], NAMES[WINE[1]])])
@pytest.mark.parametrize(
    "model",
    [
        SoftmaxRegression(),
        SoftmaxRegression(class_weight="balanced", prior_correction=True),
        SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3),
        SigmoidMultiLabel(threshold=0.3),
        SigmoidMultiLabel(pos_weight="balanced", prior_correction=True),
    ],
    ids=["softmax", "prior correction", "search", "sigmoids", "sigmoids, prior correction"],
)
@pytest.mark.filterwarnings("ignore:y holds")
def test_classes(model, data, dtype, tolerance):
    X, y = data
    scaler = StandardScaler().fit(X)
    assert_same(clone(model).fit(scaler.transform(X), y), scaler.transform(X), dtype, tolerance)


@by_precision
@pytest.mark.parametrize("threshold", [0.5, [0.2, 0.5, 0.9], {1: 0.9}])
def test_labels(threshold, dtype, tolerance):
    X, y = IRIS
    Y = np.eye(3, dtype=int)[y]
    for model in (SigmoidMultiLabel(threshold=threshold), SigmoidMultiLabelCV(Cs=[1.0, 10.0], threshold=threshold)):
        assert_same(model.fit(X, Y), X, dtype, tolerance)
    # There are no maps for labels that do not exclude each other.
    labels, probabilities = outputs(to_onnx(model, X[:1].astype(dtype)), X=X.astype(dtype))
    assert labels.shape == probabilities.shape == Y.shape


def test_other_kinds_of_labels():
    X, y = TWO
    X = StandardScaler().fit_transform(X)
    model = SoftmaxRegression().fit(X, y.astype(bool))
    assert_array_equal(outputs(graph_of(model, X, np.float64), X=X)[0], model.predict(X).astype(int))
    model = SoftmaxRegression().fit(X, y + 1.0)
    assert_array_equal(outputs(graph_of(model, X, np.float64), X=X)[0], model.predict(X))


def test_raw_scores():
    for X, y in (IRIS, TWO):
        X = StandardScaler().fit_transform(X)
        model = SoftmaxRegression().fit(X, y)
        _, scores = outputs(graph_of(model, X, np.float64, zipmap=False, raw_scores=True), X=X)
        logits = model.decision_function(X)
        assert_allclose(scores, np.column_stack([-logits, logits]) if logits.ndim == 1 else logits, atol=1e-11)


@pytest.mark.parametrize("y", [IRIS[1], NAMES[IRIS[1]]], ids=["integers", "strings"])
@pytest.mark.parametrize("estimator", [SoftmaxRegression(), TemperatureCalibrator(SoftmaxRegression(), cv=3)])
def test_maps(y, estimator):
    X = IRIS[0]
    model = clone(estimator).fit(X, y)
    labels, maps = outputs(to_onnx(model, X[:1]), X=X)
    assert_array_equal(labels, model.predict(X))
    assert list(maps[0]) == model.classes_.tolist()
    assert_allclose([list(each.values()) for each in maps], model.predict_proba(X), atol=1e-6)


def test_a_pipeline_with_columns_of_strings_and_numbers():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(size=200), "weight": rng.normal(size=200)})
    frame["colour"] = rng.choice(["red", "blue"], 200)
    y = NAMES[(frame["size"] + (frame["colour"] == "red") > rng.normal(size=200)).astype(int)]
    columns = ColumnTransformer([("n", StandardScaler(), ["size", "weight"]), ("s", OneHotEncoder(), ["colour"])])
    for last in (SoftmaxRegression(), TemperatureCalibrator(SoftmaxRegression(), cv=3)):
        model = make_pipeline(clone(columns), last).fit(frame, y)
        kinds = [(name, FloatTensorType([None, 1])) for name in ("size", "weight")] + [
            ("colour", StringTensorType([None, 1]))
        ]
        graph = to_onnx(model, initial_types=kinds, options={id(model): {"zipmap": False}})
        inputs = {name: frame[[name]].to_numpy().astype(np.float32) for name in ("size", "weight")}
        labels, probabilities = outputs(graph, **inputs, colour=frame[["colour"]].to_numpy().astype(object))
        assert_allclose(probabilities, model.predict_proba(frame), atol=1e-5)
        assert_array_equal(labels, model.predict(frame))


def test_the_best_model_of_a_grid_search():
    X, y = IRIS
    search = GridSearchCV(SoftmaxRegression(), {"C": [0.1, 1.0]}, cv=3).fit(X, y)
    assert_same(search, X, np.float64, 1e-12)


CLASSIFIERS = {
    "logistic": LogisticRegression(max_iter=1000),
    "naive Bayes": GaussianNB(),
    "forest": RandomForestClassifier(20, random_state=0),
    "extra trees": ExtraTreesClassifier(20, random_state=0),
    "logistic, of a search": LogisticRegressionCV(
        Cs=2,
        cv=2,
        max_iter=1000,
        scoring="neg_log_loss",
        **(
            {"use_legacy_attributes": False, "l1_ratios": (0,)}
            if "use_legacy_attributes" in LogisticRegressionCV().get_params()
            else {}
        ),
    ),
    "boosting": GradientBoostingClassifier(n_estimators=10, random_state=0),
    "network": MLPClassifier((8,), max_iter=2000, random_state=0),
    "support vectors": SVC(),
    "softmax": SoftmaxRegression(),
    "sigmoids": SigmoidMultiLabel(),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    "pipeline of ours": make_pipeline(StandardScaler(), SoftmaxRegression()),
}
NEED_DOUBLE = {"naive Bayes", "forest", "extra trees", "network"}
# Their converters compute in single precision whatever the inputs are, or nearly so.
LOOSE = {"forest": 1e-5, "extra trees": 1e-5, "boosting": 1e-5, "support vectors": 1e-5}


@by_precision
@pytest.mark.parametrize("data", [IRIS, (TWO[0][:, :6], NAMES[TWO[1]])], ids=["three classes", "two classes"])
@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.filterwarnings("ignore:y holds", "ignore:Attribute `prob:FutureWarning")
def test_calibrated_classifiers(name, data, dtype, tolerance):
    X, y = data
    X = StandardScaler().fit_transform(X).astype(np.float32).astype(np.float64)
    model = TemperatureCalibrator(CLASSIFIERS[name], cv=3).fit(X, y)
    if dtype == np.float32 and name in NEED_DOUBLE:
        with pytest.raises(ValueError, match=r"takes logarithms of the probabilities of .* DoubleTensorType"):
            graph_of(model, X, dtype)
        return
    assert_same(model, X, dtype, max(tolerance, LOOSE.get(name, 0)))


@pytest.mark.filterwarnings("ignore:some slopes are negative")
@pytest.mark.parametrize("scaling", ["bias_corrected", "vector"])
@pytest.mark.parametrize("data", [IRIS, TWO], ids=["three classes", "two classes"])
def test_scalings_with_biases(scaling, data):
    X, y = data
    X = StandardScaler().fit_transform(X)[:, :2]
    model = TemperatureCalibrator(SoftmaxRegression(C=0.001), cv=3, scaling=scaling).fit(X, y)
    assert_same(model, X, np.float64, 1e-12)


@pytest.mark.parametrize("data", [IRIS, TWO], ids=["three classes", "two classes"])
def test_an_ensemble(data):
    X, y = data
    X = StandardScaler().fit_transform(X)
    model = TemperatureCalibrator(SoftmaxRegression(), cv=3, ensemble=True).fit(X, y)
    assert_same(model, X, np.float64, 1e-12)


def test_a_search_as_the_classifier():
    X, y = IRIS
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)), {"logisticregression__C": [0.1, 1.0]}, cv=3
    )
    assert_same(TemperatureCalibrator(search, cv=3).fit(X, y), X, np.float64, 1e-12)
    model = TemperatureCalibrator(FrozenEstimator(search.fit(X, y))).fit(X, y)
    assert_same(model, X, np.float64, 1e-12)


@pytest.mark.filterwarnings("ignore:.*:FutureWarning")
@pytest.mark.parametrize(
    ("classifier", "labels"),
    [
        (SVC(probability=True), False),
        (OneVsRestClassifier(LinearSVC()), False),
        (LinearSVC(), False),
        (HistGradientBoostingClassifier(max_iter=5), False),
        (TemperatureCalibrator(SoftmaxRegression(), cv=3, ensemble=True), False),
        (make_pipeline(StandardScaler(), GridSearchCV(SoftmaxRegression(), {"C": [0.1, 1.0]}, cv=3)), False),
        (OneVsRestClassifier(LogisticRegression(max_iter=1000)), True),
        (RandomForestClassifier(5, random_state=0), True),
    ],
)
def test_classifiers_whose_graphs_are_not_known_are_refused(classifier, labels):
    X, y = IRIS[0][:, :2], IRIS[1]
    model = TemperatureCalibrator(classifier, cv=3).fit(X, np.eye(3, dtype=int)[y][:, 1:] if labels else y)
    with pytest.raises(TypeError, match="a graph of TemperatureCalibrator can have one of these classifiers"):
        graph_of(model, X, np.float64)


def test_several_inputs_for_logits():
    X, y = IRIS
    z = SoftmaxRegression().fit(X[:, :2], y).decision_function(X[:, :2])
    model = TemperatureCalibrator("logits").fit(z, y)
    kinds = [(name, DoubleTensorType([None, 1])) for name in "abc"]
    graph = to_onnx(model, initial_types=kinds, options={"zipmap": False})
    labels, probabilities = outputs(graph, **{name: z[:, [k]] for k, name in enumerate("abc")})
    assert_allclose(probabilities, model.predict_proba(z), atol=1e-12)
    assert_array_equal(labels, model.predict(z))


@pytest.mark.filterwarnings("ignore:some slopes are negative", "ignore:the logits contradict")
def test_infinite_logits():
    z = np.array([[0.0], [1.0], [-2.0], [3.0], [np.inf], [-np.inf]])
    fit = fit_temperature(z[:4, 0], [0, 1, 1, 0])
    (probabilities,) = outputs(graphs.temperature_to_onnx(fit, 1, dtype=np.float64), logits=z)
    assert_allclose(probabilities, fit.predict_proba(z))
    rng = np.random.default_rng(0)
    rows, y = rng.normal(size=(300, 3)), rng.integers(3, size=300)
    model = TemperatureCalibrator("logits", scaling="vector").fit(rows, y)
    assert (model.slope_ < 0).any()
    rows[0] = 0, -np.inf, 1
    rows[1] = -np.inf, 2, -np.inf
    assert_same(model, rows, np.float64, 1e-12)


def test_sparse_coefficients_and_unfitted_estimators():
    X, y = IRIS
    assert_same(SoftmaxRegression().fit(X, y).sparsify(), X, np.float64, 1e-12)
    with pytest.raises(NotFittedError):
        graph_of(SoftmaxRegression(), X, np.float64)
    model = SoftmaxRegression().fit(X, np.array([1, 2, 2**63], dtype=np.uint64)[y])
    with pytest.raises(TypeError, match="ONNX has integers of 64 bits and strings as labels"):
        graph_of(model, X, np.float64)


def test_a_calibrator_over_a_pipeline_of_strings_and_numbers():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"colour": rng.choice(["red", "blue"], 200), "size": rng.normal(size=200)})
    y = (frame["size"] + (frame["colour"] == "red") > rng.normal(size=200)).astype(int)
    columns = ColumnTransformer([("s", OneHotEncoder(), ["colour"]), ("n", StandardScaler(), ["size"])])
    model = TemperatureCalibrator(make_pipeline(columns, SoftmaxRegression()), cv=3).fit(frame, y)
    kinds = [("colour", StringTensorType([None, 1])), ("size", FloatTensorType([None, 1]))]
    graph = to_onnx(model, initial_types=kinds, options={"zipmap": False})
    inputs = {"colour": frame[["colour"]].to_numpy().astype(object)}
    labels, probabilities = outputs(graph, **inputs, size=frame[["size"]].to_numpy().astype(np.float32))
    assert_allclose(probabilities, model.predict_proba(frame), atol=1e-5)
    assert_array_equal(labels, model.predict(frame))


def test_labels_of_a_calibrator():
    X, y = IRIS[0][:, :2], IRIS[1]
    Y = np.eye(3, dtype=int)[y][:, 1:]
    for model in (
        TemperatureCalibrator(SigmoidMultiLabel(C=0.1), cv=3),
        TemperatureCalibrator(SigmoidMultiLabel(C=0.1, threshold=0.3), cv=3),
        TemperatureCalibrator(SigmoidMultiLabel(C=0.1), cv=3, ensemble=True),
        TemperatureCalibrator(FrozenEstimator(SigmoidMultiLabel(C=0.1).fit(X, Y))),
    ):
        assert_same(model.fit(X, Y), X, np.float64, 1e-12)


@by_precision
def test_given_logits(dtype, tolerance):
    X, y = IRIS
    z = SoftmaxRegression().fit(X[:, :2], y).decision_function(X[:, :2])
    assert_same(TemperatureCalibrator("logits").fit(z, y), z, dtype, tolerance)
    assert_same(TemperatureCalibrator("logits").fit(z[:, 1:2], y == 1), z[:, 1:2], dtype, tolerance)
    Y = np.eye(3, dtype=int)[y]
    assert_same(TemperatureCalibrator("multilabel_logits").fit(z, Y), z, dtype, tolerance)


@by_precision
def test_a_fitted_temperature(dtype, tolerance):
    X, y = IRIS
    z = SoftmaxRegression().fit(X[:, :2], y).decision_function(X[:, :2]).astype(dtype)
    Y = np.eye(3, dtype=int)[y]
    for fit, logits in (
        (fit_temperature(z, y), z),
        (fit_temperature(z[:, 1], y == 1), z[:, 1:2]),
        (fit_temperature(z, Y, multilabel=True), z),
    ):
        graph = graphs.temperature_to_onnx(fit, logits.shape[1], dtype=dtype)
        (probabilities,) = outputs(graph, logits=logits)
        assert_allclose(probabilities, fit.predict_proba(logits), atol=tolerance)
        assert probabilities.dtype == dtype
    with pytest.raises(ValueError, match="n_columns must be 3, the number of labels, got 2"):
        graphs.temperature_to_onnx(fit, 2)


def test_an_infinite_temperature_keeps_impossible_classes_impossible():
    z = np.array([[3.0, 0.0, -np.inf], [0.0, 3.0, 1.0], [1.0, 2.0, 0.0]])
    with pytest.warns(UserWarning, match="the logits contradict the labels"):
        fit = fit_temperature(z, [1, 0, 2])
    (probabilities,) = outputs(graphs.temperature_to_onnx(fit, 3, dtype=np.float64), logits=z)
    assert_allclose(probabilities, fit.predict_proba(z))
    assert probabilities[0, 2] == 0
