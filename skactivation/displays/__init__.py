"""Plots of calibration in the style of scikit-learn's displays: `ReliabilityDisplay` and `TemperatureDisplay`.

They need matplotlib (the extra ``skactivation[plot]``), which is imported only when something is drawn. The numbers
come from `skactivation.metrics` and `skactivation.calibration`.
"""

from skactivation.displays.reliability_display import ReliabilityDisplay
from skactivation.displays.temperature_display import TemperatureDisplay

__all__ = ["ReliabilityDisplay", "TemperatureDisplay"]
