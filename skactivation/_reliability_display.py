"""Reliability diagrams."""

from __future__ import annotations  # signatures in help() then say ArrayLike, not what it stands for

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

from skactivation._labels import abridged
from skactivation._pyplot import check_axes, distinct_colors, figure_and_axes, line_look, plain, pyplot
from skactivation._reliability import ReliabilityCurve, reliability_curve
from skactivation._responses import estimator_name, probabilities_of
from skactivation._validation import check_boolean

__all__ = ["ReliabilityDisplay"]

_CALLER = "ReliabilityDisplay.plot"
# Entries of a legend that leave room for curves beside them; how many stand in a column.
_MOST_INSIDE, _IN_A_COLUMN = 5, 24
_DIAGONAL = "perfectly calibrated"
# Where axes keep the axes of the counts below them, and the labels of the curves that they hold.
_BELOW, _HOLDS = "skactivation_counts_ax", "skactivation_labels"
# Below one row.
_FLOOR = 0.7


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
        subplots: bool = False,
        ref_line: bool = True,
        counts: bool = True,
        intervals: bool = True,
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
        subplots : bool, default=False
            Whether each curve gets axes of its own: small multiples.
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
        display = cls(curves, name=name)
        return display.plot(ax=ax, subplots=subplots, ref_line=ref_line, counts=counts, intervals=intervals, **kwargs)

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
        style = _Style(ref_line, counts, intervals, subplots, line_look(kwargs))
        labels = self._legend_entries(self.name if name is None else name, subplots)
        if subplots:
            self.figure_, self.ax_ = _small_multiples(ax, len(self.curves))
            groups = [
                (one, [curve], [label]) for one, curve, label in zip(self.ax_.flat, self.curves, labels, strict=False)
            ]
        else:
            n_columns = -(-len(labels) // _IN_A_COLUMN) if len(labels) > _MOST_INSIDE else 0
            self.figure_, self.ax_ = figure_and_axes(_CALLER, ax, (5.5 + 1.8 * n_columns, 5.8))
            groups = [(self.ax_, self.curves, labels)]
        for one, curves, _ in groups:
            _check_kind(one, curves, subplots)
        drawn = [_draw(*group, style) for group in groups]
        self.lines_ = [line for lines, _ in drawn for line in lines]
        self.counts_ax_ = np.array([below for _, below in drawn], dtype=object) if subplots else drawn[0][1]
        if subplots and counts:
            # One scale for all.
            top = max(below.get_ylim()[1] for below in self.counts_ax_)
            for below in self.counts_ax_:
                below.set_ylim(_FLOOR, top)
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


class _Style(NamedTuple):
    """What is to be drawn, and how lines look."""

    ref_line: bool
    counts: bool
    intervals: bool
    small: bool
    line: dict[str, Any]


def _small_multiples(ax: Any, n_curves: int) -> tuple[Any, Any]:
    """A figure and an array of at least as many axes as there are curves."""
    axes = np.array([], dtype=object) if ax is None else np.atleast_1d(np.asarray(ax, dtype=object))
    for one in axes.flat:
        check_axes(one)
    if axes.size == 1 and n_curves > 1 and axes.flat[0].get_subplotspec() is not None:
        # A single one gives its place.
        figure, place = axes.flat[0].figure, axes.flat[0].get_subplotspec()
        axes.flat[0].set_axis_off()
    elif axes.size:
        if axes.size < n_curves:
            raise ValueError(f"ax must hold axes for each of {n_curves} curves, got {axes.size}")
        if all(_is_new(one) for one in axes.flat):
            _label_outer(list(axes.flat[:n_curves]))
        return axes.flat[0].figure, axes
    # Near a square, with as few places left empty as can be.
    widths = range(int(np.ceil(np.sqrt(n_curves))), int(np.ceil(np.sqrt(3 * n_curves))) + 1)
    n_columns = min(widths, key=lambda width: -n_curves % width)
    n_rows = -(-n_curves // n_columns)
    if ax is None:
        size = (2.1 * n_columns + 0.6, 2.7 * n_rows + 0.4)
        figure = pyplot(_CALLER).figure(figsize=size, layout="constrained")
        place = figure.add_gridspec(1, 1)[0]
    grid = place.subgridspec(n_rows, n_columns)
    axes = np.array([figure.add_subplot(grid[number]) for number in range(n_curves)], dtype=object)
    _label_outer(list(axes))
    return figure, axes


def _label_outer(axes: list[Any]) -> None:
    """Name the axes of small multiples at the left and at the bottom of their columns."""
    for number, ax in enumerate(axes):
        place = ax.get_subplotspec()
        below = None if place is None else number + place.get_gridspec().ncols
        if place is None or place.is_first_col():
            ax.set_ylabel("frequency")
        else:
            ax.tick_params(labelleft=False)
        if below is None or below >= len(axes):
            ax.set_xlabel("probability")


def _is_new(ax: Any) -> bool:
    """Whether no display has been drawn into axes, or all has been taken out of them again."""
    return not hasattr(ax, _HOLDS) or not ax.lines


def _check_kind(ax: Any, curves: list[ReliabilityCurve], subplots: bool) -> None:
    """See that curves can be compared with those that axes hold."""
    labels = [curve.label for curve in curves]
    held = labels if _is_new(ax) else getattr(ax, _HOLDS)
    if (labels != held) if subplots else ((labels == [None]) != (held == [None])):
        raise ValueError(
            f"ax holds reliability curves of {_named(held)}, to which one of {_named(labels)} can't be compared"
        )


def _named(labels: list[Any]) -> str:
    return "the top label" if labels == [None] else abridged(np.array(labels, dtype=object))


def _draw(ax: Any, curves: list[ReliabilityCurve], entries: list[str], style: _Style) -> tuple[list[Any], Any]:
    """Curves in axes, with their counts below; the lines and the counts' axes."""
    is_new, labels = _is_new(ax), [curve.label for curve in curves]
    below = _axes_below(ax) if style.counts else None
    if below is not None and is_new:
        below.clear()
    # Those that were drawn there before count for the axes' names.
    same = is_new or getattr(ax, _HOLDS) == labels
    setattr(ax, _HOLDS, labels)
    if style.ref_line and _DIAGONAL not in ax.get_legend_handles_labels()[1]:
        ax.plot([0, 1], [0, 1], ":", color="gray", linewidth=1.2, label=_DIAGONAL)
    alone = len(curves) == 1
    lines, colors = [], distinct_colors(len(curves))
    for number, (curve, entry) in enumerate(zip(curves, entries, strict=True)):
        look = {"marker": "o", "markersize": 4, "label": entry, **colors[number], **style.line}
        (line,) = ax.plot(curve.prob_pred, curve.prob_true, **look)
        lines.append(line)
        color = line.get_color()
        if style.intervals:
            ax.vlines(curve.prob_pred, curve.lower, curve.upper, color=color, linewidth=1, alpha=0.7 if alone else 0.35)
        if below is not None:
            left, right = curve.edges.T
            fill = (color, 0.2 if alone else 0.0)
            below.bar(left, curve.counts, right - left, align="edge", color=fill, edgecolor=color, linewidth=1)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    if style.small:
        ax.set_title("top label" if curves[0].label is None else plain(str(curves[0].label)), fontsize="medium")
    elif labels == [None]:
        ax.set(xlabel="confidence (probability of the top label)", ylabel="accuracy")
    else:
        of_label = f" of {plain(str(labels[0]))}" if alone and same else ""
        ax.set(xlabel=f"mean probability{of_label}", ylabel=f"frequency{of_label}")
    if below is not None:
        if ax.get_xlabel():
            below.set_xlabel(ax.get_xlabel())
            ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
        is_outer = bool(ax.get_ylabel())
        below.set(yscale="log", ylabel="rows" if is_outer else "")
        below.tick_params(labelleft=is_outer)
        # Limits that are set stay as they are when another display adds its counts, hence anew.
        below.set_ylim(_FLOOR, 2 * max(bar.get_height() for bar in below.patches))
    _legend(ax, style.small)
    return lines, below


def _legend(ax: Any, small: bool) -> None:
    """A legend that hides as little as may be."""
    entries = [(handle, label) for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)]
    if small:
        curves = [(handle, label) for handle, label in entries if label != _DIAGONAL]
        look = {"fontsize": "x-small", "edgecolor": "none", "handlelength": 1, "borderpad": 0.1}
        ax.legend(*zip(*curves, strict=True), framealpha=0.6, **look)
    elif len(entries) > _MOST_INSIDE:
        n_columns = -(-len(entries) // _IN_A_COLUMN)
        ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=n_columns)
    else:
        ax.legend(fontsize="small", framealpha=0.6)


def _axes_below(ax: Any) -> Any:
    """Axes below others, in what was their place; those made before, if there are."""
    below = getattr(ax, _BELOW, None)
    if below is not None and below in ax.figure.axes:
        return below
    if ax.get_axes_locator() is not None:
        raise ValueError("ax has its place from other axes, so that there is no room for counts below it: counts=False")
    place = ax.get_subplotspec()
    if place is not None and hasattr(ax, _BELOW):
        # They were taken out: their place is there.
        below = ax.figure.add_subplot(place.get_gridspec()[1], sharex=ax)
    elif place is None:
        box = ax.get_position()
        ax.set_position([box.x0, box.y0 + 0.24 * box.height, box.width, 0.76 * box.height])
        below = ax.figure.add_axes([box.x0, box.y0, box.width, 0.2 * box.height], sharex=ax)
    else:
        # A layout engine leaves room for words by itself.
        gap = 0.15 if ax.figure.get_layout_engine() is None else 0.03
        grid = place.subgridspec(2, 1, height_ratios=(4, 1), hspace=gap)
        ax.set_subplotspec(grid[0])
        below = ax.figure.add_subplot(grid[1], sharex=ax)
    setattr(ax, _BELOW, below)
    return below
