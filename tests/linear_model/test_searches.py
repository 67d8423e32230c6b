"""Searches for C: they agree with GridSearchCV over the plain estimators, and with rows that are left out in fact."""

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skactivation import SigmoidMultiLabel, SigmoidMultiLabelCV, SoftmaxRegression, SoftmaxRegressionCV
from skactivation._optimize.solver import _Run
from skactivation.linear_model import _cross_validation, _held_out_losses, _leave_one_out, _penalty_path
from skactivation.linear_model._objective import LinearObjective
from skactivation.losses import sigmoid_cross_entropy, softmax_cross_entropy
from skactivation.metrics import neg_cross_entropy, neg_multilabel_log_loss

CS = [1e-3, 0.1, 10.0]
WINE = load_wine(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
X_LABELS, LABELS = make_multilabel_classification(200, 6, n_classes=4, random_state=0)
RNG = np.random.default_rng(0)


def log_loss(model, X, y, sample_weight=None):
    """Minus the log loss, from logits: scikit-learn's clips probabilities."""
    logits, codes = model.decision_function(X), np.searchsorted(model.classes_, y)
    if logits.ndim == 1:
        return -sigmoid_cross_entropy(logits, codes, sample_weight=sample_weight)
    return -softmax_cross_entropy(logits, codes, sample_weight=sample_weight)


def label_loss(model, X, Y, sample_weight=None):
    known = ~np.isnan(Y)
    losses = sigmoid_cross_entropy(model.decision_function(X), np.where(known, Y, 0), reduction="none")
    weights = known * (1.0 if sample_weight is None else np.reshape(sample_weight, (len(Y), -1)))
    return -np.sum(losses * weights) / weights.sum()


def grid(plain, X, y, cv, scoring, Cs=CS, **params):
    """Scores (n_folds, n_Cs) and the best C by GridSearchCV."""
    search = GridSearchCV(plain, {"C": list(Cs)}, cv=cv, scoring=scoring, error_score="raise").fit(X, y, **params)
    names = [f"split{fold}_test_score" for fold in range(search.n_splits_)]
    return np.array([search.cv_results_[name] for name in names]), search


def assert_same(search, plain, X, y, scoring, rtol=1e-6, **params):
    scores, expected = grid(plain, X, y, search.cv, scoring, search.Cs, **params)
    assert_allclose(search.scores_, scores, rtol=rtol)
    assert search.C_ == expected.best_params_["C"]
    assert search.Cs_[search.best_index_] == search.C_
    assert_allclose(search.best_score_, expected.best_score_, rtol=rtol)
    best = expected.best_estimator_
    assert_allclose(search.coef_, best.coef_, rtol=1e-4, atol=1e-6 * np.abs(best.coef_).max())
    assert search.optimality_gap_ <= search.tol
    assert search.converged_
    errors = scores.std(axis=0, ddof=1) / np.sqrt(len(scores))
    assert_allclose(search.mean_scores_, scores.mean(axis=0), rtol=rtol)
    assert_allclose(search.standard_errors_, errors, rtol=1e-4, atol=1e-12)


# Folds: the same as GridSearchCV.


@pytest.mark.parametrize("data", [WINE, CANCER, load_iris(return_X_y=True)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"class_weight": "balanced", "prior_correction": True},
        {"label_smoothing": 0.1, "fit_intercept": False},
        {"class_weight": {0: 2.0, 1: 1.0, 2: 0.5}},
    ],
    ids=str,
)
def test_scores_are_those_of_a_grid_search(data, options):
    X, y = data
    search = SoftmaxRegressionCV(Cs=CS, cv=StratifiedKFold(4), **options).fit(X, y)
    assert_same(search, SoftmaxRegression(**options), X, y, log_loss)


@pytest.mark.parametrize(
    "cv",
    [
        3,
        RepeatedStratifiedKFold(n_splits=3, n_repeats=2, random_state=0),
        ShuffleSplit(3, test_size=0.2, train_size=0.5, random_state=0),
        [(RNG.choice(178, 150), np.arange(0, 178, 2)), (np.arange(178), np.arange(20))],
    ],
    ids=["number", "repeated", "no complement", "training rows repeat"],
)
def test_any_splitter_will_do(cv):
    X, y = WINE
    search = SoftmaxRegressionCV(Cs=CS, cv=cv).fit(X, y)
    assert_same(search, SoftmaxRegression(), X, y, log_loss)


def test_a_fold_may_be_a_row():
    X, y = (rows[::4] for rows in WINE)
    search = SoftmaxRegressionCV(Cs=CS, cv=LeaveOneOut()).fit(X, y)
    assert_same(search, SoftmaxRegression(), X, y, log_loss)
    assert search.scores_.shape == (len(y), 3)


def test_the_default_folds_are_stratified_and_the_default_grid_is_that_of_logistic_regression_cv():
    X, y = WINE
    search = SoftmaxRegressionCV().fit(X, y)
    assert_allclose(search.Cs_, np.logspace(-4, 4, 10))
    assert_same(SoftmaxRegressionCV(Cs=CS, cv=StratifiedKFold(5)).fit(X, y), SoftmaxRegression(), X, y, log_loss)
    assert_array_equal(SoftmaxRegressionCV(Cs=10, cv=StratifiedKFold(5)).fit(X, y).scores_, search.scores_)


