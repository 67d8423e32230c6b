"""Time to the optimum: SoftmaxRegression beside every solver of the same objective that is installed.

    python benchmarks/softmax.py [--only digits iris] [--rounds 7] [--limit 120] [--picture FILE]

For each workload, SoftmaxRegression runs with its default settings and each peer with the fastest of its settings that
comes within a relative gap of 1e-6 of the optimum. The gap is checked afterwards with one float64 objective, written
out below, against the lowest value that anyone found. Settings are tried, and peak memory is measured, in processes of
their own; then all run in turns in this process, and medians count. What takes longer than the limit is left out.
"""

import argparse
import importlib.util
import os
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
from scipy import sparse, special
from sklearn.linear_model import LogisticRegression
from workloads import WORKLOADS, classification

from skactivation import SoftmaxRegression

GAP = 1e-6
TOLERANCES = [10.0**-k for k in range(3, 11)]
STEPS = [25 * 2**k for k in range(10)]


# The fits: each takes X, y and a setting, and returns coefficients, intercepts and remarks.


def ours(X, y, tol):
    """SoftmaxRegression; its default tol is the setting."""
    model = SoftmaxRegression(tol=tol).fit(X, y)
    return model.coef_, model.intercept_, {"evaluations": model.n_evaluations_, "passes": getattr(model, "n_passes_", np.nan)}


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
        fit(X[:200], np.arange(200) % 2, SOLVERS[solver][1][0])
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
    """Rows (solver, seconds, setting, gap, remarks) for one workload, ours first, and LogisticRegression's default."""
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "data")
        with open(data, "wb") as file:
            pickle.dump((X, y), file)
        found = {}
        reference = run_probe(data, OURS, 1e-12, 10 * limit)
        lowest = objective(X, y, *reference[:2]) if reference else np.inf
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
        default = run_probe(data, "lbfgs", 1e-4, limit)
    reached = {name: entry for name, entry in found.items() if entry[1] - lowest <= GAP * lowest}
    times = {name: [] for name in reached}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(n_rounds):
            for name, (setting, _, _) in reached.items():
                start = perf_counter()
                SOLVERS[name][0](X, y, setting)
                times[name].append(perf_counter() - start)
                if sum(times[name]) > limit:
                    break
    rows = {
        name: (median(times[name]), setting, (value - lowest) / lowest, remarks)
        for name, (setting, value, remarks) in reached.items()
    }
    missed = {name: (value - lowest) / lowest for name, (_, value, _) in found.items() if name not in reached}
    return rows, missed, default


def fits_table(names, n_rounds, limit):
    """Print one line per workload and solver; return seconds by workload and solver."""
    print(f"{'workload':38s} {'solver':16s} {'setting':>8s} {'ms':>9s} {'gap':>8s} {'eval.':>6s} {'passes':>7s} {'MB':>6s}")
    seconds, ratios = {}, []
    for name in names:
        X, y = WORKLOADS[name]()
        rows, missed, _ = compare(X, y, n_rounds, limit)
        for solver, (time, setting, gap, remarks) in rows.items():
            print(
                f"{name:38s} {solver:16s} {setting:8.0e} {1e3 * time:9.1f} {gap:8.1e} {remarks['evaluations']:6d} "
                f"{remarks.get('passes', np.nan):7.1f} {remarks['megabytes']:6.0f} {' '.join(remarks['warnings'])}"
            )
        for solver in SOLVERS:
            if solver not in rows:
                reason = f"reaches a gap of {missed[solver]:.0e} only" if solver in missed else "fails or takes too long"
                print(f"{name:38s} {solver:16s} {reason}")
        peers = [time for solver, (time, *_) in rows.items() if solver != OURS]
        if OURS in rows and peers:
            ratios.append(min(peers) / rows[OURS][0])
            print(f"{name:38s} best peer / ours: {ratios[-1]:.2f}", flush=True)
        seconds[name] = {solver: row[0] for solver, row in rows.items()}
    print(f"\ngeometric mean of best peer / ours: {np.exp(np.mean(np.log(ratios))):.2f}, smallest {min(ratios):.2f}")
    return seconds


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--limit", type=float, default=120.0, metavar="SECONDS")
    parser.add_argument("--probe", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for name, (module, fit, settings) in OPTIONAL.items():
        if importlib.util.find_spec(module):
            SOLVERS[name] = fit, settings
    if arguments.probe:
        data, solver, setting = arguments.probe
        probe(data, solver, float(setting) if "." in setting or "e" in setting else int(setting))
        return
    fits_table(arguments.only, arguments.rounds, arguments.limit)


if __name__ == "__main__":
    main()
