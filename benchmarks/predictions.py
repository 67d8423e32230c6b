"""Time of predictions: SoftmaxRegression beside LogisticRegression, and the logits' own product.

    python benchmarks/predictions.py [--quick] [--rounds 7]

Both models are fitted on a few rows. Their predictions, of 1, 100 and 100,000 rows, dense and sparse, run in turns,
each after a short rest: the threads that BLAS has used for one model spin for a tenth of a second, in the way of the
threads of the other. With `--without-rest` they run call by call. The models' probabilities differ by what the fit of
LogisticRegression leaves; that both predict from the same coefficients is checked instead.
"""

import argparse
import warnings
from statistics import median

import numpy as np
from comparison import geometric_mean, machine, rested_time, save, time
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skactivation import SoftmaxRegression
from workloads import classification

METHODS = ("predict", "predict_proba", "decision_function")


def workloads(quick):
    """Names, and the X, y to predict from."""
    digits, y = load_digits(return_X_y=True)
    yield "1 x 64, K=10", digits[:1], digits, y
    yield "100 x 64, K=10", digits[:100], digits, y
    yield "1 x 64, K=2", digits[:1], digits, y > 4
    yield "100 x 64, K=10, sparse", sparse.csr_array(digits[:100]), digits, y
    if quick:
        return
    for dtype in (np.float64, np.float32):
        name = np.dtype(dtype).name
        for d, n_classes in ((100, 10), (64, 2)):
            X, classes = classification(100_000, d, n_classes, dtype)
            yield f"100,000 x {d}, K={n_classes}, {name}", X, X[:2_000], classes[:2_000]
        X, classes = classification(100_000, 200, 10, dtype)
        X = sparse.csr_array(np.where(np.random.default_rng(0).random(X.shape) < 0.05, X, 0))
        yield f"100,000 x 200, K=10, {name}, sparse", X, X[:2_000], classes[:2_000]


def main():
    """Run the benchmark with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rows only")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of which the median counts")
    parser.add_argument("--without-rest", action="store_true", help="call by call")
    parser.add_argument("--json", default="predictions.json", metavar="FILE", help="where all figures go")
    arguments = parser.parse_args()
    print(machine())
    print(f"{'rows':36s} {'method':18s} {'ours, ms':>9s} {'theirs':>9s} {'ratio':>6s} {'product':>8s}")
    rows, ratios = [], []
    for name, X, X_fit, y_fit in workloads(arguments.quick):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours, theirs = SoftmaxRegression().fit(X_fit, y_fit), LogisticRegression().fit(X_fit, y_fit)
        theirs.coef_, theirs.intercept_ = np.ascontiguousarray(ours.coef_), ours.intercept_
        for method in METHODS:
            expected = getattr(theirs, method)(X)
            assert np.allclose(getattr(ours, method)(X), expected, rtol=1e-4, atol=1e-5), (name, method)
            functions = {
                "ours": lambda: getattr(ours, method)(X),
                "LogisticRegression": lambda: getattr(theirs, method)(X),
                "product": lambda: X @ theirs.coef_.T + theirs.intercept_,
            }
            seconds = {who: [] for who in functions}
            for _ in range(arguments.rounds * (5 if arguments.without_rest else 1)):
                for who, function in functions.items():
                    seconds[who].append((time if arguments.without_rest else rested_time)(function))
            medians = {who: 1e3 * median(times) for who, times in seconds.items()}
            ratios.append(medians["LogisticRegression"] / medians["ours"])
            figures = f"{medians['ours']:9.3f} {medians['LogisticRegression']:9.3f} {ratios[-1]:6.2f}"
            print(f"{name:36s} {method:18s} {figures} {medians['product']:8.3f}", flush=True)
            rows += [{"rows": name, "method": method, "who": who, "milliseconds": ms} for who, ms in medians.items()]
    print(f"LogisticRegression / ours: geometric mean {geometric_mean(ratios):.2f}, smallest {min(ratios):.2f}")
    save(arguments.json, rows)


if __name__ == "__main__":
    main()