def test_the_order_of_the_grid_is_kept():
    X, y = WINE
    forward, back = (SoftmaxRegressionCV(Cs=Cs).fit(X, y) for Cs in (CS, CS[::-1]))
    assert_array_equal(back.scores_, forward.scores_[:, ::-1])
    assert back.best_index_ == 2 - forward.best_index_


@pytest.mark.parametrize("convert", [sparse.csr_array, sparse.csc_array, lambda X: X.astype(np.float32), pd.DataFrame])
def test_any_container_of_rows(convert):
    X, y = CANCER
    X = StandardScaler().fit_transform(X)
    names = np.array(["bad", "good"], dtype=object)[y]
    search = SoftmaxRegressionCV(Cs=CS, cv=3).fit(convert(X), names)
    # Both round their coefficients to X's precision, which is not that of the optimum.
    is_single = search.coef_.dtype == np.float32
    assert_same(search, SoftmaxRegression(), convert(X), names, log_loss, rtol=1e-4 if is_single else 1e-6)
    assert set(search.predict(convert(X))) == {"bad", "good"}


def test_large_problems_share_blocks_of_the_hessian():
    X, y = load_digits(return_X_y=True)
    Cs = [1e-3, 1e-1, 10.0]
    search = SoftmaxRegressionCV(Cs=Cs, cv=StratifiedKFold(3), tol=1e-12).fit(X, y)
    scores, expected = grid(SoftmaxRegression(tol=1e-12), X, y, StratifiedKFold(3), log_loss, Cs)
    assert_allclose(search.scores_, scores, rtol=1e-6)
    assert search.C_ == expected.best_params_["C"]
    # With the default tol, scores have about four digits.
    assert_allclose(SoftmaxRegressionCV(Cs=Cs, cv=StratifiedKFold(3)).fit(X, y).scores_, scores, rtol=2e-3)


def test_more_columns_than_rows():
    X, y = RNG.normal(size=(60, 200)), np.arange(60) % 3
    search = SoftmaxRegressionCV(Cs=CS, cv=StratifiedKFold(3), tol=1e-11).fit(X, y)
    assert_same(search, SoftmaxRegression(tol=1e-11), X, y, log_loss)


def test_soft_targets():
    X, y = WINE
    soft = 0.8 * np.eye(3)[y] + 0.2 * RNG.dirichlet(np.ones(3), size=len(y))
    soft /= soft.sum(axis=1, keepdims=True)
    search = SoftmaxRegressionCV(Cs=CS, cv=KFold(4, shuffle=True, random_state=0)).fit(X, soft)
    assert_same(search, SoftmaxRegression(), X, soft, neg_cross_entropy)


@pytest.mark.parametrize(
    "scoring", ["accuracy", "neg_brier_score", log_loss, make_scorer(lambda y, p: np.mean(y == p))]
)
def test_any_scorer(scoring):
    X, y = WINE
    search = SoftmaxRegressionCV(Cs=CS, cv=4, scoring=scoring).fit(X, y)
    assert_same(search, SoftmaxRegression(), X, y, scoring)


def test_weights_weigh_fits_and_held_out_rows():
    X, y = WINE
    weights = RNG.integers(0, 4, size=len(y)).astype(float)
    cv = StratifiedKFold(4)
    search = SoftmaxRegressionCV(Cs=CS, cv=cv).fit(X, y, sample_weight=weights)
    scores = []
    for train, test in cv.split(X, y):
        models = [SoftmaxRegression(C=C).fit(X[train], y[train], weights[train]) for C in CS]
        scores.append([log_loss(model, X[test], y[test], weights[test]) for model in models])
    assert_allclose(search.scores_, scores, rtol=1e-6)
    huge = SoftmaxRegressionCV(Cs=1e-200 * np.array(CS), cv=cv).fit(X, y, sample_weight=1e200 * weights)
    assert_allclose(huge.scores_, scores, rtol=1e-6)


def test_weights_reach_a_scorer_that_requests_them():
    X, y = WINE
    weights = RNG.integers(0, 4, size=len(y)).astype(float)
    with sklearn.config_context(enable_metadata_routing=True):
        scorer = make_scorer(accuracy).set_score_request(sample_weight=True)
        plain = SoftmaxRegression().set_fit_request(sample_weight=True)
        search = SoftmaxRegressionCV(Cs=CS, cv=4, scoring=scorer).fit(X, y, sample_weight=weights)
        scores, _ = grid(plain, X, y, 4, scorer, sample_weight=weights)
        unrequested = make_scorer(accuracy).set_score_request(sample_weight=False)
        unweighted = SoftmaxRegressionCV(Cs=CS, cv=4, scoring=unrequested).fit(X, y, sample_weight=weights)
    assert_allclose(search.scores_, scores, rtol=1e-12)
    assert not np.array_equal(unweighted.scores_, scores)
    # Without routing, as in GridSearchCV, scorers get no weights.
    plain_call = SoftmaxRegressionCV(Cs=CS, cv=4, scoring="accuracy").fit(X, y, sample_weight=weights)
    assert_array_equal(plain_call.scores_, unweighted.scores_)


