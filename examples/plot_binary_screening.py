"""
==================================================
Sick or well? One sigmoid, and two kinds of errors
==================================================

A screening test answers yes or no. A false alarm costs a second examination; a missed tumour costs much more. With two
classes the model has one *logit*, and a sigmoid makes it the probability of a tumour. The costs then give the
threshold. "Yes" has the lower expected cost if the probability is at least

    cost of a false alarm / (cost of a false alarm + cost of a miss).

This is right only if the probabilities are right. We measure the costs on many random splits, for a model with good
probabilities and for a model with bad ones, before and after calibration.
"""

# %%
# Data: 569 tumours with 30 measurements each; 212 tumours are malignant. scikit-learn calls them class 0. Here "yes" is
# malignant. A false alarm costs 1, and a miss costs 20.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import log_loss
from sklearn.model_selection import FixedThresholdClassifier, StratifiedShuffleSplit
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skactivation import SoftmaxRegression, TemperatureCalibrator

X, y = load_breast_cancer(return_X_y=True)
malignant = (y == 0).astype(int)
COST_ALARM, COST_MISS = 1, 20
formula = COST_ALARM / (COST_ALARM + COST_MISS)
print(f"threshold from the costs: {COST_ALARM} / ({COST_ALARM} + {COST_MISS}) = {formula:.3f}")

# %%
# Two classifiers. `SoftmaxRegression` with two classes is one sigmoid. `GaussianNB` takes the measurements of a class
# as independent of each other. They are not, and therefore it is much too sure. `TemperatureCalibrator` divides the
# logits by a number T, which it finds by cross-validation on the training rows. Its attribute `estimator_` is the
# classifier before calibration.
#
# A single split has few misses, and their number depends on chance. We take the means over 60 random splits: half of
# the rows are for the fit, the other half for the costs. `alarms` and `misses` count the errors at each threshold.
thresholds = np.unique(np.concatenate([np.geomspace(1e-16, 1, 500)[:-1], [0.5, formula, 1 / 101]]))
classifiers = {
    "sigmoid": make_pipeline(StandardScaler(), SoftmaxRegression()),
    "naive Bayes": GaussianNB(),
}
splits = list(StratifiedShuffleSplit(60, train_size=0.5, random_state=0).split(X, malignant))
names = [f"{name}, {when}" for name in classifiers for when in ("as fitted", "calibrated")]
alarms = {name: np.zeros(thresholds.size) for name in names}
misses = {name: np.zeros(thresholds.size) for name in names}
losses, temperatures = dict.fromkeys(names, 0.0), dict.fromkeys(classifiers, 0.0)
for train, test in splits:
    sick = malignant[test] == 1
    for name, classifier in classifiers.items():
        calibrated = TemperatureCalibrator(classifier).fit(X[train], malignant[train])
        temperatures[name] += calibrated.temperature_ / len(splits)
        for when, model in (("as fitted", calibrated.estimator_), ("calibrated", calibrated)):
            p = model.predict_proba(X[test])[:, 1]
            yes = p[:, None] >= thresholds
            alarms[f"{name}, {when}"] += yes[~sick].sum(axis=0) / len(splits)
            misses[f"{name}, {when}"] += (~yes[sick]).sum(axis=0) / len(splits)
            losses[f"{name}, {when}"] += log_loss(malignant[test], p) / len(splits)
n_sick, n_well = int(sick.sum()), int((~sick).sum())
print(f"{len(splits)} splits; held out in each: {n_sick} malignant and {n_well} benign tumours")
for name in classifiers:
    before, after = losses[f"{name}, as fitted"], losses[f"{name}, calibrated"]
    print(f"{name}: mean T = {temperatures[name]:.2f}, log loss {before:.3f} -> {after:.3f}")


# %%
# The cost a row at three thresholds: 1/2, the one from the costs, and the best. The best one is chosen with the answers
# of the held-out rows. Nobody has these in practice: it shows what a threshold can achieve at most.
def report(cost_miss):
    print(f"\na miss costs {cost_miss:<13}{'threshold':>15}{'missed':>9}{'false alarms':>14}{'cost a row':>12}")
    costs = {}
    for name in names:
        cost = costs[name] = (COST_ALARM * alarms[name] + cost_miss * misses[name]) / (n_sick + n_well)
        from_costs = np.searchsorted(thresholds, COST_ALARM / (COST_ALARM + cost_miss))
        chosen = (("one half", np.searchsorted(thresholds, 0.5)), ("costs", from_costs), ("best", cost.argmin()))
        for which, i in chosen:
            label = name if which == "one half" else ""
            print(
                f"{label:25}{which:9}{thresholds[i]:9.2g}{misses[name][i]:9.1f}{alarms[name][i]:14.1f}{cost[i]:12.3f}"
            )
    return costs


