"""Multilabel fits agree with one LogisticRegression per label; unknown labels are ignored."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skactivation import SigmoidMultiLabel, SoftmaxRegression
from skactivation._data import dense
from skactivation._optimize import solver, strategy
from skactivation.activations import log_sigmoid, sigmoid, softmax
from skactivation.linear_model import _initial_guess
from skactivation.losses import sigmoid_cross_entropy


def problem(n_rows=300, n_features=6, n_labels=5, seed=0):
    """Rows on different scales, labels of different frequencies."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features)) * np.logspace(-2, 2, n_features) + np.linspace(-5, 5, n_features)
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=(n_features, n_labels)) - np.linspace(0, 2, n_labels)
    return X, (rng.random(z.shape) < sigmoid(z)).astype(int), rng


def peer(X, y, weights=None, **parameters):
    """scikit-learn's optimum for one label."""
    model = LogisticRegression(solver="newton-cholesky", tol=1e-13, max_iter=1000, **parameters)
    with warnings.catch_warnings():
        # Its line search fails if the loss is flat to machine precision.
        warnings.simplefilter("ignore")
        return model.fit(X, y, weights)


def assert_same(model, label, expected, rtol=1e-7):
    """Coefficients relative to the largest, for columns of the same scale."""
    scale = np.abs(expected.coef_).max()
    assert_allclose(model.coef_[label], expected.coef_[0], rtol=rtol, atol=rtol * scale)
    assert_allclose(model.intercept_[label], expected.intercept_[0], rtol=rtol, atol=rtol)


@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_each_label_has_the_coefficients_of_a_logistic_regression(C, fit_intercept, form):
    X, Y, rng = problem()
    X = StandardScaler().fit_transform(X)
    weights = rng.integers(1, 4, size=len(X))
    model = SigmoidMultiLabel(C=C, fit_intercept=fit_intercept).fit(form(X), Y, weights)
    assert model.converged_
    for label in range(Y.shape[1]):
        assert_same(model, label, peer(X, Y[:, label], weights, C=C, fit_intercept=fit_intercept))


def test_digits_have_the_coefficients_of_logistic_regressions_with_default_settings():
    X, y = load_digits(return_X_y=True)
    Y = np.eye(10)[y]
    model = SigmoidMultiLabel().fit(X, Y)
    assert model.n_evaluations_ <= 45
    for label in (0, 8):
        assert_same(model, label, peer(X, Y[:, label]))


def test_missing_labels_are_left_out_of_their_own_label_alone():
    X, Y, rng = problem()
    X = StandardScaler().fit_transform(X)
    Y = np.where(rng.random(Y.shape) < [0, 0.1, 0.5, 0.9, 0.3], np.nan, Y)
    model = SigmoidMultiLabel().fit(X, Y)
    for label in range(Y.shape[1]):
        known = ~np.isnan(Y[:, label])
        assert_same(model, label, peer(X[known], Y[known, label].astype(int)))


def test_a_row_without_a_known_label_is_ignored_even_if_it_is_an_outlier():
    X, Y, _ = problem()
    Y = Y.astype(float)
    Y[7] = np.nan
    X[7] = 1e30
    model = SigmoidMultiLabel().fit(X, Y)
    others = np.arange(len(X)) != 7
    assert_allclose(model.coef_, SigmoidMultiLabel().fit(X[others], Y[others]).coef_, rtol=1e-8)


@pytest.mark.parametrize("C", [1.0, np.inf])
def test_weights_of_entries_are_weights_of_rows_for_each_label(C):
    X, Y, rng = problem()
    X = StandardScaler().fit_transform(X)
    weights = rng.integers(0, 4, size=Y.shape) * np.array([1, 1e3, 1e-3, 1e200, 1e-200])
    model = SigmoidMultiLabel(C=C, tol=1e-10).fit(X, Y, weights)
    for label in range(Y.shape[1]):
        alone = SoftmaxRegression(C=C, tol=1e-10).fit(X, Y[:, label], weights[:, label])
        assert_allclose(model.coef_[label], alone.coef_[0], rtol=1e-7, atol=1e-9 * np.abs(alone.coef_).max())


def test_integer_weights_are_repeats_and_zero_is_absence():
    X, Y, rng = problem()
    counts = rng.integers(0, 3, size=len(X))
    weighted = SigmoidMultiLabel().fit(X, Y, counts)
    repeated = SigmoidMultiLabel().fit(np.repeat(X, counts, axis=0), np.repeat(Y, counts, axis=0))
    assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-8)
    assert_allclose(weighted.intercept_, repeated.intercept_, rtol=1e-8)
    assert_allclose(weighted.loss_, repeated.loss_, rtol=1e-12)


