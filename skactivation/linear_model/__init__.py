"""Linear models of class probabilities: `SoftmaxRegression` and `SigmoidMultiLabel`, with their objective.

How the objective is minimised is in `skactivation._optimize`; how X and y are read is in `skactivation._data`.
"""

from skactivation.linear_model.sigmoid_multilabel import SigmoidMultiLabel
from skactivation.linear_model.softmax_regression import SoftmaxRegression

__all__ = ["SigmoidMultiLabel", "SoftmaxRegression"]