costs_20 = report(COST_MISS)

# %%
# What the table says:
#
# - The threshold 1/2 is the most expensive of the three for each model: it counts a miss and a false alarm alike.
# - The probabilities of the sigmoid are good as they are, and the threshold from the costs is about the best one.
#   Calibration isn't needed here, and it even makes the costs a little higher: T has an error of its own.
# - Naive Bayes is almost sure that some malignant tumours are benign. With the threshold from the costs it costs more
#   than "yes" to every row, for which no model is needed. Its best threshold is tiny: the formula knows nothing of it.
# - After calibration, the threshold from the costs is about the best one for naive Bayes, too. Calibration keeps the
#   order of the rows and moves the best threshold to where the formula says. The lowest cost is much the same as before
#   (not quite, since each split has its own T).
#
# Fraud is the same with other costs. Let a miss cost 100: the models and their probabilities stay, and only the
# threshold changes.
cost_of_yes = COST_ALARM * n_well / (n_sick + n_well)
print(f'"yes" to every row: cost a row {cost_of_yes:.3f}')
costs_100 = report(100)
print("No model was fitted again for this table.")

# %%
# The threshold is now about 1 %. The calibrated naive Bayes misses nothing, but has more false alarms than necessary:
# one temperature makes its probabilities much better, but those near 1 % aren't right yet. The curves show the costs at
# all thresholds. Good probabilities have their lowest cost near the threshold from the costs.
styles = {
    "sigmoid, as fitted": ("#009E73", "-"),
    "naive Bayes, as fitted": ("#D55E00", "--"),
    "naive Bayes, calibrated": ("#0072B2", "-."),
}
fig, axes = plt.subplots(1, 2, figsize=(12, 4.8), layout="constrained")
for ax, cost_miss, costs in ((axes[0], COST_MISS, costs_20), (axes[1], 100, costs_100)):
    for name, (color, style) in styles.items():
        ax.plot(thresholds, costs[name], style, color=color, label=name)
        best = costs[name].argmin()
        ax.plot(thresholds[best], costs[name][best], "o", color=color)
    ax.plot([], [], "o", color="0.4", label="lowest cost of each")
    ax.axhline(cost_of_yes, color="0.5", linewidth=1, linestyle="--", label='"yes" to every row')
    ax.axvline(COST_ALARM / (COST_ALARM + cost_miss), color="black", linewidth=1, label="threshold from the costs")
    ax.axvline(0.5, color="black", linewidth=1, linestyle=":", label="threshold 1/2")
    ax.set(
        xscale="log",
        xlim=(1e-13, 1),
        ylim=(0.1, 6),
        yscale="log",
        xlabel="threshold: yes from this probability on",
        ylabel="cost a row on held-out rows",
        title=f"A miss costs {cost_miss} times a false alarm",
    )
    ax.set_yticks([0.1, 0.2, 0.5, 1, 2, 5], ["0.1", "0.2", "0.5", "1", "2", "5"])
    ax.minorticks_off()
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
fig.savefig("screening_costs.png", dpi=120)

# %%
# The model for use: `FixedThresholdClassifier` puts the threshold into `predict`. If the probabilities need
# calibration, the calibrator goes inside: ``FixedThresholdClassifier(TemperatureCalibrator(...), threshold=...)``. For
# other costs `set_params` changes the threshold of the fitted model.
train, test = splits[0]
model = FixedThresholdClassifier(classifiers["sigmoid"], threshold=formula).fit(X[train], malignant[train])
coefficients = model.estimator_[-1].coef_.copy()
print("\nthe sigmoid of the first split, with its threshold")
for cost_miss in (20, 100):
    model.set_params(threshold=COST_ALARM / (COST_ALARM + cost_miss))
    answers = model.predict(X[test])
    missed = np.sum((malignant[test] == 1) & (answers == 0))
    alarm = np.sum((malignant[test] == 0) & (answers == 1))
    print(f"a miss costs {cost_miss:3}: missed {missed} of {n_sick}, false alarms {alarm} of {n_well}")
print(f"same coefficients: {np.array_equal(coefficients, model.estimator_[-1].coef_)}")
half, from_costs = np.searchsorted(thresholds, 0.5), np.searchsorted(thresholds, formula)
print("\nIn short, the cost a row if a miss costs 20:")
for name in ("sigmoid, as fitted", "naive Bayes, as fitted", "naive Bayes, calibrated"):
    cost = costs_20[name]
    print(f"{name:24} {cost[half]:.3f} at 1/2, {cost[from_costs]:.3f} at {formula:.3f}, {cost.min():.3f} at best")
print("Pictures: screening_costs.png")
plt.show()
