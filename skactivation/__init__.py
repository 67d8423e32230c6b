"""Probabilities from linear models, for scikit-learn."""

from importlib.metadata import version

from skactivation import activations, calibration, displays, losses, metrics
from skactivation._sigmoid_multilabel import SigmoidMultiLabel
from skactivation._softmax_regression import SoftmaxRegression
from skactivation.calibration import TemperatureCalibrator, fit_temperature

__all__ = [
    "SigmoidMultiLabel",
    "SoftmaxRegression",
    "TemperatureCalibrator",
    "activations",
    "calibration",
    "displays",
    "fit_temperature",
    "losses",
    "metrics",
]
__version__ = version("skactivation")