@pytest.mark.parametrize("missing", [False, True])
def test_loss_and_gradient_are_those_of_the_stated_objective(missing):
    X, Y, rng = problem()
    Y = np.where(rng.random(Y.shape) < 0.2, 0.3, Y)  # soft labels
    if missing:
        Y[rng.random(Y.shape) < 0.2] = np.nan
    weights, pos_weight = rng.random(Y.shape), np.array([1.0, 2.0, 0.5, 10.0, 1.0])
    model = SigmoidMultiLabel(C=0.3, label_smoothing=0.1, pos_weight=pos_weight, max_iter=2)
    with pytest.warns(ConvergenceWarning, match="max_iter=2"):
        model.fit(X, Y, weights)

    def objective(coef, intercept):
        losses = sigmoid_cross_entropy(
            X @ coef.T + intercept,
            Y,
            sample_weight=weights,
            pos_weight=pos_weight,
            label_smoothing=0.1,
            reduction="sum",
        )
        return losses + np.sum(coef**2) / (2 * 0.3)

    value = objective(model.coef_, model.intercept_)
    assert_allclose(model.loss_, value, rtol=1e-11)
    assert_allclose(model.loss_curve_[-1], model.loss_, rtol=1e-12)
    assert model.loss_curve_.size == model.n_iter_ + 1
    gradient = []
    for array, other in ((model.intercept_, model.coef_), (model.coef_, model.intercept_)):
        for place in np.ndindex(array.shape):
            step = np.zeros(array.shape)
            step[place] = 1e-4 * max(1e-2, abs(array[place]))
            ahead, behind = (
                objective(other, array + sign * step) if array.ndim == 1 else objective(array + sign * step, other)
                for sign in (1, -1)
            )
            gradient.append((ahead - behind) / (2 * step[place]))
    assert_allclose(model.gradient_norm_, np.linalg.norm(gradient), rtol=1e-5)


def test_soft_labels_are_weighted_certain_ones():
    X, Y, rng = problem()
    soft = rng.random(Y.shape)
    model = SigmoidMultiLabel().fit(X, soft)
    twice = np.vstack([X, X]), np.vstack([np.ones_like(Y), np.zeros_like(Y)]), np.vstack([soft, 1 - soft])
    assert_allclose(model.coef_, SigmoidMultiLabel().fit(*twice).coef_, rtol=1e-6, atol=1e-9)


