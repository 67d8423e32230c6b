"""
============================================================
Softmax or sigmoids? A common mistake with exclusive classes
============================================================

A picture of a handwritten digit shows exactly one of ten digits. Softmax gives ten probabilities that sum to one. Ten
sigmoids answer ten separate questions: "is it a 0?", "is it a 1?", and so on. They do not know that exactly one answer
is yes. A common mistake is to fit sigmoids to such classes and to take their outputs as the probabilities of the
classes. This example fits both models to the same pictures and shows what remains right and what becomes wrong. The
repair is `SoftmaxRegression`. To divide each row of sigmoids by its sum is the second best.
"""

# %%
# Data: 1,797 pictures of 8 x 8 pixels. A third is held out. The sigmoids need an indicator: ten columns, with a 1 in
# the column of the digit.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split

from skactivation import SigmoidMultiLabel, SoftmaxRegression

X, y = load_digits(return_X_y=True)
X = X / 16
indicator = np.eye(10, dtype=int)[y]
rows = np.arange(len(y))
train, test = train_test_split(rows, test_size=1 / 3, stratify=y, random_state=0)


def normalised(p):
    """Each row divided by its sum."""
    return p / p.sum(axis=1, keepdims=True)


# %%
# Cross-validation chooses C for each model by log loss, the mean of -log(probability of the true class), so that the
# comparison is fair. The rows of the sigmoids are normalised for it: divided by their sums.
def score(model, X, y):
    classes = y if y.ndim == 1 else y.argmax(axis=1)
    return -log_loss(classes, normalised(model.predict_proba(X)), labels=np.arange(10))


folds = list(StratifiedKFold(5).split(X[train], y[train]))
models = {}
for name, model, targets in (("softmax", SoftmaxRegression(), y), ("sigmoids", SigmoidMultiLabel(), indicator)):
    search = GridSearchCV(model, {"C": [1, 3, 10, 30, 100]}, scoring=score, cv=folds).fit(X[train], targets[train])
    models[name] = search.best_estimator_
    print(f"{name:9} C = {search.best_params_['C']:3}, cross-validated log loss {-search.best_score_:.3f}")
p_softmax, p_sigmoid = (model.predict_proba(X[test]) for model in models.values())
sums = p_sigmoid.sum(axis=1)


# %%
# Held-out digits. The largest sigmoid names the digit nearly as well as softmax does. The probabilities are worse.
# Without normalising, the mean of -log(output) is no log loss, since the outputs are not the probabilities of exclusive
# classes; scikit-learn's `log_loss` warns of such rows. The column "largest" is the mean of the largest output in a
# row. For good probabilities it is about equal to the accuracy. Both models are too cautious here, the sigmoids more.
def loss(p, classes):
    return -np.log(p[np.arange(len(p)), classes]).mean()


outputs = {"softmax": p_softmax, "sigmoids, normalised": normalised(p_sigmoid), "sigmoids as they are": p_sigmoid}
losses = {name: loss(p, y[test]) for name, p in outputs.items()}
print(f"\n{'held-out digits':22}{'accuracy':>9}{'largest':>9}{'log loss':>10}{'sum of a row, from':>20}{'to':>6}")
for name, p in outputs.items():
    accuracy = np.mean(p.argmax(axis=1) == y[test])
    low, high = p.sum(axis=1).min(), p.sum(axis=1).max()
    print(f"{name:22}{accuracy:9.3f}{p.max(axis=1).mean():9.3f}{losses[name]:10.3f}{low:20.2f}{high:6.2f}")
changed = np.sum(p_softmax.argmax(axis=1) != p_sigmoid.argmax(axis=1))
print(f"The largest sigmoid names another digit than softmax in {changed} of {len(test)} pictures.")

# %%
# What else goes wrong: many rows do not sum to one. `predict` of the sigmoids says yes from 1/2 on, so that some digits
# get several names and others none. Softmax must choose one name, and is right on more of these digits than the largest
# sigmoid.
answers = models["sigmoids"].predict(X[test]).sum(axis=1)
unclear = answers != 1
right = [np.mean(p.argmax(axis=1)[unclear] == y[test][unclear]) for p in (p_softmax, p_sigmoid)]
far = np.abs(sums - 1) > 0.1
print(f"\nrows of the sigmoids with a sum below 0.9 or above 1.1: {far.mean():.0%}")
print(f"digits with several answers: {np.sum(answers > 1)}, with none: {np.sum(answers == 0)}, of {len(test)}")
print(f"right on these {unclear.sum()} digits: softmax {right[0]:.0%}, the largest sigmoid {right[1]:.0%}")

