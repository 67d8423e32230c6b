"""Pictures of calibration, in the manner of scikit-learn's displays. They need the extra ``skactivation[plot]``."""

from skactivation._reliability_display import ReliabilityDisplay
from skactivation._temperature_display import TemperatureDisplay

__all__ = ["ReliabilityDisplay", "TemperatureDisplay"]
