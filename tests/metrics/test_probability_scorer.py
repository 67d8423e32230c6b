"""Scorers of probabilities, alone and in searches and cross-validation."""

import pickle
import warnings

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skactivation import SigmoidMultiLabel, SoftmaxRegression, metrics
from skactivation.metrics import ProbabilityScorer, calibration_decomposition, expected_calibration_error

X, CODES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[CODES]
SCORERS = {name: scorer for name, scorer in vars(metrics).items() if isinstance(scorer, ProbabilityScorer)}


def by_hand(name, y, p, **settings):
    if name == "neg_expected_calibration_error":
        return -expected_calibration_error(y, p, **settings)
    if name == "neg_classwise_calibration_error":
        return -expected_calibration_error(y, p, kind="classwise", **settings)
    parts = calibration_decomposition(y, p, scoring="brier_score" if "brier" in name else "log_loss", **settings)
    return -parts.miscalibration if "miscalibration" in name else parts.discrimination


def test_there_are_scorers_of_each_metric():
    assert set(SCORERS) == {
        "neg_expected_calibration_error",
        "neg_classwise_calibration_error",
        "neg_log_loss_miscalibration",
        "neg_brier_miscalibration",
        "log_loss_discrimination",
        "brier_discrimination",
    }
    assert set(SCORERS) <= set(metrics.__all__)


@pytest.mark.parametrize("name", sorted(SCORERS))
@pytest.mark.parametrize("y", [CODES, NAMES, NAMES == "setosa"], ids=["integers", "strings", "bools"])
def test_a_score_is_that_of_the_metric(name, y):
    weights = np.random.default_rng(0).random(150)
    for model in (SoftmaxRegression(), make_pipeline(StandardScaler(), LogisticRegression())):
        p = model.fit(X, y).predict_proba(X)
        assert_allclose(SCORERS[name](model, X, y), by_hand(name, y, p), rtol=1e-12)
        weighted = SCORERS[name](model, X, y, sample_weight=weights)
        assert_allclose(weighted, by_hand(name, y, p, sample_weight=weights), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(SCORERS))
def test_several_labels(name):
    rows, y = make_multilabel_classification(300, 8, n_classes=3, random_state=0)
    # The forest returns a single column for a label that is always 0.
    y[:, 1] = 0
    for model in (RandomForestClassifier(20, max_depth=4, random_state=0), SigmoidMultiLabel()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            model.fit(rows, y)
        p = model.predict_proba(rows)
        if isinstance(p, list):
            p = np.column_stack([p[0][:, 1], np.zeros(300), p[2][:, 1]])
        assert_allclose(SCORERS[name](model, rows, y), by_hand(name, y, p), rtol=1e-12)


def test_test_rows_that_lack_a_class_are_scored_by_the_estimators_classes():
    # Labels are 0, 2 and 5; the test rows hold only 0 and 2. Without the classes, 2 is read as a column number.
    y = np.array([0, 2, 5])[CODES]
    model = SoftmaxRegression().fit(X, y)
    test = y < 5
    expected = expected_calibration_error(y[test], model.predict_proba(X[test]), labels=[0, 2, 5])
    scorer = SCORERS["neg_expected_calibration_error"]
    assert_allclose(-scorer(model, X[test], y[test]), expected, rtol=1e-12)
    blind = make_scorer(expected_calibration_error, greater_is_better=False, response_method="predict_proba")
    assert -blind(model, X[test], y[test]) > 2 * expected
    strings = SoftmaxRegression().fit(X, NAMES)
    assert_allclose(-scorer(strings, X[test], NAMES[test]), expected, rtol=1e-9)


def test_a_class_that_the_estimator_doesnt_know_is_an_error():
    model = SoftmaxRegression().fit(X[:100], NAMES[:100])
    with pytest.raises(ValueError, match=r"y_true holds labels that aren't among the classes.*virginica"):
        SCORERS["neg_expected_calibration_error"](model, X, NAMES)


def test_searches_and_cross_validation():
    cv = KFold(3)  # iris in order: each test fold holds a class that its training rows lack
    shuffled = KFold(3, shuffle=True, random_state=0)
    found = cross_validate(SoftmaxRegression(), X, NAMES, scoring=SCORERS, cv=shuffled)
    train, test = next(shuffled.split(X))
    p = SoftmaxRegression().fit(X[train], NAMES[train]).predict_proba(X[test])
    for name in SCORERS:
        assert_allclose(found[f"test_{name}"][0], by_hand(name, NAMES[test], p), rtol=1e-9)
    with pytest.raises(ValueError, match="aren't among the classes"):
        cross_validate(SoftmaxRegression(), X, NAMES, scoring=SCORERS, cv=cv, error_score="raise")
    settings = {"C": [1e-5, 1.0]}
    scorer = SCORERS["neg_expected_calibration_error"]
    search = GridSearchCV(SoftmaxRegression(), settings, scoring=scorer, n_jobs=2).fit(X, NAMES)
    assert search.best_params_ == {"C": 1.0}
    assert_allclose(search.score(X, NAMES), scorer(search.best_estimator_, X, NAMES), rtol=1e-12)
    several = GridSearchCV(SoftmaxRegression(), settings, scoring=SCORERS, refit="log_loss_discrimination")
    assert several.fit(X, NAMES).best_params_ == {"C": 1.0}


def test_other_parameters():
    model = SoftmaxRegression(C=0.001).fit(X, CODES)
    scorer = ProbabilityScorer(expected_calibration_error, n_bins=4, strategy="quantile", norm="max")
    expected = expected_calibration_error(CODES, model.predict_proba(X), n_bins=4, strategy="quantile", norm="max")
    assert scorer(model, X, CODES) == -expected
    assert ProbabilityScorer(expected_calibration_error, greater_is_better=True)(model, X, CODES) > 0
    assert repr(scorer) == "ProbabilityScorer(expected_calibration_error, n_bins=4, strategy='quantile', norm='max')"


def test_scorers_are_cloned_and_pickled():
    model = SoftmaxRegression(C=0.001).fit(X, CODES)
    for scorer in SCORERS.values():
        for copy in (pickle.loads(pickle.dumps(scorer)), clone(scorer, safe=False)):
            assert copy(model, X, CODES) == scorer(model, X, CODES)


def test_weights_are_routed_where_they_are_asked_for():
    weights = np.random.default_rng(0).random(150)
    model, cv = SoftmaxRegression(C=0.01), KFold(3, shuffle=True, random_state=0)
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = ProbabilityScorer(expected_calibration_error).set_score_request(sample_weight=True)
        routed = model.set_fit_request(sample_weight=False)
        found = cross_validate(routed, X, CODES, scoring=scorer, cv=cv, params={"sample_weight": weights})
        both = {"a": scorer, "b": "neg_log_loss"}
        search = GridSearchCV(routed, {"C": [0.01]}, scoring=both, refit="a", cv=cv)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError):
            cross_validate(
                routed,
                X,
                CODES,
                scoring=ProbabilityScorer(expected_calibration_error),
                params={"sample_weight": weights},
            )
        named = ProbabilityScorer(expected_calibration_error).set_score_request(sample_weight="importance")
        renamed = cross_validate(routed, X, CODES, scoring=named, cv=cv, params={"importance": weights})
        assert search.get_metadata_routing() is not None
    for (train, test), score, other in zip(cv.split(X), found["test_score"], renamed["test_score"], strict=True):
        p = SoftmaxRegression(C=0.01).fit(X[train], CODES[train]).predict_proba(X[test])
        expected = expected_calibration_error(CODES[test], p, sample_weight=weights[test])
        assert_allclose([-score, -other], expected, rtol=1e-9)


