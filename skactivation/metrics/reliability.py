"""Reliability curves (observed frequencies against probabilities, in bins) and the calibration errors they give."""

from __future__ import annotations  # help() then shows ArrayLike, not its definition

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from skactivation._messages import html_table, rounded
from skactivation._threads import over_slices, threads_for
from skactivation._typing import Array
from skactivation._validation import check_choice, check_integer, check_real
from skactivation.metrics._forecasts import Forecast, Forecasts

__all__ = ["ReliabilityCurve", "expected_calibration_error", "reliability_curve"]

KINDS, STRATEGIES, NORMS = ("top_label", "classwise"), ("uniform", "quantile"), ("l1", "l2", "max")
# Time to put a number into a bin, in units of the time to read one.
_BINNING = 2
# Up to this many edges, comparing with each edge in turn is faster than a binary search.
_FEW_EDGES = 64


@dataclass(frozen=True, eq=False, repr=False)
class ReliabilityCurve:
    """Observed frequencies against mean probabilities, in the B non-empty bins.

    Attributes
    ----------
    label : object
        The class or label; None for the top label.
    prob_true : ndarray of shape (B,)
        Observed frequency: the weighted mean of the outcomes.
    prob_pred : ndarray of shape (B,)
        The weighted mean of the probabilities.
    counts : ndarray of shape (B,)
        Number of rows of positive weight.
    shares : ndarray of shape (B,)
        Fraction of the total weight; they sum to 1.
    lower, upper : ndarray of shape (B,)
        Confidence interval of the true frequency, which `prob_true` estimates.
    edges : ndarray of shape (B, 2)
        Lower and upper edge. A bin contains its upper edge; the first bin contains its lower edge, too.

    Examples
    --------
    >>> from skactivation.metrics import reliability_curve
    >>> curve = reliability_curve([0, 0, 1, 1], [0.2, 0.4, 0.4, 0.9], n_bins=2)
    >>> print(curve.counts, round(curve.expected_calibration_error(), 6))
    [4] 0.025
    """

    label: Any
    prob_true: Array
    prob_pred: Array
    counts: Array
    shares: Array
    lower: Array
    upper: Array
    edges: Array

    def __repr__(self) -> str:
        error = rounded(self.expected_calibration_error())
        n_bins, n_rows = len(self.counts), self.counts.sum()
        label = "" if self.label is None else f"label={self.label!r}, "
        return f"ReliabilityCurve({label}n_bins={n_bins}, n_rows={n_rows}, expected_calibration_error={error})"

    def _repr_html_(self) -> str:
        columns = ("prob_pred", "prob_true", "lower", "upper", "counts")
        rows = list(zip(*(getattr(self, name).tolist() for name in columns), strict=True))
        return html_table(columns, rows)

    def expected_calibration_error(self, norm: str = "l1") -> float:
        """The calibration error of this curve; see `skactivation.metrics.expected_calibration_error`."""
        return _error(self, check_choice(norm, "norm", NORMS))


