"""Reliability diagrams."""

from __future__ import annotations  # help() then shows ArrayLike, not its definition

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skactivation._data.responses import estimator_name, probabilities_of
from skactivation._validation import check_boolean
from skactivation.displays._pyplot import figure_and_axes, legend_entry, line_look, pyplot
from skactivation.displays._reliability_axes import Group, Style, draw, own_figure, small_multiples
from skactivation.metrics.reliability import ReliabilityCurve, reliability_curve

__all__ = ["ReliabilityDisplay"]


class ReliabilityDisplay:
    """Reliability diagram: observed frequencies against probabilities, with the number of rows of each bin below.

    For the top label, points below the diagonal are overconfident and points above it underconfident. Vertical lines
    are confidence intervals. The legend gives the expected calibration error (ECE). The bars below show the number of
    rows of each bin on a logarithmic scale, because most rows are often in the last bin.

    Create one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    curves : ReliabilityCurve, or sequence or dict of them
        The result of `skactivation.metrics.reliability_curve`.
    name : str, default=None
        Name in the legend.

    Attributes
    ----------
    curves : list of ReliabilityCurve
        The curves.
    ax_ : matplotlib Axes, or ndarray of them for small multiples
        Axes of the curves.
    figure_ : matplotlib Figure
        Figure of the axes.
    counts_ax_ : matplotlib Axes, ndarray of them, or None
        Axes of the counts.
    lines_ : list of matplotlib Line2D
        One line for each curve.

    See Also
    --------
    skactivation.metrics.reliability_curve : The numbers that are drawn.
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
        values = curves.values() if isinstance(curves, Mapping) else curves
        self.curves = [curves] if isinstance(curves, ReliabilityCurve) else list(values)
        if not self.curves or not all(isinstance(curve, ReliabilityCurve) for curve in self.curves):
            raise TypeError(f"curves must be a ReliabilityCurve, or a sequence or dict of them, got {curves!r}")
        self.name = name

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, kind: str = "top_label", name: str | None = None, **kwargs: Any
    ) -> Self:
        """Draw the reliability diagram of a fitted classifier on held-out rows.

        Parameters
        ----------
        estimator : estimator
            Fitted classifier with `predict_proba`, multiclass or multilabel; also a pipeline or a search.
        X : {array-like, sparse matrix} of shape (n, d)
            Rows that the classifier was not fitted on.
        y : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
            Labels of the rows, or an indicator.
        kind : {"top_label", "classwise"}, default="top_label"
            One curve, of the largest probability of each row; or one a class or label (of two classes, the second's).
        name : str, default=None
            Name in the legend. If None, the name of the estimator's class.
        **kwargs
            Other parameters of `from_predictions` except ``labels``, such as ``n_bins``, ``sample_weight``, ``ax`` or
            ``color``.

        Returns
        -------
        ReliabilityDisplay
            The display.

        Raises
        ------
        TypeError, ValueError
            As `skactivation.metrics.reliability_curve`; if the estimator has no `predict_proba`.
        ImportError
            If matplotlib is not installed.
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
            Probabilities of the classes or labels. A one-dimensional array holds those of the second of two classes.
        labels : array-like of shape (K,), default=None
            The class of each column of `y_proba`; see `skactivation.metrics.expected_calibration_error`.
        kind : {"top_label", "classwise"}, default="top_label"
            One curve, of the largest probability of each row; or one a class or label (of two classes, the second's).
        n_bins : int, default=15
            Number of bins.
        strategy : {"uniform", "quantile"}, default="uniform"
            Bins of equal width or of equal weight.
        confidence_level : float, default=0.95
            Confidence level of the intervals.
        sample_weight : array-like of shape (n,), or (n, L) with an indicator, default=None
            Non-negative weights.
        name : str, default=None
            Name in the legend.
        ax : matplotlib Axes or array-like of them, default=None
            Axes to draw into; see `plot`.
        **kwargs
            Other parameters of `plot`, such as ``subplots`` or ``color``.

        Returns
        -------
        ReliabilityDisplay
            The display.

        Raises
        ------
        TypeError, ValueError
            As `skactivation.metrics.reliability_curve`.
        ImportError
            If matplotlib is not installed.

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
        """Draw the diagram.

        Parameters
        ----------
        ax : matplotlib Axes or array-like of them, default=None
            Axes to draw into; None creates a figure. The counts take the lower fifth of the axes. To compare displays
            of the same kind, draw them into the same axes. With `subplots`, pass axes for each curve (such as `ax_` of
            another display), or single axes, which are replaced by a grid. A figure with ``layout="constrained"`` has
            enough space for all labels.
        name : str, default=None
            Name in the legend. If None, the attribute `name`.
        subplots : bool, default=False
            Whether each curve gets its own axes (small multiples), which are easier to read from about ten curves.
        ref_line : bool, default=True
            Whether to draw the diagonal.
        counts : bool, default=True
            Whether to draw the counts.
        intervals : bool, default=True
            Whether to draw the confidence intervals.
        **kwargs
            Keyword arguments of matplotlib's `plot`, such as ``color``.

        Returns
        -------
        ReliabilityDisplay
            The display itself, with `ax_`, `figure_`, `counts_ax_` and `lines_` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            If `ax` is not suitable for the curves, or holds curves of another kind.
        """
        flags = {"subplots": subplots, "ref_line": ref_line, "counts": counts, "intervals": intervals}
        for flag, value in flags.items():
            check_boolean(value, flag)
        plt = pyplot("ReliabilityDisplay.plot")
        style = Style(**flags, line=line_look(kwargs))
        groups = self._groups(plt, ax, self.name if name is None else name, style)
        self.lines_, counts_axes = draw(groups, style)
        self.counts_ax_ = np.array(counts_axes, dtype=object) if subplots else counts_axes[0]
        first = groups[0][0]
        if first in self.figure_.axes:
            # Later calls of pyplot shall draw into the axes of the curves, not of the counts.
            self.figure_.sca(first)
        return self

    def _groups(self, plt: Any, ax: Any, name: str | None, style: Style) -> list[Group]:
        """Axes with their curves and legend entries: with `subplots` one curve each, otherwise all in the same axes."""
        errors = [f"ECE = {curve.expected_calibration_error():.3f}" for curve in self.curves]
        if style.subplots:
            self.figure_, self.ax_ = small_multiples(plt, ax, len(self.curves))
            # The label is the title of its axes, which are too narrow for name and error in one line.
            entries = [legend_entry(name, None, error, separator="\n") for error in errors]
            columns = zip(self.ax_.flat, self.curves, entries, strict=False)
            return [(one, [curve], [entry]) for one, curve, entry in columns]
        labels = [curve.label for curve in self.curves] if len(self.curves) > 1 else [None]
        entries = [legend_entry(name, label, error) for label, error in zip(labels, errors, strict=True)]
        self.figure_, self.ax_ = figure_and_axes(plt, ax, (5.5, 5.8))
        if ax is None:
            own_figure(self.ax_)
        return [(self.ax_, self.curves, entries)]
