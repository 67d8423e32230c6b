"""The best temperature of given logits, as it is told to users."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skactivation._logits import Logits
from skactivation._scaling import fit_scaling, warn_of
from skactivation._threads import single_threaded_blas

__all__ = ["TemperatureFit", "temperature_fit"]


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


def temperature_fit(logits: Logits, *, several: bool, stacklevel: int) -> TemperatureFit:
    """Find it, and warn where no finite one is best; `stacklevel` is that of a warning from here."""
    with single_threaded_blas, np.errstate(all="ignore"):
        scaling = fit_scaling(logits)
    warn_of(scaling, several=several, stacklevel=stacklevel + 1)
    numbers = (scaling.temperatures, scaling.before, scaling.after, scaling.at_limit, scaling.gaps)
    temperature, before, after, at_limit, gap = (array if several else array[0].item() for array in numbers)
    return TemperatureFit(temperature, before, after, at_limit, gap, scaling.n_passes)
