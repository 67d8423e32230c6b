"""Time to the optimum: SoftmaxRegression beside every solver of the same objective that is installed.

    python benchmarks/softmax.py [--quick] [--only digits iris] [--rounds 5] [--limit 30]

For each workload, SoftmaxRegression runs with its default settings. Each peer runs with the fastest of its settings
that comes within a relative gap of 1e-6 of the optimum. The benchmark checks the gap afterwards: it evaluates one
float64 objective, written out below, for all solvers and compares with the lowest value that any solver found. Child
processes try the settings and measure peak memory. Then all solvers run in turns in this process, each after a short
rest, and the table shows medians. Solvers that take longer than the limit are left out. A picture and a JSON file hold
the results. The whole benchmark takes up to half an hour, `--quick` less than three minutes.
"""

import importlib.util

import numpy as np
from comparison import OURS, Comparison, Solver, geometric_mean, parser
from scipy import sparse, special
from sklearn.linear_model import LogisticRegression

from skactivation import SoftmaxRegression
from workloads import WORKLOADS

QUICK = ["iris", "wine", "breast_cancer", "214 x 9, K=6, raw"]
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


def main():
    """Run the benchmark with the options of the command line."""
    arguments = parser(__doc__.splitlines()[0], WORKLOADS, "softmax").parse_args()
    installed = {name: solver for name, (module, solver) in OPTIONAL.items() if importlib.util.find_spec(module)}
    results = Comparison(__file__, WORKLOADS, QUICK, SOLVERS | installed, objective).run(arguments)
    if results is None:
        return
    defaults = [row["lbfgs"] / row[OURS] for row in results.values() if "lbfgs" in row]
    if defaults:
        print(f"lbfgs / ours, where lbfgs reaches the gap: geometric mean {geometric_mean(defaults):.2f}")


if __name__ == "__main__":
    main()
