"""fit_temperature: the minimum, labels of any kind, limits, numbers of any size, weights, several labels."""

import json
import re
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from longhand import best_temperature, mean_cross_entropy
from skactivation import TemperatureFit, fit_temperature
from skactivation.activations import sigmoid, softmax
from skactivation.calibration import _logits, _temperature
from skactivation.losses import softmax_cross_entropy

rng = np.random.default_rng(0)
N, K = 400, 5
Y = rng.integers(K, size=N)
LOGITS = rng.normal(size=(N, K)) + 1.5 * np.eye(K)[Y]
LOGITS *= 4.0
WEIGHTS = rng.integers(0, 4, size=N).astype(float)
INDICATOR = (rng.random((N, 3)) < [0.3, 0.5, 0.7]).astype(float)
LABEL_LOGITS = [2.0, 1.0, 0.3] * (2 * INDICATOR - 1 + 1.5 * rng.normal(size=(N, 3)))
DIGITS, DIGIT_LABELS = load_digits(return_X_y=True)
X, IRIS = load_iris(return_X_y=True)


# fit_temperature: the minimum


def test_the_temperature_is_the_minimum_to_1e_12():
    fit = fit_temperature(LOGITS, Y)
    assert_allclose(fit.temperature, best_temperature(LOGITS, np.eye(K)[Y]), rtol=1e-12)
    assert_allclose(fit.loss_before, mean_cross_entropy(LOGITS, np.eye(K)[Y], 1.0), rtol=1e-13)
    assert_allclose(fit.loss_after, mean_cross_entropy(LOGITS, np.eye(K)[Y], fit.temperature), rtol=1e-13)
    assert fit.at_limit is False
    assert fit.optimality_gap < 1e-12


@pytest.mark.parametrize("spread", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("n_classes", [2, 3, 40, 300])
def test_the_temperature_is_right_for_sharp_and_flat_logits_of_few_and_many_classes(spread, n_classes):
    rng = np.random.default_rng(n_classes)
    y = np.append(np.arange(n_classes), rng.integers(n_classes, size=300))
    logits = spread * (rng.standard_t(3, size=(y.size, n_classes)) + 2 * np.eye(n_classes)[y])
    fit = fit_temperature(logits, y)
    assert_allclose(fit.temperature, best_temperature(logits, np.eye(n_classes)[y]), rtol=1e-12)


@pytest.mark.parametrize("spread", [2.0, 4.0])
def test_the_temperature_is_right_for_rows_of_very_different_spread(spread):
    rng = np.random.default_rng(0)
    y = rng.integers(50, size=3000)
    logits = (rng.normal(size=(y.size, 50)) + np.eye(50)[y]) * np.exp(spread * rng.normal(size=(y.size, 1)))
    fit = fit_temperature(logits, y)
    assert_allclose(fit.temperature, best_temperature(logits, np.eye(50)[y]), rtol=1e-11)
    assert fit.n_passes <= 16


@pytest.mark.parametrize("scale", [1.0, 10.0, 1e3, 1e4, 1e6])
@pytest.mark.parametrize("n_classes", [2, 10])
def test_well_separated_logits_of_any_scale(n_classes, scale):
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=5000)
    logits = rng.normal(size=(y.size, n_classes)) + (5 if n_classes == 2 else 4) * np.eye(n_classes)[y]
    fit = fit_temperature(scale * logits, y)
    assert_allclose(fit.temperature, scale * best_temperature(logits, np.eye(n_classes)[y]), rtol=1e-11)
    assert fit.n_passes <= 10
    assert fit.optimality_gap < 1e-9


@pytest.mark.parametrize("mask", [-1e4, -1e9, -1e30, -1e200, np.finfo(float).min])
def test_masks_of_any_size_are_as_good_as_minus_infinity(mask):
    masked = np.hstack([LOGITS, np.full((N, 1), mask)])
    fit = fit_temperature(masked, Y, classes=range(K + 1))
    assert_allclose(fit.temperature, fit_temperature(LOGITS, Y).temperature, rtol=1e-12)
    assert fit.optimality_gap < 1e-9


def test_many_labels_that_contradict_take_no_more_passes():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(100, 60)).astype(float)
    with pytest.warns(UserWarning, match="contradict"):
        fit = fit_temperature(-(2 * y - 1) - 0.1 * rng.random(y.shape), y, multilabel=True)
    assert fit.at_limit.all()
    assert fit.n_passes <= 6