def test_label_smoothing_is_a_soft_label():
    X, Y, _ = problem()
    smoothed = SigmoidMultiLabel(label_smoothing=0.2).fit(X, Y)
    assert_allclose(smoothed.coef_, SigmoidMultiLabel().fit(X, 0.8 * Y + 0.1).coef_, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("pos_weight", [3.0, [1.0, 2.0, 0.1, 50.0, 1e4], "balanced"])
def test_pos_weight_weighs_the_loss_of_yes(pos_weight):
    X, Y, rng = problem()
    weights = rng.random(len(X))
    model = SigmoidMultiLabel(pos_weight=pos_weight).fit(X, Y, weights)
    no, yes = weights @ (1 - Y), weights @ Y
    factors = no / yes if isinstance(pos_weight, str) else np.broadcast_to(pos_weight, 5)
    for label in range(5):
        entry = weights * np.where(Y[:, label] == 1, factors[label], 1)
        alone = SoftmaxRegression(tol=1e-10).fit(X, Y[:, label], entry)
        assert_allclose(model.coef_[label], alone.coef_[0], rtol=1e-6, atol=1e-9)
    assert_allclose(model.prior_shift_, np.log(factors), rtol=1e-12)


def test_the_prior_correction_subtracts_the_logarithm_of_pos_weight():
    X, Y, _ = problem()
    model = SigmoidMultiLabel(pos_weight=4.0).fit(X, Y)
    logits, probabilities = model.decision_function(X), model.predict_proba(X)
    model.set_params(prior_correction=True).fit(X, Y)
    assert_allclose(model.decision_function(X), logits - np.log(4), rtol=1e-12, atol=1e-12)
    # Whoever reads the coefficients gets the same model.
    assert_allclose(X @ model.coef_.T + model.intercept_, model.decision_function(X), rtol=1e-12, atol=1e-12)
    assert_allclose(model.uncorrected_intercept_ - model.intercept_, np.log(4), rtol=1e-12)
    again = model.set_params(warm_start=True).fit(X, Y)
    assert_allclose(again.decision_function(X), logits - np.log(4), rtol=1e-9, atol=1e-9)
    odds = model.predict_proba(X) / (1 - model.predict_proba(X))
    assert_allclose(odds, probabilities / (1 - probabilities) / 4, rtol=1e-9)


def test_the_prior_correction_brings_back_the_shares_of_a_well_specified_model():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20_000, 3))
    truth = sigmoid(X @ [[1.0], [-1.0], [0.5]] - 2)
    Y = (rng.random(truth.shape) < truth).astype(int)
    weighted = SigmoidMultiLabel(pos_weight="balanced").fit(X, Y)
    assert weighted.predict_proba(X).mean() > 2 * Y.mean()
    weighted.set_params(prior_correction=True).fit(X, Y)
    assert_allclose(weighted.predict_proba(X), truth, atol=0.03)
    # The correction for class weights works alike.
    softmax_model = SoftmaxRegression(class_weight="balanced", prior_correction=True).fit(X, Y[:, 0])
    assert_allclose(softmax_model.predict_proba(X)[:, 1:], truth, atol=0.03)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_prior_correction_of_class_weights_subtracts_their_logarithms(n_classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < n_classes], y[y < n_classes]
    factors = {0: 2.0, 1: 0.25}
    model = SoftmaxRegression(class_weight=factors).fit(X, y)
    log_p = model.predict_log_proba(X)
    log_p[:, :2] -= np.log([2.0, 0.25])
    model.set_params(prior_correction=True).fit(X, y)
    assert_allclose(model.predict_proba(X), softmax(log_p), rtol=1e-9, atol=1e-12)
    logits = X @ model.coef_.T + model.intercept_
    assert_allclose(logits.squeeze(), model.decision_function(X), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_constant_labels_get_the_logarithm_of_their_smoothed_odds(weighted):
    X, Y, rng = problem()
    Y[:, 1], Y[:, 3] = 0, 1
    weights = rng.integers(1, 5, size=len(X)) if weighted else np.ones(len(X))
    frame = pd.DataFrame(Y, columns=list("abcde"))
    with pytest.warns(
        UserWarning, match="always 0 for label 'b' and always 1 for label 'd': coefficients of a constant label are 0"
    ):
        model = SigmoidMultiLabel().fit(X, frame, weights)
    n = weights.sum()
    assert_array_equal(model.coef_[[1, 3]], 0)
    assert_allclose(model.intercept_[[1, 3]], [np.log(0.5 / (n + 0.5)), np.log((n + 0.5) / 0.5)], rtol=1e-14)
    others = SigmoidMultiLabel().fit(X, Y[:, [0, 2, 4]], weights)
    assert_allclose(model.coef_[[0, 2, 4]], others.coef_, rtol=1e-9)
    assert_array_equal(model.label_optimality_gaps_[[1, 3]], 0)
    assert model.converged_
    assert_allclose(model.loss_, others.loss_, rtol=1e-12)


def test_constant_labels_take_no_part_in_pos_weight_and_its_correction():
    X, Y, _ = problem()
    Y[:, 1] = 0
    with pytest.warns(UserWarning, match="always 0 for label 1"):
        model = SigmoidMultiLabel(pos_weight=5.0, prior_correction=True).fit(X, Y)
    assert_allclose(model.decision_function(X)[:, 1], np.log(0.5 / 300.5), rtol=1e-12)
    assert_allclose(model.prior_shift_, np.log([5, 1, 5, 5, 5]), rtol=1e-12)


def test_a_constant_label_that_is_smoothed_has_an_optimum():
    X, Y, _ = problem()
    Y[:, 1] = 1
    with pytest.warns(UserWarning, match="Y is always 1 for label 1: add rows with the other value"):
        model = SigmoidMultiLabel(label_smoothing=0.1).fit(X, Y)
    assert_allclose(model.intercept_[1] + X @ model.coef_[1], np.log(0.95 / 0.05), rtol=1e-6)


def test_names_of_labels_are_those_of_the_columns_and_of_the_last_fit():
    X, Y, _ = problem()
    model = SigmoidMultiLabel()
    assert_array_equal(model.fit(X, pd.DataFrame(Y, columns=[3, 5, 7, 9, 11])).label_names_, [3, 5, 7, 9, 11])
    pairs = pd.DataFrame(Y, columns=pd.MultiIndex.from_product([["a"], range(5)]))
    assert model.fit(X, pairs).label_names_.tolist() == [("a", k) for k in range(5)]
    assert not hasattr(model.fit(X, Y[:, 0]), "label_names_")


def test_labels_may_all_be_constant():
    with pytest.warns(UserWarning, match="always 0 for label 1 and always 1 for label 0"):
        model = SigmoidMultiLabel().fit([[0.0], [1.0]], [[1, 0], [1, 0]])
    assert_allclose(model.predict_proba([[5.0]]), [[2.5 / 3, 0.5 / 3]], rtol=1e-14)
    assert_array_equal(model.predict([[5.0]]), [[1, 0]])


def test_a_constant_label_without_an_intercept_is_fitted():
    X, Y, _ = problem()
    Y[:, 2] = 1
    with pytest.warns(UserWarning, match="Y is always 1 for label 2: add rows with the other value"):
        model = SigmoidMultiLabel(fit_intercept=False).fit(X, Y)
    assert model.converged_
    assert np.all(model.coef_[2] != 0)


def test_a_label_that_is_never_known_is_an_error_that_names_it():
    X, Y, _ = problem()
    frame = pd.DataFrame(Y.astype(float), columns=list("abcde"))
    frame["d"] = np.nan
    with pytest.raises(ValueError, match="no known entry of positive weight for label 'd'"):
        SigmoidMultiLabel().fit(X, frame)
    weights = np.ones(Y.shape)
    weights[:, [0, 4]] = 0
    with pytest.raises(ValueError, match="for labels 0, 4"):
        SigmoidMultiLabel().fit(X, Y, weights)


FORMS = {
    "bool": lambda Y: Y.astype(bool),
    "int8": lambda Y: Y.astype(np.int8),
    "float32": lambda Y: Y.astype(np.float32),
    "list": lambda Y: Y.tolist(),
    "Fortran": np.asfortranarray,
    "frame": lambda Y: pd.DataFrame(Y, columns=list("abcde")),
    "nullable frame": lambda Y: pd.DataFrame(Y, columns=list("abcde")).astype("Int64"),
    "polars": lambda Y: pl.DataFrame(Y, schema=list("abcde")),
    "csr_matrix": sparse.csr_matrix,
    "csc_array": sparse.csc_array,
    "csr of bools": lambda Y: sparse.csr_array(Y.astype(bool)),
    "lil": sparse.lil_array,
}


@pytest.mark.parametrize("form", FORMS)
def test_any_form_of_Y_gives_the_same_model_and_predictions_of_its_kind(form):
    X, Y, _ = problem()
    expected = SigmoidMultiLabel().fit(X, Y)
    y = FORMS[form](Y)
    model = SigmoidMultiLabel().fit(X, y)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-10)
    predicted = model.predict(X)
    if sparse.issparse(y):
        assert sparse.issparse(predicted)
        assert predicted.format == "csr"
        assert isinstance(predicted, sparse.sparray) == isinstance(y, sparse.sparray)
        assert predicted.dtype == y.dtype
        predicted = predicted.toarray()
    else:
        assert predicted.dtype == (np.int64 if form == "nullable frame" else np.asarray(y).dtype)
    assert_array_equal(predicted, expected.predict(X))
    assert_array_equal(model.label_names_, list("abcde") if hasattr(y, "columns") else np.arange(5))
    assert len(model.classes_) == 5
    assert_array_equal(model.classes_[0], [0, 1])


