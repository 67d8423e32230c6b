"""Accuracy, special values, dtypes, axes and errors of the activations."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, special

import longhand
from skactivation._activation_kernels import both_log_sigmoids, both_sigmoids
from skactivation.activations import log_sigmoid, log_softmax, sigmoid, sigmoid_derivative, softmax

ELEMENTWISE = (sigmoid, log_sigmoid, sigmoid_derivative)
ROWWISE = (softmax, log_softmax)
ACTIVATIONS = ELEMENTWISE + ROWWISE
DTYPES = (np.float64, np.float32)
INF, NAN = np.inf, np.nan

# Units in the last place. The first two are promised; the others were measured on millions of rows and entries: the
# derivative stays below 6.1; the log-softmax of rows chosen to be hard below 14.1, of most rows below 5.
SIGMOID_BOUNDS = {np.float64: 3, np.float32: 4}
SOFTMAX_BOUND = 8
DERIVATIVE_BOUND = 8
HARD_LOG_SOFTMAX_BOUND = 16

# Critical arguments of exp: near 0, at the smallest normal and subnormal results, at overflow and beyond.
COMMON_CORNERS = (0, 1e-30, 1e-8, 0.5, 1, 16.6, 36.7, 37, 40, 1000, 1e10)
CORNERS = {
    np.float64: (*COMMON_CORNERS, 5e-324, 700.39, 700.4, 708.39, 708.4, 709.79, 740, 744.44, 745.13, 745.14, 1e308),
    np.float32: (*COMMON_CORNERS, 1e-45, 79.3, 79.4, 87.3, 87.4, 88.7, 88.8, 100, 103.27, 103.97, 103.98, 3e38),
}
# Beyond these, exp(-x) is 0.
LIMITS = {np.float64: 746.0, np.float32: 104.5}


def worst_ulp(function, logits, temperature=1.0):
    """The largest error of a function, over all entries, or over all rows of a two-dimensional array."""
    got = function(logits, temperature=temperature)
    exact = [getattr(longhand, function.__name__)(x, temperature) for x in logits]
    if logits.ndim == 2:
        exact = [entry for row in exact for entry in row]
    pairs = zip(got.ravel(), exact, strict=True)
    return max(longhand.ulp_error(g, e, logits.dtype) for g, e in pairs)


def logits_over_the_whole_range(dtype, temperature, size=200):
    """Logits whose quotients by the temperature are spread evenly, densely around 0, and by orders of magnitude."""
    rng = np.random.default_rng(2)
    limit = LIMITS[dtype]
    even, subnormal = rng.uniform(-limit, limit, size), rng.uniform(-limit, -0.94 * limit, size)
    orders = 10.0 ** rng.uniform(-20, 3, size) * rng.choice([-1, 1], size)
    return (np.concatenate([even, subnormal, 3 * rng.normal(size=size), orders]) * temperature).astype(dtype)


# Accuracy.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [sigmoid, log_sigmoid])
def test_sigmoids_are_accurate_in_the_corners(function, dtype):
    positive = np.array(CORNERS[dtype], dtype=dtype)
    assert worst_ulp(function, np.concatenate([positive, -positive])) <= SIGMOID_BOUNDS[dtype]


@pytest.mark.parametrize("temperature", [1.0, 0.37, 3.3, 17.0])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", [sigmoid, log_sigmoid])
def test_sigmoids_are_accurate_over_the_whole_range(function, dtype, temperature):
    logits = logits_over_the_whole_range(dtype, temperature)
    assert worst_ulp(function, logits, temperature) <= SIGMOID_BOUNDS[dtype]


@pytest.mark.parametrize("temperature", [1e-300, 1e300])
@pytest.mark.parametrize("function", [sigmoid, log_sigmoid])
def test_sigmoids_are_accurate_at_extreme_temperatures(function, temperature):
    logits = logits_over_the_whole_range(np.float64, temperature)
    assert worst_ulp(function, logits, temperature) <= SIGMOID_BOUNDS[np.float64]


@pytest.mark.parametrize(
    ("dtype", "temperature", "logit"),
    [
        (np.float64, 0.37, -13.598191211825611),
        (np.float64, 3.3, -121.24631467809434),
        (np.float64, 0.999, -36.7028727450817),
        (np.float32, 0.37, -6.157987117767334),
        (np.float32, 3.3, -54.95832824707031),
        (np.float32, 0.999, -16.6212215423584),
        (np.float32, 1.0, -16.659767150878906),
    ],
)
def test_sigmoid_is_accurate_at_the_hardest_logits_of_a_search(dtype, temperature, logit):
    # A temperature adds the rounding of a division.
    bound = SIGMOID_BOUNDS[dtype] + (temperature != 1)
    assert worst_ulp(sigmoid, np.array([logit], dtype=dtype), temperature) <= bound


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_small_probability_is_subnormal_rather_than_0(dtype):
    assert 0 < sigmoid(dtype(-740 if dtype is np.float64 else -100)) < np.finfo(dtype).tiny


@pytest.mark.parametrize("temperature", [1.0, 0.37, 3.3, 17.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_derivative_is_accurate_over_the_whole_range(dtype, temperature):
    logits = logits_over_the_whole_range(dtype, temperature)
    assert worst_ulp(sigmoid_derivative, logits, temperature) <= DERIVATIVE_BOUND


@pytest.mark.parametrize(
    ("dtype", "temperature", "logit"),
    [
        (np.float64, 1e-3, 0.72),
        (np.float64, 1e-300, 7.2e-298),
        (np.float64, 1e-300, 8e-298),
        (np.float64, 1e-300, 1.0),
        (np.float64, 1e300, 1.0),
        (np.float32, 1e-3, 0.095),
        (np.float32, 1e-46, 1.0),
        (np.float32, 1e-300, 1.0),
        (np.float32, 1e39, 1.0),
        (np.float32, 1e300, 1.0),
    ],
)
def test_derivative_is_accurate_at_extreme_temperatures(dtype, temperature, logit):
    logits = np.array([logit, -logit], dtype=dtype)
    assert worst_ulp(sigmoid_derivative, logits, temperature) <= DERIVATIVE_BOUND


def test_derivative_is_p_times_1_minus_p_over_temperature():
    x = np.random.default_rng(3).normal(scale=10, size=1000)
    for temperature in (1.0, 0.37, 17.0):
        p, q = sigmoid(x, temperature=temperature), sigmoid(-x, temperature=temperature)
        assert_allclose(sigmoid_derivative(x, temperature=temperature), p * q / temperature, rtol=1e-14)


@pytest.mark.parametrize("size", [1, 100, 1000])
@pytest.mark.parametrize(("n_classes", "n_rows"), [(2, 40), (10, 16), (31, 6), (32, 6), (100, 3), (1000, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", ROWWISE)
def test_softmaxes_are_accurate(function, dtype, n_classes, n_rows, size):
    logits = np.random.default_rng(n_classes).normal(scale=size, size=(n_rows, n_classes)).astype(dtype)
    assert worst_ulp(function, logits) <= SOFTMAX_BOUND


@pytest.mark.parametrize("temperature", [0.37, 3.3, 17.0, 1e-300])
@pytest.mark.parametrize(("n_classes", "n_rows"), [(2, 40), (10, 16), (100, 3)])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", ROWWISE)
def test_softmaxes_are_accurate_at_other_temperatures(function, dtype, n_classes, n_rows, temperature):
    if (dtype, temperature) == (np.float32, 1e-300):
        temperature = 1e-36
    logits = np.random.default_rng(4).normal(scale=10 * temperature, size=(n_rows, n_classes)).astype(dtype)
    assert worst_ulp(function, logits, temperature) <= SOFTMAX_BOUND


@pytest.mark.parametrize(
    ("function", "dtype", "n_classes", "temperature", "seed", "bound"),
    [
        (softmax, np.float64, 10, 1.0, 15800, SOFTMAX_BOUND),
        (softmax, np.float64, 20, 1.0, 14430, SOFTMAX_BOUND),
        (softmax, np.float64, 31, 1.0, 15977, SOFTMAX_BOUND),
        (softmax, np.float64, 32, 1.0, 19942, SOFTMAX_BOUND),
        (softmax, np.float64, 100, 1.0, 4306, SOFTMAX_BOUND),
        (softmax, np.float64, 1000, 0.37, 916, SOFTMAX_BOUND),
        (softmax, np.float32, 31, 0.37, 7614, SOFTMAX_BOUND),
        (softmax, np.float32, 100, 1.0, 2917, SOFTMAX_BOUND),
        (softmax, np.float32, 1000, 0.37, 1076, SOFTMAX_BOUND),
        (log_softmax, np.float64, 31, 0.37, 4790, HARD_LOG_SOFTMAX_BOUND),
        (log_softmax, np.float64, 1000, 0.37, 151, HARD_LOG_SOFTMAX_BOUND),
        (log_softmax, np.float32, 31, 0.37, 2492, HARD_LOG_SOFTMAX_BOUND),
        (log_softmax, np.float32, 100, 0.37, 2397, HARD_LOG_SOFTMAX_BOUND),
    ],
)
def test_softmaxes_are_accurate_on_the_hardest_rows_of_a_search(function, dtype, n_classes, temperature, seed, bound):
    row = (np.random.default_rng(seed).normal(size=n_classes) * 5 * temperature).astype(dtype)
    # A single row would be contiguous along the classes and summed in another order.
    assert worst_ulp(function, np.stack([row, row]), temperature) <= bound


def test_fewer_digits_would_make_a_wrong_reference():
    with longhand.mp.workdps(60):
        assert longhand.log(1 + longhand.exp(-200)) == 0
    assert longhand.DIGITS >= 400
    assert_allclose(log_sigmoid(200.0), float(longhand.log_sigmoid(200.0)), rtol=4e-16)


def test_log_softmax_of_a_sure_class_is_not_0():
    assert_allclose(log_softmax([0.0, -40.0]), [-4.248354255291589e-18, -40], rtol=4e-16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [2.0, 0.5, INF])
def test_a_difference_of_logits_may_exceed_the_largest_float(dtype, scale):
    half = np.finfo(dtype).max / 2
    logits = np.array([[half, -half, 0], [1.5 * half, -half, -half]], dtype=dtype)
    temperature = scale * float(half)
    assert worst_ulp(softmax, logits, temperature) <= SOFTMAX_BOUND
    assert worst_ulp(log_softmax, logits, temperature) <= SOFTMAX_BOUND


# Identities.


@pytest.mark.parametrize("function", ROWWISE)
def test_an_exact_shift_changes_nothing(function):
    # Multiples of 2^-10 of moderate size, so that adding to them rounds nothing.
    logits = np.random.default_rng(5).integers(-20000, 20000, size=(50, 7)) / 1024
    for shift in (-4096.0, 0.5, 1e6):
        assert_array_equal(function(logits + shift), function(logits))


@pytest.mark.parametrize("n_classes", [1, 2, 10, 31, 32, 1000])
@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_sum_to_one(dtype, n_classes):
    logits = np.random.default_rng(6).normal(scale=10, size=(20, n_classes)).astype(dtype)
    sums = softmax(logits).sum(axis=1, dtype=np.float64)
    assert_allclose(sums, 1, rtol=8 * np.finfo(dtype).eps)


def test_softmax_of_two_classes_is_the_sigmoid_of_their_difference():
    logits = np.random.default_rng(7).integers(-300_000, 300_000, size=(300, 2)) / 1024
    for temperature in (1.0, 0.37, 17.0):
        yes = softmax(logits, temperature=temperature)[:, 1]
        expected = sigmoid(logits[:, 1] - logits[:, 0], temperature=temperature)
        assert_allclose(yes, expected, rtol=2e-15, atol=2e-323)


def test_log_softmax_is_the_logarithm_of_the_softmax():
    logits = np.random.default_rng(8).normal(scale=3, size=(200, 10))
    assert_allclose(np.log(softmax(logits)), log_softmax(logits), rtol=1e-14, atol=2e-15)


def test_log_sigmoid_is_the_logarithm_of_the_sigmoid():
    logits = np.random.default_rng(9).normal(scale=10, size=1000)
    assert_allclose(np.log(sigmoid(logits)), log_sigmoid(logits), rtol=1e-14, atol=2e-15)


def test_many_entries_are_computed_like_a_few():
    logits = np.random.default_rng(10).normal(scale=5, size=200_001)
    assert_allclose(sigmoid(logits), special.expit(logits), rtol=1e-14)
    assert_allclose(softmax(logits), special.softmax(logits), rtol=1e-12)
    rows = logits[:200_000].reshape(-1, 2)
    assert_allclose(softmax(rows), special.softmax(rows, axis=1), rtol=1e-13)
    assert_allclose(log_softmax(rows), special.log_softmax(rows, axis=1), rtol=1e-13, atol=1e-15)


# Special values.


@pytest.mark.parametrize("temperature", [1.0, 0.5, 1e-300, INF])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("x", [0.0, 3.0, -1e30])
@pytest.mark.parametrize(
    ("logits", "probabilities"),
    [
        ((INF, "x"), (1, 0)),
        (("x", INF, "x"), (0, 1, 0)),
        ((-INF, INF), (0, 1)),
        ((-INF, "x"), (0, 1)),
        ((-INF, "x", -INF), (0, 1, 0)),
        ((INF, INF), NAN),
        ((INF, "x", INF), NAN),
        ((-INF, -INF), NAN),
        ((NAN, "x"), NAN),
        ((NAN, INF), NAN),
        ((-INF, NAN), NAN),
    ],
)
def test_special_values_of_softmaxes(logits, probabilities, x, dtype, temperature):
    row = np.array([x if z == "x" else z for z in logits], dtype=dtype)
    with np.errstate(divide="ignore"):
        logarithms = np.log(np.broadcast_to(probabilities, row.shape))
    # An infinite logit must not change other rows either.
    rows = np.stack([row, np.zeros_like(row)])
    uniform = np.full(row.size, 1 / row.size)
    assert_array_equal(softmax(row, temperature=temperature), np.broadcast_to(probabilities, row.shape))
    assert_array_equal(log_softmax(row, temperature=temperature), logarithms)
    assert_allclose(softmax(rows, temperature=temperature), [uniform * 0 + probabilities, uniform], rtol=1e-7)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 1e-300, INF])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("function", "values"),
    [(sigmoid, [1, 0, NAN]), (log_sigmoid, [0, -INF, NAN]), (sigmoid_derivative, [0, 0, NAN])],
)
def test_special_values_of_sigmoids(function, values, dtype, temperature):
    assert_array_equal(function(np.array([INF, -INF, NAN], dtype=dtype), temperature=temperature), values)


def test_a_difference_beyond_the_floats_is_silent():
    assert_array_equal(softmax([1e308, -1e308]), [1, 0])
    assert_array_equal(log_softmax([1e308, -1e308]), [0, -INF])


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_infinite_temperature_makes_all_finite_logits_equal(dtype):
    logits = np.array([3, -100, 1e30], dtype=dtype)
    assert_array_equal(sigmoid(logits, temperature=INF), np.full(3, 0.5))
    assert_array_equal(sigmoid_derivative(logits, temperature=INF), np.zeros(3))
    assert worst_ulp(log_sigmoid, logits, INF) <= SIGMOID_BOUNDS[dtype]
    # In both rows, differences are inexact.
    for rows in (logits[np.newaxis], np.array([[0.1, 1e3]], dtype=dtype)):
        assert worst_ulp(softmax, rows, INF) <= SOFTMAX_BOUND
        assert worst_ulp(log_softmax, rows, INF) <= SOFTMAX_BOUND


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tiny_temperature_makes_a_step(dtype):
    logits = np.array([-1, 0, 2], dtype=dtype)
    assert_array_equal(sigmoid(logits, temperature=1e-300), [0, 0.5, 1])
    assert_array_equal(softmax(logits, temperature=1e-300), [0, 0, 1])
    assert_array_equal(log_softmax(logits, temperature=1e-300)[2], 0)


# Dtypes and shapes.


@pytest.mark.parametrize("function", ACTIVATIONS)
@pytest.mark.parametrize(
    ("logits", "dtype"),
    [
        (np.array([127, -128], dtype=np.int8), np.float64),
        (np.array([0, 255], dtype=np.uint8), np.float64),
        (np.array([2**63 - 1, -(2**63)], dtype=np.int64), np.float64),
        (np.array([0, 2**64 - 1], dtype=np.uint64), np.float64),
        (np.array([True, False]), np.float64),
        (np.array([1.5, -2], dtype=np.float16), np.float32),
        (np.array([1.5, -2], dtype=np.float32), np.float32),
        (np.array([1.5, -2], dtype=">f4"), np.float32),
        (np.array([1.5, -2], dtype=">f8"), np.float64),
        (np.array([1.5, -2], dtype=np.longdouble), np.float64),
        (np.array([1.5, -2], dtype=object), np.float64),
        ([1.5, -2], np.float64),
        (((1, 2), (3, 4)), np.float64),
        (pd.Series([1.5, -2], index=[7, 3]), np.float64),
        (pd.DataFrame({"a": [1, 2], "b": [0.5, 3]}), np.float64),
    ],
)
def test_numbers_of_every_kind_are_cast_first(function, logits, dtype):
    got = function(logits)
    assert type(got) is np.ndarray
    assert got.dtype == dtype
    assert got.dtype.isnative
    assert_array_equal(got, function(np.array(logits).astype(dtype)))


def test_the_right_class_wins_where_integers_would_wrap_around():
    assert_array_equal(softmax(np.array([127, -128], dtype=np.int8)), softmax([127.0, -128.0]))
    assert softmax(np.array([127, -128], dtype=np.int8))[0] == 1
    assert softmax(np.array([0, 255], dtype=np.uint8))[1] == 1
    assert softmax(np.array([2**63 - 1, -(2**63)]))[0] == 1


def test_many_entries_of_float16_are_summed_in_float32():
    logits = np.zeros(100_000, dtype=np.float16)
    assert_allclose(softmax(logits), np.full(100_000, 1e-5), rtol=2e-7)
    assert_allclose(log_softmax(logits), np.full(100_000, -np.log(1e5)), rtol=2e-7)


@pytest.mark.parametrize("function", ELEMENTWISE)
def test_a_scalar_gives_a_scalar(function):
    for logit in (2, 2.0, np.float64(2), np.array(2.0)):
        got = function(logit)
        assert isinstance(got, np.float64)
        assert got == function([2.0])[0]
    assert isinstance(function(np.float32(2)), np.float32)


def in_layout(array, layout):
    """The array's values in another memory layout."""
    if layout == "strided":
        wide = np.zeros([2 * side for side in array.shape], dtype=array.dtype)
        strided = wide[tuple(slice(None, None, -2) for _ in array.shape)]
        strided[...] = array
        return strided
    return np.array(array, order=layout)


