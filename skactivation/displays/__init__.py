"""Plots in the style of scikit-learn's displays: of activations, convergence, calibration, temperatures and penalties.

They need matplotlib (the extra ``skactivation[plot]``), which is imported only when something is drawn. The numbers
come from `skactivation.activations`, `skactivation.metrics`, `skactivation.calibration` and fitted estimators.
"""

from skactivation.displays.activation_display import ActivationDisplay
from skactivation.displays.convergence_display import ConvergenceDisplay
from skactivation.displays.cv_display import CVDisplay
from skactivation.displays.reliability_display import ReliabilityDisplay
from skactivation.displays.temperature_display import TemperatureDisplay

__all__ = ["ActivationDisplay", "CVDisplay", "ConvergenceDisplay", "ReliabilityDisplay", "TemperatureDisplay"]
