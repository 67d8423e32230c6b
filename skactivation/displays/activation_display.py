"""Plots of activations: a function of one logit and its derivative."""

from __future__ import annotations  # help() then shows ArrayLike, not its definition

from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skactivation._typing import Array
from skactivation._validation import as_floats, check_boolean, check_choice, check_real
from skactivation.activations import log_sigmoid, sigmoid, sigmoid_derivative
from skactivation.displays._pyplot import figure_and_axes, label_if_new, legend_entry, line_look, pyplot

__all__ = ["ActivationDisplay"]

Function = Callable[[Array], Array]
# Each activation with its derivative by z, both at a temperature of 1.
_FUNCTIONS: dict[str, tuple[Function, Function]] = {
    "sigmoid": (sigmoid, sigmoid_derivative),
    "log_sigmoid": (log_sigmoid, lambda z: sigmoid(-z)),
    "softplus": (lambda z: -log_sigmoid(-z), sigmoid),
    "tanh": (np.tanh, lambda z: 4 * sigmoid_derivative(2 * z)),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: np.heaviside(z, 0.5)),
}


class ActivationDisplay:
    """An activation against the logit z, and its derivative as a dashed line of the same colour.

    Create one with `from_name`.

    Parameters
    ----------
    z : ndarray of shape (m,)
        Logits.
    values : ndarray of shape (m,)
        The activation at each of them.
    derivatives : ndarray of shape (m,), default=None
        Its derivative by z.
    name : str, default=None
        Name in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the curves.
    figure_ : matplotlib Figure
        Figure of the axes.
    lines_ : list of matplotlib Line2D
        The line of the activation, and that of the derivative, if there is one.

    See Also
    --------
    skactivation.activations : The functions.

    Examples
    --------
    >>> from skactivation.displays import ActivationDisplay
    >>> display = ActivationDisplay.from_name("sigmoid")
    >>> ActivationDisplay.from_name("sigmoid", temperature=3, ax=display.ax_).lines_[0].get_label()
    'sigmoid(z / 3)'
    """

    def __init__(self, z: Array, values: Array, derivatives: Array | None = None, *, name: str | None = None) -> None:
        self.z, self.values, self.derivatives, self.name = z, values, derivatives, name

    @classmethod
    def from_name(
        cls,
        function: str,
        *,
        z: ArrayLike | None = None,
        temperature: float = 1.0,
        derivative: bool = True,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw an activation and its derivative.

        Parameters
        ----------
        function : {"sigmoid", "log_sigmoid", "softplus", "tanh", "relu"}
            The activation.
        z : array-like of shape (m,), default=None
            Logits; None for -6 to 6.
        temperature : float, default=1.0
            Positive number that divides the logits first.
        derivative : bool, default=True
            Whether to draw the derivative.
        name : str, default=None
            Name in the legend. If None, the function and the temperature.
        ax : matplotlib Axes, default=None
            Axes to draw into, which may hold other displays; None creates a figure.
        **kwargs
            Keyword arguments of matplotlib's `plot`, such as ``color``.

        Returns
        -------
        ActivationDisplay
            The display.

        Raises
        ------
        TypeError, ValueError
            For an unknown function, logits that are no finite numbers in one dimension, or another temperature.
        ImportError
            If matplotlib is not installed.
        """
        check_choice(function, "function", tuple(_FUNCTIONS))
        temperature = check_real(temperature, "temperature", allow_low=False, allow_high=False)
        logits = np.linspace(-6, 6, 481) if z is None else as_floats(z, "z")
        if logits.ndim != 1 or not np.isfinite(logits).all():
            raise ValueError(f"z must hold finite numbers in one dimension, got the shape {logits.shape}")
        of_function, of_derivative = _FUNCTIONS[function]
        scaled = logits / temperature
        name = f"{function}({'z' if temperature == 1 else f'z / {temperature:g}'})" if name is None else name
        derivatives = of_derivative(scaled) / temperature if check_boolean(derivative, "derivative") else None
        return cls(logits, of_function(scaled), derivatives, name=name).plot(ax=ax, **kwargs)

    def plot(self, *, ax: Any = None, name: str | None = None, **kwargs: Any) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw into, which may hold other displays; None creates a figure.
        name : str, default=None
            Name in the legend. If None, the attribute `name`.
        **kwargs
            Keyword arguments of matplotlib's `plot`, such as ``color``.

        Returns
        -------
        ActivationDisplay
            The display itself, with `ax_`, `figure_` and `lines_` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = pyplot("ActivationDisplay.plot")
        look = line_look(kwargs)
        self.figure_, self.ax_ = figure_and_axes(plt, ax, (6.4, 4.0))
        entry = legend_entry(self.name if name is None else name, None, "", separator="")
        self.lines_ = self.ax_.plot(self.z, self.values, **{"label": entry, **look})
        if self.derivatives is not None:
            same = {"color": self.lines_[0].get_color(), "linewidth": self.lines_[0].get_linewidth()}
            label = f"derivative of {entry}"
            self.lines_ += self.ax_.plot(
                self.z, self.derivatives, **{**look, **same, "linestyle": "--", "label": label}
            )
        label_if_new(self.ax_, xlabel="logit z")
        self.ax_.legend(fontsize="small")
        return self
