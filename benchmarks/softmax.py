"""Time to the optimum: SoftmaxRegression beside every solver of the same objective that is installed.

    python benchmarks/softmax.py [--only digits iris] [--rounds 7] [--limit 120] [--picture softmax.png]

For each workload, SoftmaxRegression runs with its default settings. Each peer runs with the fastest of its settings
that comes within a relative gap of 1e-6 of the optimum. The benchmark checks the gap afterwards: it evaluates one
float64 objective, written out below, for all solvers and compares with the lowest value that any solver found. Child
processes try the settings and measure peak memory. Then all solvers run in turns in this process, and the table shows
medians. Solvers that take longer than the limit are left out.

The whole benchmark takes more than half an hour, `--only iris` takes a minute. Without `--only`, three more tables
follow: how seconds grow with rows, features and classes; the time of an evaluation beside the machine's limit; the
times of activations and losses beside those of scipy.special and PyTorch.
"""

import importlib.util
from statistics import median

import numpy as np
from comparison import OURS, Comparison, Solver, geometric_mean, parser, time
from scipy import sparse, special
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info

from skactivation import SoftmaxRegression
from skactivation._data.rows import rows_of
from skactivation._data.targets import ClassTargets
from skactivation._threads import single_threaded_blas
from skactivation.activations import log_sigmoid, log_softmax, sigmoid, softmax
from skactivation.linear_model._objective import LinearObjective
from skactivation.losses import softmax_cross_entropy
from workloads import WORKLOADS, classification

TOLERANCES = [10.0**-k for k in range(3, 11)]
STEPS = [25 * 2**k for k in range(10)]


# The fits: each takes X, y and a setting, and returns coefficients, intercepts and remarks.


def ours(X, y, tol):
    """SoftmaxRegression; the setting is tol."""
    model = SoftmaxRegression(tol=tol).fit(X, y)
    return (
        model.coef_,
        model.intercept_,
        {"evaluations": model.n_evaluations_, "passes": model.n_passes_},
    )


def scikit_learn(solver):
    """LogisticRegression with a solver."""

    def fit(X, y, tol):
        model = LogisticRegression(solver=solver, tol=tol, max_iter=100_000).fit(X, y)
        return model.coef_, model.intercept_, {"evaluations": int(model.n_iter_[0])}

    return fit


def onedal(X, y, tol):
    """oneDAL's L-BFGS through scikit-learn-intelex."""
    from sklearnex.linear_model import LogisticRegression as Accelerated

    if sparse.issparse(X):
        raise ValueError("sparse X falls back to scikit-learn: no oneDAL to time")
    model = Accelerated(solver="lbfgs", tol=tol, max_iter=100_000).fit(X, y)
    return model.coef_, model.intercept_, {"evaluations": int(np.ravel(model.n_iter_)[0])}


