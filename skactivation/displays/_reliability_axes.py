"""Drawing of reliability diagrams into axes: curves, counts below them, axis labels and a legend.

Several displays may draw into the same axes. What they have drawn is kept as a `_Panel` in an attribute of the axes.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from skactivation._messages import abridged
from skactivation.displays._pyplot import box, check_axes, looks, plain
from skactivation.metrics.reliability import ReliabilityCurve

# Bins of fewer rows have hollow points.
_FEW_ROWS = 10
# Width and height of an entry of the legend, in parts of the axes: where none of the two corners away from the diagonal
# has room for the legend, it is beside the axes.
_ENTRY_WIDTH, _ENTRY_HEIGHT = 0.6, 0.06
# From so many small multiples on, matplotlib's layout engine takes too long.
_MOST_LAID_OUT = 30
_DIAGONAL = "perfectly calibrated"
# Lower limit of the logarithmic axis of counts: below one row, so that a bar of one row is visible.
_FLOOR = 0.7

# Axes, the curves that share them, and the legend entries of these curves.
Group = tuple[Any, list[ReliabilityCurve], list[str]]


class Style(NamedTuple):
    """Which elements to draw, and how lines look."""

    subplots: bool
    ref_line: bool
    counts: bool
    intervals: bool
    line: dict[str, Any]


@dataclass
class _Panel:
    """What displays have drawn into axes: the labels of the latest curves, and the axes of the counts."""

    labels: list[Any] = field(default_factory=list)
    counts_ax: Any = None
    texts: set[str] = field(default_factory=lambda: {""})
    """Labels of axes that are ours to change."""
    width: float | None = None
    """Width in inches of a figure that is ours, without a legend beside the axes."""


def _panel(ax: Any) -> _Panel:
    """The panel of axes, without labels if the curves have been removed, for example by `ax.clear()`."""
    panel: _Panel = ax.__dict__.setdefault("skactivation_panel", _Panel())
    if not ax.lines:
        panel.labels = []
    return panel


def own_figure(ax: Any) -> None:
    """Let the figure of axes, which is new, become wider for a legend beside them."""
    _panel(ax).width = ax.figure.get_figwidth()


def small_multiples(plt: Any, ax: Any, n_curves: int) -> tuple[Any, Any]:
    """A figure and an array with axes for each curve."""
    axes = np.array([], dtype=object) if ax is None else np.atleast_1d(np.asarray(ax, dtype=object))
    for one in axes.flat:
        check_axes(one)
    if axes.size == 1 and n_curves > 1 and axes.flat[0].get_subplotspec() is not None:
        # Single axes are replaced by a grid in the same place.
        figure, place = axes.flat[0].figure, axes.flat[0].get_subplotspec()
        axes.flat[0].set_axis_off()
    elif axes.size:
        if axes.size < n_curves:
            raise ValueError(f"ax must hold at least {n_curves} axes, one for each curve, got {axes.size}")
        if not any(_panel(one).labels for one in axes.flat):
            _label_outer(list(axes.flat[:n_curves]))
        return axes.flat[0].figure, axes
    # Between square and three times as wide as high, with as few empty places as possible.
    widths = range(int(np.ceil(np.sqrt(n_curves))), int(np.ceil(np.sqrt(3 * n_curves))) + 1)
    n_columns = min(widths, key=lambda width: -n_curves % width)
    n_rows = -(-n_curves // n_columns)
    if ax is None:
        width, height = 2.1 * n_columns + 0.6, 2.7 * n_rows + 0.4
        figure = plt.figure(figsize=(width, height), layout="constrained" if n_curves <= _MOST_LAID_OUT else None)
        margins = {}
        if n_curves > _MOST_LAID_OUT:
            margins = {"left": 0.7 / width, "right": 1 - 0.1 / width, "bottom": 0.5 / height, "top": 1 - 0.3 / height}
        place = figure.add_gridspec(1, 1, **margins)[0]
    grid = place.subgridspec(n_rows, n_columns)
    axes = np.array([figure.add_subplot(grid[number]) for number in range(n_curves)], dtype=object)
    _label_outer(list(axes))
    return figure, axes


def _label_outer(axes: list[Any]) -> None:
    """Label the axes of small multiples in the first column and at the bottom of each column."""
    for number, ax in enumerate(axes):
        place = ax.get_subplotspec()
        below = None if place is None else number + place.get_gridspec().ncols
        if place is None or place.is_first_col():
            ax.set_ylabel("frequency")
        else:
            ax.tick_params(labelleft=False)
        if below is None or below >= len(axes):
            ax.set_xlabel("probability")


def draw(groups: list[Group], style: Style) -> tuple[list[Any], list[Any]]:
    """Draw each group; the lines of all curves, and the counts' axes (or None) of each group."""
    for ax, curves, _ in groups:
        _check_kind(ax, curves, style.subplots)
    drawn = [_draw_group(*group, style) for group in groups]
    counts_axes = [counts_ax for _, counts_ax in drawn]
    if style.subplots and style.counts:
        # The same scale for all, so that counts can be compared.
        top = max(counts_ax.get_ylim()[1] for counts_ax in counts_axes)
        for counts_ax in counts_axes:
            counts_ax.set_ylim(_FLOOR, top)
    return [line for lines, _ in drawn for line in lines], counts_axes


