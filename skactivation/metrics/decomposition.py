"""A proper score taken apart into miscalibration, discrimination and uncertainty, without bins."""

from __future__ import annotations  # signatures in help() then say ArrayLike, not what it stands for

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy
from sklearn.isotonic import isotonic_regression

from skactivation._threads import over_slices, threads_for
from skactivation._typing import Array
from skactivation._validation import check_choice
from skactivation.metrics._forecasts import Forecast, Outcomes

__all__ = ["CalibrationDecomposition", "calibration_decomposition"]


SCORES = ("log_loss", "brier_score")
# Sorting a number takes as long as reading some.
_SORTING = 8


@dataclass(frozen=True)
class CalibrationDecomposition:
    """What `calibration_decomposition` found: score = miscalibration - discrimination + uncertainty.

    Attributes
    ----------
    miscalibration : float
        By how much the best increasing function of the probabilities would lower the score; 0 or more.
    discrimination : float
        By how much these recalibrated probabilities are better than the same one for every row; 0 or more.
    uncertainty : float
        The score of the share of the rows in which it happened, for every row.
    score : float
        The mean score, in nats for the log loss.
    scoring : str
        "log_loss" or "brier_score".
    kind : str
        "binary" for two classes or one label, where the decomposition is exact; "one_vs_rest_mean" for the mean of
        those of several classes or labels, each against all others.
    per_class : dict
        The decomposition for each class or label by its name, with "one_vs_rest_mean"; else empty.

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


def calibration_decomposition(
    y_true: Any,
    y_proba: ArrayLike,
    *,
    scoring: str = "log_loss",
    labels: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
) -> CalibrationDecomposition:
    r"""Take a mean score apart: miscalibration (less is better) - discrimination (more is better) + uncertainty.

    With the mean score S, the probabilities p, their best increasing recalibration c (isotonic regression of what
    happened on p) and the overall share r,

    .. math:: S(p) = [S(p) - S(c)] - [S(r) - S(c)] + S(r).

    Each part is 0 or more. Miscalibration is the most that an increasing recalibration, such as a temperature, might
    gain where there are two classes or one label; up to 36 for the log loss, 1 for the Brier score. Discrimination is
    at most the uncertainty, and equal to it where probabilities separate yes from no. The uncertainty is the data's
    alone: up to log 2 = 0.693 for the log loss, 1/4 for the Brier score. There are no bins to choose.

    It is blind to what only a recalibration that isn't increasing would bring to light, and to chance: c is fitted to
    the rows that it is judged by, so that even perfect probabilities get some miscalibration, of the order of
    :math:`n^{-2/3}`, and as much discrimination too many.

    For two classes, and for one label, this is exact. For several, it is *the mean of the one-vs-rest decompositions*,
    each class against all others, and called "one_vs_rest_mean": its score is the mean of the classes' binary
    scores, not the log loss of the classes, and it is blind to how errors in one class go with those in another. The
    mean over labels goes by the weight of their known entries; its log loss is `multilabel_log_loss`.

    Parameters
    ----------
    y_true : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
        Labels of classes that exclude each other, of any kind; or an indicator of several labels: 0 for no, 1 for yes,
        between them soft labels, NaN, not known, is left out.
    y_proba : array-like of shape (n,), (n, K) or (n, L)
        Probabilities of the classes in the order of `labels`, or of the labels; a vector holds those of the second of
        two classes. The log loss keeps them at least the machine epsilon of their dtype away from 0 and 1, as
        scikit-learn does.
    scoring : {"log_loss", "brier_score"}, default="log_loss"
        Cross-entropy, :math:`-y \log p - (1 - y) \log(1 - p)`, or squared error, :math:`(y - p)^2`.
    labels : array-like of shape (K,), default=None
        The class of each column of `y_proba`; see `expected_calibration_error`.
    sample_weight : array-like of shape (n,), or (n, L) with an indicator, default=None
        Weights, not negative. A weight of 2 is the same as two rows; a row of weight 0 isn't there.

    Returns
    -------
    CalibrationDecomposition
        The parts, the score, and those of each class.

    Raises
    ------
    TypeError, ValueError
        As `expected_calibration_error`.

    References
    ----------
    Dimitriadis, Gneiting and Jordan, "Stable reliability diagrams for probabilistic classifiers", PNAS 118 (2021):
    CORP. There the first two parts are called MCB and DSC.

    Examples
    --------
    >>> from skactivation.metrics import calibration_decomposition
    >>> parts = calibration_decomposition([0, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.6, 0.7], scoring="brier_score")
    >>> print(f"{parts.score:.3f} = {parts.miscalibration:.3f} - {parts.discrimination:.3f} + {parts.uncertainty:.3f}")
    0.198 = 0.098 - 0.140 + 0.240
    """
    scoring = check_choice(scoring, "scoring", SCORES)
    outcomes = Outcomes(y_true, y_proba, labels, sample_weight)
    parts: dict[Any, CalibrationDecomposition] = {}
    totals: list[float] = []
    with threads_for(_SORTING * outcomes.size), np.errstate(all="ignore"):
        for batch in outcomes.batches():
            names, forecasts = zip(*batch, strict=True)
            totals += [forecast.share for forecast in forecasts]
            parts.update(zip(names, _each_decomposed(forecasts, scoring, outcomes.epsilon), strict=True))
    if outcomes.is_binary:
        return next(iter(parts.values()))

    def mean(part: str) -> float:
        return float(np.average([getattr(one, part) for one in parts.values()], weights=totals))

    return CalibrationDecomposition(
        miscalibration=mean("miscalibration"),
        discrimination=mean("discrimination"),
        uncertainty=mean("uncertainty"),
        score=mean("score"),
        scoring=scoring,
        kind="one_vs_rest_mean",
        per_class=parts,
    )


def _each_decomposed(forecasts: Sequence[Forecast], scoring: str, epsilon: float) -> list[CalibrationDecomposition]:
    def decomposed(numbers: slice) -> list[CalibrationDecomposition]:
        return [_decomposed(forecast, scoring, epsilon) for forecast in forecasts[numbers]]

    parts = over_slices(decomposed, len(forecasts), _SORTING * forecasts[0].probabilities.size)
    return [part for some in parts for part in some]


def _decomposed(forecast: Forecast, scoring: str, epsilon: float) -> CalibrationDecomposition:
    """The decomposition for one event."""
    p, outcomes, weights, _ = _by_probability(forecast)
    yes, no = outcomes, 1 - outcomes
    if weights is not None:
        yes, no = weights * yes, weights * no
    total = forecast.total
    # Rows of the same probability are recalibrated to the same one.
    of_probability = np.flatnonzero(np.concatenate([[True], p[1:] != p[:-1]]))
    of_block = of_probability[_block_starts(*_sums(of_probability, yes, no))]
    if scoring == "log_loss":
        clipped = np.clip(p, epsilon, 1 - epsilon)
        # Not as products of vectors: BLAS would sum in an order that depends on its threads.
        score = -float(np.sum(yes * np.log(clipped) + no * np.log1p(-clipped)))
        recalibrated, overall = _entropy(*_sums(of_block, yes, no)), _entropy(yes.sum(), no.sum())
    else:
        squares = (outcomes - p) ** 2
        score = float(np.sum(squares if weights is None else weights * squares))
        # What the outcomes of soft labels vary by themselves, which no probability mends.
        own = float(np.sum(yes * (1 - outcomes)))
        recalibrated = _variance(*_sums(of_block, yes, no)) - own
        overall = _variance(yes.sum(), no.sum()) - own
    return CalibrationDecomposition(
        # Rounding may take them below 0.
        miscalibration=max(0.0, score - recalibrated) / total,
        discrimination=max(0.0, overall - recalibrated) / total,
        uncertainty=max(0.0, overall) / total,
        score=score / total,
        scoring=scoring,
        kind="binary",
    )


def _by_probability(forecast: Forecast) -> Forecast:
    """The same rows in the order of their probabilities, with outcomes as floats."""
    p, outcomes, weights, unit = forecast
    if weights is None and outcomes.dtype == bool:
        # Floats from 0 on are in the order of their bits, which leave room for the outcome: one sort does.
        keys = p.view(np.int64) << 1 | outcomes
        keys.sort()
        return Forecast((keys >> 1).view(np.float64), (keys & 1).astype(np.float64), None, unit)
    order = np.argsort(p)
    return Forecast(p[order], outcomes[order].astype(np.float64), None if weights is None else weights[order], unit)


def _sums(starts: Array, yes: Array, no: Array) -> tuple[Array, Array]:
    """Weights of yes and of no from each start to the next."""
    return np.add.reduceat(yes, starts), np.add.reduceat(no, starts)


def _block_starts(yes: Array, no: Array) -> Array:
    """Where isotonic regression on the frequencies takes another value."""
    totals = yes + no
    fitted = isotonic_regression(yes / totals, sample_weight=totals)
    return np.flatnonzero(np.concatenate([[True], fitted[1:] != fitted[:-1]]))


def _entropy(yes: Any, no: Any) -> float:
    """The summed log loss of each block's own frequency. No frequency is rounded to 0 or 1 by a tiny weight."""
    total = yes + no
    return -float(np.sum(xlogy(yes, yes / total) + xlogy(no, no / total)))


def _variance(yes: Any, no: Any) -> float:
    """The summed squared error of each block's own frequency."""
    return float(np.sum(yes * (no / (yes + no))))