# %%
# One split may be chance. Here are 20 others, with the same values of C.
differences = []
for seed in range(1, 21):
    i, j = train_test_split(rows, test_size=1 / 3, stratify=y, random_state=seed)
    p = clone(models["softmax"]).fit(X[i], y[i]).predict_proba(X[j])
    q = clone(models["sigmoids"]).fit(X[i], indicator[i]).predict_proba(X[j])
    accuracy_p, accuracy_q = np.mean(p.argmax(axis=1) == y[j]), np.mean(q.argmax(axis=1) == y[j])
    loss_p, loss_normalised, loss_q = loss(p, y[j]), loss(normalised(q), y[j]), loss(q, y[j])
    differences.append([accuracy_p - accuracy_q, loss_normalised - loss_p, loss_q - loss_p])
mean, better = np.mean(differences, axis=0), np.sum(np.array(differences) > 0, axis=0)
print("\nSoftmax on 20 other splits:")
print(f"  accuracy higher by {mean[0]:.3f} on average, higher in {better[0]} of 20")
print(f"  log loss lower by {mean[1]:.3f} than that of normalised sigmoids, lower in {better[1]} of 20")
print(f"  log loss lower by {mean[2]:.3f} than that of sigmoids as they are, lower in {better[2]} of 20")

# %%
# The sums of the sigmoids' rows, and the log losses. The sum of a row is the number of digits that the sigmoids expect
# in the picture. Normalising mends the sums, but the model is not softmax: each sigmoid was fitted to separate its
# digit from all nine others with one set of weights. For softmax it is enough that the logit of the true digit is the
# largest.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", width_ratios=[1.3, 1])
labels = ["sigmoids: within 0.1 of 1", "sigmoids: further from 1"]
bins = np.linspace(0.02, 1.98, 50)
left.hist([sums[~far], sums[far]], bins=bins, stacked=True, color=["0.7", ORANGE], label=labels)
left.axvline(1, color=BLUE, linestyle="--", label="softmax: always 1")
left.set(xlabel="sum of a row's ten outputs", ylabel="number of held-out digits")
left.set_title(f"{far.mean():.0%} of the sigmoids' sums differ from 1 by more than 0.1")
left.legend(loc="upper right", frameon=False)
bars = right.barh(list(losses), list(losses.values()), color=[BLUE, GREEN, ORANGE])
right.bar_label(bars, fmt="%.3f", padding=4)
right.invert_yaxis()
right.set(xlabel="log loss of held-out digits (less is better)", xlim=(0, 0.19), xticks=[0, 0.05, 0.1, 0.15])
right.set_title("Softmax is best, normalising second")
fig.savefig("softmax_vs_sigmoid_sums.png", dpi=120)

# %%
# The extreme cases. On three digits several sigmoids are sure: those whose second largest output is largest. On three
# none is sure: those whose largest output is smallest. Green bars are the true digit. Softmax gives each digit one
# name, but not always the right one, and it may be sure of a wrong one.
several = np.argsort(-np.sort(p_sigmoid, axis=1)[:, -2])[:3]
none = np.argsort(p_sigmoid.max(axis=1))[:3]
fig, axes = plt.subplots(3, 6, figsize=(14, 6.6), layout="constrained", height_ratios=[1.1, 1, 1])
for column, row in enumerate([*several, *none]):
    axes[0, column].imshow(X[test][row].reshape(8, 8), cmap="gray_r")
    axes[0, column].set(title=f"the true digit: {y[test][row]}", xticks=[], yticks=[])
    colors = np.where(np.arange(10) == y[test][row], GREEN, "0.6")
    choice = p_softmax[row].argmax()
    verdict = "right" if choice == y[test][row] else "wrong"
    titles = f"{answers[row]} above 1/2, sum {sums[row]:.2f}", f"chooses {choice}: {verdict}"
    for axis, p, title in zip(axes[1:, column], (p_sigmoid[row], p_softmax[row]), titles, strict=True):
        axis.bar(np.arange(10), p, color=colors)
        axis.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
        axis.set(ylim=(0, 1.05), xticks=np.arange(10), title=title)
        axis.label_outer()
    axes[2, column].set_xlabel("digit")
axes[1, 0].set_ylabel("ten sigmoids:\noutput")
axes[2, 0].set_ylabel("softmax:\nprobability")
fig.suptitle("Two sigmoids say yes, or none does (dotted line: 1/2). Softmax must choose (green: the true digit)")
fig.savefig("softmax_vs_sigmoid_digits.png", dpi=120)

# %%
# In short: the mistake changes few names of digits, but it makes the probabilities worse.
print("\nClasses that exclude each other: SoftmaxRegression. Labels that may come together: SigmoidMultiLabel.")
print(f"Normalising the sigmoids removes {1 - mean[1] / mean[2]:.0%} of their excess in log loss, on average.")
print("Pictures: softmax_vs_sigmoid_sums.png, softmax_vs_sigmoid_digits.png")
plt.show()
