"""Time to the optimum: SoftmaxRegression beside every solver of the same objective that is installed.

    python benchmarks/softmax.py [--only digits iris] [--rounds 7] [--limit 120] [--picture softmax.png]

For each workload, SoftmaxRegression runs with its default settings and each peer with the fastest of its settings that
comes within a relative gap of 1e-6 of the optimum. The gap is checked afterwards with one float64 objective, written
out below, against the lowest value that anyone found. Settings are tried, and peak memory is measured, in processes of
their own; then all run in turns in this process, and medians count. What takes longer than the limit is left out.

All of it takes half an hour and more, `--only iris` a minute. Then come a table of how seconds grow with rows, features
and classes, an evaluation beside the machine's own limit, and activations and losses beside scipy.special's and
PyTorch's.
"""

import argparse
import importlib.util
import pickle
import platform
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import scipy
import sklearn
from scipy import sparse, special
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info

from skactivation import SoftmaxRegression, __version__
from skactivation._blocks import rows_of
from skactivation._objective import Objective
from skactivation._threads import single_threaded_blas
from skactivation.activations import log_sigmoid, log_softmax, sigmoid, softmax
from skactivation.losses import SoftmaxLoss, softmax_cross_entropy
from workloads import WORKLOADS, classification

GAP = 1e-6
TOLERANCES = [10.0**-k for k in range(3, 11)]
STEPS = [25 * 2**k for k in range(10)]


# The fits: each takes X, y and a setting, and returns coefficients, intercepts and remarks.


