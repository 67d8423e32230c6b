"""Pictures of calibration: `ReliabilityDisplay` and `TemperatureDisplay`, like scikit-learn's displays.

They need matplotlib (the extra ``skactivation[plot]``), which is imported only when something is drawn. The numbers
that they draw come from `skactivation.metrics` and `skactivation.calibration`.
"""

from skactivation.displays.reliability_display import ReliabilityDisplay
from skactivation.displays.temperature_display import TemperatureDisplay

__all__ = ["ReliabilityDisplay", "TemperatureDisplay"]
