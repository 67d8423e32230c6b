"""
======================================================
Which penalty? A grid search, in less time, by the row
======================================================

The penalty keeps coefficients small. Too strong a penalty forgets what the data say; too weak a one learns noise, and
probabilities become overconfident. C is the inverse of its strength. Cross-validation tells which C is best: fit to
some rows, score the others. We choose C for handwritten digits in three ways: with scikit-learn's `GridSearchCV`, with
`SoftmaxRegressionCV`, which gives the same scores in less time, and by leaving out one digit at a time.
"""

# %%
# Data: 1,797 pictures of 8 x 8 pixels, on one scale. Only a third is used for training, so that the penalty matters.
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, train_test_split

from skactivation import SoftmaxRegression, SoftmaxRegressionCV
from skactivation.displays import CVDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, train_size=600, stratify=y, random_state=0)
Cs = np.logspace(-2, 4, 7)
cv = StratifiedKFold(5)

# %%
# A grid search fits 35 times, one fit after the other: five folds, seven values of C. Its score is minus the log loss,
# the mean of -log(probability of the true class). Accuracy would not notice overconfident probabilities.
start = perf_counter()
grid = GridSearchCV(SoftmaxRegression(), {"C": Cs}, cv=cv, scoring="neg_log_loss").fit(X_train, y_train)
grid_seconds = perf_counter() - start

# %%
# The same fits have X in common. `SoftmaxRegressionCV` solves those to all folds together for each C: it reads X once
# for them, and starts where the fits with smaller values of C point to.
start = perf_counter()
folds = SoftmaxRegressionCV(Cs=Cs, cv=cv).fit(X_train, y_train)
seconds = perf_counter() - start
difference = np.abs(folds.mean_scores_ / grid.cv_results_["mean_test_score"] - 1)

# %%
# Five folds are drawn at random, and each fit lacks a fifth of the rows. To leave out one row at a time needs neither.
# It would take 4,200 fits; `cv="loo"` takes one for each C, steps from it for all rows, and refits without the few rows
# for which a step is not enough.
start = perf_counter()
rows = SoftmaxRegressionCV(Cs=Cs, cv="loo").fit(X_train, y_train)
loo_seconds = perf_counter() - start

# %%
# All three choose the same C. Scores of the first two differ by what each fit leaves to its optimum, at most tol.
print(f"{'':24}{'C':>8}{'log loss, held out':>20}{'log loss, new digits':>22}{'seconds':>9}")
for name, model, took in (
    ("GridSearchCV", grid.best_estimator_, grid_seconds),
    ("SoftmaxRegressionCV", folds, seconds),
    ("leave-one-out", rows, loo_seconds),
):
    C = model.C_ if hasattr(model, "C_") else model.C
    held_out = -(grid if name == "GridSearchCV" else model).best_score_
    new = log_loss(y_test, model.predict_proba(X_test))
    print(f"{name:24}{C:8g}{held_out:20.4f}{new:22.4f}{took:9.2f}")
print(f"\nscores differ by {difference.min():.0e} to {difference.max():.0e} of themselves")

# %%
# The scores: the mean with a band of one standard error, thin lines for the folds, a dot at the chosen C. Folds agree
# on the shape of the curve, hardly on its height: which C is best is known better than how good it is. The rule of one
# standard error takes the strongest penalty that is not noticeably worse, if there is one.
cautious = SoftmaxRegressionCV(Cs=Cs, cv=cv, one_standard_error=True).fit(X_train, y_train)
print(f"within one standard error of the best: C = {cautious.C_:g}")
display = CVDisplay.from_estimator(folds, name="five folds")
CVDisplay.from_estimator(rows, name="leave-one-out", ax=display.ax_)
display.ax_.set_ylim(-0.8, 0)
display.figure_.savefig("penalty_scores.png", dpi=120)
print("Pictures: penalty_scores.png")
plt.show()
