"""
==========================================================
Which digits are in it? Sigmoids for several "yes" at once
==========================================================

A picture with two handwritten digits side by side: which of the ten digits are in it? Mostly two, sometimes one that
occurs twice. "There is a 3" and "there is a 7" don't exclude each other, so that each digit is a question of its own:
a *logit* for each, and a sigmoid that makes it a probability, whatever the other digits are. The ten probabilities
needn't sum to one. We compare that with softmax on the same pictures, whose probabilities must, and choose a
threshold for each digit.
"""

# %%
# Data: pairs drawn from 1,797 pictures of 8 x 8 pixels. The pictures are split first, so that training sees no picture
# of a held-out pair. The thresholds are chosen on validation pairs: the model is overconfident on its training pairs.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from skactivation import SigmoidMultiLabel, SoftmaxRegression
from skactivation.metrics import multilabel_log_loss

rng = np.random.default_rng(0)
digits, names = load_digits(return_X_y=True)


def pairs(pictures, n):
    """Rows of 8 x 16 pixels, and which of the ten digits are in them."""
    left, right = rng.choice(pictures, size=(2, n))
    rows = np.concatenate([digits[left].reshape(n, 8, 8), digits[right].reshape(n, 8, 8)], axis=2).reshape(n, 128)
    indicator = np.zeros((n, 10), dtype=int)
    indicator[np.arange(n), names[left]] = indicator[np.arange(n), names[right]] = 1
    return rows, indicator


train, rest = train_test_split(np.arange(len(names)), test_size=0.4, stratify=names, random_state=0)
validation, test = train_test_split(rest, test_size=0.5, stratify=names[rest], random_state=0)
X, Y = pairs(train, 6_000)
X_validation, Y_validation = pairs(validation, 4_000)
X_test, Y_test = pairs(test, 4_000)

# %%
# Ten sigmoids, fitted together, and softmax on the same pixels. Softmax asks "which one is it?": its target for a
# picture with a 3 and a 7 can only be half a 3 and half a 7.
sigmoids = SigmoidMultiLabel(C=0.01).fit(X, Y)
softmax = SoftmaxRegression(C=0.01).fit(X, Y / Y.sum(axis=1, keepdims=True))
p_sigmoid, p_softmax = sigmoids.predict_proba(X_test), softmax.predict_proba(X_test)
print(f"ten sigmoids: certified gap {sigmoids.optimality_gap_:.0e} after {sigmoids.n_evaluations_} evaluations")
print(f"{'':20}{'sum of a row':>14}{'largest':>9}   log loss of the ten questions")
for name, p in (("sigmoids", p_sigmoid), ("softmax", p_softmax)):
    print(f"{name:20}{p.sum(axis=1).mean():14.2f}{p.max(axis=1).mean():9.2f}{multilabel_log_loss(Y_test, p):12.3f}")
print(f"{'digits in a picture':20}{Y_test.sum(axis=1).mean():14.2f}")

# %%
# A threshold of 1/2 says yes if yes is more probable than no: right if both mistakes cost the same. F1 may be better at
# another threshold: for each digit, take the threshold with the best F1 on the validation pairs. Only `predict` uses
# `threshold`: no other fit is needed. (For these sigmoids the gain is small; softmax gains much.)
candidates = np.linspace(0.05, 0.95, 91)


def f1_by_threshold(model):
    """F1 on the validation pairs, a row for each candidate, a column for each digit."""
    p = model.predict_proba(X_validation)
    return np.array([f1_score(Y_validation, p >= t, average=None, zero_division=0.0) for t in candidates])


scores = f1_by_threshold(sigmoids)
thresholds = candidates[scores.argmax(axis=0)]
thresholds_softmax = candidates[f1_by_threshold(softmax).argmax(axis=0)]
answers = {
    "sigmoids, threshold 1/2": sigmoids.predict(X_test),
    "sigmoids, a threshold for each digit": sigmoids.set_params(threshold=thresholds).predict(X_test),
    "softmax, threshold 1/2": p_softmax >= 0.5,
    "softmax, a threshold for each digit": p_softmax >= thresholds_softmax,
}
print(f"\n{'held-out pairs':38}{'F1':>6}{'all ten right':>15}")
for name, answer in answers.items():
    f1 = f1_score(Y_test, answer, average="macro")
    print(f"{name:38}{f1:6.3f}{np.mean((answer == Y_test).all(axis=1)):15.3f}")
print("Softmax shares one yes among the digits: how large a digit's share is depends on the other one's.")

# %%
# Six held-out pairs. Green bars are the digits in the picture. The sigmoids answer ten questions and may say yes to
# several. Softmax divides 1 among ten answers, so that two digits in a picture share it.
shown = rng.choice(len(X_test), size=6, replace=False)
figure, axes = plt.subplots(3, 6, figsize=(14, 6.4), layout="constrained", height_ratios=[0.9, 1, 1])
for column, row in enumerate(shown):
    axes[0, column].imshow(X_test[row].reshape(8, 16), cmap="gray_r")
    present = np.flatnonzero(Y_test[row])
    title = " and ".join(f"a {digit}" for digit in present) + (", twice" if present.size == 1 else "")
    axes[0, column].set(title=title, xticks=[], yticks=[])
    colors = np.where(Y_test[row] == 1, "tab:green", "tab:gray")
    for axis, p, kind in ((axes[1, column], p_sigmoid[row], "sigmoids"), (axes[2, column], p_softmax[row], "softmax")):
        axis.bar(np.arange(10), p, color=colors)
        axis.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
        axis.set(ylim=(0, 1.05), xticks=np.arange(10), title=f"{kind}: sum {p.sum():.2f}")
        axis.tick_params(labelsize=8)
        axis.label_outer()
    axes[2, column].set_xlabel("digit")
for axis in axes[1:, -1]:
    axis.text(1.02, 0.5, "1/2", transform=axis.get_yaxis_transform(), va="center", fontsize=8)
for axis in axes[1:, 0]:
    axis.set_ylabel("probability")
figure.suptitle("Which digits are in the picture? (green: they are) Sigmoids may say yes twice, softmax shares one yes")
figure.savefig("digits_multilabel_pairs.png", dpi=120)

# %%
# F1 on the validation pairs against the threshold, for each digit, and the thresholds that were chosen.
figure, axes = plt.subplots(2, 5, figsize=(12, 5), layout="constrained", sharex=True, sharey=True)
for digit, axis in enumerate(axes.flat):
    axis.plot(candidates, scores[:, digit], color="tab:gray")
    axis.plot(thresholds[digit], scores[:, digit].max(), "o", color="tab:green")
    axis.axvline(0.5, color="black", linewidth=0.8, linestyle=":")
    axis.set(title=f"a {digit}? yes from {thresholds[digit]:.2f} on", xlim=(0, 1))
for axis in axes[:, 0]:
    axis.set_ylabel("F1")
for axis in axes[1]:
    axis.set_xlabel("threshold")
figure.suptitle("F1 on validation pairs against the threshold (dotted: 1/2; green: chosen)")
figure.savefig("digits_multilabel_thresholds.png", dpi=120)
print("\nPictures: digits_multilabel_pairs.png, digits_multilabel_thresholds.png")

plt.show()
