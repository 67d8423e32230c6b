"""Threads over blocks: order, errors, limits; results have the same bits for any number of threads."""

import threading
import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from skactivation import SigmoidMultiLabel, SoftmaxRegression, _threads
from skactivation._data import dense
from skactivation._optimize import strategy
from skactivation._threads import in_threads, single_threaded_blas
from skactivation.linear_model import _initial_guess
from skactivation.metrics import calibration_decomposition, expected_calibration_error


@pytest.fixture
def many_threads(monkeypatch):
    """Pretend that the caller allows a given number of threads, whatever the machine has."""

    def allow(number):
        monkeypatch.setattr(_threads, "_cores", lambda: number)
        monkeypatch.setattr(type(single_threaded_blas), "n_allowed", lambda self: number)

    return allow


def threads_of_ours():
    return [thread for thread in threading.enumerate() if thread.name.startswith("skactivation")]


@pytest.mark.parametrize("number", [1, 2, 5])
def test_results_come_in_the_order_of_the_tasks_on_so_many_threads(number, many_threads):
    many_threads(number)
    together = threading.Barrier(number)

    def task(index):
        if index < number:
            together.wait(10)  # passes only if so many threads are here at once
        return index**2, threading.get_ident()

    with single_threaded_blas:
        results = in_threads(task, 20)
    assert [square for square, _ in results] == [index**2 for index in range(20)]
    assert len({thread for _, thread in results}) <= number


def test_an_error_in_any_thread_comes_out_and_no_thread_continues(many_threads):
    many_threads(3)
    done = []

    def task(index):
        if index == 4:
            raise MemoryError("of task 4")
        done.append(index)

    with single_threaded_blas, pytest.raises(MemoryError, match="of task 4"):
        in_threads(task, 1000)
    count = len(done)
    assert not threads_of_ours()
    assert len(done) == count


def test_no_thread_is_left_behind(many_threads):
    many_threads(4)
    X, y = load_digits(return_X_y=True)
    seen = []
    with single_threaded_blas:
        in_threads(lambda index: seen.extend(threads_of_ours()), 10)
    assert seen
    SoftmaxRegression(C=0.01).fit(X, y).predict_proba(X)
    assert not threads_of_ours()


def test_threads_of_ours_raise_no_floating_point_warnings(many_threads):
    many_threads(3)
    with warnings.catch_warnings(), single_threaded_blas, np.errstate(all="ignore"):
        warnings.simplefilter("error")
        in_threads(lambda index: np.log(np.zeros(1000)), 30)


def test_the_callers_limit_is_kept_and_shared_among_holders():
    with threadpool_limits(1, user_api="blas"), single_threaded_blas:
        assert single_threaded_blas.n_allowed() == 1
    with threadpool_limits(4, user_api="blas"), single_threaded_blas:
        alone = single_threaded_blas.n_allowed()
        assert alone == min(4, _threads._cores())
        with single_threaded_blas:
            assert single_threaded_blas.n_allowed() == max(1, alone // 2)


def classes(n_rows, n_features, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features)) * np.logspace(-1, 1, n_features)
    return X, np.argmax(X @ rng.normal(size=(n_features, n_classes)) + 3 * rng.gumbel(size=(n_rows, n_classes)), axis=1)


