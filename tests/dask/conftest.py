"""Clusters that tests share: in this process, which is fast, and in processes of their own."""

import logging

import pytest
from distributed import Client, LocalCluster


@pytest.fixture(scope="session")
def in_process():
    """A cluster of two workers in this process, as the current client."""
    with LocalCluster(
        n_workers=2, threads_per_worker=2, processes=False, dashboard_address=":0", silence_logs=logging.ERROR
    ) as cluster:
        yield cluster


@pytest.fixture
def client(in_process):
    with Client(in_process) as client:
        yield client
