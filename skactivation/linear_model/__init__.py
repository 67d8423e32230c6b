"""Linear models of class probabilities: `SoftmaxRegression` and `SigmoidMultiLabel`, with their objective.

`skactivation._optimize` minimises the objective; `skactivation._data` reads X and y.
"""

from skactivation.linear_model.sigmoid_multilabel import SigmoidMultiLabel
from skactivation.linear_model.softmax_regression import SoftmaxRegression

__all__ = ["SigmoidMultiLabel", "SoftmaxRegression"]
