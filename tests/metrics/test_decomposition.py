"""Decomposition of scores by isotonic regression."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.special import xlogy
from sklearn.datasets import load_digits
from sklearn.metrics import brier_score_loss, log_loss
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB

import longhand
from skactivation import TemperatureCalibrator
from skactivation.metrics import calibration_decomposition, multilabel_log_loss

RNG = np.random.default_rng(0)
N = 60
P = RNG.random(N).round(1)
Y = RNG.random(N) < P
COUNTS = RNG.integers(0, 4, N)
SCORES = ("log_loss", "brier_score")
PARTS = ("miscalibration", "discrimination", "uncertainty", "score")


def parts_of(decomposition):
    return [getattr(decomposition, part) for part in PARTS]


def losses(scoring, y, p):
    if scoring == "brier_score":
        return (y - p) ** 2
    return -(xlogy(y, p) + xlogy(1 - y, 1 - p))


def test_a_case_by_hand():
    # Recalibrated: 0, 0, 1/2, 1/2, 1. Score 0.198, recalibrated (1/4 + 1/4) / 5 = 0.1, overall 2/5 * 3/5 = 0.24.
    parts = calibration_decomposition([0, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.6, 0.7], scoring="brier_score")
    assert_allclose(parts_of(parts), [0.098, 0.14, 0.24, 0.198], rtol=1e-13)
    assert parts.kind == "binary"
    assert parts.scoring == "brier_score"
    assert parts.per_class == {}
    parts = calibration_decomposition([0, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.6, 0.7])
    score = -np.log([0.9, 0.8, 0.3, 0.4, 0.7]).mean()
    overall = -(0.4 * np.log(0.4) + 0.6 * np.log(0.6))
    assert_allclose(parts_of(parts), [score - 0.4 * np.log(2), overall - 0.4 * np.log(2), overall, score], rtol=1e-13)


@pytest.mark.parametrize("scoring", SCORES)
@pytest.mark.parametrize("weights", [None, COUNTS])
@pytest.mark.parametrize("soft", [False, True])
def test_the_decomposition_follows_its_definition(scoring, weights, soft):
    y = RNG.random(N).round(1) if soft else Y.astype(float)
    counts = np.ones(N) if weights is None else weights
    p = np.clip(P, 0.05, 0.95)
    kept = counts > 0
    recalibrated = np.full(N, 0.5)
    recalibrated[kept] = longhand.isotonic(p[kept], y[kept], counts[kept])
    overall = np.average(y, weights=counts)
    score, best, null = (np.average(losses(scoring, y, q), weights=counts) for q in (p, recalibrated, overall))
    found = calibration_decomposition(y[:, np.newaxis], p[:, np.newaxis], scoring=scoring, sample_weight=weights)
    assert_allclose(parts_of(found), [score - best, null - best, null, score], rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("scoring", SCORES)
@pytest.mark.parametrize("n_rows", [1, 2, 3, 10, 1000, 30_000])
def test_parts_add_up_to_scikit_learns_score(scoring, n_rows):
    rng = np.random.default_rng(n_rows)
    for power in (1, 20):
        # Including probabilities of 0 and 1, both right and wrong.
        p = rng.random(n_rows) ** power
        p[::5], p[1::7] = 0.0, 1.0
        y, weights = rng.random(n_rows) < 0.3, rng.random(n_rows) + 0.01
        parts = calibration_decomposition(y, p, scoring=scoring, labels=[False, True], sample_weight=weights)
        assert_allclose(parts.miscalibration - parts.discrimination + parts.uncertainty, parts.score, atol=1e-12)
        if scoring == "log_loss":
            theirs = log_loss(y, p, labels=[False, True], sample_weight=weights)
        else:
            theirs = brier_score_loss(y, p, sample_weight=weights, pos_label=True)
        assert_allclose(parts.score, theirs, rtol=1e-12, atol=1e-15)
        assert min(parts_of(parts)) >= 0


@pytest.mark.parametrize("scoring", SCORES)
def test_several_classes_have_the_mean_of_one_against_the_rest(scoring):
    p = RNG.dirichlet(np.ones(3), N)
    y = np.array(["a", "b", "c"])[RNG.integers(0, 3, N)]
    found = calibration_decomposition(y, p, scoring=scoring, sample_weight=COUNTS)
    assert found.kind == "one_vs_rest_mean"
    assert list(found.per_class) == ["a", "b", "c"]
    each = [
        calibration_decomposition(y == name, p[:, k], scoring=scoring, sample_weight=COUNTS)
        for k, name in enumerate("abc")
    ]
    assert_allclose(parts_of(found), np.mean([parts_of(one) for one in each], axis=0), rtol=1e-12)
    for name, one in zip("abc", each, strict=True):
        assert_allclose(parts_of(found.per_class[name]), parts_of(one), rtol=1e-12)
    assert_allclose(found.miscalibration - found.discrimination + found.uncertainty, found.score, atol=1e-12)
    if scoring == "brier_score":
        squares = ((p - (y[:, np.newaxis] == np.array(["a", "b", "c"]))) ** 2).sum(axis=1)
        assert_allclose(found.score, np.average(squares, weights=COUNTS) / 3, rtol=1e-12)


def test_the_score_of_several_labels_is_their_log_loss():
    y = (RNG.random((N, 3)) < 0.4).astype(float)
    y[::4, 1] = np.nan
    p, weights = RNG.random((N, 3)), RNG.random((N, 3))
    found = calibration_decomposition(y, p, sample_weight=weights)
    assert_allclose(found.score, multilabel_log_loss(y, p, sample_weight=weights), rtol=1e-12)
    assert found.kind == "one_vs_rest_mean"
    assert list(found.per_class) == [0, 1, 2]
    known = ~np.isnan(y[:, 1])
    one = calibration_decomposition(y[known, 1].astype(int), p[known, 1], sample_weight=weights[known, 1])
    assert_allclose(parts_of(found.per_class[1]), parts_of(one), rtol=1e-12)
    single = calibration_decomposition(y[known, 1:2], p[known, 1:2], sample_weight=weights[known, 1:2])
    assert single.kind == "binary"
    assert_allclose(parts_of(single), parts_of(one), rtol=1e-12)


@pytest.mark.parametrize("scoring", SCORES)
def test_weights_are_repeats(scoring):
    repeated = calibration_decomposition(np.repeat(Y, COUNTS), np.repeat(P, COUNTS), scoring=scoring)
    for scale in (1, 0.1, 1e300, 1e-300):
        weighted = calibration_decomposition(Y, P, scoring=scoring, sample_weight=COUNTS * scale)
        assert_allclose(parts_of(weighted), parts_of(repeated), rtol=1e-12)


@pytest.mark.parametrize("scoring", SCORES)
def test_the_miscalibration_of_true_probabilities_goes_to_0(scoring):
    rng = np.random.default_rng(0)
    found = []
    for n_rows in (1_000, 100_000):
        p = rng.random(n_rows)
        found.append(calibration_decomposition(rng.random(n_rows) < p, p, scoring=scoring).miscalibration)
    # It decreases as n^(-2/3): here by a factor of about 21.
    assert found[0] > 10 * found[1]
    assert found[1] < (0.002 if scoring == "log_loss" else 5e-4)


@pytest.mark.parametrize("scoring", SCORES)
def test_parts_of_recalibrated_constant_separating_and_inverted_probabilities(scoring):
    # Recalibrated probabilities have no miscalibration. An increasing function changes only the miscalibration.
    recalibrated = longhand.isotonic(P, Y.astype(float), np.ones(N))
    plain = calibration_decomposition(Y, P, scoring=scoring)
    best = calibration_decomposition(Y, recalibrated, scoring=scoring)
    assert best.miscalibration < 1e-12
    for p in (P**3, recalibrated):
        other = calibration_decomposition(Y, p, scoring=scoring)
        assert_allclose(
            [other.discrimination, other.uncertainty], [plain.discrimination, plain.uncertainty], rtol=1e-11
        )
    # A constant probability has no discrimination; separating probabilities have the largest possible.
    constant = calibration_decomposition(Y, np.full(N, 0.3), scoring=scoring)
    assert constant.discrimination == 0
    separating = calibration_decomposition(Y, np.where(Y, 0.6, 0.4), scoring=scoring)
    assert separating.discrimination == separating.uncertainty
    # Inverted probabilities have no discrimination; the excess over the uncertainty is miscalibration.
    inverted = calibration_decomposition(Y, np.where(Y, 0.4, 0.6), scoring=scoring)
    assert inverted.discrimination < 1e-15
    assert_allclose(inverted.miscalibration, inverted.score - inverted.uncertainty, rtol=1e-12)


@pytest.mark.parametrize("scoring", SCORES)
def test_tiny_probabilities_that_differ_are_not_merged(scoring):
    # IsotonicRegression of scikit-learn treats probabilities that differ by less than 1e-15 as equal.
    p = np.array([1e-20, 1e-18, 0.5])
    found = calibration_decomposition([0, 1, 1], p, scoring=scoring)
    assert found.discrimination == found.uncertainty


@pytest.mark.parametrize("scoring", SCORES)
def test_weights_of_very_different_size_leave_all_parts_finite(scoring):
    weights = [1.0, 1e-20, 1.0, 1e-20]
    found = calibration_decomposition([1, 0, 0, 1], [0.9, 0.9, 0.1, 0.1], scoring=scoring, sample_weight=weights)
    assert np.all(np.isfinite(parts_of(found)))
    assert_allclose(found.miscalibration - found.discrimination + found.uncertainty, found.score, atol=1e-12)
    assert_allclose(found.discrimination, found.uncertainty, rtol=1e-12)


def test_labels_of_any_kind_and_forms_of_indicators():
    expected = parts_of(calibration_decomposition(Y, P))
    for labels in (np.array(["no", "yes"]), np.array([1, 2]), np.array([-1, 1])):
        assert parts_of(calibration_decomposition(labels[Y.astype(int)], P)) == expected
        both = np.column_stack([P, 1 - P])
        swapped = calibration_decomposition(labels[Y.astype(int)], both, labels=labels[::-1])
        assert_allclose(parts_of(swapped), expected, rtol=1e-12)
    y, p = (RNG.random((N, 3)) < 0.4).astype(int), RNG.random((N, 3))
    expected = parts_of(calibration_decomposition(y, p))
    for form in (sparse.csr_array, pd.DataFrame, lambda y: y.astype(bool)):
        assert parts_of(calibration_decomposition(form(y), p)) == expected


def test_a_temperature_reduces_miscalibration():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    model = TemperatureCalibrator(GaussianNB()).fit(X_train, y_train + 10)
    before = calibration_decomposition(y_test, model.estimator_.predict_proba(X_test))
    after = calibration_decomposition(y_test + 10, model.predict_proba(X_test))
    assert after.miscalibration < 0.3 * before.miscalibration
    assert_allclose(after.uncertainty, before.uncertainty, rtol=1e-13)


@pytest.mark.parametrize("scoring", ["brier_loss", None, "neg_log_loss"])
def test_an_unknown_score_is_an_error(scoring):
    with pytest.raises(ValueError, match="scoring must be 'log_loss' or 'brier_score'"):
        calibration_decomposition(Y, P, scoring=scoring)


@pytest.mark.parametrize("scoring", SCORES)
def test_many_small_cases(scoring):
    rng = np.random.default_rng(1)
    for _ in range(300):
        n = rng.integers(1, 9)
        p, y = rng.choice([0.1, 0.2, 0.5, 0.6, 0.9], n), (rng.random(n) < 0.5).astype(float)
        counts = rng.integers(1, 5, n)
        best, null = longhand.isotonic(p, y, counts), np.average(y, weights=counts)
        score, recalibrated, overall = (np.average(losses(scoring, y, q), weights=counts) for q in (p, best, null))
        found = calibration_decomposition(y[:, np.newaxis], p[:, np.newaxis], scoring=scoring, sample_weight=counts)
        expected = [score - recalibrated, overall - recalibrated, overall, score]
        assert_allclose(parts_of(found), expected, rtol=1e-11, atol=1e-14)
        assert min(parts_of(found)) >= 0
        # After recalibration only a rounding error is left, which is never negative.
        again = calibration_decomposition(y[:, np.newaxis], best[:, np.newaxis], scoring=scoring, sample_weight=counts)
        assert 0 <= again.miscalibration < 1e-14
        flat = calibration_decomposition(np.full((n, 1), 0.3), p[:, np.newaxis], scoring=scoring, sample_weight=counts)
        assert 0 <= flat.discrimination < 1e-14
        assert flat.uncertainty >= 0


def test_the_log_loss_knows_tiny_probabilities_and_the_epsilon_of_the_dtype():
    assert_allclose(calibration_decomposition([[0.0]], [[1e-10]]).score, 1e-10, rtol=1e-9)
    for dtype in (np.float16, np.float32, np.float64):
        wrong = calibration_decomposition([1, 1, 0], np.array([0, 1, 0.5], dtype=dtype)).score
        eps = float(np.finfo(dtype).eps)
        assert_allclose(wrong, (-np.log(eps) - np.log1p(-eps) + np.log(2)) / 3, rtol=1e-12)
