"""Linear models of class probabilities: `SoftmaxRegression` and `SigmoidMultiLabel`, and how to choose their penalty.

`skactivation._optimize` minimises the objective; `skactivation._data` reads X and y.
"""

from skactivation.linear_model.sigmoid_multilabel import SigmoidMultiLabel
from skactivation.linear_model.sigmoid_multilabel_cv import SigmoidMultiLabelCV
from skactivation.linear_model.softmax_regression import SoftmaxRegression
from skactivation.linear_model.softmax_regression_cv import SoftmaxRegressionCV

__all__ = ["SigmoidMultiLabel", "SigmoidMultiLabelCV", "SoftmaxRegression", "SoftmaxRegressionCV"]
