"""Errors in the middle of a fit, and the state that a fit leaves behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from threadpoolctl import ThreadpoolController, threadpool_limits

from skactivation import SigmoidMultiLabel, SoftmaxRegression, TemperatureCalibrator, fit_temperature
from skactivation._threads import single_threaded_blas
from skactivation.linear_model import _objective

X, Y = load_iris(return_X_y=True)
CONTROLLER = ThreadpoolController().select(user_api="blas")


def blas_threads():
    return [library["num_threads"] for library in CONTROLLER.info()]


def fail_after(n_calls, error, monkeypatch):
    """Let the objective raise an error in its n-th sum over the rows."""
    original = _objective.LinearObjective._sum
    calls = []

    def sum_over_rows(self, *arguments, **options):
        calls.append(None)
        if len(calls) > n_calls:
            raise error
        return original(self, *arguments, **options)

    monkeypatch.setattr(_objective.LinearObjective, "_sum", sum_over_rows)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RuntimeError("a callback's")])
@pytest.mark.parametrize("n_calls", [0, 5])
@pytest.mark.parametrize("kind", [SoftmaxRegression, SigmoidMultiLabel])
def test_an_interrupted_fit_leaves_the_estimator_as_it_was(kind, error, n_calls, monkeypatch):
    unfitted, fitted = kind(), kind(C=2.0).fit(X, np.eye(3)[Y])
    before = dict(vars(fitted))
    fail_after(n_calls, error, monkeypatch)
    for model in (unfitted, fitted):
        with pytest.raises(error if isinstance(error, type) else type(error)):
            model.fit(X[:, :3], np.eye(3)[Y][:, ::-1])
    assert vars(unfitted) == vars(kind())
    with pytest.raises(NotFittedError):
        unfitted.predict(X)
    assert vars(fitted).keys() == before.keys()
    assert all(vars(fitted)[name] is value for name, value in before.items())


def test_a_refit_that_fails_leaves_the_old_model():
    model = SoftmaxRegression().fit(X, Y)
    probabilities = model.predict_proba(X)
    with pytest.raises(ValueError, match="at least two classes"):
        model.fit(X[:, :2], np.zeros(len(Y)))
    assert_array_equal(model.predict_proba(X), probabilities)


def test_a_convergence_warning_that_is_an_error_leaves_the_estimator_as_it_was():
    model = SoftmaxRegression(max_iter=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            model.fit(X, Y)
    assert not hasattr(model, "coef_")


def test_a_refit_to_other_labels_that_fails_leaves_the_old_model():
    indicator = np.eye(3)[Y]
    model = SigmoidMultiLabel().fit(X, indicator)
    probabilities = model.predict_proba(X)
    with pytest.raises(ValueError, match="no known entry"):
        model.fit(X[:, :2], np.full((150, 2), np.nan))
    assert_array_equal(model.predict_proba(X), probabilities)


@pytest.mark.parametrize("fails", [False, True])
def test_filters_errstate_and_thread_limits_are_found_as_they_were(fails, monkeypatch):
    if fails:
        fail_after(3, MemoryError, monkeypatch)
    before = np.geterr(), list(warnings.filters), blas_threads()
    try:
        SoftmaxRegression().fit(X, Y).predict(X)
        SigmoidMultiLabel().fit(X, np.eye(3)[Y]).predict(X)
        TemperatureCalibrator(GaussianNB(), cv=3, scaling="bias_corrected").fit(X[:, :2], Y).predict(X[:, :2])
    except MemoryError:
        assert fails
    assert (np.geterr(), list(warnings.filters), blas_threads()) == before


def test_a_fit_raises_no_floating_point_error():
    with np.errstate(all="raise"):
        model = SoftmaxRegression().fit(X * 1e-200, Y)
        model.predict_log_proba(X * 1e-200)


@pytest.mark.parametrize("kind", [SoftmaxRegression, SigmoidMultiLabel])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_arrays_passed_in_are_unchanged(kind, smoothing):
    X_, y, weights = X.copy(), np.eye(3)[Y], np.arange(150.0)
    copies = X_.copy(), y.copy(), weights.copy()
    model = kind(label_smoothing=smoothing).fit(X_, y, weights)
    model.predict_proba(X_)
    model.score(X_, y, weights)
    for array, copy in zip((X_, y, weights), copies, strict=True):
        assert_array_equal(array, copy)


def test_results_are_the_same_bits_for_any_number_of_threads():
    digits, labels = load_digits(return_X_y=True)
    models = []
    for limit in (1, 2):
        with threadpool_limits(limits=limit, user_api="blas"):
            models.append(SoftmaxRegression(C=0.01).fit(digits, labels))
    assert_array_equal(models[0].coef_, models[1].coef_)
    assert_array_equal(models[0].predict_proba(digits), models[1].predict_proba(digits))


@pytest.mark.parametrize(
    "model",
    [SoftmaxRegression(), SigmoidMultiLabel(), TemperatureCalibrator(SoftmaxRegression(), cv=KFold(3, shuffle=True))],
    ids=repr,
)
def test_eight_threads_predict_the_same_bits(model):
    model = clone(model).fit(X, np.eye(3)[Y])
    expected = model.predict_proba(X)
    with ThreadPoolExecutor(8) as pool:
        for probabilities in pool.map(lambda _: model.predict_proba(X), range(64)):
            assert_array_equal(probabilities, expected)


def test_overlapping_limits_restore_the_threads_when_the_last_one_ends():
    before = blas_threads()
    inside, leave = threading.Event(), threading.Event()

    def hold():
        with single_threaded_blas:
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    with single_threaded_blas:
        thread.start()
        assert inside.wait(10)
    assert set(blas_threads()) <= {1}
    leave.set()
    thread.join()
    assert blas_threads() == before


def test_a_limit_that_another_thread_set_is_overridden_and_restored():
    with threadpool_limits(limits=2, user_api="blas"):
        before = blas_threads()
        seen = []

        def work():
            with single_threaded_blas:
                seen.append(blas_threads())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert set(seen[0]) <= {1}
        assert blas_threads() == before


def test_eight_threads_calibrate_to_the_same_bits():
    expected = fit_temperature(X[:, :3], Y)
    with ThreadPoolExecutor(8) as pool:
        for fit in pool.map(lambda _: fit_temperature(X[:, :3], Y), range(32)):
            assert fit == expected


def test_calibration_raises_no_floating_point_error():
    logits = 1e-200 * (np.random.default_rng(0).normal(size=(150, 3)) + np.eye(3)[Y])
    with np.errstate(all="raise"):
        model = TemperatureCalibrator("logits", scaling="vector").fit(logits, Y)
        model.predict_log_proba(logits)
        fit_temperature(X[:, :3] * 1e300, Y)


def test_a_row_alone_has_the_probabilities_of_the_same_row_in_a_batch():
    digits, labels = load_digits(return_X_y=True)
    model = SoftmaxRegression(C=0.01).fit(digits, labels)
    alone = np.vstack([model.predict_proba(row[np.newaxis]) for row in digits[:50]])
    np.testing.assert_allclose(alone, model.predict_proba(digits)[:50], rtol=1e-8)


def predict_in_child(model, connection):
    connection.send((model.predict_proba(X), blas_threads()))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="there is no fork here")
def test_a_process_forked_during_a_fit_predicts_without_a_deadlock():
    context = multiprocessing.get_context("fork")
    model = SoftmaxRegression().fit(X, Y)
    before = blas_threads()
    with single_threaded_blas, warnings.catch_warnings():
        # Python warns when a process with threads forks, which this test does.
        warnings.simplefilter("ignore", DeprecationWarning)
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=predict_in_child, args=(model, sender))
        child.start()
        assert receiver.poll(30)
        probabilities, threads = receiver.recv()
        child.join(30)
    assert child.exitcode == 0
    assert_array_equal(probabilities, model.predict_proba(X))
    assert threads == before


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
@pytest.mark.parametrize("kind", ["SoftmaxRegression", "SigmoidMultiLabel", "TemperatureCalibrator"])
def test_interrupts_at_random_moments_leave_everything_as_it_was(kind):
    # In a process of its own: an interrupt may also hit the test runner, or leave a lock of the coverage tool behind.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-W", "ignore", str(Path(__file__).parent / "interrupts.py"), kind]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 5
