"""`fit_temperature`: the best temperature of logits in arrays."""

from __future__ import annotations  # signatures in help() then say ArrayLike, not what it stands for

import warnings
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from skactivation._validation import check_boolean
from skactivation.calibration._labelled_logits import given_logits
from skactivation.calibration._logits import LogitRows
from skactivation.calibration._scaling import fit_scaling, warnings_about

__all__ = ["TemperatureFit", "fit_temperature", "temperature_fit"]


@dataclass(frozen=True)
class TemperatureFit:
    """What `fit_temperature` found; with several labels, arrays of shape (L,), else numbers.

    Attributes
    ----------
    temperature : float or ndarray of shape (L,)
        What to divide the logits by; inf where they say nothing that is true.
    loss_before : float or ndarray of shape (L,)
        Mean cross-entropy at a temperature of 1, nats a row.
    loss_after : float or ndarray of shape (L,)
        Mean cross-entropy at the temperature.
    at_limit : bool or ndarray of shape (L,)
        Whether there is no finite minimum, so that the temperature is a convention; see `fit_temperature`.
    optimality_gap : float or ndarray of shape (L,)
        A proved bound on (loss_after - L*) / loss_after for the least loss L*; 0 at a limit.
    n_passes : int
        How often all logits were read.

    Examples
    --------
    >>> from skactivation.calibration import fit_temperature
    >>> fit_temperature([[3.0, 0.0], [2.0, 0.0], [0.0, 4.0], [1.0, 0.0]], [0, 0, 1, 1]).at_limit
    False
    """

    temperature: Any
    loss_before: Any
    loss_after: Any
    at_limit: Any
    optimality_gap: Any
    n_passes: int


def temperature_fit(rows: LogitRows, *, multilabel: bool) -> tuple[TemperatureFit, list[tuple[str, type[Warning]]]]:
    """The best temperature of given logits; messages to warn with, and their categories."""
    scaling = fit_scaling(rows)
    numbers = (scaling.temperatures, scaling.before, scaling.after, scaling.at_limit, scaling.gaps)
    temperature, before, after, at_limit, gap = (array if multilabel else array[0].item() for array in numbers)
    fit = TemperatureFit(temperature, before, after, at_limit, gap, scaling.n_passes)
    return fit, warnings_about(scaling, multilabel=multilabel)


def fit_temperature(
    logits: ArrayLike,
    y: Any,
    *,
    classes: ArrayLike | None = None,
    multilabel: bool = False,
    sample_weight: ArrayLike | None = None,
) -> TemperatureFit:
    r"""The temperature with the least mean cross-entropy, :math:`\min_T \frac{1}{n} \sum_i l(z_i / T, y_i)`.

    Any model's logits will do, but they should be those of rows that it wasn't fitted to. From
    `skactivation.activations`, ``softmax(logits, temperature=fit.temperature)`` gives the calibrated probabilities;
    for one logit a row ``sigmoid(logits, temperature=fit.temperature)``, for several labels
    ``sigmoid(logits / fit.temperature)``.

    Probabilities aren't logits, nor are they taken for them: pass ``np.log(np.maximum(p, np.finfo(p.dtype).eps))``.

    Parameters
    ----------
    logits : array-like of shape (n, K), (n,) or (n, L)
        Logits of K exclusive classes; the log-odds of the second of two classes; or, with `multilabel`, those of L
        labels. float32 or float64, in any units; ``-inf`` is a probability of 0, which a true class can't have.
    y : array-like of shape (n,), (n, K) or (n, L)
        Labels, or a distribution over the classes in each row. With `multilabel` an indicator, dense or sparse: 0 for
        no, 1 for yes, between them soft labels, NaN for not known.
    classes : array-like of shape (K,), default=None
        The label of each column. Without it, the names of a data frame's columns, if all labels are among them, or
        else K different labels in y in sorted order; fewer labels are column numbers if they are integers
        from 0 to K - 1 and 0 is among them. Anything else is an error.
    multilabel : bool, default=False
        Whether the columns are labels that don't exclude each other: each gets a temperature of its own.
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows, not negative; with `multilabel` also (n, L). A row of weight 0 isn't there.

    Returns
    -------
    TemperatureFit
        Temperature, mean loss before and after, whether it lies at a limit.

    Raises
    ------
    TypeError, ValueError
        Shapes that don't fit; NaN or ``+inf`` in logits; a true class at ``-inf``; labels whose columns aren't clear;
        weights that are negative.

    Warns
    -----
    UserWarning
        Where no finite temperature is best. If the logits of each row are all equal, the temperature is 1. If each true
        class has the largest logit of its row, any lower temperature is better: it is set where the smallest positive
        difference from a row's largest logit leaves others a probability of about machine epsilon,
        T = difference / log(1 / eps). If the logits of the true classes are, on average, no larger than the mean of
        their rows, it is inf, and all classes are equally probable.

    Notes
    -----
    The loss is convex in 1 / T. Whether it has a minimum is settled first, in closed form; it then is found to a
    relative accuracy of about 1e-12. If logits are multiplied by c, so is T. Whatever is added to all logits of a row
    changes nothing but their rounding. Results are the same bits for any number of threads; the logits are read four to
    eight times (more often where rows are of very different spread), block by block, and not copied.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skactivation.activations import softmax
    >>> from skactivation.calibration import fit_temperature
    >>> logits = np.array([[9.0, 1.0, 0.0], [0.0, 8.0, 2.0], [7.0, 9.0, 0.0], [8.0, 0.0, 3.0]])
    >>> fit = fit_temperature(logits, ["bird", "cat", "bird", "dog"])
    >>> print(f"T = {fit.temperature:.2f}: loss {fit.loss_before:.2f} -> {fit.loss_after:.2f}")
    T = 4.27: loss 1.78 -> 0.79
    >>> softmax(logits, temperature=fit.temperature).round(2)
    array([[0.78, 0.12, 0.1 ],
           [0.11, 0.71, 0.18],
           [0.36, 0.57, 0.07],
           [0.68, 0.11, 0.21]])
    """
    multilabel = check_boolean(multilabel, "multilabel")
    rows, _ = given_logits(logits, y, classes, sample_weight, multilabel=multilabel)
    fit, messages = temperature_fit(rows, multilabel=multilabel)
    for message, category in messages:
        warnings.warn(message, category, stacklevel=2)
    return fit