def accuracy(y, predicted, sample_weight=None):
    return np.average(y == predicted, weights=sample_weight)


def test_groups_reach_the_splitter():
    X, y = WINE
    groups = np.arange(len(y)) % 7
    search = SoftmaxRegressionCV(Cs=CS, cv=GroupKFold(3)).fit(X, y, groups=groups)
    assert_same(search, SoftmaxRegression(), X, y, log_loss, groups=groups)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = SoftmaxRegressionCV(Cs=CS, cv=GroupKFold(3)).fit(X, y, groups=groups)
    assert_array_equal(routed.scores_, search.scores_)


def test_one_standard_error_is_the_strongest_penalty_that_is_nearly_as_good():
    X, y = WINE
    best = SoftmaxRegressionCV(cv=10).fit(X, y)
    search = SoftmaxRegressionCV(cv=10, one_standard_error=True).fit(X, y)
    least = best.best_score_ - best.standard_errors_[best.best_index_]
    assert search.C_ == min(best.Cs_[best.mean_scores_ >= least]) < best.C_
    assert search.best_score_ == search.mean_scores_[search.best_index_]
    assert_array_equal(search.scores_, best.scores_)


def test_inside_a_pipeline_and_another_search():
    X, y = WINE
    pipeline = make_pipeline(StandardScaler(), SoftmaxRegressionCV(Cs=CS, cv=3))
    assert cross_val_score(pipeline, X, y, cv=3).min() > 0.9
    outer = GridSearchCV(SoftmaxRegressionCV(Cs=CS, cv=3), {"class_weight": [None, "balanced"]}, cv=3).fit(X, y)
    assert outer.best_estimator_.C_ in CS


def test_the_same_bits_for_any_number_of_threads():
    X, y = load_digits(return_X_y=True)
    searches = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            searches.append(SoftmaxRegressionCV(Cs=[1e-2, 1], cv=3).fit(X, y))
    assert_array_equal(searches[0].scores_, searches[1].scores_)
    assert_array_equal(searches[0].coef_, searches[1].coef_)


def test_no_penalty_among_others():
    X, y = load_iris(return_X_y=True)
    X, y = X[50:, :2], y[50:]
    search = SoftmaxRegressionCV(Cs=[np.inf, 1e-3], cv=StratifiedKFold(3)).fit(X, y)
    assert_same(search, SoftmaxRegression(), X, y, log_loss)


def test_fits_without_an_optimum_are_named():
    X, y = load_iris(return_X_y=True)
    message = r"scored fits without a certified optimum for C in \[inf\] \(largest gap inf, tol=1e-06\): .* separated"
    with pytest.warns(ConvergenceWarning, match=message):
        SoftmaxRegressionCV(Cs=[10.0, np.inf], cv=3).fit(X, y)


# Several labels.


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pos_weight": "balanced"},
        {"pos_weight": [1.0, 2.0, 3.0, 0.5], "prior_correction": True, "label_smoothing": 0.1},
    ],
    ids=str,
)
@pytest.mark.parametrize("known", [1.0, 0.8])
def test_scores_of_labels_are_those_of_a_grid_search(options, known):
    Y = np.where(RNG.random(LABELS.shape) < known, LABELS, np.nan)
    search = SigmoidMultiLabelCV(Cs=CS, cv=KFold(4), **options).fit(X_LABELS, Y)
    assert_same(search, SigmoidMultiLabel(**options), X_LABELS, Y, label_loss)
    # Labels are not alone in the mean: it is over all known entries.
    counts = [np.sum(~np.isnan(Y[test]), axis=0) for _, test in KFold(4).split(Y)]
    means = np.einsum("fcl,fl->fc", search.label_scores_, counts) / np.sum(counts, axis=1, keepdims=True)
    assert_allclose(means, search.scores_, rtol=1e-12)


@pytest.mark.parametrize("container", [sparse.csr_array, lambda Y: pd.DataFrame(Y, columns=list("abcd")), np.asarray])
def test_containers_of_labels(container):
    search = SigmoidMultiLabelCV(Cs=CS, cv=KFold(3)).fit(X_LABELS, container(LABELS))
    expected = SigmoidMultiLabelCV(Cs=CS, cv=KFold(3)).fit(X_LABELS, LABELS)
    assert_allclose(search.scores_, expected.scores_, rtol=1e-12)
    assert type(search.predict(X_LABELS)) is type(
        SigmoidMultiLabel().fit(X_LABELS, container(LABELS)).predict(X_LABELS)
    )


def test_scorers_of_labels():
    search = SigmoidMultiLabelCV(Cs=CS, cv=KFold(3), scoring=neg_multilabel_log_loss).fit(X_LABELS, LABELS)
    assert_same(search, SigmoidMultiLabel(), X_LABELS, LABELS, neg_multilabel_log_loss)
    assert not hasattr(search, "label_scores_")


