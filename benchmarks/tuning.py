"""Time of choosing C: SoftmaxRegressionCV and SigmoidMultiLabelCV beside scikit-learn's searches.

    python benchmarks/tuning.py [--quick] [--only iris] [--rounds 3] [--limit 30]

All choose among ten values of C, from 1e-4 to 1e4, by the log loss in the same five folds; ours with their default
settings. Peers are LogisticRegressionCV, and GridSearchCV over LogisticRegression, with each solver of the same
objective; for several labels GridSearchCV over MultiOutputClassifier. Each solver gets the largest tol with which all
mean scores, computed from logits, are right to 1e-3, as ours are. Peers are timed with the scorer "neg_log_loss", with
one process and with two. Searches run in turn, each after a short rest, and medians count; slow ones run once. A search
that takes five times as long as another peer is left out, and so is a solver that finds no such tol within the limit,
or of which a single fit takes a twentieth of it.
"""

import argparse
import warnings
from statistics import median
from time import perf_counter, sleep

import numpy as np
from comparison import geometric_mean, machine, save, time
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GridSearchCV, KFold, StratifiedKFold
from sklearn.multioutput import MultiOutputClassifier

from skactivation import SigmoidMultiLabel, SigmoidMultiLabelCV, SoftmaxRegression, SoftmaxRegressionCV
from skactivation.losses import sigmoid_cross_entropy, softmax_cross_entropy
from workloads import MULTILABEL_WORKLOADS, WORKLOADS, classification, digits_scaled, labelled

C_VALUES = np.logspace(-4, 4, 10)
SOLVERS = ("newton-cholesky", "newton-cg", "lbfgs")
QUICK = ["iris", "wine", "breast_cancer"]
CLASSES = {
    "iris": lambda: load_iris(return_X_y=True),
    "wine": lambda: load_wine(return_X_y=True),
    "breast_cancer": lambda: load_breast_cancer(return_X_y=True),
    "846 x 18, K=4, raw, collinear": WORKLOADS["846 x 18, K=4, raw, collinear"],
    "digits": lambda: load_digits(return_X_y=True),
    "digits, scaled": digits_scaled,
    "20,000 x 100, K=10": lambda: classification(20_000, 100, 10),
    "100,000 x 50, K=2": lambda: classification(100_000, 50, 2),
    "20,000 x 50,000, K=20, sparse": WORKLOADS["20,000 x 50,000, K=20, sparse"],
}
LABELS = {
    "2,000 x 40, L=5": lambda: labelled(2_000, 40, 5),
    "10,000 x 50, L=100": MULTILABEL_WORKLOADS["10,000 x 50, L=100"],
}


TOLERANCES = [10.0**-k for k in range(3, 11)]
ACCURACY = 1e-3
# tol of the search that gives the right scores.
REFERENCE = 1e-9
# A peer is left out where it takes so many times as long as another one, and more than so many seconds.
SLOW, LONG = 5, 2.0
# Where our own search takes more seconds than this, each search runs once.
ONCE = 10.0


def class_scores(model, X, y):
    """Minus the log loss, from logits: scikit-learn's scorer clips probabilities."""
    logits, codes = model.decision_function(X), np.searchsorted(model.classes_, y)
    return -(sigmoid_cross_entropy if logits.ndim == 1 else softmax_cross_entropy)(logits, codes)


def label_scores(model, X, Y):
    """The same for a MultiOutputClassifier."""
    logits = np.column_stack([of_label.decision_function(X) for of_label in model.estimators_])
    return -float(np.mean(sigmoid_cross_entropy(logits, Y, reduction="none")))


def regression_cv(solver, tol, n_jobs, scoring="neg_log_loss"):
    """Mean scores by LogisticRegressionCV, as a function of X and y."""

    def search(X, y):
        model = LogisticRegressionCV(
            Cs=C_VALUES,
            cv=StratifiedKFold(5),
            scoring=scoring,
            solver=solver,
            tol=tol,
            max_iter=10_000,
            n_jobs=n_jobs,
            l1_ratios=(0,),
            use_legacy_attributes=False,
        )
        return model.fit(X, y).scores_.reshape(5, 10).mean(axis=0)

    return search


def grid_search(solver, tol, n_jobs, scoring="neg_log_loss"):
    """Mean scores by GridSearchCV, as a function of X and y."""
    base = LogisticRegression(solver=solver, tol=tol, max_iter=10_000)

    def search(X, y):
        several = y.ndim == 2
        model = GridSearchCV(
            MultiOutputClassifier(base) if several else base,
            {"estimator__C" if several else "C": C_VALUES},
            cv=KFold(5) if several else StratifiedKFold(5),
            scoring=scoring,
            n_jobs=n_jobs,
        )
        return model.fit(X, y).cv_results_["mean_test_score"]

    return search


