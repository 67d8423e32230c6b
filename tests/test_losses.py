"""Accuracy, weights, special values, derivatives and errors of the losses."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, special
from sklearn.metrics import log_loss

import longhand
from skactivation._class_major_losses import SigmoidLoss, SoftmaxLoss, softmax_targets
from skactivation.losses import sigmoid_cross_entropy, softmax_cross_entropy

DTYPES = (np.float64, np.float32)
REDUCTIONS = ("mean", "sum", "none")
INF, NAN = np.inf, np.nan


def one_hot(indices, n_classes):
    return np.eye(n_classes)[indices]


def softmax_problem(seed=0, n_rows=30, n_classes=4, scale=3.0):
    """Logits, class indices, soft targets and weights of rows."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(n_rows, n_classes))
    indices = rng.integers(n_classes, size=n_rows)
    return logits, indices, rng.dirichlet(np.ones(n_classes), size=n_rows), rng.uniform(0.1, 5, size=n_rows)


def sigmoid_problem(seed=0, n_rows=30, n_labels=4, scale=3.0):
    """Logits, hard targets, soft targets and weights of entries."""
    rng = np.random.default_rng(seed)
    shape = (n_rows, n_labels)
    hard, soft = rng.integers(2, size=shape).astype(float), rng.uniform(size=shape)
    return rng.normal(scale=scale, size=shape), hard, soft, rng.uniform(0.1, 5, size=shape)


def assert_close_in_eps(got, exact, dtype, n_eps=8):
    """Relative errors of at most so many machine epsilons against numbers of mpmath."""
    errors = [longhand.relative_error(g, e) for g, e in zip(np.ravel(got), exact, strict=True)]
    assert max(errors) <= n_eps * np.finfo(dtype).eps


# Accuracy.