def test_data_of_many_blocks_take_few_passes_and_reach_the_minimum(monkeypatch):
    rng = np.random.default_rng(1)
    y = rng.integers(10, size=30_000)
    logits = rng.normal(size=(y.size, 10)) + 2 * np.eye(10)[y]
    fit = fit_temperature(logits, y)
    assert fit.n_passes <= 6
    assert_allclose(fit.temperature, best_temperature(logits, np.eye(10)[y]), rtol=1e-12)
    monkeypatch.setattr(_logits, "_BLOCK_SIZE", 2**12)
    assert_allclose(fit_temperature(logits, y).temperature, fit.temperature, rtol=1e-12)


def test_temperature_of_digits_sized_logits_takes_six_passes_at_most():
    rng = np.random.default_rng(2)
    y = rng.integers(10, size=1797)
    logits = 3 * (rng.normal(size=(y.size, 10)) + 2 * np.eye(10)[y])
    assert fit_temperature(logits, y).n_passes <= 6


def test_two_classes_are_one_sigmoid_of_the_logit_over_t():
    # scikit-learn's beta is half of what belongs to sigmoid(logit / T).
    y = (Y > 1).astype(int)
    logits = 3 * (2 * y - 1 + 2 * rng.normal(size=N))
    fit = fit_temperature(logits, y)
    assert_allclose(fit.temperature, best_temperature(np.column_stack([0 * logits, logits]), np.eye(2)[y]), rtol=1e-12)
    probabilities = sigmoid(logits, temperature=fit.temperature)
    assert_allclose(fit.loss_after, log_loss(y, probabilities), rtol=1e-12)
    two_columns = fit_temperature(np.column_stack([-logits / 2, logits / 2]), y)
    assert_allclose(two_columns.temperature, fit.temperature, rtol=1e-12)


def test_soft_targets():
    targets = softmax(LOGITS / 7 + rng.normal(size=(N, K)))
    fit = fit_temperature(LOGITS, targets)
    assert_allclose(fit.temperature, best_temperature(LOGITS, targets), rtol=1e-12)
    assert_allclose(fit.loss_after, softmax_cross_entropy(LOGITS / fit.temperature, targets), rtol=1e-12)


def test_one_hot_targets_are_exclusive_classes_unless_several_labels_are_asked_for():
    one_hot = np.eye(K)[Y]
    assert_allclose(fit_temperature(LOGITS, one_hot).temperature, fit_temperature(LOGITS, Y).temperature, rtol=1e-12)
    several = fit_temperature(LOGITS, one_hot, multilabel=True)
    assert several.temperature.shape == (K,)


# fit_temperature: labels


@pytest.mark.parametrize(
    "code",
    [
        lambda y: y + 10,
        lambda y: y * 3,
        lambda y: y - 2,
        lambda y: y.astype(float),
        lambda y: y * 10**15,
        lambda y: np.array(["a", "b", "c", "d", "e"])[y],
        lambda y: np.array(["a", "b", "c", "d", "e"], dtype=object)[y],
        lambda y: pd.Series(y, index=np.arange(5, N + 5)),
        lambda y: pd.Series(np.array(["a", "b", "c", "d", "e"])[y]).astype("category"),
        lambda y: pd.Series(y, dtype="Int64"),
        lambda y: pl.Series(y),
        lambda y: y.tolist(),
        lambda y: np.datetime64("2024-01-01") + y,
    ],
)
def test_labels_of_any_kind_have_the_same_temperature(code):
    expected = fit_temperature(LOGITS, Y)
    assert fit_temperature(LOGITS, code(Y)).temperature == expected.temperature


@pytest.mark.parametrize("labels", [[1, 2], [-1, 1], [False, True], ["no", "yes"], [0, 1]])
def test_two_labels_of_any_kind(labels):
    y = Y > 1
    logits = 3 * (2.0 * y - 1 + 2 * rng.normal(size=N))
    assert fit_temperature(logits, np.array(labels)[y.astype(int)]) == fit_temperature(logits, y.astype(int))


def test_integers_are_columns_where_zero_is_among_them():
    some = Y != 3
    expected = best_temperature(LOGITS[some], np.eye(K)[Y[some]])
    assert_allclose(fit_temperature(LOGITS[some], Y[some]).temperature, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("logits", "y"),
    [
        (LOGITS[Y > 0], Y[Y > 0]),
        (LOGITS[Y != 2], 10 + Y[Y != 2]),
        (LOGITS[Y != 2], np.array(list("abcde"))[Y[Y != 2]]),
        (LOGITS[:, :3], Y),
    ],
    ids=["1..K-1", "other integers", "strings", "more than columns"],
)
def test_labels_whose_columns_are_not_clear_are_an_error_that_asks_for_classes(logits, y):
    with pytest.raises(ValueError, match=r"isn't clear\. Pass `classes`"):
        fit_temperature(logits, y)