def test_sparse_Y_holds_unknown_and_soft_labels():
    X, Y, rng = problem()
    Y = np.where(rng.random(Y.shape) < 0.2, np.nan, Y)
    assert_allclose(
        SigmoidMultiLabel().fit(X, sparse.csr_array(Y)).coef_, SigmoidMultiLabel().fit(X, Y).coef_, rtol=1e-9
    )
    Y[rng.random(Y.shape) < 0.2] = 0.4
    assert_allclose(
        SigmoidMultiLabel().fit(X, sparse.csc_array(Y)).coef_, SigmoidMultiLabel().fit(X, Y).coef_, rtol=1e-9
    )


def test_missing_values_of_nullable_columns_are_unknown():
    X, Y, _ = problem()
    frame = pd.DataFrame(Y, columns=list("abcde")).astype("Int64")
    frame.loc[3, "b"] = pd.NA
    expected = Y.astype(float)
    expected[3, 1] = np.nan
    assert_allclose(SigmoidMultiLabel().fit(X, frame).coef_, SigmoidMultiLabel().fit(X, expected).coef_, rtol=1e-10)


def test_repeated_entries_of_a_sparse_Y_are_added_up_and_Y_is_left_alone():
    X, Y, _ = problem()
    whole = sparse.csr_array(Y.astype(float))
    split = sparse.csr_array(
        (np.full(2 * whole.nnz, 0.5), np.repeat(whole.indices, 2), 2 * whole.indptr), shape=Y.shape
    )
    assert not split.has_canonical_format
    before = split.data.copy()
    assert_allclose(SigmoidMultiLabel().fit(X, split).coef_, SigmoidMultiLabel().fit(X, Y).coef_, rtol=1e-10)
    assert_array_equal(split.data, before)


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([[0, 2], [1, 0]], ValueError, "must hold 0 and 1"),
        ([[0, -1], [1, 0]], ValueError, "must hold 0 and 1"),
        ([[0.0, np.inf], [1, 0]], ValueError, "must hold 0 and 1"),
        ([["a", "b"], ["c", "d"]], TypeError, r"got entries like a; .*\(Y == 'yes'\)"),
        ([[0, 1], [1]], ValueError, "rows of different lengths.*MultiLabelBinarizer"),
        pytest.param([{"a"}, {"a", "b"}], TypeError, "MultiLabelBinarizer", id="sets"),
        ([0.0, np.nan], ValueError, r"contains NaN.*y.reshape\(-1, 1\)"),
        ([[np.nan, np.nan]] * 2, ValueError, "no known entry of positive weight for labels 0, 1"),
        ([[0, 1]], ValueError, "must have the same number of rows"),
        (np.zeros((2, 0)), ValueError, "L >= 1"),
        (np.zeros((2, 2, 2)), ValueError, "shape"),
        (np.zeros((2, 2), dtype=complex), TypeError, "got entries like 0j"),
        (sparse.csr_array([[0, 3], [1, 0]]), ValueError, "must hold 0 and 1"),
        (sparse.csr_array((2, 0)), ValueError, "L >= 1"),
        ([0, 0], ValueError, "at least two classes"),
        ([0.5, 0.2], ValueError, r"continuous.*y.reshape\(-1, 1\)"),
        (None, ValueError, "requires y"),
    ],
    ids=str,
)
def test_bad_Y_is_an_error_that_leaves_the_estimator_unfitted(y, error, message):
    model = SigmoidMultiLabel()
    with pytest.raises(error, match=message):
        model.fit([[0.0], [1.0]], y)
    assert vars(model) == vars(SigmoidMultiLabel())
    with pytest.raises(NotFittedError):
        model.predict([[0.0]])


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"C": 0}, ValueError, "C must be"),
        ({"pos_weight": 0}, ValueError, "pos_weight must be"),
        ({"pos_weight": -1.0}, ValueError, "pos_weight must be"),
        ({"pos_weight": np.inf}, ValueError, "pos_weight must be"),
        ({"pos_weight": [1.0, 2.0]}, ValueError, r"pos_weight must be a number or have the shape \(5,\)"),
        ({"pos_weight": [1.0, 2.0, 0.0, 1.0, 1.0]}, ValueError, "pos_weight must be positive"),
        ({"pos_weight": "Balanced"}, ValueError, "pos_weight must be"),
        ({"label_smoothing": 1.0}, ValueError, "label_smoothing must be"),
        ({"threshold": 1.5}, ValueError, "threshold must be"),
        ({"threshold": None}, TypeError, "threshold must be a number"),
        ({"pos_weight": {0: 2.0}}, TypeError, "pos_weight must be a number.*dict"),
        ({"threshold": [0.5]}, ValueError, r"threshold must be a number or have the shape \(5,\)"),
        ({"threshold": [0.5, 0.5, 0.5, 0.5, np.nan]}, ValueError, "threshold must lie"),
        ({"prior_correction": 1}, TypeError, "prior_correction must be"),
        ({"fit_intercept": "yes"}, TypeError, "fit_intercept must be"),
        ({"tol": 0}, ValueError, "tol must be"),
        ({"max_iter": 0}, ValueError, "max_iter must be"),
        ({"warm_start": None}, TypeError, "warm_start must be"),
    ],
    ids=str,
)
def test_bad_parameters_are_an_error_that_names_them(parameters, error, message):
    X, Y, _ = problem()
    model = SigmoidMultiLabel(**parameters)
    with pytest.raises(error, match=message):
        model.fit(X, Y)
    assert not hasattr(model, "coef_")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.full((300, 5), -1.0), "must not be negative"),
        (np.full((300, 5), np.nan), "NaN"),
        (np.zeros((300, 5)), "zero for every row"),
        (np.ones((300, 4)), r"must have the shape \(300,\) or \(300, 5\): one weight per row or per entry"),
        (np.ones(299), r"must have the shape \(300,\) or \(300, 5\): one weight per row or per entry"),
    ],
)
def test_bad_weights_are_an_error(weights, message):
    X, Y, _ = problem()
    with pytest.raises(ValueError, match=message):
        SigmoidMultiLabel().fit(X, Y, weights)


