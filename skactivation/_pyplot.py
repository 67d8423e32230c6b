"""matplotlib, where it is needed and only then."""

from typing import Any

__all__ = ["figure_and_axes", "log_locator", "pyplot"]


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
        return ax.figure, ax
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    return figure, ax


def log_locator(*digits: int) -> Any:
    """Ticks on a logarithmic axis at some digits times the powers of 10."""
    from matplotlib.ticker import LogLocator

    return LogLocator(subs=digits)
