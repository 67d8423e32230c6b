"""`fit_temperature`: the best temperature for logits in arrays."""

from __future__ import annotations  # help() then shows ArrayLike by name

import json
import warnings
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skactivation._arrays import in_library_of_x
from skactivation._messages import html_table, rounded
from skactivation._typing import Array
from skactivation._validation import as_floats, check_boolean
from skactivation.calibration._fitted_scaling import divided, probabilities_at
from skactivation.calibration._labelled_logits import given_logits
from skactivation.calibration._logits import LogitRows
from skactivation.calibration._scaling import Messages, fit_scaling, warnings_about

__all__ = ["TemperatureFit", "fit_temperature"]


@dataclass(frozen=True, repr=False, eq=False)
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
    >>> from skactivation.calibration import TemperatureFit, fit_temperature
    >>> fit = fit_temperature([[3.0, 0.0], [2.0, 0.0], [0.0, 4.0], [1.0, 0.0]], [0, 0, 1, 1])
    >>> fit
    TemperatureFit(temperature=1.211, loss_before=0.3767, loss_after=0.3703)
    >>> fit.predict_proba([[3.0, 0.0]]).round(3)
    array([[0.923, 0.077]])
    >>> TemperatureFit.from_json(fit.to_json()).temperature == fit.temperature
    True
    """

    temperature: Any
    loss_before: Any
    loss_after: Any
    at_limit: Any
    optimality_gap: Any
    n_passes: int

    @in_library_of_x
    def transform(self, logits: ArrayLike) -> Array:
        """Calibrated logits: divided by the temperature.

        Parameters
        ----------
        logits : array-like of shape (n, K), (n,) or (n, L)
            Logits, as for `fit_temperature`.

        Returns
        -------
        ndarray
            Calibrated logits of the same shape. Infinite logits stay infinite.

        Raises
        ------
        TypeError, ValueError
            If the logits are no array of numbers of a shape that fits, or hold NaN.
        """
        z = self._checked(logits)
        return divided(z, self.temperature)

    @in_library_of_x
    def predict_proba(self, logits: ArrayLike) -> Array:
        """Calibrated probabilities.

        Parameters
        ----------
        logits : array-like of shape (n, K), (n,) or (n, L)
            Logits, as for `fit_temperature`, of the same shape: a fit does not know the number of classes, and takes
            one dimension for the logits of the second of two.

        Returns
        -------
        ndarray of shape (n, K) or (n, L)
            Probabilities of the classes, (n, 2) for one logit a row; or of the labels.

        Raises
        ------
        TypeError, ValueError
            If the logits are no array of numbers of a shape that fits, or hold NaN.
        """
        z = self._checked(logits)
        columns = z[:, np.newaxis] if z.ndim == 1 else z
        return probabilities_at(columns, self.temperature, multilabel=self._is_multilabel)

    def to_json(self) -> str:
        """The result as a string in JSON, which `from_json` and other languages read.

        Returns
        -------
        str
            An object with the attributes by name. Arrays are lists; an infinite temperature is the string "inf".
        """
        return json.dumps({name: _plain(value) for name, value in asdict(self).items()}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> TemperatureFit:
        """The result from what `to_json` returned.

        Parameters
        ----------
        text : str
            The string.

        Returns
        -------
        TemperatureFit
            An equal result, to the last bit.

        Raises
        ------
        ValueError
            If the string is no JSON, does not have exactly the attributes, or if one has no possible value.
        """
        stored = json.loads(text)
        names = [field.name for field in fields(cls)]
        if not isinstance(stored, dict) or set(stored) != set(names):
            found = sorted(stored) if isinstance(stored, dict) else type(stored).__name__
            raise ValueError(f"text must be a JSON object with exactly the keys {names}, got {found}")
        values = {name: _from_plain(value) for name, value in stored.items()}
        for name, value in values.items():
            array, kinds = np.asarray(value), {"at_limit": "b", "n_passes": "i"}.get(name, "fi")
            is_number = array.dtype.kind in kinds and array.ndim < 2
            if not is_number or array.min() < 0 or (name == "temperature" and array.min() == 0):
                raise ValueError(f"text has no possible value of {name}: {stored[name]!r}")
        return cls(**values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TemperatureFit) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __repr__(self) -> str:
        shown = ("temperature", "loss_before", "loss_after")
        numbers = [f"{name}={rounded(getattr(self, name))}" for name in shown]
        if np.any(self.at_limit):
            numbers.append(f"at_limit={rounded(self.at_limit)}")
        return f"TemperatureFit({', '.join(numbers)})"

    def _repr_html_(self) -> str:
        labels = range(np.size(self.temperature)) if self._is_multilabel else [None]
        names = ("temperature", "loss_before", "loss_after", "at_limit")
        columns = [np.atleast_1d(getattr(self, name)).tolist() for name in names]
        header = ["", *names] if self._is_multilabel else list(names)
        rows = [[*([] if label is None else [label]), *row] for label, *row in zip(labels, *columns, strict=True)]
        return html_table(header, rows)

    @property
    def _is_multilabel(self) -> bool:
        return np.ndim(self.temperature) > 0

    def _checked(self, logits: ArrayLike) -> Array:
        """Logits as floats, of a shape that fits."""
        z = as_floats(logits, "logits")
        n_labels = np.size(self.temperature)
        if self._is_multilabel and z.shape[1:] != (n_labels,):
            raise ValueError(f"logits must have the shape (n, {n_labels}), a column for each label, got {z.shape}")
        if z.ndim not in (1, 2):
            raise ValueError(f"logits must have the shape (n, K) or (n,), got {z.shape}")
        if np.isnan(z).any():
            raise ValueError(
                f"logits hold NaN, first in row {np.argwhere(np.isnan(z))[0, 0]}; drop or repair such rows"
            )
        return z


def _plain(value: Any) -> Any:
    """A number or an array as what JSON knows."""
    if isinstance(value, np.ndarray):
        return [_plain(entry) for entry in value.tolist()]
    return "inf" if isinstance(value, float) and value == np.inf else value


def _from_plain(value: Any) -> Any:
    if isinstance(value, list):
        return np.array([_from_plain(entry) for entry in value])
    return np.inf if value == "inf" else value


def fit_to_rows(rows: LogitRows, *, multilabel: bool) -> tuple[TemperatureFit, Messages]:
    """Fit the temperature of given logits; also return warnings to emit."""
    scaling = fit_scaling(rows)
    unlikely = None if multilabel else rows.unlikely()
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

    The logits may come from any model, but for rows that it was not fitted to. Calibrated probabilities of the same
    model's logits are ``fit.predict_proba(logits)``.

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
    >>> from skactivation.calibration import fit_temperature
    >>> logits = np.array([[9.0, 1.0, 0.0], [0.0, 8.0, 2.0], [7.0, 9.0, 0.0], [8.0, 0.0, 3.0]])
    >>> fit = fit_temperature(logits, ["bird", "cat", "bird", "dog"])
    >>> print(f"T = {fit.temperature:.2f}: loss {fit.loss_before:.2f} -> {fit.loss_after:.2f}")
    T = 4.27: loss 1.78 -> 0.79
    >>> fit.predict_proba(logits).round(2)
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
