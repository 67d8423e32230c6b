"""Probabilities from linear models, for scikit-learn."""

from importlib.metadata import version

from skactivation import activations, losses, metrics
from skactivation._sigmoid_multilabel import SigmoidMultiLabel
from skactivation._softmax_regression import SoftmaxRegression

__all__ = ["SigmoidMultiLabel", "SoftmaxRegression", "activations", "losses", "metrics"]
__version__ = version("skactivation")
