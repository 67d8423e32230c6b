"""Axes of reliability diagrams: where curves, their counts and their legend are drawn."""

from typing import Any, NamedTuple

import numpy as np

from skactivation._messages import abridged
from skactivation.displays._pyplot import check_axes, distinct_colors, plain, pyplot
from skactivation.metrics.reliability import ReliabilityCurve

# Entries of a legend that leave room for curves beside them; how many stand in a column.
_MOST_INSIDE, _IN_A_COLUMN = 5, 24
_DIAGONAL = "perfectly calibrated"
# Where axes keep the axes of the counts below them, and the labels of the curves that they hold.
_BELOW, _HOLDS = "skactivation_counts_ax", "skactivation_labels"
# Below one row.
FLOOR = 0.7


class Style(NamedTuple):
    """What is to be drawn, and how lines look."""

    ref_line: bool
    counts: bool
    intervals: bool
    small: bool
    line: dict[str, Any]


def small_multiples(caller: str, ax: Any, n_curves: int) -> tuple[Any, Any]:
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
        figure = pyplot(caller).figure(figsize=size, layout="constrained")
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


def check_kind(ax: Any, curves: list[ReliabilityCurve], subplots: bool) -> None:
    """See that curves can be compared with those that axes hold."""
    labels = [curve.label for curve in curves]
    held = labels if _is_new(ax) else getattr(ax, _HOLDS)
    if (labels != held) if subplots else ((labels == [None]) != (held == [None])):
        raise ValueError(
            f"ax holds reliability curves of {_named(held)}, to which one of {_named(labels)} can't be compared"
        )


def _named(labels: list[Any]) -> str:
    return "the top label" if labels == [None] else abridged(np.array(labels, dtype=object))


def draw(ax: Any, curves: list[ReliabilityCurve], entries: list[str], style: Style) -> tuple[list[Any], Any]:
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
        below.set_ylim(FLOOR, 2 * max(bar.get_height() for bar in below.patches))
    _legend(ax, style.small)
    return lines, below


def _legend(ax: Any, small: bool) -> None:
    """A legend that hides as little as may be."""
    entries = [(handle, label) for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)]
    if small:
        curves = [(handle, label) for handle, label in entries if label != _DIAGONAL]
        look = {"fontsize": "x-small", "edgecolor": "none", "handlelength": 1, "borderpad": 0.1}
        ax.legend(*zip(*curves, strict=True), framealpha=0.6, **look)
    elif n_columns := columns_beside(len(entries)):
        ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0), ncols=n_columns)
    else:
        ax.legend(fontsize="small", framealpha=0.6)


def columns_beside(n_entries: int) -> int:
    """Columns of a legend beside its axes; 0 for one that has room in them."""
    return -(-n_entries // _IN_A_COLUMN) if n_entries > _MOST_INSIDE else 0


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
