"""
================================================
Which digit is it? Softmax for exclusive classes
================================================

A picture of a handwritten digit shows exactly one of ten digits: the classes exclude each other. A linear model gives
each class a *logit*, any real number; softmax turns the ten logits into probabilities that sum to one. We tune the
penalty's strength in a pipeline, compare with scikit-learn's `LogisticRegression`, and look at what was learned and at
the digits that leave the model in doubt.
"""

# %%
# Data: 1,797 pictures of 8 x 8 pixels. A third is held out.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skactivation import SoftmaxRegression
from skactivation.activations import softmax

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=0)

# %%
# Cross-validation chooses the strength of the penalty by log loss, the mean of -log(probability of the true class).
# Accuracy would not notice overconfident probabilities. (The fit needs no scaling; with it the penalty treats all
# pixels alike.)
search = GridSearchCV(
    make_pipeline(StandardScaler(), SoftmaxRegression()),
    {"softmaxregression__C": np.logspace(-4, 1, 6)},
    scoring="neg_log_loss",
    cv=5,
    n_jobs=2,
).fit(X_train, y_train)
C = search.best_params_["softmaxregression__C"]
model = search.best_estimator_
print(f"C chosen by cross-validated log loss: {C:g}")

# %%
# Compare with `LogisticRegression` on held-out digits: with the same C on scaled pixels, then with default settings on
# raw pixels. `optimality_gap_` is a certificate: the objective is at most this fraction above its minimum.
# `LogisticRegression` has no certificate: it stops at its default tolerance, or gives up with a warning. scikit-learn
# computes the log loss here, from probabilities; the fit itself works with logits, since a probability that has rounded
# to 0 or 1 has no useful logarithm.
pairs = {
    "scaled, tuned": (model, make_pipeline(StandardScaler(), LogisticRegression(C=C))),
    "raw, defaults": (SoftmaxRegression(), LogisticRegression()),
}
print(f"\n{'':15}{'':20}{'accuracy':>9}{'log loss':>10}{'iterations':>12}  remark")
for setting, estimators in pairs.items():
    for estimator in estimators:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            estimator.fit(X_train, y_train)
        last = estimator[-1] if hasattr(estimator, "steps") else estimator
        remark = f"certified gap {last.optimality_gap_:.0e}" if hasattr(last, "optimality_gap_") else "no certificate"
        remark = "ConvergenceWarning" if caught else remark
        print(
            f"{setting:15}{type(last).__name__:20}{estimator.score(X_test, y_test):9.4f}"
            f"{log_loss(y_test, estimator.predict_proba(X_test)):10.4f}{np.max(last.n_iter_):12d}  {remark}"
        )
print("In each pair both aim at one optimum. With its default tolerance LogisticRegression stops short of it; with")
print('solver="newton-cg" and tol=1e-8 it gets there, and to the same accuracy.')

# %%
# The model has learned a weight for each pixel and class. Ink on red pixels speaks for the class, ink on blue pixels
# against it. The weights of a pixel sum to zero over the classes: one number added to all logits changes no
# probability, and the penalty is smallest when their mean is zero.
weights = model[-1].coef_
limit = np.abs(weights).max()
figure, axes = plt.subplots(2, 5, figsize=(9, 4.4), layout="constrained")
for digit, axis in enumerate(axes.flat):
    image = axis.imshow(weights[digit].reshape(8, 8), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axis.set(title=f"for a {digit}", xticks=[], yticks=[])
figure.colorbar(image, ax=axes, label="logit per standard deviation of the pixel", shrink=0.9)
figure.suptitle("Softmax regression on scaled pixels: ink on red speaks for the digit, ink on blue against it")
figure.savefig("digits_softmax_weights.png", dpi=120)

# %%
# The least certain digits are those whose largest probability is smallest. The bars are the ten probabilities. They sum
# to one, because a picture shows exactly one digit.
probabilities = softmax(model.decision_function(X_test))
doubtful = np.argsort(probabilities.max(axis=1))[:6]
figure, axes = plt.subplots(2, 6, figsize=(12, 4.6), layout="constrained", height_ratios=[1.2, 1])
for column, row in enumerate(doubtful):
    axes[0, column].imshow(X_test[row].reshape(8, 8), cmap="gray_r")
    predicted = probabilities[row].argmax()
    verdict = "right" if predicted == y_test[row] else f"taken for a {predicted}"
    axes[0, column].set(title=f"a {y_test[row]}, {verdict}", xticks=[], yticks=[])
    colors = np.where(np.arange(10) == y_test[row], "tab:green", "tab:gray")
    axes[1, column].bar(np.arange(10), probabilities[row], color=colors)
    axes[1, column].set(ylim=(0, 1), xticks=np.arange(10), xlabel="digit")
    axes[1, column].tick_params(labelsize=8)
    axes[1, column].label_outer()
axes[1, 0].set_ylabel("probability")
figure.suptitle("The six least certain test digits (green: the true digit)")
figure.savefig("digits_softmax_uncertain.png", dpi=120)
print("\nPictures: digits_softmax_weights.png, digits_softmax_uncertain.png")

plt.show()
