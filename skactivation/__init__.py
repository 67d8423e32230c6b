"""Probabilities from linear models, for scikit-learn."""

from importlib.metadata import version

from skactivation import activations, losses
from skactivation._softmax_regression import SoftmaxRegression

__all__ = ["SoftmaxRegression", "activations", "losses"]
__version__ = version("skactivation")
