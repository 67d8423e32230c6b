"""Plots of how fits converged."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skactivation._typing import Array
from skactivation.displays._pyplot import figure_and_axes, label_if_new, legend_entry, line_look, pyplot
from skactivation.linear_model import SigmoidMultiLabel, SoftmaxRegression

__all__ = ["ConvergenceDisplay"]

# What is drawn where the objective is at the bound: an excess of 0 has no place on a logarithmic axis.
_LEAST_EXCESS = 1e-16


class ConvergenceDisplay:
    """Excess of the objective over its certified lower bound after each iteration, with the certified gap (a dot).

    The excess is relative to the final objective. No model with these parameters has a lower objective than the bound,
    so that the curve cannot flatter: it is above the true excess.

    Create one with `from_estimator`.

    Parameters
    ----------
    loss_curve : ndarray of shape (n_iterations + 1,)
        Objective at the start and after each iteration.
    loss : float
        Objective at the solution.
    optimality_gap : float
        Certified bound on the relative excess of the solution; inf if none is known.
    name : str, default=None
        Name in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the curves.
    figure_ : matplotlib Figure
        Figure of the axes.
    line_ : matplotlib Line2D
        The line of the excess.

    See Also
    --------
    SoftmaxRegression : Has `loss_curve_` and `optimality_gap_`.
    SigmoidMultiLabel : Has them, too.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skactivation import SoftmaxRegression
    >>> from skactivation.displays import ConvergenceDisplay
    >>> model = SoftmaxRegression().fit(*load_wine(return_X_y=True))
    >>> display = ConvergenceDisplay.from_estimator(model, name="wine")
    >>> bool(display.line_.get_ydata()[-1] <= model.tol)
    True
    """

    def __init__(self, loss_curve: Array, loss: float, optimality_gap: float, *, name: str | None = None) -> None:
        self.loss_curve, self.loss, self.optimality_gap, self.name = loss_curve, loss, optimality_gap, name

    @classmethod
    def from_estimator(cls, estimator: Any, *, name: str | None = None, ax: Any = None, **kwargs: Any) -> Self:
        """Draw how the fit of an estimator converged.

        Parameters
        ----------
        estimator : SoftmaxRegression or SigmoidMultiLabel
            A fitted estimator; searches show their final fit.
        name : str, default=None
            Name in the legend. If None, the name of the class.
        ax : matplotlib Axes, default=None
            Axes to draw into, which may hold other displays; None creates a figure.
        **kwargs
            Keyword arguments of matplotlib's `plot`, such as ``color``.

        Returns
        -------
        ConvergenceDisplay
            The display.

        Raises
        ------
        TypeError
            If the estimator is of another kind.
        NotFittedError
            If it is not fitted.
        ImportError
            If matplotlib is not installed.
        """
        if not isinstance(estimator, (SoftmaxRegression, SigmoidMultiLabel)):
            raise TypeError(
                f"estimator must be SoftmaxRegression or SigmoidMultiLabel, got {type(estimator).__name__}; of a "
                "pipeline, pass the last step"
            )
        check_is_fitted(estimator, "loss_curve_")
        name = type(estimator).__name__ if name is None else name
        display = cls(estimator.loss_curve_, estimator.loss_, estimator.optimality_gap_, name=name)
        return display.plot(ax=ax, **kwargs)

    def plot(self, *, ax: Any = None, name: str | None = None, **kwargs: Any) -> Self:
        """Draw the curve.

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
        ConvergenceDisplay
            The display itself, with `ax_`, `figure_` and `line_` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = pyplot("ConvergenceDisplay.plot")
        look = line_look(kwargs)
        self.figure_, self.ax_ = figure_and_axes(plt, ax, (6.4, 4.4))
        certified = bool(np.isfinite(self.optimality_gap))
        scale = self.loss or 1.0
        bound = self.loss * (1 - self.optimality_gap) if certified else min(self.loss, np.min(self.loss_curve))
        excess = np.maximum((np.asarray(self.loss_curve) - bound) / scale, _LEAST_EXCESS)
        result = f"gap {self.optimality_gap:.2g}" if certified else "no certified gap"
        entry = legend_entry(self.name if name is None else name, None, result)
        (self.line_,) = self.ax_.plot(np.arange(excess.size), excess, **{"label": entry, **look})
        if certified:
            last, gap = excess.size - 1, max(self.optimality_gap, _LEAST_EXCESS)
            self.ax_.plot([last], [gap], "o", color=self.line_.get_color())
        self.ax_.set_yscale("log")
        label_if_new(self.ax_, xlabel="iterations", ylabel="excess of the objective, relative")
        self.ax_.legend(fontsize="small")
        return self
