"""Calibration errors and reliability curves: by hand, compared with scikit-learn, and on random samples."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve

import longhand
from skactivation.metrics import expected_calibration_error, reliability_curve

RNG = np.random.default_rng(0)
N = 120
CODES = RNG.integers(0, 4, N)
P = RNG.dirichlet(np.ones(4), N).round(2)
P[:, 0] = 1 - P[:, 1:].sum(axis=1)
P = np.abs(P)
SECOND = RNG.random(N).round(2)
YES = RNG.random(N) < SECOND
COUNTS = RNG.integers(0, 4, N)
INDICATOR = (RNG.random((N, 3)) < 0.4).astype(float)
ENTRIES = RNG.random((N, 3)).round(2)
ALL = {"strategy": ("uniform", "quantile"), "norm": ("l1", "l2", "max"), "n_bins": (1, 4, 15, 100)}


def all_settings(test):
    for name, values in ALL.items():
        test = pytest.mark.parametrize(name, values)(test)
    return test


def test_a_case_by_hand():
    # Confidences 0.8 (wrong), 0.6 (right), 0.8 (right), 0.6 (wrong): two of four are right at both.
    p = [[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.0, 0.8, 0.2], [0.6, 0.3, 0.1]]
    y = [0, 2, 1, 1]
    assert_allclose(expected_calibration_error(y, p, n_bins=5), 0.5 * 0.3 + 0.5 * 0.1, rtol=1e-14)
    assert_allclose(expected_calibration_error(y, p, n_bins=5, norm="l2"), np.sqrt(0.5 * 0.09 + 0.5 * 0.01), rtol=1e-14)
    assert_allclose(expected_calibration_error(y, p, n_bins=5, norm="max"), 0.3, rtol=1e-14)
    curve = reliability_curve(y, p, n_bins=5)
    assert_allclose(curve.prob_pred, [0.6, 0.8], rtol=1e-14)
    assert_array_equal(curve.prob_true, [0.5, 0.5])
    assert_array_equal(curve.counts, [2, 2])
    assert_array_equal(curve.shares, [0.5, 0.5])
    assert_allclose(curve.edges, [[0.4, 0.6], [0.6, 0.8]], rtol=1e-14)
    assert curve.label is None


def test_classes_by_hand():
    p = np.array([[0.3, 0.7], [0.3, 0.7], [0.9, 0.1], [0.9, 0.1]])
    y = ["no", "yes", "no", "no"]
    # "yes" is true in half of the rows with 0.7 and in none of the rows with 0.1.
    for given in (p, p[:, 1]):
        assert_allclose(expected_calibration_error(y, given, kind="classwise"), 0.5 * 0.2 + 0.5 * 0.1, rtol=1e-14)
    # Three classes with one error each: 0.2, 0.2 and 0.
    three = [[0.5, 0.5, 0.0]] * 10
    y = ["a"] * 7 + ["b"] * 3
    assert_allclose(
        expected_calibration_error(y, three, kind="classwise", labels=["a", "b", "c"]), (0.2 + 0.2 + 0) / 3, rtol=1e-13
    )
    l2 = expected_calibration_error(y, three, kind="classwise", labels=["a", "b", "c"], norm="l2")
    assert_allclose(l2, np.sqrt((0.04 + 0.04) / 3), rtol=1e-13)
    largest = expected_calibration_error(y, three, kind="classwise", labels=["a", "b", "c"], norm="max")
    assert_allclose(largest, 0.2, rtol=1e-13)


@all_settings
@pytest.mark.parametrize("weights", [None, COUNTS])
def test_the_top_labels_error_is_that_of_its_definition(strategy, norm, n_bins, weights):
    counts = np.ones(N, dtype=int) if weights is None else weights
    top = P.argmax(axis=1)
    expected = longhand.calibration_error(P.max(axis=1), CODES == top, counts, n_bins, strategy, norm)
    found = expected_calibration_error(CODES, P, n_bins=n_bins, strategy=strategy, norm=norm, sample_weight=weights)
    assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


@all_settings
@pytest.mark.parametrize("weights", [None, COUNTS])
def test_the_classwise_error_is_that_of_its_definition(strategy, norm, n_bins, weights):
    counts = np.ones(N, dtype=int) if weights is None else weights
    errors = [longhand.calibration_error(P[:, k], CODES == k, counts, n_bins, strategy, norm) for k in range(4)]
    power = 2 if norm == "l2" else 1
    expected = max(errors) if norm == "max" else np.mean(np.array(errors) ** power) ** (1 / power)
    settings = {"n_bins": n_bins, "strategy": strategy, "norm": norm, "sample_weight": weights}
    found = expected_calibration_error(CODES, P, kind="classwise", **settings)
    assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
    # An indicator of the same classes has the same error.
    assert_allclose(expected_calibration_error(np.eye(4)[CODES], P, kind="classwise", **settings), found, rtol=1e-13)


@all_settings
def test_labels_that_dont_exclude_each_other_count_by_their_known_entries(strategy, norm, n_bins):
    y, counts = INDICATOR.copy(), RNG.integers(0, 3, (N, 3))
    y[::3, 1], y[5:50, 2] = np.nan, np.nan
    errors, totals = [], []
    for k in range(3):
        known = ~np.isnan(y[:, k])
        errors.append(
            longhand.calibration_error(ENTRIES[known, k], y[known, k], counts[known, k], n_bins, strategy, norm)
        )
        totals.append(counts[known, k].sum())
    power = 2 if norm == "l2" else 1
    expected = max(errors) if norm == "max" else np.average(np.array(errors) ** power, weights=totals) ** (1 / power)
    found = expected_calibration_error(
        y, ENTRIES, kind="classwise", strategy=strategy, norm=norm, n_bins=n_bins, sample_weight=counts
    )
    assert_allclose(found, expected, rtol=1e-12)


def test_the_top_label_of_an_indicator_is_its_most_probable_one():
    y = INDICATOR.copy()
    top = ENTRIES.argmax(axis=1)
    y[np.arange(40), top[:40]] = np.nan
    weights = RNG.integers(1, 3, (N, 3))
    rows = np.arange(40, N)
    expected = longhand.calibration_error(
        ENTRIES.max(axis=1)[rows], y[rows, top[rows]], weights[rows, top[rows]], 15, "uniform", "l1"
    )
    assert_allclose(expected_calibration_error(y, ENTRIES, sample_weight=weights), expected, rtol=1e-12)


def test_soft_labels_count_in_part():
    y = [[0.25], [0.75], [1.0]]
    p = [[0.5], [0.5], [0.9]]
    assert_allclose(expected_calibration_error(y, p, kind="classwise"), 0.1 / 3, rtol=1e-13)


@pytest.mark.parametrize("n_bins", [1, 3, 10, 15])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_curves_are_those_of_scikit_learn(n_bins, strategy):
    # scikit-learn interpolates quantiles: bins agree if all can have the same number of rows.
    p = RNG.random(30 * n_bins)
    y = RNG.random(p.size) < p
    prob_true, prob_pred = calibration_curve(y, p, n_bins=n_bins, strategy=strategy)
    curve = reliability_curve(y, p, kind="classwise", n_bins=n_bins, strategy=strategy)[True]
    assert_allclose(curve.prob_true, prob_true, rtol=1e-13)
    assert_allclose(curve.prob_pred, prob_pred, rtol=1e-13)
    if strategy == "quantile":
        assert_array_equal(curve.counts, 30)


def test_rounded_probabilities_fall_into_scikit_learns_bins():
    p = np.round(RNG.random(2000), 1)
    y = RNG.random(2000) < p
    prob_true, prob_pred = calibration_curve(y, p, n_bins=10)
    curve = reliability_curve(y, p, kind="classwise", n_bins=10)[True]
    assert_allclose(curve.prob_true, prob_true, rtol=1e-13)
    assert_allclose(curve.prob_pred, prob_pred, rtol=1e-13)


@pytest.mark.parametrize("kind", ["top_label", "classwise"])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_the_error_of_true_probabilities_goes_to_0(kind, strategy):
    rng = np.random.default_rng(1)
    errors = []
    for n_rows in (1_000, 100_000):
        p = rng.dirichlet(np.ones(3), n_rows)
        y = (rng.random(n_rows)[:, np.newaxis] > p.cumsum(axis=1)).sum(axis=1)
        errors.append(
            [expected_calibration_error(y, p, kind=kind, strategy=strategy, norm=norm) for norm in ("l1", "l2")]
        )
    # It decreases as 1 / sqrt(n): by a factor of 10 on average, between 7 and 15 here.
    assert np.all(np.array(errors[0]) > 4 * np.array(errors[1]))
    assert np.max(errors[1]) < 0.006


def test_overconfidence_is_seen():
    rng = np.random.default_rng(0)
    p = np.full((20_000, 2), [0.1, 0.9])
    y = rng.random(20_000) < 0.7
    assert_allclose(expected_calibration_error(y, p), 0.2, atol=0.01)


@pytest.mark.parametrize("kind", ["top_label", "classwise"])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize(
    ("y", "p"), [(CODES, P), (YES, SECOND), (INDICATOR, ENTRIES)], ids=["classes", "two", "labels"]
)
def test_weights_are_repeats_and_a_weight_of_0_removes(kind, strategy, y, p):
    settings = {"kind": kind, "strategy": strategy, "n_bins": 7}
    repeated = expected_calibration_error(np.repeat(y, COUNTS, axis=0), np.repeat(p, COUNTS, axis=0), **settings)
    for scale in (1.0, 0.1, 1e300, 1e-300):
        weighted = expected_calibration_error(y, p, sample_weight=COUNTS * scale, **settings)
        assert_allclose(weighted, repeated, rtol=1e-12)
    curves = reliability_curve(np.repeat(y, COUNTS, axis=0), np.repeat(p, COUNTS, axis=0), **settings)
    others = reliability_curve(y, p, sample_weight=COUNTS, **settings)
    curves, others = ([c] if kind == "top_label" else list(c.values()) for c in (curves, others))
    for curve, other in zip(curves, others, strict=True):
        for field in ("prob_true", "prob_pred", "shares", "edges"):
            assert_allclose(getattr(other, field), getattr(curve, field), rtol=1e-12, err_msg=field)
    kept = RNG.random(N) < 0.6
    removed = reliability_curve(y[kept], p[kept], **settings)
    zero = reliability_curve(y, p, sample_weight=kept.astype(float), **settings)
    curves, others = ([c] if kind == "top_label" else list(c.values()) for c in (removed, zero))
    for curve, other in zip(curves, others, strict=True):
        for field in ("counts", "lower", "upper"):
            assert_allclose(getattr(other, field), getattr(curve, field), rtol=1e-12, err_msg=field)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_intervals_are_clopper_and_pearsons(level):
    curve = reliability_curve(YES, SECOND, kind="classwise", confidence_level=level, n_bins=8)[True]
    for share, count, low, high in zip(curve.prob_true, curve.counts, curve.lower, curve.upper, strict=True):
        expected = binomtest(round(share * count), count).proportion_ci(level, method="exact")
        assert_allclose([low, high], [expected.low, expected.high], rtol=1e-9)


def test_intervals_of_bins_with_no_event_or_only_events():
    curve = reliability_curve([0, 0, 1, 1], [0.1, 0.1, 0.9, 0.9], kind="classwise")[1]
    assert curve.lower[0] == 0
    assert curve.upper[1] == 1
    # If the event happens in all of n rows, the lower limit is (alpha / 2)^(1 / n).
    assert_allclose([1 - curve.upper[0], curve.lower[1]], np.sqrt(0.025), rtol=1e-12)


def test_intervals_of_weighted_rows_are_those_of_fewer_rows():
    y, p = np.array([0, 1] * 50), np.full(100, 0.5)
    plain, doubled, uneven = (
        reliability_curve(y, p, kind="classwise", sample_weight=w)[1]
        for w in (None, np.full(100, 2.0), np.repeat([1.0, 9.0], 50))
    )
    assert_allclose(plain.lower, doubled.lower, rtol=1e-12)
    # (sum w)^2 / sum w^2 = 500^2 / 4,100 = 60.98
    expected = reliability_curve([0, 1], [0.5, 0.5], kind="classwise")[1]
    assert expected.lower[0] < uneven.lower[0] < plain.lower[0]
    sixty = binomtest(30, 60).proportion_ci(method="exact")
    assert_allclose(uneven.lower, sixty.low, rtol=0.01)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        curve = reliability_curve(rng.random(40) < 0.2, np.full(40, 0.2), kind="classwise", labels=[False, True])[True]
        covered.append(curve.lower[0] <= 0.2 <= curve.upper[0])
    assert 0.94 <= np.mean(covered) < 1


@pytest.mark.parametrize("kind", ["top_label", "classwise"])
@pytest.mark.parametrize(
    "names",
    [
        [10, 11, 12, 13],
        ["ant", "bee", "cat", "dog"],
        [-7, -1, 1, 7],
        [1.0, 2.0, 3.0, 7.0],
        pd.date_range("2026", periods=4),
    ],
    ids=["integers", "strings", "negative", "floats", "dates"],
)
def test_labels_of_any_kind_have_the_same_error(kind, names):
    # Continuous probabilities avoid ties, which would go to the first class.
    p = RNG.dirichlet(np.ones(4), N)
    expected = expected_calibration_error(CODES, p, kind=kind)
    y = np.asarray(names)[CODES]
    assert expected_calibration_error(y, p, kind=kind) == expected
    assert expected_calibration_error(pd.Series(y, index=np.arange(N)[::-1] + 5), p, kind=kind) == expected
    # Columns in another order.
    order = [2, 0, 3, 1]
    shuffled = expected_calibration_error(y, p[:, order], kind=kind, labels=np.asarray(names)[order])
    assert_allclose(shuffled, expected, rtol=1e-13)
    if isinstance(names[0], (str, int)):
        frame = pd.DataFrame(p[:, order], columns=np.asarray(names)[order])
        assert_allclose(expected_calibration_error(y, frame, kind=kind), expected, rtol=1e-13)


def test_curves_have_the_classes_as_keys():
    dates = np.array(["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"], dtype="datetime64[ns]")
    assert list(reliability_curve(dates[CODES], P, kind="classwise")) == list(dates)
    curves = reliability_curve(np.array(["a", "b", "c", "d"])[CODES], P, kind="classwise")
    assert list(curves) == ["a", "b", "c", "d"]
    assert [curve.label for curve in curves.values()] == ["a", "b", "c", "d"]
    frame = pd.DataFrame(INDICATOR, columns=["x", "y", "z"])
    assert list(reliability_curve(frame, ENTRIES, kind="classwise")) == ["x", "y", "z"]
    assert list(reliability_curve(INDICATOR, ENTRIES, kind="classwise", labels=["u", "v", "w"])) == ["u", "v", "w"]
    assert list(reliability_curve(YES, SECOND, kind="classwise")) == [True]
    assert reliability_curve(YES, SECOND).label is None


def test_the_curves_error_is_the_error():
    for kind in ("top_label", "classwise"):
        for norm in ("l1", "l2", "max"):
            curves = reliability_curve(YES, SECOND, kind=kind, n_bins=6)
            curve = curves if kind == "top_label" else curves[True]
            expected = expected_calibration_error(YES, SECOND, kind=kind, n_bins=6, norm=norm)
            assert_allclose(curve.expected_calibration_error(norm), expected, rtol=1e-14)


def test_two_classes_in_one_column_or_two():
    both = np.column_stack([1 - SECOND, SECOND])
    for kind in ("top_label", "classwise"):
        expected = expected_calibration_error(YES, both, kind=kind)
        assert_allclose(expected_calibration_error(YES, SECOND, kind=kind), expected, rtol=1e-13)
        assert_allclose(expected_calibration_error(YES, SECOND.astype(np.float32), kind=kind), expected, atol=0.02)


@pytest.mark.parametrize(
    "form", [sparse.csr_array, sparse.csc_matrix, sparse.coo_array, pd.DataFrame, lambda y: y.astype(bool)]
)
def test_indicators_in_any_form(form):
    for kind in ("top_label", "classwise"):
        expected = expected_calibration_error(INDICATOR, ENTRIES, kind=kind)
        assert expected_calibration_error(form(INDICATOR), ENTRIES, kind=kind) == expected


def test_the_order_of_rows_does_not_matter_and_inputs_are_not_changed():
    order = RNG.permutation(N)
    for y, p in ((CODES, P), (INDICATOR, ENTRIES)):
        before = y.copy(), p.copy()
        for kind in ("top_label", "classwise"):
            for strategy in ("uniform", "quantile"):
                plain, shuffled = (
                    expected_calibration_error(*rows, kind=kind, strategy=strategy)
                    for rows in ((y, p), (y[order], p[order]))
                )
                assert_allclose(shuffled, plain, rtol=1e-12)
        assert_array_equal(before[0], y)
        assert_array_equal(before[1], p)


def test_more_columns_than_are_read_together():
    p = RNG.dirichlet(np.ones(21), N)
    y = RNG.integers(0, 21, N)
    curves = reliability_curve(y, p, kind="classwise", labels=np.arange(21))
    for k in (0, 7, 8, 20):
        expected = reliability_curve(y == k, p[:, k], kind="classwise", labels=[False, True])[True]
        assert_array_equal(curves[k].prob_true, expected.prob_true)
        assert_array_equal(curves[k].prob_pred, expected.prob_pred)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"kind": "top"}, ValueError, "kind must be 'top_label' or 'classwise', got 'top'"),
        ({"strategy": "equal"}, ValueError, "strategy must be 'uniform' or 'quantile', got 'equal'"),
        ({"norm": 1}, ValueError, "norm must be 'l1', 'l2' or 'max', got 1"),
        ({"n_bins": 0}, ValueError, "n_bins must be an integer >= 1, got 0"),
        ({"n_bins": 2.5}, TypeError, "n_bins must be an integer"),
    ],
)
def test_bad_parameters_are_named(parameters, error, message):
    with pytest.raises(error, match=message):
        expected_calibration_error(CODES, P, **parameters)


def test_a_bad_confidence_level_is_named():
    for level in (0, 1, 95):
        with pytest.raises(ValueError, match="confidence_level must be a number in"):
            reliability_curve(CODES, P, confidence_level=level)


def test_edges_of_equal_weight_go_from_the_least_to_the_largest_probability():
    curve = reliability_curve(YES, SECOND, kind="classwise", strategy="quantile", n_bins=4)[True]
    assert curve.edges[0, 0] == SECOND.min()
    assert curve.edges[-1, 1] == SECOND.max()


def test_probabilities_a_little_above_1_are_1():
    y, p = [0, 1, 1], np.array([[1 + 1e-9, 0.0], [0.5, 0.5], [0.0, 1.0]])
    curve = reliability_curve(y, p)
    assert_array_equal(curve.prob_pred, [0.5, 1.0])
    assert expected_calibration_error([1], [1 + 1e-9], labels=[0, 1], kind="classwise") == 0


def test_weights_of_very_different_size():
    # The interval of a bin depends only on its own rows, not on the weights of others.
    y, p = np.array([0, 1, 1, 0]), np.array([0.1, 0.1, 0.9, 0.9])
    weights = [1e-200, 1e-200, 1, 1]
    plain = reliability_curve(y, p, kind="classwise")[1]
    light = reliability_curve(y, p, kind="classwise", sample_weight=weights)[1]
    for field in ("prob_true", "prob_pred", "lower", "upper", "counts"):
        assert_allclose(getattr(light, field), getattr(plain, field), rtol=1e-12, err_msg=field)
    # Each label has its own scale of weights.
    both, columns = np.column_stack([y, y]), np.column_stack([p, p])
    of_labels = reliability_curve(both, columns, kind="classwise", sample_weight=np.array([[1e-300, 1e300]] * 4))
    assert_allclose(of_labels[0].prob_true, of_labels[1].prob_true, rtol=1e-12)
    with np.errstate(all="raise"):
        for kind in ("top_label", "classwise"):
            expected_calibration_error(y, p, kind=kind, sample_weight=[1e-200, 1e-200, 1, 1e200])


def test_labels_of_weight_0_need_no_column_of_a_frame():
    frame = pd.DataFrame(P[:, :3] / P[:, :3].sum(axis=1, keepdims=True), columns=["c", "a", "b"])
    y, weights = np.array(["c", "a", "b", "z"])[CODES], (CODES < 3).astype(float)
    expected = expected_calibration_error(y[CODES < 3], frame[CODES < 3])
    assert_allclose(expected_calibration_error(y, frame, sample_weight=weights), expected, rtol=1e-12)


def test_float16_is_accepted_with_its_own_tolerance():
    p = RNG.dirichlet(np.ones(3), 2000)
    y = RNG.integers(0, 3, 2000)
    short = p.astype(np.float16)
    assert np.abs(short.astype(float).sum(axis=1) - 1).max() > np.sqrt(np.finfo(np.float32).eps)
    assert_allclose(expected_calibration_error(y, short), expected_calibration_error(y, p), atol=0.02)