def expected_calibration_error(
    y_true: Any,
    y_proba: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    kind: str = "top_label",
    n_bins: int = 15,
    strategy: str = "uniform",
    norm: str = "l1",
    sample_weight: ArrayLike | None = None,
) -> float:
    r"""Mean distance between probabilities and observed frequencies: :math:`\sum_b s_b |\bar y_b - \bar p_b|`.

    Rows are grouped by probability into bins b: :math:`s_b` is the bin's fraction of the total weight,
    :math:`\bar p_b` its mean probability, and :math:`\bar y_b` the frequency of the event in it.

    Lower is better; the error lies between 0 and 1. It is biased upwards: on n rows, perfect probabilities p have an
    error of about :math:`0.8 \sqrt{p (1 - p) B / n}` in B bins of equal weight. It is not a proper score:

    - The frequency of the class as a constant probability has an error of 0, although it does not tell rows apart.
    - Errors of opposite sign within a bin cancel.
    - "top_label" ignores the probabilities of all other classes, and which class is the most probable.

    Use it together with a proper score, such as the log loss or `calibration_decomposition`.

    Parameters
    ----------
    y_true : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
        Labels of exclusive classes, of any dtype; or an indicator of several labels: 0 for no, 1 for yes, a number
        between for a soft label, NaN for unknown (left out).
    y_proba : array-like of shape (n,), (n, K) or (n, L)
        Probabilities of the classes in the order of `labels`, or of the labels. A one-dimensional array holds those of
        the second of two classes.
    labels : array-like of shape (K,), default=None
        The class of each column of `y_proba`, or the names of the labels. If None, the classes are, in this order of
        preference: the column names of a data frame `y_proba`, if they include all labels; the distinct labels of
        `y_true` in sorted order, if there are K of them; the column numbers, if the labels are integers from 0 to K - 1
        and include 0. Anything else is an error.
    kind : {"top_label", "classwise"}, default="top_label"
        "top_label" compares the largest probability of each row (the confidence) with the frequency at which that class
        is true; ties go to the first class. "classwise" compares the probability of each class with its frequency, and
        averages over the classes. With an indicator the average over the labels is weighted by the weight of their
        known entries, and labels without a known entry are left out. For two classes only the second is used: the
        error of the first is the same, except for probabilities on the edge of a bin.
    n_bins : int, default=15
        Number of bins. Empty bins are ignored.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width, or of equal weight (as far as ties and single rows allow). A bin contains its upper edge.
    norm : {"l1", "l2", "max"}, default="l1"
        The mean, the root mean square or the maximum of the errors, over bins and over classes.
    sample_weight : array-like of shape (n,), or (n, L) with an indicator, default=None
        Non-negative weights. A weight of 2 equals two copies of the row. A row of weight 0 is ignored, but must hold
        valid probabilities.

    Returns
    -------
    float
        The error, in units of probability.

    Raises
    ------
    TypeError, ValueError
        If shapes do not match; if probabilities lie outside [0, 1] or, for exclusive classes, rows do not sum to 1
        (within the square root of the machine epsilon of their dtype); if the columns of labels are ambiguous; if a
        weight is negative; if a parameter is not one of the above.

    See Also
    --------
    reliability_curve : Frequency, probability and confidence interval of each bin.
    calibration_decomposition : A measure of miscalibration that needs no bins.

    References
    ----------
    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015; Guo,
    Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017 (top label); Kull et al., "Beyond
    temperature scaling", NeurIPS 2019 (classwise); Kumar, Liang and Ma, "Verified uncertainty calibration", NeurIPS
    2019 (l2).

    Examples
    --------
    >>> from skactivation.metrics import expected_calibration_error
    >>> y = ["cat", "dog", "cat", "bird"]
    >>> p = [[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.0, 0.8, 0.2], [0.6, 0.3, 0.1]]  # of bird, cat and dog
    >>> print(round(expected_calibration_error(y, p, n_bins=5), 6))
    0.3
    >>> print(round(expected_calibration_error(y, p, n_bins=5, kind="classwise"), 6))
    0.2
    """
    kind, norm = check_choice(kind, "kind", KINDS), check_choice(norm, "norm", NORMS)
    n_bins, strategy = check_integer(n_bins, "n_bins", low=1), check_choice(strategy, "strategy", STRATEGIES)
    forecasts = Forecasts(y_true, y_proba, labels, sample_weight)
    binned = _bin_each(forecasts, kind, n_bins, strategy)
    errors, weights = [_error(bins, norm) for _, bins, _ in binned], [weight for *_, weight in binned]
    if norm == "max":
        return max(errors)
    power = 2 if norm == "l2" else 1
    return float(np.average(np.array(errors) ** power, weights=weights) ** (1 / power))


