"""Reliability diagrams: tests read the data, labels and places of what is drawn."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.calibration import CalibrationDisplay
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from skactivation import SoftmaxRegression
from skactivation.displays import ReliabilityDisplay
from skactivation.metrics import expected_calibration_error, reliability_curve

X, CODES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[CODES]
MODEL = make_pipeline(StandardScaler(), SoftmaxRegression(C=0.1)).fit(X, NAMES)
P = MODEL.predict_proba(X)
DIAGONAL = "perfectly calibrated"


def points(line):
    return np.column_stack(line.get_data())


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def bars(ax):
    """Left edge, width and height of each bar."""
    return np.array([(bar.get_x(), bar.get_width(), bar.get_height()) for bar in ax.patches])


def intervals(ax, number=0):
    return np.array(ax.collections[number].get_segments())


def test_the_curve_of_the_top_label():
    curve = reliability_curve(NAMES, P)
    display = ReliabilityDisplay.from_predictions(NAMES, P)
    (line,) = display.lines_
    assert_array_equal(points(line), np.column_stack([curve.prob_pred, curve.prob_true]))
    segments = intervals(display.ax_)
    assert_allclose(segments[:, :, 0], np.repeat(curve.prob_pred, 2).reshape(-1, 2), rtol=1e-12)
    assert_allclose(segments[:, :, 1], np.column_stack([curve.lower, curve.upper]), rtol=1e-12)
    widths = curve.edges[:, 1] - curve.edges[:, 0]
    assert_allclose(bars(display.counts_ax_), np.column_stack([curve.edges[:, 0], widths, curve.counts]), rtol=1e-12)
    error = expected_calibration_error(NAMES, P)
    assert legend(display.ax_) == [DIAGONAL, f"ECE = {error:.3f}"]
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_ylabel() == "accuracy"
    assert "confidence" in display.counts_ax_.get_xlabel()
    assert display.counts_ax_.get_ylabel() == "rows"
    assert display.counts_ax_.get_yscale() == "log"


def test_an_estimator_is_drawn_by_its_probabilities():
    weights = np.random.default_rng(0).random(150)
    settings = {"n_bins": 5, "strategy": "quantile", "sample_weight": weights, "confidence_level": 0.5}
    display = ReliabilityDisplay.from_estimator(MODEL, X, NAMES, **settings)
    curve = reliability_curve(NAMES, P, **settings)
    assert_allclose(points(display.lines_[0]), np.column_stack([curve.prob_pred, curve.prob_true]), rtol=1e-12)
    assert_allclose(intervals(display.ax_)[:, 0, 1], curve.lower, rtol=1e-12)
    assert legend(display.ax_)[1].startswith("Pipeline: ECE = 0.")
    named = ReliabilityDisplay.from_estimator(MODEL, X, NAMES, name="mine")
    assert legend(named.ax_)[1].startswith("mine: ECE = ")
    # Without rows of one class.
    kept = NAMES != "virginica"
    part = ReliabilityDisplay.from_estimator(MODEL, X[kept], NAMES[kept])
    expected = reliability_curve(NAMES[kept], P[kept], labels=["setosa", "versicolor", "virginica"])
    assert_array_equal(part.curves[0].prob_true, expected.prob_true)


def test_each_class_has_a_curve():
    curves = reliability_curve(NAMES, P, kind="classwise", n_bins=4)
    display = ReliabilityDisplay.from_estimator(MODEL, X, NAMES, kind="classwise", n_bins=4)
    assert len(display.lines_) == 3
    for line, curve in zip(display.lines_, curves.values(), strict=True):
        assert_array_equal(points(line), np.column_stack([curve.prob_pred, curve.prob_true]))
    assert legend(display.ax_) == [
        DIAGONAL,
        *(f"Pipeline, {name}: ECE = {curve.expected_calibration_error():.3f}" for name, curve in curves.items()),
    ]
    assert len(bars(display.counts_ax_)) == sum(curve.counts.size for curve in curves.values())
    assert len({line.get_color() for line in display.lines_}) == 3
    assert display.ax_.get_ylabel() == "frequency"


def test_two_classes_are_scikit_learns_curve():
    rng = np.random.default_rng(0)
    p = rng.random(500)
    y = rng.random(500) < p
    theirs = CalibrationDisplay.from_predictions(y, p, n_bins=8)
    ours = ReliabilityDisplay.from_predictions(y, p, kind="classwise", n_bins=8)
    assert_allclose(points(ours.lines_[0]), points(theirs.line_), rtol=1e-12)
    assert legend(ours.ax_)[1].startswith("ECE = ")
    assert ours.ax_.get_ylabel() == "frequency of True"
    assert ours.counts_ax_.get_xlabel() == "mean probability of True"


def test_small_multiples():
    curves = reliability_curve(NAMES, P, kind="classwise")
    display = ReliabilityDisplay.from_predictions(NAMES, P, kind="classwise", subplots=True, name="now")
    assert display.ax_.shape == display.counts_ax_.shape == (3,)
    for ax, below, line, curve in zip(display.ax_, display.counts_ax_, display.lines_, curves.values(), strict=True):
        assert line.axes is ax
        assert ax.get_title() == curve.label
        assert_array_equal(points(line), np.column_stack([curve.prob_pred, curve.prob_true]))
        assert_array_equal(bars(below)[:, 2], curve.counts)
        assert legend(ax) == [f"now\nECE = {curve.expected_calibration_error():.3f}"]
    # Another display in the same axes, then in axes of the user.
    other = ReliabilityDisplay.from_predictions(
        NAMES, P**2 / (P**2).sum(axis=1, keepdims=True), kind="classwise", subplots=True, name="then", ax=display.ax_
    )
    assert all(one is another for one, another in zip(other.counts_ax_, display.counts_ax_, strict=True))
    assert len(display.figure_.axes) == 6
    assert [text.split("\n")[0] for text in legend(display.ax_[0])] == ["now", "then"]
    _, axes = plt.subplots(2, 2)
    mine = ReliabilityDisplay(list(curves.values())).plot(subplots=True, ax=axes)
    assert [line.axes for line in mine.lines_] == [axes[0, 0], axes[0, 1], axes[1, 0]]
    with pytest.raises(ValueError, match="ax must hold at least 3 axes, one for each curve, got 2"):
        ReliabilityDisplay(list(curves.values())).plot(subplots=True, ax=axes[0])
    # Single axes are replaced by a grid.
    _, ax = plt.subplots()
    divided = ReliabilityDisplay(list(curves.values())).plot(subplots=True, ax=ax)
    assert not ax.axison
    assert len(divided.ax_) == 3
    assert all(one.figure is ax.figure for one in divided.ax_)
    single = ReliabilityDisplay(curves["setosa"]).plot(subplots=True)
    assert single.ax_.shape == (1,)


@pytest.mark.parametrize("layout", ["grid", "free"])
def test_displays_share_axes_and_their_counts(layout):
    figure = plt.figure()
    ax = figure.add_subplot() if layout == "grid" else figure.add_axes([0.1, 0.1, 0.8, 0.8])
    height = ax.get_position().height
    first = ReliabilityDisplay.from_predictions(NAMES, P, ax=ax, name="a", color="red", linewidth=3)
    second = ReliabilityDisplay.from_predictions(CODES, P, ax=ax, name="b")
    assert first.ax_ is second.ax_ is ax
    assert first.counts_ax_ is second.counts_ax_
    assert figure.axes == [ax, first.counts_ax_]
    more = ReliabilityDisplay.from_predictions(np.tile(CODES, 50), np.tile(P, (50, 1)), ax=ax)
    low, high = more.counts_ax_.get_ylim()
    assert 0 < low < 1
    assert high > bars(more.counts_ax_)[:, 2].max() == more.curves[0].counts.max()
    assert [text.split(":")[0] for text in legend(ax)][:3] == [DIAGONAL, "a", "b"]
    assert first.lines_[0].get_color() == "red"
    assert first.lines_[0].get_linewidth() == 3
    # Curves and counts together fill the former place of the axes.
    above, below = ax.get_position(), first.counts_ax_.get_position()
    assert above.height < height
    assert below.y1 < above.y0
    assert_allclose([below.y0, above.y1], [0.1, 0.9] if layout == "free" else [0.11, 0.88], atol=1e-6)
    assert first.counts_ax_.get_xlim() == ax.get_xlim()


def test_parts_can_be_left_out():
    curve = reliability_curve(NAMES, P)
    display = ReliabilityDisplay(curve, name="x").plot(ref_line=False, counts=False, intervals=False)
    assert display.counts_ax_ is None
    assert len(display.figure_.axes) == 1
    assert len(display.ax_.collections) == 0
    assert len(display.ax_.lines) == 2  # the curve, and hollow points of bins with few rows
    assert "confidence" in display.ax_.get_xlabel()
    assert legend(display.plot(name="y").ax_)[1].startswith("y: ")
    with pytest.raises(TypeError, match="counts must be True or False"):
        display.plot(counts="no")


def test_several_labels():
    rng = np.random.default_rng(0)
    p = rng.random((200, 3))
    y = (rng.random((200, 3)) < p).astype(int)
    display = ReliabilityDisplay.from_predictions(y, p, kind="classwise", labels=["x", "y", "z"])
    assert [text.split(":")[0] for text in legend(display.ax_)] == [DIAGONAL, "x", "y", "z"]
    forest = RandomForestClassifier(10, random_state=0).fit(p, y)
    assert len(ReliabilityDisplay.from_estimator(forest, p, y, kind="classwise").lines_) == 3


def test_many_curves_leave_the_legend_outside():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(8), 300)
    display = ReliabilityDisplay.from_predictions(rng.integers(0, 8, 300), p, kind="classwise")
    display.figure_.canvas.draw()
    box, axes = display.ax_.get_legend().get_window_extent(), display.ax_.get_window_extent()
    assert box.x0 >= axes.x1
    assert box.x1 <= display.figure_.bbox.x1 + 1
    assert axes.width > 0.8 * axes.height  # the figure is wider, the axes are not narrower


def test_an_estimator_without_probabilities_is_an_error():
    model = LinearSVC().fit(StandardScaler().fit_transform(X), CODES)
    with pytest.raises(TypeError, match="estimator must have predict_proba, got LinearSVC"):
        ReliabilityDisplay.from_estimator(model, X, CODES)


@pytest.mark.parametrize(
    "call",
    [
        "ReliabilityDisplay.from_predictions([0, 1], [0.2, 0.7])",
        "ReliabilityDisplay.from_predictions([0, 1], [0.2, 0.7], subplots=True)",
        "TemperatureDisplay.from_predictions([1.0, -1.0, 2.0], [0, 0, 1])",
    ],
)
def test_without_matplotlib_the_message_names_the_extra(call):
    code = f"""
