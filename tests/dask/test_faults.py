"""What happens on a cluster of processes when workers die, the user interrupts, or data are bad."""

import logging
import os
import signal
import threading
from contextlib import contextmanager
from time import monotonic, sleep

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.core import Status
from numpy.testing import assert_array_equal

from skactivation import SoftmaxRegression
from skactivation.dask import DaskSoftmaxRegression, _cluster
from skactivation.dask._cluster import Cluster

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3000, 5))
Y = np.argmax(X @ RNG.normal(size=(5, 3)) + RNG.gumbel(size=(3000, 3)), axis=1)


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two worker processes."""
    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=logging.CRITICAL
    )
    yield cluster
    try:
        cluster.close()
    except KeyError:
        # Dask's cluster may look for a worker that was killed, once all is closed.
        cluster.status = Status.closed


@pytest.fixture
def client(cluster):
    cluster.scale(2)
    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=30)
        yield client


def data():
    return da.from_array(X, chunks=(500, 5)), da.from_array(Y, chunks=500)


@contextmanager
def at_pass(number, action, monkeypatch):
    """Do something on the client, once, before it waits for the given pass of a fit."""
    wait, calls = Cluster.results, []

    def results(self, parts):
        calls.append(None)
        if len(calls) == number:
            action()
        return wait(self, parts)

    monkeypatch.setattr(Cluster, "results", results)
    yield
    monkeypatch.undo()
    assert len(calls) >= number


def tasks_of_fits(client):
    """Keys of tasks on the scheduler that belong to fits."""

    def keys(dask_scheduler):
        return [key for key in dask_scheduler.tasks if "skactivation" in str(key)]

    return client.run_on_scheduler(keys)


def assert_no_tasks(client):
    end = monotonic() + 5
    while tasks_of_fits(client) and monotonic() < end:
        sleep(0.05)
    assert tasks_of_fits(client) == []


def test_the_number_of_workers_changes_no_bit(cluster, client):
    fits = []
    for n_workers in (1, 2, 3):
        cluster.scale(n_workers)
        client.wait_for_workers(n_workers, timeout=30)
        end = monotonic() + 20
        while len(client.nthreads()) != n_workers and monotonic() < end:
            sleep(0.05)
        assert len(client.nthreads()) == n_workers
        fits.append(DaskSoftmaxRegression().fit(*data()))
        assert_no_tasks(client)
    local = SoftmaxRegression().fit(X, Y)
    for fit in fits:
        assert_array_equal(fit.coef_, fits[0].coef_)
        assert_array_equal(fit.intercept_, fits[0].intercept_)
        assert fit.optimality_gap_ == fits[0].optimality_gap_
        np.testing.assert_allclose(fit.coef_, local.coef_, rtol=1e-9)


def test_a_worker_that_is_killed_changes_no_bit(client, monkeypatch):
    expected = DaskSoftmaxRegression().fit(*data())
    pids = client.run(os.getpid)
    with at_pass(8, lambda: os.kill(next(iter(pids.values())), signal.SIGKILL), monkeypatch):
        fit = DaskSoftmaxRegression().fit(*data())
    assert_array_equal(fit.coef_, expected.coef_)
    assert fit.n_evaluations_ == expected.n_evaluations_


def test_without_workers_a_fit_ends_with_an_error(cluster, client, monkeypatch):
    model = DaskSoftmaxRegression().fit(*data())
    before = dict(vars(model))
    monkeypatch.setattr(_cluster, "_POLL", 0.2)
    patience = dask.config.set({"skactivation.patience": 0.5})
    X_parts, y_parts = data()
    with patience, at_pass(8, lambda: cluster.scale(0), monkeypatch), pytest.raises(RuntimeError, match="no worker"):
        model.fit(X_parts * 2, y_parts)
    assert vars(model) == before
    assert_no_tasks(client)


def test_ctrl_c_cancels_the_tasks(client, monkeypatch):
    model = DaskSoftmaxRegression().fit(*data())
    before = dict(vars(model))

    def slow(block):
        sleep(1.5)
        return block

    parts = da.from_array(X, chunks=(500, 5)).map_blocks(slow, meta=X[:0])
    interrupt = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(parts, data()[1])
    assert vars(model) == before
    assert_no_tasks(client)


def test_a_lost_scheduler_is_an_error():
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", silence_logs=logging.CRITICAL
        ) as lost,
        Client(lost) as client,
    ):
        model = DaskSoftmaxRegression(client=client)
        monkeypatch = pytest.MonkeyPatch()
        with at_pass(6, lost.close, monkeypatch), pytest.raises(RuntimeError, match="lost or cancelled"):
            model.fit(*data())
        assert not hasattr(model, "coef_")


@pytest.mark.parametrize("what", ["NaN", "string", "weight", "class"])
def test_an_error_in_the_data_names_the_partition(what, client):
    x, y, weights = X.copy(), Y.astype(object), np.ones(3000)
    if what == "NaN":
        x[1600, 2] = np.nan
    elif what == "string":
        y[1600] = "one"
    elif what == "weight":
        weights[1600] = -1
    else:
        y[1600] = None
    model = DaskSoftmaxRegression()
    split = da.from_array(x, chunks=(500, 5)), da.from_array(y, chunks=500), da.from_array(weights, chunks=500)
    with pytest.raises((TypeError, ValueError), match="partition 3"):
        model.fit(*split)
    assert not hasattr(model, "coef_")
    assert_no_tasks(client)
