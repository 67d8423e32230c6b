"""Reliability diagrams."""

from __future__ import annotations  # signatures in help() then say ArrayLike, not what it stands for

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skactivation._data.responses import estimator_name, probabilities_of
from skactivation._validation import check_boolean
from skactivation.displays._pyplot import figure_and_axes, line_look, plain, pyplot
from skactivation.displays._reliability_axes import FLOOR, Style, check_kind, columns_beside, draw, small_multiples
from skactivation.metrics.reliability import ReliabilityCurve, reliability_curve

__all__ = ["ReliabilityDisplay"]

_CALLER = "ReliabilityDisplay.plot"


class ReliabilityDisplay:
    """Reliability diagram: how often things happen against the probability they were given, with the counts below.

    Of the top label, points below the diagonal are claims too sure, points above it claims too timid. Vertical lines
    are confidence intervals, the legend gives the expected calibration error (ECE), and the bars below say how many
    rows a point stands for, on a logarithmic scale: most rows are often in the last bin.

    Make one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    curves : ReliabilityCurve, or sequence or dict of them
        What `skactivation.metrics.reliability_curve` gives.
    name : str, default=None
        What the legend calls it.

    Attributes
    ----------
    curves : list of ReliabilityCurve
        What is drawn.
    ax_ : matplotlib Axes, or ndarray of them for small multiples
        Where the curves are.
    figure_ : matplotlib Figure
        What they are in.
    counts_ax_ : matplotlib Axes, ndarray of them, or None
        Where the counts are.
    lines_ : list of matplotlib Line2D
        A curve each.

    See Also
    --------
    skactivation.metrics.reliability_curve : The numbers.
    skactivation.metrics.expected_calibration_error : The error in the legend.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skactivation.displays import ReliabilityDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> display = ReliabilityDisplay.from_estimator(GaussianNB().fit(X_train, y_train), X_test, y_test)
    >>> display.ax_.get_legend_handles_labels()[1]
    ['perfectly calibrated', 'GaussianNB: ECE = 0.157']
    """

    def __init__(self, curves: Any, *, name: str | None = None) -> None:
        several = curves.values() if isinstance(curves, Mapping) else curves
        self.curves = [curves] if isinstance(curves, ReliabilityCurve) else list(several)
        if not self.curves or not all(isinstance(curve, ReliabilityCurve) for curve in self.curves):
            raise TypeError(f"curves must be a ReliabilityCurve or several of them, got {curves!r}")
        self.name = name

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, kind: str = "top_label", name: str | None = None, **kwargs: Any
    ) -> Self:
        """Draw the reliability diagram of a fitted classifier's `predict_proba`, on rows that are new to it.

        Parameters
        ----------
        estimator : estimator
            Fitted classifier with `predict_proba`, of one class or of several labels a row; pipelines, searches.
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.
        y : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
            Their labels, or an indicator.
        kind : {"top_label", "classwise"}, default="top_label"
            One curve, of the largest probability of each row; or one a class or label (of two classes, the second's).
        name : str, default=None
            What the legend calls it; None for the estimator's class.
        **kwargs
            What else `from_predictions` takes, such as ``n_bins``, ``sample_weight``, ``ax`` or ``color``. The classes
            of the columns are the estimator's.

        Returns
        -------
        ReliabilityDisplay
            What was drawn.

        Raises
        ------
        TypeError, ValueError
            As `skactivation.metrics.reliability_curve`; an estimator without `predict_proba`.
        ImportError
            Without matplotlib.
        """
        probabilities, classes = probabilities_of(estimator, X)
        name = estimator_name(estimator) if name is None else name
        return cls.from_predictions(y, probabilities, labels=classes, kind=kind, name=name, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_proba: ArrayLike,
        *,
        labels: ArrayLike | None = None,
        kind: str = "top_label",
        n_bins: int = 15,
        strategy: str = "uniform",
        confidence_level: float = 0.95,
        sample_weight: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the reliability diagram of probabilities.

        Parameters
        ----------
        y_true : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
            Labels of exclusive classes, or an indicator of several labels.
        y_proba : array-like of shape (n,), (n, K) or (n, L)
            Probabilities of the classes or labels; a vector holds those of the second of two classes.
        labels : array-like of shape (K,), default=None
            The class of each column of `y_proba`; see `skactivation.metrics.expected_calibration_error`.
        kind : {"top_label", "classwise"}, default="top_label"
            One curve, of the largest probability of each row; or one a class or label (of two classes, the second's).
        n_bins : int, default=15
            How many bins.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width or of equal weight.
        confidence_level : float, default=0.95
            Of the intervals.
        sample_weight : array-like of shape (n,), or (n, L) with an indicator, default=None
            Weights, not negative.
        name : str, default=None
            What the legend calls it.
        ax : matplotlib Axes or array-like of them, default=None
            Where to draw; see `plot`.
        **kwargs
            What else `plot` takes, such as ``subplots`` or ``color``.

        Returns
        -------
        ReliabilityDisplay
            What was drawn.

        Raises
        ------
        TypeError, ValueError
            As `skactivation.metrics.reliability_curve`.
        ImportError
            Without matplotlib.

        Examples
        --------
        >>> from skactivation.displays import ReliabilityDisplay
        >>> y, p = ["no", "no", "yes", "yes"], [0.1, 0.4, 0.4, 0.9]
        >>> display = ReliabilityDisplay.from_predictions(y, p, kind="classwise", n_bins=2, name="model")
        >>> [line.get_label() for line in display.lines_]
        ['model: ECE = 0.050']
        """
        curves = reliability_curve(
            y_true,
            y_proba,
            labels=labels,
            kind=kind,
            n_bins=n_bins,
            strategy=strategy,
            confidence_level=confidence_level,
            sample_weight=sample_weight,
        )
        return cls(curves, name=name).plot(ax=ax, **kwargs)

    def plot(
        self,
        *,
        ax: Any = None,
        name: str | None = None,
        subplots: bool = False,
        ref_line: bool = True,
        counts: bool = True,
        intervals: bool = True,
        **kwargs: Any,
    ) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of them, default=None
            Where to draw: None for a new figure. Axes give up a fifth of their height to the counts; those that a
            display has been drawn into take another of the same kind, to compare them. Small multiples take one for
            each curve (what `ax_` of others is), or divide a single one among them. A figure with
            ``layout="constrained"`` has room for all words.
        name : str, default=None
            What the legend calls it; None for what it has been called.
        subplots : bool, default=False
            Whether each curve gets axes of its own: small multiples, which are easier to read from some ten curves on.
        ref_line : bool, default=True
            Whether to draw the diagonal.
        counts : bool, default=True
            Whether to draw the counts.
        intervals : bool, default=True
            Whether to draw the intervals.
        **kwargs
            For matplotlib's `plot`, such as ``color``.

        Returns
        -------
        ReliabilityDisplay
            This one, with `ax_`, `figure_`, `counts_ax_`, `lines_`.

        Raises
        ------
        ImportError
            Without matplotlib.
        TypeError, ValueError
            Axes that don't suit the curves, or hold curves of another kind.
        """
        flags = {"subplots": subplots, "ref_line": ref_line, "counts": counts, "intervals": intervals}
        for flag, value in flags.items():
            check_boolean(value, flag)
        pyplot(_CALLER)
        style = Style(ref_line, counts, intervals, subplots, line_look(kwargs))
        labels = self._legend_entries(self.name if name is None else name, subplots)
        if subplots:
            self.figure_, self.ax_ = small_multiples(_CALLER, ax, len(self.curves))
            groups = [
                (one, [curve], [label]) for one, curve, label in zip(self.ax_.flat, self.curves, labels, strict=False)
            ]
        else:
            width = 5.5 + 1.8 * columns_beside(len(labels) + ref_line)
            self.figure_, self.ax_ = figure_and_axes(_CALLER, ax, (width, 5.8))
            groups = [(self.ax_, self.curves, labels)]
        for one, curves, _ in groups:
            check_kind(one, curves, subplots)
        drawn = [draw(*group, style) for group in groups]
        self.lines_ = [line for lines, _ in drawn for line in lines]
        self.counts_ax_ = np.array([below for _, below in drawn], dtype=object) if subplots else drawn[0][1]
        if subplots and counts:
            # One scale for all.
            top = max(below.get_ylim()[1] for below in self.counts_ax_)
            for below in self.counts_ax_:
                below.set_ylim(FLOOR, top)
        if groups[0][0] in self.figure_.axes:
            # What pyplot draws next goes to the curves, not to their counts.
            self.figure_.sca(groups[0][0])
        return self

    def _legend_entries(self, name: str | None, subplots: bool) -> list[str]:
        """What the legend says of each curve."""
        several = len(self.curves) > 1 and not subplots
        entries = []
        for curve in self.curves:
            words = ", ".join(str(word) for word in (name, curve.label if several else None) if word is not None)
            error = f"ECE = {curve.expected_calibration_error():.3f}"
            # Small axes have little room beside a name.
            entries.append(plain(f"{words}\n{error}" if subplots else f"{words}: {error}") if words else error)
        return entries
