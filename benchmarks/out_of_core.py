"""Fits to data in an HDF5 file that need not fit into memory, beside reading the file and beside fits in memory.

    python benchmarks/out_of_core.py [--gigabytes 10] [--features 100] [--directory /tmp]

Writes a file of float32 numbers, reads it once by slices, fits `SoftmaxRegression` to it, and removes it. The same is
done with a file of one gigabyte, to which a fit in memory is compared. Takes the package h5py.
"""

import argparse
import resource
import tempfile
from pathlib import Path
from time import perf_counter

import h5py
import numpy as np
from comparison import machine

from skactivation import SoftmaxRegression

ROWS_EACH = 50_000


def write(path, n_rows, n_features):
    """Write rows of a model with two classes; return the labels."""
    rng = np.random.default_rng(0)
    slopes = rng.normal(size=n_features) / np.sqrt(n_features)
    labels = np.empty(n_rows, dtype=np.int8)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("X", (n_rows, n_features), np.float32, chunks=(min(n_rows, 10_000), n_features))
        for start in range(0, n_rows, ROWS_EACH):
            part = slice(start, min(start + ROWS_EACH, n_rows))
            rows = rng.normal(size=(part.stop - start, n_features)).astype(np.float32)
            data[part] = rows
            labels[part] = rows @ slopes + rng.logistic(size=len(rows)) > 0
    return labels


def seconds(call):
    """Wall-clock seconds of a call, and what it returns."""
    started = perf_counter()
    result = call()
    return perf_counter() - started, result


def read(data):
    """Read all rows once."""
    for start in range(0, len(data), ROWS_EACH):
        data[start : start + ROWS_EACH].sum()


def report(path, gigabytes, n_features):
    """Write, read, fit; return the model and the file's labels."""
    n_rows = int(gigabytes * 1e9 / 4 / n_features)
    labels = write(path, n_rows, n_features)
    with h5py.File(path, "r") as file:
        data = file["X"]
        reading, _ = seconds(lambda: read(data))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        fitting, model = seconds(lambda: SoftmaxRegression().fit(data, labels))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"{gigabytes:g} GB, {n_rows:,} x {n_features}: read once in {reading:.1f} s; fit in {fitting:.1f} s, "
        f"{model.n_passes_} passes of {fitting / model.n_passes_:.2f} s, certified gap {model.optimality_gap_:.0e}; "
        f"peak memory of the process {before:.0f} MB before the fit, {peak:.0f} MB after",
        flush=True,
    )
    return model, labels


def main():
    """Run the benchmark with the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=10.0, help="size of the large file")
    parser.add_argument("--features", type=int, default=100, help="number of features")
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="where files are written")
    arguments = parser.parse_args()
    print(machine())
    path = Path(arguments.directory) / "skactivation_out_of_core.h5"
    try:
        report(path, arguments.gigabytes, arguments.features)
        model, labels = report(path, 1.0, arguments.features)
        with h5py.File(path, "r") as file:
            X = file["X"][:]
        in_memory, same = seconds(lambda: SoftmaxRegression().fit(X, labels))
        print(
            f"1 GB in memory: fit in {in_memory:.1f} s; equal coefficients: {np.array_equal(model.coef_, same.coef_)}"
        )
    finally:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
