"""Scorers that pass a metric the class of each column of probabilities."""

from collections.abc import Callable
from copy import copy
from inspect import signature
from numbers import Real
from typing import Any, Self

from sklearn import get_config
from sklearn.utils.metadata_routing import MetadataRequest

from skactivation._data.responses import probabilities_of

__all__ = ["ProbabilityScorer"]


class ProbabilityScorer:
    """A scorer for ``GridSearchCV(scoring=...)`` and ``cross_validate``, made from a metric of probabilities.

    Scorers of `sklearn.metrics.make_scorer` pass the columns of `predict_proba` to a metric without their classes. If
    the test rows of a split lack a class, the score is then wrong or an error. This scorer also passes the estimator's
    `classes_`, as `labels`.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_proba, *, labels, sample_weight, **parameters)``, such as `expected_calibration_error`.
    greater_is_better : bool, default=False
        Whether a greater metric is better. If False, the score is minus the metric, because searches maximise scores.
    **parameters
        Further keyword arguments of the metric.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from skactivation import SoftmaxRegression
    >>> from skactivation.metrics import ProbabilityScorer, expected_calibration_error
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> scorer = ProbabilityScorer(expected_calibration_error, kind="classwise", n_bins=10)
    >>> cross_val_score(SoftmaxRegression(), X, y, scoring=scorer).round(2)
    array([-0.05, -0.06, -0.08, -0.08, -0.06])
    """

    def __init__(self, metric: Callable[..., float], *, greater_is_better: bool = False, **parameters: Any) -> None:
        if not callable(metric):
            raise TypeError(f"metric must be callable, got {metric!r}")
        try:
            signature(metric).bind(None, None, labels=None, sample_weight=None, **parameters)
        except TypeError as error:
            raise TypeError(
                f"metric must accept y_true, y_proba, labels, sample_weight and {list(parameters)}, got "
                f"{_name(metric)}: {error}"
            ) from error
        self.metric, self.greater_is_better, self.parameters = metric, greater_is_better, parameters
        self._sample_weight_request: bool | str | None = None

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The score of a fitted estimator's probabilities.

        Parameters
        ----------
        estimator : estimator
            Fitted classifier with `predict_proba`.
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.
        y : array-like of shape (n,) or (n, L)
            Labels of the rows, or an indicator.
        sample_weight : array-like of shape (n,) or (n, L), default=None
            Non-negative weights.

        Returns
        -------
        float
            The score; greater is better.
        """
        probabilities, classes = probabilities_of(estimator, X)
        value = self.metric(y, probabilities, labels=classes, sample_weight=sample_weight, **self.parameters)
        if not isinstance(value, Real):
            raise TypeError(f"metric must return a number, got {value!r} from {_name(self.metric)}")
        return float(value if self.greater_is_better else -value)

    def set_score_request(self, *, sample_weight: bool | str | None) -> Self:
        """Request that weights are passed to this scorer, or not; see scikit-learn's metadata routing.

        Parameters
        ----------
        sample_weight : bool, str or None
            True to pass them, False to ignore them, a string to pass them under that name, None to raise an error if
            they are given.

        Returns
        -------
        ProbabilityScorer
            A copy with this request. The scorer itself is unchanged, because ready-made scorers are shared.

        Raises
        ------
        RuntimeError
            If metadata routing is not enabled.
        TypeError
            If `sample_weight` is none of the above.
        """
        if not get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                "set_score_request needs metadata routing; call sklearn.set_config(enable_metadata_routing=True) first"
            )
        if not (sample_weight is None or isinstance(sample_weight, (bool, str))):
            raise TypeError(f"sample_weight must be True, False, None or a string, got {sample_weight!r}")
        requesting = copy(self)
        requesting._sample_weight_request = sample_weight
        return requesting

    def get_metadata_routing(self) -> MetadataRequest:
        """The request of this scorer, for scikit-learn's metadata routing.

        Returns
        -------
        MetadataRequest
            The request for `sample_weight`.
        """
        request = MetadataRequest(owner=self)
        request.score.add_request(param="sample_weight", alias=self._sample_weight_request)
        return request

    def __repr__(self) -> str:
        parameters = "".join(f", {name}={value!r}" for name, value in self.parameters.items())
        sign = ", greater_is_better=True" if self.greater_is_better else ""
        return f"ProbabilityScorer({_name(self.metric)}{sign}{parameters})"


def _name(metric: Callable[..., float]) -> str:
    return str(getattr(metric, "__name__", metric))
