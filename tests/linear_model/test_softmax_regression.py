"""The optimum: reference values, equivalences and certificates."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from longhand import softmax_regression_objective
from skactivation import SoftmaxRegression
from skactivation._data import dense
from skactivation._data import sparse as sparse_rows
from skactivation._optimize import strategy
from skactivation.activations import log_softmax, softmax

OPTIMAL_OBJECTIVES = {
    load_digits: 17.03235218,
    load_wine: 11.07795814,
    load_breast_cancer: 53.79461123,
    load_iris: 28.886316604092496,
}


def small_problem(n_classes=3, n_rows=120, n_features=5, seed=0):
    """Rows on different scales, classes that overlap, weights that differ."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features)) * np.logspace(-2, 2, n_features) + np.linspace(-5, 5, n_features)
    z = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(size=(n_features, n_classes))
    y = (z + rng.gumbel(size=z.shape) * 2).argmax(axis=1)
    return X, y, rng.integers(1, 4, size=n_rows)


def both(model):
    return np.hstack([model.coef_, model.intercept_[:, np.newaxis]])


@pytest.mark.parametrize("load", OPTIMAL_OBJECTIVES, ids=lambda load: load.__name__)
def test_default_settings_reach_the_known_optimum_of_raw_data_without_a_warning(load):
    model = SoftmaxRegression().fit(*load(return_X_y=True))
    assert_allclose(model.loss_, OPTIMAL_OBJECTIVES[load], rtol=1e-8)
    assert model.converged_
    assert model.optimality_gap_ < (1e-6 if load is load_digits else 1e-12)
    assert model.n_evaluations_ <= 41


