"""Pictures of the cross-entropy against the temperature."""

from __future__ import annotations  # signatures in help() then say ArrayLike, not what it stands for

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
from skactivation.calibration.temperature_fit import TemperatureFit, temperature_fit
from skactivation.displays._pyplot import figure_and_axes, line_look, log_ticks, plain, pyplot

__all__ = ["TemperatureDisplay"]


# How many temperatures, from this factor below to this factor above both 1 and the best one.
_N_TEMPERATURES, _FACTOR = 101, 8.0
# The smallest loss that is shown, beside the largest.
_LEAST = 1e-18
_CALLER = "TemperatureDisplay.plot"
_AS_IT_WAS = "T = 1, as it was"


class TemperatureDisplay:
    """Cross-entropy against the temperature, with the best temperature (a dot) and T = 1 (a dotted line) marked.

    Left of the best temperature probabilities are too sure, right of it too timid: where T = 1 lies tells which of them
    the model is.

    Make one with `from_estimator` or `from_predictions`.

    Parameters
    ----------
    temperatures : ndarray of shape (G,)
        Temperatures.
    losses : ndarray of shape (G,) or (G, L)
        Mean cross-entropy at each, nats a row; of several labels, for each.
    fit : TemperatureFit
        The best temperature, and the losses there and at T = 1.
    name : str, default=None
        What the legend calls it.
    label_names : array-like of shape (L,), default=None
        What it calls several labels.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Where the curves are.
    figure_ : matplotlib Figure
        What they are in.
    lines_ : list of matplotlib Line2D
        A curve each.

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
        """Draw the cross-entropy of a fitted classifier's logits against the temperature, on rows that are new to it.

        Parameters
        ----------
        estimator : estimator
            Fitted classifier with `decision_function`, which gives logits, or with `predict_proba`, of which the
            logarithms are taken, floored at machine epsilon: as TemperatureCalibrator does.
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.
        y : array-like of shape (n,) or {array-like, sparse matrix} of shape (n, L)
            Their labels, or an indicator of several labels, which get a curve each.
        name : str, default=None
            What the legend calls it; None for the estimator's class.
        **kwargs
            What else `from_predictions` takes, such as ``sample_weight``, ``ax`` or ``color``.

        Returns
        -------
        TemperatureDisplay
            What was drawn.

        Raises
        ------
        TypeError, ValueError
            As `from_predictions`; an estimator without either method, or whose logits contradict its predictions.
        ImportError
            Without matplotlib.
        """
        several = gives_indicator(estimator, y, X)
        classes = None if several else classes_of(estimator)
        logits = checked_logits(estimator, X, classes)
        logits = logits[:, 0] if not several and logits.shape[1] == 1 else logits
        name = estimator_name(estimator) if name is None else name
        return cls.from_predictions(logits, y, classes=classes, multilabel=several, name=name, **kwargs)

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
        """Draw the cross-entropy of logits against the temperature that they are divided by.

        Parameters
        ----------
        logits : array-like of shape (n, K), (n,) or (n, L)
            Logits, not probabilities; see `skactivation.calibration.fit_temperature`.
        y : array-like of shape (n,), (n, K) or (n, L)
            Labels, or a distribution over the classes in each row; with `multilabel` an indicator.
        classes : array-like of shape (K,), default=None
            The label of each column, where y doesn't tell.
        multilabel : bool, default=False
            Whether the columns are labels that don't exclude each other: each gets a curve.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows, not negative; with `multilabel` also (n, L).
        temperatures : array-like of shape (G,), default=None
            Where to take the loss; None for 101 from an eighth of the best temperature, or of 1, to eight times.
        name : str, default=None
            What the legend calls it.
        ax : matplotlib Axes, default=None
            Where to draw, beside what is there; None for a new figure.
        **kwargs
            For matplotlib's `plot`, such as ``color``.

        Returns
        -------
        TemperatureDisplay
            What was drawn.

        Raises
        ------
        TypeError, ValueError
            As `skactivation.calibration.fit_temperature`; temperatures that aren't positive and finite.
        ImportError
            Without matplotlib.

        Warns
        -----
        UserWarning
            Where no finite temperature is best, as `fit_temperature` does.
        """
        several = check_boolean(multilabel, "multilabel")
        rows, names = given_logits(logits, y, classes, sample_weight, multilabel=several)
        fit, messages = temperature_fit(rows, multilabel=several)
        for message, category in messages:
            warnings.warn(message, category, stacklevel=2)
        grid = _around(fit.temperature) if temperatures is None else _checked(temperatures)
        with single_threaded_blas, np.errstate(all="ignore"):
            losses = losses_at(rows, grid)
        display = cls(grid, losses if several else losses[:, 0], fit, name=name, label_names=names if several else None)
        return display.plot(ax=ax, **kwargs)

    def plot(self, *, ax: Any = None, name: str | None = None, **kwargs: Any) -> Self:
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw, beside what is there; None for a new figure.
        name : str, default=None
            What the legend calls it; None for what it has been called.
        **kwargs
            For matplotlib's `plot`, such as ``color``.

        Returns
        -------
        TemperatureDisplay
            This one, with `ax_`, `figure_`, `lines_`.

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        name = self.name if name is None else name
        pyplot(_CALLER)
        look = line_look(kwargs)
        self.figure_, self.ax_ = figure_and_axes(_CALLER, ax, (6.4, 4.4))
        if _AS_IT_WAS not in self.ax_.get_legend_handles_labels()[1]:
            self.ax_.axvline(1, color="gray", linewidth=1.2, linestyle=":", label=_AS_IT_WAS)
        labels = [None] if self.label_names is None else np.asarray(self.label_names).tolist()
        losses = np.asarray(self.losses).reshape(len(self.temperatures), -1)
        numbers = (self.fit.temperature, self.fit.loss_before, self.fit.loss_after, self.fit.at_limit)
        fits = zip(*(np.atleast_1d(number).tolist() for number in numbers), strict=True)
        self.lines_ = []
        for label, column, (temperature, before, after, at_limit) in zip(labels, losses.T, fits, strict=True):
            words = ", ".join(str(word) for word in (name, label) if word is not None)
            found = f"T = {temperature:.3g}{' (a limit)' if at_limit else ''}: loss {before:.3g} -> {after:.3g}"
            label = plain(f"{words}: {found}") if words else found
            (line,) = self.ax_.plot(self.temperatures, column, **{"label": label, **look})
            for place, loss, fill in ((temperature, after, "full"), (1.0, before, "none")):
                # What lies outside the temperatures that were asked for would make them small.
                if np.min(self.temperatures) <= place <= np.max(self.temperatures):
                    self.ax_.plot(place, loss, "o", color=line.get_color(), fillstyle=fill)
            self.lines_.append(line)
        self.ax_.set(xscale="log", xlabel="temperature T", ylabel="mean cross-entropy, nats")
        log_ticks(self.ax_.xaxis, *self.ax_.get_xlim())
        if losses.max() > 0:
            self.ax_.set_yscale("log")
            low, high = self.ax_.get_ylim()
            # Below rounding, where logits separate the classes, nothing is to be seen. (`auto` as it is: what is drawn
            # there next is to have room.)
            self.ax_.set_ylim(max(low, _LEAST * losses.max()), high, auto=None)
            log_ticks(self.ax_.yaxis, *self.ax_.get_ylim())
        self.ax_.legend(fontsize="small")
        return self


def _around(temperature: Any) -> Array:
    """Temperatures (G,) around 1 and some others, those that are finite."""
    finite = np.append(np.atleast_1d(temperature), 1.0)
    finite = finite[np.isfinite(finite) & (finite > 0)]
    return np.geomspace(finite.min() / _FACTOR, finite.max() * _FACTOR, _N_TEMPERATURES)


def _checked(temperatures: ArrayLike) -> Array:
    grid = np.sort(as_floats(temperatures, "temperatures").astype(np.float64), axis=-1)
    if grid.ndim != 1 or not grid.size or not np.all((grid > 0) & np.isfinite(grid)):
        raise ValueError(f"temperatures must be positive and finite, in one dimension, got {temperatures!r}")
    return grid