def test_thresholds_per_label_decide_and_may_be_changed_after_the_fit():
    X, Y, _ = problem()
    model = SigmoidMultiLabel().fit(X, Y)
    probabilities = model.predict_proba(X)
    assert_array_equal(model.predict(X), probabilities >= 0.5)
    thresholds = np.array([0.1, 0.2, 0.5, 0.9, 1.0])
    assert_array_equal(model.set_params(threshold=thresholds).predict(X), probabilities >= thresholds)
    model.set_params(threshold=0.0)
    assert model.predict(X).all()
    with pytest.raises(ValueError, match="threshold must"):
        model.set_params(threshold=2.0).predict(X)


def test_probabilities_come_from_the_logits_and_rows_need_not_sum_to_one():
    X, Y, _ = problem()
    model = SigmoidMultiLabel().fit(X, Y)
    logits = model.decision_function(X)
    assert_allclose(logits, X @ model.coef_.T + model.intercept_, rtol=1e-10, atol=1e-10)
    assert_array_equal(model.predict_proba(X), sigmoid(logits))
    assert_array_equal(model.predict_log_proba(X), log_sigmoid(logits))
    assert np.ptp(model.predict_proba(X).sum(axis=1)) > 0.5


def test_two_classes_in_one_dimension_are_one_sigmoid():
    X, y = load_iris(return_X_y=True)
    X, names = X[y > 0], np.array(["no", "yes"])[(y[y > 0] == 2).astype(int)]
    model, other = SigmoidMultiLabel().fit(X, names), SoftmaxRegression().fit(X, names)
    assert_array_equal(model.classes_, ["no", "yes"])
    for name in ("coef_", "intercept_", "loss_"):
        assert_allclose(getattr(model, name), getattr(other, name), rtol=1e-9)
    for method in ("decision_function", "predict_proba", "predict_log_proba"):
        assert_allclose(getattr(model, method)(X), getattr(other, method)(X), rtol=1e-7, atol=1e-10)
    assert_array_equal(model.predict(X), other.predict(X))
    assert np.sum(model.set_params(threshold=0.9).predict(X) == "yes") < np.sum(other.predict(X) == "yes")
    assert model.set_params(threshold=0.5).score(X, names) == other.score(X, names)


def test_several_classes_in_one_dimension_are_sigmoids_made_to_sum_to_one_with_a_warning():
    X, y = load_iris(return_X_y=True)
    names = np.array(["a", "b", "c"])[y]
    with pytest.warns(UserWarning, match="exclude each other.*SoftmaxRegression"):
        model = SigmoidMultiLabel().fit(X, names)
    p = sigmoid(model.decision_function(X))
    assert_allclose(model.predict_proba(X), p / p.sum(axis=1, keepdims=True), rtol=1e-12)
    assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X), rtol=1e-12)
    assert_array_equal(model.predict(X), model.classes_[p.argmax(axis=1)])
    for label in range(3):
        assert_same(model, label, peer(X, y == label))


def test_a_single_column_of_0_and_1_is_an_indicator():
    X, Y, _ = problem()
    model = SigmoidMultiLabel().fit(X, Y[:, :1])
    assert model.predict(X).shape == (300, 1)
    assert model.predict_proba(X).shape == (300, 1)
    assert isinstance(model.classes_, list)


