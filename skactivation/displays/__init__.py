"""Plots in the style of scikit-learn's displays: of calibration, temperatures and cross-validated penalties.

They need matplotlib (the extra ``skactivation[plot]``), which is imported only when something is drawn. The numbers
come from `skactivation.metrics`, `skactivation.calibration` and the searches of `skactivation.linear_model`.
"""

from skactivation.displays.cv_display import CVDisplay
from skactivation.displays.reliability_display import ReliabilityDisplay
from skactivation.displays.temperature_display import TemperatureDisplay

__all__ = ["CVDisplay", "ReliabilityDisplay", "TemperatureDisplay"]
