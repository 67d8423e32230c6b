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
import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import LinearSVC

from skactivation import TemperatureCalibrator
from skactivation.losses import softmax_cross_entropy

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
# Log loss on pictures that neither the classifier nor T has seen, before and after. Accuracy can't change.
print(f"{'':16}{'logits are':>22}{'T':>8}{'log loss at T = 1':>20}{'calibrated':>12}{'accuracy':>10}")
for name, model in models.items():
    before = softmax_cross_entropy(model.decision_function(X_test) * model.temperature_, y_test)
    after = log_loss(y_test, model.predict_proba(X_test))
    how = {"decision_function": "decision_function", "predict_proba": "log of predict_proba"}[model.response_method_]
    accuracy = model.score(X_test, y_test)
    print(f"{name:16}{how:>22}{model.temperature_:8.3f}{before:20.3f}{after:12.3f}{accuracy:10.3f}")

# %%
# Names of classes mean nothing to a temperature. The same digits, called 10 to 19, have the same T, to the last bit.
# (Where labels are taken for numbers of columns, as they are in some implementations, this goes wrong silently.)
for name, classifier in classifiers.items():
    renamed = TemperatureCalibrator(classifier).fit(X_train, y_train + 10)
    same = renamed.temperature_ == models[name].temperature_
    print(f"{name}: digits called 10 to 19 have T = {renamed.temperature_:.3f}, {'the same' if same else 'ANOTHER'}")

# %%
# Log loss on the test pictures at any T. A temperature from the training pictures' folds (dots) is close to the best
# one for pictures that nobody has seen.
temperatures = np.geomspace(0.05, 20, 81)
figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
for color, (name, model) in zip(("tab:red", "tab:green", "tab:blue"), models.items(), strict=True):
    logits = model.decision_function(X_test) * model.temperature_
    axes.plot(temperatures, [softmax_cross_entropy(logits / t, y_test) for t in temperatures], color=color, label=name)
    axes.plot(model.temperature_, softmax_cross_entropy(logits / model.temperature_, y_test), "o", color=color)
axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
axes.annotate("as it was: T = 1", (1, 3.2), (4, 0), textcoords="offset points")
axes.set(
    xscale="log",
    yscale="log",
    ylim=(0.05, 4),
    xlabel="temperature T",
    ylabel="log loss on test pictures, nats",
    title="Left of its minimum a model is too sure, right of it too timid\n(dots: the T that was found)",
)
axes.legend()
figure.savefig("temperature_loss.png", dpi=120)
print(f"\nDrawn into {Path.cwd()}. Pictures: temperature_loss.png")

plt.show()