import sys
sys.modules["matplotlib"] = None
from skactivation.displays import ReliabilityDisplay, TemperatureDisplay
try:
    {call}
except ImportError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Display.plot needs matplotlib" in ran.stdout
    assert "pip install 'skactivation[plot]'" in ran.stdout


def test_cleared_axes_take_new_curves_without_the_old_counts():
    _, ax = plt.subplots()
    for _ in range(3):
        ax.clear()
        display = ReliabilityDisplay.from_predictions(NAMES, P, ax=ax)
        assert len(bars(display.counts_ax_)) == display.curves[0].counts.size
        assert len(legend(ax)) == 2
    # Cleared axes also accept curves of another kind.
    ax.clear()
    assert len(ReliabilityDisplay.from_predictions(NAMES, P, kind="classwise", ax=ax).lines_) == 3


def test_curves_of_another_kind_are_refused():
    top = ReliabilityDisplay.from_predictions(NAMES, P)
    with pytest.raises(ValueError, match=r"ax holds reliability curves of the top label.*'setosa'"):
        ReliabilityDisplay.from_predictions(NAMES, P, kind="classwise", ax=top.ax_)
    small = ReliabilityDisplay.from_predictions(NAMES, P, kind="classwise", subplots=True)
    with pytest.raises(ValueError, match=r"ax holds reliability curves of \['setosa'\], got curves of \[True\]"):
        ReliabilityDisplay.from_predictions(NAMES == "setosa", P[:, 0], kind="classwise", subplots=True, ax=small.ax_)
    # Displays of two classes with different names: the axis labels then name neither.
    one = ReliabilityDisplay.from_predictions(NAMES == "setosa", P[:, 0], kind="classwise")
    assert one.ax_.get_ylabel() == "frequency of True"
    ReliabilityDisplay.from_predictions((NAMES == "setosa") + 1, P[:, 0], kind="classwise", ax=one.ax_)
    assert one.ax_.get_ylabel() == "frequency"
    assert one.counts_ax_.get_xlabel() == "mean probability"


