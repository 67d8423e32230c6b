"""Time to the optimum: SigmoidMultiLabel beside scikit-learn's ways to fit a LogisticRegression for each label.

    python benchmarks/multilabel.py [--quick] [--only "2,000 x 40, L=5"] [--rounds 3] [--limit 30]

SigmoidMultiLabel runs with its default settings. OneVsRestClassifier and MultiOutputClassifier wrap LogisticRegression
with each of its solvers of the same objective. Each solver gets the largest tol with which every label comes within a
relative gap of 1e-6 of its optimum. The wrappers use two processes (n_jobs=2); OneVsRestClassifier also runs with one,
which is faster on small data. The benchmark checks the gap of each label afterwards: it evaluates one float64
objective, written out below, and compares with the lowest value that any solver found. Everything else follows
benchmarks/softmax.py. The whole benchmark takes up to half an hour, `--quick` less than three minutes.
"""

import numpy as np
from comparison import OURS, Comparison, Solver, parser
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier

from skactivation import SigmoidMultiLabel
from workloads import MULTILABEL_WORKLOADS

QUICK = ["2,000 x 40, L=5", "2,400 x 100, L=20"]
TOLERANCES = [10.0**-k for k in range(3, 11)]


def ours(X, Y, tol):
    """SigmoidMultiLabel; the setting is tol."""
    model = SigmoidMultiLabel(tol=tol).fit(X, Y)
    return model.coef_, model.intercept_, {"evaluations": model.n_evaluations_, "passes": model.n_passes_}


def scikit_learn(wrapper, solver, n_jobs):
    """LogisticRegression with a solver, inside a wrapper for several labels."""

    def fit(X, Y, tol):
        base = LogisticRegression(solver=solver, tol=tol, max_iter=100_000)
        models = wrapper(base, n_jobs=n_jobs).fit(X, Y).estimators_
        coef = np.vstack([model.coef_ for model in models])
        intercepts = np.concatenate([model.intercept_ for model in models])
        return coef, intercepts, {"evaluations": sum(int(model.n_iter_[0]) for model in models)}

    return fit


def objective(X, Y, coef, intercept):
    """Sum of cross-entropies plus half the squared coefficients of each label, in float64."""
    coef, intercept = np.asarray(coef, dtype=np.float64), np.asarray(intercept, dtype=np.float64).ravel()
    total = 0.5 * np.sum(np.square(coef), axis=1)
    for start in range(0, X.shape[0], 5_000):
        rows = slice(start, start + 5_000)
        z = np.asarray(X[rows].astype(np.float64) @ coef.T) + intercept
        labels = Y[rows].toarray() if sparse.issparse(Y) else Y[rows]
        total += np.sum(np.logaddexp(0, np.where(labels == 1, -z, z)), axis=0)
    return total


SOLVERS = {OURS: Solver(ours, [1e-6])}
for name in ("newton-cholesky", "newton-cg", "lbfgs"):
    first = f"OvR {name}"
    SOLVERS[first] = Solver(scikit_learn(OneVsRestClassifier, name, 2), TOLERANCES)
    SOLVERS[f"MultiOutput {name}"] = Solver(scikit_learn(MultiOutputClassifier, name, 2), TOLERANCES, like=first)
    SOLVERS[f"OvR {name}, n_jobs=1"] = Solver(scikit_learn(OneVsRestClassifier, name, None), TOLERANCES, like=first)


def main():
    """Run the benchmark with the options of the command line."""
    arguments = parser(__doc__.splitlines()[0], MULTILABEL_WORKLOADS, "multilabel", rounds=3).parse_args()
    Comparison(__file__, MULTILABEL_WORKLOADS, QUICK, SOLVERS, objective).run(arguments)


if __name__ == "__main__":
    main()