def test_integers_as_floats_are_column_numbers():
    chosen = Y != 2
    expected = fit_temperature(LOGITS[chosen], Y[chosen])
    assert fit_temperature(LOGITS[chosen], Y[chosen].astype(float)) == expected


@pytest.mark.filterwarnings("ignore:the logits contradict:UserWarning")
@pytest.mark.parametrize("label", [0, 1.0, True])
def test_one_class_is_an_error_unless_classes_are_given(label):
    with pytest.raises(ValueError, match="y holds one class"):
        fit_temperature(LOGITS[:, 0], np.full(N, label))
    assert fit_temperature(LOGITS[:, 0], np.full(N, label), classes=[label, 2]).n_passes


def test_classes_name_the_columns_in_any_order():
    names = np.array(["e", "a", "d", "b", "c"])
    some = Y != 3
    fit = fit_temperature(LOGITS[some], names[Y[some]], classes=names)
    assert_allclose(fit.temperature, best_temperature(LOGITS[some], np.eye(K)[Y[some]]), rtol=1e-12)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 1, 2, 3], "must name each of 5 columns"),
        ([0, 1, 2, 3, 3], "must be different"),
        ([1, 2, 3, 4, 5], r"aren't among the classes \[1, 2, 3, 4, 5\]: \[0\]"),
        (list("abcde"), "aren't among the classes"),
    ],
)
def test_classes_that_do_not_fit_are_an_error(classes, message):
    with pytest.raises(ValueError, match=message):
        fit_temperature(LOGITS, Y, classes=classes)


def test_the_columns_of_a_frame_are_classes_where_they_name_the_labels():
    names = np.array(["e", "a", "d", "b", "c"])
    expected = fit_temperature(LOGITS, names[Y], classes=names)
    for some in (Y >= 0, Y != 3):
        frame = pd.DataFrame(LOGITS, columns=names)[some]
        assert fit_temperature(frame, names[Y][some]) == fit_temperature(LOGITS[some], names[Y][some], classes=names)
    assert fit_temperature(pl.DataFrame(LOGITS, schema=names.tolist()), names[Y]) == expected
    numbers = np.array([14, 10, 13, 11, 12])
    frame = pd.DataFrame(LOGITS, columns=numbers)
    assert fit_temperature(frame, numbers[Y]) == expected
    with pytest.raises(ValueError, match="the columns of a data frame must be different from each other"):
        fit_temperature(frame.set_axis([10, 11, 12, 13, 10], axis=1), np.minimum(Y, 3) + 10)
    # Other names say nothing.
    for unnamed in (pd.DataFrame(LOGITS).add_prefix("logit"), frame):
        assert fit_temperature(unnamed, Y) == fit_temperature(LOGITS, Y)


def test_a_label_of_weight_zero_needs_no_column():
    y = np.where(np.arange(N) == 7, 99, Y)
    weights = (np.arange(N) != 7).astype(float)
    expected = fit_temperature(np.delete(LOGITS, 7, axis=0), np.delete(Y, 7)).temperature
    assert_allclose(fit_temperature(LOGITS, y, sample_weight=weights).temperature, expected, rtol=1e-12)


# fit_temperature: limits


def test_separable_logits_get_the_documented_temperature_and_a_warning():
    logits = np.array([[5.0, 1.0, 0.0], [0.0, 3.0, 1.0], [0.0, 1.0, 9.0]])
    with pytest.warns(UserWarning, match="the true class has the largest logit in every row"):
        fit = fit_temperature(logits, [0, 1, 2])
    assert_allclose(fit.temperature, 2.0 / -np.log(np.finfo(float).eps), rtol=1e-14)
    assert fit.at_limit
    assert 0 < fit.loss_after < 1e-15
    for scale in (1e-6, 1e6, 1e200, 1e-200):
        with pytest.warns(UserWarning, match="largest logit"):
            assert_allclose(fit_temperature(logits * scale, [0, 1, 2]).temperature / scale, fit.temperature, rtol=1e-14)


def test_ties_at_the_top_are_no_margin():
    with pytest.warns(UserWarning, match="largest logit"):
        fit = fit_temperature([[4.0, 4.0, 0.0], [0.0, 1.0, -2.0]], [0, 1], classes=[0, 1, 2])
    assert_allclose(fit.temperature, 1.0 / -np.log(np.finfo(float).eps), rtol=1e-14)
    assert_allclose(fit.loss_after, np.log(2) / 2, rtol=1e-14)


