"""Reliability: how often what has been given a probability happens, bin by bin, and the errors that sum this up."""

from __future__ import annotations  # signatures in help() then say ArrayLike, not what it stands for

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from skactivation._threads import over_slices, threads_for
from skactivation._typing import Array
from skactivation._validation import check_choice, check_integer, check_real
from skactivation.metrics._forecasts import Forecast, Outcomes

__all__ = ["ReliabilityCurve", "expected_calibration_error", "reliability_curve"]


KINDS, STRATEGIES, NORMS = ("top_label", "classwise"), ("uniform", "quantile"), ("l1", "l2", "max")
# Putting a number into a bin takes as long as reading some.
_BINNING = 2
# With how many edges a probability is compared one by one.
_FEW_EDGES = 64


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """How often what has been given a probability happened, in the B bins that aren't empty.

    Attributes
    ----------
    label : object
        The class or label; None for the top label.
    prob_true : ndarray of shape (B,)
        How often it happened: the weighted mean of the outcomes.
    prob_pred : ndarray of shape (B,)
        The weighted mean of the probabilities.
    counts : ndarray of shape (B,)
        Rows of positive weight.
    shares : ndarray of shape (B,)
        Shares of the weight; they sum to 1.
    lower, upper : ndarray of shape (B,)
        Confidence interval of the probability that `prob_true` estimates.
    edges : ndarray of shape (B, 2)
        Bins: probabilities above the first number, up to the second; the first bin holds its lower edge, too.

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

    def expected_calibration_error(self, norm: str = "l1") -> float:
        """The error that this curve shows; see `skactivation.metrics.expected_calibration_error`."""
        return _error(self.shares, self.prob_true - self.prob_pred, check_choice(norm, "norm", NORMS))


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
    r"""How far probabilities are, on average, from how often things happen: :math:`\sum_b s_b |\bar y_b - \bar p_b|`.

    In bins b of the probability, s is the share of the rows (of their weight), :math:`\bar p` the mean probability and
    :math:`\bar y` the frequency of what it is the probability of.

    Lower is better; from 0 to 1. It is an estimate with a bias: on n rows even perfect probabilities p get some
    :math:`0.8 \sqrt{p (1 - p) B / n}` in B bins of equal weight. It is no proper score, and blind to much: the same
    probability for every row, the share of the class, has an error of 0 although it says nothing about any row; errors
    of opposite sign within a bin cancel; "top_label" sees nothing of the probabilities of other classes, nor which
    class is meant. Read it beside a proper score, such as the log loss or `calibration_decomposition`.

    Parameters
    ----------
    y_true : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
        Labels of classes that exclude each other, of any kind; or an indicator of several labels: 0 for no, 1 for yes,
        between them soft labels, NaN, not known, is left out.
    y_proba : array-like of shape (n,), (n, K) or (n, L)
        Probabilities of the classes in the order of `labels`, or of the labels; a vector holds those of the second of
        two classes.
    labels : array-like of shape (K,), default=None
        The class of each column of `y_proba`, or names of the labels. Without it, the names of a data
        frame's columns, if all labels are among them, or else K different labels in `y_true` in sorted order; fewer
        labels are column numbers if they are integers from 0 to K - 1 and 0 is among them. Anything else is an error.
    kind : {"top_label", "classwise"}, default="top_label"
        Whether it is about the largest probability of each row, the confidence, and how often that class is true
        (the first one where several are equally probable); or about each class's probability and how often the class
        is true, averaged over the classes, or over the labels in proportion to the weight of their known entries (a
        label of which nothing is known doesn't count).
        Of two classes only the second counts: the first's error is the same, but for probabilities on a bin's edge.
    n_bins : int, default=15
        How many bins; those without rows don't count.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width, or with equal weight (up to ties and single rows). Each holds its upper edge.
    norm : {"l1", "l2", "max"}, default="l1"
        The mean of the bins' errors, their root mean square (of classes likewise), or the largest.
    sample_weight : array-like of shape (n,), or (n, L) with an indicator, default=None
        Weights, not negative. A weight of 2 is the same as two rows; a row of weight 0 isn't there, but its
        probabilities must be some.

    Returns
    -------
    float
        The error, a probability.

    Raises
    ------
    TypeError, ValueError
        Shapes that don't fit; probabilities outside [0, 1] or, of exclusive classes, that don't sum to one (to within
        the root of their dtype's machine epsilon); labels whose columns aren't clear; weights that are negative; a
        parameter that isn't one of the above.

    See Also
    --------
    reliability_curve : The bins themselves.
    calibration_decomposition : The same question without bins.

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
    outcomes = Outcomes(y_true, y_proba, labels, sample_weight)
    errors, totals = [], []
    for _, bins, share in _each_binned(outcomes, kind, n_bins, strategy):
        errors.append(_error(bins.weights / bins.weights.sum(), bins.prob_true - bins.prob_pred, norm))
        totals.append(share)
    if norm == "max":
        return max(errors)
    power = 2 if norm == "l2" else 1
    return float(np.average(np.array(errors) ** power, weights=totals) ** (1 / power))


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
    r"""How often what has been given a probability happens, in bins of the probability, with counts and intervals.

    Perfect probabilities have :math:`\bar y_b = \bar p_b` in every bin but for chance; a frequency below the
    probability is overconfidence where the probability is the top label's. Frequencies lie in [0, 1]. The curve is
    blind to how well the probabilities tell rows apart (the same probability for all is a single point, on the diagonal
    if it is the class's share), and to what happens within a bin.

    Parameters
    ----------
    y_true : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
        Labels of exclusive classes, or an indicator of several labels; see `expected_calibration_error`.
    y_proba : array-like of shape (n,), (n, K) or (n, L)
        Probabilities of the classes or labels; a vector holds those of the second of two classes.
    labels : array-like of shape (K,), default=None
        The class of each column of `y_proba`; see `expected_calibration_error`.
    kind : {"top_label", "classwise"}, default="top_label"
        The largest probability of each row and how often that class is true, or each class's own.
    n_bins : int, default=15
        How many bins; those without rows are left out.
    strategy : {"uniform", "quantile"}, default="uniform"
        Bins of equal width, or with equal weight (up to ties and single rows). Each holds its upper edge.
    confidence_level : float, default=0.95
        In how many cases, at least, the interval of a bin covers the true frequency.
    sample_weight : array-like of shape (n,), or (n, L) with an indicator, default=None
        Weights, not negative. A row of weight 0 isn't there.

    Returns
    -------
    ReliabilityCurve, or dict of them
        One curve of the top label; with "classwise" one a class or label, by its name, but for labels of which nothing
        is known. Of two classes there is the second's alone: the first's is its mirror image, but for probabilities on
        a bin's edge.

    Raises
    ------
    TypeError, ValueError
        As `expected_calibration_error`.

    Notes
    -----
    Intervals are Clopper and Pearson's: exact for independent rows, and rather too wide where the probabilities within
    a bin differ, where labels are soft, or where rows have weights. With weights a bin counts for
    :math:`(\sum w)^2 / \sum w^2` rows, whatever their scale; if a weight stands for rows that were seen repeatedly,
    repeat the rows.

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
    outcomes = Outcomes(y_true, y_proba, labels, sample_weight)
    curves = {name: _curve(name, bins, level) for name, bins, _ in _each_binned(outcomes, kind, n_bins, strategy)}
    return curves[None] if kind == "top_label" else curves


def _each_binned(outcomes: Outcomes, kind: str, n_bins: int, strategy: str) -> list[tuple[Any, _Bins, float]]:
    """The name of each class or label, its bins and how much it counts; or of the top label."""
    with threads_for(_BINNING * outcomes.size), np.errstate(all="ignore"):
        batches = outcomes.batches() if kind == "classwise" else [[(None, outcomes.top_label())]]
        return [
            (name, _binned(forecast, n_bins, strategy), forecast.share) for batch in batches for name, forecast in batch
        ]


class _Bins(NamedTuple):
    """Sums over the rows of each bin that isn't empty."""

    weights: Array
    counts: Array
    effective: Array
    """How many rows of equal weight say as much."""
    prob_true: Array
    prob_pred: Array
    edges: Array


def _binned(forecast: Forecast, n_bins: int, strategy: str) -> _Bins:
    p, outcomes, weights, _ = forecast
    edges = np.linspace(0, 1, n_bins + 1) if strategy == "uniform" else _quantiles(p, weights, n_bins)

    def sums(rows: slice) -> list[Array]:
        numbers = _bin_numbers(p[rows], edges[1:-1])
        values = [outcomes[rows], p[rows]]
        if weights is not None:
            w = weights[rows]
            values = [w * values[0], w * values[1], w]
        return [np.bincount(numbers, of_rows, n_bins) for of_rows in (None, *values)]

    def squares(rows: slice) -> Array:
        # Of shares of a bin's weight, which are in range whatever the weights.
        numbers = _bin_numbers(p[rows], edges[1:-1])
        of_rows = np.ones(numbers.size) if weights is None else weights[rows]
        return np.bincount(numbers, (of_rows / totals[numbers]) ** 2, n_bins)

    counts, true, predicted, *others = np.sum(over_slices(sums, p.size, _BINNING), axis=0)
    totals = others[0] if others else counts
    effective = 1 / np.sum(over_slices(squares, p.size, _BINNING), axis=0) if others else counts
    found = counts > 0
    return _Bins(
        weights=totals[found],
        counts=counts[found].astype(np.intp),
        effective=effective[found],
        prob_true=true[found] / totals[found],
        prob_pred=predicted[found] / totals[found],
        edges=np.column_stack([edges[:-1], edges[1:]])[found],
    )


def _bin_numbers(p: Array, inner_edges: Array) -> Array:
    """The bin (b,) of each probability; that of an edge is the one below."""
    if inner_edges.size > _FEW_EDGES:
        return np.searchsorted(inner_edges, p)
    # Several times as fast as a search.
    numbers = np.zeros(p.size, np.int8)
    for edge in inner_edges:
        numbers += p > edge
    return numbers


def _quantiles(p: Array, weights: Array | None, n_bins: int) -> Array:
    """Edges (n_bins + 1,) of bins with as much weight each as ties and single rows allow: the inverse of the CDF."""
    inner = np.arange(1, n_bins)
    if weights is None:
        # Sorted in whole numbers, so that shares such as 1 / 3 don't fall to the wrong side.
        ranks = -(-inner * p.size // n_bins) - 1
        ordered = np.partition(p, ranks) if ranks.size else p
    else:
        order = np.argsort(p, kind="stable")
        ordered, sums = p[order], np.cumsum(weights[order])
        # Weights in other units must not move a row that ends at an edge.
        ranks = np.searchsorted(sums, inner / n_bins * sums[-1] * (1 - 1e-12))
    return np.concatenate([[p.min()], ordered[np.maximum(ranks, 0)], [p.max()]])


def _error(shares: Array, differences: Array, norm: str) -> float:
    sizes = np.abs(differences)
    if norm == "max":
        return float(sizes.max())
    return float(np.sum(shares * sizes) if norm == "l1" else np.sqrt(np.sum(shares * sizes**2)))


def _curve(name: Any, bins: _Bins, level: float) -> ReliabilityCurve:
    lower, upper = _interval(bins.prob_true, bins.effective, level)
    return ReliabilityCurve(
        label=name,
        prob_true=bins.prob_true,
        prob_pred=bins.prob_pred,
        counts=bins.counts,
        shares=bins.weights / bins.weights.sum(),
        lower=lower,
        upper=upper,
        edges=bins.edges,
    )


def _interval(frequency: Array, n: Array, level: float) -> tuple[Array, Array]:
    """Clopper and Pearson's confidence interval of a probability, given frequencies among n rows."""
    yes, no, tail = n * frequency, n * (1 - frequency), (1 - level) / 2
    lower = np.where(yes > 0, betaincinv(np.where(yes > 0, yes, 1), no + 1, tail), 0.0)
    upper = np.where(no > 0, betaincinv(yes + 1, np.where(no > 0, no, 1), 1 - tail), 1.0)
    return lower, upper