@pytest.mark.parametrize(
    ("ax", "error", "message"),
    [
        (lambda: plt.subplots(1, 2)[1], TypeError, "ax must be matplotlib Axes, got ndarray"),
        (plt.figure, TypeError, "ax must be matplotlib Axes, got Figure"),
        (lambda: plt.figure().add_subplot(projection="polar"), ValueError, "got the projection 'polar'"),
        (lambda: plt.figure().add_subplot(projection="3d"), ValueError, "got the projection '3d'"),
    ],
)
def test_axes_that_dont_suit_are_an_error(ax, error, message):
    ax = ax()
    for subplots in (False, True):
        if not isinstance(ax, np.ndarray) or not subplots:
            with pytest.raises(error, match=message):
                ReliabilityDisplay.from_predictions(NAMES, P, ax=ax, subplots=subplots)


def test_an_unknown_keyword_leaves_no_figure_behind():
    with pytest.raises(AttributeError, match="colour"):
        ReliabilityDisplay.from_predictions(NAMES, P, colour="red")
    assert plt.get_fignums() == []


@pytest.mark.parametrize("curves", [[], "top", [1], None])
def test_curves_of_a_wrong_type_are_an_error(curves):
    with pytest.raises(
        TypeError, match=r"not iterable|curves must be a ReliabilityCurve, or a sequence or dict of them, got"
    ):
        ReliabilityDisplay(curves)