@pytest.mark.parametrize("constant", [0.0, 3.7, -1e200, 1e-300])
def test_constant_logits_leave_the_temperature_at_one_with_a_warning(constant):
    with pytest.warns(UserWarning, match="all logits of each row are equal"):
        fit = fit_temperature(np.full((N, K), constant), Y)
    assert fit.temperature == 1
    assert fit.at_limit
    assert_allclose([fit.loss_before, fit.loss_after], np.log(K), rtol=1e-14)


def test_constant_rows_carry_nothing():
    logits = np.vstack([LOGITS, np.full((50, K), 3.0)])
    fit = fit_temperature(logits, np.append(Y, np.zeros(50, dtype=int)))
    assert_allclose(fit.temperature, fit_temperature(LOGITS, Y).temperature, rtol=1e-12)


def test_logits_that_contradict_the_labels_have_an_infinite_temperature_and_a_warning():
    with pytest.warns(UserWarning, match="contradict the labels"):
        fit = fit_temperature(-LOGITS, Y)
    assert fit.temperature == np.inf
    assert fit.at_limit
    assert_allclose(fit.loss_after, np.log(K), rtol=1e-14)
    assert_allclose(fit.loss_before, mean_cross_entropy(-LOGITS, np.eye(K)[Y], 1.0), rtol=1e-13)


def test_whether_logits_contradict_the_labels_is_told_by_means():
    # Right twice, wrong once, by 1, 1 and c: the mean of the true logits is that of all where 2 - c = 0.
    for c, limit in ((1.999, False), (2.0, True), (2.001, True)):
        logits = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, c]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            assert fit_temperature(logits, [0, 0, 0], classes=[0, 1]).at_limit == limit


# fit_temperature: numbers of any size


@pytest.mark.parametrize("scale", [1e6, 1e-6, 1e150, 1e-150, 1e300, 1e-300])
def test_the_temperature_is_equivariant_under_scaling(scale):
    expected = fit_temperature(LOGITS, Y)
    fit = fit_temperature(LOGITS * scale, Y)
    assert_allclose(fit.temperature / scale, expected.temperature, rtol=1e-12)
    assert_allclose(fit.loss_after, expected.loss_after, rtol=1e-12)


def test_a_shift_changes_no_more_than_the_rounding_of_the_shifted_logits():
    shifted = LOGITS + 1e6
    fit = fit_temperature(shifted, Y)
    assert_allclose(fit.temperature, best_temperature(shifted - 1e6, np.eye(K)[Y]), rtol=1e-12)
    by_row = LOGITS + 2.0 ** rng.integers(0, 9, size=(N, 1))
    assert_allclose(fit_temperature(by_row, Y).temperature, fit_temperature(LOGITS, Y).temperature, rtol=1e-11)


def test_differences_beyond_the_range_of_floats():
    logits = np.array([[1.5e308, -1.5e308, 0.0], [1e308, 1.2e308, 0.0], [0.0, 0.0, 1e308], [1e308, 0.0, 0.5e308]])
    y = [0, 0, 2, 1]
    fit = fit_temperature(logits, y)
    assert_allclose(fit.temperature, 2.0**1000 * fit_temperature(logits * 2.0**-1000, y).temperature, rtol=1e-12)


@pytest.mark.parametrize("gap", [3.0, 30.0, 300.0])
def test_losses_close_to_zero_keep_their_digits(gap):
    logits = gap * np.eye(K)[Y] + 0.01 * LOGITS
    with pytest.warns(UserWarning, match="largest logit"):
        fit = fit_temperature(logits, Y)
    assert_allclose(fit.loss_before, softmax_cross_entropy(logits, Y), rtol=1e-12)
    assert_allclose(fit.loss_after, softmax_cross_entropy(logits / fit.temperature, Y), rtol=1e-9)


@pytest.mark.parametrize("start", [1e-100, 1e-9, 1e9, 1e300])
def test_the_minimum_is_reached_from_anywhere(start, monkeypatch):
    expected = fit_temperature(LOGITS, Y).temperature
    monkeypatch.setattr(_temperature, "_guesses", lambda summary, unit: np.array([start]))
    fit = fit_temperature(LOGITS, Y)
    assert_allclose(fit.temperature, expected, rtol=1e-12)
    assert fit.optimality_gap < 1e-12


def test_labels_that_have_arrived_wait_for_the_others(monkeypatch):
    # In these units steps are soon too small to change log(1 / T).
    logits = 1e30 * LABEL_LOGITS
    expected = fit_temperature(logits, INDICATOR, multilabel=True).temperature
    monkeypatch.setattr(_temperature, "_guesses", lambda summary, unit: 1 / expected * [1, 1e-9, 1e9])
    fit = fit_temperature(logits, INDICATOR, multilabel=True)
    assert_allclose(fit.temperature, expected, rtol=1e-12)


