"""The estimators inside scikit-learn: its checks, pipelines, searches, cloning, pickling, routing."""

import os
import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score, cross_validate
from sklearn.multioutput import ClassifierChain
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from skactivation import (
    SigmoidMultiLabel,
    SigmoidMultiLabelCV,
    SoftmaxRegression,
    SoftmaxRegressionCV,
    TemperatureCalibrator,
)

X, Y = load_iris(return_X_y=True)
X_LABELS, Y_LABELS = make_multilabel_classification(150, 6, n_classes=4, random_state=0)
ESTIMATORS = [
    SoftmaxRegression(),
    SigmoidMultiLabel(),
    TemperatureCalibrator(),
    TemperatureCalibrator(LogisticRegression()),
    TemperatureCalibrator(GaussianNB()),
    SoftmaxRegressionCV(Cs=3, cv=2),
    SigmoidMultiLabelCV(Cs=3, cv=2),
]


def check_name(value):
    return getattr(getattr(value, "func", value), "__name__", "")


# Some checks give every classifier several classes in one dimension; others give separable or random labels.
@pytest.mark.filterwarnings("ignore:y holds . classes that exclude each other:UserWarning")
@pytest.mark.filterwarnings("ignore:.*(lower|higher) the temperature:UserWarning")
@pytest.mark.filterwarnings("ignore:The least populated class in y:UserWarning")
@pytest.mark.filterwarnings("ignore:y has no row of positive weight:UserWarning")
@pytest.mark.filterwarnings("ignore:Y is always:UserWarning")
@pytest.mark.parametrize(
    ("estimator", "check"),
    [pair for estimator in ESTIMATORS for pair in estimator_checks_generator(estimator)],
    ids=check_name,
)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore:y holds . classes that exclude each other:UserWarning")
@pytest.mark.filterwarnings("ignore:.*(lower|higher) the temperature:UserWarning")
@pytest.mark.filterwarnings("ignore:The least populated class in y:UserWarning")
@pytest.mark.filterwarnings("ignore:y has no row of positive weight:UserWarning")
@pytest.mark.filterwarnings("ignore:Y is always:UserWarning")
@pytest.mark.skipif("SCIPY_ARRAY_API" not in os.environ, reason="scikit-learn needs SCIPY_ARRAY_API=1 to run them all")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=repr)
def test_scikit_learn_skips_no_check(estimator):
    results = check_estimator(estimator, on_skip=None, on_fail=None)
    assert len(results) > 50
    assert {result["status"] for result in results} == {"passed"}


# Weights are not repeats where rows are drawn into folds.
OF_FOLDS = {"check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "classifier",
    [
        DecisionTreeClassifier(random_state=0),
        RandomForestClassifier(5, random_state=0),
        ExtraTreesClassifier(5, random_state=0),
        KNeighborsClassifier(),
        HistGradientBoostingClassifier(max_iter=3, random_state=0),
        GradientBoostingClassifier(n_estimators=3, random_state=0),
        SVC(),
        LinearSVC(random_state=0),
        MLPClassifier(5, solver="lbfgs", max_iter=30, random_state=0),
        BernoulliNB(),
        make_pipeline(StandardScaler(), LogisticRegression()),
        RidgeClassifier(),
    ],
    ids=lambda classifier: type(classifier).__name__,
)
def test_a_calibrated_classifier_passes_the_checks_that_it_passes_alone(classifier):
    def failed(estimator):
        results = check_estimator(estimator, on_skip=None, on_fail=None)
        return {result["check_name"] for result in results if result["status"] == "failed"}

    assert failed(TemperatureCalibrator(classifier)) - failed(classifier) <= OF_FOLDS


def test_a_pipeline_is_tuned_by_log_loss_with_worker_processes_as_without():
    digits, labels = load_digits(return_X_y=True)
    digits, labels = digits[:400], labels[:400]
    searches = [
        GridSearchCV(
            make_pipeline(StandardScaler(), SoftmaxRegression()),
            {"softmaxregression__C": [1e-3, 1e-1]},
            scoring="neg_log_loss",
            cv=3,
            n_jobs=n_jobs,
        ).fit(digits, labels)
        for n_jobs in (None, 2)
    ]
    assert_array_equal(searches[0].cv_results_["mean_test_score"], searches[1].cv_results_["mean_test_score"])
    assert searches[0].best_params_ == searches[1].best_params_
    assert_array_equal(searches[0].predict_proba(digits), searches[1].predict_proba(digits))


def test_cross_validation_takes_soft_targets():
    targets = LogisticRegression(C=0.1).fit(X, Y).predict_proba(X)
    scores = cross_validate(SoftmaxRegression(), X, targets, cv=3)["test_score"]
    assert np.all((scores > 0) & (scores < 1))


def test_a_clone_has_the_parameters_and_no_fit():
    model = SoftmaxRegression(C=3.0, class_weight={0: 2.0}).fit(X, Y)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    assert not hasattr(copy, "coef_")


@pytest.mark.parametrize("model", ESTIMATORS[:2], ids=repr)
def test_a_pickled_model_predicts_the_same_bits(model):
    model = clone(model).fit(X, np.eye(3)[Y])
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    assert_array_equal(copy.loss_curve_, model.loss_curve_)