@pytest.mark.parametrize("layout", ["C", "F", "strided"])
@pytest.mark.parametrize("axis", [-3, -2, -1, 0, 1, 2])
@pytest.mark.parametrize("shape", [(4, 3, 5), (2, 40, 3)])
@pytest.mark.parametrize("function", ROWWISE)
def test_any_axis_is_like_moving_it_by_hand(function, shape, axis, layout):
    logits = np.random.default_rng(11).normal(size=shape)
    by_hand = np.moveaxis(function(np.ascontiguousarray(np.moveaxis(logits, axis, -1))), -1, axis)
    got = function(in_layout(logits, layout), axis=axis)
    assert_array_equal(got, by_hand)
    assert_allclose(got, getattr(special, function.__name__)(logits, axis=axis), rtol=1e-13)


@pytest.mark.parametrize("layout", ["C", "F", "strided"])
@pytest.mark.parametrize("function", ELEMENTWISE)
def test_the_layout_in_memory_does_not_matter(function, layout):
    logits = np.random.default_rng(12).normal(size=(3, 4, 5))
    assert_array_equal(function(in_layout(logits, layout)), function(logits.ravel()).reshape(logits.shape))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", ACTIVATIONS)
def test_nothing_in_nothing_out(function, dtype):
    for shape in ((0,), (0, 3), (3, 0), (2, 0, 3)):
        got = function(np.empty(shape, dtype=dtype))
        assert got.shape == shape
        assert got.dtype == dtype
    for axis in (0, 1):
        for rowwise in ROWWISE:
            assert rowwise(np.empty((0, 3)), axis=axis).shape == (0, 3)