def test_each_label_may_have_its_own_penalty():
    weights = RNG.random(LABELS.shape)
    search = SigmoidMultiLabelCV(Cs=8, cv=KFold(5), per_label=True).fit(X_LABELS, LABELS, weights)
    assert search.C_.shape == search.best_index_.shape == search.best_score_.shape == (4,)
    assert search.mean_scores_.shape == search.standard_errors_.shape == (8, 4)
    assert len(set(search.C_)) > 1
    for label in range(4):
        alone = SigmoidMultiLabelCV(Cs=8, cv=KFold(5)).fit(X_LABELS, LABELS[:, [label]], weights[:, [label]])
        assert alone.C_ == search.C_[label]
        assert_allclose(alone.mean_scores_, search.mean_scores_[:, label], rtol=1e-6)
        assert_allclose(alone.standard_errors_, search.standard_errors_[:, label], rtol=1e-4)
        assert_allclose(alone.coef_[0], search.coef_[label], rtol=1e-6)
    assert search.label_optimality_gaps_.max() <= search.tol


def test_labels_that_are_constant_in_a_fold():
    Y = LABELS.copy()
    Y[:, 1] = 0
    Y[:40, 1] = 1
    Y[:, 2] = 1
    with pytest.warns(UserWarning, match="Y is always 1 for label 2"):
        search = SigmoidMultiLabelCV(Cs=CS, cv=KFold(5), per_label=True).fit(X_LABELS, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores, _ = grid(SigmoidMultiLabel(), X_LABELS, Y, KFold(5), label_loss)
    assert_allclose(search.scores_, scores, rtol=1e-6)
    assert not search.coef_[2].any()


def test_classes_in_one_dimension():
    X, y = CANCER
    search = SigmoidMultiLabelCV(Cs=CS, cv=StratifiedKFold(3)).fit(X, y)
    assert_same(search, SigmoidMultiLabel(), X, y, log_loss)
    X, y = WINE
    with pytest.warns(UserWarning, match="classes that exclude each other"):
        search = SigmoidMultiLabelCV(Cs=CS, cv=StratifiedKFold(3)).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores, _ = grid(SigmoidMultiLabel(), X, y, StratifiedKFold(3), "neg_log_loss")
    assert_allclose(search.scores_, scores, rtol=1e-6)


@pytest.mark.parametrize("shape", [(200,), (200, 4)])
def test_weights_of_rows_and_of_entries(shape):
    weights = 5 * RNG.random(shape) * (RNG.random(shape) < 0.9)
    cv, options = KFold(4), {"pos_weight": "balanced"}
    search = SigmoidMultiLabelCV(Cs=CS, cv=cv, **options).fit(X_LABELS, LABELS, weights)
    for fold, (train, test) in enumerate(cv.split(LABELS)):
        for number, C in enumerate(CS):
            model = SigmoidMultiLabel(C=C, **options).fit(X_LABELS[train], LABELS[train], weights[train])
            losses = sigmoid_cross_entropy(model.decision_function(X_LABELS[test]), LABELS[test], reduction="none")
            of_entries = np.broadcast_to(weights[test].reshape(len(test), -1), losses.shape)
            assert_allclose(search.scores_[fold, number], -np.average(losses, weights=of_entries), rtol=1e-6)
            means = np.average(losses, weights=of_entries, axis=0)
            assert_allclose(search.label_scores_[fold, number], -means, rtol=1e-6)


def test_a_single_column_is_stratified_as_in_a_grid_search():
    y = CANCER[1][:, np.newaxis]
    search = SigmoidMultiLabelCV(Cs=CS, cv=3).fit(CANCER[0], y)
    assert_same(search, SigmoidMultiLabel(), CANCER[0], y, label_loss)


def test_labels_with_and_without_a_penalty():
    X = np.hstack([X_LABELS, X_LABELS[:, :1] + X_LABELS[:, 1:2]])
    Y = np.column_stack([LABELS, RNG.integers(0, 2, size=(200, 2))])
    search = SigmoidMultiLabelCV(Cs=[1e-4, np.inf], cv=KFold(3), per_label=True).fit(X, Y)
    assert len(set(search.C_)) == 2
    for label, C in enumerate(search.C_):
        alone = SigmoidMultiLabel(C=C).fit(X, Y[:, [label]])
        assert_allclose(search.coef_[label], alone.coef_[0], rtol=1e-5, atol=1e-8)
    assert search.converged_


def test_another_fit_leaves_nothing_behind():
    search = SigmoidMultiLabelCV(Cs=CS, cv=3).fit(X_LABELS, LABELS)
    search.set_params(scoring="accuracy").fit(*CANCER)
    fresh = SigmoidMultiLabelCV(Cs=CS, cv=3, scoring="accuracy").fit(*CANCER)
    assert set(vars(search)) == set(vars(fresh))
    assert not hasattr(search, "label_names_")
    assert not hasattr(search, "label_scores_")


# Leave-one-out: the same as rows that are left out in fact.


def left_out(plain, X, y, score, weights=None):
    """The score of each row under the fit to all others."""
    scores = []
    for row in range(X.shape[0]):
        others = np.arange(X.shape[0]) != row
        model = plain.fit(X[others], y[others], None if weights is None else weights[others])
        scores.append(score(model, X[[row]], y[[row]]))
    return np.array(scores)


@pytest.mark.parametrize("data", [WINE, [rows[::3] for rows in CANCER], load_iris(return_X_y=True)])
def test_leave_one_out_is_right_to_one_per_cent(data):
    X, y = data
    Cs = [1e-2, 1.0, 1e3]
    search = SoftmaxRegressionCV(Cs=Cs, cv="loo").fit(X, y)
    assert search.scores_.shape == (len(y), 3)
    for number, C in enumerate(Cs):
        expected = left_out(SoftmaxRegression(C=C, tol=1e-8), X, y, log_loss)
        assert_allclose(search.mean_scores_[number], expected.mean(), rtol=0.01)
        assert_allclose(search.standard_errors_[number], expected.std(ddof=1) / np.sqrt(len(y)), rtol=0.05)
    assert search.C_ == Cs[np.argmax(search.mean_scores_)]
    assert_allclose(search.coef_, SoftmaxRegression(C=search.C_).fit(X, y).coef_, rtol=1e-5)


def test_leave_one_out_with_weights_and_soft_targets():
    X, y = (rows[::2] for rows in WINE)
    weights = RNG.integers(0, 3, size=len(y)).astype(float)
    soft = 0.9 * np.eye(3)[y] + 0.1 / 3
    search = SoftmaxRegressionCV(Cs=[0.1, 10.0], cv="loo").fit(X, soft, 1e-150 * weights)
    for number, C in enumerate(search.Cs_):
        expected = left_out(SoftmaxRegression(C=C), X, soft, neg_cross_entropy, 1e-150 * weights)
        assert_allclose(search.mean_scores_[number], np.average(expected, weights=weights), rtol=0.01)


def test_leave_one_out_with_class_weights_and_their_correction():
    X, y = (rows[::2] for rows in WINE)
    options = {"class_weight": {0: 5.0, 1: 1.0, 2: 0.2}, "prior_correction": True}
    search = SoftmaxRegressionCV(Cs=[0.1], cv="loo", **options).fit(X, y)
    expected = left_out(SoftmaxRegression(C=0.1, **options), X, y, log_loss)
    assert_allclose(search.mean_scores_, expected.mean(), rtol=0.01)


@pytest.mark.parametrize("per_label", [False, True])
def test_leave_one_out_of_labels(per_label):
    X, Y = X_LABELS[:80], np.where(RNG.random((80, 4)) < 0.9, LABELS[:80], np.nan)
    search = SigmoidMultiLabelCV(Cs=[0.01, 1.0], cv="loo", per_label=per_label).fit(X, Y)
    assert search.label_scores_.shape == (80, 2, 4)
    for number, C in enumerate(search.Cs_):
        scores = left_out(SigmoidMultiLabel(C=C), X, Y, lambda model, X, Y: model.decision_function(X)[0])
        losses = sigmoid_cross_entropy(scores, np.nan_to_num(Y), reduction="none")
        known = ~np.isnan(Y)
        means = np.sum(losses * known, axis=0) / known.sum(axis=0)
        assert_allclose(-np.nanmean(search.label_scores_[:, number], axis=0), means, rtol=0.02)
        if not per_label:
            assert_allclose(-search.mean_scores_[number], losses[known].mean(), rtol=0.01)


def test_leave_one_out_of_sparse_rows():
    X, y = (rows[::2] for rows in WINE)
    dense, of_sparse = (SoftmaxRegressionCV(Cs=CS, cv="loo").fit(rows, y) for rows in (X, sparse.csr_array(X)))
    assert_allclose(of_sparse.mean_scores_, dense.mean_scores_, rtol=1e-4)


def test_rows_that_decide_everything_are_left_out_from_where_a_fit_can_begin():
    X, y = np.random.default_rng(5).standard_t(1.5, size=(44, 19)), np.arange(44) % 3
    weights = np.random.default_rng(6).choice([1, 5, 100.0], size=44)
    cv = [(np.delete(np.arange(44), row), [row]) for row in range(44)]
    folds = SoftmaxRegressionCV(Cs=[1e5], cv=cv).fit(X, y, weights)
    expected = np.average(folds.scores_[:, 0], weights=weights)
    for Cs in ([1e5], [1e2, 1e5]):
        search = SoftmaxRegressionCV(Cs=Cs, cv="loo").fit(X, y, weights)
        assert_allclose(search.mean_scores_[-1], expected, rtol=0.01)


def test_problems_that_stall_together_are_solved_alone():
    rng = np.random.default_rng(5)
    X, y = rng.standard_t(1.5, size=(44, 19)), np.arange(44) % 3
    weights = rng.choice([1, 5, 100.0], size=44)
    cv = [(np.delete(np.arange(44), row), [row]) for row in range(44)]
    search = SoftmaxRegressionCV(Cs=[100.0], cv=cv).fit(X, y, weights)
    train, test = cv[12]
    plain = SoftmaxRegression(C=100.0).fit(X[train], y[train], weights[train])
    assert_allclose(search.scores_[12, 0], log_loss(plain, X[test], y[test]), rtol=1e-5)


def test_a_row_without_which_there_is_no_optimum():
    x = np.r_[np.linspace(-3, -1, 20), np.linspace(1, 3, 20), 5][:, np.newaxis]
    y = np.r_[np.zeros(20), np.ones(20), 0]
    with pytest.warns(ConvergenceWarning, match=r"scored fits without a certified optimum for C in \[inf\]"):
        SoftmaxRegressionCV(Cs=[1.0, np.inf], cv="loo").fit(x, y)


def test_leave_one_out_of_labels_with_weights():
    X, Y, weights = X_LABELS[:60], LABELS[:60], 3 * RNG.random((60, 4))
    options = {"pos_weight": [2.0, 1.0, 0.5, 1.0], "prior_correction": True}
    search = SigmoidMultiLabelCV(Cs=[0.1], cv="loo", **options).fit(X, Y, weights)
    plain = SigmoidMultiLabel(C=0.1, **options)
    logits = left_out(plain, X, Y, lambda model, X, Y: model.decision_function(X)[0], weights)
    losses = sigmoid_cross_entropy(logits, Y, reduction="none")
    assert_allclose(-search.mean_scores_, np.average(losses, weights=weights), rtol=0.01)


@pytest.mark.parametrize("estimator", [SoftmaxRegressionCV, SigmoidMultiLabelCV])
def test_leave_one_out_of_two_classes_in_single_precision(estimator):
    X, y = CANCER[0][::6].astype(np.float32), CANCER[1][::6]
    search = estimator(Cs=[0.1], cv="loo").fit(X, y)
    expected = left_out(SoftmaxRegression(C=0.1), X.astype(np.float64), y, log_loss)
    assert_allclose(search.mean_scores_, expected.mean(), rtol=0.01)


# Pieces of data that does not fit in memory at once.


def test_pieces_change_no_score(monkeypatch):
    X, y = WINE
    whole = SoftmaxRegressionCV(Cs=CS, cv=4).fit(X, y)
    by_row = SoftmaxRegressionCV(Cs=CS, cv="loo").fit(X, y)
    monkeypatch.setattr(_cross_validation, "_MOST_ELEMENTS", 1)
    monkeypatch.setattr(_held_out_losses, "_MOST_LOGITS", 100)
    monkeypatch.setattr(_leave_one_out, "_MOST_WEIGHTS", 1)
    assert_allclose(SoftmaxRegressionCV(Cs=CS, cv=4).fit(X, y).scores_, whole.scores_, rtol=1e-6)
    assert_allclose(SoftmaxRegressionCV(Cs=CS, cv="loo").fit(X, y).mean_scores_, by_row.mean_scores_, rtol=1e-4)
    labels = SigmoidMultiLabelCV(Cs=CS, cv="loo").fit(X_LABELS, LABELS)
    monkeypatch.undo()
    expected = SigmoidMultiLabelCV(Cs=CS, cv="loo").fit(X_LABELS, LABELS)
    assert_allclose(labels.mean_scores_, expected.mean_scores_, rtol=1e-4)


# Errors.


BAD = [
    ({"Cs": 0}, ValueError, "Cs must be an integer >= 1"),
    ({"Cs": [1.0, -1.0]}, ValueError, "Cs must be an integer >= 1 or positive numbers"),
    ({"Cs": []}, ValueError, "Cs must be an integer >= 1 or positive numbers"),
    ({"Cs": [np.nan]}, ValueError, "Cs must be"),
    ({"Cs": True}, ValueError, "Cs must be"),
    ({"cv": "leave"}, ValueError, "cv must be an integer, a splitter, an iterable"),
    ({"cv": 1}, ValueError, "n_splits"),
    ({"cv": []}, ValueError, "cv must give at least one split"),
    ({"cv": [([0, 60, 170], [])]}, ValueError, "split 0 of cv: there is no test row of positive weight"),
    ({"cv": [([], [0])]}, ValueError, "split 0 of cv: there is no training row of positive weight"),
    ({"cv": KFold(3)}, ValueError, r"split 0 of cv: the training rows lack the classes \[0\]"),
    ({"cv": "loo", "scoring": "accuracy"}, ValueError, "LeaveOneOut"),
    ({"scoring": "no such scorer"}, ValueError, "no such scorer"),
    ({"scoring": lambda model, X, y: np.nan}, ValueError, "the score of C=0.001 in split 0 of cv is nan"),
    ({"one_standard_error": 1}, TypeError, "one_standard_error"),
    ({"one_standard_error": True, "cv": [(np.arange(178), np.arange(10))]}, ValueError, "at least two splits"),
    ({"tol": 0}, ValueError, "tol"),
    ({"scoring": ["accuracy"]}, TypeError, "scoring must be one scorer, its name or None"),
    ({"cv": [(np.arange(178), [178])]}, ValueError, "split 0 of cv: rows must be numbers below 178"),
    ({"cv": [(np.ones(177, dtype=bool), [1])]}, ValueError, "split 0 of cv: rows must be numbers below 178"),
    ({"cv": [([0.5, 1.0], [1])]}, ValueError, "split 0 of cv: rows must be numbers below 178"),
    (
        {"cv": [([0, 1, 2], [60]), ([0, 60, 1], [2])]},
        ValueError,
        r"split 0 of cv: the training rows lack the classes \[1",
    ),
]


@pytest.mark.parametrize(("options", "kind", "message"), BAD, ids=[bad[2][:40] for bad in BAD])
def test_errors_say_what_is_wrong_and_change_nothing(options, kind, message):
    X, y = WINE
    search = SoftmaxRegressionCV(Cs=CS, cv=3).fit(X, y)
    search.set_params(**options)
    before = dict(vars(search))
    with pytest.raises(kind, match=message):
        search.fit(X, y)
    assert vars(search) == before


def test_errors_of_metadata():
    X, y = WINE
    with pytest.raises(TypeError, match=r"fit got 'colour', but takes sample_weight and groups"):
        SoftmaxRegressionCV().fit(X, y, colour=1)


def test_folds_that_lack_a_class():
    X, y = (rows[WINE[1] < 2] for rows in WINE)
    one, other = np.flatnonzero(y == 0), np.flatnonzero(y == 1)
    for estimator in (SoftmaxRegressionCV(Cs=CS), SigmoidMultiLabelCV(Cs=CS), SigmoidMultiLabelCV(label_smoothing=0.1)):
        with pytest.raises(ValueError, match=r"split 1 of cv: the training rows lack the classes \[0\]"):
            estimator.set_params(cv=[(np.arange(len(y)), [0]), (other, one)]).fit(X, y)
    soft = np.where((y == 1)[:, np.newaxis], [0.6, 0.4, 0.0], [0.2, 0.3, 0.5])
    with pytest.raises(ValueError, match=r"split 0 of cv: of the training rows, y is 0 in every row .* \[2\]"):
        SoftmaxRegressionCV(Cs=CS, cv=[(other, one)]).fit(X, soft)


def test_classes_without_weight_stay_without_it():
    X, y = WINE
    weights = {0: 1.0, 1: 1.0, 2: 0.0}
    with pytest.warns(UserWarning, match="no row of positive weight"):
        search = SoftmaxRegressionCV(Cs=CS, cv=3, class_weight=weights, scoring="accuracy").fit(X, y)
    assert set(search.predict(X)) == {0, 1}
    with pytest.raises(ValueError, match="takes classes that all have rows"), pytest.warns(UserWarning, match="weight"):
        SoftmaxRegressionCV(Cs=CS, cv="loo", class_weight=weights).fit(X, y)
    with pytest.raises(ValueError, match="no C to choose"):
        SoftmaxRegressionCV(Cs=CS, cv=3, class_weight={0: 1.0, 1: 0.0, 2: 0.0}).fit(X, y)


def test_rows_that_cannot_be_left_out():
    X, y = WINE
    rare = y.copy()
    rare[0] = 7
    with pytest.raises(ValueError, match=r"leaves out the only row of the classes \[7\]"):
        SoftmaxRegressionCV(Cs=CS, cv="loo").fit(X, rare)
    Y = LABELS.copy()
    Y[:, 2] = 0
    Y[5, 2] = 1
    with pytest.raises(ValueError, match="leaves out the only 0, or the only 1, of label 2"):
        SigmoidMultiLabelCV(Cs=CS, cv="loo").fit(X_LABELS, Y)
    Y[:, 2] = 1
    with (
        pytest.raises(ValueError, match="no constant labels: drop the columns of label 2"),
        pytest.warns(UserWarning, match="Y is always"),
    ):
        SigmoidMultiLabelCV(Cs=CS, cv="loo").fit(X_LABELS, Y)
    with pytest.raises(TypeError, match="cv='loo' leaves out single rows"):
        SoftmaxRegressionCV(Cs=CS, cv="loo").fit(X, y, groups=y)
    with pytest.raises(ValueError, match="SoftmaxRegressionCV"), pytest.warns(UserWarning, match="exclude"):
        SigmoidMultiLabelCV(Cs=CS, cv="loo").fit(X, y)
    with pytest.raises(ValueError, match="at most 2000 coefficients"):
        SoftmaxRegressionCV(Cs=CS, cv="loo").fit(RNG.normal(size=(30, 700)), np.arange(30) % 3)


def test_errors_of_labels():
    with pytest.raises(ValueError, match="per_label=True compares the log losses"):
        SigmoidMultiLabelCV(per_label=True, scoring="accuracy").fit(X_LABELS, LABELS)
    with pytest.raises(ValueError, match="a column for each label"):
        SigmoidMultiLabelCV(per_label=True).fit(*CANCER)
    Y = LABELS.astype(float)
    Y[:20, 3] = np.nan
    splits = [(np.arange(200), np.arange(20)), (np.arange(200), np.arange(10, 20))]
    with pytest.raises(ValueError, match="no test row of cv has a known entry of label number 3"):
        SigmoidMultiLabelCV(cv=splits, per_label=True).fit(X_LABELS, Y)
    splits.append((np.arange(200), np.arange(30)))
    with pytest.raises(ValueError, match="at least two splits of cv with known entries of label number 3"):
        SigmoidMultiLabelCV(cv=splits, per_label=True, one_standard_error=True).fit(X_LABELS, Y)
    Y[:20] = np.nan
    with pytest.raises(ValueError, match="split 0 of cv: no label of a test row is known"):
        SigmoidMultiLabelCV(cv=splits).fit(X_LABELS, Y)
    Y = LABELS.astype(float)
    Y[40:, 3] = np.nan
    with pytest.raises(
        ValueError, match="split 0 of cv, in its training rows: Y has no known entry of positive weight for label 3"
    ):
        SigmoidMultiLabelCV(cv=KFold(5)).fit(X_LABELS, Y)


@pytest.fixture
def path():
    objective = SimpleNamespace(penalty=np.ones((2, 1, 2)))

    def with_fits(*fits):
        steps = _penalty_path._Steps()
        for C, coefficients in fits:
            theta = np.multiply.outer(coefficients, np.ones((1, 2)))
            steps.note(C, objective, SimpleNamespace(theta=theta, values=np.array([5.0, 6.0]), n_evaluations=1))
        return steps

    return with_fits


def test_fits_continue_on_a_line_in_log_c(path):
    assert path().starts(1.0) == []
    (last,) = path((1.0, [3.0, 1.0])).starts(10.0)
    assert_array_equal(last[:, 0, 0], [3.0, 1.0])
    steps = path((1.0, [3.0, 1.0]), (10.0, [5.0, 1.0]))
    last, line = steps.starts(100.0)
    assert_array_equal(last[:, 0, 0], [5.0, 1.0])
    assert_allclose(line[:, 0, 0], [7.0, 1.0])
    # At most twice as far.
    assert_allclose(steps.starts(1e9)[1][:, 0, 0], [9.0, 1.0])
    assert len(steps.starts(np.inf)) == len(path((1.0, [3.0, 1.0]), (1.0, [3.0, 1.0])).starts(10.0)) == 1


def test_slopes_change_by_the_factor_that_they_have_changed_by(path):
    steps = path((1.0, [2.0, 1.0]), (10.0, [6.0, 1.0]), (100.0, [8.0, 5.0]))
    # From 4 to 2, next 1; from 0 to 4, of which nothing follows.
    assert_allclose(steps.starts(1000.0)[1][:, 0, 0], [9.0, 5.0])
    # A slope that grows or turns round is not taken to go on so.
    steps = path((1.0, [2.0, 1.0]), (10.0, [3.0, 2.0]), (100.0, [8.0, 1.0]))
    assert_allclose(steps.starts(1000.0)[1][:, 0, 0], [13.0, 1.0])


def test_a_sample_is_drawn_anew_after_a_long_fit(path):
    steps, objective = path(), SimpleNamespace(penalty=np.ones((1, 1, 2)))
    for n_evaluations, kept in ((8, True), (9, False)):
        steps._sample = object()
        solution = SimpleNamespace(theta=np.ones((1, 1, 2)), values=np.ones(1), n_evaluations=n_evaluations)
        steps.note(1.0, objective, solution)
        assert (steps._sample is not None) is kept


def test_values_at_the_last_solution_are_known_without_an_evaluation():
    X, y = WINE
    estimator = SoftmaxRegression()
    rows, weights = estimator._checked_data(X, y, None)
    encoded, _ = estimator._weigh(estimator._describe(y), weights)
    path = _penalty_path.PenaltyPath(rows, [encoded], fit_intercept=True, tol=1e-6, max_iter=100)
    steps, first, second = _penalty_path._Steps(), path.objective(0.1), path.objective(30.0)
    assert steps.known(first) == {}
    solution = _penalty_path.minima(first, [path._null(first)], path._null(first), np.zeros(1), tol=1e-6, max_iter=100)
    steps.note(0.1, first, solution)
    values, _ = second.value_and_gradient(solution.theta)
    assert_allclose(steps.known(second)["expected"], values, rtol=1e-12)


def test_of_equal_scores_the_first_counts():
    X, y = WINE
    search = SoftmaxRegressionCV(Cs=[10.0, 1.0, 0.1], cv=3, scoring=lambda model, X, y: 0.5).fit(X, y)
    assert search.C_ == 10.0
    assert search.set_params(one_standard_error=True).fit(X, y).C_ == 0.1


def test_a_preconditioner_serves_on_when_double_precision_takes_over(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 60))
    y = (0.3 * X @ rng.normal(size=(60, 20)) + rng.gumbel(size=(3000, 20))).argmax(axis=1)
    monkeypatch.setattr("skactivation._data.dense._SINGLE_PRECISION_WORK", 1)
    made, blocks = [], LinearObjective.shared_hessian_blocks
    monkeypatch.setattr(LinearObjective, "shared_hessian_blocks", lambda *args: made.append(1) or blocks(*args))

    def n_made():
        made.clear()
        search = SoftmaxRegressionCV(Cs=[1.0, 10.0, 100.0], cv=3).fit(X, y)
        return len(made), search.scores_

    n_blocks, scores = n_made()
    serving = _Run._preconditioner_to_descend

    def anew(run, *args):
        run.serving = None
        return serving(run, *args)

    monkeypatch.setattr(_Run, "_preconditioner_to_descend", anew)
    n_blocks_anew, scores_anew = n_made()
    assert n_blocks < n_blocks_anew
    assert_allclose(scores, scores_anew, rtol=1e-3)
