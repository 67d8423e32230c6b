"""A pytest plugin that puts the package's estimators in the place of scikit-learn's, for scikit-learn's own tests.

    PYTHONPATH=tests python -m pytest -p drop_in --pyargs sklearn.ensemble.tests.test_voting

`test_drop_in.py` runs it.
"""

import numpy as np
import sklearn.calibration
import sklearn.linear_model
import sklearn.multiclass
from sklearn.frozen import FrozenEstimator

from skactivation import SigmoidMultiLabel, SoftmaxRegression, TemperatureCalibrator

OneVsRest = sklearn.multiclass.OneVsRestClassifier
Calibrated = sklearn.calibration.CalibratedClassifierCV


class LogisticRegression(SoftmaxRegression):
    """SoftmaxRegression with the parameters of LogisticRegression; those that it lacks are ignored."""

    def __init__(
        self,
        penalty="deprecated",
        *,
        C=1.0,
        l1_ratio=0.0,
        dual=False,
        tol=1e-4,
        fit_intercept=True,
        intercept_scaling=1,
        class_weight=None,
        random_state=None,
        solver="lbfgs",
        max_iter=100,
        verbose=0,
        warm_start=False,
        n_jobs=None,
    ):
        super().__init__(
            C=np.inf if penalty is None else C,
            fit_intercept=fit_intercept,
            class_weight=class_weight,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
        )
        self.penalty, self.l1_ratio, self.dual, self.solver = penalty, l1_ratio, dual, solver
        self.intercept_scaling, self.random_state, self.verbose, self.n_jobs = (
            intercept_scaling,
            random_state,
            verbose,
            n_jobs,
        )


def calibrated(estimator=None, *, method="sigmoid", cv=None, n_jobs=None, ensemble="auto"):
    """TemperatureCalibrator where the method is temperature scaling."""
    if method != "temperature":
        return Calibrated(estimator, method=method, cv=cv, n_jobs=n_jobs, ensemble=ensemble)
    averages = ensemble is True or (ensemble == "auto" and not isinstance(estimator, FrozenEstimator))
    return TemperatureCalibrator(estimator, cv=cv, n_jobs=n_jobs, ensemble=averages)


def one_vs_rest(estimator, *, n_jobs=None, verbose=0):
    """SigmoidMultiLabel where the estimator is a logistic regression."""
    if type(estimator) is not LogisticRegression:
        return OneVsRest(estimator, n_jobs=n_jobs, verbose=verbose)
    return SigmoidMultiLabel(C=estimator.C, fit_intercept=estimator.fit_intercept)


def pytest_configure(config):
    sklearn.multiclass.OneVsRestClassifier = one_vs_rest
    sklearn.linear_model.LogisticRegression = LogisticRegression
    sklearn.calibration.CalibratedClassifierCV = calibrated