def _check_kind(ax: Any, curves: list[ReliabilityCurve], subplots: bool) -> None:
    """Raise an error if the axes hold curves of another kind, or, for small multiples, of another label."""
    labels, held = [curve.label for curve in curves], _panel(ax).labels
    if held and ((labels != held) if subplots else ((labels == [None]) != (held == [None]))):
        raise ValueError(
            f"ax holds reliability curves of {_named(held)}, got curves of {_named(labels)}; draw them into other axes"
        )


def _named(labels: list[Any]) -> str:
    """The labels in a message."""
    return "the top label" if labels == [None] else abridged(np.array(labels, dtype=object))


def _draw_group(ax: Any, curves: list[ReliabilityCurve], entries: list[str], style: Style) -> tuple[list[Any], Any]:
    """Draw curves and counts, with axis labels and a legend; the lines, and the counts' axes or None."""
    panel = _panel(ax)
    before, labels = panel.labels, [curve.label for curve in curves]
    counts_ax = _counts_axes(ax, panel) if style.counts else None
    panel.labels = labels
    lines = _draw_curves(ax, curves, entries, style)
    # Limits that the user has set stay.
    if ax.get_autoscalex_on():
        ax.set_xlim(-0.02, 1.02)
    if ax.get_autoscaley_on():
        ax.set_ylim(-0.02, 1.02)
    if style.subplots:
        ax.set_title("top label" if labels == [None] else plain(str(labels[0])), fontsize="medium")
    else:
        _label_axes(ax, labels, before)
    if counts_ax is not None:
        if not before:
            counts_ax.clear()
        _draw_counts(ax, counts_ax, curves, lines)
    _draw_legend(ax, style.subplots)
    return lines, counts_ax


def _draw_curves(ax: Any, curves: list[ReliabilityCurve], entries: list[str], style: Style) -> list[Any]:
    """Draw the diagonal, the curves and their confidence intervals; the lines of the curves."""
    if style.ref_line and _DIAGONAL not in ax.get_legend_handles_labels()[1]:
        ax.plot([0, 1], [0, 1], ":", color="gray", linewidth=1.2, label=_DIAGONAL)
    lines = []
    errors = [curve.expected_calibration_error() for curve in curves]
    for curve, entry, color in zip(curves, entries, looks(errors), strict=True):
        look = {"marker": "o", "markersize": 4, "label": entry, **color, **style.line}
        (line,) = ax.plot(curve.prob_pred, curve.prob_true, **look)
        lines.append(line)
        _draw_few_rows(ax, curve, line)
        # Of many curves, intervals would cover everything.
        if style.intervals and not color:
            ends = np.maximum([curve.prob_true - curve.lower, curve.upper - curve.prob_true], 0)
            bars = {"fmt": "none", "ecolor": line.get_color(), "elinewidth": 0.8, "capsize": 2, "zorder": 1}
            ax.errorbar(curve.prob_pred, curve.prob_true, ends, alpha=0.6 if len(curves) == 1 else 0.35, **bars)
    return lines


def _draw_few_rows(ax: Any, curve: ReliabilityCurve, line: Any) -> None:
    """Make the points of bins of few rows hollow."""
    few = curve.counts < _FEW_ROWS
    if few.any() and line.get_marker() not in ("None", "", " "):
        look = {"linestyle": "none", "markerfacecolor": ax.get_facecolor(), "zorder": line.get_zorder() + 0.1}
        same = {"marker": line.get_marker(), "markersize": line.get_markersize(), "color": line.get_color()}
        ax.plot(curve.prob_pred[few], curve.prob_true[few], **look, **same)


def _draw_counts(ax: Any, counts_ax: Any, curves: list[ReliabilityCurve], lines: list[Any]) -> None:
    """Draw a bar for the rows of each bin, in the colour of its curve; the labels of the x axis move below the bars."""
    for curve, line in zip(curves, lines, strict=True):
        left, right = curve.edges.T
        fill = (line.get_color(), 0.2 if len(curves) == 1 else 0.0)
        look = {"color": fill, "edgecolor": line.get_color(), "linewidth": 1}
        counts_ax.bar(left, curve.counts, right - left, align="edge", **look)
    if ax.get_xlabel():
        counts_ax.set_xlabel(ax.get_xlabel())
        ax.set_xlabel("")
    ax.tick_params(labelbottom=False)
    is_outer = bool(ax.get_ylabel())
    counts_ax.tick_params(labelleft=is_outer)
    # The upper limit includes the bars of earlier displays.
    top = 2 * max(bar.get_height() for bar in counts_ax.patches)
    counts_ax.set(yscale="log", ylim=(_FLOOR, top), ylabel="rows" if is_outer else "")