def test_standardised_digits_reach_the_known_optimum():
    X, y = load_digits(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    assert_allclose(SoftmaxRegression().fit(X, y).loss_, 113.47995478, rtol=1e-8)
    assert_allclose(SoftmaxRegression(tol=1e-8).fit(X, y).loss_, 113.47995478, rtol=1e-10)


def test_iris_has_the_reference_coefficients():
    model = SoftmaxRegression().fit(*load_iris(return_X_y=True))
    expected = [
        [-0.423509920122713, 0.967350579571554, -2.517152377609209, -1.079336648500719, 9.849568050482132],
        [0.534461508995924, -0.321587855191933, -0.206392071294869, -0.944298465396338, 2.237205632203197],
        [-0.110951588873211, -0.645762724379621, 2.723544448904078, 2.023635113897057, -12.086773682685328],
    ]
    assert_allclose(both(model), expected, rtol=1e-10)


def test_two_classes_without_penalty_have_the_reference_coefficients():
    X, y = load_iris(return_X_y=True)
    model = SoftmaxRegression(C=np.inf).fit(X[y > 0], y[y > 0])
    expected = [[-2.465220195186664, -6.680887014078549, 9.429385153926642, 18.286136887850986, -42.63780381302199]]
    assert_allclose(both(model), expected, rtol=1e-9)
    assert_allclose(2 * model.loss_, 11.898546791358841, rtol=1e-12)
    assert model.converged_


def test_nine_points_have_the_reference_coefficients():
    X = np.column_stack([np.arange(-4.0, 5), [0, 0, 1, 0, 1, 1, 1, 0, 0]])
    two = SoftmaxRegression(C=1 / 9).fit(X, [0, 0, 0, 1, 1, 1, 1, 1, 1])
    # Published to 10 digits.
    assert_allclose(both(two), [[0.44464569182, 0.01457563448, 0.89230405539]], rtol=1e-5)
    three = SoftmaxRegression(C=1 / 9).fit(X, [0, 0, 0, 1, 1, 1, 2, 2, 2])
    expected = [
        [-0.3802338592573101, -0.01226501627796509, -0.1200475744754988],
        [-8.164807038941348e-05, 0.04734548711479208, 0.2251747130933159],
        [0.3803155073276995, -0.03508047083682699, -0.1051271386178171],
    ]
    assert_allclose(both(three), expected, rtol=1e-9)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", [1e-3, 1.0, 1e4])
def test_coefficients_are_those_of_logistic_regression(n_classes, fit_intercept, C):
    X, y, weights = small_problem(n_classes)
    X = StandardScaler().fit_transform(X)
    ours = SoftmaxRegression(C=C, fit_intercept=fit_intercept).fit(X, y, weights)
    peer = LogisticRegression(C=C, fit_intercept=fit_intercept, solver="newton-cg", tol=1e-12, max_iter=10_000)
    with warnings.catch_warnings():
        # Its line search fails if the loss is flat to machine precision.
        warnings.simplefilter("ignore")
        peer.fit(X, y, weights)
    assert_allclose(ours.coef_, peer.coef_, rtol=1e-6, atol=1e-7 * np.abs(peer.coef_).max())
    assert_allclose(ours.intercept_, peer.intercept_, rtol=1e-6, atol=1e-7)
    assert ours.coef_.shape == peer.coef_.shape
    assert ours.intercept_.shape == peer.intercept_.shape
    assert ours.decision_function(X).shape == peer.decision_function(X).shape
    assert_allclose(ours.predict_proba(X), peer.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_loss_and_gradient_are_those_of_the_stated_objective(n_classes):
    X, y, weights = small_problem(n_classes)
    model = SoftmaxRegression(C=0.3, label_smoothing=0.1, max_iter=1)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y, weights)
    coef, intercept = model.coef_, model.intercept_
    if n_classes == 2:
        coef, intercept = np.vstack([np.zeros_like(coef), coef]), np.append(0.0, intercept)
    targets = 0.9 * np.eye(n_classes)[y] + 0.1 / n_classes
    value, gradient = softmax_regression_objective(coef, intercept, X, targets, weights, model.coef_, 0.3)
    assert_allclose(model.loss_, value, rtol=1e-12)
    assert_allclose(model.loss_curve_[-1], model.loss_, rtol=0)
    assert model.loss_curve_.size == model.n_iter_ + 1
    assert_allclose(model.gradient_norm_, np.linalg.norm(gradient if n_classes > 2 else gradient[1]), rtol=1e-8)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("C", [1e-2, 1.0, 100.0])
@pytest.mark.parametrize("whole_hessian", [True, False])
def test_the_certified_gap_is_a_bound_wherever_the_fit_stops(n_classes, C, whole_hessian, monkeypatch):
    X, y, weights = small_problem(n_classes, seed=3)
    best = SoftmaxRegression(C=C).fit(X, y, weights).loss_
    if not whole_hessian:
        monkeypatch.setattr(strategy, "_WHOLE_HESSIAN", 0)
    finite = 0
    for max_iter in (1, 2, 3, 5, 8, 9, 10, 12, 15, 20, 30, 50, 80):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = SoftmaxRegression(C=C, max_iter=max_iter).fit(X, y, weights)
        true_gap = (model.loss_ - best) / model.loss_
        assert true_gap <= model.optimality_gap_ + 1e-14
        assert model.converged_ == (model.optimality_gap_ <= model.tol)
        finite += np.isfinite(model.optimality_gap_)
    assert finite >= 3


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("C", [1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("whole_hessian", [True, False])
def test_the_certified_gap_is_a_bound_with_rare_classes_and_a_strong_penalty(n_classes, C, whole_hessian, monkeypatch):
    # Strong convexity in the coefficients does not bound the effect of intercepts far from their optimum.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = np.zeros(300, dtype=int)
    y[: 3 * (n_classes - 1)] = np.arange(3 * (n_classes - 1)) % (n_classes - 1) + 1
    weights = np.full(300, 1e3)
    best = SoftmaxRegression(C=C).fit(X, y, weights)
    assert best.gradient_norm_ < 1e-7
    if not whole_hessian:
        monkeypatch.setattr(strategy, "_WHOLE_HESSIAN", 0)
    for max_iter in (1, 2, 4, 8, 1000):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = SoftmaxRegression(C=C, max_iter=max_iter).fit(X, y, weights)
        assert (model.loss_ - best.loss_) / model.loss_ <= model.optimality_gap_ + 1e-14
    assert model.converged_


def test_the_gap_without_a_penalty_is_a_bound():
    X, y, weights = small_problem(3, seed=4)
    best = SoftmaxRegression(C=np.inf).fit(X, y, weights)
    assert best.converged_
    start = SoftmaxRegression(C=np.inf, tol=1e-2).fit(X, y, weights)
    assert (start.loss_ - best.loss_) / start.loss_ <= start.optimality_gap_ <= 1e-2


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_diagonal_preconditioner_reaches_the_same_optimum(n_classes, monkeypatch):
    X, y, weights = small_problem(n_classes)
    whole = SoftmaxRegression().fit(X, y, weights)
    monkeypatch.setattr(strategy, "_WHOLE_HESSIAN", 0)
    diagonal = SoftmaxRegression(tol=1e-10).fit(X, y, weights)
    assert diagonal.converged_
    assert_allclose(diagonal.coef_, whole.coef_, rtol=1e-4, atol=1e-4 * np.abs(whole.coef_).max())
    assert_allclose(diagonal.loss_, whole.loss_, rtol=1e-10)


def test_soft_one_hot_targets_give_the_coefficients_of_labels():
    for n_classes in (2, 3):
        X, y, weights = small_problem(n_classes)
        hard = SoftmaxRegression().fit(X, y, weights)
        soft = SoftmaxRegression().fit(X, np.eye(n_classes)[y], weights)
        assert_allclose(both(soft), both(hard), rtol=1e-8)
        assert_array_equal(soft.classes_, np.arange(n_classes))


def test_soft_targets_are_weighted_labels():
    for n_classes in (2, 3):
        X, _, _ = small_problem(n_classes)
        targets = np.random.default_rng(1).dirichlet(np.ones(n_classes), size=len(X))
        soft = SoftmaxRegression().fit(X, targets)
        copies = [np.full(len(X), k) for k in range(n_classes)]
        weighted = SoftmaxRegression().fit(
            np.vstack([X] * n_classes), np.concatenate(copies), sample_weight=targets.T.ravel()
        )
        assert_allclose(both(soft), both(weighted), rtol=1e-8)


def test_label_smoothing_is_a_soft_target():
    for n_classes in (2, 3):
        X, y, _ = small_problem(n_classes)
        smoothed = SoftmaxRegression(label_smoothing=0.2).fit(X, y)
        soft = SoftmaxRegression().fit(X, 0.8 * np.eye(n_classes)[y] + 0.2 / n_classes)
        assert_allclose(both(smoothed), both(soft), rtol=1e-8)


def equivalent_fits():
    X, y, weights = small_problem(3)
    columns = np.array([3, 0, 4, 1, 2])
    order = np.random.default_rng(2).permutation(len(X))
    base = SoftmaxRegression().fit(X, y, weights)
    zero = np.append(weights, [0, 0])

    def fit(X, y, weights=None, **parameters):
        return both(SoftmaxRegression(**parameters).fit(X, y, weights))

    yield "repeats", fit(np.repeat(X, weights, axis=0), np.repeat(y, weights)), both(base)
    yield "zero weight", fit(np.vstack([X, X[:2] + 9]), np.append(y, [0, 1]), zero), both(base)
    yield "rows permuted", fit(X[order], y[order], weights[order]), both(base)
    yield "columns permuted", fit(X[:, columns], y, weights), both(base)[:, [*columns, 5]]
    yield "CSR", fit(sparse.csr_array(X), y, weights), both(base)
    yield "CSC", fit(sparse.csc_array(X), y, weights), both(base)
    yield "Fortran order", fit(np.asfortranarray(X), y, weights), both(base)
    yield "weights times 1e300", fit(X, y, weights * 1e300, C=1e-300), both(base)
    yield "weights times 1e-300", fit(X, y, weights * 1e-300, C=1e300), both(base)
    yield "one weight for all", fit(X, y, np.full(len(X), 1.0)), fit(X, y)
    yield "class weights", fit(X, y, class_weight={0: 2.0, 2: 0.5}), fit(X, y, np.array([2.0, 1.0, 0.5])[y])
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=np.repeat(y, weights))
    yield "balanced", fit(X, y, weights, class_weight="balanced"), fit(X, y, weights * balanced[y])


@pytest.mark.parametrize(("name", "coefficients", "expected"), list(equivalent_fits()), ids=lambda v: str(v)[:20])
def test_equivalent_data_give_equal_coefficients(name, coefficients, expected):
    assert_allclose(coefficients, expected, rtol=1e-8)


@pytest.mark.parametrize("outlier", [1e6, 1e100, 1e200, 1.7e308])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("C", [1.0, np.inf])
def test_a_row_of_weight_zero_is_ignored_even_if_it_is_an_outlier(outlier, form, C):
    X, y = load_iris(return_X_y=True)
    X, y = X[y > 0], y[y > 0]
    base = SoftmaxRegression(C=C).fit(X, y)
    with_row = form(np.vstack([X, np.full((1, 4), outlier)]))
    model = SoftmaxRegression(C=C).fit(with_row, np.append(y, 1), np.append(np.ones(len(y)), 0.0))
    assert model.converged_
    assert_allclose(both(model), both(base), rtol=1e-8)


def test_an_offset_of_the_columns_moves_only_the_intercept():
    X, y = load_iris(return_X_y=True)
    base = SoftmaxRegression().fit(X, y)
    # The shifted columns hold the same numbers, up to a rounding of 1e-8.
    moved = SoftmaxRegression().fit(X + 1e8, y)
    exact = SoftmaxRegression().fit((X + 1e8) - 1e8, y)
    assert_allclose(moved.coef_, exact.coef_, rtol=1e-8)
    assert_allclose(moved.coef_, base.coef_, rtol=1e-5)
    assert_array_equal(moved.predict(X + 1e8), base.predict(X))


@pytest.mark.parametrize("scale", [1e10, 1e-10, [1e10, 1, 1, 1], [1, 1e-10, 1, 1]], ids=str)
def test_columns_in_any_units_reach_the_optimum_of_their_penalty(scale):
    X, y = load_iris(return_X_y=True)
    model = SoftmaxRegression(C=1e-2).fit(X * scale, y)
    assert model.converged_
    # Scaling the columns changes the penalty, so the longhand gradient for the scaled columns must vanish.
    _, gradient = softmax_regression_objective(
        model.coef_, model.intercept_, X * scale, np.eye(3)[y], np.ones(len(y)), model.coef_, 1e-2
    )
    size = np.abs(np.hstack([X * scale, np.ones((len(y), 1))])).sum(axis=0)
    assert np.all(np.abs(gradient) <= 1e-10 * size)


def test_scaling_columns_changes_nothing_without_a_penalty():
    X, y, weights = small_problem(3)
    base = SoftmaxRegression(C=np.inf).fit(X, y, weights)
    scale = np.array([1e10, 1e-10, 3.0, 1e5, 1e-3])
    scaled = SoftmaxRegression(C=np.inf).fit(X * scale, y, weights)
    assert_allclose(scaled.coef_ * scale, base.coef_, rtol=1e-8)
    assert_allclose(scaled.intercept_, base.intercept_, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("exponent", [-290, -150, 150, 200, 290])
def test_huge_and_tiny_numbers_are_fitted(exponent):
    X, y, _ = small_problem(3)
    # With columns of such sizes, the penalty is negligible or dominates.
    base = SoftmaxRegression(C=np.inf if exponent > 0 else 1e-300).fit(X, y)
    scale = 10.0**exponent
    model = SoftmaxRegression().fit(X * scale, y)
    assert_allclose(model.coef_ * scale, base.coef_, rtol=1e-8, atol=1e-290)
    assert_allclose(model.intercept_, base.intercept_, rtol=1e-8)


def test_any_block_size_gives_the_same_fit(monkeypatch):
    X, y, weights = small_problem(4, n_rows=700)
    base = SoftmaxRegression().fit(X, y, weights)
    monkeypatch.setattr(dense, "_BLOCK_SIZE", 1)
    many = SoftmaxRegression().fit(X, y, weights)
    assert_allclose(many.loss_, base.loss_, rtol=1e-12)
    assert_allclose(both(many), both(base), rtol=1e-9)
    monkeypatch.setattr(sparse_rows, "_BLOCK_ROWS", 100)
    for form in (sparse.csr_array, sparse.csc_array):
        assert_allclose(both(SoftmaxRegression().fit(form(X), y, weights)), both(base), rtol=1e-8)


def test_duplicated_columns_get_equal_coefficients():
    X, y, _ = small_problem(3)
    model = SoftmaxRegression().fit(np.hstack([X, X]), y)
    assert_allclose(model.coef_[:, :5], model.coef_[:, 5:], rtol=1e-8)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_dependent_columns_without_a_penalty_leave_the_certificate_alone(n_classes):
    X, y, weights = small_problem(n_classes)
    group = np.eye(3)[np.arange(len(X)) % 3]
    base = SoftmaxRegression(C=np.inf).fit(np.hstack([X, group[:, 1:]]), y, weights)
    # The three indicators sum to the intercept's column; the last column is a sum, the one before it a duplicate.
    dependent = np.hstack([X, group, X[:, :1], X[:, 1:2] + 2 * X[:, 2:3]])
    model = SoftmaxRegression(C=np.inf).fit(dependent, y, weights)
    assert model.converged_
    assert_allclose(model.loss_, base.loss_, rtol=1e-12)
    assert_allclose(model.coef_[:, 0], model.coef_[:, 8], rtol=1e-8)
    assert_allclose(model.predict_proba(dependent), base.predict_proba(np.hstack([X, group[:, 1:]])), atol=1e-9)


def test_a_constant_column_gets_no_coefficient():
    X, y, _ = small_problem(3)
    base = SoftmaxRegression().fit(X, y)
    model = SoftmaxRegression().fit(np.hstack([X, np.full((len(X), 1), 1e8 + 0.1)]), y)
    assert_allclose(model.coef_[:, :5], base.coef_, rtol=1e-8)
    assert_array_equal(model.coef_[:, 5], 0)


def test_fewer_rows_than_columns_reach_the_optimum():
    X, y = make_classification(30, 200, n_informative=10, n_classes=3, random_state=0)
    model = SoftmaxRegression().fit(X, y)
    assert model.converged_
    assert model.score(X, y) == 1


def test_the_strongest_penalty_leaves_the_log_priors():
    X, y, weights = small_problem(3)
    model = SoftmaxRegression(C=1e-300).fit(X, y, weights)
    priors = np.bincount(y, weights) / weights.sum()
    assert_allclose(model.intercept_, np.log(priors) - np.log(priors).mean(), rtol=1e-10)
    assert_allclose(model.coef_, 0, atol=1e-200)


def test_float32_stays_float32_and_agrees_with_float64():
    for n_classes in (2, 3):
        X, y, _ = small_problem(n_classes)
        X = X.astype(np.float32)
        single = SoftmaxRegression().fit(X, y)
        double = SoftmaxRegression().fit(X.astype(np.float64), y)
        assert single.coef_.dtype == single.intercept_.dtype == np.float32
        assert single.predict_proba(X).dtype == np.float32
        assert_allclose(single.coef_, double.coef_, rtol=1e-6)
        assert_allclose(single.predict_proba(X), double.predict_proba(X), atol=1e-5)


def test_a_warm_start_needs_fewer_evaluations_and_ends_at_the_same_optimum():
    X, y = load_wine(return_X_y=True)
    model = SoftmaxRegression(warm_start=True).fit(X, y)
    cold = SoftmaxRegression(C=1.5).fit(X, y)
    model.set_params(C=1.5).fit(X, y)
    assert model.n_evaluations_ < cold.n_evaluations_
    assert_allclose(both(model), both(cold), rtol=1e-9)
    # With other classes or features, the previous coefficients are not used.
    model.fit(X[:, :4], y)
    assert_allclose(both(model), both(SoftmaxRegression(C=1.5).fit(X[:, :4], y)), rtol=1e-9)
    other = np.array(["a", "b", "c"])[y]
    assert_allclose(both(model.fit(X[:, :4], other)), both(SoftmaxRegression(C=1.5).fit(X[:, :4], y)), rtol=1e-9)


def test_a_path_over_C_costs_less_than_separate_fits():
    X, y = load_digits(return_X_y=True)
    path = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    warm = SoftmaxRegression(warm_start=True)
    passes, evaluations = [], []
    for C in path:
        models = warm.set_params(C=C).fit(X, y), SoftmaxRegression(C=C).fit(X, y)
        passes.append([model.n_passes_ for model in models])
        evaluations.append([model.n_evaluations_ for model in models])
        assert_allclose(models[0].loss_, models[1].loss_, rtol=2e-6)
    for counts in (passes, evaluations):
        on_the_path, separate = np.sum(counts, axis=0)
        assert on_the_path < 0.9 * separate


def test_a_warm_start_that_is_worse_than_a_cold_one_is_not_used():
    X, y = load_iris(return_X_y=True)
    model = SoftmaxRegression(warm_start=True).fit(X, y)
    for scale in (1e5, 1e200):
        moved = X[:, ::-1] * scale
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warm, cold = model.fit(moved, y).loss_, SoftmaxRegression().fit(moved, y).loss_
        assert_allclose(warm, cold, rtol=1e-5)


def test_partly_separated_data_without_a_penalty_have_no_certified_optimum():
    with pytest.warns(ConvergenceWarning, match="a combination of features separates classes"):
        SoftmaxRegression(C=np.inf).fit([[-2.0], [-1], [0], [0], [1], [2]], [0, 0, 0, 1, 1, 1])


def test_nearly_no_penalty_on_separable_data_still_has_a_certified_optimum():
    rng = np.random.default_rng(0)
    y = np.arange(15) % 3
    X = np.eye(3)[y] + 0.1 * rng.normal(size=(15, 3))
    model = SoftmaxRegression(C=1e16).fit(X, y)
    assert model.converged_
    assert model.n_evaluations_ < 150


def test_probabilities_come_from_the_logits():
    X, y, _ = small_problem(3)
    model = SoftmaxRegression().fit(X, y)
    assert_allclose(model.decision_function(X), X @ model.coef_.T + model.intercept_, rtol=1e-12, atol=1e-12)
    assert_array_equal(model.predict_proba(X), softmax(model.decision_function(X)))
    assert_array_equal(model.predict_log_proba(X), log_softmax(model.decision_function(X)))
    assert_array_equal(model.predict(X), model.predict_proba(X).argmax(axis=1))
    far = X + 1e5 * model.coef_[0]
    assert np.isfinite(model.predict_log_proba(far)).all()
    assert model.predict_proba(far).min() == 0


def test_score_is_accuracy_and_expected_accuracy_for_soft_targets():
    for n_classes in (2, 3):
        X, y, weights = small_problem(n_classes)
        model = SoftmaxRegression().fit(X, y)
        predicted = model.predict(X)
        assert_allclose(model.score(X, y, weights), np.average(predicted == y, weights=weights), rtol=1e-14)
        targets = np.random.default_rng(1).dirichlet(np.ones(n_classes), size=len(X))
        expected = np.average(targets[np.arange(len(X)), predicted], weights=weights)
        assert_allclose(model.score(X, targets, weights), expected, rtol=1e-14)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_separable_data_without_a_penalty_have_no_finite_optimum(n_classes):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(n_classes), 20)
    X = rng.normal(size=(len(y), 3)) + 20 * np.eye(3)[y]
    names = np.array(["ant", "bee", "cat"])
    with pytest.warns(
        ConvergenceWarning, match="no finite optimum exists.*separate the classes 'ant', 'bee'.*completely"
    ):
        model = SoftmaxRegression(C=np.inf).fit(X, names[y])
    assert not model.converged_
    assert np.isfinite(model.coef_).all()
    assert model.score(X, names[y]) == 1


def test_a_small_sum_of_losses_is_no_separation_where_weights_are_small():
    X = np.array([[-2.0], [-1.0], [1.0], [2.0], [1.5]])
    y = [0, 0, 1, 1, 0]
    # The last row, of small weight, is misclassified if all others are classified correctly.
    model = SoftmaxRegression(C=np.inf).fit(X, y, [1, 1, 1, 1, 1e-3])
    assert model.converged_
    assert model.loss_ < np.log(2)


def test_a_row_of_weight_zero_doesnt_hide_a_separated_class():
    X, y = load_iris(return_X_y=True)
    X, y = np.vstack([X, X[100]]), np.append(y, 0)
    with pytest.warns(ConvergenceWarning, match="class 0 from the others"):
        SoftmaxRegression(C=np.inf).fit(X, y, np.append(np.ones(150), 0.0))


def test_one_separated_class_is_named():
    X, y = load_iris(return_X_y=True, as_frame=False)
    names = np.array(["setosa", "versicolor", "virginica"])
    with pytest.warns(ConvergenceWarning, match="no finite optimum exists.*class 'setosa' from"):
        SoftmaxRegression(C=np.inf).fit(X, names[y])


def test_the_certificate_is_one_for_the_coefficients_as_stored():
    X, y = load_iris(return_X_y=True)
    for offset, dtype in ((0, np.float32), (1e3, np.float32), (1e8, np.float64)):
        model = SoftmaxRegression().fit((X + offset).astype(dtype), y)
        assert model.converged_
        # The value itself is rounded.
        assert stored_gap(model, (X + offset).astype(dtype), y) <= model.optimality_gap_ + 1e-14 <= 1e-8
    for offset, dtype in ((1e5, np.float32), (1e14, np.float64)):
        with pytest.warns(ConvergenceWarning, match="rounding of the stored coefficients.*subtract their means"):
            model = SoftmaxRegression().fit((X + offset).astype(dtype), y)
        assert not model.converged_
        # At 1e14, extended precision leaves only 5 digits for the intercepts.
        assert 1e-6 < stored_gap(model, (X + offset).astype(dtype), y) <= model.optimality_gap_ * 1.001


def stored_gap(model, X, y):
    """True relative gap of the stored coefficients, in extended precision."""
    center = X.astype(np.float64).mean(axis=0)
    columns = X - center.astype(np.longdouble)
    coef = model.coef_.astype(np.longdouble)
    z = columns @ coef.T + (model.intercept_ + coef @ center)
    losses = np.log(np.exp(z - z.max(axis=1, keepdims=True)).sum(axis=1)) + z.max(axis=1) - z[np.arange(len(y)), y]
    value = losses.sum() + np.square(coef).sum() / 2
    best = SoftmaxRegression().fit(columns.astype(np.float64), y).loss_
    return float((value - best) / value)


def test_a_class_without_any_share_of_soft_targets_keeps_finite_coefficients():
    X, y, _ = small_problem(3)
    targets = np.eye(4)[y]
    with warnings.catch_warnings():
        # The infimum is not attained, so that the gap may or may not be certified.
        warnings.simplefilter("ignore", ConvergenceWarning)
        with pytest.warns(UserWarning, match=r"y is 0 in every row of positive weight for the classes \[3\]"):
            model = SoftmaxRegression().fit(X, targets)
    assert np.isfinite(both(model)).all()
    assert model.predict_proba(X)[:, 3].max() < 1e-4
    with pytest.raises(ValueError, match="at least two classes, but y holds one class"):
        SoftmaxRegression().fit(X, np.eye(4)[np.zeros_like(y)])


def test_too_few_iterations_are_no_separation():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="max_iter=3 was reached; with C=inf there may be no finite optimum"):
        SoftmaxRegression(C=np.inf, max_iter=3).fit(X[y > 0], y[y > 0])


def test_too_few_iterations_are_warned_of():
    X, y = load_wine(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match=r"max_iter=4 was reached.*optimality_gap_ .*tol=1e-06.*4 iterations"):
        model = SoftmaxRegression(max_iter=4).fit(X, y)
    assert model.n_iter_ == 4
    assert not model.converged_


def test_a_tolerance_beyond_floating_point_is_warned_of_with_what_was_reached():
    X, y = load_wine(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match=r"smaller than floating.*optimality_gap_ \d.\de-1[3-6]"):
        model = SoftmaxRegression(tol=1e-20).fit(X, y)
    assert_allclose(model.loss_, OPTIMAL_OBJECTIVES[load_wine], rtol=1e-9)


@pytest.mark.parametrize("C", [1e4, 1e6, 1e8])
def test_separable_data_and_weak_penalties_take_few_evaluations(C):
    X = np.random.default_rng(0).normal(size=(20_000, 5))
    model = SoftmaxRegression(C=C).fit(X, (X[:, 0] > 0).astype(int))
    assert model.converged_
    assert model.n_evaluations_ < 60


@pytest.mark.parametrize("seed", range(4))
def test_rows_of_tiny_weight_do_not_mislead_the_solver(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(30, 40)), np.arange(30) % 3
    weights = 10.0 ** rng.uniform(-9, 3, size=30)
    weights[rng.random(30) < 0.4] = 0
    model = SoftmaxRegression(C=np.inf, label_smoothing=0.1).fit(X, y, weights)
    assert model.converged_
    assert model.n_evaluations_ < 150


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_constant_columns_give_the_class_frequencies(fit_intercept):
    X = np.full((50, 500), 2.0 if fit_intercept else 0.0)
    y = np.repeat([0, 1, 2], [10, 15, 25])
    model = SoftmaxRegression(fit_intercept=fit_intercept).fit(X, y)
    assert_allclose(model.coef_, 0, atol=1e-12)
    shares = [0.2, 0.3, 0.5] if fit_intercept else [1 / 3] * 3
    assert_allclose(model.predict_proba(X[:1])[0], shares, rtol=1e-9)


def test_huge_unsigned_labels_are_labels():
    X, y = load_iris(return_X_y=True)
    labels = y.astype(np.uint64) + np.uint64(2**63 + 1)
    assert_array_equal(SoftmaxRegression().fit(X, labels).classes_, np.unique(labels))


def test_float32_takes_hardly_more_evaluations_than_float64():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60_000, 40))
    y = np.argmax(X @ rng.normal(size=(40, 4)) + 2 * rng.gumbel(size=(60_000, 4)), axis=1)
    single, double = (SoftmaxRegression().fit(X.astype(dtype), y) for dtype in (np.float32, np.float64))
    assert single.converged_
    assert single.n_evaluations_ <= 1.5 * double.n_evaluations_ + 5
    assert_allclose(single.coef_, double.coef_, rtol=1e-2, atol=1e-4)
