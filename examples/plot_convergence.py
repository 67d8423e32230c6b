"""
========================================
Raw features: does the fit converge?
========================================

"lbfgs failed to converge" is the warning that users of `LogisticRegression` know best. It comes from features in
different units: the solver then needs thousands of steps, and stops before. `SoftmaxRegression` minimises the same
function on the same features, and certifies how far it is from the minimum.
"""

# %%
# Breast cancer: 30 measurements of cells, from thousandths to thousands. We fit both with their defaults, and look at
# what they minimise: the cross-entropy plus the penalty.
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skactivation import SoftmaxRegression
from skactivation.displays import ConvergenceDisplay
from skactivation.losses import softmax_cross_entropy

X, y = load_breast_cancer(return_X_y=True)
print(f"columns with standard deviations from {X.std(axis=0).min():.3f} to {X.std(axis=0).max():.0f}")


def objective(model):
    """The objective of both estimators, for C = 1."""
    logits = X @ model.coef_[0] + model.intercept_[0]
    both = np.column_stack([np.zeros_like(logits), logits])
    return softmax_cross_entropy(both, y, reduction="sum") + 0.5 * np.sum(model.coef_**2)


ours = SoftmaxRegression().fit(X, y)
bound = ours.loss_ * (1 - ours.optimality_gap_)
print(f"ours: {ours.n_passes_} passes over X, certified gap {ours.optimality_gap_:.0e}")

# %%
# How far `LogisticRegression` is after a number of iterations of its default solver, relative to the certified minimum.
# Its default is 100. Each iteration is about one pass over the data. We raise the limit until no warning comes.
limits, excess, warned = [1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000], [], []
for limit in limits:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        theirs = LogisticRegression(max_iter=limit).fit(X, y)
    warned.append(bool(caught))
    excess.append((objective(theirs) - bound) / ours.loss_)
    end = "warns" if caught else f"stops by itself after {theirs.n_iter_[0]}"
    print(f"LogisticRegression, {limit:6,} iterations: {end}; objective {excess[-1]:.0e} above the minimum, relative")
    if not caught:
        limits, excess, warned = limits[: len(excess)], excess, warned
        break

# %%
# Against passes over the data: ours counts everything, evaluations, curvature and the range of each column.
# `ConvergenceDisplay` draws our curve against iterations.
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
left.loglog(limits, excess, "o-", color="#D55E00", label="LogisticRegression, defaults")
left.plot([100], excess[limits.index(100)], "o", color="#D55E00", markersize=11, markerfacecolor="none")
left.annotate("stops here and warns", (100, excess[limits.index(100)]), (120, 0.5), fontsize="small")
gap = max(ours.optimality_gap_, 1e-16)
left.plot([ours.n_passes_], [gap], "D", color="#0072B2", label="SoftmaxRegression, certified")
left.set(
    xlabel="passes over the data",
    ylabel="excess of the objective, relative",
    title="The same objective, raw features",
    ylim=(1e-16, 10),
)
left.legend(loc="lower right", fontsize="small", bbox_to_anchor=(1, 0.08))
ConvergenceDisplay.from_estimator(ours, color="#0072B2", ax=right)
right.set_title("Each iteration of SoftmaxRegression")
fig.savefig("convergence_raw_features.png", dpi=120)

# %%
# What it means for probabilities: those of the fit that stopped early differ from those of the optimum.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)
    early = LogisticRegression().fit(X, y)
difference = np.abs(early.predict_proba(X) - ours.predict_proba(X)).max()
print(f"after 100 iterations a probability is off by up to {difference:.2f}")
print("Pictures: convergence_raw_features.png")
plt.show()
