"""matplotlib, where it is needed and only then."""

from math import log10
from typing import Any

# In matplotlib's cycle.
_COLORS = 10


def pyplot(caller: str) -> Any:
    """The module matplotlib.pyplot."""
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            f"{caller} needs matplotlib, which is an optional extra of skactivation: pip install 'skactivation[plot]', "
            "or pip install matplotlib"
        ) from error
    return matplotlib.pyplot


def figure_and_axes(caller: str, ax: Any, size: tuple[float, float]) -> tuple[Any, Any]:
    """Axes, made anew if None is given, and the figure that they are in."""
    plt = pyplot(caller)
    if ax is not None:
        check_axes(ax)
        return ax.figure, ax
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    return figure, ax


def check_axes(ax: Any) -> None:
    """See that curves can be drawn into something."""
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(f"ax must be matplotlib Axes, got {type(ax).__name__}")
    if ax.name != "rectilinear":
        raise ValueError(f"ax must have two straight axes, got the projection {ax.name!r}")


def line_look(look: dict[str, Any]) -> dict[str, Any]:
    """Keywords of matplotlib's `plot` by their full names, checked before anything is drawn."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    look = normalize_kwargs(look, Line2D)
    Line2D([], [], **look)
    return dict(look)


def plain(text: str) -> str:
    """Text that matplotlib shows as it is: neither as mathematics, nor left out of a legend."""
    return f"{' ' if text.startswith('_') else ''}{text}".replace("$", r"\$")


def distinct_colors(number: int) -> list[dict[str, Any]]:
    """For so many curves what sets their colours: nothing where matplotlib's cycle has enough."""
    from matplotlib import colormaps

    if number <= _COLORS:
        return [{}] * number
    return [{"color": colormaps["turbo"](place / (number - 1))} for place in range(number)]


def log_ticks(axis: Any, lowest: float, highest: float) -> None:
    """Plain numbers on a logarithmic axis: powers of 10, and others where there are few of those."""
    from matplotlib.ticker import LogLocator

    decades = log10(highest) - log10(lowest)
    digits = (1,) if decades > 3 else (1, 2, 5) if decades > 1 else tuple(range(1, 10))
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("")