def test_a_dict_of_curves_is_taken():
    curves = reliability_curve(NAMES, P, kind="classwise")
    assert ReliabilityDisplay(curves).curves == list(curves.values())


def test_of_many_curves_the_worst_are_named_and_small_multiples_have_one_scale():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(25), 300)
    y = rng.integers(0, 25, 300)
    display = ReliabilityDisplay.from_predictions(y, p, kind="classwise", labels=np.arange(25))
    errors = [curve.expected_calibration_error() for curve in display.curves]
    worst = set(np.argsort(errors)[-3:])
    assert {place for place, line in enumerate(display.lines_) if line.get_color() != "0.75"} == worst
    assert legend(display.ax_)[0] == DIAGONAL
    assert {entry.split(":")[0] for entry in legend(display.ax_)[1:]} == {"22 others", *map(str, worst)}
    small = ReliabilityDisplay.from_predictions(y, p, kind="classwise", labels=np.arange(25), subplots=True)
    assert len({below.get_ylim() for below in small.counts_ax_}) == 1
    assert small.counts_ax_[0].get_ylim()[1] > max(curve.counts.max() for curve in small.curves)


def test_points_of_few_rows_are_hollow():
    p = np.repeat([0.1, 0.5, 0.9], [40, 9, 10])
    display = ReliabilityDisplay.from_predictions(np.arange(59) % 2 == 0, p, kind="classwise", n_bins=3)
    (hollow,) = (line for line in display.ax_.lines if line.get_markerfacecolor() == display.ax_.get_facecolor())
    assert_allclose(hollow.get_xdata(), [0.5])
    assert hollow.get_color() == display.lines_[0].get_color()


@pytest.mark.parametrize("wrong", [False, True])
def test_a_legend_covers_no_curve(wrong):
    rng = np.random.default_rng(0)
    p = rng.random(4000)
    y = rng.random(4000) < (1 - p if wrong else p)
    display = ReliabilityDisplay.from_predictions(y, p, kind="classwise", name="model")
    display.figure_.canvas.draw()
    box = display.ax_.get_legend().get_window_extent()
    inside = [
        box.contains(*point)
        for line in display.ax_.lines
        if line.get_label() != DIAGONAL and len(line.get_xdata())
        for point in display.ax_.transData.transform(line.get_xydata())
    ]
    assert not any(inside)
    assert (box.x0 >= display.ax_.get_window_extent().x1) == wrong