def test_score_is_the_fraction_of_rows_with_all_known_labels_correct():
    X, Y, rng = problem()
    model = SigmoidMultiLabel().fit(X, Y)
    right = model.predict(X) == Y
    weights = rng.random(300)
    assert_allclose(model.score(X, Y), right.all(axis=1).mean(), rtol=1e-14)
    assert_allclose(model.score(X, Y, weights), np.average(right.all(axis=1), weights=weights), rtol=1e-14)
    y = Y.astype(float)
    y[~right] = np.nan
    assert model.score(X, y) == 1
    y[0] = np.nan  # no known label
    y[1], y[1, 0] = np.nan, 1 - model.predict(X)[1, 0]
    known = ~np.isnan(y).all(axis=1)
    assert_allclose(model.score(X, y), 1 - 1 / known.sum(), rtol=1e-14)
    with pytest.raises(ValueError, match="no row of positive weight with a known label"):
        model.score(X, np.full(Y.shape, np.nan))
    with pytest.raises(
        ValueError, match=r"one weight per row for the subset accuracy, got 2 dimensions.*neg_multilabel_log_loss"
    ):
        model.score(X, Y, np.ones(Y.shape))
    frame = pd.DataFrame(Y, columns=list("abcde"))
    assert model.fit(X, frame).score(X, frame) > 0
    with pytest.raises(ValueError, match="must have the columns"):
        model.score(X, frame[list("edcba")])
    model.fit(X, sparse.csr_array(Y))
    assert_allclose(model.score(X, sparse.csr_array(Y)), right.all(axis=1).mean(), rtol=1e-14)
    with pytest.raises(ValueError, match="soft labels"):
        model.score(X, 0.5 * Y)
    with pytest.raises(ValueError, match="a column for each of the 5 labels"):
        model.score(X, Y[:, :2])


@pytest.mark.parametrize("C", [1e-2, 1.0, 100.0, np.inf])
@pytest.mark.parametrize("strategy_name", ["newton", "problems", "shared", "diagonal"])
def test_the_certified_gaps_are_bounds_wherever_the_fit_stops(C, strategy_name, monkeypatch):
    X, Y, rng = problem(seed=3)
    Y = np.where(rng.random(Y.shape) < 0.1, np.nan, Y)
    weights = rng.random(Y.shape) * np.array([1, 1e3, 1e-3, 1, 1])

    def losses(model):
        z = X @ model.coef_.T + model.intercept_
        entries = sigmoid_cross_entropy(z, Y, sample_weight=weights, pos_weight=2.0, reduction="none")
        return np.nansum(entries, axis=0) + np.sum(model.coef_**2, axis=1) / (2 * C)

    closest = SigmoidMultiLabel(C=C, pos_weight=2.0, tol=1e-12).fit(X, Y, weights)
    assert closest.converged_
    best = losses(closest)
    number = {"newton": 0, "problems": 1, "shared": 3, "diagonal": 5}[strategy_name]
    monkeypatch.setattr(strategy, "_FOR_SEVERAL_PROBLEMS", [strategy._FOR_SEVERAL_PROBLEMS[number]])
    finite = 0
    for max_iter in (1, 2, 3, 5, 8, 10, 13, 20, 30, 80):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = SigmoidMultiLabel(C=C, pos_weight=2.0, max_iter=max_iter).fit(X, Y, weights)
        now = losses(model)
        assert np.all((now - best) / now <= model.label_optimality_gaps_ + 1e-13)
        assert model.optimality_gap_ == model.label_optimality_gaps_.max()
        assert model.converged_ == (model.optimality_gap_ <= model.tol)
        assert model.n_iter_ <= max_iter
        finite += np.isfinite(model.label_optimality_gaps_).sum()
    assert finite >= (10 if strategy_name in ("shared", "diagonal") and C == np.inf else 15)


def test_labels_that_have_converged_stop_costing(monkeypatch):
    X, Y, _ = problem(n_labels=8)
    Y[:, 5] = X[:, 0] > np.median(X[:, 0])  # separated by one column, so that it takes longer than the others
    seen = []
    from skactivation.linear_model._objective import LinearObjective

    original = LinearObjective.value_and_gradient

    def value_and_gradient(self, theta, **options):
        seen.append(self.shape[0])
        return original(self, theta, **options)

    monkeypatch.setattr(LinearObjective, "value_and_gradient", value_and_gradient)
    model = SigmoidMultiLabel(C=1e4).fit(X, Y)
    assert model.converged_
    assert seen[0] == 8
    assert seen[-1] < 8


