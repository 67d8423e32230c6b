"""Plots of the scores of a search: tests read the data and labels of what is drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_wine, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import accuracy_score, make_scorer

from skactivation import SigmoidMultiLabelCV, SoftmaxRegressionCV
from skactivation.displays import CVDisplay

CS = [10.0, 0.01, 1.0]
SEARCH = SoftmaxRegressionCV(Cs=CS, cv=4).fit(*load_wine(return_X_y=True))


def dots(ax):
    return np.array([line.get_data() for line in ax.lines if line.get_marker() == "o"]).squeeze(-1)


def test_the_curve_is_the_mean_score():
    display = CVDisplay.from_estimator(SEARCH)
    (line,) = display.lines_
    order = np.argsort(CS)
    assert_array_equal(line.get_xdata(), np.sort(CS))
    assert_array_equal(line.get_ydata(), SEARCH.mean_scores_[order])
    assert [list(fold.get_ydata()) for fold in display.fold_lines_] == SEARCH.scores_[:, order].tolist()
    assert_allclose(dots(display.ax_), [[SEARCH.C_, SEARCH.best_score_]])
    (band,) = display.ax_.collections
    top = {x: max(y for at, y in band.get_paths()[0].vertices if at == x) for x in CS}
    assert_allclose([top[C] for C in CS], SEARCH.mean_scores_ + SEARCH.standard_errors_)
    assert line.get_label() == f"SoftmaxRegressionCV: C = {SEARCH.C_:.3g}, score {SEARCH.best_score_:.3g}"
    assert display.ax_.get_xscale() == "log"
    assert "log loss" in display.ax_.get_ylabel()
    assert display.figure_ is display.ax_.figure
    display.figure_.canvas.draw()


def test_labels_with_a_penalty_each_have_a_curve_each():
    X, Y = make_multilabel_classification(120, 5, n_classes=3, random_state=0)
    search = SigmoidMultiLabelCV(Cs=CS, cv=4, per_label=True).fit(X, Y)
    display = CVDisplay.from_estimator(search, name="tags")
    assert len(display.lines_) == 3
    assert display.fold_lines_ == []
    assert_allclose(dots(display.ax_), np.column_stack([search.C_, search.best_score_]))
    assert display.lines_[1].get_label() == f"tags, 1: C = {search.C_[1]:.3g}, score {search.best_score_[1]:.3g}"


def test_rows_left_out_are_no_lines_and_infinite_values_have_no_place():
    X, y = load_wine(return_X_y=True)
    display = CVDisplay.from_estimator(SoftmaxRegressionCV(Cs=CS, cv="loo").fit(X, y))
    assert display.fold_lines_ == []
    means = np.array([-2.0, -1.0, -0.5])
    display = CVDisplay(np.array([1.0, np.inf, 10.0]), means, np.full(3, np.nan), 1).plot(color="red")
    assert_array_equal(display.lines_[0].get_data(), [[1, 10], [-2, -0.5]])
    assert display.lines_[0].get_color() == "red"
    assert len(display.ax_.collections) == 0
    assert not [line for line in display.ax_.lines if line.get_marker() == "o"]


def test_a_scorer_is_named_and_axes_are_shared():
    search = SoftmaxRegressionCV(Cs=CS, cv=4, scoring="accuracy").fit(*load_wine(return_X_y=True))
    display = CVDisplay.from_estimator(search)
    assert display.ax_.get_ylabel() == "mean score: accuracy"
    for scoring, name in (
        (make_scorer(accuracy_score), "mean score: accuracy_score"),
        (lambda model, X, y: model.score(X, y), "mean score"),
    ):
        search = SoftmaxRegressionCV(Cs=CS, cv=4, scoring=scoring).fit(*load_wine(return_X_y=True))
        assert CVDisplay.from_estimator(search).ax_.get_ylabel() == name
    _, ax = plt.subplots()
    assert CVDisplay.from_estimator(search, ax=ax).ax_ is ax
    assert CVDisplay.from_estimator(SEARCH, ax=ax, name="other").ax_ is ax
    assert len(ax.get_legend().get_texts()) == 2


def test_other_estimators_are_an_error():
    with pytest.raises(TypeError, match="must be SoftmaxRegressionCV or SigmoidMultiLabelCV, got LogisticRegressionCV"):
        CVDisplay.from_estimator(LogisticRegressionCV())
    with pytest.raises(NotFittedError):
        CVDisplay.from_estimator(SoftmaxRegressionCV())
