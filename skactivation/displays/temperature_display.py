"""Plots of the cross-entropy against the temperature."""

from __future__ import annotations  # help() then shows ArrayLike, not its definition

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skactivation._data.responses import classes_of, estimator_name, gives_indicator
from skactivation._threads import single_threaded_blas
from skactivation._typing import Array
from skactivation._validation import as_floats, check_boolean
from skactivation.calibration._held_out import checked_logits
from skactivation.calibration._labelled_logits import given_logits
from skactivation.calibration._temperature import losses_at
from skactivation.calibration.temperature_fit import TemperatureFit, fit_to_rows
from skactivation.displays._pyplot import (
    figure_and_axes,
    label_if_new,
    legend_entry,
    line_look,
    log_ticks,
    looks,
    pyplot,
)

__all__ = ["TemperatureDisplay"]

# Number of temperatures, and the factor by which they extend below and above both 1 and the best temperature.
_N_TEMPERATURES, _FACTOR = 101, 8.0
# The smallest loss that is shown, relative to the largest one.
_LEAST = 1e-18
_AS_IT_WAS = "T = 1, as it was"


class TemperatureDisplay:
    """Cross-entropy against the temperature, with the best temperature (a dot) and T = 1 (a dotted line) marked.

    Probabilities are overconfident at temperatures below the best one and underconfident above it. If T = 1 lies to
    the left of the dot, the model is overconfident.

    Create one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    temperatures : ndarray of shape (G,)
        Temperatures.
    losses : ndarray of shape (G,) or (G, L)
        Mean cross-entropy at each temperature, in nats per row; with several labels, a column for each.
    fit : TemperatureFit
        The best temperature, and the losses there and at T = 1.
    name : str, default=None
        Name in the legend.
    label_names : array-like of shape (L,), default=None
        Names of several labels in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes of the curves.
    figure_ : matplotlib Figure
        Figure of the axes.
    lines_ : list of matplotlib Line2D
        One line for each curve.

    See Also
    --------
    skactivation.calibration.fit_temperature : The best temperature.

    Examples
    --------
    >>> from skactivation.displays import TemperatureDisplay
    >>> logits = [[9.0, 1.0, 0.0], [0.0, 8.0, 2.0], [7.0, 9.0, 0.0], [8.0, 0.0, 3.0]]
    >>> display = TemperatureDisplay.from_predictions(logits, ["bird", "cat", "bird", "dog"])
    >>> display.lines_[0].get_label()
    'T = 4.27: loss 1.78 -> 0.789'
    """

    def __init__(
        self,
        temperatures: Array,
        losses: Array,
        fit: TemperatureFit,
        *,
        name: str | None = None,
        label_names: ArrayLike | None = None,
    ) -> None:
        self.temperatures, self.losses, self.fit = temperatures, losses, fit
        self.name, self.label_names = name, label_names

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any, y: Any, *, name: str | None = None, **kwargs: Any) -> Self:
        """Draw the cross-entropy of a fitted classifier's logits against the temperature, on held-out rows.

        Parameters
        ----------
        estimator : estimator
            Fitted classifier. Its logits are the output of `decision_function` or, without that method, the logarithms
            of `predict_proba`, floored at machine epsilon; as in TemperatureCalibrator.
        X : {array-like, sparse matrix} of shape (n, d)
            Rows that the classifier was not fitted on.
        y : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
            Labels of the rows, or an indicator of several labels, with one curve for each label.
        name : str, default=None
            Name in the legend. If None, the name of the estimator's class.
        **kwargs
            Other parameters of `from_predictions` except ``classes`` and ``multilabel``, such as ``sample_weight``,
            ``ax`` or ``color``.

        Returns
        -------
        TemperatureDisplay
            The display.

        Raises
        ------
        TypeError, ValueError
            As `from_predictions`; if the estimator has neither method, or its logits contradict its predictions.
        ImportError
            If matplotlib is not installed.
        """
        multilabel = gives_indicator(estimator, y, X)
        classes = None if multilabel else classes_of(estimator)
        logits = checked_logits(estimator, X, classes)
        logits = logits[:, 0] if not multilabel and logits.shape[1] == 1 else logits
        name = estimator_name(estimator) if name is None else name
        return cls.from_predictions(logits, y, classes=classes, multilabel=multilabel, name=name, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        logits: ArrayLike,
        y: Any,
        *,
        classes: ArrayLike | None = None,
        multilabel: bool = False,
        sample_weight: ArrayLike | None = None,
        temperatures: ArrayLike | None = None,
        name: str | None = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the cross-entropy of logits / T against the temperature T.

        Parameters
        ----------
        logits : array-like of shape (n, K), (n,) or (n, L)
            Logits, not probabilities; see `skactivation.calibration.fit_temperature`.
        y : array-like of shape (n,), (n, K) or (n, L)
            Labels, or a distribution over the classes in each row; with `multilabel` an indicator.
        classes : array-like of shape (K,), default=None
            The class of each column, needed if y does not determine it.
        multilabel : bool, default=False
            Whether the columns are labels that are not exclusive. Each label gets a curve.
        sample_weight : array-like of shape (n,), default=None
            Non-negative weights of the rows; with `multilabel` also (n, L).
        temperatures : array-like of shape (G,), default=None
            Temperatures at which to compute the loss. If None, 101 temperatures, from an eighth of the smaller to eight
            times the larger of 1 and the best temperature.
        name : str, default=None
            Name in the legend.
        ax : matplotlib Axes, default=None
            Axes to draw into, which may hold other displays; None creates a figure.
        **kwargs
            Keyword arguments of matplotlib's `plot`, such as ``color``.

        Returns
        -------
        TemperatureDisplay
            The display.

        Raises
        ------
        TypeError, ValueError
            As `skactivation.calibration.fit_temperature`; if a temperature is not positive and finite.
        ImportError
            If matplotlib is not installed.

        Warns
        -----
        UserWarning
            If no finite temperature is the best, as in `fit_temperature`.
        """
        multilabel = check_boolean(multilabel, "multilabel")
        rows, names = given_logits(logits, y, classes, sample_weight, multilabel=multilabel)
        fit, messages = fit_to_rows(rows, multilabel=multilabel)
        for message, category in messages:
            warnings.warn(message, category, stacklevel=2)
        grid = _around(fit.temperature) if temperatures is None else _checked(temperatures)
        with single_threaded_blas, np.errstate(all="ignore"):
            losses = losses_at(rows, grid)
        losses, label_names = (losses, names) if multilabel else (losses[:, 0], None)
        return cls(grid, losses, fit, name=name, label_names=label_names).plot(ax=ax, **kwargs)

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
        TemperatureDisplay
            The display itself, with `ax_`, `figure_` and `lines_` set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        plt = pyplot("TemperatureDisplay.plot")
        look = line_look(kwargs)
        self.figure_, self.ax_ = figure_and_axes(plt, ax, (6.4, 4.4))
        if _AS_IT_WAS not in self.ax_.get_legend_handles_labels()[1]:
            self.ax_.axvline(1, color="gray", linewidth=1.2, linestyle=":", label=_AS_IT_WAS)
        labels = [None] if self.label_names is None else np.asarray(self.label_names).tolist()
        losses = np.asarray(self.losses).reshape(len(self.temperatures), -1)
        numbers = (self.fit.temperature, self.fit.loss_before, self.fit.loss_after, self.fit.at_limit)
        fits = zip(*(np.atleast_1d(number).tolist() for number in numbers), strict=True)
        self.lines_ = []
        worst = looks(np.atleast_1d(self.fit.loss_after).tolist())
        for label, column, (temperature, before, after, at_limit), color in zip(
            labels, losses.T, fits, worst, strict=True
        ):
            result = f"T = {temperature:.3g}{' (a limit)' if at_limit else ''}: loss {before:.3g} -> {after:.3g}"
            entry = legend_entry(self.name if name is None else name, label, result)
            self.lines_ += self.ax_.plot(self.temperatures, column, **{"label": entry, **color, **look})
            self._mark(temperature, after, "full")
            self._mark(1.0, before, "none")
        self._scale_axes(losses.max())
        self.ax_.legend(fontsize="small")
        return self

    def _mark(self, temperature: float, loss: float, fill: str) -> None:
        """Draw a dot on the latest curve, unless it lies outside the temperatures: it would compress the curve."""
        if np.min(self.temperatures) <= temperature <= np.max(self.temperatures):
            self.ax_.plot(temperature, loss, "o", color=self.lines_[-1].get_color(), fillstyle=fill)

    def _scale_axes(self, largest: float) -> None:
        """Label both axes and make them logarithmic, with tick labels; a loss that is 0 everywhere stays linear."""
        self.ax_.set_xscale("log")
        label_if_new(self.ax_, xlabel="temperature T", ylabel="mean cross-entropy, nats")
        log_ticks(self.ax_.xaxis, *self.ax_.get_xlim())
        if largest > 0:
            self.ax_.set_yscale("log")
            low, high = self.ax_.get_ylim()
            # Smaller losses are rounding errors (the logits separate the classes). With auto=None autoscaling stays
            # on, so that the next display in these axes has space.
            self.ax_.set_ylim(max(low, _LEAST * largest), high, auto=None)
            log_ticks(self.ax_.yaxis, *self.ax_.get_ylim())


def _around(temperature: Any) -> Array:
    """Temperatures (G,) around 1 and the finite ones of the best temperatures."""
    finite = np.append(np.atleast_1d(temperature), 1.0)
    finite = finite[np.isfinite(finite) & (finite > 0)]
    return np.geomspace(finite.min() / _FACTOR, finite.max() * _FACTOR, _N_TEMPERATURES)


def _checked(temperatures: ArrayLike) -> Array:
    """The temperatures in increasing order."""
    grid = np.sort(as_floats(temperatures, "temperatures").astype(np.float64), axis=-1)
    if grid.ndim != 1 or not grid.size or not np.all((grid > 0) & np.isfinite(grid)):
        raise ValueError(
            f"temperatures must be a one-dimensional array of positive finite numbers, got {temperatures!r}"
        )
    return grid
