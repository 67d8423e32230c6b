"""Plots of cross-entropy against temperature: tests read the data and labels of what is drawn."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB

from skactivation import SigmoidMultiLabel
from skactivation.calibration import fit_temperature
from skactivation.displays import TemperatureDisplay
from skactivation.losses import sigmoid_cross_entropy, softmax_cross_entropy

RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.normal(size=(200, 4))
CODES = (LOGITS / 3 + RNG.gumbel(size=LOGITS.shape)).argmax(axis=1)
NAMES = np.array(["a", "b", "c", "d"])[CODES]
INDICATOR = (RNG.random((200, 4)) < 1 / (1 + np.exp(-LOGITS / 2))).astype(float)


def dots(ax):
    """Coordinates of the marked points."""
    return np.array([line.get_data() for line in ax.lines if line.get_marker() == "o"]).squeeze(-1)


@pytest.mark.parametrize("weights", [None, RNG.random(200)])
def test_the_curve_is_the_cross_entropy_of_divided_logits(weights):
    display = TemperatureDisplay.from_predictions(LOGITS, NAMES, sample_weight=weights)
    temperatures, losses = display.lines_[0].get_data()
    expected = [softmax_cross_entropy(LOGITS / t, CODES, sample_weight=weights) for t in temperatures]
    assert_allclose(losses, expected, rtol=1e-12)
    assert_array_equal(losses, display.losses)
    fit = fit_temperature(LOGITS, NAMES, sample_weight=weights)
    assert display.fit == fit
    assert_allclose(dots(display.ax_), [[fit.temperature, fit.loss_after], [1, fit.loss_before]], rtol=1e-12)
    assert temperatures[0] < min(1, fit.temperature) < max(1, fit.temperature) < temperatures[-1]
    assert losses.min() >= fit.loss_after * (1 - 1e-12)
    words = display.ax_.get_legend_handles_labels()[1]
    assert words == [
        "T = 1, as it was",
        f"T = {fit.temperature:.3g}: loss {fit.loss_before:.3g} -> {fit.loss_after:.3g}",
    ]
    assert display.ax_.get_xscale() == display.ax_.get_yscale() == "log"
    assert temperatures.size == 101
    assert [line.get_fillstyle() for line in display.ax_.lines if line.get_marker() == "o"] == ["full", "none"]
    assert display.figure_ is display.ax_.figure
    display.figure_.canvas.draw()


def test_two_classes_and_extreme_units():
    z = LOGITS[:, 1] - LOGITS[:, 0]
    y = (z / 3 + RNG.logistic(size=200) > 0).astype(int)
    for unit in (1.0, 1e-200, 1e200):
        display = TemperatureDisplay.from_predictions(z * unit, y)
        temperatures, losses = display.lines_[0].get_data()
        near = np.abs(np.log(temperatures / display.fit.temperature)) < 3
        expected = [sigmoid_cross_entropy(z * (unit / t), y) for t in temperatures[near]]
        assert_allclose(losses[near], expected, rtol=1e-10)


def test_several_labels_have_a_curve_each():
    y = INDICATOR.copy()
    y[::3, 1] = np.nan
    names = ["w", "x", "y", "z"]
    display = TemperatureDisplay.from_predictions(LOGITS, pd.DataFrame(y, columns=names), multilabel=True, name="net")
    fit = fit_temperature(LOGITS, y, multilabel=True)
    assert display.losses.shape == (display.temperatures.size, 4)
    for k, line in enumerate(display.lines_):
        known = ~np.isnan(y[:, k])
        expected = [sigmoid_cross_entropy(LOGITS[known, k] / t, y[known, k]) for t in display.temperatures]
        assert_allclose(line.get_ydata(), expected, rtol=1e-11)
        assert line.get_label().startswith(f"net, {names[k]}: T = {fit.temperature[k]:.3g}: loss")


def test_displays_share_axes():
    _, ax = plt.subplots()
    first = TemperatureDisplay.from_predictions(LOGITS, CODES, ax=ax, name="one", color="red")
    second = TemperatureDisplay.from_predictions(2 * LOGITS, CODES, ax=ax, name="two", temperatures=[0.5, 1, 2, 9])
    assert first.ax_ is second.ax_ is ax
    assert_array_equal(second.lines_[0].get_xdata(), [0.5, 1, 2, 9])
    assert first.lines_[0].get_color() == "red"
    words = ax.get_legend_handles_labels()[1]
    assert [text.split(":")[0] for text in words] == ["T = 1, as it was", "one", "two"]
    again = TemperatureDisplay(first.temperatures, first.losses, first.fit).plot(name="three")
    assert again.lines_[0].get_label().startswith("three: T = ")
    assert_array_equal(again.lines_[0].get_ydata(), first.losses)


@pytest.mark.parametrize(
    ("y", "warning", "words"),
    [
        (LOGITS.argmax(axis=1), "largest logit in every row", "(a limit)"),
        (LOGITS.argmin(axis=1), "contradict the labels", "T = inf (a limit)"),
    ],
)
def test_a_limit_is_drawn_and_warned_of_once(y, warning, words):
    with pytest.warns(UserWarning, match=warning) as caught:
        display = TemperatureDisplay.from_predictions(LOGITS, y)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert words in display.lines_[0].get_label()
    assert np.all(np.isfinite(display.losses))
    display.figure_.canvas.draw()


@pytest.mark.parametrize("temperatures", [[0.0, 1.0], [-1.0], [np.inf], [], [[1.0]], [np.nan]])
def test_bad_temperatures_are_an_error(temperatures):
    with pytest.raises(ValueError, match="temperatures must be a one-dimensional array of positive finite numbers"):
        TemperatureDisplay.from_predictions(LOGITS, CODES, temperatures=temperatures)


def test_bad_logits_are_the_errors_of_fit_temperature():
    with pytest.raises(ValueError, match="Pass `classes`"):
        TemperatureDisplay.from_predictions(LOGITS[:2], ["a", "b"])
    other = np.array(["d", "c", "b", "a"])
    shown = TemperatureDisplay.from_predictions(LOGITS, other[CODES], classes=other)
    assert shown.fit == fit_temperature(LOGITS, CODES)


def test_an_estimator_is_drawn_by_its_logits():
    X, y = load_iris(return_X_y=True)
    names = np.array(["a", "b", "c"])[y]
    bayes = GaussianNB().fit(X, names)
    logits = np.log(np.maximum(bayes.predict_proba(X), np.finfo(float).eps))
    kept = names != "b"
    part = TemperatureDisplay.from_estimator(bayes, X[kept], names[kept])
    assert part.fit == fit_temperature(logits[kept], names[kept], classes=["a", "b", "c"])
    assert part.lines_[0].get_label().startswith("GaussianNB: T = ")
    display = TemperatureDisplay.from_estimator(bayes, X, names, name="mine", color="red")
    assert display.fit == fit_temperature(logits, names)
    assert display.lines_[0].get_label().startswith("mine: T = ")
    two = LogisticRegression().fit(X[:, :1], y == 1)
    found = TemperatureDisplay.from_estimator(two, X[:, :1], y == 1)
    assert found.fit == fit_temperature(two.decision_function(X[:, :1]), y == 1)
    indicator = np.column_stack([y == 1, X[:, 0] > 5.8]).astype(int)
    several = SigmoidMultiLabel().fit(X[:, 1:3], indicator)
    assert len(TemperatureDisplay.from_estimator(several, X[:, 1:3], indicator).lines_) == 2


@pytest.mark.parametrize(
    ("grid", "drawn"), [([2.0, 3.0], 0), ([0.5, 2.0], 1), ([1e-3, 1e3], 2), ([1e3, 1e-3], 2)], ids=str
)
def test_marks_outside_the_given_temperatures_are_left_out(grid, drawn):
    display = TemperatureDisplay.from_predictions(10 * LOGITS, CODES, temperatures=grid)
    assert display.fit.temperature > 3
    assert len([line for line in display.ax_.lines if line.get_marker() == "o"]) == drawn


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e7])
def test_axes_have_a_few_ticks_with_words(unit):
    for y in (CODES, LOGITS.argmax(axis=1), LOGITS.argmin(axis=1)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            display = TemperatureDisplay.from_predictions(unit * LOGITS, y)
        display.figure_.canvas.draw()
        for axis, limits, place in ((display.ax_.xaxis, "get_xlim", 0), (display.ax_.yaxis, "get_ylim", 1)):
            low, high = getattr(display.ax_, limits)()
            shown = [label for label in axis.get_ticklabels() if low <= label.get_position()[place] <= high]
            assert 2 <= len([label for label in shown if label.get_text()]) <= 12


def test_another_display_in_the_same_axes_extends_the_limits():
    first = TemperatureDisplay.from_predictions(LOGITS, CODES)
    second = TemperatureDisplay.from_predictions(20 * LOGITS, CODES, ax=first.ax_)
    first.figure_.canvas.draw()
    low, high = first.ax_.get_ylim()
    assert low < min(first.losses.min(), second.losses.min())
    assert high > max(first.losses.max(), second.losses.max())


def test_losses_of_0_are_drawn():
    logits = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    with pytest.warns(UserWarning, match="equal|largest"):
        display = TemperatureDisplay.from_predictions(logits, [0, 1])
    display.figure_.canvas.draw()
    assert np.all(display.losses == 0)
    with pytest.warns(UserWarning, match="largest"):
        separated = TemperatureDisplay.from_predictions(LOGITS, LOGITS.argmax(axis=1))
    low, high = separated.ax_.get_ylim()
    assert high / low < 1e25
