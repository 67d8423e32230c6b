"""Time to the best temperature: fit_temperature and TemperatureCalibrator("logits") beside other implementations.

    python benchmarks/temperature.py [--quick] [--only "1,797 x 10"] [--rounds 7]

The logits are given and overconfident by a factor of 1.5. The labels are the integers from 0 on, which every
implementation takes for the numbers of the columns. All run in this process, in turns, each after a short rest; the
table shows medians. The benchmark checks each temperature: its mean cross-entropy, in float64 written out below, must
be within 1e-6, relatively, of the lowest value that any implementation found. An implementation that misses this is
listed without a ratio. The peers are scikit-learn's CalibratedClassifierCV(method="temperature") over a classifier that
returns the logits (in its two cheapest settings: one split, or a frozen estimator), and probmetrics and netcal where
they are installed.
"""

import argparse
import importlib.util
import warnings
from statistics import median

import numpy as np
from comparison import geometric_mean, machine, rested_time, save
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from skactivation import TemperatureCalibrator, fit_temperature

GAP = 1e-6
WORKLOADS = {"1,797 x 10": (1_797, 10), "100,000 x 10": (100_000, 10), "100,000 x 100": (100_000, 100)}
WORKLOADS["1,000,000 x 10"] = (1_000_000, 10)
OURS = ("fit_temperature", 'TemperatureCalibrator("logits")')


class ReturnsLogits(ClassifierMixin, BaseEstimator):
    """A classifier whose decision function is X."""

    def fit(self, X, y):
        """Find the classes."""
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        """Return X."""
        return X

    def predict(self, X):
        """Find the largest logit."""
        return self.classes_[X.argmax(axis=1)]


def scikit_learn_one_split(z, y):
    """CalibratedClassifierCV with a single split that trains and calibrates on all rows."""
    rows = np.arange(len(y))
    model = CalibratedClassifierCV(ReturnsLogits(), method="temperature", cv=[(rows, rows)]).fit(z, y)
    return 1 / model.calibrated_classifiers_[0].calibrators[0].beta_


def scikit_learn_frozen(z, y):
    """CalibratedClassifierCV over a frozen estimator."""
    model = CalibratedClassifierCV(FrozenEstimator(ReturnsLogits().fit(z, y)), method="temperature").fit(z, y)
    return 1 / model.calibrated_classifiers_[0].calibrators[0].beta_


def probmetrics(z, y):
    """The calibrator that the documentation of probmetrics recommends for temperature scaling."""
    import torch
    from probmetrics.calibrators import TemperatureScalingCalibrator
    from probmetrics.distributions import CategoricalLogits

    calibrator = TemperatureScalingCalibrator()
    calibrator.fit_torch(CategoricalLogits(torch.as_tensor(z)), torch.as_tensor(y))
    return 1 / float(calibrator.invtemp_)


def netcal(z, y):
    """netcal.scaling.TemperatureScaling, which takes probabilities."""
    from netcal.scaling import TemperatureScaling

    p = np.exp(z - z.max(axis=1, keepdims=True))
    return 1 / float(TemperatureScaling().fit(p / p.sum(axis=1, keepdims=True), y).temperature[0])


SOLVERS = {
    OURS[0]: lambda z, y: fit_temperature(z, y).temperature,
    OURS[1]: lambda z, y: TemperatureCalibrator("logits").fit(z, y).temperature_,
    "scikit-learn, one split": scikit_learn_one_split,
    "scikit-learn, frozen": scikit_learn_frozen,
}
SOLVERS |= {peer.__name__: peer for peer in (probmetrics, netcal) if importlib.util.find_spec(peer.__name__)}


def simulated(n_rows, n_classes):
    """Logits of the true probabilities, multiplied by 1.5, and labels."""
    rng = np.random.default_rng(0)
    y = rng.integers(n_classes, size=n_rows)
    z = rng.normal(size=(n_rows, n_classes))
    z[np.arange(n_rows), y] += 2
    return 3 * z, y


def loss(z, y, temperature):
    """Mean cross-entropy."""
    total = 0.0
    for start in range(0, len(y), 10_000):
        rows = slice(start, start + 10_000)
        scaled = z[rows] / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        total += np.sum(np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(scaled)), y[rows]])
    return total / len(y)


def compare(z, y, n_rounds, limit):
    """Median seconds and temperature of each solver that runs; solvers run in turns."""
    seconds, temperatures = {}, {}
    for _ in range(n_rounds + 1):
        for name, solver in SOLVERS.items():
            if name in seconds and (not seconds[name] or sum(seconds[name]) > limit):
                continue

            def run(name=name, solver=solver):
                temperatures[name] = solver(z, y)

            try:
                seconds.setdefault(name, []).append(rested_time(run))
            except Exception as error:
                print(f"{name} fails: {type(error).__name__}: {str(error)[:80]}")
                seconds[name] = []
    # The first run loads libraries and does not count.
    return {name: median(times[1:] or times) for name, times in seconds.items() if times}, temperatures


def main():
    """Run the benchmark with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=list(WORKLOADS), metavar="WORKLOAD", help="; ".join(WORKLOADS))
    parser.add_argument("--quick", action="store_true", help="the smallest logits only")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of which the median counts")
    parser.add_argument("--json", default="temperature.json", metavar="FILE", help="where all figures go")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds after which a solver gets no more runs")
    arguments = parser.parse_args()
    print(machine())
    print(f"{'logits':16s} {'solver':32s} {'ms':>9s} {'loss - least':>12s} {'peer / fit_temperature':>24s} passes")
    ratios, rows = [], []
    for workload in arguments.only or (["1,797 x 10"] if arguments.quick else WORKLOADS):
        z, y = simulated(*WORKLOADS[workload])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seconds, temperatures = compare(z, y, arguments.rounds, arguments.limit)
        losses = {name: loss(z, y, temperature) for name, temperature in temperatures.items()}
        least = min(losses.values())
        reached = [name for name in seconds if losses[name] - least <= GAP * least]
        for name in seconds:
            ratio = f"{seconds[name] / seconds[OURS[0]]:24.2f}" if name in reached else f"{'misses 1e-6':>24s}"
            facts = {"logits": workload, "solver": name, "milliseconds": 1e3 * seconds[name]}
            rows.append(facts | {"excess": float(losses[name] - least)})
            passes = fit_temperature(z, y).n_passes if name == OURS[0] else ""
            print(f"{workload:16s} {name:32s} {1e3 * seconds[name]:9.2f} {losses[name] - least:12.1e} {ratio} {passes}")
        peer = min((name for name in reached if name not in OURS), key=seconds.get)
        ratios.append([seconds[peer] / seconds[name] for name in OURS])
        print(f"{workload:16s} {peer} / ours: {ratios[-1][0]:.2f}, with the estimator {ratios[-1][1]:.2f}", flush=True)
    for name, of_name in zip(OURS, zip(*ratios, strict=True), strict=True):
        print(f"best peer / {name}: geometric mean {geometric_mean(of_name):.2f}, smallest {min(of_name):.2f}")
    save(arguments.json, rows)


if __name__ == "__main__":
    main()
