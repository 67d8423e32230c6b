"""Interrupt fits of an estimator at random moments, and check what they leave behind; prints how often."""

import signal
import sys
import threading
import time

import numpy as np
from sklearn.naive_bayes import GaussianNB
from threadpoolctl import ThreadpoolController

from skactivation import SigmoidMultiLabel, SoftmaxRegression, TemperatureCalibrator

ESTIMATORS = {
    "SoftmaxRegression": SoftmaxRegression(),
    "SigmoidMultiLabel": SigmoidMultiLabel(),
    "TemperatureCalibrator": TemperatureCalibrator(GaussianNB(), cv=3),
}
N_TIMES = 40


def interrupt(*_):
    raise KeyboardInterrupt


def limits():
    return [library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers]


def main() -> None:
    estimator = ESTIMATORS[sys.argv[1]]
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 30))
    y = rng.integers(2, size=(3000, 4)) if isinstance(estimator, SigmoidMultiLabel) else rng.integers(4, size=3000)
    estimator.fit(X, y)
    start = time.perf_counter()
    estimator.fit(X, y)
    duration = time.perf_counter() - start
    expected, before_limits = estimator.predict_proba(X[:9]), limits()
    signal.signal(signal.SIGALRM, interrupt)
    n_interrupted = 0
    for _ in range(N_TIMES):
        before = dict(vars(estimator))
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, duration))
            estimator.fit(X, y)
            signal.setitimer(signal.ITIMER_REAL, 0)
            continue
        except KeyboardInterrupt:
            n_interrupted += 1
        after = vars(estimator)
        assert list(after) == list(before)
        if any(after[name] is not value for name, value in before.items()):
            # The interrupt came after the end of the fit.
            assert np.array_equal(estimator.predict_proba(X[:9]), expected)
        assert limits() == before_limits
        deadline = time.perf_counter() + 5
        while any(thread.name.startswith("skactivation") for thread in threading.enumerate()):
            assert time.perf_counter() < deadline
            time.sleep(0.01)
    print(n_interrupted)


if __name__ == "__main__":
    main()