def test_float32_logits_are_taken_as_they_are():
    single = LOGITS.astype(np.float32)
    fit = fit_temperature(single, Y)
    assert_allclose(fit.temperature, best_temperature(single.astype(float), np.eye(K)[Y]), rtol=1e-12)


def test_minus_infinity_is_a_probability_of_zero_at_every_temperature():
    logits = np.hstack([LOGITS, np.full((N, 1), -np.inf)])
    classes = np.arange(K + 1)
    fit = fit_temperature(logits, Y, classes=classes)
    assert_allclose(fit.temperature, fit_temperature(LOGITS, Y).temperature, rtol=1e-12)
    logits[::3, 5] = 2.0
    without = np.where(np.isinf(logits), -1e9, logits)
    fit = fit_temperature(logits, Y, classes=classes)
    assert_allclose(fit.temperature, best_temperature(without, np.eye(K + 1)[Y]), rtol=1e-12)


def test_minus_infinity_takes_no_part_in_means():
    # With the mean over finite logits the labels are contradicted, with any finite stand-in they would not be.
    logits = np.array([[0.0, 1.0, -np.inf], [0.0, 1.0, -np.inf]])
    with pytest.warns(UserWarning, match="contradict"):
        fit = fit_temperature(logits, [0, 0], classes=[0, 1, 2])
    assert_allclose(fit.loss_after, np.log(2), rtol=1e-14)
    # Wrong by 1 in two rows of five: less than half of 1, which is the mean of finite logits, more than a third of it.
    logits = np.array([[1.0, 0.0, -np.inf]] * 5)
    fit = fit_temperature(logits, [0, 0, 0, 1, 1], classes=[0, 1, 2])
    assert_allclose(fit.temperature, 1 / np.log(3 / 2), rtol=1e-12)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            [-np.inf, 1, 2, 3, 4],
            r"true class the probability 0 in rows \[3, 9\]; the first one holds \[-inf, 1.0",
        ),
        ([np.nan, 1, 2, 3, 4], r"must not be NaN, got NaN in rows \[3, 9\]"),
        ([np.inf, 1, 2, 3, 4], r"must not be \+inf, got it in rows \[3, 9\]"),
        ([-np.inf] * 5, r"finite entry in each row, but all are -inf.* in rows \[3, 9\]"),
    ],
)
def test_rows_that_have_no_distribution_or_no_loss_are_an_error_naming_them(row, message):
    logits, y = LOGITS.copy(), Y.copy()
    logits[[3, 9]], y[[3, 9]] = row, 0
    with pytest.raises(ValueError, match=message):
        fit_temperature(logits, y)
    weights = np.ones(N)
    weights[[3, 9]] = 0
    expected = fit_temperature(np.delete(LOGITS, [3, 9], axis=0), np.delete(Y, [3, 9])).temperature
    assert_allclose(fit_temperature(logits, y, sample_weight=weights).temperature, expected, rtol=1e-12)


def test_infinite_logits_of_two_classes_on_the_right_side_cost_nothing():
    y = np.array([0, 1, 1, 0, 1])
    logits = np.array([-np.inf, np.inf, 2.0, 1.0, -0.5])
    fit = fit_temperature(logits, y)
    assert_allclose(fit.temperature, fit_temperature(logits[2:], y[2:]).temperature, rtol=1e-12)
    with pytest.raises(ValueError, match="probability 0"):
        fit_temperature(-logits, y)


# fit_temperature: weights


def test_integer_weights_are_repeated_rows_and_zero_is_none():
    repeated = fit_temperature(np.repeat(LOGITS, WEIGHTS.astype(int), axis=0), np.repeat(Y, WEIGHTS.astype(int)))
    weighted = fit_temperature(LOGITS, Y, sample_weight=WEIGHTS)
    assert_allclose(weighted.temperature, repeated.temperature, rtol=1e-12)
    assert_allclose(weighted.loss_after, repeated.loss_after, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e306])
def test_weights_of_any_size(scale):
    expected = fit_temperature(LOGITS, Y, sample_weight=WEIGHTS).temperature
    assert_allclose(fit_temperature(LOGITS, Y, sample_weight=WEIGHTS * scale).temperature, expected, rtol=1e-12)


@pytest.mark.parametrize("weights", [-np.ones(N), np.zeros(N), np.full(N, np.nan), np.ones(3), ["a"] * N])
def test_weights_that_make_no_sense_are_an_error(weights):
    with pytest.raises(ValueError, match="sample_weight"):
        fit_temperature(LOGITS, Y, sample_weight=weights)


