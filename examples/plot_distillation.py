"""
===================================================
Learn from a strong teacher: soft targets for a fit
===================================================

A strong model, the *teacher*, was fitted to many labelled rows. A small linear model, the *student*, shall do the same
work, but it has few labels and many rows without labels. The teacher can answer these rows. Its probabilities say more
than its answers: they say, for example, that a 3 looks a little like an 8. `SoftmaxRegression` takes such probabilities
as targets, in an array y of shape (n, K). This is called distillation.

A temperature t > 1 softens the targets: softmax(logits / t) makes small probabilities larger. The student then learns
logits that are too small by the factor t, and they must be multiplied by t at prediction. How much do soft targets
help, and which t is good?
"""

# %%
# Data: 1,797 digits of 8 x 8 pixels. The teacher gets 800 labelled digits. The student gets 500 other digits; 50 of
# them have labels. The rest is for the test. Because 497 test digits are few, all results are means over 6 random
# splits.
#
# The teacher is a softmax regression on 300 features of a Gaussian kernel. Any classifier with good probabilities would
# do. Its C is the one that cross-validation mostly chose. Each student chooses its C by cross-validation on its own
# targets.
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LinearRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skactivation import SoftmaxRegression, SoftmaxRegressionCV
from skactivation.activations import softmax

X, y = load_digits(return_X_y=True)
X = X / 16
TEMPERATURES = [1, 1.5, 2, 4, 8]
N_SPLITS = 6


def split(seed):
    """Rows of the teacher, of the student, those of the student that have labels, and test rows."""
    teacher, rest = train_test_split(np.arange(len(y)), train_size=800, stratify=y, random_state=seed)
    student, test = train_test_split(rest, train_size=500, stratify=y[rest], random_state=seed)
    few, _ = train_test_split(student, train_size=50, stratify=y[student], random_state=seed)
    return teacher, student, few, test


def fit_teacher(rows):
    kernel = Nystroem(gamma=0.1, n_components=300, random_state=0)
    return make_pipeline(kernel, SoftmaxRegression(C=1_000)).fit(X[rows], y[rows])


def fit_student(rows, targets):
    return SoftmaxRegressionCV(Cs=[1, 10, 100, 1_000]).fit(X[rows], targets)


# %%
# The targets of four digits at t = 1 and at t = 4. At t = 1 the teacher is nearly certain of most digits, so that its
# probabilities say little more than its answers. At t = 4 they also show which other digits are similar. The four
# digits were chosen by the teacher's certainty: the first is the least certain of all, the last is the median.
rows_teacher, rows_student, _, _ = split(0)
logits = fit_teacher(rows_teacher).decision_function(X[rows_student])
order = np.argsort(softmax(logits).max(axis=1))
for t in (1, 4):
    largest = softmax(logits, temperature=t).max(axis=1)
    print(f"largest probability of a digit at t = {t}: median {np.median(largest):.3f}")
shown = order[[0, 25, 75, 250]]
fig, axes = plt.subplots(3, 4, figsize=(11, 6.4), layout="constrained")
for column, row in enumerate(shown):
    axes[0, column].imshow(X[rows_student[row]].reshape(8, 8), cmap="gray_r")
    axes[0, column].set(title=f"true digit: {y[rows_student[row]]}", xticks=[], yticks=[])
    for ax, t, color in ((axes[1, column], 1, "#0072B2"), (axes[2, column], 4, "#D55E00")):
        ax.bar(np.arange(10), softmax(logits[row], temperature=t), color=color)
        ax.set(ylim=(0, 1.03), xticks=np.arange(10), title=f"targets at t = {t}")
        ax.label_outer()
    axes[2, column].set_xlabel("digit")
for ax in axes[1:, 0]:
    ax.set_ylabel("probability")
fig.suptitle("The teacher's probabilities as targets: at t = 4 more digits have a visible share")
fig.savefig("distillation_targets.png", dpi=120)

# %%
# The students. `softmax(..., temperature=1 / t)` multiplies the logits by t. Two more students are for comparison only,
# since their labels are not at hand: a student with the true labels of its 500 digits, and the same linear model fitted
# to the teacher's 800 labelled digits.
#
# How linear is the teacher? A linear student can only learn the linear part of the teacher's logits. We fit a linear
# regression to them and measure on test rows which share of the variance it explains.
results, linear = {}, []


def note(name, rows, probabilities):
    entry = (accuracy_score(y[rows], probabilities.argmax(axis=1)), log_loss(y[rows], probabilities))
    results.setdefault(name, []).append(entry)


for seed in range(N_SPLITS):
    rows_teacher, rows_student, few, test = split(seed)
    teacher = fit_teacher(rows_teacher)
    logits, logits_test = teacher.decision_function(X[rows_student]), teacher.decision_function(X[test])
    linear.append(LinearRegression().fit(X[rows_student], logits).score(X[test], logits_test))
    note("teacher", test, teacher.predict_proba(X[test]))
    note("few labels", test, fit_student(few, y[few]).predict_proba(X[test]))
    note("answers", test, fit_student(rows_student, teacher.predict(X[rows_student])).predict_proba(X[test]))
    note("true labels", test, fit_student(rows_student, y[rows_student]).predict_proba(X[test]))
    note("teacher's rows", test, fit_student(rows_teacher, y[rows_teacher]).predict_proba(X[test]))
    for t in TEMPERATURES:
        student = fit_student(rows_student, softmax(logits, temperature=t))
        note(("as fitted", t), test, student.predict_proba(X[test]))
        note(("times t", t), test, softmax(student.decision_function(X[test]), temperature=1 / t))
