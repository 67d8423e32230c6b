"""`fit_temperature`: the best temperature for logits in arrays."""

from __future__ import annotations  # help() then shows ArrayLike by name

import warnings
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike

from skactivation._validation import check_boolean
from skactivation.calibration._labelled_logits import given_logits, look_like_probabilities
from skactivation.calibration._logits import LogitRows
from skactivation.calibration._scaling import Messages, fit_scaling, warnings_about

__all__ = ["TemperatureFit", "fit_temperature"]


@dataclass(frozen=True)
class TemperatureFit:
    """Result of `fit_temperature`: numbers, or arrays of shape (L,) if multilabel.

    Attributes
    ----------
    temperature : float or ndarray of shape (L,)
        T, which divides the logits; inf if they contradict the labels.
    loss_before : float or ndarray of shape (L,)
        Mean cross-entropy at T = 1, nats a row.
    loss_after : float or ndarray of shape (L,)
        Mean cross-entropy at T.
    at_limit : bool or ndarray of shape (L,)
        Whether there is no finite minimum. T then follows a convention, see the warnings of `fit_temperature`.
    optimality_gap : float or ndarray of shape (L,)
        Certified bound on (loss_after - L*) / loss_after for the minimum L*; 0 at a limit.
    n_passes : int
        Number of passes over all logits.

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


def fit_to_rows(rows: LogitRows, *, multilabel: bool) -> tuple[TemperatureFit, Messages]:
    """Fit the temperature of given logits; also return warnings to emit."""
    scaling = fit_scaling(rows)
    unlikely = None if multilabel else look_like_probabilities(rows.values)
    numbers = (scaling.temperatures, scaling.before, scaling.after, scaling.at_limit, scaling.gaps)
    temperature, before, after, at_limit, gap = (array if multilabel else array[0].item() for array in numbers)
    fit = TemperatureFit(temperature, before, after, at_limit, gap, scaling.n_passes)
    messages: Messages = [] if unlikely is None else [(unlikely, UserWarning)]
    return fit, messages + warnings_about(scaling, multilabel=multilabel)


def fit_temperature(
    logits: ArrayLike,
    y: Any,
    *,
    classes: ArrayLike | None = None,
    multilabel: bool = False,
    sample_weight: ArrayLike | None = None,
) -> TemperatureFit:
    r"""The temperature with the least mean cross-entropy, :math:`\min_T \frac{1}{n} \sum_i l(z_i / T, y_i)`.

    The logits may come from any model, but for rows that it was not fitted to. Calibrated probabilities are
    ``softmax(logits, temperature=fit.temperature)``; for one logit a row
    ``sigmoid(logits, temperature=fit.temperature)``; for multilabel logits ``sigmoid(logits / fit.temperature)``. Both
    functions are in `skactivation.activations`.

    Do not pass probabilities: T is then wrong for logits. A warning says if all rows lie in [0, 1] and sum to 1. Pass
    ``np.log(np.maximum(p, np.finfo(p.dtype).eps))``.

    Parameters
    ----------
    logits : array-like of shape (n, K), (n,) or (n, L)
        Logits of K exclusive classes; the log-odds of the second of two classes; or, with `multilabel`, the logits of L
        labels. float32 or float64, on any scale; ``-inf`` is a probability of 0, which no true class may have.
    y : array-like of shape (n,), (n, K) or (n, L)
        Labels, or a distribution over the classes in each row. With `multilabel` an indicator, dense or sparse: 0 for
        no, 1 for yes, a number between them for a soft label, NaN for not known.
    classes : array-like of shape (K,), default=None
        The label of each column. If None, the first that applies: the column names of a data frame, if they include
        all labels; the labels in y in sorted order, if there are K; column numbers, if the labels are integers from 0
        to K - 1 and include 0; False and True, if K = 2. Anything else is an error.
    multilabel : bool, default=False
        Whether the columns are labels that don't exclude each other; each then has its own temperature.
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows, not negative; with `multilabel` also (n, L). A row of weight 0 is ignored.

    Returns
    -------
    TemperatureFit
        Temperature, mean loss before and after, whether T is at a limit.

    Raises
    ------
    TypeError, ValueError
        For shapes that don't match; NaN or ``+inf`` in logits; a true class with logit ``-inf``; labels whose columns
        aren't clear; negative weights.

    Warns
    -----
    UserWarning
        If no positive and finite T is best. If the logits of each row are all equal, T = 1. If each true class has the
        largest logit of its row, the loss falls as T falls; T = d / log(1 / eps) is returned, with the smallest
        positive difference d between a row's largest logit and another: the other class then has a probability of about
        machine epsilon. If the logits of the true classes are, on average, no larger than the means of their rows,
        T = inf, and all classes are equally probable.

    Notes
    -----
    The loss is convex in 1 / T. A closed form decides whether it has a minimum; T is then found to a relative accuracy
    of about 1e-12. Multiplying the logits by c multiplies T by c. Adding a constant to all logits of a row changes only
    their rounding. Results are the same bits for any number of threads. The logits are read four to eight times, block
    by block, and not copied; more often if the ranges of the rows differ greatly.

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
    fit, messages = fit_to_rows(rows, multilabel=multilabel)
    for message, category in messages:
        warnings.warn(message, category, stacklevel=2)
    return fit