def reliability_curve(
    y_true: Any,
    y_proba: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    kind: str = "top_label",
    n_bins: int = 15,
    strategy: str = "uniform",
    confidence_level: float = 0.95,
    sample_weight: ArrayLike | None = None,
) -> Any:
    r"""Observed frequency against mean probability in bins of the probability, with counts and confidence intervals.

    For perfect probabilities :math:`\bar y_b = \bar p_b` in every bin, except for chance. For the top label, a
    frequency below the probability means overconfidence. The curve does not show how well the probabilities tell rows
    apart: the frequency of the class as a constant probability is a single point on the diagonal. It does not show
    errors that cancel within a bin either.

    Parameters
    ----------
    y_true : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
        Labels of exclusive classes, or an indicator of several labels; see `expected_calibration_error`.
    y_proba : array-like of shape (n,), (n, K) or (n, L)
        Probabilities of the classes or labels. A one-dimensional array holds those of the second of two classes.
    labels : array-like of shape (K,), default=None
        The class of each column of `y_proba`; see `expected_calibration_error`.
    kind : {"top_label", "classwise"}, default="top_label"
        One curve of the largest probability of each row, or one curve for each class or label.
    n_bins : int, default=15
        Number of bins. Empty bins are left out.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width, or of equal weight (as far as ties and single rows allow). A bin contains its upper edge.
    confidence_level : float, default=0.95
        The probability, at least, that the interval of a bin covers the true frequency.
    sample_weight : array-like of shape (n,), or (n, L) with an indicator, default=None
        Non-negative weights. A row of weight 0 is ignored.

    Returns
    -------
    ReliabilityCurve, or dict of them
        With "top_label" one curve. With "classwise" a dict with one curve for each class or label, by its name; labels
        without a known entry are left out. For two classes it holds only the second: the curve of the first is its
        mirror image, except for probabilities on the edge of a bin.

    Raises
    ------
    TypeError, ValueError
        As `expected_calibration_error`.

    Notes
    -----
    The confidence intervals are those of Clopper and Pearson. They are exact for independent rows, and tend to be too
    wide if probabilities differ within a bin, if labels are soft or if rows have weights. With weights a bin counts as
    :math:`(\sum w)^2 / \sum w^2` rows, whatever the scale of the weights. If a weight is the number of times that a row
    was observed, repeat the row instead.

    References
    ----------
    Niculescu-Mizil and Caruana, "Predicting good probabilities with supervised learning", ICML 2005; Clopper and
    Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26 (1934);
    Kish, "Survey sampling" (1965), for the effective number of rows.

    Examples
    --------
    >>> from skactivation.metrics import reliability_curve
    >>> y, p = ["no", "no", "yes", "yes", "yes"], [0.1, 0.3, 0.4, 0.8, 0.9]
    >>> curve = reliability_curve(y, p, kind="classwise", n_bins=2)["yes"]
    >>> print(curve.prob_pred.round(3), curve.prob_true.round(3), curve.counts)
    [0.267 0.85 ] [0.333 1.   ] [3 2]
    >>> print(curve.lower.round(3), curve.upper.round(3))
    [0.008 0.158] [0.906 1.   ]
    """
    kind, strategy = check_choice(kind, "kind", KINDS), check_choice(strategy, "strategy", STRATEGIES)
    n_bins = check_integer(n_bins, "n_bins", low=1)
    level = check_real(confidence_level, "confidence_level", high=1.0, allow_low=False, allow_high=False)
    forecasts = Forecasts(y_true, y_proba, labels, sample_weight)
    curves = {name: _curve(name, bins, level) for name, bins, _ in _bin_each(forecasts, kind, n_bins, strategy)}
    return curves[None] if kind == "top_label" else curves


class _Bins(NamedTuple):
    """The B non-empty bins of one event. The first five fields are those of `ReliabilityCurve`."""

    prob_true: Array
    prob_pred: Array
    counts: Array
    shares: Array
    edges: Array
    n_effective: Array
    """(B,): numbers of rows of equal weight that are as informative."""


def _bin_each(forecasts: Forecasts, kind: str, n_bins: int, strategy: str) -> list[tuple[Any, _Bins, float]]:
    """The name, the bins and the weight in the mean of each class or label; with "top_label" one with the name None."""
    with threads_for(_BINNING * forecasts.size), np.errstate(all="ignore"):
        batches = forecasts.batches() if kind == "classwise" else [[(None, forecasts.top_label())]]
        return [
            (name, _bin(forecast, n_bins, strategy, forecasts.edge_tolerance), forecast.weight_in_mean)
            for batch in batches
            for name, forecast in batch
        ]