results = {name: np.array(entries) for name, entries in results.items()}
mean = {name: entries.mean(axis=0) for name, entries in results.items()}

print(f"\n{f'means over {N_SPLITS} splits':50}{'accuracy':>9}{'log loss':>10}{'without the factor t':>22}")
for name, text in (
    ("teacher", "teacher, 800 labels"),
    ("few labels", "student: 50 labels"),
    ("answers", "student: teacher's answers to 500 digits"),
):
    print(f"{text:50}{mean[name][0]:9.3f}{mean[name][1]:10.3f}")
for t in TEMPERATURES:
    text = f"student: teacher's probabilities, t = {t:g}"
    print(f"{text:50}{mean['times t', t][0]:9.3f}{mean['times t', t][1]:10.3f}{mean['as fitted', t][1]:22.3f}")
for name, text in (
    ("true labels", "for comparison: true labels of the 500 digits"),
    ("teacher's rows", "for comparison: the teacher's 800 labelled digits"),
):
    print(f"{text:50}{mean[name][0]:9.3f}{mean[name][1]:10.3f}")
print(f"\nshare of the teacher's logits that is linear in the pixels: {np.mean(linear):.2f}")


# %%
# Are the differences more than chance? All students of a split see the same digits, so that we compare split by split.
def compare(a, b, text):
    gain, fall = results[a][:, 0] - results[b][:, 0], results[b][:, 1] - results[a][:, 1]
    print(f"{text:46}{gain.mean():+9.3f}{np.sum(gain > 0):7} of {N_SPLITS}", end="")
    print(f"{-fall.mean():+11.3f}{np.sum(fall > 0):7} of {N_SPLITS}")


print(f"\n{'':46}{'accuracy':>9}{'better in':>12}{'log loss':>10}{'better in':>12}")
compare("answers", "few labels", "teacher's answers instead of 50 labels")
compare(("times t", 1), "answers", "probabilities, t = 1, instead of answers")
compare(("times t", 2), ("times t", 1), "t = 2 instead of t = 1")
compare(("times t", 8), ("times t", 2), "t = 8 instead of t = 2")
compare(("times t", 2), "teacher's rows", "t = 2 instead of the teacher's labelled rows")

# %%
# What the tables say:
#
# - The teacher helps much. Its answers to 500 digits are worth far more than 50 true labels.
# - Its probabilities are better targets than its answers, and better than the true labels of the same digits. Labels
#   don't say how doubtful a digit is.
# - The temperature matters less. Here t = 2 is a little better than t = 1, but not in every split, and t = 8 is worse.
#   The softer the targets, the more a student must imitate the logits of all ten digits, also of those that are out of
#   the question. A linear model can't imitate all of them.
# - The factor t must not be forgotten. Without it the answers are the same, but the probabilities are much too flat.
# - Distillation has limits. The same linear model, fitted to the teacher's labelled digits, has about the same accuracy
#   and a log loss that is a little higher. Thus most of the gain comes from the labels that the teacher has seen. If
#   you have these labels, you hardly need a teacher. The student stays behind the teacher, because it is linear.
print("\nIn short: what the student learns from, accuracy and log loss")
for name, text in (
    ("few labels", "50 labels"),
    ("answers", "500 answers of the teacher"),
    (("times t", 2), "500 rows of probabilities, t = 2"),
    (("as fitted", 2), "the same without the factor t"),
):
    print(f"{text:36}{mean[name][0]:6.3f}{mean[name][1]:7.3f}")

# %%
# Accuracy and log loss against t. The factor t changes no answer, and so there is one curve of the accuracy.
fig, axes = plt.subplots(1, 2, figsize=(12, 5.2), layout="constrained")
lines = (
    ("few labels", "student: 50 labels", "0.5", ":"),
    ("answers", "student: teacher's answers", "#E69F00", "-."),
    ("teacher", "teacher", "black", "-"),
)
for measure, ax in enumerate(axes):
    for name, label, color, style in lines:
        ax.axhline(mean[name][measure], color=color, linestyle=style, label=label)
    values = [mean["times t", t][measure] for t in TEMPERATURES]
    ax.plot(TEMPERATURES, values, "o-", color="#0072B2", label="student: teacher's probabilities, with the factor t")
    ax.set(xscale="log", xlabel="temperature t of the targets")
    ax.minorticks_off()
    ax.set_xticks(TEMPERATURES, [f"{t:g}" for t in TEMPERATURES])
values = [mean["as fitted", t][1] for t in TEMPERATURES]
axes[1].plot(
    TEMPERATURES, values, "s--", color="#D55E00", label="student: teacher's probabilities, without the factor t"
)
axes[0].set(ylabel="accuracy on test digits", title="Accuracy (higher is better)")
axes[1].set(yscale="log", ylabel="log loss on test digits", title="Log loss (lower is better)")
axes[1].minorticks_off()
axes[1].set_yticks([0.05, 0.1, 0.2, 0.5, 1], ["0.05", "0.1", "0.2", "0.5", "1"])
handles, labels = axes[1].get_legend_handles_labels()
order = [3, 4, 1, 0, 2]
fig.legend([handles[i] for i in order], [labels[i] for i in order], loc="outside lower center", ncols=3, frameon=False)
fig.savefig("distillation_temperature.png", dpi=120)
print("Pictures: distillation_targets.png, distillation_temperature.png")
plt.show()