@pytest.mark.parametrize(
    ("shape", "dtype", "settings"),
    [
        ((600, 8, 3), np.float64, {}),  # Newton's method
        ((2000, 40, 8), np.float64, {}),  # blocks of the Hessian
        ((2000, 40, 8), np.float32, {}),
        ((2000, 8, 3), np.float64, {"C": np.inf}),
        ((60, 300, 3), np.float64, {}),  # the row space
        ((3000, 10, 2), np.float64, {"_LEAST_SAMPLE": 500}),  # samples
    ],
    ids=str,
)
def test_fits_and_predictions_are_the_same_bits_for_any_number_of_threads(
    shape, dtype, settings, many_threads, monkeypatch
):
    monkeypatch.setattr(dense, "_BLOCK_SIZE", 2000)
    monkeypatch.setattr(dense, "_SMALL_PRODUCT_SIZE", 0)
    if "_LEAST_SAMPLE" in settings:
        monkeypatch.setattr(_initial_guess, "_LEAST_SAMPLE", settings["_LEAST_SAMPLE"])
        monkeypatch.setattr(strategy, "_LEAST_SAMPLE", settings["_LEAST_SAMPLE"])
    X, y = classes(*shape)
    found = []
    for number in (1, 2, 3, 7):
        many_threads(number)
        model = SoftmaxRegression(C=settings.get("C", 1.0)).fit(X.astype(dtype), y)
        found.append((model.coef_, model.intercept_, model.predict_proba(X), model.loss_, model.n_evaluations_))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert_array_equal(one, other)


@pytest.mark.parametrize("n_labels", [3, 40])
@pytest.mark.parametrize("single_precision", [False, True])
def test_labels_are_the_same_bits_for_any_number_of_threads(n_labels, single_precision, many_threads, monkeypatch):
    monkeypatch.setattr(dense, "_BLOCK_SIZE", 2000)
    if single_precision:
        monkeypatch.setattr(dense, "_SINGLE_PRECISION_WORK", 0)
        monkeypatch.setattr(_initial_guess, "_LEAST_SAMPLE", 300)
        monkeypatch.setattr(strategy, "_LEAST_SAMPLE_OF_ONE_LOGIT", 300)
    X, _ = classes(2000, 10, 3)
    rng = np.random.default_rng(1)
    Y = (X @ rng.normal(size=(10, n_labels)) + 5 * rng.normal(size=(2000, n_labels)) > 5).astype(float)
    Y[rng.random(Y.shape) < 0.1] = np.nan
    found = []
    for number in (1, 2, 3, 7):
        many_threads(number)
        model = SigmoidMultiLabel().fit(X, Y)
        found.append((model.coef_, model.intercept_, model.predict_proba(X), model.loss_, model.n_evaluations_))
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["top_label", "classwise"])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_metrics_are_the_same_bits_on_any_number_of_threads(kind, strategy, many_threads, monkeypatch):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(5), 3_000)
    y, weights = rng.integers(0, 5, 3_000), rng.random(3_000)
    # Treat these few rows as many.
    monkeypatch.setattr(_threads, "_WORTH_THREADS", 0)
    monkeypatch.setattr(_threads, "_SLICE_SIZE", 1_000)
    found = []
    for number in (1, 2, 7):
        many_threads(number)
        error = expected_calibration_error(y, p, kind=kind, strategy=strategy, sample_weight=weights)
        found.append((error, calibration_decomposition(y, p).per_class, calibration_decomposition(y > 2, p[:, 0])))
    assert found[0] == found[1] == found[2]
    assert not threads_of_ours()
    monkeypatch.setattr(_threads, "_WORTH_THREADS", 1e9)
    many_threads(1)
    assert expected_calibration_error(y, p, kind=kind, strategy=strategy, sample_weight=weights) == found[0][0]


@pytest.mark.parametrize("scoring", ["log_loss", "brier_score"])
def test_decompositions_dont_depend_on_the_threads_of_blas(scoring):
    # OpenBLAS splits sums of more than 10,000 numbers among its threads, so that rounding depends on their number.
    rng = np.random.default_rng(0)
    p, weights = rng.random(50_001), rng.random(50_001)
    y = rng.random(50_001) < p
    found = []
    for number in (1, 2):
        with threadpool_limits(number, "blas"):
            plain = calibration_decomposition(y, p, scoring=scoring)
            weighted = calibration_decomposition(y, p, scoring=scoring, sample_weight=weights)
            error = expected_calibration_error(y, p, n_bins=30_000, norm="l2", sample_weight=weights)
            found.append((plain, weighted, error))
    assert found[0] == found[1]