def ours(tol):
    """Mean scores by our searches, as a function of X and y."""

    def search(X, y):
        if y.ndim == 2:
            return SigmoidMultiLabelCV(Cs=C_VALUES, cv=KFold(5), tol=tol).fit(X, y).mean_scores_
        return SoftmaxRegressionCV(Cs=C_VALUES, cv=StratifiedKFold(5), tol=tol).fit(X, y).mean_scores_

    return search


def one_fit(X, y):
    """A fit with one C."""
    (SigmoidMultiLabel() if y.ndim == 2 else SoftmaxRegression()).fit(X, y)


def compare(X, y, n_rounds, limit):
    """Seconds by search, of those that are accurate, and what is known of the others."""
    reference = ours(REFERENCE)(X, y)
    searches, seconds = {"ours": ours(1e-6), "one fit": one_fit}, {}
    started = perf_counter()
    remarks = {"ours": f"scores within {np.max(np.abs(ours(1e-6)(X, y) / reference - 1)):.0e}"}
    n_rounds = n_rounds if perf_counter() - started < ONCE else 1
    quickest, scorer = np.inf, label_scores if y.ndim == 2 else class_scores
    kinds = {"GridSearchCV": grid_search} if y.ndim == 2 else {"LRCV": regression_cv, "GridSearchCV": grid_search}
    for solver in SOLVERS:
        sufficient = None
        base = LogisticRegression(solver=solver, tol=TOLERANCES[0], max_iter=10_000)
        try:
            one = time(lambda: (MultiOutputClassifier(base) if y.ndim == 2 else base).fit(X, y))
        except MemoryError as error:
            remarks[solver] = f"fails: {str(error)[:60]}"
            continue
        if one > limit / 20:
            remarks[solver] = f"a single fit takes {one:.1f} s"
            continue
        for kind, make in kinds.items():
            name, begun = f"{kind} {solver}", perf_counter()
            for tol in TOLERANCES if sufficient is None else [sufficient]:
                started = perf_counter()
                try:
                    scores = make(solver, tol, 1, scorer)(X, y)
                except (TypeError, ValueError, MemoryError) as error:
                    remarks[name] = f"fails: {str(error)[:60]}"
                    break
                took = perf_counter() - started
                error = np.max(np.abs(scores / reference - 1))
                remarks[name] = f"tol {tol:.0e}: scores within {error:.0e}, {took:.1f} s"
                if perf_counter() - begun > limit or took > max(SLOW * quickest, LONG):
                    break
                if error <= ACCURACY:
                    sufficient, quickest = tol, min(quickest, took)
                    own = {"scoring": scorer} if y.ndim == 2 else {}
                    searches |= {f"{name}, n_jobs={jobs}": make(solver, tol, jobs, **own) for jobs in (1, 2)}
                    break
            if sufficient is None:
                break
    for _ in range(n_rounds):
        for name, search in searches.items():
            sleep(0.15)
            seconds.setdefault(name, []).append(time(lambda: search(X, y)))
    return {name: median(times) for name, times in seconds.items()}, remarks


def main():
    """Run the benchmark with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small data only")
    parser.add_argument("--only", nargs="*", choices=[*CLASSES, *LABELS], metavar="WORKLOAD")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the median counts")
    parser.add_argument("--limit", type=float, default=30.0, help="longest time of a search in seconds")
    parser.add_argument("--json", default="tuning.json", metavar="FILE", help="where all figures go")
    arguments = parser.parse_args()
    print(machine())
    rows, ratios, fits = [], [], []
    for workload in arguments.only or (QUICK if arguments.quick else [*CLASSES, *LABELS]):
        X, y = {**CLASSES, **LABELS}[workload]()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds, remarks = compare(X, y, arguments.rounds, arguments.limit)
        for name, took in seconds.items():
            print(f"{workload:32s} {name:36s} {took:9.3f} s {took / seconds['ours']:8.2f}")
            rows.append({"workload": workload, "search": name, "seconds": took})
        for name, remark in remarks.items():
            print(f"{workload:32s} {name:36s} {remark}")
        fits.append(seconds["ours"] / seconds.pop("one fit"))
        peers = {name: took for name, took in seconds.items() if name != "ours"}
        if peers:
            ratios.append(min(peers.values()) / seconds["ours"])
            print(f"{workload:32s} {min(peers, key=peers.get)} / ours: {ratios[-1]:.2f}", end="; ")
        print(f"ours / one fit: {fits[-1]:.1f}", flush=True)
    print(f"\nbest peer / ours: geometric mean {geometric_mean(ratios):.2f}, smallest {min(ratios):.2f}")
    save(arguments.json, rows)


if __name__ == "__main__":
    main()
