"""Time of activations and of the cross-entropy, beside scipy.special and PyTorch where it is installed.

    python benchmarks/functions.py [--quick] [--rounds 7]

Each function takes logits (n, K) in one call; all run in turns, each after a short rest.
"""

import argparse
import importlib.util
from statistics import median

import numpy as np
from comparison import machine, rested_time, save
from scipy import special

from skactivation.activations import log_sigmoid, log_softmax, sigmoid, softmax
from skactivation.losses import softmax_cross_entropy


def scipy_loss(z, y):
    """Mean cross-entropy by scipy.special."""
    return np.mean(special.logsumexp(z, axis=1) - z[np.arange(len(z)), y])


def functions(z, y):
    """The functions by name: ours, scipy.special's and PyTorch's, without arguments."""
    pairs = {
        "softmax": (lambda: softmax(z), lambda: special.softmax(z, axis=1)),
        "log_softmax": (lambda: log_softmax(z), lambda: special.log_softmax(z, axis=1)),
        "sigmoid": (lambda: sigmoid(z), lambda: special.expit(z)),
        "log_sigmoid": (lambda: log_sigmoid(z), lambda: special.log_expit(z)),
        "softmax_cross_entropy": (lambda: softmax_cross_entropy(z, y), lambda: scipy_loss(z, y)),
    }
    if not importlib.util.find_spec("torch"):
        return {name: {"ours": ours, "scipy": theirs} for name, (ours, theirs) in pairs.items()}
    import torch

    t, target = torch.from_numpy(z), torch.from_numpy(y)
    of_torch = {
        "softmax": lambda: t.softmax(1),
        "log_softmax": lambda: t.log_softmax(1),
        "sigmoid": t.sigmoid,
        "log_sigmoid": lambda: torch.nn.functional.logsigmoid(t),
        "softmax_cross_entropy": lambda: torch.nn.functional.cross_entropy(t, target),
    }
    return {name: {"ours": a, "scipy": b, "torch": of_torch[name]} for name, (a, b) in pairs.items()}


def main():
    """Run the benchmark with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="ten classes only")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of which the median counts")
    parser.add_argument("--json", default="functions.json", metavar="FILE", help="where all figures go")
    arguments = parser.parse_args()
    print(machine())
    rows, rng = [], np.random.default_rng(0)
    for n_classes in (10,) if arguments.quick else (10, 100):
        for dtype in (np.float64, np.float32):
            z = rng.normal(size=(100_000, n_classes)).astype(dtype) * 5
            for name, callables in functions(z, rng.integers(n_classes, size=100_000)).items():
                seconds = {who: [] for who in callables}
                for _ in range(arguments.rounds):
                    for who, function in callables.items():
                        seconds[who].append(rested_time(function))
                medians = {who: 1e3 * median(times) for who, times in seconds.items()}
                ratios = [f"{who} / ours {ms / medians['ours']:.2f}" for who, ms in medians.items() if who != "ours"]
                what = f"{name}, 100,000 x {n_classes}, {np.dtype(dtype).name}"
                print(f"{what:50s} {medians['ours']:8.2f} ms, {', '.join(ratios)}", flush=True)
                rows += [{"function": what, "who": who, "milliseconds": ms} for who, ms in medians.items()]
    save(arguments.json, rows)


if __name__ == "__main__":
    main()
