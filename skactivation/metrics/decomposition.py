"""Decomposition of a proper score into miscalibration, discrimination and uncertainty, without bins."""

from __future__ import annotations  # help() then shows ArrayLike, not its definition

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy
from sklearn.isotonic import isotonic_regression

from skactivation._messages import html_table, rounded
from skactivation._threads import over_slices, threads_for
from skactivation._typing import Array
from skactivation._validation import check_choice
from skactivation.metrics._forecasts import Forecast, Forecasts

__all__ = ["CalibrationDecomposition", "calibration_decomposition"]

SCORES = ("log_loss", "brier_score")
_PARTS = ("miscalibration", "discrimination", "uncertainty", "score")
# Time to sort a number, in units of the time to read one.
_SORTING = 8


@dataclass(frozen=True, repr=False)
class CalibrationDecomposition:
    """Result of `calibration_decomposition`: score = miscalibration - discrimination + uncertainty.

    Attributes
    ----------
    miscalibration : float
        How much the best increasing function of the probabilities would lower the score; 0 or more.
    discrimination : float
        How much these recalibrated probabilities lower the score of a constant probability; 0 or more.
    uncertainty : float
        The score of the constant probability: the event's frequency, for every row.
    score : float
        The mean score, in nats for the log loss.
    scoring : str
        "log_loss" or "brier_score".
    kind : str
        "binary" for two classes or one label: the decomposition is exact. "one_vs_rest_mean" for several classes or
        labels: the mean of the decompositions of each against all others.
    per_class : dict
        With "one_vs_rest_mean", the decomposition for each class or label, by its name; otherwise empty.

    Examples
    --------
    >>> from skactivation.metrics import calibration_decomposition
    >>> parts = calibration_decomposition(["a", "b", "c"], [[0.6, 0.2, 0.2], [0.3, 0.5, 0.2], [0.2, 0.2, 0.6]])
    >>> parts.kind, list(parts.per_class), round(parts.per_class["a"].miscalibration, 6)
    ('one_vs_rest_mean', ['a', 'b', 'c'], 0.363548)
    """

    miscalibration: float
    discrimination: float
    uncertainty: float
    score: float
    scoring: str
    kind: str
    per_class: dict[Any, CalibrationDecomposition] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        numbers = [f"{part}={rounded(getattr(self, part))}" for part in _PARTS]
        return f"CalibrationDecomposition({', '.join(numbers)}, scoring={self.scoring!r}, kind={self.kind!r})"

    def _repr_html_(self) -> str:
        named = [("all", self), *self.per_class.items()]
        rows = [[name, *(getattr(each, part) for part in _PARTS)] for name, each in named]
        header = f"{self.scoring}, {self.kind}"
        return html_table([header, *_PARTS], rows)