def _bin(forecast: Forecast, n_bins: int, strategy: str, tolerance: float) -> _Bins:
    """Bins of one event; a probability within the tolerance of a uniform edge is on it."""
    p, outcomes, weights, _ = forecast
    edges = np.arange(n_bins + 1) / n_bins if strategy == "uniform" else _quantiles(p, weights, n_bins)
    inner = edges[1:-1] + (tolerance if strategy == "uniform" else 0)

    def sums(rows: slice) -> list[Array]:
        numbers = _bin_numbers(p[rows], inner)
        values = [outcomes[rows], p[rows]]
        if weights is not None:
            w = weights[rows]
            values = [w * values[0], w * values[1], w]
        return [np.bincount(numbers, of_rows, n_bins) for of_rows in (None, *values)]

    def squares(rows: slice) -> Array:
        # Squares of fractions of the bin's weight: squares of the weights themselves could underflow.
        numbers = _bin_numbers(p[rows], inner)
        of_rows = np.ones(numbers.size) if weights is None else weights[rows]
        return np.bincount(numbers, (of_rows / totals[numbers]) ** 2, n_bins)

    counts, true, predicted, *others = np.sum(over_slices(sums, p.size, _BINNING), axis=0)
    totals = others[0] if others else counts
    n_effective = 1 / np.sum(over_slices(squares, p.size, _BINNING), axis=0) if others else counts
    found = counts > 0
    return _Bins(
        prob_true=true[found] / totals[found],
        prob_pred=predicted[found] / totals[found],
        counts=counts[found].astype(np.intp),
        shares=totals[found] / totals[found].sum(),
        edges=np.column_stack([edges[:-1], edges[1:]])[found],
        n_effective=n_effective[found],
    )


def _bin_numbers(p: Array, inner_edges: Array) -> Array:
    """The bin (n,) of each probability; a probability on an edge belongs to the bin below."""
    if inner_edges.size > _FEW_EDGES:
        return np.searchsorted(inner_edges, p)
    numbers = np.zeros(p.size, np.int8)
    for edge in inner_edges:
        numbers += p > edge
    return numbers


def _quantiles(p: Array, weights: Array | None, n_bins: int) -> Array:
    """Edges (n_bins + 1,) of bins of equal weight, as far as ties and single rows allow: the inverse of the CDF."""
    inner = np.arange(1, n_bins)
    if weights is None:
        # Ranks in integer arithmetic, so that rounding of fractions such as 1 / 3 does not move a row.
        ranks = -(-inner * p.size // n_bins) - 1
        ordered = np.partition(p, ranks) if ranks.size else p
    else:
        order = np.argsort(p, kind="stable")
        ordered, sums = p[order], np.cumsum(weights[order])
        # The tolerance keeps the bins the same if all weights are multiplied by a constant.
        ranks = np.searchsorted(sums, inner / n_bins * sums[-1] * (1 - 1e-12))
    return np.concatenate([[p.min()], ordered[np.maximum(ranks, 0)], [p.max()]])


def _error(bins: _Bins | ReliabilityCurve, norm: str) -> float:
    """The calibration error of one event."""
    distances = np.abs(bins.prob_true - bins.prob_pred)
    if norm == "max":
        return float(distances.max())
    return float(np.sum(bins.shares * distances) if norm == "l1" else np.sqrt(np.sum(bins.shares * distances**2)))


def _curve(name: Any, bins: _Bins, level: float) -> ReliabilityCurve:
    """The curve of one event, with confidence intervals."""
    lower, upper = _interval(bins.prob_true, bins.n_effective, level)
    return ReliabilityCurve(name, bins.prob_true, bins.prob_pred, bins.counts, bins.shares, lower, upper, bins.edges)


def _interval(frequency: Array, n: Array, level: float) -> tuple[Array, Array]:
    """Clopper and Pearson's confidence interval of a probability, given its frequency among n rows."""
    yes, no, tail = n * frequency, n * (1 - frequency), (1 - level) / 2
    lower = np.where(yes > 0, betaincinv(np.where(yes > 0, yes, 1), no + 1, tail), 0.0)
    upper = np.where(no > 0, betaincinv(yes + 1, np.where(no > 0, no, 1), 1 - tail), 1.0)
    return lower, upper
