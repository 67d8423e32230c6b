"""Scorers that know which class each column of probabilities belongs to."""

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
    """A scorer for ``GridSearchCV(scoring=...)`` and ``cross_validate`` from a metric of probabilities.

    Scorers of `sklearn.metrics.make_scorer` hand a metric the columns of `predict_proba` without their classes, so that
    rows that lack a class, as the test rows of a split may, are judged wrongly or not at all. This one hands over the
    estimator's `classes_`, too.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_proba, *, labels, sample_weight, **parameters)``, such as `expected_calibration_error`.
    greater_is_better : bool, default=False
        Whether greater is better; if not, the score is minus the metric, since searches look for the greatest score.
    **parameters
        What else to call the metric with.

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
                f"metric must take y_true, y_proba, labels, sample_weight and {list(parameters)}, but for "
                f"{_name(metric)}: {error}"
            ) from error
        self.metric, self.greater_is_better, self.parameters = metric, greater_is_better, parameters
        self._sample_weight_request: bool | str | None = None

    def __call__(self, estimator: Any, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The score of a fitted estimator's probabilities.

        Parameters
        ----------
        estimator : estimator
            Fitted, with `predict_proba`.
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.
        y : array-like of shape (n,) or (n, L)
            Their labels, or an indicator.
        sample_weight : array-like of shape (n,) or (n, L), default=None
            Weights, not negative.

        Returns
        -------
        float
            Greater is better.
        """
        probabilities, classes = probabilities_of(estimator, X)
        value = self.metric(y, probabilities, labels=classes, sample_weight=sample_weight, **self.parameters)
        if not isinstance(value, Real):
            raise TypeError(f"metric must give a number, got {value!r} from {_name(self.metric)}")
        return float(value if self.greater_is_better else -value)

    def set_score_request(self, *, sample_weight: bool | str | None) -> Self:
        """Whether weights are routed to this scorer, or under which name; see scikit-learn's metadata routing.

        Parameters
        ----------
        sample_weight : bool, str or None
            True or False; another name; None for an error where they are passed.

        Returns
        -------
        ProbabilityScorer
            A copy with this request: ready-made scorers are everyone's.

        Raises
        ------
        RuntimeError
            If metadata routing isn't enabled.
        TypeError
            For another kind of request.
        """
        if not get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                "set_score_request needs metadata routing: sklearn.set_config(enable_metadata_routing=True) enables it"
            )
        if not (sample_weight is None or isinstance(sample_weight, (bool, str))):
            raise TypeError(f"sample_weight must be True, False, None or a name, got {sample_weight!r}")
        requesting = copy(self)
        requesting._sample_weight_request = sample_weight
        return requesting

    def get_metadata_routing(self) -> MetadataRequest:
        """What this scorer asks of scikit-learn's metadata routing.

        Returns
        -------
        MetadataRequest
            With the request for `sample_weight`.
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