# fit_temperature: several labels


def test_each_of_several_labels_has_the_temperature_it_has_alone():
    fit = fit_temperature(LABEL_LOGITS, INDICATOR, multilabel=True)
    alone = [fit_temperature(z, y.astype(int)) for z, y in zip(LABEL_LOGITS.T, INDICATOR.T, strict=True)]
    assert_allclose(fit.temperature, [one.temperature for one in alone], rtol=1e-12)
    assert_allclose(fit.loss_before, [one.loss_before for one in alone], rtol=1e-12)
    assert_allclose(fit.loss_after, [one.loss_after for one in alone], rtol=1e-12)
    assert not fit.at_limit.any()


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_matrix, pd.DataFrame, lambda y: y.astype(bool)])
def test_forms_of_an_indicator(form):
    expected = fit_temperature(LABEL_LOGITS, INDICATOR, multilabel=True).temperature
    assert_array_equal(fit_temperature(LABEL_LOGITS, form(INDICATOR), multilabel=True).temperature, expected)


def test_unknown_labels_are_left_out_and_soft_ones_count_in_part():
    y, logits = INDICATOR.copy(), LABEL_LOGITS.copy()
    y[::3, 1] = np.nan
    logits[0, 1] = np.nan
    fit = fit_temperature(logits, y, multilabel=True)
    known = ~np.isnan(y[:, 1])
    alone = fit_temperature(logits[known, 1], y[known, 1].astype(int))
    assert_allclose(fit.temperature[1], alone.temperature, rtol=1e-12)
    y[:, 2] = 0.8 * y[:, 2] + 0.1
    soft = fit_temperature(logits, y, multilabel=True).temperature[2]
    z = LABEL_LOGITS[:, 2]
    expected = best_temperature(np.column_stack([0 * z, z]), np.column_stack([1 - y[:, 2], y[:, 2]]))
    assert_allclose(soft, expected, rtol=1e-12)


def test_weights_of_entries():
    weights = rng.integers(0, 3, size=INDICATOR.shape).astype(float)
    fit = fit_temperature(LABEL_LOGITS, INDICATOR, multilabel=True, sample_weight=weights)
    alone = [
        fit_temperature(z, y.astype(int), sample_weight=w).temperature
        for z, y, w in zip(LABEL_LOGITS.T, INDICATOR.T, weights.T, strict=True)
    ]
    assert_allclose(fit.temperature, alone, rtol=1e-12)


def test_limits_of_some_labels_leave_the_others_alone():
    logits = LABEL_LOGITS.copy()
    logits[:, 0] = 2 * INDICATOR[:, 0] - 1
    logits[:, 2] *= -1
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = fit_temperature(logits, INDICATOR, multilabel=True)
    messages = sorted(str(warning.message) for warning in caught)
    assert [message.split(":")[0] for message in messages] == [
        "in the columns [0] the true class has the largest logit in every row, or in all rows of noticeable weight",
        "in the columns [2] the logits contradict the labels",
    ]
    assert_array_equal(fit.at_limit, [True, False, True])
    alone = fit_temperature(LABEL_LOGITS[:, 1], INDICATOR[:, 1].astype(int))
    assert_allclose(fit.temperature[1], alone.temperature, rtol=1e-12)
    assert fit.temperature[2] == np.inf
    assert_allclose(fit.temperature[0], 1 / -np.log(np.finfo(float).eps), rtol=1e-12)


def test_many_blocks_of_several_labels(monkeypatch):
    expected = fit_temperature(LABEL_LOGITS, INDICATOR, multilabel=True).temperature
    monkeypatch.setattr(_logits, "_BLOCK_SIZE", 2**7)
    assert_allclose(fit_temperature(LABEL_LOGITS, INDICATOR, multilabel=True).temperature, expected, rtol=1e-12)


