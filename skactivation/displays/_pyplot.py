"""Helpers for matplotlib. Only this module imports it, inside functions, because it is an optional package."""

from math import log10
from typing import Any

# Number of colours in matplotlib's default cycle; of more curves, how many are named.
_COLORS, _NAMED = 10, 3


def pyplot(caller: str) -> Any:
    """The module matplotlib.pyplot; without matplotlib, an error that names the extra to install."""
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib, an optional extra of skactivation; run pip install 'skactivation[plot]' or "
            "pip install matplotlib"
        ) from error
    return matplotlib.pyplot


def figure_and_axes(plt: Any, ax: Any, size: tuple[float, float]) -> tuple[Any, Any]:
    """The figure and the axes to draw into; a new figure of this size in inches if `ax` is None."""
    if ax is None:
        figure, ax = plt.subplots(figsize=size, layout="constrained")
        return figure, ax
    check_axes(ax)
    return ax.figure, ax


def check_axes(ax: Any) -> None:
    """Raise an error unless `ax` is rectilinear matplotlib Axes."""
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes, got {type(ax).__name__}")
    if ax.name != "rectilinear":
        raise ValueError(f"ax must be rectilinear, got the projection {ax.name!r}; pass Axes without a projection")


def box(x0: float, y0: float, x1: float, y1: float) -> Any:
    """A rectangle as matplotlib's `Bbox`."""
    from matplotlib.transforms import Bbox

    return Bbox.from_extents(x0, y0, x1, y1)


def line_look(look: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of matplotlib's `plot` under their full names; unknown ones are an error."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    look = normalize_kwargs(look, Line2D)
    Line2D([], [], **look)
    return dict(look)


def plain(text: str) -> str:
    """Text escaped for matplotlib, which treats $ as mathematics and hides legend entries that begin with _."""
    return f"{' ' if text.startswith('_') else ''}{text}".replace("$", r"\$")


def legend_entry(name: Any, label: Any, result: str, separator: str = ": ") -> str:
    """The name of a display and the label of a curve, as far as they are not None, and a result."""
    words = ", ".join(str(word) for word in (name, label) if word is not None)
    return plain(f"{words}{separator}{result}" if words else result)


def looks(badness: Any) -> list[dict[str, Any]]:
    """Keyword arguments of matplotlib's `plot` for each of several curves (n,), given how bad they are.

    Up to ten curves have the colours of matplotlib's cycle, and no keyword arguments. Of more, the three worst have
    colours; the others are grey and thin, and share an entry in the legend.
    """
    number = len(badness)
    if number <= _COLORS:
        return [{}] * number
    worst = sorted(range(number), key=lambda place: -badness[place])[:_NAMED]
    found: list[dict[str, Any]] = []
    for place in range(number):
        if place in worst:
            found.append({"color": f"C{worst.index(place)}", "zorder": 3})
        else:
            first = sum(each not in worst for each in range(place)) == 0
            entry = f"{number - _NAMED} others" if first else "_"
            found.append({"color": "0.75", "linewidth": 0.8, "markersize": 2, "zorder": 2, "label": entry})
    return found


def label_if_new(ax: Any, **labels: str) -> None:
    """Set labels of axes, such as xlabel, that the user has not set."""
    for name, text in labels.items():
        if not getattr(ax, f"get_{name}")():
            ax.set(**{name: text})


def log_ticks(axis: Any, lowest: float, highest: float) -> None:
    """Tick labels without exponents on a logarithmic axis: powers of 10, and more if the axis has few of them."""
    from matplotlib.ticker import LogLocator

    decades = log10(highest) - log10(lowest)
    digits = (1,) if decades > 3 else (1, 2, 5) if decades > 1 else tuple(range(1, 10))
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")
