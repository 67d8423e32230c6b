"""Inputs that metrics of calibration accept and reject, with the messages of the errors."""

import numpy as np
import pandas as pd
import pytest

from skactivation.metrics import calibration_decomposition, expected_calibration_error, reliability_curve

METRICS = [expected_calibration_error, reliability_curve, calibration_decomposition]
THREE = np.array([[0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("y", "p", "settings", "error", "message"),
    [
        ([0, 1], [0.5, 1.5], {}, ValueError, r"y_proba must hold probabilities, got values outside \[0, 1\]"),
        (
            [0, 1],
            [0.5, np.nan],
            {},
            ValueError,
            "y_proba must hold probabilities, got NaN in row 1",
        ),
        ([0, 1], [0.5, 0.5, 0.5], {}, ValueError, "y_true and y_proba must have the same number of rows, got 2 and 3"),
        ([], [], {}, ValueError, "at least one row and one column"),
        ([0, 1], np.zeros((2, 2, 1)), {}, ValueError, r"y_proba must have the shape \(n,\), \(n, K\)"),
        (1, [0.5], {}, ValueError, "y_true and y_proba must have the same number of rows, got 0 and 1"),
        ([0, 1], [[0.5], [0.4]], {}, ValueError, r"got one column; pass .* in one dimension, y_proba\[:, 0\]"),
        ([0, 1], [[0.5, 0.2], [0.4, 0.6]], {}, ValueError, "distribution in each row.*row 0 sums to 0.7.*indicator"),
        (
            ["a", "b", "b", "a"],
            THREE,
            {},
            ValueError,
            r"y_true holds 2 different labels, \['a', 'b'\], for 3 columns.*`labels`",
        ),
        ([1, 2, 2, 1], THREE, {}, ValueError, "which label belongs to which column isn't clear"),
        ([2, 2], [0.5, 0.4], {}, ValueError, "y_true holds 1 different labels"),
        (
            ["a", "b", "c", "d"],
            THREE,
            {"labels": ["a", "b", "c"]},
            ValueError,
            r"y_true holds labels that aren't among",
        ),
        (["a", "b", "c", "c"], THREE, {"labels": ["a", "b"]}, ValueError, "labels must name each of 3 columns, got 2"),
        (["a", "b", "c", "c"], THREE, {"labels": ["a", "b", "b"]}, ValueError, "labels must be different"),
        ([0.5, 1.2, 0.7, 0.1], THREE, {}, ValueError, "Unknown label type"),
        ([[0, 1], [1]], [0.5, 0.5], {}, ValueError, "y_true must be an array, got rows of different lengths"),
        (np.ma.array([0, 1], mask=[0, 1]), [0.5, 0.5], {}, TypeError, "y_true must not be a masked array"),
        (
            [0, 1],
            [np.eye(2)] * 2,
            {},
            ValueError,
            r"for a list of arrays, as forests return for several labels, pass np\.column_stack",
        ),
        ([0, 1, None, 2], THREE, {}, ValueError, "y_true contains NaN or None: row 2"),
        ([0, 1, "a", 2], THREE, {}, ValueError, "for 3 columns"),
        (
            [[1, 0], [0, 1]],
            [[0.2, 0.3, 0.4], [0.2, 0.3, 0.4]],
            {},
            ValueError,
            r"y_proba must have y_true's shape \(2, 2\)",
        ),
        (
            [[1, 0], [0, 3]],
            [[0.2, 0.3], [0.2, 0.3]],
            {},
            ValueError,
            "y_true must hold 0 and 1 .*got 3",
        ),
        ([0, 1], [0.2, 0.3], {"sample_weight": [1, -1]}, ValueError, "sample_weight must not be negative"),
        ([0, 1], [0.2, 0.3], {"sample_weight": [0, 0]}, ValueError, "zero for every row"),
        ([0, 1], [0.2, 0.3], {"sample_weight": [1, 2, 3]}, ValueError, "sample_weight has the shape"),
        ([0, 1], ["x", "y"], {}, ValueError, "y_proba must be an array of real numbers"),
    ],
)
def test_bad_input_is_an_error(metric, y, p, settings, error, message):
    with pytest.raises(error, match=message):
        metric(y, p, **settings)


@pytest.mark.parametrize("metric", METRICS)
def test_columns_of_frames_name_the_classes_if_they_have_names(metric):
    p = pd.DataFrame(THREE, columns=["c", "a", "b"])
    with pytest.raises(ValueError, match=r"y_true holds \['z'\], which are no columns of the data frame"):
        metric(["c", "a", "z", "a"], p)
    # pandas numbers columns without names; these numbers are not classes.
    with pytest.raises(ValueError, match="which label belongs to which column isn't clear"):
        metric([1, 2, 2, 1], pd.DataFrame(THREE))
    y = pd.DataFrame([[1, 0, 0], [0, 1, 1]], columns=["a", "b", "c"])
    metric(y, pd.DataFrame(THREE[:2]))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sums_may_differ_from_one_as_far_as_printed_digits_lead(metric, dtype):
    root = 1e-3
    p = np.array([[0.25, 0.75], [0.5, 0.5]])
    metric([0, 1], (p * (1 + 0.5 * root)).astype(dtype))
    for wrong in (p * (1 + 3 * root), p * (1 - 3 * root)):
        with pytest.raises(ValueError, match="sums to"):
            metric([0, 1], wrong.astype(dtype))
    metric([0, 1], np.array([0.5, 1 + 0.5 * root], dtype=dtype))
    for wrong in (1 + 3 * root, -1e-30):
        with pytest.raises(ValueError, match="must hold probabilities"):
            metric([0, 1], np.array([0.5, wrong], dtype=dtype))
    for wrong in ([[np.inf, -np.inf], [0.5, 0.5]], [[3e38, 3e38], [0.5, 0.5]]):
        with pytest.raises(ValueError, match="must hold probabilities"):
            metric([0, 1], np.array(wrong, dtype=dtype))


@pytest.mark.parametrize("metric", METRICS)
def test_frames_whose_columns_differ_are_an_error(metric):
    y = pd.DataFrame([[1, 0], [0, 1]], columns=["a", "b"])
    p = pd.DataFrame([[0.2, 0.4], [0.3, 0.5]], columns=["b", "a"])
    with pytest.raises(ValueError, match=r"the columns of y_true in the same order, \['a', 'b'\], got \['b', 'a'\]"):
        metric(y, p)
    twice = pd.DataFrame([[1, 0], [0, 1]], columns=["a", "a"])
    with pytest.raises(ValueError, match=r"y_true must have distinct column names, got \['a', 'a'\]"):
        metric(twice, p.to_numpy())


def test_a_label_without_known_entries_is_left_out():
    y = np.array([[1, np.nan, 0], [0, np.nan, 1], [1, np.nan, 1]])
    p = np.array([[0.3, 0.2, 0.1], [0.4, 0.9, 0.8], [0.7, 0.1, 0.6]])
    known = [0, 2]
    found = expected_calibration_error(y, p, kind="classwise", n_bins=4)
    assert found == pytest.approx(expected_calibration_error(y[:, known], p[:, known], kind="classwise", n_bins=4))
    assert list(reliability_curve(y, p, kind="classwise")) == known
    parts = calibration_decomposition(y, p)
    assert list(parts.per_class) == known
    assert parts.miscalibration == pytest.approx(calibration_decomposition(y[:, known], p[:, known]).miscalibration)
    weights = np.array([[1, 0, 1]] * 3)
    zero = np.where(np.isnan(y), 0, y)
    assert list(reliability_curve(zero, p, kind="classwise", sample_weight=weights)) == known
    for metric in METRICS:
        with pytest.raises(ValueError, match="y_true has no known entry of positive weight"):
            metric(np.full((2, 2), np.nan), p[:2, :2])
    # The most probable label is unknown in the second row, then in all rows.
    assert expected_calibration_error(y, p) == pytest.approx((0.7 + 0.3) / 2)
    with pytest.raises(ValueError, match="no known entry of positive weight among the most probable labels"):
        expected_calibration_error(y, p[:, [0, 1, 2]] * [0.1, 1, 0.1])


def test_integers_that_are_column_numbers_may_lack_some():
    y, p = [0, 1, 1, 0], THREE
    assert expected_calibration_error(y, p) == expected_calibration_error(y, p, labels=[0, 1, 2])
    assert expected_calibration_error([False, False], [0.1, 0.2]) == pytest.approx(0.15)


def test_a_class_that_occurs_only_in_rows_of_weight_0_is_ignored():
    weights = [1, 1, 1, 0]
    with_them = expected_calibration_error([0, 1, 2, 9], THREE, sample_weight=weights)
    assert with_them == expected_calibration_error([0, 1, 2], THREE[:3])


def test_a_column_vector_of_labels():
    y = np.array([[0], [1], [1]])
    # With y_proba of shape (n, 1), y is an indicator of one label.
    assert expected_calibration_error(y, [[0.2], [0.6], [0.7]], kind="classwise") == pytest.approx(0.3)
    assert list(reliability_curve(y, [[0.2], [0.6], [0.7]]).prob_pred) == [0.2, 0.6, 0.7]
    # With two columns, or with one dimension, y holds labels of two classes.
    for p in ([[0.8, 0.2], [0.4, 0.6], [0.3, 0.7]], [0.2, 0.6, 0.7]):
        with pytest.warns(UserWarning, match="column-vector"):
            error = expected_calibration_error(y, p, kind="classwise", labels=[0, 1])
        assert error == pytest.approx(0.3)
        with pytest.warns(UserWarning, match="column-vector"):
            assert reliability_curve(y, p).prob_pred == pytest.approx([0.6, 0.7, 0.8])


def test_ties_go_to_the_first_class():
    assert expected_calibration_error([0, 0], [[0.5, 0.5]] * 2, labels=[0, 1]) == 0.5
    assert expected_calibration_error([1, 1], [[0.5, 0.5]] * 2, labels=[0, 1]) == 0.5
    right = reliability_curve([0, 0], [0.5, 0.5], labels=[0, 1])
    assert right.prob_true == [1.0]