# fit_temperature: errors and promises


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((LOGITS[0, 0], Y), {}, ValueError, "logits must have the shape"),
        ((LOGITS[None], Y), {}, ValueError, "logits must have the shape"),
        ((LOGITS[:0], Y[:0]), {}, ValueError, "logits must have the shape"),
        ((LOGITS * 1j, Y), {}, TypeError, "logits must be an array of real numbers"),
        ((sparse.csr_array(LOGITS), Y), {}, TypeError, "logits must be dense"),
        ((LOGITS, Y[:-1]), {}, ValueError, "must have the same number of rows"),
        ((LOGITS, LOGITS), {}, ValueError, "y must hold a distribution"),
        ((LOGITS, np.full((N, 3), 1 / 3)), {}, ValueError, "y must have a column for each of the 5 classes, got 3"),
        ((LOGITS, Y), {"multilabel": "yes"}, TypeError, "multilabel must be True or False"),
        ((LOGITS[:, 0], INDICATOR), {"multilabel": True}, ValueError, "reshape"),
        ((LOGITS, INDICATOR), {"multilabel": True}, ValueError, "y must have a column for each of the 5 labels, got 3"),
        ((LOGITS, np.eye(K)[Y]), {"multilabel": True, "classes": range(5)}, ValueError, "classes can't be given"),
        ((LABEL_LOGITS, INDICATOR * [1, np.nan, 1]), {"multilabel": True}, ValueError, r"no known entry .* \[1\]"),
        ((LABEL_LOGITS, Y % 2), {"multilabel": True}, ValueError, r"y must have the shape \(n, L\)"),
        ((LABEL_LOGITS, INDICATOR), {}, ValueError, r"fit_temperature\(..., multilabel=True\)"),
        ((LOGITS, np.where(Y == 1, None, Y)), {}, ValueError, "NaN or None"),
        ((LOGITS, Y + 0.5), {}, ValueError, "Unknown label type: continuous"),
    ],
)
def test_errors_of_fit_temperature(arguments, options, error, message):
    with pytest.raises(error, match=message):
        fit_temperature(*arguments, **options)


def test_the_temperature_is_the_same_bits_for_any_number_of_threads():
    rng = np.random.default_rng(3)
    y = rng.integers(10, size=60_000)
    logits = rng.normal(size=(y.size, 10)) + 2 * np.eye(10)[y]
    fits = []
    for limit in (1, 2):
        with threadpool_limits(limits=limit, user_api="blas"):
            fits.append(fit_temperature(logits, y))
    assert fits[0] == fits[1]


@pytest.mark.parametrize(
    "form", [np.asfortranarray, lambda z: z[::-1][::-1], lambda z: np.repeat(z, 2, axis=1)[:, ::2]]
)
def test_layouts_of_memory_make_no_difference(form):
    assert fit_temperature(form(LOGITS), Y) == fit_temperature(LOGITS, Y)


def test_inputs_are_not_changed_and_may_be_read_only():
    arrays = [LOGITS.copy(), Y.copy(), WEIGHTS.copy()]
    for array in arrays:
        array.flags.writeable = False
    fit_temperature(arrays[0], arrays[1], sample_weight=arrays[2])
    assert_array_equal(arrays[0], LOGITS)