# Leaving things alone.


@pytest.mark.parametrize("temperature", [1.0, 2.0, INF])
@pytest.mark.parametrize("layout", ["C", "F", "strided"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", ACTIVATIONS)
def test_the_input_is_never_written_to(function, dtype, layout, temperature):
    original = np.random.default_rng(13).normal(size=(50, 4)).astype(dtype)
    logits = in_layout(original, layout)
    got = function(logits, temperature=temperature)
    assert_array_equal(logits, original)
    assert not np.shares_memory(got, logits)
    logits.flags.writeable = False
    assert_array_equal(function(logits, temperature=temperature), got)


@pytest.mark.parametrize("temperature", [1.0, 0.37, 1e-300, 1e300, INF])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["raise", "warn"])
@pytest.mark.parametrize("function", ACTIVATIONS)
def test_no_floating_point_error_is_signalled_whatever_errstate_says(function, mode, dtype, temperature):
    info = np.finfo(dtype)
    values = [INF, -INF, NAN, info.max, -info.max, info.tiny, info.smallest_subnormal, 0, -100, -740, 740]
    logits = np.array([[x, y] for x in values for y in values], dtype=dtype)
    with np.errstate(all=mode):
        before = np.geterr()
        function(logits, temperature=temperature)
        assert np.geterr() == before


@pytest.mark.parametrize("mode", ["raise", "warn"])
@pytest.mark.parametrize("logit", ["1e4000", "1e-4000"])
@pytest.mark.parametrize("function", ACTIVATIONS)
def test_casting_to_float64_is_silent(function, logit, mode):
    logits = np.array([np.longdouble(logit), 0])
    with np.errstate(all="ignore"):
        expected = function(logits.astype(np.float64))
    with np.errstate(all=mode):
        assert_array_equal(function(logits), expected)


# Errors.


def repr_or_nothing(value):
    """Short names of cases: the values, not the errors they raise."""
    return "" if isinstance(value, (type, tuple)) else " ".join(repr(value).split())[:40]


@pytest.mark.parametrize("function", ACTIVATIONS)
@pytest.mark.parametrize(
    ("logits", "error"),
    [
        (np.array([1 + 2j, 0]), TypeError),
        ([1 + 2j, 0], TypeError),
        (np.array([1 + 2j, 0], dtype=object), TypeError),
        (sparse.csr_array(np.eye(2)), TypeError),
        (sparse.csc_matrix(np.eye(2)), TypeError),
        ({"a": 1}, (TypeError, ValueError)),
        (["a", "b"], ValueError),
        ("a", ValueError),
        (np.array(["a", 1.0], dtype=object), ValueError),
        ([[1.0, 2.0], [3.0]], ValueError),
        (np.array(["2020-01-01"], dtype="datetime64[D]"), (TypeError, ValueError)),
        ([10**400, 0], ValueError),
    ],
    ids=repr_or_nothing,
)
def test_logits_that_are_no_real_numbers_are_an_error(function, logits, error):
    with pytest.raises(error, match="logits must be"):
        function(logits)


@pytest.mark.parametrize("function", ACTIVATIONS)
@pytest.mark.parametrize(
    ("temperature", "error"),
    [
        (0, ValueError),
        (0.0, ValueError),
        (-1, ValueError),
        (-INF, ValueError),
        (NAN, ValueError),
        # No float holds these: one overflows, the other becomes 0.
        (10**400, ValueError),
        (Fraction(1, 10**400), ValueError),
        ("1", TypeError),
        (None, TypeError),
        (True, TypeError),
        (np.True_, TypeError),
        (1j, TypeError),
        ([1.0], TypeError),
        (np.array([1.0, 2.0]), TypeError),
    ],
    ids=repr_or_nothing,
)
def test_a_temperature_that_is_no_positive_number_is_an_error(function, temperature, error):
    with pytest.raises(error, match="temperature must be"):
        function([1.0, 2.0], temperature=temperature)


@pytest.mark.parametrize("function", ACTIVATIONS)
@pytest.mark.parametrize("temperature", [2, np.float32(2), np.int64(2), Fraction(2)])
def test_a_temperature_may_be_any_real_number(function, temperature):
    for dtype in DTYPES:
        got = function(np.array([1, 2], dtype=dtype), temperature=temperature)
        assert got.dtype == dtype
        assert_array_equal(got, function(np.array([1, 2], dtype=dtype), temperature=2.0))


@pytest.mark.parametrize("function", ROWWISE)
@pytest.mark.parametrize(
    ("logits", "axis", "error"),
    [
        ([1.0, 2.0], 1, ValueError),
        ([[1.0, 2.0]], -3, ValueError),
        (1.0, -1, ValueError),
        (1.0, 0, ValueError),
        ([1.0, 2.0], None, TypeError),
        ([1.0, 2.0], 0.5, TypeError),
        ([1.0, 2.0], "0", TypeError),
        ([[1.0, 2.0]], (0, 1), (TypeError, ValueError)),
    ],
)
def test_an_axis_that_is_not_there_is_an_error(function, logits, axis, error):
    with pytest.raises(error, match="axis"):
        function(logits, axis=axis)


@pytest.mark.parametrize("function", ACTIVATIONS)
def test_options_go_by_name(function):
    with pytest.raises(TypeError, match="positional"):
        function([1.0, 2.0], 2.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_probabilities_of_two_classes_are_sigmoids(dtype):
    z = np.concatenate([np.linspace(-110, 110, 2001), [0.0, -740, 740, 1e30, np.inf, -np.inf]]).astype(dtype)
    with np.errstate(all="ignore"):
        both, logs = both_sigmoids(z), both_log_sigmoids(z)
    assert both.dtype == logs.dtype == dtype
    # A few units in the last place; below the normal numbers, units of the smallest number.
    tiny = 4 * np.finfo(dtype).smallest_subnormal
    for array, function in ((both, sigmoid), (logs, log_sigmoid)):
        expected = np.stack([function(-z), function(z)])
        assert_allclose(array, expected, rtol=4 * np.finfo(dtype).eps, atol=tiny)
