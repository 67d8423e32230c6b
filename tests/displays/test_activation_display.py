"""Plots of activations: tests read the data and labels of what is drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose

from skactivation.activations import sigmoid
from skactivation.displays import ActivationDisplay

Z = np.array([-40.0, -1.5, -0.1, 0.2, 3.0, 50.0])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize(
    ("function", "formula"),
    [
        ("sigmoid", lambda z: 1 / (1 + np.exp(-z))),
        ("log_sigmoid", lambda z: -np.logaddexp(0, -z)),
        ("softplus", lambda z: np.logaddexp(0, z)),
        ("tanh", np.tanh),
        ("relu", lambda z: np.where(z > 0, z, 0)),
    ],
)
def test_the_dashed_line_is_the_derivative_of_the_other(function, formula, temperature):
    display = ActivationDisplay.from_name(function, z=Z, temperature=temperature)
    value, derivative = display.lines_
    assert_allclose(value.get_ydata(), formula(Z / temperature), rtol=1e-12, atol=1e-300)
    step = 1e-5
    slope = (formula((Z + step) / temperature) - formula((Z - step) / temperature)) / (2 * step)
    assert_allclose(derivative.get_ydata(), slope, rtol=1e-4, atol=1e-9)
    assert derivative.get_linestyle() == "--"
    assert derivative.get_color() == value.get_color()
    assert display.ax_.get_xlabel() == "logit z"


def test_displays_share_axes_and_keep_what_the_user_set():
    _, ax = plt.subplots()
    ax.set(xlabel="z", xlim=(-1, 1))
    one = ActivationDisplay.from_name("sigmoid", ax=ax, color="black")
    two = ActivationDisplay.from_name("sigmoid", temperature=3, derivative=False, ax=ax)
    assert len(one.lines_) == 2
    assert len(two.lines_) == 1
    assert one.lines_[1].get_color() == "black"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "sigmoid(z)",
        "derivative of sigmoid(z)",
        "sigmoid(z / 3)",
    ]
    assert ax.get_xlabel() == "z"
    assert ax.get_xlim() == (-1, 1)
    assert one.ax_ is two.ax_ is ax
    again = two.plot(name="S curve")
    assert again.lines_[0].get_label() == "S curve"
    assert_allclose(again.lines_[0].get_ydata(), sigmoid(two.z / 3))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("swish",), ValueError, "function must be 'sigmoid', .* or 'relu', got 'swish'"),
        (("sigmoid", {"temperature": 0}), ValueError, "temperature must be a number in"),
        (("sigmoid", {"z": [[1.0]]}), ValueError, "one dimension"),
        (("sigmoid", {"z": [np.nan]}), ValueError, "finite numbers"),
        (("sigmoid", {"derivative": 1}), TypeError, "derivative must be True or False"),
        (("sigmoid", {"ax": 3}), TypeError, "ax must be matplotlib Axes"),
    ],
)
def test_errors(arguments, error, message):
    name, *others = arguments
    with pytest.raises(error, match=message):
        ActivationDisplay.from_name(name, **(others[0] if others else {}))
