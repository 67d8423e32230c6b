"""Calibrated probabilities from any classifier or from logits: `TemperatureCalibrator` and `fit_temperature`.

A temperature T divides all logits: probabilities are softmax(z / T) or sigmoid(z / T). T minimises the cross-entropy of
rows that the classifier was not fitted to. Metrics of calibration are in `skactivation.metrics`.
"""

from skactivation.calibration.temperature_calibrator import TemperatureCalibrator
from skactivation.calibration.temperature_fit import TemperatureFit, fit_temperature

__all__ = ["TemperatureCalibrator", "TemperatureFit", "fit_temperature"]
