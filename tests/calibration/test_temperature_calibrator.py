"""TemperatureCalibrator: any classifier, folds, ensembles, scalings, weights, routing, what breaks scikit-learn's."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.optimize import minimize
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris, make_classification, make_multilabel_classification
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from longhand import best_temperature, mean_cross_entropy
from skactivation import SigmoidMultiLabel, SoftmaxRegression, TemperatureCalibrator, fit_temperature
from skactivation.activations import sigmoid, softmax
from skactivation.losses import softmax_cross_entropy
from skactivation.metrics import multilabel_log_loss

DIGITS, Y_DIGITS = load_digits(return_X_y=True)
DIGITS, Y_DIGITS = DIGITS[:600] / 16, Y_DIGITS[:600]
X, Y = load_iris(return_X_y=True)
X_TWO, Y_TWO = make_classification(300, 8, flip_y=0.2, random_state=0)
X_LABELS, Y_LABELS = make_multilabel_classification(300, 8, n_classes=3, random_state=0)
NAMES = np.array(["setosa", "versicolor", "virginica"])
CLASSIFIERS = [
    SoftmaxRegression(C=100),
    LogisticRegression(C=100, max_iter=2000),
    make_pipeline(StandardScaler(), LinearSVC(random_state=0)),
    SVC(),
    RandomForestClassifier(25, random_state=0),
    DecisionTreeClassifier(random_state=0),
    GaussianNB(),
    MLPClassifier(20, alpha=0.0, max_iter=400, random_state=0),
    GradientBoostingClassifier(n_estimators=8, random_state=0),
    KNeighborsClassifier(),
]


class PassThrough(ClassifierMixin, BaseEstimator):
    """X is the decision function, for classes that are given or found."""

    def __init__(self, classes=None):
        self.classes = classes

    def fit(self, X, y):
        self.classes_ = np.unique(y) if self.classes is None else np.asarray(self.classes)
        return self

    def decision_function(self, X):
        return X

    def predict(self, X):
        return self.classes_[(X > 0).astype(int) if X.ndim == 1 else X.argmax(axis=1)]


# Any classifier


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=lambda c: type(getattr(c, "steps", [(0, c)])[-1][1]).__name__)
def test_held_out_logits_of_any_classifier_tell_the_temperature(classifier):
    model = TemperatureCalibrator(classifier, cv=3).fit(DIGITS, Y_DIGITS)
    method = "decision_function" if hasattr(classifier, "decision_function") else "predict_proba"
    assert model.response_method_ == method
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logits = cross_val_predict(classifier, DIGITS, Y_DIGITS, cv=StratifiedKFold(3), method=method)
    if method == "predict_proba":
        logits = np.log(np.maximum(logits, np.finfo(float).eps))
    assert_allclose(model.temperature_, best_temperature(logits, np.eye(10)[Y_DIGITS]), rtol=1e-11)
    assert_allclose(model.loss_before_, mean_cross_entropy(logits, np.eye(10)[Y_DIGITS], 1.0), rtol=1e-12)
    assert model.loss_after_ <= model.loss_before_
    assert_array_equal(model.predict(DIGITS), model.estimator_.predict(DIGITS))
    probabilities = model.predict_proba(DIGITS)
    assert_allclose(probabilities.sum(axis=1), 1)
    assert_array_equal(softmax(model.decision_function(DIGITS)).argmax(axis=1), probabilities.argmax(axis=1))
    assert_allclose(np.exp(model.predict_log_proba(DIGITS)), probabilities, rtol=1e-12)
    assert model.score(DIGITS, Y_DIGITS) == model.estimator_.score(DIGITS, Y_DIGITS)


@pytest.mark.parametrize("classifier", [None, LinearSVC(random_state=0), GaussianNB(), SVC()], ids=str)
def test_two_classes_are_a_sigmoid_of_the_logit_over_t(classifier):
    model = TemperatureCalibrator(classifier).fit(X_TWO, Y_TWO)
    fitted = model.estimator_
    if hasattr(fitted, "decision_function"):
        logits = fitted.decision_function(X_TWO)
    else:
        p = np.maximum(fitted.predict_proba(X_TWO), np.finfo(float).eps)
        logits = np.log(p[:, 1]) - np.log(p[:, 0])
    assert model.decision_function(X_TWO).shape == (300,)
    assert_allclose(model.decision_function(X_TWO), logits / model.temperature_, rtol=1e-12)
    assert_allclose(model.predict_proba(X_TWO)[:, 1], sigmoid(logits / model.temperature_), rtol=1e-12)
    assert_array_equal(model.predict(X_TWO), fitted.predict(X_TWO))


def test_none_stands_for_softmax_regression():
    model = TemperatureCalibrator().fit(X, NAMES[Y])
    assert isinstance(model.estimator_, SoftmaxRegression)
    assert_array_equal(model.classes_, NAMES)
    assert model.n_features_in_ == 4


def test_probabilities_and_not_log_probabilities_are_floored():
    # GaussianNB's predict_log_proba reaches -1e9 on digits: such logits would ruin the temperature.
    model = TemperatureCalibrator(GaussianNB()).fit(DIGITS, Y_DIGITS)
    logits = model.decision_function(DIGITS) * model.temperature_
    assert logits.min() >= np.log(np.finfo(float).eps) - 1e-9
    assert model.loss_after_ < 1


def test_float32_probabilities_are_floored_at_the_epsilon_of_float32():
    class Single(PassThrough):
        decision_function = property()

        def predict_proba(self, X):
            return np.asarray(X, dtype=np.float32)

    p = np.tile(np.float32([1, 0, 0]), (90, 1))
    p[np.arange(90), np.r_[np.arange(87) % 3, 0, 0, 0]] = [1.0]
    p = np.where(p.sum(axis=1, keepdims=True) > 1, np.float32([0.5, 0.25, 0.25]), p).astype(np.float32)
    model = TemperatureCalibrator(FrozenEstimator(Single(classes=[0, 1, 2]).fit(p, [0, 1, 2]))).fit(
        p, np.arange(90) % 3
    )
    z = model.decision_function(p)
    assert z.dtype == np.float32
    assert_allclose(z.min() * model.temperature_, np.log(np.finfo(np.float32).eps), rtol=1e-5)


# What scikit-learn's temperature scaling gets wrong


@pytest.mark.parametrize("code", [lambda y: y + 10, lambda y: 3 * y, lambda y: NAMES[y], lambda y: y * 10**12 - 7])
def test_the_temperature_is_the_same_for_labels_of_any_kind(code):
    plain, coded = TemperatureCalibrator(cv=3).fit(X, Y), TemperatureCalibrator(cv=3).fit(X, code(Y))
    assert coded.temperature_ == plain.temperature_
    assert_array_equal(coded.predict_proba(X), plain.predict_proba(X))
    assert_array_equal(coded.predict(X), code(Y[:1] * 0 + plain.predict(X)))


@pytest.mark.parametrize("labels", [(1, 2), (-1, 1), ("no", "yes"), (False, True)])
def test_the_temperature_is_the_same_for_any_two_labels(labels):
    coded = TemperatureCalibrator().fit(X_TWO, np.array(labels)[Y_TWO])
    assert coded.temperature_ == TemperatureCalibrator().fit(X_TWO, Y_TWO).temperature_


@pytest.mark.skipif(sklearn.__version__ < "1.8", reason="scikit-learn has no temperature scaling before 1.8")
def test_where_scikit_learn_is_right_we_agree():
    theirs = CalibratedClassifierCV(SoftmaxRegression(), method="temperature", ensemble=False, cv=3).fit(
        DIGITS, Y_DIGITS
    )
    ours = TemperatureCalibrator(SoftmaxRegression(), cv=3).fit(DIGITS, Y_DIGITS)
    assert_allclose(ours.predict_proba(DIGITS), theirs.predict_proba(DIGITS), rtol=1e-4, atol=1e-7)


def test_pandas_labels_with_any_index():
    frame, labels = pd.DataFrame(X).add_prefix("x"), pd.Series(Y, index=np.arange(1000, 1150))
    model = TemperatureCalibrator(cv=3).fit(frame, labels)
    assert model.temperature_ == TemperatureCalibrator(cv=3).fit(X, Y).temperature_
    assert_array_equal(model.feature_names_in_, ["x0", "x1", "x2", "x3"])


@pytest.mark.parametrize("classifier", [None, RandomForestClassifier(10, random_state=0)], ids=str)
def test_a_row_alone_has_the_probabilities_of_the_same_row_in_a_batch(classifier):
    # scikit-learn guesses from a batch's values whether they are logits or probabilities.
    model = TemperatureCalibrator(classifier, cv=3).fit(X, Y)
    alone = np.vstack([model.predict_proba(row[np.newaxis]) for row in X])
    assert_allclose(alone, model.predict_proba(X), rtol=1e-10)


def test_logits_that_look_like_probabilities_are_logits():
    probabilities = softmax(np.random.default_rng(0).normal(size=(300, 3)))
    y = (probabilities + 0.3 * np.random.default_rng(1).normal(size=(300, 3))).argmax(axis=1)
    frozen = FrozenEstimator(PassThrough().fit(probabilities, y))
    model = TemperatureCalibrator(frozen).fit(probabilities, y)
    assert_allclose(model.temperature_, best_temperature(probabilities, np.eye(3)[y]), rtol=1e-12)


def test_calibration_rows_may_lack_a_class():
    classifier = SoftmaxRegression().fit(X, NAMES[Y])
    some = Y != 1
    noisy = X[some] + np.random.default_rng(0).normal(scale=2, size=(100, 4))
    model = TemperatureCalibrator(FrozenEstimator(classifier)).fit(noisy, NAMES[Y[some]])
    assert_array_equal(model.classes_, NAMES)
    logits = classifier.decision_function(noisy)
    assert_allclose(model.temperature_, best_temperature(logits, np.eye(3)[Y[some]]), rtol=1e-11)


def test_held_out_rows_may_lack_a_class():
    order = np.argsort(Y, kind="stable")
    model = TemperatureCalibrator(cv=[(np.arange(150), np.arange(0, 100)), (np.arange(150), np.arange(50, 150))])
    model.fit(X[order], Y[order])
    assert np.isfinite(model.temperature_)


@pytest.mark.parametrize("ensemble", [False, True])
def test_a_class_that_a_split_holds_out_whole_is_an_error_naming_it(ensemble):
    with pytest.raises(ValueError, match="holds out all rows of the class 'setosa'"):
        TemperatureCalibrator(cv=KFold(3), ensemble=ensemble).fit(X, NAMES[Y])


def test_a_frozen_classifier_that_does_not_know_a_label_is_an_error():
    frozen = FrozenEstimator(SoftmaxRegression().fit(X, Y))
    with pytest.raises(ValueError, match=r"labels that aren't among the classes \[0, 1, 2\]: \[3\]"):
        TemperatureCalibrator(frozen).fit(X, Y + 1)


def test_separable_rows_warn_and_predict_probabilities_all_the_same():
    y = (X[:, 2] > 2.5).astype(int)
    with pytest.warns(UserWarning, match="largest logit in every row"):
        model = TemperatureCalibrator(LinearSVC(random_state=0)).fit(X, y)
    assert model.at_limit_
    assert 0 < model.temperature_ < 1
    assert np.isfinite(model.predict_log_proba(X)).all()


def test_constant_logits_warn_and_stay_as_they_are():
    z = np.full((60, 3), 2.0)
    with pytest.warns(UserWarning, match="all logits of each row are equal"):
        model = TemperatureCalibrator("logits").fit(z, np.arange(60) % 3)
    assert_allclose(model.predict_proba(z), 1 / 3)


@pytest.mark.parametrize("scaling", ["bias_corrected", "vector"])
@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_constant_logits_with_biases_give_the_shares_of_the_classes(scaling, constant):
    y = np.repeat([0, 1, 2], [80, 15, 5])
    model = TemperatureCalibrator("logits", scaling=scaling).fit(np.full((100, 3), constant), y)
    assert_allclose(model.predict_proba(np.full((1, 3), constant)), [[0.8, 0.15, 0.05]], rtol=1e-9)
    assert model.optimality_gap_ < 1e-10
    two = TemperatureCalibrator("logits", scaling=scaling).fit(np.full((100, 1), constant), np.repeat([0, 1], [80, 20]))
    assert_allclose(two.predict_proba([[constant]]), [[0.8, 0.2]], rtol=1e-9)


def test_a_bias_helps_where_the_true_classes_are_largest_but_tied():
    z = np.vstack([np.zeros((90, 3)), 5 * np.eye(3)[np.arange(30) % 3]])
    y = np.append(np.repeat([0, 1, 2], [70, 15, 5]), np.arange(30) % 3)
    with pytest.warns(ConvergenceWarning, match="there is no optimum"):
        model = TemperatureCalibrator("logits", scaling="bias_corrected").fit(z, y)
    best = minimize(scaled_loss, np.array([3.0, 1, 0, 0]), (z, y, "bias_corrected"), method="BFGS")
    assert model.loss_after_ <= best.fun + 1e-6


def test_logits_that_contradict_the_labels_give_even_probabilities_with_a_warning():
    z = np.eye(3)[Y] + 0.1 * np.random.default_rng(0).normal(size=(150, 3))
    frozen = FrozenEstimator(PassThrough().fit(-z, Y))
    with pytest.warns(UserWarning, match="contradict the labels"):
        model = TemperatureCalibrator(frozen).fit(-z, Y)
    assert model.temperature_ == np.inf
    assert_allclose(model.predict_proba(-z), 1 / 3)
    assert_array_equal(model.decision_function(-z), 0)
    assert_array_equal(model.predict(-z), (-z).argmax(axis=1))


@pytest.mark.parametrize("n_classes", [3, 4])
def test_logits_of_pairs_of_classes_are_an_error(n_classes):
    svc = SVC(decision_function_shape="ovo")
    some = Y_DIGITS < n_classes
    message = "logits contradict its predictions" if n_classes == 3 else r"gives the shape \(.*, 6\) for 4 classes"
    with pytest.raises(ValueError, match=message):
        TemperatureCalibrator(svc).fit(DIGITS[some], Y_DIGITS[some])


@pytest.mark.parametrize("z", [np.eye(3)[Y] - 0.5, np.eye(3)[Y][:, 0] - 0.5], ids=["three", "two"])
def test_logits_that_contradict_the_predictions_are_an_error(z):
    class Reversed(PassThrough):
        def decision_function(self, X):
            return -X

    y = Y if z.ndim == 2 else (Y == 0).astype(int)
    z = z + 0.01 * np.random.default_rng(0).normal(size=z.shape)
    frozen = FrozenEstimator(Reversed().fit(z, y))
    with pytest.raises(ValueError, match=r"logits contradict its predictions in 150 of 150 rows \(Reversed predicts"):
        TemperatureCalibrator(frozen).fit(z, y)


def test_ties_do_not_contradict():
    z = np.tile([1.0, 1.0, 0.0], (90, 1))
    z[:30, 2] = 2

    class LastOfTies(PassThrough):
        def predict(self, X):
            return self.classes_[2 - X[:, ::-1].argmax(axis=1)]

    y = np.where(np.arange(90) < 25, 2, np.arange(90) % 3)
    model = TemperatureCalibrator(FrozenEstimator(LastOfTies().fit(z, [0, 1, 2]))).fit(z, y)
    assert np.isfinite(model.loss_after_)


def test_ties_of_two_classes_do_not_contradict():
    z = np.where(np.arange(90) < 40, 0.0, np.where(np.arange(90) < 65, 1.0, -1.0))

    class YesAtZero(PassThrough):
        def predict(self, X):
            return (X >= 0).astype(int)

    y = np.where(np.arange(90) % 7 == 0, z <= 0, z > 0).astype(int)
    model = TemperatureCalibrator(FrozenEstimator(YesAtZero().fit(z, [0, 1]))).fit(z, y)
    assert np.isfinite(model.temperature_)


@pytest.mark.parametrize("labels", [np.array([7, 3]), np.array([7, 3, 5])])
@pytest.mark.parametrize("ensemble", [False, True])
def test_classes_in_another_order_than_sorted(labels, ensemble):
    rng = np.random.default_rng(0)
    y = rng.integers(labels.size, size=200)
    z = rng.normal(size=(200, labels.size)) + np.eye(labels.size)[y]
    z = z[:, 1] - z[:, 0] if labels.size == 2 else z
    model = TemperatureCalibrator(PassThrough(classes=labels), ensemble=ensemble).fit(z, labels[y])
    expected = fit_temperature(z, labels[y], classes=labels)
    probabilities = model.predict_proba(z)
    order = [model.classes_.tolist().index(label) for label in labels]
    assert_array_equal(probabilities[:, order].argmax(axis=1), y * 0 + (z > 0 if z.ndim == 1 else z.argmax(axis=1)))
    assert_allclose(np.mean(model.temperature_), expected.temperature, rtol=0.2)


def test_a_classifier_without_logits_is_an_error():
    class Mute(PassThrough):
        decision_function = property()

    with pytest.raises(TypeError, match="decision_function or predict_proba"):
        TemperatureCalibrator(Mute()).fit(X, Y)


# Folds and ensembles


def test_a_frozen_classifier_is_not_fitted_again():
    classifier = LogisticRegression(max_iter=1000).fit(X[::2], Y[::2])
    coef = classifier.coef_.copy()
    frozen = FrozenEstimator(classifier)
    for ensemble in (False, True):
        model = TemperatureCalibrator(frozen, ensemble=ensemble).fit(X[1::2], Y[1::2])
        assert model.estimator_ is frozen
        assert_array_equal(classifier.coef_, coef)
        expected = best_temperature(classifier.decision_function(X[1::2]), np.eye(3)[Y[1::2]])
        assert_allclose(model.temperature_, expected, rtol=1e-11)


@pytest.mark.parametrize(
    "cv", [RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0), ShuffleSplit(4, random_state=0)], ids=str
)
def test_all_held_out_logits_are_pooled_where_splits_are_no_partition(cv):
    model = TemperatureCalibrator(GaussianNB(), cv=cv).fit(X, Y)
    logits, targets = [], []
    for train, test in cv.split(X, Y):
        p = GaussianNB().fit(X[train], Y[train]).predict_proba(X[test])
        logits.append(np.log(np.maximum(p, np.finfo(float).eps)))
        targets.append(np.eye(3)[Y[test]])
    assert_allclose(model.temperature_, best_temperature(np.vstack(logits), np.vstack(targets)), rtol=1e-11)


def test_an_ensemble_averages_the_probabilities_of_calibrated_copies():
    model = TemperatureCalibrator(GaussianNB(), cv=3, ensemble=True).fit(DIGITS, Y_DIGITS)
    assert not hasattr(model, "estimator_")
    assert len(model.calibrated_estimators_) == 3
    assert model.temperature_.shape == (3,)
    total = 0
    for (train, test), temperature in zip(StratifiedKFold(3).split(DIGITS, Y_DIGITS), model.temperature_, strict=True):
        classifier = GaussianNB().fit(DIGITS[train], Y_DIGITS[train])
        logits = np.log(np.maximum(classifier.predict_proba(DIGITS), np.finfo(float).eps))
        assert_allclose(temperature, best_temperature(logits[test], np.eye(10)[Y_DIGITS[test]]), rtol=1e-11)
        total = total + softmax(logits / temperature) / 3
    assert_allclose(model.predict_proba(DIGITS), total, rtol=1e-9)
    assert_array_equal(model.predict(DIGITS), total.argmax(axis=1))
    assert_allclose(softmax(model.decision_function(DIGITS)), total, rtol=1e-9)
    assert_allclose(np.exp(model.predict_log_proba(DIGITS)), total, rtol=1e-9)
    assert 0 < model.score(DIGITS, Y_DIGITS) < 1


def test_an_ensemble_of_two_classes_has_one_logit():
    model = TemperatureCalibrator(GaussianNB(), ensemble=True).fit(X_TWO, Y_TWO)
    logits = model.decision_function(X_TWO)
    assert logits.shape == (300,)
    assert_allclose(sigmoid(logits), model.predict_proba(X_TWO)[:, 1], rtol=1e-12)


def test_an_ensembles_copy_may_not_know_a_class():
    rows = np.arange(150)
    splits = [(rows[Y < 2], rows[Y < 2]), (rows, rows)]
    y = Y.copy()
    y[:3], y[50:55] = 1, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model = TemperatureCalibrator(GaussianNB(), cv=splits, ensemble=True).fit(X, y)
    probabilities = model.predict_proba(X)
    assert_allclose(probabilities.sum(axis=1), 1)
    assert np.all(probabilities[Y == 2, 2] <= 0.5 + 1e-12)


# X as logits


def test_the_logits_of_a_network_are_calibrated_in_a_pipeline_and_scored():
    rng = np.random.default_rng(0)
    y = rng.integers(4, size=500)
    z = 5 * (rng.normal(size=(500, 4)) + np.eye(4)[y])
    model = TemperatureCalibrator("logits").fit(z[:250], y[:250])
    assert model.temperature_ == fit_temperature(z[:250], y[:250]).temperature
    assert_array_equal(model.predict(z), z.argmax(axis=1))
    assert_allclose(model.predict_proba(z), softmax(z / model.temperature_), rtol=1e-12)
    pipeline = make_pipeline(StandardScaler(with_mean=False, with_std=False), TemperatureCalibrator("logits"))
    search = GridSearchCV(
        pipeline, {"temperaturecalibrator__scaling": ["temperature", "vector"]}, scoring="neg_log_loss"
    )
    assert -search.fit(z, y).best_score_ < log_loss(y, softmax(z))


def test_logits_of_two_classes_come_in_one_column():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=300)
    z = 3 * (rng.normal(size=300) + 2 * y - 1)
    model = TemperatureCalibrator("logits").fit(z[:, np.newaxis], np.array(["no", "yes"])[y])
    assert model.temperature_ == fit_temperature(z, y).temperature
    assert_array_equal(model.predict(z[:, np.newaxis]), np.where(z > 0, "yes", "no"))
    assert model.decision_function(z[:, np.newaxis]).shape == (300,)


def test_logits_take_minus_infinity_soft_targets_and_weights():
    rng = np.random.default_rng(0)
    z = np.where(rng.random((200, 4)) < 0.1, -np.inf, rng.normal(size=(200, 4)))
    targets = np.where(np.isinf(z), 0, rng.random((200, 4)) * np.exp(z))
    targets /= targets.sum(axis=1, keepdims=True)
    weights = rng.integers(0, 3, size=200).astype(float)
    model = TemperatureCalibrator("logits").fit(z, targets, weights)
    expected = best_temperature(np.where(np.isinf(z), -1e6, z), targets, weights)
    assert_allclose(model.temperature_, expected, rtol=1e-11)
    assert_array_equal(model.predict_proba(z) == 0, np.isinf(z))
    assert_array_equal(np.isneginf(model.decision_function(z)), np.isinf(z))


@pytest.mark.parametrize("bad", [np.nan, "text"])
def test_logits_that_are_none_are_an_error(bad):
    z = np.eye(3)[Y].astype(object)
    z[4, 1] = bad
    with pytest.raises(ValueError, match=r"NaN|could not convert|numeric"):
        TemperatureCalibrator("logits").fit(z, Y)
    model = TemperatureCalibrator("logits").fit(np.random.default_rng(0).normal(size=(150, 3)) + np.eye(3)[Y], Y)
    with pytest.raises(ValueError, match=r"NaN|could not convert|numeric"):
        model.predict_proba(z)


# Scalings


def scaled_loss(parameters, z, targets, scaling):
    n_classes = z.shape[1]
    slopes, biases = parameters[:-n_classes], parameters[-n_classes:]
    return np.mean(softmax_cross_entropy(z * slopes + biases, targets, reduction="none"))


@pytest.mark.parametrize("scaling", ["bias_corrected", "vector"])
@pytest.mark.parametrize("weighted", [False, True])
def test_scalings_with_biases_reach_the_minimum(scaling, weighted):
    rng = np.random.default_rng(5)
    y = rng.choice(4, p=[0.5, 0.3, 0.15, 0.05], size=600)
    z = 4 * (rng.normal(size=(600, 4)) + np.eye(4)[y]) * [1, 2, 0.5, 1]
    weights = rng.integers(0, 3, size=600).astype(float) if weighted else None
    model = TemperatureCalibrator("logits", scaling=scaling).fit(z, y, weights)
    rows = np.arange(600) if weights is None else np.repeat(np.arange(600), weights.astype(int))
    start = np.r_[np.ones(1 if scaling == "bias_corrected" else 4), np.zeros(4)]
    best = minimize(scaled_loss, start, (z[rows], y[rows], scaling), method="BFGS", options={"gtol": 1e-8})
    assert_allclose(model.loss_after_, best.fun, rtol=1e-9)
    assert_allclose(model.bias_.sum(), 0, atol=1e-12)
    biases = best.x[-4:] - best.x[-4:].mean()
    assert_allclose(model.bias_, biases, rtol=1e-4, atol=1e-5)
    assert_allclose(model.slope_, np.broadcast_to(best.x[:-4], 4), rtol=1e-4)
    assert_allclose(1 / model.slope_, model.temperature_, rtol=1e-14)
    assert_allclose(model.decision_function(z), z * model.slope_ + model.bias_, rtol=1e-12)
    assert_array_equal(model.predict(z), model.decision_function(z).argmax(axis=1))
    assert model.optimality_gap_ < 1e-11


@pytest.mark.parametrize("scaling", ["bias_corrected", "vector"])
@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_slopes_are_equivariant_under_scaling(scaling, scale):
    rng = np.random.default_rng(12)
    y = rng.integers(3, size=300)
    z = rng.normal(size=(300, 3)) + np.eye(3)[y]
    expected = TemperatureCalibrator("logits", scaling=scaling).fit(z, y)
    model = TemperatureCalibrator("logits", scaling=scaling).fit(z * scale, y)
    assert_allclose(model.slope_ * scale, expected.slope_, rtol=1e-8)
    assert_allclose(model.bias_, expected.bias_, rtol=1e-8)


def test_minus_infinity_stays_a_probability_of_zero_at_an_infinite_temperature():
    z = np.column_stack([-np.eye(2)[np.arange(60) % 2], np.full(60, -np.inf)])
    with pytest.warns(UserWarning, match="contradict"):
        model = TemperatureCalibrator("logits").fit(z, np.arange(60) % 2)
    assert_array_equal(model.decision_function(z), [[0, 0, -np.inf]] * 60)
    assert_allclose(model.predict_proba(z), [[0.5, 0.5, 0]] * 60)


def test_more_parameters_lose_less_on_the_rows_that_they_were_fitted_to():
    rng = np.random.default_rng(6)
    y = rng.integers(4, size=400)
    z = rng.normal(size=(400, 4)) * [1, 3, 1, 1] + np.eye(4)[y] + [1, 0, 0, -1]
    losses = [
        TemperatureCalibrator("logits", scaling=scaling).fit(z, y).loss_after_
        for scaling in ("temperature", "bias_corrected", "vector")
    ]
    assert losses[0] > losses[1] > losses[2]


def test_a_bias_makes_up_for_classes_that_were_resampled():
    rng = np.random.default_rng(7)
    y = rng.choice(3, p=[0.8, 0.15, 0.05], size=20_000)
    z = rng.normal(size=(y.size, 3)) + 2 * np.eye(3)[y]
    # For even classes these are the true logits, but for a constant.
    model = TemperatureCalibrator("logits", scaling="bias_corrected").fit(2 * z, y)
    expected = np.log([0.8, 0.15, 0.05])
    assert_allclose(model.temperature_, 1.0, rtol=0.05)
    assert_allclose(model.bias_, expected - expected.mean(), atol=0.1)


@pytest.mark.parametrize("scaling", ["bias_corrected", "vector"])
def test_two_classes_have_one_slope_and_one_bias(scaling):
    rng = np.random.default_rng(8)
    y = rng.integers(2, size=400)
    z = (3 * rng.normal(size=400) + 2 * y + 1)[:, np.newaxis]
    model = TemperatureCalibrator("logits", scaling=scaling).fit(z, y)
    platt = LogisticRegression(C=np.inf, tol=1e-10).fit(z, y)
    assert_allclose(model.slope_, platt.coef_[0], rtol=1e-4)
    assert_allclose(model.bias_, platt.intercept_, rtol=1e-3)


@pytest.mark.parametrize("scaling", ["bias_corrected", "vector"])
def test_minus_infinity_stays_a_probability_of_zero_with_biases(scaling):
    rng = np.random.default_rng(9)
    y = rng.integers(3, size=300)
    z = rng.normal(size=(300, 3)) + np.eye(3)[y]
    z[np.arange(300)[y == 0][::2], 2] = -np.inf
    model = TemperatureCalibrator("logits", scaling=scaling).fit(z, y)
    assert_array_equal(model.predict_proba(z) == 0, np.isinf(z))
    assert_allclose(softmax_cross_entropy(model.decision_function(z), y), model.loss_after_, rtol=1e-10)


@pytest.mark.parametrize("scaling", ["bias_corrected", "vector"])
def test_a_bias_for_a_class_without_rows_is_an_error(scaling):
    frozen = FrozenEstimator(SoftmaxRegression().fit(X, NAMES[Y]))
    with pytest.raises(ValueError, match=r"no row of positive weight.*'virginica'"):
        TemperatureCalibrator(frozen, scaling=scaling).fit(X[Y < 2], NAMES[Y[Y < 2]])


@pytest.mark.parametrize("scaling", ["bias_corrected", "vector"])
def test_biases_without_a_finite_optimum_are_warned_of(scaling):
    # With a bias for class 2, all rows are on the right side.
    z = np.random.default_rng(10).normal(size=(300, 3))
    y = (z + np.array([0, 0, 1.5])).argmax(axis=1)
    with pytest.warns(ConvergenceWarning, match="could not be certified"):
        model = TemperatureCalibrator("logits", scaling=scaling).fit(z, y)
    assert np.isfinite(model.predict_proba(z)).all()


# Several labels


@pytest.mark.parametrize(
    "classifier",
    [
        SigmoidMultiLabel(),
        OneVsRestClassifier(LogisticRegression()),
        RandomForestClassifier(20, random_state=0),
        MLPClassifier(10, max_iter=2000, random_state=0),
        KNeighborsClassifier(),
    ],
    ids=lambda c: type(c).__name__,
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")
def test_each_label_has_a_temperature(classifier):
    model = TemperatureCalibrator(classifier, cv=3).fit(X_LABELS, Y_LABELS)
    assert model.temperature_.shape == (3,)
    assert np.all(model.loss_after_ <= model.loss_before_)
    probabilities = model.predict_proba(X_LABELS)
    assert probabilities.shape == (300, 3)
    assert_allclose(sigmoid(model.decision_function(X_LABELS)), probabilities, rtol=1e-12)
    assert_array_equal(model.predict(X_LABELS), model.estimator_.predict(X_LABELS))
    assert model.score(X_LABELS, Y_LABELS) == model.estimator_.score(X_LABELS, Y_LABELS)


def test_labels_of_sigmoid_multilabel_may_be_unknown_and_are_calibrated_on_held_out_rows():
    y = Y_LABELS.astype(float)
    y[::5, 1] = np.nan
    model = TemperatureCalibrator(SigmoidMultiLabel(C=1e4), cv=KFold(3)).fit(X_LABELS, y)
    logits = np.empty((300, 3))
    for train, test in KFold(3).split(X_LABELS):
        logits[test] = SigmoidMultiLabel(C=1e4).fit(X_LABELS[train], y[train]).decision_function(X_LABELS[test])
    known = ~np.isnan(y[:, 1])
    expected = fit_temperature(logits[known, 1], y[known, 1].astype(int))
    assert_allclose(model.temperature_[1], expected.temperature, rtol=1e-9)
    assert np.isfinite(multilabel_log_loss(y, model.predict_proba(X_LABELS)))


def test_an_ensemble_of_several_labels():
    model = TemperatureCalibrator(SigmoidMultiLabel(), cv=3, ensemble=True).fit(X_LABELS, sparse.csr_array(Y_LABELS))
    assert model.temperature_.shape == (3, 3)
    assert model.loss_after_.shape == (3,)
    probabilities = model.predict_proba(X_LABELS)
    assert_array_equal(model.predict(X_LABELS), probabilities >= 0.5)
    assert_allclose(sigmoid(model.decision_function(X_LABELS)), probabilities, rtol=1e-10)


def test_a_bias_for_each_of_several_labels():
    model = TemperatureCalibrator(SigmoidMultiLabel(), cv=3, scaling="bias_corrected").fit(X_LABELS, Y_LABELS)
    assert model.slope_.shape == model.bias_.shape == (3,)
    assert np.all(
        model.loss_after_ <= TemperatureCalibrator(SigmoidMultiLabel(), cv=3).fit(X_LABELS, Y_LABELS).loss_after_
    )
    assert_array_equal(model.predict(X_LABELS), model.predict_proba(X_LABELS) >= 0.5)


def test_soft_targets_reach_a_classifier_that_takes_them():
    targets = softmax(np.random.default_rng(0).normal(size=(150, 3)) + 2 * np.eye(3)[Y])
    frame = pd.DataFrame(targets, columns=NAMES)
    model = TemperatureCalibrator(SoftmaxRegression(C=10), cv=KFold(3, shuffle=True, random_state=0)).fit(X, frame)
    assert_array_equal(model.classes_, NAMES)
    assert np.isfinite(model.temperature_)
    assert 0 < model.score(X, frame) < 1


# Weights, metadata, X of any kind


@pytest.mark.parametrize(
    "classifier", [SoftmaxRegression(), LogisticRegression(tol=1e-8, max_iter=10_000), GaussianNB()], ids=str
)
def test_weights_reach_the_classifier_and_the_calibration(classifier):
    weights = np.random.default_rng(0).integers(1, 4, size=150).astype(float)
    rows = np.arange(150)
    splits = [(rows[rows % 3 != k], rows[rows % 3 == k]) for k in range(3)]
    model = TemperatureCalibrator(classifier, cv=splits).fit(X, Y, sample_weight=weights)
    repeat = np.repeat(rows, weights.astype(int))
    repeated_splits = [tuple(np.flatnonzero(np.isin(repeat, part)) for part in split) for split in splits]
    repeated = TemperatureCalibrator(classifier, cv=repeated_splits).fit(X[repeat], Y[repeat])
    assert_allclose(model.temperature_, repeated.temperature_, rtol=1e-3)
    assert_allclose(model.predict_proba(X), repeated.predict_proba(X), rtol=2e-2, atol=1e-5)
    assert abs(model.temperature_ / TemperatureCalibrator(classifier, cv=splits).fit(X, Y).temperature_ - 1) > 1e-3


def test_weights_that_a_classifier_does_not_take_are_warned_of():
    with pytest.warns(UserWarning, match="fit takes no sample_weight"):
        TemperatureCalibrator(KNeighborsClassifier()).fit(X, Y, sample_weight=np.ones(150))
    with pytest.raises(ValueError, match="sample_weight must not be negative"):
        TemperatureCalibrator(GaussianNB()).fit(X, Y, sample_weight=-np.ones(150))


def test_parameters_of_fit_are_split_with_the_rows():
    weights = np.random.default_rng(0).random(150) + 0.1
    pipeline = make_pipeline(StandardScaler(), GaussianNB())
    model = TemperatureCalibrator(pipeline, cv=3).fit(X, Y, gaussiannb__sample_weight=weights)
    logits = np.empty((150, 3))
    for train, test in StratifiedKFold(3).split(X, Y):
        fold = clone(pipeline).fit(X[train], Y[train], gaussiannb__sample_weight=weights[train])
        logits[test] = np.log(np.maximum(fold.predict_proba(X[test]), np.finfo(float).eps))
    assert_allclose(model.temperature_, best_temperature(logits, np.eye(3)[Y]), rtol=1e-11)


def test_metadata_are_routed_to_the_classifier_and_the_splitter():
    weights, groups = np.random.default_rng(0).random(150) + 0.1, np.arange(150) % 10
    plain = TemperatureCalibrator(GaussianNB(), cv=list(GroupKFold(5).split(X, Y, groups))).fit(X, Y, weights)
    with sklearn.config_context(enable_metadata_routing=True):
        requesting = GaussianNB().set_fit_request(sample_weight=True)
        routed = TemperatureCalibrator(requesting, cv=GroupKFold(5)).fit(X, Y, sample_weight=weights, groups=groups)
        refusing = TemperatureCalibrator(GaussianNB().set_fit_request(sample_weight=False), cv=GroupKFold(5))
        only_calibrated = refusing.fit(X, Y, sample_weight=weights, groups=groups)
        outer = TemperatureCalibrator(requesting, cv=3).set_fit_request(sample_weight=True)
        outer.set_score_request(sample_weight=False)
        search = GridSearchCV(outer, {"ensemble": [False, True]})
        search.fit(X_TWO, Y_TWO, sample_weight=np.ones(300))
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError):
            TemperatureCalibrator(GaussianNB()).fit(X, Y, sample_weight=weights)
    assert routed.temperature_ == plain.temperature_
    assert_array_equal(only_calibrated.estimator_.theta_, GaussianNB().fit(X, Y).theta_)
    assert np.isfinite(search.best_score_)


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.coo_array])
def test_sparse_x_passes_through(form):
    expected = TemperatureCalibrator(cv=3).fit(X, Y)
    model = TemperatureCalibrator(cv=3).fit(form(X), Y)
    assert_allclose(model.temperature_, expected.temperature_, rtol=1e-3)
    assert_allclose(model.predict_proba(form(X)), expected.predict_proba(X), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("form", [list, np.array, pd.Series])
def test_texts_pass_through(form):
    texts = form(["good nice film", "bad poor film", "nice good", "poor bad", "good bad film", "bad nice"] * 5)
    y = np.array(["pos", "neg", "pos", "neg", "pos", "neg"] * 5)
    y[:2] = ["neg", "pos"]
    pipeline = make_pipeline(CountVectorizer(), SoftmaxRegression())
    model = TemperatureCalibrator(pipeline, cv=3).fit(texts, y)
    assert np.isfinite(model.temperature_)
    assert model.predict_proba(texts).shape == (30, 2)


def test_object_labels_and_nullable_integers():
    plain = TemperatureCalibrator(cv=3).fit(X, Y)
    for y in (Y.astype(object), pd.Series(Y, dtype="Int64"), pd.Series(NAMES[Y], dtype="category")):
        assert TemperatureCalibrator(cv=3).fit(X, y).temperature_ == plain.temperature_


# scikit-learn, and faults


def test_it_is_cloned_searched_and_pickled():
    search = GridSearchCV(
        TemperatureCalibrator(LogisticRegression(max_iter=2000), cv=3),
        {"estimator__C": [0.1, 10.0]},
        scoring="neg_log_loss",
    ).fit(X, Y)
    model = search.best_estimator_
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), model.predict_proba(X))
    assert clone(model).get_params().keys() == model.get_params().keys()
    assert clone(model).cv == 3
    with pytest.raises(NotFittedError):
        clone(model).predict_proba(X)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scaling": "isotonic"}, ValueError, "scaling must be 'temperature', 'bias_corrected' or 'vector'"),
        ({"ensemble": "auto"}, TypeError, "ensemble must be True or False"),
        (
            {"estimator": "probabilities"},
            ValueError,
            "estimator must be a classifier, 'logits', 'multilabel_logits' or None",
        ),
        ({"cv": [(np.arange(150), np.arange(0))]}, ValueError, "cv must leave some rows out"),
    ],
)
def test_parameters_that_make_no_sense_are_an_error(options, error, message):
    with pytest.raises(error, match=message):
        TemperatureCalibrator(**options).fit(X, Y)


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match="one class"):
        TemperatureCalibrator(GaussianNB()).fit(X, np.zeros(150))


@pytest.mark.parametrize("ensemble", [False, True])
def test_a_refit_that_fails_leaves_the_old_model(ensemble):
    model = TemperatureCalibrator(GaussianNB(), ensemble=ensemble, cv=3).fit(X[:, :2], Y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match="class"):
        model.fit(X, np.zeros(150))
    model.cv = KFold(3)
    with pytest.raises(ValueError, match="holds out all rows"):
        model.fit(X, Y)
    model.cv = 3
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is value for name, value in before.items())


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("n_fits", [0, 2])
def test_an_interrupted_fit_leaves_the_estimator_as_it_was(error, n_fits):
    class Interrupted(GaussianNB):
        calls = 0

        def fit(self, *arguments, **options):
            type(self).calls += 1
            if type(self).calls > n_fits:
                raise error
            return super().fit(*arguments, **options)

    model = TemperatureCalibrator(Interrupted())
    with pytest.raises(error):
        model.fit(X, Y)
    assert vars(model) == vars(TemperatureCalibrator(model.estimator))


def test_a_second_fit_forgets_the_first():
    model = TemperatureCalibrator(GaussianNB(), ensemble=True).fit(pd.DataFrame(X_TWO).add_prefix("x"), Y_TWO)
    model.set_params(ensemble=False).fit(X_TWO, Y_TWO)
    assert not hasattr(model, "calibrated_estimators_")
    assert not hasattr(model, "feature_names_in_")


def test_parameters_changed_after_a_fit_change_no_prediction():
    model = TemperatureCalibrator(SoftmaxRegression(), cv=3, scaling="bias_corrected").fit(X[:, :2], Y)
    before = model.predict_proba(X[:, :2])
    model.set_params(scaling="temperature", estimator="logits", ensemble=True)
    assert_array_equal(model.predict_proba(X[:, :2]), before)


@pytest.mark.parametrize("ensemble", [False, True])
def test_warnings_point_at_the_line_that_called_fit(ensemble):
    y = (X[:, 2] > 2.5).astype(int)
    for estimator in ("logits", GaussianNB()):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            features = X[:, [2]] - 2.5 if estimator == "logits" else X
            TemperatureCalibrator(estimator, ensemble=ensemble, cv=2).fit(features, y)
        assert {warning.filename for warning in caught} == {__file__}


def test_a_search_with_worker_processes_finds_what_a_serial_one_finds():
    searches = [
        GridSearchCV(
            TemperatureCalibrator(GaussianNB(), cv=3),
            {"estimator__var_smoothing": [1e-9, 1e-2]},
            scoring="neg_log_loss",
            n_jobs=n_jobs,
        ).fit(DIGITS, Y_DIGITS)
        for n_jobs in (1, 2)
    ]
    assert_array_equal(searches[0].cv_results_["mean_test_score"], searches[1].cv_results_["mean_test_score"])


# What a new user ran into


@pytest.mark.parametrize(
    "classifier", [KNeighborsClassifier(), DecisionTreeClassifier(random_state=0), SigmoidMultiLabel()]
)
@pytest.mark.parametrize("method", ["predict_proba", "decision_function", "predict_log_proba"])
@pytest.mark.filterwarnings("ignore:in the columns:UserWarning")
def test_several_labels_are_cross_validated(classifier, method):
    out = cross_val_predict(TemperatureCalibrator(classifier, cv=3), X_LABELS, Y_LABELS, method=method, cv=3)
    assert out.shape == Y_LABELS.shape


def test_the_score_is_accuracy_whatever_scores_a_search_inside():
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, scoring="neg_log_loss", cv=3)
    model = TemperatureCalibrator(search, cv=3).fit(DIGITS, Y_DIGITS)
    assert model.score(DIGITS, Y_DIGITS) == np.mean(model.predict(DIGITS) == Y_DIGITS)


def test_precomputed_kernels_are_split_by_rows_and_columns():
    kernel = DIGITS @ DIGITS.T
    model = TemperatureCalibrator(SVC(kernel="precomputed"), cv=3).fit(kernel, Y_DIGITS)
    expected = TemperatureCalibrator(SVC(kernel="linear"), cv=3).fit(DIGITS, Y_DIGITS)
    assert_allclose(model.temperature_, expected.temperature_, rtol=1e-6)


def test_a_frame_of_logits_may_name_classes_that_rows_lack():
    rng = np.random.default_rng(0)
    names = np.array(["c", "a", "b"])
    y = rng.integers(2, size=200)
    frame = pd.DataFrame(rng.normal(size=(200, 3)) + np.eye(3)[y], columns=names)
    model = TemperatureCalibrator("logits").fit(frame, names[y])
    assert_array_equal(model.classes_, names)
    assert model.temperature_ == fit_temperature(frame.to_numpy(), names[y], classes=names).temperature
    assert_array_equal(model.predict(frame), names[frame.to_numpy().argmax(axis=1)])


@pytest.mark.parametrize("estimator", [RandomForestRegressor(), StandardScaler(), make_pipeline(LinearRegression()), 5])
def test_what_is_no_classifier_is_an_error_before_anything_is_fitted(estimator):
    with pytest.raises(
        TypeError,
        match=r"estimator must be a classifier, 'logits', 'multilabel_logits' or None, got|is not an estimator",
    ):
        TemperatureCalibrator(estimator).fit(X, Y)


def test_a_search_without_a_refit_is_an_error():
    with pytest.raises(TypeError, match="estimator must have classes_ once it is fitted"):
        TemperatureCalibrator(GridSearchCV(GaussianNB(), {}, refit=False)).fit(X, Y)


def test_weights_reach_the_classifier_inside_a_search():
    weights = np.random.default_rng(0).integers(1, 4, size=150).astype(float)
    model = TemperatureCalibrator(GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}), cv=3).fit(X, Y, weights)
    assert_array_equal(model.estimator_.best_estimator_.theta_, GaussianNB().fit(X, Y, weights).theta_)


def test_groups_without_routing_are_an_error_that_says_so():
    with pytest.raises(ValueError, match="metadata routing"):
        TemperatureCalibrator(cv=GroupKFold(3)).fit(X, Y, groups=np.arange(150))


@pytest.mark.parametrize("form", [sparse.coo_array, sparse.coo_matrix])
def test_sparse_x_of_any_format_reaches_a_frozen_classifier(form):
    noisy = X + np.random.default_rng(0).normal(size=X.shape)
    many = np.vstack([noisy] * 8)
    frozen = FrozenEstimator(LogisticRegression(max_iter=1000).fit(X, Y))
    model = TemperatureCalibrator(frozen).fit(form(many), np.tile(Y, 8))
    assert_allclose(model.temperature_, TemperatureCalibrator(frozen).fit(noisy, Y).temperature_, rtol=1e-9)


def test_a_column_vector_of_labels_is_warned_of_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = TemperatureCalibrator(GaussianNB(), cv=3).fit(X, NAMES[Y].reshape(-1, 1))
    assert [warning.category.__name__ for warning in caught] == ["DataConversionWarning"]
    assert model.temperature_ == TemperatureCalibrator(GaussianNB(), cv=3).fit(X, Y).temperature_


def test_worker_processes_fit_what_one_process_fits():
    models = [TemperatureCalibrator(GaussianNB(), cv=3, n_jobs=n_jobs).fit(DIGITS, Y_DIGITS) for n_jobs in (None, 2)]
    assert models[0].temperature_ == models[1].temperature_


# What a reviewer ran into


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("classifier", [LogisticRegression(max_iter=1000), GaussianNB()], ids=str)
def test_a_class_of_weight_zero_is_one_of_the_classes_of_an_ensemble(classifier):
    y = (X_TWO[:, 0] > 0).astype(int)
    y[np.random.default_rng(0).random(300) < 0.2] ^= 1
    weights = np.ones(300)
    y[:30], weights[:30] = 2, 0
    model = TemperatureCalibrator(classifier, ensemble=True, cv=3).fit(X_TWO, y, weights)
    assert_array_equal(model.classes_, [0, 1, 2])
    p = model.predict_proba(X_TWO)
    assert p.shape == (300, 3)
    assert p[:, 2].max() < 1e-3
    assert np.all(np.isfinite(model.temperature_))


def test_one_hot_labels_of_a_frozen_classifier_are_exclusive_classes():
    frozen = FrozenEstimator(RandomForestClassifier(20, random_state=0).fit(X_TWO[::2], Y_TWO[::2]))
    one_hot = TemperatureCalibrator(frozen).fit(X_TWO[1::2], np.eye(2)[Y_TWO[1::2]])
    assert_allclose(one_hot.temperature_, TemperatureCalibrator(frozen).fit(X_TWO[1::2], Y_TWO[1::2]).temperature_)


def test_contradictions_are_counted_over_all_splits():
    rows = np.r_[0:20, 50:70, 100:120]
    with pytest.raises(ValueError, match="logits contradict its predictions"):
        TemperatureCalibrator(SVC(decision_function_shape="ovo"), cv=KFold(60)).fit(X[rows], Y[rows])


@pytest.mark.parametrize("n_columns", [2, 4])
def test_probabilities_for_another_number_of_classes_are_an_error(n_columns):
    class Odd(PassThrough):
        decision_function = property()

        def predict_proba(self, X):
            return np.full((len(X), n_columns), 1 / n_columns)

    with pytest.raises(ValueError, match=rf"predict_proba gives the shape \(150, {n_columns}\) for 3 classes"):
        TemperatureCalibrator(FrozenEstimator(Odd().fit(X[:, :3], Y))).fit(X[:, :3], Y)


def test_errors_name_the_rows_of_x():
    class Faulty(PassThrough):
        def decision_function(self, X):
            return np.where(X[:, [3]] > 90, np.nan, X[:, :3])

        def predict(self, X):
            return self.decision_function(X).argmax(axis=1)

    features = np.hstack([np.random.default_rng(0).normal(size=(150, 3)) + np.eye(3)[Y], np.zeros((150, 1))])
    features[[17, 101], 3] = 99
    cv = KFold(5, shuffle=True, random_state=0)
    with pytest.raises(ValueError, match=r"must not be NaN, got NaN in rows \[17, 101\]"):
        TemperatureCalibrator(Faulty(), cv=cv).fit(features, Y)


def test_weights_reach_the_default_classifier_with_routing():
    weights = np.random.default_rng(0).random(300) + 0.5
    plain = TemperatureCalibrator(cv=3).fit(X_TWO, Y_TWO, weights)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = TemperatureCalibrator(cv=3).fit(X_TWO, Y_TWO, sample_weight=weights)
    assert routed.temperature_ == plain.temperature_


def test_an_ensembles_logarithms_are_finite_where_probabilities_are_not():
    model = TemperatureCalibrator(LogisticRegression(max_iter=1000), ensemble=True, cv=3).fit(X_TWO, Y_TWO)
    assert np.isfinite(model.predict_log_proba(1e4 * X_TWO)).all()
    assert np.isfinite(model.decision_function(1e4 * X_TWO)).all()


def test_parameters_of_fit_do_not_vanish_in_a_frozen_classifier():
    frozen = FrozenEstimator(GaussianNB().fit(X, Y))
    with pytest.raises(TypeError, match=r"frozen classifier is not fitted.*\['foo'\]"):
        TemperatureCalibrator(frozen).fit(X, Y, foo=1)


def test_negative_slopes_are_warned_of():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [300, 100])
    z = (rng.normal(size=400) - y)[:, np.newaxis]
    with pytest.warns(UserWarning, match="some slopes are negative"):
        model = TemperatureCalibrator("logits", scaling="bias_corrected").fit(z, y)
    assert model.slope_[0] < 0
    assert model.at_limit_ is False
