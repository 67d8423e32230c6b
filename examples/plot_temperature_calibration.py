"""
===================================================
Can these probabilities be trusted? One temperature
===================================================

Three classifiers of handwritten digits give the right answer nearly always. How sure are they, and are they right to
be? A neural network that has learned its training pictures by heart is too sure. A random forest, whose trees vote, is
not sure enough. A linear support vector machine gives logits that were never meant to be probabilities.

One number mends that: divide all logits by a *temperature* T, then take the softmax. T above 1 makes probabilities more
even, T below 1 sharpens them. The order of the classes stays, and with it every answer: only what is said about them
changes.
"""

# %%
# `TemperatureCalibrator` takes any classifier. Rows that the classifier has seen in its fit would flatter it, so that T
# comes from the held-out rows of cross-validation; then the classifier is fitted to all of them.
from pathlib import Path

import matplotlib.pyplot as plt
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
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)
classifiers = {
    "neural network": make_pipeline(
        MinMaxScaler(), MLPClassifier(30, solver="lbfgs", alpha=0.0, max_iter=3000, random_state=0)
    ),
    "random forest": RandomForestClassifier(100, random_state=0, n_jobs=2),
    "linear SVM": make_pipeline(MinMaxScaler(), LinearSVC(random_state=0)),
}
models = {name: TemperatureCalibrator(classifier).fit(X_train, y_train) for name, classifier in classifiers.items()}

# %%
# Pictures that neither the classifier nor T has seen, before and after. The logits of a model are divided by T already:
# times T they are what the classifier gave.
#
# Three figures tell three things. The *accuracy* can't change. The *log loss* is a proper score: it falls, by what was
# wrong with the sureness. The *expected calibration error* (ECE) is the mean distance between how sure a model is and
# how often it is right; it alone proves little, since a model that always says 10 % for each digit has none either.
before = {name: softmax(model.decision_function(X_test) * model.temperature_) for name, model in models.items()}
after = {name: model.predict_proba(X_test) for name, model in models.items()}
print(f"{'':16}{'T':>7}{'log loss':>18}{'ECE':>18}{'accuracy':>18}")
for name, model in models.items():
    pairs = [
        (
            log_loss(y_test, p),
            expected_calibration_error(y_test, p, n_bins=10),
            accuracy_score(y_test, p.argmax(axis=1)),
        )
        for p in (before[name], after[name])
    ]
    changes = "".join(f"{old:9.3f} -> {new:.3f}" for old, new in zip(*pairs, strict=True))
    print(f"{name:16}{model.temperature_:7.3f}{changes}")

# %%
# Where did the loss go? `calibration_decomposition` takes it apart without bins, here for each digit against all
# others, on average: a temperature takes miscalibration away, and hardly touches how well digits are told apart.
print(f"\n{'one digit against the rest':30}{'miscalibration':>16}{'discrimination':>16}{'uncertainty':>14}")
for name in models:
    for when, p in (("before", before[name]), ("after", after[name])):
        parts = calibration_decomposition(y_test, p)
        print(
            f"{name + ', ' + when:30}{parts.miscalibration:16.4f}{parts.discrimination:16.4f}{parts.uncertainty:14.4f}"
        )

# %%
# A trap: names of classes must mean nothing to a temperature. Here the same digits are called 10 to 19. scikit-learn's
# temperature scaling (from version 1.8 on) takes labels for the numbers of columns, so that it goes wrong or fails.
print(f"\n{'log loss on test pictures':28}{'digits 0 to 9':>16}{'called 10 to 19':>18}")


def loss_with(model, shift):
    try:
        probabilities = model.fit(X_train, y_train + shift).predict_proba(X_test)
    except Exception as error:
        return type(error).__name__
    return f"{log_loss(y_test + shift, probabilities):.3f}"


for name in ("neural network", "random forest"):
    theirs = CalibratedClassifierCV(classifiers[name], method="temperature", ensemble=False)
    for who, model in (("skactivation", TemperatureCalibrator(classifiers[name])), ("scikit-learn", theirs)):
        print(f"{name + ', ' + who:28}{loss_with(model, 0):>16}{loss_with(model, 10):>18}")

# %%
# How often are the models right when they say that they are 90 % sure? Points below the diagonal are too sure, points
# above it too timid. Lines are intervals of 95 %: where the bars below say that rows are few, little is known.
figure, axes = plt.subplots(1, 3, figsize=(13, 5), layout="constrained")
for ax, name in zip(axes, models, strict=True):
    for when, p, color in (("before", before[name], "tab:red"), ("after", after[name], "tab:blue")):
        ReliabilityDisplay.from_predictions(y_test, p, n_bins=10, name=when, ax=ax, color=color)
    ax.set_title(f"{name}: T = {models[name].temperature_:.2f}")
figure.savefig("temperature_reliability.png", dpi=100)

# %%
# Log loss on the test pictures at any T. Their best temperature (dot) is close to the one that was found with the
# training pictures alone (star). Circles are the models as they were.
figure, ax = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
for color, (name, model) in zip(("tab:red", "tab:green", "tab:blue"), models.items(), strict=True):
    logits = model.decision_function(X_test) * model.temperature_
    TemperatureDisplay.from_predictions(logits, y_test, name=name, ax=ax, color=color)
    ax.plot(model.temperature_, log_loss(y_test, after[name]), "*", color=color, markersize=12, markeredgecolor="black")
ax.plot([], [], "*", color="white", markersize=12, markeredgecolor="black", label="T from the training pictures")
ax.set(title="Left of its minimum a model is too sure, right of it too timid", ylim=(0.05, 4))
ax.legend(fontsize="small")
figure.savefig("temperature_loss.png", dpi=100)
print(f"\nDrawn into {Path.cwd()}. Pictures: temperature_reliability.png, temperature_loss.png")

plt.show()