def _label_axes(ax: Any, labels: list[Any], before: list[Any]) -> None:
    """Label both axes, with the name of the class if all curves are of the same one; labels of the user stay."""
    if labels == [None]:
        texts = ("confidence (probability of the top label)", "accuracy")
    else:
        label = f" of {plain(str(labels[0]))}" if len(labels) == 1 and before in ([], labels) else ""
        texts = (f"mean probability{label}", f"frequency{label}")
    ours = _panel(ax).texts
    if ax.get_xlabel() in ours:
        ax.set_xlabel(texts[0])
    if ax.get_ylabel() in ours:
        ax.set_ylabel(texts[1])
    ours.update(texts)


def _draw_legend(ax: Any, subplots: bool) -> None:
    """Draw a legend that covers nothing: in a free corner, or beside the axes; a small one in small multiples."""
    handles, entries = ax.get_legend_handles_labels()
    if subplots:
        curves = [pair for pair in zip(handles, entries, strict=True) if pair[1] != _DIAGONAL]
        look = {"fontsize": "x-small", "edgecolor": "none", "handlelength": 1, "borderpad": 0.1}
        ax.legend(*zip(*curves, strict=True), framealpha=0.6, **look)
        return
    corner = _free_corner(ax, len(entries))
    if corner is None:
        legend = ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        legend = ax.legend(fontsize="small", loc=corner)
    width, figure = _panel(ax).width, ax.figure
    if width is not None:
        beside = legend.get_window_extent().width / figure.dpi if corner is None else 0.0
        figure.set_size_inches(width + beside, figure.get_figheight())


def _free_corner(ax: Any, n_entries: int) -> str | None:
    """A corner away from the diagonal in which a legend covers no point, line or interval; None if there is none."""
    wide, high = _ENTRY_WIDTH, _ENTRY_HEIGHT * n_entries + 0.03
    paths = [
        line.get_xydata() for line in ax.lines if line.get_label() != _DIAGONAL and line.get_transform() == ax.transData
    ]
    paths += [segment for collection in ax.collections for segment in getattr(collection, "get_segments", list)()]
    # Points along each path, close enough for a legend to cover one of them.
    steps = np.linspace(0, 1, 21)[:, np.newaxis]
    dense = [one + steps * (other - one) for path in paths for one, other in pairwise(path)]
    points = np.concatenate([*(path.reshape(-1, 2) for path in paths), *dense]) if paths else np.zeros((0, 2))
    x, y = points.T
    for corner, covered in (
        ("upper left", (x < wide) & (y > 1 - high)),
        ("lower right", (x > 1 - wide) & (y < high)),
    ):
        if not covered.any() and high <= 1 - wide:
            return corner
    return None


def _counts_axes(ax: Any, panel: _Panel) -> Any:
    """The axes of the counts: those of an earlier display, or new ones in the lower fifth of `ax`."""
    if panel.counts_ax is not None and panel.counts_ax in ax.figure.axes:
        return panel.counts_ax
    if ax.get_axes_locator() is not None:
        raise ValueError(
            "ax is placed by an axes locator, for example as an inset, so that counts can't be placed below it; "
            "pass counts=False"
        )
    place = ax.get_subplotspec()
    if place is None:
        box = ax.get_position()
        ax.set_position([box.x0, box.y0 + 0.24 * box.height, box.width, 0.76 * box.height])
        panel.counts_ax = ax.figure.add_axes([box.x0, box.y0, box.width, 0.2 * box.height], sharex=ax)
        return panel.counts_ax
    if panel.counts_ax is None:
        # A layout engine adds the space for labels itself.
        gap = 0.15 if ax.figure.get_layout_engine() is None else 0.03
        ax.set_subplotspec(place.subgridspec(2, 1, height_ratios=(4, 1), hspace=gap)[0])
    # Else the counts were removed, but their place is still free.
    panel.counts_ax = ax.figure.add_subplot(ax.get_subplotspec().get_gridspec()[1], sharex=ax)
    panel.counts_ax.set_axes_locator(_BelowAxes(ax))
    return panel.counts_ax


class _BelowAxes:
    """Places axes below others, as wide as these are: an equal aspect makes them narrower than their place."""

    def __init__(self, above: Any) -> None:
        self._above = above

    def __call__(self, ax: Any, renderer: Any) -> Any:
        own, above = ax.get_position(original=True), self._above.get_position()
        return box(above.x0, own.y0, above.x1, own.y1)