def test_labels_fitted_in_groups_are_the_same_as_together(monkeypatch):
    X, Y, _ = problem()
    together = SigmoidMultiLabel().fit(X, Y)
    monkeypatch.setattr(strategy, "_MOST_ELEMENTS", 2 * 7**2)
    monkeypatch.setattr(strategy, "_FEWEST_PROBLEMS", 1)
    groups = SigmoidMultiLabel().fit(X, Y)
    assert_allclose(groups.coef_, together.coef_, rtol=1e-9)
    assert_allclose(groups.loss_, together.loss_, rtol=1e-12)
    assert_allclose(groups.loss_curve_[[0, -1]], together.loss_curve_[[0, -1]], rtol=1e-12)
    assert groups.loss_curve_.size == groups.n_iter_ + 1
    assert groups.n_evaluations_ > together.n_evaluations_


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weighted", [False, True])
def test_samples_and_float32_save_work_and_change_no_result(seed, weighted, monkeypatch):
    X, Y, rng = problem(n_rows=4000, n_labels=9, seed=seed)
    weights = rng.random(4000) if weighted else None
    Y[:, 0] = rng.random(4000) < 0.003  # rare
    plain = SigmoidMultiLabel(tol=1e-9).fit(X, Y, weights)
    monkeypatch.setattr(_initial_guess, "_LEAST_SAMPLE", 400)
    monkeypatch.setattr(strategy, "_LEAST_SAMPLE_OF_ONE_LOGIT", 400)
    monkeypatch.setattr(dense, "_SINGLE_PRECISION_WORK", 0)
    monkeypatch.setattr(dense, "_KEPT_SIZE", 0)
    monkeypatch.setattr(strategy, "_FOR_SEVERAL_PROBLEMS", [strategy._SAMPLED_FOR_SEVERAL])
    quick = SigmoidMultiLabel(tol=1e-9).fit(X, Y, weights)
    assert quick.converged_
    assert quick.loss_curve_[0] < plain.loss_curve_[0]
    assert_allclose(quick.coef_, plain.coef_, rtol=1e-6, atol=1e-9)


def test_correlated_columns_in_float32_take_no_more_work(monkeypatch):
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(3000, 1))
    X = factor + 0.01 * rng.normal(size=(3000, 10))
    Y = (rng.random((3000, 6)) < sigmoid(factor + rng.normal(size=(3000, 6)))).astype(int)
    plain = SigmoidMultiLabel(C=1e4, tol=1e-8).fit(X, Y)
    monkeypatch.setattr(dense, "_SINGLE_PRECISION_WORK", 0)
    single = SigmoidMultiLabel(C=1e4, tol=1e-8).fit(X, Y)
    assert single.converged_
    assert single.n_evaluations_ <= plain.n_evaluations_ + 8
    assert_allclose(single.coef_, plain.coef_, rtol=1e-5, atol=1e-6 * np.abs(plain.coef_).max())


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_constant_and_offset_columns_are_no_trap_in_float32(offset, monkeypatch):
    X, Y, _ = problem()
    X = np.column_stack([StandardScaler().fit_transform(X) + offset, np.full(300, 0.1)])
    expected = SigmoidMultiLabel(C=np.inf).fit(X, Y)
    monkeypatch.setattr(dense, "_SINGLE_PRECISION_WORK", 0)
    model = SigmoidMultiLabel(C=np.inf).fit(X, Y)
    assert_array_equal(model.coef_[:, -1], 0)
    assert_allclose(model.coef_, expected.coef_, rtol=1e-7, atol=1e-9)


def test_the_loss_of_a_separated_label_is_computed_in_double_precision(monkeypatch):
    X, Y, _ = problem()
    X = StandardScaler().fit_transform(X)
    Y[:, 2] = X[:, 0] > 0
    monkeypatch.setattr(dense, "_SINGLE_PRECISION_WORK", 0)
    with pytest.warns(ConvergenceWarning, match="no finite optimum exists"):
        model = SigmoidMultiLabel(C=np.inf).fit(X, Y)
    z = X @ model.coef_.T + model.intercept_
    assert_allclose(model.loss_, sigmoid_cross_entropy(z, Y, reduction="sum"), rtol=1e-10)


@pytest.mark.parametrize("C", [1.0, np.inf])
def test_labels_are_certified_one_by_one_if_memory_is_short(C, monkeypatch):
    X, Y, _ = problem()
    expected = SigmoidMultiLabel(C=C).fit(X, Y)
    monkeypatch.setattr(strategy, "_MOST_ELEMENTS", 7**2)
    model = SigmoidMultiLabel(C=C).fit(X, Y)
    assert model.converged_
    assert_allclose(model.coef_, expected.coef_, rtol=1e-3, atol=1e-4 * np.abs(expected.coef_).max())
    # A cheap preconditioner that stalls is replaced by the Hessian, for as many labels at a time as memory allows.
    monkeypatch.setattr(solver, "_PATIENCE", 0)
    monkeypatch.setattr(strategy, "_FOR_SEVERAL_PROBLEMS", [strategy._MEAN_BLOCK])
    model = SigmoidMultiLabel(C=C).fit(X, Y)
    assert model.converged_
    assert_allclose(model.coef_, expected.coef_, rtol=1e-7, atol=1e-9)


def test_a_separated_label_is_named_where_nothing_holds_its_coefficients():
    X, Y, _ = problem()
    Y[:, 2] = X[:, 0] > np.median(X[:, 0])
    frame = pd.DataFrame(Y, columns=list("abcde"))
    with pytest.warns(ConvergenceWarning, match=r"label 'c' of 5.*no finite optimum exists.*label 'c'"):
        model = SigmoidMultiLabel(C=np.inf).fit(X, frame)
    assert not model.converged_
    others = model.label_optimality_gaps_ <= model.tol
    assert_array_equal(others, [True, True, False, True, True])


