"""Shared by the benchmarks: time solvers of one objective side by side, to the same accuracy, which is checked."""

import argparse
import importlib.util
import json
import pickle
import platform
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

import numpy as np
import scipy
import sklearn
from threadpoolctl import threadpool_info

from skactivation import __version__

__all__ = ["GAP", "OURS", "Comparison", "Solver", "geometric_mean", "machine", "parser", "rested_time", "save", "time"]

GAP = 1e-6
# A peer is given up where it takes so many times as long as another one that comes within GAP, and so many seconds.
SLOW, LONG = 3, 2.0
OURS = "skactivation"


@dataclass(frozen=True)
class Solver:
    """A solver of the objective."""

    fit: Callable
    """From X, y and a setting to coefficients, intercepts and remarks (a dictionary)."""
    settings: list
    """Settings to try, the fastest first."""
    like: str | None = None
    """Name of a solver whose sufficient setting this one takes over."""


@dataclass(frozen=True)
class Comparison:
    """Solvers and data. `script` is the file of the benchmark; child processes run it to call `probe`."""

    script: str
    workloads: dict
    quick: list
    """Names of the workloads that `--quick` runs."""
    solvers: dict
    objective: Callable
    """From X, y, coefficients and intercepts to the value, or one for each label. It judges all solvers."""

    def run(self, arguments):
        """Run with the options of the command line; return seconds by workload and solver, or None after a probe."""
        if arguments.probe:
            self.probe(*arguments.probe)
            return None
        print(machine())
        names = arguments.only or (self.quick if arguments.quick else list(self.workloads))
        results, rows = self.table(names, arguments.rounds, arguments.limit)
        save(arguments.json, rows)
        if importlib.util.find_spec("matplotlib"):
            self.draw(results, arguments.picture)
            print(f"picture: {arguments.picture}")
        return results

    def probe(self, data, solver, setting):
        """Fit once in a child process; write the result, the rise of peak memory and the warnings to a file."""
        setting = float(setting) if "." in setting or "e" in setting else int(setting)
        if hasattr(resource, "RLIMIT_AS"):
            resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))
        with open(data, "rb") as file:
            X, y = pickle.load(file)
        fit = self.solvers[solver].fit
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # A small fit loads libraries and starts threads and workers before the peak is measured.
            few = slice(0, 200)
            labels = np.arange(200)[: X.shape[0]] % 2 if y.ndim == 1 else y[few, :2]
            fit(X[few], labels, self.solvers[solver].settings[0])
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

    def run_probe(self, data, solver, setting, limit):
        """Result of `probe`, or None if the process fails or takes too long."""
        command = [sys.executable, self.script, "--probe", data, solver, repr(setting)]
        try:
            subprocess.run(command, check=True, timeout=limit, capture_output=True)
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
            return None
        with open(data + ".result", "rb") as file:
            return pickle.load(file)

    def sufficient_settings(self, X, y, limit):
        """Dictionaries by solver: (setting, gap, remarks) of those within GAP, and the reasons why others are not."""
        found, quickest, reasons = {}, np.inf, {}
        with tempfile.TemporaryDirectory() as folder:
            data = str(Path(folder) / "data")
            with open(data, "wb") as file:
                pickle.dump((X, y), file)
            lowest = self.objective(X, y, *self.run_probe(data, OURS, 1e-10, 10 * limit)[:2])
            for name, solver in self.solvers.items():
                settings, reasons[name] = solver.settings, "fails or takes too long"
                if solver.like:
                    settings = [found[solver.like][0]] if solver.like in found else []
                for setting in settings:
                    result = self.run_probe(data, name, setting, limit)
                    if result is None:
                        break
                    if result[2]["seconds"] > max(SLOW * quickest, LONG):
                        reasons[name] = f"takes more than {SLOW} times as long as another peer"
                        break
                    value = self.objective(X, y, *result[:2])
                    lowest = np.minimum(lowest, value)
                    found[name] = (setting, value, result[2])
                    if np.all(value - lowest <= GAP * lowest):
                        if name != OURS:
                            quickest = min(quickest, result[2]["seconds"])
                        break
        gaps = {name: float(np.max((value - lowest) / lowest)) for name, (_, value, _) in found.items()}
        for name, gap in gaps.items():
            if gap > GAP:
                reasons[name] = f"reaches a gap of {gap:.0e}; {reasons[name]}"
        reached = {name: (found[name][0], gap, found[name][2]) for name, gap in gaps.items() if gap <= GAP}
        return reached, {name: reason for name, reason in reasons.items() if name not in reached}

    def compare(self, X, y, n_rounds, limit):
        """Dictionaries by solver: (seconds, setting, gap, remarks) of those within GAP; the reasons of the others."""
        reached, reasons = self.sufficient_settings(X, y, limit)
        times = {name: [] for name in reached}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(n_rounds):
                for name, seconds in times.items():
                    # A solver that is much slower than another needs no more runs.
                    fastest = min(median(others) for others in times.values() if others) if seconds else np.inf
                    if not seconds or (sum(seconds) < limit / 4 and median(seconds) < 10 * fastest):
                        seconds.append(rested_time(lambda: self.solvers[name].fit(X, y, reached[name][0])))
        return {name: (median(seconds), *reached[name]) for name, seconds in times.items()}, reasons

    def table(self, names, n_rounds, limit):
        """Print a line for each workload and solver; return seconds by workload and solver, and a list of all facts."""
        heading = f"{'workload':38s} {'solver':26s} {'setting':>8s} {'ms':>9s}"
        print(f"{heading} {'gap':>8s} {'evals':>6s} {'passes':>7s} {'MB':>6s} warnings")
        results, rows, ratios = {}, [], []
        for workload in names:
            X, y = self.workloads[workload]()
            reached, reasons = self.compare(X, y, n_rounds, limit)
            for solver, (seconds, setting, gap, remarks) in reached.items():
                print(
                    f"{workload:38s} {solver:26s} {setting:8.0e} {1e3 * seconds:9.1f} {gap:8.1e} "
                    f"{remarks['evaluations']:6d} {remarks.get('passes', '-'):>7} {remarks['megabytes']:6.0f} "
                    f"{' '.join(remarks['warnings'])}"
                )
                facts = {"workload": workload, "solver": solver, "milliseconds": 1e3 * seconds, "setting": setting}
                rows.append(facts | {"gap": gap, "evaluations": remarks["evaluations"]})
            for solver, reason in reasons.items():
                print(f"{workload:38s} {solver:26s} {reason}")
            results[workload] = {solver: row[0] for solver, row in reached.items()}
            peers = {solver: seconds for solver, seconds in results[workload].items() if solver != OURS}
            if peers and OURS in results[workload]:
                ratios.append(min(peers.values()) / results[workload][OURS])
                print(f"{workload:38s} {min(peers, key=peers.get)} / ours: {ratios[-1]:.2f}", flush=True)
        if ratios:
            print(f"\nbest peer / ours: geometric mean {geometric_mean(ratios):.2f}, smallest {min(ratios):.2f}")
        return results, rows

    def draw(self, results, file):
        """Draw seconds of every solver by workload, on a logarithmic scale."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 0.5 * len(results) + 2), layout="constrained")
        axes = figure.subplots()
        names = list(results)[::-1]
        for number, solver in enumerate(self.solvers):
            places = [place for place, name in enumerate(names) if solver in results[name]]
            seconds = [results[names[place]][solver] for place in places]
            style = (
                {"s": 160, "zorder": 1, "marker": "D"} if solver == OURS else {"s": 45, "marker": "ov^sPX<>*p"[number]}
            )
            axes.scatter(seconds, places, label=solver, **style)
        axes.set(
            xscale="log",
            xlabel="seconds until the gap to the optimum is below 1e-6 (less is better)",
            title="Ours with default settings, peers with their fastest",
        )
        axes.set_yticks(range(len(names)), names)
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(file, dpi=150)


def parser(description, workloads, name, rounds=5):
    """Options that the command lines of the benchmarks share."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--only", nargs="*", choices=list(workloads), metavar="WORKLOAD", help="; ".join(workloads))
    result.add_argument("--quick", action="store_true", help="small data only, in less than three minutes")
    result.add_argument("--rounds", type=int, default=rounds, help="rounds of which the median counts")
    result.add_argument(
        "--limit", type=float, default=30.0, metavar="SECONDS", help="longest time for a process that fits once"
    )
    result.add_argument("--picture", default=f"{name}.png", metavar="FILE", help="where the picture goes")
    result.add_argument("--json", default=f"{name}.json", metavar="FILE", help="where all figures go")
    result.add_argument("--probe", nargs=3, help=argparse.SUPPRESS)
    return result


def time(function):
    """Seconds of one call."""
    start = perf_counter()
    function()
    return perf_counter() - start


def rested_time(function):
    """Seconds of a call: the median of a few in a row, after a rest in which the threads of others stop spinning."""
    sleep(0.15)
    seconds = [time(function)]
    while len(seconds) < 9 and sum(seconds) < 0.1:
        seconds.append(time(function))
    # The first call wakes the own threads.
    return median(seconds[1:] or seconds)


def save(file, rows):
    """Write the machine and a list of facts, a dictionary for each line of the table, to a JSON file."""
    with open(file, "w", encoding="utf-8") as opened:
        json.dump({"machine": machine(), "rows": rows}, opened, indent=1)
    print(f"figures: {file}")


def geometric_mean(numbers):
    """The geometric mean."""
    return float(np.exp(np.mean(np.log(numbers))))


def machine():
    """The machine and the versions, in a line."""
    threads = max(library["num_threads"] for library in threadpool_info())
    return (
        f"{platform.processor() or platform.machine()}, {threads} BLAS threads; Python {platform.python_version()}, "
        f"numpy {np.__version__}, scipy {scipy.__version__}, scikit-learn {sklearn.__version__}, "
        f"skactivation {__version__}"
    )
