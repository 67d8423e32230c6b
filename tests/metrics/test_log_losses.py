"""Log losses: by hand, compared with scikit-learn's, and as scorers."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score

from skactivation import SigmoidMultiLabel, SoftmaxRegression
from skactivation.losses import sigmoid_cross_entropy, softmax_cross_entropy
from skactivation.metrics import cross_entropy, multilabel_log_loss, neg_cross_entropy, neg_multilabel_log_loss

RNG = np.random.default_rng(0)
Y = (RNG.random((50, 4)) < 0.4).astype(float)
P = RNG.random((50, 4))


def test_the_multilabel_log_loss_is_the_mean_over_entries():
    assert_allclose(multilabel_log_loss([[1, 0]], [[0.5, 0.25]]), -(np.log(0.5) + np.log(0.75)) / 2, rtol=1e-15)
    per_label = [log_loss(Y[:, k], P[:, k]) for k in range(4)]
    assert_allclose(multilabel_log_loss(Y, P), np.mean(per_label), rtol=1e-13)
    logits = np.log(P / (1 - P))
    assert_allclose(multilabel_log_loss(Y, P), sigmoid_cross_entropy(logits, Y), rtol=1e-12)


def test_scikit_learns_log_loss_differs():
    # It treats the columns as exclusive classes.
    y, p = np.array([[1, 0, 1], [0, 1, 0]]), np.array([[0.8, 0.3, 0.6], [0.2, 0.7, 0.4]])
    with pytest.warns(UserWarning, match="do not sum to one"):
        theirs = log_loss(y, p)
    assert theirs > 1.4 * multilabel_log_loss(y, p)


def test_unknown_entries_are_left_out_and_soft_ones_counted_in_part():
    y = Y.copy()
    y[:, 1], y[::3, 2] = np.nan, np.nan
    known = ~np.isnan(y)
    expected = np.mean(-np.log(np.where(y == 1, P, 1 - P))[known])
    assert_allclose(multilabel_log_loss(y, P), expected, rtol=1e-13)
    assert_allclose(multilabel_log_loss([[0.25]], [[0.4]]), -0.25 * np.log(0.4) - 0.75 * np.log(0.6), rtol=1e-14)


@pytest.mark.parametrize("shape", [(50,), (50, 4)])
def test_integer_weights_are_repeats(shape):
    counts = RNG.integers(0, 4, size=shape)
    entries = np.broadcast_to(counts.reshape(50, -1), (50, 4))
    losses = -np.log(np.where(Y == 1, P, 1 - P))
    expected = np.mean(np.repeat(losses.ravel(), entries.ravel()))
    assert_allclose(multilabel_log_loss(Y, P, sample_weight=counts), expected, rtol=1e-13)
    assert_allclose(multilabel_log_loss(Y, P, sample_weight=counts * 1e300), expected, rtol=1e-13)
    if len(shape) == 1:
        targets = np.eye(4)[RNG.integers(0, 4, size=50)]
        probabilities = P / P.sum(axis=1, keepdims=True)
        repeated = cross_entropy(np.repeat(targets, counts, axis=0), np.repeat(probabilities, counts, axis=0))
        assert_allclose(cross_entropy(targets, probabilities, sample_weight=counts), repeated, rtol=1e-13)


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_sparse_indicators_are_accepted(form):
    assert multilabel_log_loss(sparse.coo_array(Y).asformat(form), P) == multilabel_log_loss(Y, P)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_probabilities_of_0_and_1_cost_no_more_than_the_logarithm_of_epsilon(dtype):
    eps = np.finfo(dtype).eps
    wrong = multilabel_log_loss([[1, 0]], np.array([[0, 1]], dtype=dtype))
    assert_allclose(wrong, -np.log(eps), rtol=1e-6)
    assert multilabel_log_loss([[1, 0]], np.array([[1, 0]], dtype=dtype)) < 2 * eps
    assert_allclose(cross_entropy([[1, 0]], np.array([[0, 1]], dtype=dtype)), -np.log(eps), rtol=1e-6)


def test_the_cross_entropy_is_that_of_the_logits():
    logits = RNG.normal(size=(50, 4))
    targets = RNG.dirichlet(np.ones(4), size=50)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert_allclose(cross_entropy(targets, probabilities), softmax_cross_entropy(logits, targets), rtol=1e-13)
    one_hot = np.eye(4)[RNG.integers(0, 4, size=50)]
    assert_allclose(cross_entropy(one_hot, probabilities), log_loss(one_hot, probabilities), rtol=1e-12)


def test_the_true_probabilities_have_the_lowest_expected_loss():
    truth = np.array([[0.2, 0.9]])
    best = multilabel_log_loss(truth, truth)
    for shift in (-0.05, 0.05):
        assert multilabel_log_loss(truth, truth + shift) > best
    shares = np.array([[0.2, 0.8]])
    assert cross_entropy(shares, [[0.25, 0.75]]) > cross_entropy(shares, shares)


@pytest.mark.parametrize(
    ("y", "p", "error", "message"),
    [
        ([[1, 0]], [[0.5, 1.5]], ValueError, "y_proba must hold probabilities"),
        ([[1, 0]], [[0.5, np.nan]], ValueError, "y_proba must hold probabilities"),
        ([[1, 0]], [[0.5]], ValueError, "y_proba must have y_true's shape"),
        ([[2, 0]], [[0.5, 0.5]], ValueError, "must hold 0 and 1"),
        ([1, 0], [0.5, 0.5], ValueError, r"y_true must have the shape \(n, L\).*scikit-learn's metrics"),
        ([[np.nan]], [[0.5]], ValueError, "y_true has no known entry of positive weight: there is no loss"),
        ([["a", "b"]], [[0.5, 0.5]], TypeError, "y_true must hold 0 and 1"),
    ],
)
def test_bad_input_is_an_error(y, p, error, message):
    with pytest.raises(error, match=message):
        multilabel_log_loss(y, p)


def test_bad_soft_targets_are_an_error():
    with pytest.raises(ValueError, match=r"row 0 sums to 1\.5"):
        cross_entropy([[1, 0.5]], [[0.5, 0.5]])
    with pytest.raises(ValueError, match=r"shape \(n, K\)"):
        cross_entropy([0, 1], [[0.5, 0.5], [0.5, 0.5]])


def test_a_search_over_unknown_labels_is_scored_by_known_entries():
    X, labels = make_multilabel_classification(200, 8, n_classes=3, random_state=0)
    labels = labels.astype(float)
    labels[::5, 1] = np.nan
    cv = KFold(3, shuffle=True, random_state=0)
    search = GridSearchCV(SigmoidMultiLabel(), {"C": [1e-6, 1.0]}, scoring=neg_multilabel_log_loss, cv=cv)
    search.fit(X, labels)
    assert search.best_params_ == {"C": 1.0}
    train, test = next(cv.split(X))
    model = SigmoidMultiLabel().fit(X[train], labels[train])
    by_hand = -multilabel_log_loss(labels[test], model.predict_proba(X[test]))
    assert_allclose(search.cv_results_["split0_test_score"][1], by_hand, rtol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_soft_targets_are_scored_by_cross_entropy(n_classes):
    X = RNG.normal(size=(90, 3))
    targets = RNG.dirichlet(np.ones(n_classes), size=90)
    scores = cross_val_score(SoftmaxRegression(C=0.01), X, targets, scoring=neg_cross_entropy, cv=KFold(3))
    model = SoftmaxRegression(C=0.01).fit(X[30:], targets[30:])
    assert_allclose(scores[0], -cross_entropy(targets[:30], model.predict_proba(X[:30])), rtol=1e-12)


def test_scorers_are_cloned_and_routed_like_scikit_learns():
    model = SigmoidMultiLabel().fit(P, Y)
    weights = RNG.random(50)
    weighted = neg_multilabel_log_loss(model, P, Y, sample_weight=weights)
    assert_allclose(weighted, -multilabel_log_loss(Y, model.predict_proba(P), sample_weight=weights), rtol=1e-12)
    assert clone(model).get_params() == model.get_params()


@pytest.mark.parametrize(
    ("weights", "known_weights"),
    [
        ([1e300, 3e-22, 1e-22], [3.0, 1.0]),
        ([1e12, 3e-312, 1e-312], [3.0, 1.0]),
        ([1e-300, 3e300, 1e300], [3.0, 1.0]),
    ],
)
def test_weights_of_unknown_entries_do_not_matter(weights, known_weights):
    loss = multilabel_log_loss([[np.nan], [1.0], [0.0]], [[0.4], [0.3], [0.1]], sample_weight=weights)
    expected = -np.dot(known_weights, [np.log(0.3), np.log(0.9)]) / 4
    assert_allclose(loss, expected, rtol=1e-9)