class GivesSparse(ClassifierMixin, BaseEstimator):
    """A classifier that returns probabilities in a sparse array."""

    classes_ = np.array([0, 1])
    is_fitted_ = True

    def predict_proba(self, X):
        return sparse.csr_array(np.column_stack([1 - X[:, 0], X[:, 0]]))


def test_sparse_probabilities_and_negative_metrics():
    p, y = np.array([[0.0], [1.0], [0.25]]), [0, 1, 1]
    scorer = SCORERS["neg_classwise_calibration_error"]
    assert scorer(GivesSparse(), p, y) == pytest.approx(-0.25)
    # The sign is reversed, not removed.
    negative = ProbabilityScorer(lambda y, p, *, labels, sample_weight: -2.0)
    assert negative(GivesSparse(), p, y) == 2.0


def test_unsuitable_metrics_are_an_error():
    with pytest.raises(TypeError, match="metric must be callable, got 'log_loss'"):
        ProbabilityScorer("log_loss")
    with pytest.raises(TypeError, match=r"metric must accept y_true.*'bins'.*expected_calibration_error.*unexpected"):
        ProbabilityScorer(expected_calibration_error, bins=5)
    with pytest.raises(TypeError, match="metric must return a number, got CalibrationDecomposition"):
        ProbabilityScorer(calibration_decomposition)(SoftmaxRegression().fit(X, CODES), X, CODES)


def test_ready_made_scorers_stay_as_they_are():
    ready = SCORERS["neg_expected_calibration_error"]
    with pytest.raises(RuntimeError, match="enable_metadata_routing"):
        ready.set_score_request(sample_weight=True)
    with sklearn.config_context(enable_metadata_routing=True):
        changed = ready.set_score_request(sample_weight=True)
        assert changed is not ready
        assert changed.get_metadata_routing().score.requests == {"sample_weight": True}
        assert ready.get_metadata_routing().score.requests == {"sample_weight": None}
        with pytest.raises(TypeError, match="sample_weight must be True, False, None or a string, got 3"):
            ready.set_score_request(sample_weight=3)


def test_estimators_of_one_class_or_of_other_labels_are_an_error():
    scorer = SCORERS["neg_expected_calibration_error"]
    with pytest.raises(ValueError, match=r"at least two classes, got DummyClassifier that knows \[7\]"):
        scorer(DummyClassifier().fit(X, np.full(150, 7)), X, np.full(150, 7))
    labels = np.where(np.column_stack([CODES == 0, CODES == 1]), "yes", "no")
    forest = RandomForestClassifier(3, random_state=0).fit(X, labels)
    with pytest.raises(ValueError, match=r"must be 0 and 1, got an estimator of \['no', 'yes'\]"):
        scorer(forest, X, (labels == "yes").astype(int))


def test_an_estimator_without_probabilities_is_an_error():
    model = LinearSVC().fit(StandardScaler().fit_transform(X), CODES)
    for estimator in (model, FrozenEstimator(model)):
        with pytest.raises(
            TypeError, match=r"estimator must have predict_proba, got LinearSVC .* TemperatureCalibrator"
        ):
            SCORERS["neg_expected_calibration_error"](estimator, X, CODES)
