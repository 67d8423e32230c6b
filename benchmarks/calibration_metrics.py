"""Time to a calibration error, a reliability curve or a decomposition, beside other implementations.

    python benchmarks/calibration_metrics.py [--quick] [--only "100,000 x 10"] [--rounds 7]

All implementations run in this process, in turns; the table shows medians. Their results must agree to 1e-6 (to 1e-4
in float32); a result that differs is listed without a ratio. The peers are scikit-learn's calibration_curve and, where
they are installed, netcal's ECE, torchmetrics' calibration error (from tensors made beforehand) and model-diagnostics'
decompose. A decomposition with scikit-learn's IsotonicRegression, written out below, is a peer too; for several
classes it runs once for each. Results of the "quantile" strategy need to agree to 0.05 only: scikit-learn interpolates
quantiles, so that its bins of equal weight may differ by a row. Those of "uniform" bins need to agree to 0.001: a
probability within 5e-7 of an edge is on it for us.
"""

import argparse
import importlib.util
import warnings
from statistics import median

import numpy as np
from comparison import geometric_mean, machine, rested_time, save
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from skactivation.metrics import calibration_decomposition, expected_calibration_error, reliability_curve

SIZES = {"1,797 x 10": (1_797, 10), "100,000 x 10": (100_000, 10), "100,000 x 100": (100_000, 100)}
SIZES["1,000,000 x 10"] = (1_000_000, 10)


def simulated(n_rows, n_classes):
    """Labels, and overconfident probabilities."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n_rows, n_classes))
    y = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    p = np.exp(1.5 * z)
    return y, p / p.sum(axis=1, keepdims=True)


def scikit_learn_curve(y, p, strategy):
    """Points of scikit-learn's curve for the second of two classes."""
    return np.concatenate(calibration_curve(y, p, n_bins=15, strategy=strategy))


def our_curve(y, p, strategy):
    """Points of our curve for the second of two classes."""
    curve = reliability_curve(y, p, kind="classwise", strategy=strategy)[True]
    return np.concatenate([curve.prob_true, curve.prob_pred])


def netcal(y, p):
    """Expected calibration error of the top label by netcal."""
    from netcal.metrics import ECE

    return ECE(15).measure(p, y)


def torchmetrics(y, p):
    """Expected calibration error of the top label by torchmetrics, from tensors."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    return float(multiclass_calibration_error(p, y, num_classes=p.shape[1], n_bins=15, norm="l1"))


def isotonic(y, p):
    """Miscalibration by scikit-learn's IsotonicRegression."""
    best = IsotonicRegression(out_of_bounds="clip").fit(p, y).predict(p)
    return log_loss(y, p) - log_loss(y, best)


def model_diagnostics(y, p):
    """Miscalibration by model-diagnostics."""
    from model_diagnostics.scoring import LogLoss, decompose

    return decompose(y, p, scoring_function=LogLoss())["miscalibration"][0]


def tensors(y, p):
    """Labels and probabilities as tensors, which torchmetrics takes."""
    import torch

    return torch.as_tensor(y), torch.as_tensor(p)


def is_installed(package):
    """Whether a package is installed."""
    return importlib.util.find_spec(package) is not None


def tasks(y, p):
    """The computations by name; each maps the names of implementations to functions."""
    yes, second = y == 1, np.ascontiguousarray(p[:, 1])
    top = {"ours": lambda: expected_calibration_error(y, p)}
    decompositions = {
        "ours": lambda: calibration_decomposition(yes, second).miscalibration,
        "IsotonicRegression": lambda: isotonic(yes, second),
    }
    all_classes = {
        "ours": lambda: calibration_decomposition(y, p).miscalibration,
        "IsotonicRegression": lambda: np.mean([isotonic(y == k, p[:, k]) for k in range(p.shape[1])]),
    }
    if is_installed("netcal"):
        top["netcal"] = lambda: netcal(y, p)
    if is_installed("torchmetrics"):
        given = tensors(y, p)
        top["torchmetrics"] = lambda: torchmetrics(*given)
    if is_installed("model_diagnostics"):
        decompositions["model-diagnostics"] = lambda: model_diagnostics(yes.astype(float), second)
    curves = {
        strategy: {
            "ours": lambda strategy=strategy: our_curve(yes, second, strategy),
            "calibration_curve": lambda strategy=strategy: scikit_learn_curve(yes, second, strategy),
        }
        for strategy in ("uniform", "quantile")
    }
    return {
        "top label": top,
        "curve, uniform": curves["uniform"],
        "curve, quantile": curves["quantile"],
        "decomposition of two classes": decompositions,
        "decomposition of all classes": all_classes,
    }


def main():
    """Run the benchmark with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(SIZES), metavar="SIZE", help="; ".join(SIZES))
    parser.add_argument("--quick", action="store_true", help="the fewest rows only")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of which the median counts")
    parser.add_argument("--json", default="calibration_metrics.json", metavar="FILE", help="where all figures go")
    arguments = parser.parse_args()
    print(machine())
    print(f"{'what':30s} {'size':16s} {'who':20s} {'ms':>9s} {'peer / ours':>12s}")
    smallest, rows = [], []
    for size in arguments.only or (["1,797 x 10"] if arguments.quick else SIZES):
        for what, solvers in tasks(*simulated(*SIZES[size])).items():
            seconds, found = {name: [] for name in solvers}, {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for _ in range(arguments.rounds + 1):
                    for name, solver in solvers.items():

                        def run(name=name, solver=solver):
                            found[name] = solver()

                        seconds[name].append(rested_time(run))
            # The first run loads libraries and does not count.
            medians = {name: median(times[1:]) for name, times in seconds.items()}
            ratios = []
            for name in solvers:
                same = np.shape(found[name]) == np.shape(found["ours"]) and np.allclose(
                    found[name],
                    found["ours"],
                    rtol=1e-4 if name == "torchmetrics" else 1e-6,
                    atol=0.05 if "quantile" in what else 1e-3 if "uniform" in what else 0,
                )
                ratio = f"{medians[name] / medians['ours']:12.2f}" if same else "  differs"
                if same and name != "ours":
                    ratios.append(medians[name] / medians["ours"])
                rows.append({"what": what, "size": size, "who": name, "milliseconds": 1e3 * medians[name]})
                print(f"{what:30s} {size:16s} {name:20s} {1e3 * medians[name]:9.2f} {ratio}", flush=True)
            if ratios:
                smallest.append(min(ratios))
    print(f"best peer / ours: geometric mean {geometric_mean(smallest):.2f}, smallest {min(smallest):.2f}")
    save(arguments.json, rows)


if __name__ == "__main__":
    main()