def test_float32_stays_float32():
    X, Y, _ = problem()
    X = StandardScaler().fit_transform(X).astype(np.float32)
    model = SigmoidMultiLabel().fit(X, Y)
    assert model.coef_.dtype == model.intercept_.dtype == model.predict_proba(X).dtype == np.float32
    assert_allclose(model.coef_, SigmoidMultiLabel().fit(X.astype(np.float64), Y).coef_, rtol=1e-4, atol=1e-5)


def test_a_warm_start_needs_fewer_evaluations_and_ends_at_the_same_optimum():
    X, Y, _ = problem()
    cold = SigmoidMultiLabel().fit(X, Y)
    model = SigmoidMultiLabel(C=0.9, warm_start=True).fit(X, Y)
    model.set_params(C=1.0).fit(X, Y)
    assert model.n_evaluations_ < cold.n_evaluations_
    assert_allclose(model.coef_, cold.coef_, rtol=1e-6)
    # With other labels, the previous coefficients are not used.
    assert_allclose(model.fit(X, Y[:, :3]).coef_, cold.coef_[:3], rtol=1e-6)


def test_permutations_of_rows_columns_and_labels_permute_the_coefficients():
    X, Y, rng = problem()
    model = SigmoidMultiLabel().fit(X, Y)
    rows, columns, labels = rng.permutation(300), rng.permutation(6), rng.permutation(5)
    other = SigmoidMultiLabel().fit(X[rows][:, columns], Y[rows][:, labels])
    assert_allclose(other.coef_, model.coef_[labels][:, columns], rtol=1e-8)


def test_memory_does_not_grow_with_rows_times_labels_times_eight_bytes():
    import tracemalloc

    rng = np.random.default_rng(0)
    X = rng.normal(size=(40_000, 5))
    Y = rng.random((40_000, 60)) < 0.2
    SigmoidMultiLabel(max_iter=1).set_params(tol=1.0).fit(X, Y)
    tracemalloc.start()
    SigmoidMultiLabel().fit(X, Y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # One byte per entry, a temporary copy, 64 bytes per row and a constant.
    assert peak < 2 * Y.size + 64 * len(X) + 70e6


def test_two_hundred_rare_labels_are_all_certified():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 4))
    Y = (rng.random((1000, 200)) < 0.01).astype(int)
    Y[:3] = 1
    Y[3:6] = 0
    model = SigmoidMultiLabel().fit(X, Y)
    assert model.converged_
    for label in (0, 77, 199):
        assert_same(model, label, peer(X, Y[:, label]))


def test_make_multilabel_classification_is_learned():
    X, Y = make_multilabel_classification(500, 20, n_classes=4, random_state=0)
    model = SigmoidMultiLabel().fit(X, Y)
    assert np.mean(model.predict(X) == Y) > 0.8


@pytest.mark.parametrize("seed", range(12))
def test_certificates_from_a_sample_of_rows_hold(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    n_labels = int(rng.integers(2, 7))
    X = rng.normal(size=(1500, 6)) * 10.0 ** rng.uniform(-2, 2, size=6) + rng.normal(size=6) * 10
    logits = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=(6, n_labels)) * rng.choice([0.3, 1, 4])
    Y = (rng.logistic(size=logits.shape) < logits - rng.choice([0, 4], size=n_labels)).astype(int)
    weights = rng.choice([None, 1]) and rng.exponential(size=1500) ** 3
    settings = {"C": 10.0 ** rng.uniform(-3, 3), "tol": 10.0 ** rng.uniform(-9, -3)}
    best = SigmoidMultiLabel(C=settings["C"], tol=1e-13).fit(X, Y, weights)
    monkeypatch.setattr(strategy, "_LEAST_SAMPLE_OF_ONE_LOGIT", 150)
    strategy.cheapest_strategy.cache_clear()
    monkeypatch.setattr(strategy, "_FOR_SEVERAL_PROBLEMS", [strategy._SAMPLED_FOR_SEVERAL])
    made = []
    original = solver.precondition
    monkeypatch.setattr(
        solver, "precondition", lambda *args, **named: made.append(original(*args, **named)) or made[-1]
    )
    model = SigmoidMultiLabel(**settings).fit(X, Y, weights)
    assert any(preconditioner.share < 1 for preconditioner in made)
    assert model.converged_
    assert np.all(model.label_optimality_gaps_ <= settings["tol"])
    assert model.loss_ - best.loss_ <= model.label_optimality_gaps_.max() * model.loss_


def test_thresholds_by_label_name():
    X = np.random.default_rng(0).normal(size=(60, 2))
    frame = pd.DataFrame(X > 0, columns=["a", "b"]).astype(int)
    model = SigmoidMultiLabel(threshold={"b": 0.9}).fit(X, frame)
    p = model.predict_proba(X)
    assert_array_equal(model.predict(X), (p >= [0.5, 0.9]).astype(int))
    with pytest.raises(ValueError, match=r"threshold has the label 'c', but the labels are \['a', 'b'\]"):
        model.set_params(threshold={"c": 0.9}).predict(X)
    with pytest.raises(ValueError, match=r"threshold\['b'\] must be a number in \[0, 1\], got 2"):
        SigmoidMultiLabel(threshold={"b": 2}).fit(X, frame)
