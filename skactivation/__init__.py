"""Probabilities from linear models, for scikit-learn."""

from skactivation import activations, calibration, displays, linear_model, losses, metrics
from skactivation._package import VERSION
from skactivation.calibration import TemperatureCalibrator, TemperatureFit, fit_temperature
from skactivation.linear_model import (
    SigmoidMultiLabel,
    SigmoidMultiLabelCV,
    SoftmaxRegression,
    SoftmaxRegressionCV,
)

__all__ = [
    "TRUSTED_TYPES",
    "SigmoidMultiLabel",
    "SigmoidMultiLabelCV",
    "SoftmaxRegression",
    "SoftmaxRegressionCV",
    "TemperatureCalibrator",
    "TemperatureFit",
    "activations",
    "calibration",
    "displays",
    "fit_temperature",
    "linear_model",
    "losses",
    "metrics",
]
__version__ = VERSION
TRUSTED_TYPES = [
    "skactivation._data.labels.LabelClasses",
    *(
        f"{estimator.__module__}.{estimator.__name__}"
        for estimator in (
            SigmoidMultiLabel,
            SigmoidMultiLabelCV,
            SoftmaxRegression,
            SoftmaxRegressionCV,
            TemperatureCalibrator,
            TemperatureFit,
        )
    ),
]
"""Types of this package in files of skops: ``skops.io.load(file, trusted=skactivation.TRUSTED_TYPES)``."""
