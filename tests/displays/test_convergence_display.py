"""Plots of convergence: tests read the data and labels of what is drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_wine, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from skactivation import SigmoidMultiLabel, SoftmaxRegression, SoftmaxRegressionCV
from skactivation.displays import ConvergenceDisplay

X, y = load_wine(return_X_y=True)
MODEL = SoftmaxRegression(tol=1e-3).fit(X, y)


def test_the_curve_is_the_excess_over_the_certified_bound_and_ends_at_the_gap():
    display = ConvergenceDisplay.from_estimator(MODEL)
    bound = MODEL.loss_ * (1 - MODEL.optimality_gap_)
    excess = display.line_.get_ydata()
    assert_allclose(excess, np.maximum((MODEL.loss_curve_ - bound) / MODEL.loss_, 1e-16))
    optimum = SoftmaxRegression(tol=1e-12).fit(X, y).loss_
    assert np.all(excess >= (MODEL.loss_curve_ - optimum) / MODEL.loss_ - 1e-13)
    (dot,) = (line for line in display.ax_.lines if line.get_marker() == "o")
    assert_allclose(dot.get_ydata(), [MODEL.optimality_gap_])
    assert dot.get_xdata()[0] == MODEL.n_iter_[0]
    assert display.ax_.get_yscale() == "log"
    assert display.line_.get_label() == f"SoftmaxRegression: gap {MODEL.optimality_gap_:.2g}"
    display.figure_.canvas.draw()


def test_several_estimators_share_axes():
    labels = SigmoidMultiLabel().fit(*make_multilabel_classification(random_state=0))
    search = SoftmaxRegressionCV(Cs=[0.1, 1.0]).fit(X, y)
    _, ax = plt.subplots()
    ax.set(ylabel="excess")
    displays = [ConvergenceDisplay.from_estimator(model, ax=ax) for model in (MODEL, labels, search)]
    assert {display.ax_ for display in displays} == {ax}
    assert len(ax.get_legend().get_texts()) == 3
    assert ax.get_ylabel() == "excess"
    assert displays[0].plot(name="wine", color="black").line_.get_label().startswith("wine: gap")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_without_a_certificate_the_lowest_objective_takes_its_place():
    separated = SoftmaxRegression(C=np.inf).fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    display = ConvergenceDisplay.from_estimator(separated)
    assert display.line_.get_label() == "SoftmaxRegression: no certified gap"
    assert np.all(display.line_.get_ydata() >= 1e-16)
    assert len(display.ax_.lines) == 1


def test_errors():
    with pytest.raises(TypeError, match="of a pipeline, pass the last step"):
        ConvergenceDisplay.from_estimator(LogisticRegression().fit(X[:, :2], y))
    with pytest.raises(NotFittedError):
        ConvergenceDisplay.from_estimator(SoftmaxRegression())
