"""
===================================================
Can these probabilities be trusted? One temperature
===================================================

Three classifiers read noisy pictures of handwritten digits; about four of five answers are right. How sure are the
classifiers, and are they right to be? A neural network that knows its training pictures by heart is overconfident. A
random forest is underconfident, because its probabilities are shares of votes. A linear support vector machine gives
logits that were never meant to be probabilities.

One number helps: divide all logits by a *temperature* T, then take the softmax. T > 1 lowers overconfident
probabilities; T < 1 raises underconfident ones. The order of the classes stays the same, so every answer stays the
same: only the probabilities change.
"""

# %%
# The pictures get noise, so that mistakes are not rare. A quarter of them is for training, the rest for the test: many
# test pictures make the points of the diagrams below precise.
#
# `TemperatureCalibrator` takes any classifier. A classifier looks too good on the rows of its own fit. Therefore T
# comes from the held-out rows of cross-validation; then the classifier is fitted to all rows.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import LinearSVC

from skactivation import TemperatureCalibrator
from skactivation.activations import softmax
from skactivation.displays import ReliabilityDisplay, TemperatureDisplay
from skactivation.metrics import calibration_decomposition, expected_calibration_error

X, y = load_digits(return_X_y=True)
X = X + np.random.default_rng(0).normal(scale=4.0, size=X.shape)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.75, stratify=y, random_state=0)
classifiers = {
    "neural network": make_pipeline(
        MinMaxScaler(), MLPClassifier(30, solver="lbfgs", alpha=0.0, max_iter=3000, random_state=0)
    ),
    "random forest": RandomForestClassifier(100, random_state=0, n_jobs=2),
    "linear SVM": make_pipeline(MinMaxScaler(), LinearSVC(random_state=0)),
}
models = {name: TemperatureCalibrator(classifier).fit(X_train, y_train) for name, classifier in classifiers.items()}

# %%
# The test pictures are new to the classifiers and to T. The calibrated model divides its logits by T: multiplied by T
# they are the logits of the classifier.
#
# Three figures tell three things. The *accuracy* can't change. The *log loss* is a proper score; it falls here for all
# three. The *expected calibration error* (ECE) is the mean distance between the confidence and the accuracy. It falls
# here too, but it need not, and it alone says little: a model that always says 10 % for each digit has almost none.
before = {name: softmax(model.decision_function(X_test) * model.temperature_) for name, model in models.items()}
after = {name: model.predict_proba(X_test) for name, model in models.items()}
print(f"{'':16}{'T':>7}{'log loss':>18}{'ECE':>18}{'accuracy':>18}")
for name, model in models.items():
    pairs = [
        (
            log_loss(y_test, p),
            expected_calibration_error(y_test, p, n_bins=5),
            accuracy_score(y_test, p.argmax(axis=1)),
        )
        for p in (before[name], after[name])
    ]
    changes = "".join(f"{old:9.3f} -> {new:.3f}" for old, new in zip(*pairs, strict=True))
    print(f"{name:16}{model.temperature_:7.3f}{changes}")

# %%
# Which part of the loss fell? `calibration_decomposition` splits it without bins, here as the mean over each digit
# against all others. The temperature lowers the miscalibration; the discrimination, which says how well the model
# separates the digits, changes much less.
print(f"\n{'one digit against the rest':30}{'miscalibration':>16}{'discrimination':>16}{'uncertainty':>14}")
for name in models:
    for when, p in (("before", before[name]), ("after", after[name])):
        split = calibration_decomposition(y_test, p)
        print(
            f"{name + ', ' + when:30}{split.miscalibration:16.4f}{split.discrimination:16.4f}{split.uncertainty:14.4f}"
        )

# %%
# A trap: the names of the classes must not matter. Here the same digits are called 10 to 19. The temperature scaling of
# scikit-learn takes labels for the numbers of columns (seen in version 1.9), so that it goes wrong.
print(f"\n{'log loss on test pictures':28}{'digits 0 to 9':>16}{'called 10 to 19':>18}")


def loss_with(model, shift):
    try:
        probabilities = model.fit(X_train, y_train + shift).predict_proba(X_test)
    except Exception as error:
        return type(error).__name__
    return f"{log_loss(y_test + shift, probabilities):.3f}"


for name in ("neural network", "linear SVM"):
    theirs = CalibratedClassifierCV(classifiers[name], method="temperature", ensemble=False)
    for who, model in (("skactivation", TemperatureCalibrator(classifiers[name])), ("scikit-learn", theirs)):
        print(f"{name + ', ' + who:28}{loss_with(model, 0):>16}{loss_with(model, 10):>18}")

# %%
# How often is a model right when it says that it is 90 % sure? A point below the diagonal is overconfident, a point
# above it underconfident. Vertical lines are intervals of 95 %. The bars below count the rows of each point: the five
# bins are wide, so that most points have many. Before calibration, the points of the network lie below the diagonal and
# those of the forest above it. Those of the SVM lie above it too, except the first, which has few rows. After
# calibration most points lie near the diagonal. The network stays overconfident at low confidence: one temperature
# can't correct every bin.
figure, axes = plt.subplots(1, 3, figsize=(13, 5), layout="constrained")
for ax, name in zip(axes, models, strict=True):
    for when, p, color in (("before", before[name], "tab:red"), ("after", after[name], "tab:blue")):
        ReliabilityDisplay.from_predictions(y_test, p, n_bins=5, name=when, ax=ax, color=color)
    ax.set_title(f"{name}: T = {models[name].temperature_:.2f}", pad=26)
    ax.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=3,
        fontsize="x-small",
        frameon=False,
        columnspacing=1,
        handlelength=1.4,
    )
figure.savefig("temperature_reliability.png", dpi=100)

# %%
# Log loss on the test pictures at any T. The best temperature of the test pictures (dot) is close to the one from the
# training pictures alone (star): the star is on the dot. The T in the legend is that of the dot. Circles are the models
# before calibration, at T = 1.
figure, ax = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
temperatures = np.geomspace(0.05, 50, 101)
star = {"marker": "*", "linestyle": "none", "color": "white", "markeredgecolor": "black", "markersize": 7, "zorder": 5}
for color, (name, model) in zip(("tab:purple", "tab:green", "tab:orange"), models.items(), strict=True):
    logits = model.decision_function(X_test) * model.temperature_
    TemperatureDisplay.from_predictions(logits, y_test, temperatures=temperatures, name=name, ax=ax, color=color)
    ax.plot(model.temperature_, log_loss(y_test, after[name]), **star)
ax.plot([], [], "o", color="gray", label="best T of the test pictures")
ax.plot([], [], "o", color="gray", fillstyle="none", label="before calibration")
ax.plot([], [], **star, label="T from the training pictures")
ax.set(title="Left of its minimum a model is overconfident, right of it underconfident", ylim=(0.3, 20))
ax.legend(fontsize="x-small")
figure.savefig("temperature_loss.png", dpi=100)
print("\nPictures: temperature_reliability.png, temperature_loss.png")

plt.show()
