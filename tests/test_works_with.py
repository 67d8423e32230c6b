"""What users put around the estimators: each row of docs/guide/production.md that has no file of its own."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.feature_selection import RFE, SelectFromModel, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_val_score,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

from skactivation import SigmoidMultiLabel, SoftmaxRegression, SoftmaxRegressionCV, TemperatureCalibrator

X, y = load_iris(return_X_y=True)
Y = np.eye(3, dtype=int)[y]
TWO, yes = load_breast_cancer(return_X_y=True)
TWO = StandardScaler().fit_transform(TWO)


@pytest.mark.parametrize("model", [SoftmaxRegression(), SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3)])
def test_feature_selection(model):
    assert RFE(model, n_features_to_select=2).fit(X, y).support_.sum() == 2
    assert 0 < SelectFromModel(model).fit(X, y).get_support().sum() < 4
    assert SelectFromModel(SigmoidMultiLabel()).fit(X, Y).get_support().any()


def test_sequential_feature_selection():
    chosen = SequentialFeatureSelector(TemperatureCalibrator(SoftmaxRegression(), cv=2), n_features_to_select=2, cv=2)
    assert chosen.fit(X, y).get_support().sum() == 2


@pytest.mark.parametrize("model", [SoftmaxRegression(), TemperatureCalibrator(SoftmaxRegression(), cv=3)])
def test_inspection(model):
    model.fit(X, y)
    importances = permutation_importance(model, X, y, scoring="neg_log_loss", random_state=0).importances_mean
    assert importances.argmax() in (2, 3)
    assert partial_dependence(model, X, [2], response_method="predict_proba").average.shape[0] == 3


@pytest.mark.parametrize("model", [SoftmaxRegression(), TemperatureCalibrator(SoftmaxRegression(), cv=3)])
def test_thresholds(model):
    tuned = TunedThresholdClassifierCV(model, scoring="balanced_accuracy", cv=3).fit(TWO, yes)
    assert 0 < tuned.best_threshold_ < 1
    fixed = FixedThresholdClassifier(
        FrozenEstimator(model.fit(TWO, yes)), threshold=0.9, response_method="predict_proba"
    )
    assert_array_equal(fixed.fit(TWO, yes).predict(TWO), model.predict_proba(TWO)[:, 1] >= 0.9)


def test_searches_and_cross_validation():
    search = GridSearchCV(TemperatureCalibrator(SoftmaxRegression(), cv=2), {"estimator__C": [0.1, 1.0]}, cv=2)
    assert search.fit(X, y).best_params_["estimator__C"] in (0.1, 1.0)
    assert cross_val_score(SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=2), X, y, cv=2).min() > 0.9
    assert cross_val_predict(SigmoidMultiLabel(), X, Y, method="predict_proba").shape == Y.shape


def test_meta_estimators():
    assert OneVsRestClassifier(SoftmaxRegression()).fit(X, y).predict_proba(X).shape == (150, 3)
    assert len(MultiOutputClassifier(SoftmaxRegression()).fit(X, Y).estimators_) == 3


@pytest.mark.parametrize("model", [SoftmaxRegression(), TemperatureCalibrator(), SoftmaxRegressionCV()])
def test_the_html_representation_links_to_the_documentation(model):
    html = estimator_html_repr(model)
    assert type(model).__name__ in html
    page = f"{type(model).__module__.rpartition('.')[0]}.{type(model).__name__}.html"
    assert f"https://skactivation.readthedocs.io/en/stable/api/{page}" in html


def test_metadata_routing():
    weights = np.linspace(1, 2, 150)
    with config_context(enable_metadata_routing=True):
        model = SoftmaxRegression().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
        pipeline.fit(X, y, sample_weight=weights)
    expected = SoftmaxRegression().fit(StandardScaler().fit_transform(X), y, weights)
    assert_array_equal(pipeline[-1].coef_, expected.coef_)


def test_optuna():
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial):
        model = SoftmaxRegression(C=trial.suggest_float("C", 1e-3, 1e3, log=True))
        return cross_val_score(model, X, y, scoring="neg_log_loss", cv=3).mean()

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=5)
    assert study.best_value > -0.3


def test_imbalanced_learn():
    pipelines = pytest.importorskip("imblearn.pipeline")
    sampling = pytest.importorskip("imblearn.under_sampling")
    rows, labels = TWO[100:], yes[100:]
    pipeline = pipelines.make_pipeline(sampling.RandomUnderSampler(random_state=0), SoftmaxRegression())
    calibrated = TemperatureCalibrator(pipeline, cv=3, scaling="bias_corrected").fit(rows, labels)
    # Sampling moves the mean probability; the bias moves it back.
    assert_allclose(calibrated.predict_proba(rows)[:, 1].mean(), labels.mean(), atol=0.01)


def test_shap():
    shap = pytest.importorskip("shap")
    for rows, labels in ((X, y), (TWO, yes)):
        model = SoftmaxRegression(tol=1e-12).fit(rows, labels)
        explainer = shap.LinearExplainer(model, rows)
        values = np.asarray(explainer.shap_values(rows))
        logits = values.sum(axis=1) + explainer.expected_value
        assert_allclose(logits, model.decision_function(rows), atol=1e-8)


@pytest.mark.filterwarnings("ignore")
def test_mlflow(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    model = TemperatureCalibrator(LogisticRegression(max_iter=1000), cv=3).fit(X, y)
    mlflow.sklearn.save_model(model, tmp_path / "model", serialization_format="cloudpickle")
    loaded = mlflow.sklearn.load_model(str(tmp_path / "model"))
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