def test_what_the_user_set_stays():
    _, ax = plt.subplots()
    ax.set(xlim=(0.5, 1), xlabel="sure", ylim=(0.4, 1))
    display = ReliabilityDisplay.from_predictions(NAMES, P, ax=ax)
    assert ax.get_xlim() == (0.5, 1)
    assert ax.get_ylim() == (0.4, 1)
    assert display.counts_ax_.get_xlabel() == "sure"
    assert ax.get_ylabel() == "accuracy"


def test_an_equal_aspect_keeps_the_counts_below_the_curve():
    display = ReliabilityDisplay.from_predictions(NAMES, P)
    display.ax_.set_aspect("equal")
    display.figure_.set_size_inches(9, 5)
    display.figure_.canvas.draw()
    above, below = (ax.get_window_extent() for ax in (display.ax_, display.counts_ax_))
    assert_allclose([below.x0, below.x1], [above.x0, above.x1], atol=1)
    assert below.y1 <= above.y0
    assert above.width == pytest.approx(above.height, rel=0.01)


def test_a_hundred_small_multiples_need_no_layout_engine():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(40), 400)
    small = ReliabilityDisplay.from_predictions(
        rng.integers(0, 40, 400), p, kind="classwise", labels=np.arange(40), subplots=True
    )
    assert small.figure_.get_layout_engine() is None
    small.figure_.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in (*small.ax_, *small.counts_ax_)]
    assert min(box.x0 for box in boxes) >= 0
    assert max(box.x1 for box in boxes) <= small.figure_.bbox.x1


def test_pyplot_draws_next_into_the_axes_of_the_curves():
    display = ReliabilityDisplay.from_predictions(NAMES, P)
    assert plt.gca() is display.ax_


def test_names_with_special_characters_are_shown_unchanged():
    labels = ["_first", "$5 to $10", "c"]
    y = np.array(labels)[CODES]
    display = ReliabilityDisplay.from_predictions(y, P, kind="classwise", labels=labels, name="_m")
    display.figure_.canvas.draw()
    assert len(legend(display.ax_)) == 4
    small = ReliabilityDisplay.from_predictions(y, P, kind="classwise", labels=labels, subplots=True)
    small.figure_.canvas.draw()
    one = ReliabilityDisplay.from_predictions(CODES == 1, P[:, 1], kind="classwise", name="_m", labels=[False, True])
    assert len(legend(one.ax_)) == 2


def test_limits_and_short_names_of_properties():
    display = ReliabilityDisplay.from_predictions(NAMES, P, ms=8, c="red")
    assert display.lines_[0].get_markersize() == 8
    assert display.lines_[0].get_color() == "red"
    assert_allclose([*display.ax_.get_xlim(), *display.ax_.get_ylim()], [-0.02, 1.02] * 2)


def test_removed_counts_are_drawn_again_in_the_same_place():
    display = ReliabilityDisplay.from_predictions(NAMES, P)
    display.figure_.set_layout_engine("none")
    places = display.ax_.get_position().bounds, display.counts_ax_.get_position().bounds
    display.counts_ax_.remove()
    again = ReliabilityDisplay.from_predictions(NAMES, P, ax=display.ax_)
    assert_allclose([again.ax_.get_position().bounds, again.counts_ax_.get_position().bounds], places, atol=1e-9)


def test_axes_inside_others_have_no_room_for_counts():
    _, ax = plt.subplots()
    inner = ax.inset_axes([0.5, 0.5, 0.4, 0.4])
    with pytest.raises(ValueError, match=r"ax is placed by an axes locator.*pass counts=False"):
        ReliabilityDisplay.from_predictions(NAMES, P, ax=inner)
    assert ReliabilityDisplay.from_predictions(NAMES, P, ax=inner, counts=False).counts_ax_ is None
