"""Fits on a Dask cluster of processes on this machine, beside fits in memory; and what a pass costs by itself.

    python benchmarks/dask_cluster.py [--rows 400000] [--features 100] [--classes 10] [--repeats 3]

Workers have one thread each, the fit in memory as many threads as there are cores. All fits reach the same certified
gap; the coefficients are compared. Bytes are those on the loopback interface, each counted once. Takes the extra
`dask`. (A script of the name dask.py would hide the package from all scripts beside it.)
"""

import argparse
from time import perf_counter

import dask.array as da
import numpy as np
import psutil
from comparison import machine
from distributed import Client, LocalCluster, wait

from skactivation import SoftmaxRegression
from skactivation.dask import DaskSoftmaxRegression
from skactivation.dask._cluster import Cluster

PARTITIONS = 8
PASSES = 30


class Part:
    """Rows whose sums take no time."""

    def __init__(self, size):
        self.size = size

    def sum(self, term, *arguments, **options):
        """A sum of a given size."""
        return (np.zeros(self.size),)


def nothing(block):
    """A term that is never called."""


def make_part(size, number):
    """A part on a worker."""
    return Part(size)


def received():
    """Bytes that the loopback interface has received."""
    return psutil.net_io_counters(pernic=True)["lo"].bytes_recv


def seconds(call):
    """Wall-clock seconds of a call, and what it returns."""
    started = perf_counter()
    result = call()
    return perf_counter() - started, result


def overhead(client, n_parts, size):
    """Median seconds, and bytes, of a pass over parts that do nothing; coefficients and sums have `size` numbers."""
    with Cluster(client) as cluster:
        parts = cluster.on_collections("read", make_part, size, [()] * n_parts)
        cluster.results(parts)
        coefficients = np.zeros(size)
        before = received()
        times = [seconds(lambda: cluster.sum(parts, nothing, (coefficients,)))[0] for _ in range(PASSES)]
        return float(np.median(times)), (received() - before) / PASSES


def rows_of(arguments):
    """Rows of a multinomial model, in memory."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(arguments.rows, arguments.features))
    slopes = rng.normal(size=(arguments.features, arguments.classes)) / np.sqrt(arguments.features)
    return X, np.argmax(2 * X @ slopes + rng.gumbel(size=(arguments.rows, arguments.classes)), axis=1)


def on_cluster(n_workers):
    """A cluster of processes with one thread each."""
    return LocalCluster(n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=":0")


def compare(client, name, X, y, repeats):
    """Fits in memory and on a cluster in turns; print their times."""
    size = -(-len(X) // PARTITIONS)
    parts = client.persist([da.from_array(X, chunks=(size, X.shape[1])), da.from_array(y, chunks=size)])
    wait(parts)
    fits, sent = {"memory": [], "cluster": []}, 0
    for _ in range(repeats):
        fits["memory"].append(seconds(lambda: SoftmaxRegression().fit(X, y)))
        before = received()
        fits["cluster"].append(seconds(lambda: DaskSoftmaxRegression().fit(*parts)))
        sent = received() - before
    models = {where: model for where, ((_, model), *_) in fits.items()}
    for where, some in fits.items():
        took, model = np.median([time for time, _ in some]), models[where]
        print(
            f"{name}, in {where}: {took:.2f} s, {model.n_passes_} passes of {1e3 * took / model.n_passes_:.0f} ms, "
            f"certified gap {model.optimality_gap_:.0e}",
            flush=True,
        )
    one, other = (model.coef_ for model in models.values())
    print(
        f"{sent / 1e6:.1f} MB a fit; coefficients {np.abs(one - other).max() / np.abs(one).max():.0e} apart", flush=True
    )


def main():
    """Run the benchmark with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(machine())
    X, y = rows_of(arguments)
    print(f"{arguments.rows:,} x {arguments.features}, {arguments.classes} classes, {PARTITIONS} partitions")
    for n_workers in (1, 2):
        with on_cluster(n_workers) as workers, Client(workers) as client:
            compare(client, f"{n_workers} worker{'s' * (n_workers > 1)}", X, y, arguments.repeats)
    print("passes over parts that do nothing, 2 workers:")
    with on_cluster(2) as workers, Client(workers) as client:
        for n_parts, size in ((2, 1000), (8, 1000), (64, 1000), (512, 1000), (64, 10_010)):
            time, sent = overhead(client, n_parts, size)
            print(f"{n_parts} partitions, {size:,} coefficients: {1e3 * time:.0f} ms, {sent / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