def test_memory_above_the_logits_is_little():
    rng = np.random.default_rng(4)
    n = 400_000
    y = rng.integers(10, size=n)
    logits = rng.normal(size=(n, 10)) + 2 * np.eye(10)[y]
    fit_temperature(logits[:1000], y[:1000])
    tracemalloc.start()
    fit_temperature(logits, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * n + 20e6


# fit_temperature: weights and logits of very different sizes


def test_a_contradicting_row_of_tiny_weight_keeps_the_temperature_low():
    fit = fit_temperature([5.0, 1.0], [1, 0], classes=[0, 1], sample_weight=[1.0, 1e-160])
    # At the minimum 5 exp(-5 beta) = 1e-160.
    assert_allclose(fit.temperature, 5 / (160 * np.log(10) + np.log(5)), rtol=1e-3)
    assert fit.loss_after < 1e-157
    assert fit.optimality_gap < 1e-12


def test_a_soft_target_near_zero_is_no_scale():
    y = np.array([[1 - 1e-220, 1e-220], [1.0, 0.0], [0.0, 1.0]])
    logits = np.array([[2.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
    fit = fit_temperature(logits, y)
    assert_allclose(fit.temperature, fit_temperature(logits, [0, 0, 1]).temperature, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e-60])
def test_a_row_whose_weight_is_next_to_nothing_leads_to_a_tiny_temperature_and_no_nan(scale):
    logits = scale * np.array([[4.0, 1.0, 9.0], [-18.0, 10.0, -2.7]])
    fit = fit_temperature(logits, ["cat", "cat"], classes=["bird", "cat", "dog"], sample_weight=[1e-293, 1.0])
    # At the minimum 12.7 exp(-12.7 beta) = 8e-293, but for the third class.
    assert_allclose(fit.temperature / scale, 12.7 / np.log(12.7 / 8e-293), rtol=0.02)
    assert 0 < fit.loss_after < 1e-290
    assert fit.optimality_gap < 1e-6


def test_labels_whose_logits_differ_by_1e100_and_more_in_scale():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(40, 4))
    logits = rng.normal(size=(40, 4)) + 2 * y - 1
    scales = np.array([1.0, 1e100, 1e-100, 1e200])
    alone = [fit_temperature(column, labels).temperature for column, labels in zip(logits.T, y.T, strict=True)]
    fit = fit_temperature(logits * scales, y, multilabel=True)
    assert_allclose(fit.temperature / scales, alone, rtol=1e-11)
    assert (fit.optimality_gap < 1e-12).all()


def test_a_temperature_too_small_for_a_float_comes_without_a_certificate():
    logits = np.array([[0, 0, 0], [1e-323, 1e-323, 2e-323], [1e-253, 0, 0], [2e-322, 2.4e-320, -9e-320]])
    with pytest.warns((ConvergenceWarning, UserWarning)):
        fit = fit_temperature(logits, [0, 1, 1, 0], classes=[0, 1, 2], sample_weight=[1e-5, 1e-160, 1e-160, 1e150])
    assert fit.temperature > 0
    assert fit.loss_after <= fit.loss_before
    assert fit.optimality_gap == np.inf or fit.at_limit


def test_a_fit_gives_calibrated_probabilities_and_logits():
    z = LOGITS
    fit = fit_temperature(z, Y)
    assert_array_equal(fit.predict_proba(z), softmax(z, temperature=fit.temperature))
    assert_array_equal(fit.transform(z), z / fit.temperature)
    odds = z[:, 1] - z[:, 0]
    fit = fit_temperature(odds, Y == 1)
    assert_array_equal(fit.predict_proba(odds)[:, 1], sigmoid(odds, temperature=fit.temperature))
    assert_array_equal(fit.predict_proba(odds[:, np.newaxis]), fit.predict_proba(odds))
    assert fit.transform(odds).shape == odds.shape
    z = LABEL_LOGITS
    fit = fit_temperature(z, INDICATOR, multilabel=True)
    assert_array_equal(fit.predict_proba(z), sigmoid(z / fit.temperature))
    assert fit.predict_proba(z[:0]).shape == (0, 3)
    with pytest.raises(ValueError, match=r"logits must have the shape \(n, 3\), a column for each label, got"):
        fit.predict_proba(z[:, :2])
    with pytest.raises(ValueError, match="logits hold NaN, first in row 1"):
        fit.transform([[0, 0, 0], [1, np.nan, 2]])
    with pytest.raises(ValueError, match=r"logits must have the shape \(n, K\) or \(n,\), got"):
        fit_temperature(LOGITS, Y).predict_proba(z[np.newaxis])


def test_an_infinite_temperature_leaves_impossible_classes_impossible():
    z = np.array([[3.0, 0.0, -np.inf], [0.0, 3.0, 1.0], [1.0, 2.0, 0.0]])
    with pytest.warns(UserWarning, match="the logits contradict the labels"):
        fit = fit_temperature(z, [1, 0, 2])
    assert fit.temperature == np.inf
    assert_array_equal(fit.predict_proba(z)[0], [0.5, 0.5, 0])
    assert TemperatureFit.from_json(fit.to_json()) == fit


def test_a_fit_in_json():
    fits = [fit_temperature(LOGITS, Y), fit_temperature(LABEL_LOGITS, INDICATOR, multilabel=True)]
    for fit in fits:
        read = TemperatureFit.from_json(fit.to_json())
        assert read == fit
        assert hash(read) == hash(fit)
        z = LOGITS if np.ndim(fit.temperature) == 0 else LABEL_LOGITS
        assert_array_equal(read.predict_proba(z), fit.predict_proba(z))
    assert fits[0] != fits[1]
    with pytest.raises(ValueError, match="text must be a JSON object with exactly the keys"):
        TemperatureFit.from_json('{"temperature": 1.0}')
    with pytest.raises(ValueError, match=r"text must be a JSON object with exactly the keys .* got list"):
        TemperatureFit.from_json("[1]")
    stored = json.loads(fits[0].to_json())
    for name, value in (("temperature", -1), ("temperature", 0), ("temperature", "warm"), ("at_limit", None)):
        with pytest.raises(ValueError, match=f"text has no possible value of {name}: "):
            TemperatureFit.from_json(json.dumps(stored | {name: value}))


def test_what_a_fit_looks_like():
    fit = fit_temperature(LOGITS, Y)
    assert re.fullmatch(r"TemperatureFit\(temperature=[\d.]+, loss_before=[\d.]+, loss_after=[\d.]+\)", repr(fit))
    assert fit._repr_html_().count("<tr>") == 2
    several = fit_temperature(LABEL_LOGITS, INDICATOR, multilabel=True)
    assert several._repr_html_().count("<tr>") == 4
    assert repr(several).startswith("TemperatureFit(temperature=[")