def calibration_decomposition(
    y_true: Any,
    y_proba: ArrayLike,
    *,
    scoring: str = "log_loss",
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> CalibrationDecomposition:
    r"""Decompose a mean score: miscalibration (lower is better) - discrimination (higher is better) + uncertainty.

    S is the mean score, p are the probabilities, c is their best increasing recalibration (isotonic regression of the
    outcomes on p), and r is the overall frequency of the event:

    .. math:: S(p) = [S(p) - S(c)] - [S(r) - S(c)] + S(r).

    Each part is 0 or more. There are no bins to choose.

    - Miscalibration is, for two classes or one label, the largest gain possible on these rows from an increasing
      recalibration such as a temperature. It is at most 36 for the log loss and 1 for the Brier score.
    - Discrimination is at most the uncertainty. It equals the uncertainty if the probabilities separate yes from no.
    - Uncertainty depends on `y_true` alone. It is at most log 2 = 0.693 for the log loss and 1/4 for the Brier score.

    The decomposition does not see errors that only a non-increasing recalibration can correct. It does not remove
    chance either: c is fitted to the same rows, so even perfect probabilities get a miscalibration of the order of
    :math:`n^{-2/3}`, and the discrimination is too high by the same amount.

    For two classes, or one label, the decomposition is exact. For more, the result is *the mean of the one-vs-rest
    decompositions*, called "one_vs_rest_mean". Its score is the mean of the binary scores of the classes, not the log
    loss of all classes together, and it does not see how errors in different classes are related. The mean over labels
    is weighted by the weight of their known entries; its log loss is `multilabel_log_loss`.

    Parameters
    ----------
    y_true : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
        Labels of exclusive classes, of any dtype; or an indicator of several labels: 0 for no, 1 for yes, a number
        between for a soft label, NaN for unknown (left out).
    y_proba : array-like of shape (n,), (n, K) or (n, L)
        Probabilities of the classes in the order of `labels`, or of the labels. A one-dimensional array holds those of
        the second of two classes. The log loss clips them to [eps, 1 - eps], with the machine epsilon of their dtype,
        as scikit-learn does.
    scoring : {"log_loss", "brier_score"}, default="log_loss"
        "brier" is another name of "brier_score".
        Cross-entropy, :math:`-y \log p - (1 - y) \log(1 - p)`, or squared error, :math:`(y - p)^2`.
    labels : array-like of shape (K,), default=None
        The class of each column of `y_proba`; see `expected_calibration_error`.
    sample_weight : array-like of shape (n,), or (n, L) with an indicator, default=None
        Non-negative weights. A weight of 2 equals two copies of the row; a row of weight 0 is ignored.

    Returns
    -------
    CalibrationDecomposition
        The parts, the score, and the decomposition of each class.

    Raises
    ------
    TypeError, ValueError
        As `expected_calibration_error`.

    References
    ----------
    Dimitriadis, Gneiting and Jordan, "Stable reliability diagrams for probabilistic classifiers", PNAS 118 (2021).
    They call the method CORP and the first two parts MCB and DSC.

    Examples
    --------
    >>> from skactivation.metrics import calibration_decomposition
    >>> parts = calibration_decomposition([0, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.6, 0.7], scoring="brier_score")
    >>> print(f"{parts.score:.3f} = {parts.miscalibration:.3f} - {parts.discrimination:.3f} + {parts.uncertainty:.3f}")
    0.198 = 0.098 - 0.140 + 0.240
    """
    scoring = check_choice("brier_score" if scoring == "brier" else scoring, "scoring", SCORES)
    forecasts = Forecasts(y_true, y_proba, labels, sample_weight)
    parts: dict[Any, CalibrationDecomposition] = {}
    weights: list[float] = []
    with threads_for(_SORTING * forecasts.size), np.errstate(all="ignore"):
        for batch in forecasts.batches():
            names, events = zip(*batch, strict=True)
            weights += [event.weight_in_mean for event in events]
            parts.update(zip(names, _decompose_each(events, scoring, forecasts.epsilon), strict=True))
    if forecasts.is_binary:
        return next(iter(parts.values()))
    each = list(parts.values())
    means = {part: float(np.average([getattr(one, part) for one in each], weights=weights)) for part in _PARTS}
    return CalibrationDecomposition(**means, scoring=scoring, kind="one_vs_rest_mean", per_class=parts)


def _decompose_each(forecasts: Sequence[Forecast], scoring: str, epsilon: float) -> list[CalibrationDecomposition]:
    """The decompositions for several events, in threads."""

    def decompose(numbers: slice) -> list[CalibrationDecomposition]:
        return [_decompose(forecast, scoring, epsilon) for forecast in forecasts[numbers]]

    slices = over_slices(decompose, len(forecasts), _SORTING * forecasts[0].probabilities.size)
    return [one for of_slice in slices for one in of_slice]


def _decompose(forecast: Forecast, scoring: str, epsilon: float) -> CalibrationDecomposition:
    """The decomposition for one event."""
    p, outcomes, weights, _ = _sorted_by_probability(forecast)
    yes, no = outcomes, 1 - outcomes
    if weights is not None:
        yes, no = weights * yes, weights * no
    total = forecast.total
    # Isotonic regression is a function of p, so rows of equal p are merged first.
    starts = _starts_of_runs(p)
    totals_yes, totals_no = _sums(starts, yes, no)
    totals = totals_yes + totals_no
    starts = starts[_starts_of_runs(isotonic_regression(totals_yes / totals, sample_weight=totals))]
    if scoring == "log_loss":
        clipped = np.clip(p, epsilon, 1 - epsilon)
        # np.sum instead of a dot product: the order of BLAS sums depends on its threads.
        score = -float(np.sum(yes * np.log(clipped) + no * np.log1p(-clipped)))
        recalibrated, overall = _entropy(*_sums(starts, yes, no)), _entropy(yes.sum(), no.sum())
    else:
        squares = (outcomes - p) ** 2
        score = float(np.sum(squares if weights is None else weights * squares))
        # The variance within soft labels, which _variance includes but squared errors of soft labels do not.
        within = float(np.sum(yes * (1 - outcomes)))
        recalibrated = _variance(*_sums(starts, yes, no)) - within
        overall = _variance(yes.sum(), no.sum()) - within
    return CalibrationDecomposition(
        # Rounding errors can make the differences negative.
        miscalibration=max(0.0, score - recalibrated) / total,
        discrimination=max(0.0, overall - recalibrated) / total,
        uncertainty=max(0.0, overall) / total,
        score=score / total,
        scoring=scoring,
        kind="binary",
    )


def _sorted_by_probability(forecast: Forecast) -> Forecast:
    """The same rows sorted by probability, with outcomes as floats."""
    p, outcomes, weights, scale = forecast
    if weights is None and outcomes.dtype == bool:
        # Non-negative floats sort like their bits as integers. The sign bit is free for the outcome, so that one sort
        # without an index is enough.
        keys = p.view(np.int64) << 1 | outcomes
        keys.sort()
        return Forecast((keys >> 1).view(np.float64), (keys & 1).astype(np.float64), None, scale)
    order = np.argsort(p)
    return Forecast(p[order], outcomes[order].astype(np.float64), None if weights is None else weights[order], scale)


def _sums(starts: Array, yes: Array, no: Array) -> tuple[Array, Array]:
    """Sums of yes and of no from each start to the next."""
    return np.add.reduceat(yes, starts), np.add.reduceat(no, starts)


def _starts_of_runs(values: Array) -> Array:
    """The first index of each run of equal values."""
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))


def _entropy(yes: Any, no: Any) -> float:
    """The summed log loss if each block is given its own frequency."""
    total = yes + no
    # From yes and no separately, so that a tiny weight does not round 1 - frequency to 0.
    return -float(np.sum(xlogy(yes, yes / total) + xlogy(no, no / total)))


def _variance(yes: Any, no: Any) -> float:
    """The summed squared error if each block is given its own frequency."""
    return float(np.sum(yes * (no / (yes + no))))