def test_sample_weights_are_routed_through_a_pipeline():
    weights = np.random.default_rng(0).integers(1, 4, size=len(Y))
    direct = SoftmaxRegression().fit(X, Y, weights)
    with sklearn.config_context(enable_metadata_routing=True):
        model = SoftmaxRegression().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline("passthrough", model).fit(X, Y, sample_weight=weights)
        assert_allclose(pipeline[-1].coef_, direct.coef_, rtol=1e-12)
        assert pipeline.score(X, Y, sample_weight=weights) == direct.score(X, Y, weights)


def test_names_of_features_come_out_of_a_pandas_pipeline():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), SoftmaxRegression()).fit(frame, Y)
    assert_array_equal(pipeline[-1].feature_names_in_, frame.columns)
    assert pipeline.score(frame, Y) > 0.95


def test_it_drops_in_for_logistic_regression():
    ours, theirs = SoftmaxRegression().fit(X, Y), LogisticRegression(max_iter=10_000, tol=1e-10).fit(X, Y)
    for name in ("coef_", "intercept_", "classes_"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype
    assert_array_equal(ours.predict(X), theirs.predict(X))
    assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision", "f1_macro"])
@pytest.mark.parametrize("n_labels", [1, 2, 3, 4])
def test_multilabel_scorers_take_any_number_of_labels(scoring, n_labels):
    labels = Y_LABELS[:, :n_labels]
    scores = cross_val_score(SigmoidMultiLabel(), X_LABELS, labels, scoring=scoring, cv=3)
    assert np.all((scores > 0.5) & (scores <= 1))


def test_a_pipeline_of_labels_is_tuned_with_worker_processes_as_without():
    searches = [
        GridSearchCV(
            make_pipeline(StandardScaler(), SigmoidMultiLabel()),
            {"sigmoidmultilabel__C": [1e-3, 1.0], "sigmoidmultilabel__threshold": [0.3, 0.5]},
            scoring="f1_micro",
            cv=3,
            n_jobs=n_jobs,
        ).fit(X_LABELS, Y_LABELS)
        for n_jobs in (None, 2)
    ]
    assert_array_equal(searches[0].cv_results_["mean_test_score"], searches[1].cv_results_["mean_test_score"])
    assert_array_equal(searches[0].predict_proba(X_LABELS), searches[1].predict_proba(X_LABELS))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba", "decision_function"])
def test_held_out_predictions_of_labels_come_out_of_a_cross_validation(method):
    cv = KFold(3)
    held_out = cross_val_predict(SigmoidMultiLabel(), X_LABELS, Y_LABELS, method=method, cv=cv)
    train, test = next(cv.split(X_LABELS))
    model = SigmoidMultiLabel().fit(X_LABELS[train], Y_LABELS[train])
    assert_allclose(held_out[test], getattr(model, method)(X_LABELS[test]), rtol=1e-12)


def test_a_chain_of_labels_takes_it():
    chain = ClassifierChain(SigmoidMultiLabel(), order=[2, 0, 1, 3]).fit(X_LABELS, Y_LABELS)
    peer = ClassifierChain(LogisticRegression(solver="newton-cholesky", tol=1e-12), order=[2, 0, 1, 3])
    assert_allclose(chain.predict_proba(X_LABELS), peer.fit(X_LABELS, Y_LABELS).predict_proba(X_LABELS), atol=1e-6)


def test_weights_of_entries_are_routed():
    weights = np.random.default_rng(0).integers(1, 4, size=Y_LABELS.shape)
    direct = SigmoidMultiLabel().fit(X_LABELS, Y_LABELS, weights)
    with sklearn.config_context(enable_metadata_routing=True):
        model = SigmoidMultiLabel().set_fit_request(sample_weight=True)
        pipeline = make_pipeline("passthrough", model).fit(X_LABELS, Y_LABELS, sample_weight=weights)
    assert_array_equal(pipeline[-1].coef_, direct.coef_)


@pytest.mark.filterwarnings("ignore:y has no row of positive weight:UserWarning")
@pytest.mark.filterwarnings("ignore:.*lower the temperature:UserWarning")
def test_ensembles_keep_classes_without_weight():
    weights = (Y != 2).astype(float)
    models = [("one", SoftmaxRegression()), ("other", SoftmaxRegression(C=0.1))]
    voting = VotingClassifier(models, voting="soft").fit(X, Y, sample_weight=weights)
    assert voting.predict_proba(X).shape == (150, 3)
    stacking = StackingClassifier(models, final_estimator=SoftmaxRegression()).fit(X, Y, sample_weight=weights)
    assert stacking.predict_proba(X).shape == (150, 3)
    calibrated = TemperatureCalibrator(SoftmaxRegression()).fit(X, Y, sample_weight=weights)
    assert_array_equal(calibrated.classes_, [0, 1, 2])
    few = (np.arange(60) > 57).astype(int)
    for ensemble in (
        BaggingClassifier(SoftmaxRegression(), 20, random_state=0),
        AdaBoostClassifier(SoftmaxRegression()),
    ):
        assert ensemble.fit(X[:60], few).predict_proba(X).shape == (150, 2)
