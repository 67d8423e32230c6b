"""Probabilities from linear models, for scikit-learn."""

from importlib.metadata import version

from skactivation import activations, calibration, displays, linear_model, losses, metrics
from skactivation.calibration import TemperatureCalibrator, fit_temperature
from skactivation.linear_model import (
    SigmoidMultiLabel,
    SigmoidMultiLabelCV,
    SoftmaxRegression,
    SoftmaxRegressionCV,
)

__all__ = [
    "SigmoidMultiLabel",
    "SigmoidMultiLabelCV",
    "SoftmaxRegression",
    "SoftmaxRegressionCV",
    "TemperatureCalibrator",
    "activations",
    "calibration",
    "displays",
    "fit_temperature",
    "linear_model",
    "losses",
    "metrics",
]
__version__ = version("skactivation")