def ours(X, y, tol):
    """SoftmaxRegression; its default tol is the setting."""
    model = SoftmaxRegression(tol=tol).fit(X, y)
    return (
        model.coef_,
        model.intercept_,
        {"evaluations": model.n_evaluations_, "passes": getattr(model, "n_passes_", np.nan)},
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
        raise NotImplementedError("sparse X falls back to scikit-learn")
    model = Accelerated(solver="lbfgs", tol=tol, max_iter=100_000).fit(X, y)
    return model.coef_, model.intercept_, {"evaluations": int(np.ravel(model.n_iter_)[0])}


def pytorch(X, y, n_steps):
    """PyTorch's L-BFGS with its strong Wolfe line search, a full batch a step."""
    import torch

    if sparse.issparse(X):
        raise NotImplementedError("sparse X")
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


OURS = "skactivation"
SOLVERS = {
    OURS: (ours, [1e-6]),
    "lbfgs": (scikit_learn("lbfgs"), TOLERANCES),
    "newton-cg": (scikit_learn("newton-cg"), TOLERANCES),
    "newton-cholesky": (scikit_learn("newton-cholesky"), TOLERANCES),
}
OPTIONAL = {"oneDAL lbfgs": ("sklearnex", onedal, TOLERANCES), "PyTorch LBFGS": ("torch", pytorch, STEPS)}


# The judge


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


# One fit in a process of its own


def probe(data, solver, setting):
    """Fit once in a child process; print what came out and how far the peak of memory rose."""
    if hasattr(resource, "RLIMIT_AS"):
        resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))
    with open(data, "rb") as file:
        X, y = pickle.load(file)
    fit = SOLVERS[solver][0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # Libraries load, and threads start, before the peak is taken.
        few = X[:200]
        fit(few, np.arange(few.shape[0]) % 2, SOLVERS[solver][1][0])
        caught.clear()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = perf_counter()
        coef, intercept, remarks = fit(X, y, setting)
        seconds = perf_counter() - start
    risen = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    remarks |= {
        "seconds": seconds,
        "megabytes": risen / (2**20 if sys.platform == "darwin" else 2**10),
        "warnings": sorted({warning.category.__name__ for warning in caught}),
    }
    with open(data + ".result", "wb") as file:
        pickle.dump((coef, intercept, remarks), file)


def run_probe(data, solver, setting, limit):
    """Result of `probe`, or None if it fails or takes too long."""
    command = [sys.executable, __file__, "--probe", data, solver, repr(setting)]
    try:
        subprocess.run(command, check=True, timeout=limit, capture_output=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return None
    with open(data + ".result", "rb") as file:
        return pickle.load(file)


# The comparison


def compare(X, y, n_rounds, limit):
    """What each solver reached: dictionaries of (seconds, setting, gap, remarks), and of gaps that were too large."""
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "data")
        with open(data, "wb") as file:
            pickle.dump((X, y), file)
        found, lowest = {}, objective(X, y, *run_probe(data, OURS, 1e-10, 10 * limit)[:2])
        for solver, (_, settings) in SOLVERS.items():
            for setting in settings:
                result = run_probe(data, solver, setting, limit)
                if result is None:
                    break
                value = objective(X, y, *result[:2])
                lowest = min(lowest, value)
                found[solver] = (setting, value, result[2])
                if value - lowest <= GAP * lowest:
                    break
    gaps = {solver: (value - lowest) / lowest for solver, (_, value, _) in found.items()}
    times = {solver: [] for solver, gap in gaps.items() if gap <= GAP}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(n_rounds):
            for solver, seconds in times.items():
                if sum(seconds) < limit / 4:
                    seconds.append(time(lambda: SOLVERS[solver][0](X, y, found[solver][0])))
    reached = {
        solver: (median(seconds), found[solver][0], gaps[solver], found[solver][2]) for solver, seconds in times.items()
    }
    return reached, {solver: gap for solver, gap in gaps.items() if gap > GAP}


def time(function):
    """Seconds of one call."""
    start = perf_counter()
    function()
    return perf_counter() - start


def fits_table(names, n_rounds, limit):
    """Print a line for each workload and solver; return seconds by workload and solver."""
    heading = f"{'workload':38s} {'solver':16s} {'setting':>8s} {'ms':>9s}"
    print(f"{heading} {'gap':>8s} {'evals':>6s} {'passes':>7s} {'MB':>6s} warnings")
    results, ratios, default_ratios = {}, [], []
    for name in names:
        X, y = WORKLOADS[name]()
        reached, missed = compare(X, y, n_rounds, limit)
        for solver, (seconds, setting, gap, remarks) in reached.items():
            print(
                f"{name:38s} {solver:16s} {setting:8.0e} {1e3 * seconds:9.1f} {gap:8.1e} {remarks['evaluations']:6d} "
                f"{remarks.get('passes', '-'):>7} {remarks['megabytes']:6.0f} {' '.join(remarks['warnings'])}"
            )
        for solver in SOLVERS:
            if solver not in reached:
                reason = f"reaches a gap of {missed[solver]:.0e}" if solver in missed else "fails or takes too long"
                print(f"{name:38s} {solver:16s} {reason}")
        results[name] = {solver: row[0] for solver, row in reached.items()}
        peers = {solver: seconds for solver, seconds in results[name].items() if solver != OURS}
        if peers and OURS in results[name]:
            ratios.append(min(peers.values()) / results[name][OURS])
            print(f"{name:38s} {min(peers, key=peers.get)} / ours: {ratios[-1]:.2f}", flush=True)
        if "lbfgs" in peers:
            default_ratios.append(peers["lbfgs"] / results[name][OURS])
    if not ratios:
        return results
    print(f"\nbest peer / ours: geometric mean {geometric_mean(ratios):.2f}, smallest {min(ratios):.2f}")
    print(
        f"LogisticRegression's lbfgs, where it gets there, / ours: geometric mean {geometric_mean(default_ratios):.2f}"
    )
    return results


def geometric_mean(numbers):
    """The geometric mean."""
    return float(np.exp(np.mean(np.log(numbers))))


def growth_table(n_rounds):
    """How seconds grow with rows, features and classes."""
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
    """An evaluation and predict_proba, beside products at full speed plus exponentials plus one read."""
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
            rows = rows_of(X, 10, None, fit_intercept=True)
            function = Objective(rows, SoftmaxLoss(), lambda rows: y[rows], None, n_outputs=10, penalty=1.0)
            theta = np.zeros(function.shape)
            evaluation = median(time(lambda: function.value_and_gradient(theta, exact=False)) for _ in range(n_rounds))
        model = SoftmaxRegression().fit(X[:1000], y[:1000])
        predict = median(time(lambda: model.predict_proba(X)) for _ in range(n_rounds))
        print(
            f"{np.dtype(dtype).name:26s} {1e3 * (2 * product + exponentials + read):9.1f} {1e3 * evaluation:14.1f} "
            f"{1e3 * predict:7.1f} ({1e3 * (product + exponentials + read):.1f})",
            flush=True,
        )


def functions_table(n_rounds):
    """Activations and the cross-entropy beside scipy.special's and PyTorch's: times of those over ours."""
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


def draw(results, file):
    """Seconds of every solver by workload, on a logarithmic scale."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.5 * len(results) + 1.6), layout="constrained")
    axes = figure.subplots()
    names = list(results)[::-1]
    for number, solver in enumerate(SOLVERS):
        places = [place for place, name in enumerate(names) if solver in results[name]]
        seconds = [results[names[place]][solver] for place in places]
        ours_or_not = (
            {"s": 160, "zorder": 1, "marker": "D"} if solver == OURS else {"s": 45, "marker": "ov^sPX"[number]}
        )
        axes.scatter(seconds, places, label=solver, **ours_or_not)
    axes.set(
        xscale="log",
        xlabel="seconds until the gap to the optimum is below 1e-6 (less is better)",
        title="Ours with default settings, peers with their fastest",
    )
    axes.set_yticks(range(len(names)), names)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=len(SOLVERS), frameon=False)
    figure.savefig(file, dpi=150)


def machine():
    """The machine and the versions, in a line."""
    threads = max(library["num_threads"] for library in threadpool_info())
    return (
        f"{platform.processor() or platform.machine()}, {threads} BLAS threads; Python {platform.python_version()}, "
        f"numpy {np.__version__}, scipy {scipy.__version__}, scikit-learn {sklearn.__version__}, "
        f"skactivation {__version__}"
    )


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(WORKLOADS), metavar="WORKLOAD", help="; ".join(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=7, help="runs of which the median counts")
    parser.add_argument(
        "--limit", type=float, default=120.0, metavar="SECONDS", help="longest time for a process that fits once"
    )
    parser.add_argument("--picture", default="softmax.png", metavar="FILE", help="where the picture goes")
    parser.add_argument("--probe", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for name, (module, fit, settings) in OPTIONAL.items():
        if importlib.util.find_spec(module):
            SOLVERS[name] = fit, settings
    if arguments.probe:
        data, solver, setting = arguments.probe
        probe(data, solver, float(setting) if "." in setting or "e" in setting else int(setting))
        return
    print(machine())
    results = fits_table(arguments.only or list(WORKLOADS), arguments.rounds, arguments.limit)
    if importlib.util.find_spec("matplotlib"):
        draw(results, arguments.picture)
        print(f"picture: {arguments.picture}")
    if not arguments.only:
        growth_table(arguments.rounds)
        limit_table(arguments.rounds)
        functions_table(arguments.rounds)


if __name__ == "__main__":
    main()
