"""Functions as tasks on a Dask cluster for the time of a fit: submitted, waited for, cancelled."""

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from time import monotonic
from typing import Any, NamedTuple, Self
from uuid import uuid4
from weakref import WeakSet

import dask
import numpy as np
from dask import delayed
from distributed import Client, Future, default_client, get_worker, wait
from distributed.client import ClosedClientError
from distributed.comm import CommClosedError
from distributed.threadpoolexecutor import thread_state

from skactivation._data.blocks import Parts, Rows, combined
from skactivation._threads import single_threaded_blas

# Seconds between looks at the workers, and for how long there may be none: those that die are mostly replaced.
_POLL, _PATIENCE = 1.0, 30.0
# So many partial sums are added by one task.
_FAN_IN = 16
# If the arguments of all tasks together take more bytes, they go to one worker, from which the others get them.
_MOST_BYTES = 2**20


class Cluster:
    """A context in which functions of this package run on the workers of a cluster; none goes on when it is left.

    Parameters
    ----------
    client : distributed.Client or None
        The connection to the cluster; None for the current one.
    """

    def __init__(self, client: Client | None) -> None:
        self._client = _checked(client)
        self._fit, self._n_calls = uuid4().hex, 0
        self._futures: WeakSet[Future] = WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # The scheduler drops what nobody needs any more. Cancelling may end this client's other futures, too.
        for future in list(self._futures):
            future.release()

    def on_collections(
        self, name: str, function: Callable[..., Any], shared: Any, parts: list[tuple[Any, ...]]
    ) -> list[Future]:
        """Futures of ``function(shared, number, *part)``; what a part has of class Delayed is computed first."""
        # One task holds what all share, which may be large.
        (key,) = self._keys("shared", 1)
        shared = delayed(Held(shared), name=key, traverse=False)
        keys = self._keys(name, len(parts))
        tasks = [
            delayed(_on_part, pure=False)(function, shared, number, *part, dask_key_name=key)
            for number, (key, part) in enumerate(zip(keys, parts, strict=True))
        ]
        with _explaining_losses():
            return self._remember(self._client.compute(tasks))

    def each(
        self,
        name: str,
        function: Callable[..., Any],
        parts: list[Future],
        *arguments: Any,
        own: list[Any] | None = None,
    ) -> list[Future]:
        """Futures of ``function(part, *arguments)`` for the results of futures, with arguments of its own, if given."""
        shared: Any = pickle.dumps((function, arguments))
        own = [()] * len(parts) if own is None else own
        keys = self._keys(name, len(parts))
        with _explaining_losses():
            if len(shared) * len(parts) > _MOST_BYTES:
                # As a task, so that it is computed again where a worker dies.
                (key,) = self._keys("arguments", 1)
                (shared,) = self._remember([self._client.submit(bytes, shared, key=key, pure=False)])
            return self._remember(self._client.map(_call, [shared] * len(parts), parts, own, key=keys, pure=False))

    def sum(self, parts: list[Future], term: Callable[..., Parts], arguments: tuple[Any, ...], **options: Any) -> Parts:
        """What ``rows.sum(term, *arguments, **options)`` gives for the rows in futures, combined in their order.

        Partial sums are combined by tasks, too, if there are many.
        """
        name = term.__name__.strip("_").replace("_", "-")
        parts = self.each(name, _sum, parts, term, arguments, options)
        combine = options.get("combine", np.add)
        while len(parts) > _FAN_IN:
            groups = [parts[start : start + _FAN_IN] for start in range(0, len(parts), _FAN_IN)]
            keys = self._keys(f"add-{name}", len(groups))
            parts = self._remember(
                [
                    self._client.submit(_combined, group, combine, key=key, pure=False)
                    for group, key in zip(groups, keys, strict=True)
                ]
            )
        return _combined(self.results(parts), combine)

    def results(self, parts: list[Future]) -> list[Any]:
        """Wait for futures and return their results; of errors, raise that of the first future."""
        empty_since: float | None = None
        patience = float(dask.config.get("skactivation.patience", _PATIENCE))
        with _explaining_losses():
            while True:
                try:
                    wait(parts, timeout=_POLL)
                    failed = [part for part in parts if part.status == "error"]
                    return list(self._client.gather(failed[:1] or parts))
                except TimeoutError:
                    if self._client.nthreads():
                        empty_since = None
                        continue
                empty_since = empty_since or monotonic()
                if monotonic() - empty_since > patience:
                    raise RuntimeError(
                        f"the cluster has had no worker for {patience:g} seconds: start some, and fit again; or set "
                        "dask.config.set({'skactivation.patience': seconds}) if they come later"
                    )

    def _keys(self, name: str, number: int) -> list[str]:
        """Keys of tasks; Dask's dashboard shows them up to the first number."""
        self._n_calls += 1
        return [f"skactivation-{name}-{self._n_calls}-{place}-{self._fit}" for place in range(number)]

    def _remember(self, futures: list[Future]) -> list[Future]:
        self._futures.update(futures)
        return futures


class Held(NamedTuple):
    """What tasks share; Dask must not look into it."""

    value: Any


def _on_part(function: Callable[..., Any], shared: Held, number: int, *part: Any) -> Any:
    """A task on what a collection has."""
    with single_threaded_blas, np.errstate(all="ignore"):
        return function(shared.value, number, *part)


def _call(shared: bytes, part: Any, own: tuple[Any, ...]) -> Any:
    """A task: the function and its arguments, which `each` packed, on a part."""
    function, arguments = pickle.loads(shared)
    with single_threaded_blas, np.errstate(all="ignore"):
        return function(part, *arguments, *own)


def _sum(rows: Rows, term: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Parts:
    return rows.sum(term, *arguments, **options)


def _combined(parts: list[Parts], combine: Any) -> Parts:
    total, *others = parts
    for part in others:
        total = combined(total, part, combine)
    return total


def _checked(client: Any) -> Client:
    if client is None:
        try:
            client = default_client()
        except ValueError as error:
            raise ValueError(
                "there is no Dask client: make one first, such as distributed.Client(), or pass it as `client`"
            ) from error
    if not isinstance(client, Client):
        raise TypeError(f"client must be a distributed.Client or None, got {client!r} of type {type(client).__name__}")
    if client.status != "running":
        raise ValueError(f"client must be connected to a cluster, got one that is {client.status}: make a new one")
    if _in_a_task():
        raise RuntimeError(
            "a fit inside a task would wait for tasks that wait for its thread: write 'with "
            "distributed.worker_client() as client', and pass the client"
        )
    if client.asynchronous:
        raise TypeError("client must be synchronous, got one with asynchronous=True: a fit waits for its results")
    return client


def _in_a_task() -> bool:
    """Whether this thread is one of a worker's that others wait for."""
    try:
        get_worker()
    except ValueError:
        return False
    return bool(getattr(thread_state, "proceed", False))


@contextmanager
def _explaining_losses() -> Iterator[None]:
    try:
        yield
    except (CancelledError, CommClosedError, ClosedClientError) as error:
        raise RuntimeError(
            f"the cluster lost or cancelled the tasks of the fit ({type(error).__name__}): check that its scheduler "
            "runs and that persisted data still exist, and fit again"
        ) from error