def pytorch(X, y, n_steps):
    """PyTorch's L-BFGS with a strong Wolfe line search; each step uses all rows."""
    import torch

    if sparse.issparse(X):
        raise ValueError("torch.nn.Linear takes no sparse X")
    data, n_classes = torch.from_numpy(X), int(y.max()) + 1
    binary = n_classes == 2
    target = torch.from_numpy(y.astype(X.dtype if binary else np.int64))
    model = torch.nn.Linear(X.shape[1], 1 if binary else n_classes, dtype=data.dtype)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    optimizer = torch.optim.LBFGS(
        model.parameters(),
        max_iter=n_steps,
        max_eval=10 * n_steps,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    n_evaluations = 0

    def closure():
        nonlocal n_evaluations
        n_evaluations += 1
        optimizer.zero_grad()
        z = model(data)
        loss = (
            torch.nn.functional.binary_cross_entropy_with_logits(z[:, 0], target, reduction="sum")
            if binary
            else torch.nn.functional.cross_entropy(z, target, reduction="sum")
        )
        loss = loss + 0.5 * model.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    weight, bias = model.weight.detach().numpy(), model.bias.detach().numpy()
    return weight, bias, {"evaluations": n_evaluations}


SOLVERS = {
    OURS: Solver(ours, [1e-6]),
    "lbfgs": Solver(scikit_learn("lbfgs"), TOLERANCES),
    "newton-cg": Solver(scikit_learn("newton-cg"), TOLERANCES),
    "newton-cholesky": Solver(scikit_learn("newton-cholesky"), TOLERANCES),
}
OPTIONAL = {
    "oneDAL lbfgs": ("sklearnex", Solver(onedal, TOLERANCES)),
    "PyTorch LBFGS": ("torch", Solver(pytorch, STEPS)),
}


# The objective that judges all solvers


def objective(X, y, coef, intercept):
    """Sum of cross-entropies plus half the squared coefficients, in float64."""
    coef, intercept = np.asarray(coef, dtype=np.float64), np.asarray(intercept, dtype=np.float64).ravel()
    total = 0.5 * np.sum(np.square(coef))
    for start in range(0, X.shape[0], 10_000):
        rows = slice(start, start + 10_000)
        z = np.asarray(X[rows].astype(np.float64) @ coef.T) + intercept
        if z.shape[1] == 1:
            z = np.hstack([np.zeros_like(z), z])
        total += np.sum(special.logsumexp(z, axis=1) - z[np.arange(len(z)), y[rows]])
    return float(total)


def growth_table(n_rounds):
    """Print how seconds grow with rows, features and classes."""
    print(f"\n{'rows':>10s} {'features':>9s} {'classes':>8s} {'ms':>9s} {'evals':>6s}")
    sizes = [(n, 50, 5) for n in (1_000, 10_000, 100_000, 1_000_000)]
    sizes += [(10_000, d, 5) for d in (10, 100, 1_000)]
    sizes += [(20_000, 50, n_classes) for n_classes in (2, 10, 50)]
    for n, d, n_classes in sizes:
        X, y = classification(n, d, n_classes)
        model = SoftmaxRegression()
        seconds = median(time(lambda: model.fit(X, y)) for _ in range(min(n_rounds, 3)))
        print(f"{n:10,d} {d:9,d} {n_classes:8d} {1e3 * seconds:9.1f} {model.n_evaluations_:6d}", flush=True)


def limit_table(n_rounds):
    """Print times of an evaluation and of predict_proba beside a limit: products, exponentials and one read of X."""
    print(f"\n{'100,000 x 100, K=10':26s} {'limit ms':>9s} {'an evaluation':>14s} {'predict_proba':>14s}")
    for dtype in (np.float64, np.float32):
        X, y = classification(100_000, 100, 10, dtype)
        W, z, square = np.ones((100, 10), dtype), np.ones(500_000, dtype), np.ones((2_000, 2_000), dtype)
        n_threads = max(library["num_threads"] for library in threadpool_info())
        per_flop = median(time(lambda: square @ square) for _ in range(n_rounds)) / (2 * 2_000**3)
        exponentials = median(time(lambda: np.exp(z)) for _ in range(n_rounds)) * 2 / n_threads
        read = median(time(lambda: X.max()) for _ in range(n_rounds)) / n_threads
        product = 2 * X.size * W.shape[1] * per_flop
        with single_threaded_blas, np.errstate(all="ignore"):
            rows = rows_of(X, ClassTargets(y, 10), None, fit_intercept=True)
            function = LinearObjective(rows, 1.0).in_single_precision()
            theta = np.zeros(function.shape)
            evaluation = median(time(lambda: function.value_and_gradient(theta)) for _ in range(n_rounds))
        model = SoftmaxRegression().fit(X[:1000], y[:1000])
        predict = median(time(lambda: model.predict_proba(X)) for _ in range(n_rounds))
        print(
            f"{np.dtype(dtype).name:26s} {1e3 * (2 * product + exponentials + read):9.1f} {1e3 * evaluation:14.1f} "
            f"{1e3 * predict:7.1f} ({1e3 * (product + exponentials + read):.1f})",
            flush=True,
        )


def functions_table(n_rounds):
    """Print times of activations and the cross-entropy: scipy.special's and PyTorch's, divided by ours."""
    rng = np.random.default_rng(0)
    torch = __import__("torch") if importlib.util.find_spec("torch") else None
    print(
        f"\n{'function':22s} {'shape':>14s} {'dtype':>8s} {'ours, ms':>9s} {'scipy / ours':>13s} {'torch / ours':>13s}"
    )
    for n_classes in (10, 100):
        for dtype in (np.float64, np.float32):
            z = rng.normal(size=(100_000, n_classes)).astype(dtype) * 5
            y = rng.integers(n_classes, size=100_000)

            def scipy_loss(z, y=y):
                return np.mean(special.logsumexp(z, axis=1) - z[np.arange(len(z)), y])

            cases = {
                "softmax": (softmax, lambda z: special.softmax(z, axis=1), lambda t: t.softmax(1)),
                "log_softmax": (log_softmax, lambda z: special.log_softmax(z, axis=1), lambda t: t.log_softmax(1)),
                "sigmoid": (sigmoid, special.expit, lambda t: t.sigmoid()),
                "log_sigmoid": (
                    log_sigmoid,
                    special.log_expit,
                    lambda t: torch.nn.functional.logsigmoid(t),
                ),
                "softmax_cross_entropy": (
                    lambda z, y=y: softmax_cross_entropy(z, y),
                    scipy_loss,
                    lambda t, y=y: torch.nn.functional.cross_entropy(t, torch.from_numpy(y)),
                ),
            }
            for name, (own, of_scipy, of_torch) in cases.items():
                functions = [lambda f=own: f(z), lambda f=of_scipy: f(z)]
                if torch is not None:
                    tensor = torch.from_numpy(z)
                    functions.append(lambda f=of_torch: f(tensor))
                times = np.median([[time(function) for function in functions] for _ in range(n_rounds)], axis=0)
                others = " ".join(f"{other / times[0]:13.2f}" for other in times[1:])
                shape = f"100,000 x {n_classes}"
                print(f"{name:22s} {shape:>14s} {np.dtype(dtype).name:>8s} {1e3 * times[0]:9.1f} {others}", flush=True)


def main():
    """Run the benchmark with the options of the command line."""
    arguments = parser(__doc__.splitlines()[0], WORKLOADS, "softmax.png").parse_args()
    installed = {name: solver for name, (module, solver) in OPTIONAL.items() if importlib.util.find_spec(module)}
    results = Comparison(__file__, WORKLOADS, SOLVERS | installed, objective).run(arguments)
    if results is None:
        return
    defaults = [row["lbfgs"] / row[OURS] for row in results.values() if "lbfgs" in row]
    if defaults:
        print(f"lbfgs / ours, where lbfgs reaches the gap: geometric mean {geometric_mean(defaults):.2f}")
    if not arguments.only:
        growth_table(arguments.rounds)
        limit_table(arguments.rounds)
        functions_table(arguments.rounds)


if __name__ == "__main__":
    main()