@pytest.mark.parametrize("lead", [37, 40, 85])
@pytest.mark.parametrize("n_classes", [2, 10, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_loss_is_accurate_where_the_true_class_is_far_ahead(dtype, n_classes, lead):
    rng = np.random.default_rng(lead)
    logits = rng.uniform(-1, 1, size=(5, n_classes))
    indices = rng.integers(n_classes, size=5)
    logits[np.arange(5), indices] = lead + 1 + rng.uniform(size=5)
    logits = logits.astype(dtype)
    targets = one_hot(indices, n_classes)
    exact = [longhand.softmax_cross_entropy(z, t) for z, t in zip(logits, targets, strict=True)]
    for given in (indices, targets):
        got = softmax_cross_entropy(logits, given, reduction="none")
        assert got.min() > 0
        assert_close_in_eps(got, exact, dtype)


def test_loss_is_accurate_down_to_the_least_float():
    for lead in (300.0, 700.0, 740.0, 745.0):
        exact = longhand.softmax_cross_entropy([lead, 0.0], [1, 0])
        for target in ([0], [[1.0, 0.0]]):
            assert longhand.ulp_error(softmax_cross_entropy([[lead, 0.0]], target), exact, np.float64) <= 4
        assert longhand.ulp_error(sigmoid_cross_entropy([lead], [1]), exact, np.float64) <= 4
        assert longhand.ulp_error(sigmoid_cross_entropy([-lead], [0]), exact, np.float64) <= 4


@pytest.mark.parametrize("scale", [0.01, 3, 100, 1000])
@pytest.mark.parametrize(("n_classes", "n_rows"), [(2, 40), (10, 20), (31, 6), (100, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_softmax_loss_is_accurate_for_logits_of_any_size(dtype, n_classes, n_rows, scale):
    logits, indices, soft, _ = softmax_problem(n_classes, n_rows, n_classes, scale)
    logits, hard = logits.astype(dtype), one_hot(indices, n_classes)
    # A loss that underflows has no relative error.
    above = [longhand.softmax_cross_entropy(z, t) > np.finfo(dtype).tiny for z, t in zip(logits, hard, strict=True)]
    logits, indices, hard, soft = logits[above], indices[above], hard[above], soft[above]
    soft /= soft.sum(axis=1, keepdims=True)
    for targets, rows in ((indices, hard), (hard, hard), (soft, soft)):
        exact = [longhand.softmax_cross_entropy(z, t) for z, t in zip(logits, rows, strict=True)]
        assert_close_in_eps(softmax_cross_entropy(logits, targets, reduction="none"), exact, dtype)


@pytest.mark.parametrize(
    ("dtype", "n_classes", "seed"),
    [(np.float64, 20, 13925), (np.float64, 31, 12736), (np.float32, 20, 12427), (np.float32, 31, 14109)],
)
def test_loss_of_one_hot_targets_is_accurate_on_the_hardest_rows_of_a_search(dtype, n_classes, seed):
    row = np.random.default_rng(seed).normal(size=n_classes) * 0.5
    row[0] = np.log((n_classes - 1) / 0.52)
    row, target = row.astype(dtype), one_hot(0, n_classes)
    # A single row would be contiguous along the classes and summed in another order.
    got = softmax_cross_entropy(np.stack([row, row]), [target, target], reduction="none")
    assert_close_in_eps(got[:1], [longhand.softmax_cross_entropy(row, target)], dtype)


@pytest.mark.parametrize("pos_weight", [1.0, 7.3])
@pytest.mark.parametrize("target", [0, 1, 0.3, 1e-10])
@pytest.mark.parametrize("scale", [0.01, 3, 30, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_loss_is_accurate_for_logits_of_any_size(dtype, scale, target, pos_weight):
    logits = np.random.default_rng(2).normal(scale=scale, size=40).astype(dtype)
    target = float(dtype(target))
    exact = [longhand.sigmoid_cross_entropy(z, target, pos_weight) for z in logits]
    above = np.array([e > np.finfo(dtype).tiny for e in exact])
    got = sigmoid_cross_entropy(logits, np.full(40, target), pos_weight=pos_weight, reduction="none")
    assert_close_in_eps(got[above], [e for e, kept in zip(exact, above, strict=True) if kept], dtype)


def test_a_row_alone_has_the_loss_it_has_in_company():
    logits, indices, soft, _ = softmax_problem(1, n_rows=20, n_classes=31)
    for targets in (indices, soft):
        together = softmax_cross_entropy(logits, targets, reduction="none")
        alone = [softmax_cross_entropy(logits[[i]], targets[[i]]) for i in range(20)]
        assert_allclose(alone, together, rtol=2e-15)


def test_many_rows_are_computed_like_a_few():
    logits, indices, soft, weights = softmax_problem(2, n_rows=70_001, n_classes=3)
    log_p = special.log_softmax(logits, axis=1)
    expected = -np.take_along_axis(log_p, indices[:, np.newaxis], axis=1)[:, 0]
    assert_allclose(softmax_cross_entropy(logits, indices, reduction="none"), expected, rtol=1e-13, atol=2e-14)
    expected = weights * -(soft * log_p).sum(axis=1)
    got = softmax_cross_entropy(logits, soft, sample_weight=weights, reduction="none")
    assert_allclose(got, expected, rtol=1e-13, atol=2e-14)
    expected = np.logaddexp(0, logits) - soft * logits
    assert_allclose(sigmoid_cross_entropy(logits, soft, reduction="none"), expected, rtol=1e-13, atol=2e-14)
    assert_allclose(
        sigmoid_cross_entropy(logits[:, 0], soft[:, 0], reduction="none"), expected[:, 0], rtol=1e-13, atol=2e-14
    )


# Identities.


def test_mean_agrees_with_log_loss():
    logits, indices, _, weights = softmax_problem(3)
    expected = log_loss(indices, special.softmax(logits, axis=1), sample_weight=weights, labels=range(4))
    assert_allclose(softmax_cross_entropy(logits, indices, sample_weight=weights), expected, rtol=1e-13)
    logits, hard, _, weights = (a.ravel() for a in sigmoid_problem(3))
    expected = log_loss(hard, special.expit(logits), sample_weight=weights)
    assert_allclose(sigmoid_cross_entropy(logits, hard, sample_weight=weights), expected, rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_indices_mean_the_same_as_one_hot_rows(smoothing, dtype):
    logits, indices, _, _ = softmax_problem(4)
    for kind in (np.int64, np.int8, np.uint8, np.uint64):
        hard, onehot = (
            softmax_cross_entropy(logits.astype(dtype), targets, label_smoothing=smoothing, reduction="none")
            for targets in (indices.astype(kind), one_hot(indices, 4))
        )
        assert_allclose(hard, onehot, rtol=4 * np.finfo(dtype).eps)


def test_bools_lists_and_series_are_class_indices():
    logits, indices = np.random.default_rng(5).normal(size=(4, 2)), [0, 1, 1, 0]
    expected = softmax_cross_entropy(logits, np.array(indices))
    for targets in (indices, np.array(indices, dtype=bool), pd.Series(indices, index=[7, 5, 3, 1])):
        assert softmax_cross_entropy(logits, targets) == expected
    assert softmax_cross_entropy(pd.DataFrame(logits), indices) == expected
    assert softmax_cross_entropy(logits.tolist(), indices) == expected


def test_soft_targets_that_sum_to_one_in_float32_only_are_divided_by_their_sum():
    logits, _, soft, _ = softmax_problem(6)
    rounded = soft.astype(np.float32)
    expected = softmax_cross_entropy(logits, rounded.astype(float) / rounded.sum(axis=1, dtype=float)[:, np.newaxis])
    assert_allclose(softmax_cross_entropy(logits, rounded), expected, rtol=1e-14)


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 1.0])
def test_smoothing_moves_targets_towards_the_uniform_distribution(smoothing):
    logits, indices, soft, _ = softmax_problem(7)
    for targets, rows in ((indices, one_hot(indices, 4)), (soft, soft)):
        moved = softmax_cross_entropy(logits, (1 - smoothing) * rows + smoothing / 4, reduction="none")
        got = softmax_cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        assert_allclose(got, moved, rtol=1e-14)
    logits, hard, soft, _ = sigmoid_problem(7)
    for targets in (hard, soft):
        moved = sigmoid_cross_entropy(logits, (1 - smoothing) * targets + smoothing / 2, reduction="none")
        got = sigmoid_cross_entropy(logits, targets, label_smoothing=smoothing, reduction="none")
        assert_allclose(got, moved, rtol=1e-14)


def test_two_classes_are_one_label():
    logits, hard, soft, _ = (a.ravel() for a in sigmoid_problem(8))
    columns = np.stack([np.zeros_like(logits), logits], axis=1)
    expected = sigmoid_cross_entropy(logits, hard, reduction="none")
    assert_allclose(softmax_cross_entropy(columns, hard.astype(int), reduction="none"), expected, rtol=1e-14)
    got = softmax_cross_entropy(columns, np.stack([1 - soft, soft], axis=1), reduction="none")
    assert_allclose(got, sigmoid_cross_entropy(logits, soft, reduction="none"), rtol=1e-14)


def test_one_class_costs_nothing():
    assert_array_equal(softmax_cross_entropy([[3.0], [-1e308]], [0, 0], reduction="none"), [0, 0])
    assert_array_equal(softmax_cross_entropy([[3.0], [-1e308]], [[1.0], [1.0]], reduction="none"), [0, 0])


@pytest.mark.parametrize("pos_weight", [0.2, 7.0, np.array([0.5, 1, 3, 100])])
def test_pos_weight_multiplies_the_loss_of_yes(pos_weight):
    logits, hard, soft, weights = sigmoid_problem(9)
    for targets in (hard, soft):
        yes, no = np.logaddexp(0, -logits), np.logaddexp(0, logits)
        expected = pos_weight * targets * yes + (1 - targets) * no
        got = sigmoid_cross_entropy(logits, targets, pos_weight=pos_weight, reduction="none")
        assert_allclose(got, expected, rtol=1e-13)
        # pos_weight does not enter the denominator of the mean.
        got = sigmoid_cross_entropy(logits, targets, pos_weight=pos_weight, sample_weight=weights)
        assert_allclose(got, np.average(expected, weights=weights), rtol=1e-13)


def test_pos_weight_of_one_changes_nothing():
    logits, _, soft, _ = sigmoid_problem(10)
    plain = sigmoid_cross_entropy(logits, soft, reduction="none")
    for pos_weight in (1, 1.0, np.ones(4), [1, 1, 1, 1]):
        assert_array_equal(sigmoid_cross_entropy(logits, soft, pos_weight=pos_weight, reduction="none"), plain)


# Weights and reductions.


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_integer_weights_are_repeats(reduction):
    counts = np.random.default_rng(11).integers(0, 4, size=30)
    for function, (logits, hard, soft, _) in (
        (softmax_cross_entropy, softmax_problem(11)),
        (sigmoid_cross_entropy, sigmoid_problem(11)),
    ):
        for targets in (hard, soft):
            weighted = function(logits, targets, sample_weight=counts, reduction=reduction)
            repeated = function(
                np.repeat(logits, counts, axis=0), np.repeat(targets, counts, axis=0), reduction=reduction
            )
            assert_allclose(weighted, repeated, rtol=1e-14)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights_of_one_are_no_weights(reduction):
    logits, indices, _, _ = softmax_problem(12)
    weighted = softmax_cross_entropy(logits, indices, sample_weight=np.ones(30), reduction=reduction)
    assert_array_equal(weighted, softmax_cross_entropy(logits, indices, reduction=reduction))
    logits, hard, _, _ = sigmoid_problem(12)
    for weights in (np.ones(30), np.ones((30, 4))):
        weighted = sigmoid_cross_entropy(logits, hard, sample_weight=weights, reduction=reduction)
        assert_array_equal(weighted, sigmoid_cross_entropy(logits, hard, reduction=reduction))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("bad", [(INF, 0), (NAN, 0), (-INF, -INF)])
def test_a_row_of_weight_zero_is_not_there_whatever_its_loss(bad, reduction):
    logits, weights = np.array([[1.0, 2], bad, [3, -1]]), np.array([2.0, 0, 0.5])
    kept = [0, 2]
    for targets in (np.array([0, 1, 1]), np.array([[0.5, 0.5], [0, 1], [1, 0]])):
        got = softmax_cross_entropy(logits, targets, sample_weight=weights, reduction=reduction)
        without = softmax_cross_entropy(logits[kept], targets[kept], sample_weight=weights[kept], reduction=reduction)
        assert_allclose(got, without, rtol=1e-15)
        assert softmax_cross_entropy(logits, targets, sample_weight=weights, reduction="none")[1] == 0
    targets = np.array([[0.5, 1], [0, 1], [1, 0]])
    got = sigmoid_cross_entropy(logits, targets, sample_weight=weights, reduction=reduction)
    without = sigmoid_cross_entropy(logits[kept], targets[kept], sample_weight=weights[kept], reduction=reduction)
    assert_allclose(got, without, rtol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
def test_reductions_are_of_the_weighted_losses(dtype):
    for function, (logits, hard, soft, weights) in (
        (softmax_cross_entropy, softmax_problem(13)),
        (sigmoid_cross_entropy, sigmoid_problem(13)),
    ):
        for targets in (hard, soft):
            plain = function(logits.astype(dtype), targets, reduction="none")
            mean, total, each = (
                function(logits.astype(dtype), targets, sample_weight=weights, reduction=reduction)
                for reduction in REDUCTIONS
            )
            rtol = 8 * np.finfo(dtype).eps
            assert_allclose(each, weights * plain, rtol=rtol)
            assert_allclose(total, each.sum(dtype=float), rtol=rtol)
            assert_allclose(mean, each.sum(dtype=float) / weights.sum(), rtol=rtol)
            assert function(logits.astype(dtype), targets, sample_weight=weights) == mean


@pytest.mark.parametrize("size", [1e-300, 1e300])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_size_of_weights_does_not_matter_to_the_mean(dtype, size):
    for function, (logits, hard, _, weights) in (
        (softmax_cross_entropy, softmax_problem(14)),
        (sigmoid_cross_entropy, sigmoid_problem(14)),
    ):
        expected = function(logits.astype(dtype), hard, sample_weight=weights)
        got = function(logits.astype(dtype), hard, sample_weight=weights * size)
        assert_allclose(got, expected, rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("lead", [37.0, 100.0])
def test_tiny_weights_do_not_cost_digits(lead):
    # The weighted loss would be subnormal.
    weights = [1e-300, 3e-300]
    for function, logits, targets in (
        (softmax_cross_entropy, [[lead, 0], [lead, 0]], [0, 0]),
        (sigmoid_cross_entropy, [lead, lead], [1, 1]),
    ):
        assert_allclose(function(logits, targets, sample_weight=weights), function(logits, targets), rtol=1e-15)


# NaN targets.


@pytest.mark.parametrize("pos_weight", [None, 3.0])
def test_unknown_targets_are_left_out(pos_weight):
    logits, _, targets, weights = sigmoid_problem(15)
    known = np.random.default_rng(15).uniform(size=targets.shape) < 0.7
    targets[~known] = NAN
    # The logits of unknown targets do not matter.
    logits[~known] = np.resize([NAN, INF, -INF, 5], np.count_nonzero(~known))
    for sample_weight in (None, weights):
        kept = None if sample_weight is None else weights[known]
        options = {"sample_weight": sample_weight, "pos_weight": pos_weight}
        for reduction in ("mean", "sum"):
            got = sigmoid_cross_entropy(logits, targets, reduction=reduction, **options)
            without = sigmoid_cross_entropy(
                logits[known], targets[known], reduction=reduction, sample_weight=kept, pos_weight=pos_weight
            )
            assert_allclose(got, without, rtol=1e-14)
        each = sigmoid_cross_entropy(logits, targets, reduction="none", **options)
        assert_array_equal(np.isnan(each), ~known)


# Special values.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("logits", "target", "loss"),
    [
        ((INF, 0, 1), 0, 0),
        ((INF, 0, 1), 1, INF),
        ((-INF, 0, -INF), 1, 0),
        ((-INF, 0, -INF), 0, INF),
        ((INF, -INF, 1), 0, 0),
        ((INF, -INF, 1), 1, INF),
        ((1e30, 0, -1e30), 0, 0),
        ((INF, INF, 0), 0, NAN),
        ((INF, INF, 0), 2, NAN),
        ((-INF, -INF, -INF), 1, NAN),
        ((NAN, 0, 0), 0, NAN),
        ((NAN, 0, 0), 1, NAN),
    ],
)
def test_special_values_of_the_softmax_loss(logits, target, loss, dtype):
    rows = np.array([logits, (0, 0, 0)], dtype=dtype)
    for targets in ([target, 1], one_hot([target, 1], 3)):
        assert_allclose(softmax_cross_entropy(rows, targets, reduction="none"), [loss, np.log(3)], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pos_weight", [1.0, 5.0])
@pytest.mark.parametrize(
    ("logit", "target", "loss"),
    [
        (INF, 1, 0),
        (-INF, 0, 0),
        (INF, 0, INF),
        (-INF, 1, INF),
        (INF, 0.5, INF),
        (-INF, 0.5, INF),
        (NAN, 0, NAN),
        (NAN, 1, NAN),
        (0, NAN, NAN),
    ],
)
def test_special_values_of_the_sigmoid_loss(logit, target, loss, pos_weight, dtype):
    got = sigmoid_cross_entropy(np.array([logit], dtype=dtype), [target], pos_weight=pos_weight, reduction="none")
    assert_array_equal(got, [loss])


# Dtypes, shapes, and leaving things alone.


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("given", "returned"),
    [(np.float64, np.float64), (np.float32, np.float32), (np.float16, np.float32), (np.int8, np.float64)],
)
def test_the_dtype_of_the_logits_is_kept(given, returned, reduction, weighted, smoothing):
    for function, (logits, hard, soft, weights) in (
        (softmax_cross_entropy, softmax_problem(16)),
        (sigmoid_cross_entropy, sigmoid_problem(16)),
    ):
        options = {"label_smoothing": smoothing, "sample_weight": weights if weighted else None}
        logits = logits.astype(given)
        for targets in (hard, soft, soft.astype(np.float32)):
            got = function(logits, targets, reduction=reduction, **options)
            assert got.dtype == returned
            assert isinstance(got, np.ndarray if reduction == "none" else np.floating)
            expected = function(logits.astype(float), targets, reduction=reduction, **options)
            assert_allclose(got, expected, rtol=1e-5 if returned is np.float32 else 0)


def test_nothing_in_nothing_out():
    for targets in (np.empty(0, dtype=int), np.empty((0, 3))):
        assert softmax_cross_entropy(np.empty((0, 3)), targets, reduction="none").shape == (0,)
        assert softmax_cross_entropy(np.empty((0, 3)), targets, reduction="sum") == 0
        with pytest.raises(ValueError, match="no row"):
            softmax_cross_entropy(np.empty((0, 3)), targets)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_no_entries_in_no_entries_out(shape):
    assert sigmoid_cross_entropy(np.empty(shape), np.empty(shape), reduction="none").shape == shape
    assert sigmoid_cross_entropy(np.empty(shape), np.empty(shape), reduction="sum") == 0
    with pytest.raises(ValueError, match="no known target"):
        sigmoid_cross_entropy(np.empty(shape), np.empty(shape))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_inputs_are_never_written_to(dtype, order):
    for function, problem in (
        (softmax_cross_entropy, softmax_problem(17)),
        (sigmoid_cross_entropy, sigmoid_problem(17)),
    ):
        logits, hard, soft, weights = problem
        logits, soft, weights = (np.array(a, dtype=dtype, order=order) for a in (logits, soft, weights))
        arrays = (logits, hard, soft, weights)
        copies = [a.copy() for a in arrays]
        for array in arrays:
            array.flags.writeable = False
        for targets in (hard, soft):
            for smoothing in (0.0, 0.1):
                function(logits, targets, sample_weight=weights, label_smoothing=smoothing, reduction="none")
        for array, copy in zip(arrays, copies, strict=True):
            assert_array_equal(array, copy)


@pytest.mark.parametrize("size", [None, 0.1, 1e-300])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["raise", "warn"])
def test_no_floating_point_error_is_signalled_whatever_errstate_says(mode, dtype, smoothing, size):
    big = np.finfo(dtype).max
    values = [INF, -INF, NAN, big, -big, np.finfo(dtype).smallest_subnormal, 0, -95, -740, 740]
    logits = np.array([[x, y] for x in values for y in values], dtype=dtype)
    indices = np.resize([0, 1, 1], len(logits))
    options = {
        "label_smoothing": smoothing,
        "sample_weight": None if size is None else np.full(len(logits), size),
        "reduction": "none",
    }
    with np.errstate(all=mode):
        before = np.geterr()
        for targets in (indices, one_hot(indices, 2), np.full(logits.shape, 0.5)):
            softmax_cross_entropy(logits, targets, **options)
        for targets in (one_hot(indices, 2), np.full(logits.shape, 0.5), np.full(logits.shape, NAN)):
            sigmoid_cross_entropy(logits, targets, pos_weight=2.0, **options)
        assert np.geterr() == before


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_beyond_the_floats_is_silent(dtype, reduction):
    big = np.finfo(dtype).max
    logits = np.array([[big, 0], [big, 0], [big, 0]], dtype=dtype)
    assert softmax_cross_entropy(logits, [1, 1, 1], reduction=reduction) >= big
    assert sigmoid_cross_entropy(logits[:, 0], [0, 0, 0], reduction=reduction) >= big


# Losses as objects: residuals and curvature.


def softmax_losses(z, targets):
    residuals = z[np.newaxis].copy()
    return SoftmaxLoss().losses_and_residuals(residuals, targets)[0], residuals[0]


def sigmoid_losses(z, targets):
    residuals = z.copy()
    return SigmoidLoss().losses_and_residuals(residuals, targets), residuals


def class_major_problems():
    """Pairs of a loss's function, its object, logits (K, b) and targets as the object takes them."""
    logits, indices, soft, _ = softmax_problem(18)
    z, _, targets, _ = sigmoid_problem(18)
    return [
        pytest.param(
            softmax_losses, SoftmaxLoss(), logits.T, softmax_targets(indices, 4, 0.0), id="softmax of indices"
        ),
        pytest.param(softmax_losses, SoftmaxLoss(), logits.T, soft.T, id="softmax of distributions"),
        pytest.param(sigmoid_losses, SigmoidLoss(), z.T, (targets.T, 1 - targets.T), id="sigmoid"),
        pytest.param(sigmoid_losses, SigmoidLoss(), z.T, (5 * targets.T, 0.5 - targets.T / 2), id="weighted sigmoid"),
    ]


@pytest.mark.parametrize(("losses", "loss", "z", "targets"), class_major_problems())
def test_residuals_are_the_derivatives_of_the_losses(losses, loss, z, targets):
    residuals = losses(z, targets)[1]
    for k in range(len(z)):
        step = np.zeros_like(z)
        step[k] = 1e-5
        change = losses(z + step, targets)[0] - losses(z - step, targets)[0]
        if isinstance(loss, SigmoidLoss):
            change = change[k]
        assert_allclose(residuals[k], change / 2e-5, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("losses", "loss", "z", "targets"), class_major_problems())
def test_curvature_is_the_derivative_of_the_residuals(losses, loss, z, targets):
    d, q = loss.curvature(problems_of(loss, z.copy()), targets)
    d, q = d.reshape(z.shape), None if q is None else q.reshape(z.shape)
    for k in range(len(z)):
        step = np.zeros_like(z)
        step[k] = 1e-5
        column = (losses(z + step, targets)[1] - losses(z - step, targets)[1]) / 2e-5
        expected = np.zeros_like(z) if q is None else -q * q[k]
        expected[k] = d[k]
        assert_allclose(column, expected, rtol=1e-7, atol=1e-9)


def problems_of(loss, z):
    """Logits (K, b) as those of one problem of K logits, or of K problems of one."""
    return z[np.newaxis] if isinstance(loss, SoftmaxLoss) else z[:, np.newaxis]


@pytest.mark.parametrize(("losses", "loss", "z", "targets"), class_major_problems())
def test_sums_over_rows_are_weighted_by_row_and_by_problem(losses, loss, z, targets):
    weights = np.random.default_rng(0).random(z.shape[1])
    expected, residuals = losses(z, targets)
    logits = problems_of(loss, z.copy())
    for given in (weights, np.stack([weights] * len(logits))):
        weighted = logits.copy()
        sums = loss.sums_and_residuals(weighted, targets, given)
        assert_allclose(sums, np.atleast_1d(expected @ weights), rtol=1e-12)
        assert_allclose(weighted.reshape(z.shape), residuals * weights, rtol=1e-12)
    other = np.concatenate([logits, logits[:, :, ::-1]]) if isinstance(loss, SoftmaxLoss) else None
    if other is not None:
        # The problems of a softmax share only their targets.
        two = np.stack([weights, 2 * weights])
        sums = loss.sums_and_residuals(other.copy(), targets, two)
        assert_allclose(sums[0], expected @ weights, rtol=1e-12)
        assert_allclose(sums[1], losses(z[:, ::-1].copy(), targets)[0] @ (2 * weights), rtol=1e-12)


@pytest.mark.parametrize("loss", [SoftmaxLoss(), SigmoidLoss()])
def test_only_the_softmax_does_not_see_a_shift(loss):
    logits, indices, _, _ = softmax_problem(19)
    z, hard = np.round(logits.T, 3), one_hot(indices, 4).T
    targets = hard if isinstance(loss, SoftmaxLoss) else (hard, 1 - hard)
    losses = softmax_losses if isinstance(loss, SoftmaxLoss) else sigmoid_losses
    same = np.allclose(losses(z + 1, targets)[0], losses(z, targets)[0])
    assert same == isinstance(loss, SoftmaxLoss)


@pytest.mark.parametrize("lead", [0.0, 10.0, 37.0, 40.0, 100.0])
@pytest.mark.parametrize("n_classes", [2, 10, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_residuals_of_hard_targets_sum_to_zero(dtype, n_classes, lead):
    if dtype is np.float32:
        lead = min(lead, 60.0)
    logits, indices, _, _ = softmax_problem(20, 50, n_classes, scale=1.0)
    logits[np.arange(50), indices] += lead
    _, residuals = softmax_losses(
        np.ascontiguousarray(logits.T, dtype=dtype), softmax_targets(indices, logits.shape[1], 0)
    )
    size = np.abs(residuals).max(axis=0)
    assert size.min() > 0
    assert_allclose(residuals.sum(axis=0, dtype=float) / size, 0, atol=8 * np.finfo(dtype).eps)


def test_residuals_are_accurate_where_the_true_class_leads_by_40():
    logits, indices, _, _ = softmax_problem(21, 10, 5, scale=1.0)
    logits[np.arange(10), indices] += 40
    residuals = softmax_losses(np.ascontiguousarray(logits.T), softmax_targets(indices, logits.shape[1], 0))[1].T
    for row, index, got in zip(logits, indices, residuals, strict=True):
        p = longhand.softmax(row)
        p[index] = -sum(p[k] for k in range(5) if k != index)
        assert_close_in_eps(got, p, np.float64, 64)


def test_sigmoid_residuals_are_accurate_on_both_sides():
    z = np.array([[-700.0, -40, -1, 0, 1, 40, 700]])
    for yes, no in ((1.0, 0.0), (0.0, 1.0)):
        residuals = sigmoid_losses(z, (np.full(z.shape, yes), np.full(z.shape, no)))[1]
        exact = [no * longhand.sigmoid(x) - yes * longhand.sigmoid(-x) for x in z[0]]
        assert_close_in_eps(residuals, exact, np.float64)


# Errors.


def repr_or_nothing(value):
    """Short names of cases: the values, not the errors they raise."""
    return "" if isinstance(value, (type, tuple)) else " ".join(repr(value).split())[:40]


LOGITS = [[2.0, 0.0], [0.5, 1.0]]
RAGGED = [[1.0, 0.0], [1.0]]
BAD_LOGITS = [
    (np.array(LOGITS) + 1j, TypeError),
    (sparse.csr_array(LOGITS), TypeError),
    ([["a", "b"], ["c", "d"]], ValueError),
    (RAGGED, ValueError),
    (np.zeros((2, 2, 2)), ValueError),
    (1.0, ValueError),
]
BAD_WEIGHTS = [
    ([1, -1], ValueError),
    ([1, NAN], ValueError),
    ([1, INF], ValueError),
    ([0, 0], ValueError),
    ([1], ValueError),
    ([[1, 2, 3], [1, 2, 3]], ValueError),
    (np.ones((2, 2, 2)), ValueError),
    (-1.0, ValueError),
    (np.ma.masked_array([1.0, 2.0], [False, True]), TypeError),
    (["a", "b"], ValueError),
    (np.array([1j, 1]), (TypeError, ValueError)),
    ("1", ValueError),
    (RAGGED, ValueError),
]
BAD_SMOOTHING = [
    (-0.1, ValueError),
    (1.1, ValueError),
    (NAN, ValueError),
    ("0", TypeError),
    (None, TypeError),
    (True, TypeError),
]
BAD_OPTIONS = [
    *(("sample_weight", *bad) for bad in BAD_WEIGHTS),
    *(("label_smoothing", *bad) for bad in BAD_SMOOTHING),
    *(("reduction", name, ValueError) for name in ("max", None, "MEAN")),
]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *(("logits", *bad) for bad in BAD_LOGITS),
        ("logits", [2.0, 0.0], ValueError),
        ("logits", np.empty((2, 0)), ValueError),
        ("targets", [0.0, 1.0], TypeError),
        ("targets", ["a", "b"], TypeError),
        ("targets", [None, 1], TypeError),
        ("targets", [0, 2], ValueError),
        ("targets", [-1, 0], ValueError),
        ("targets", np.array([0, 2**63], dtype=np.uint64), ValueError),
        ("targets", [0, 1, 1], ValueError),
        ("targets", 0, ValueError),
        ("targets", None, ValueError),
        ("targets", [[1, 0, 0], [0, 1, 0]], ValueError),
        ("targets", [[0], [1]], ValueError),
        ("targets", [[0.5, 0.6], [0, 1]], ValueError),
        ("targets", [[0, 0], [0, 1]], ValueError),
        ("targets", [[1.5, -0.5], [0, 1]], ValueError),
        ("targets", [[NAN, 1], [0, 1]], ValueError),
        ("targets", [[INF, 1], [0, 1]], ValueError),
        ("targets", sparse.csr_array([[1, 0], [0, 1]]), (TypeError, ValueError)),
        ("targets", [["a", "b"], ["b", "a"]], (TypeError, ValueError)),
        ("targets", [[1j, 0], [0, 1]], (TypeError, ValueError)),
        ("targets", RAGGED, ValueError),
        *BAD_OPTIONS,
        ("sample_weight", np.ones((2, 2)), ValueError),
    ],
    ids=repr_or_nothing,
)
def test_errors_of_the_softmax_cross_entropy_name_the_parameter(name, value, error):
    arguments = {"logits": LOGITS, "targets": [0, 1]}
    with pytest.raises(error, match=name):
        softmax_cross_entropy(**(arguments | {name: value}))


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *(("logits", *bad) for bad in BAD_LOGITS),
        ("targets", [[0, 2], [1, 1]], ValueError),
        ("targets", [[0, -1], [NAN, 1]], ValueError),
        ("targets", [[0, INF], [1, 1]], ValueError),
        ("targets", [0, 1], ValueError),
        ("targets", 0, ValueError),
        ("targets", None, ValueError),
        ("targets", np.zeros((2, 2, 1)), ValueError),
        ("targets", sparse.csr_array([[1, 0], [0, 1]]), TypeError),
        ("targets", [["a", "b"], ["b", "a"]], (TypeError, ValueError)),
        ("targets", [[1j, 0], [0, 1]], (TypeError, ValueError)),
        ("targets", RAGGED, ValueError),
        ("pos_weight", 0, ValueError),
        ("pos_weight", -1, ValueError),
        ("pos_weight", NAN, ValueError),
        ("pos_weight", INF, ValueError),
        ("pos_weight", [1, 0], ValueError),
        ("pos_weight", [1, 2, 3], ValueError),
        ("pos_weight", [[1, 2], [3, 4]], ValueError),
        ("pos_weight", "a", (TypeError, ValueError)),
        ("pos_weight", 1j, (TypeError, ValueError)),
        ("pos_weight", RAGGED, ValueError),
        *BAD_OPTIONS,
    ],
    ids=repr_or_nothing,
)
def test_errors_of_the_sigmoid_cross_entropy_name_the_parameter(name, value, error):
    arguments = {"logits": LOGITS, "targets": [[0, 1], [1, 1]]}
    with pytest.raises(error, match=name):
        sigmoid_cross_entropy(**(arguments | {name: value}))


def test_one_label_takes_one_pos_weight_only():
    with pytest.raises(ValueError, match="pos_weight"):
        sigmoid_cross_entropy([1.0, 2.0], [0, 1], pos_weight=[1, 2])


def test_the_mean_of_no_known_target_is_an_error():
    with pytest.raises(ValueError, match="no known target"):
        sigmoid_cross_entropy([1.0, 2.0], [NAN, NAN])
    with pytest.raises(ValueError, match="no known target"):
        sigmoid_cross_entropy([1.0, 2.0], [NAN, 1], sample_weight=[1, 0])
    assert sigmoid_cross_entropy([1.0, 2.0], [NAN, NAN], reduction="sum") == 0


@pytest.mark.parametrize("function", [softmax_cross_entropy, sigmoid_cross_entropy])
def test_options_go_by_name(function):
    with pytest.raises(TypeError, match="positional"):
        function(LOGITS, np.eye(2), [1.0, 2.0])
