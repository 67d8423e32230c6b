"""Threads: one for BLAS, as many as the caller allows over blocks. The same bits come out for any number of them."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from itertools import count
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from joblib import cpu_count
from threadpoolctl import ThreadpoolController

T = TypeVar("T")

# Numbers in a slice: what fits into a core's cache. Fewer than some aren't worth the start of threads.
_SLICE_SIZE, _WORTH_THREADS = 2**16, 2**20


class _SingleThreadedBlas:
    """A context manager that many threads may hold at once: the first in sets the limit, the last out lifts it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holders = 0
        self._libraries: list[Any] | None = None
        self._found: list[int] = []
        self._executor: ThreadPoolExecutor | None = None

    def __enter__(self) -> None:
        entered = False
        try:
            with self._lock:
                if self._libraries is None:
                    # Looking for the libraries takes milliseconds, hence once.
                    self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
                if self._holders == 0:
                    self._found = [library.num_threads for library in self._libraries]
                    self._set([1] * len(self._found))
                self._holders += 1
                entered = True
        except BaseException:
            # An interrupt, such as Ctrl-C, in between.
            if entered:
                self.__exit__()
            elif self._holders == 0:
                self._set(self._found)
            raise

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders > 0:
                return
            try:
                self._release()
            except BaseException:
                # An interrupt in between: once more, and to the end.
                self._release()
                raise

    def _release(self) -> None:
        """Lift the limit, and leave no thread behind to disturb a fork."""
        self._set(self._found)
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def submit(self, work: Callable[[], None], n_times: int) -> list[Future[None]]:
        """Let up to `n_times` threads that live until the last holder leaves do some work, the same in each."""
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(max(1, _cores() - 1), "skactivation")
            submitted: list[Future[None]] = []
            # Once the interpreter shuts down, no thread can be had: the caller does all the work.
            with suppress(RuntimeError):
                submitted.extend(self._executor.submit(work) for _ in range(n_times))
            return submitted

    def n_allowed(self) -> int:
        """A holder's share of the threads that BLAS might have used, were it not for the limit.

        That is what the caller allows: OMP_NUM_THREADS and its like, threadpoolctl's limits and joblib's workers, which
        share the cores among them, all set it.
        """
        with self._lock:
            return max(1, min(_cores(), max(self._found, default=1)) // max(1, self._holders))

    def reset_after_fork(self) -> None:
        """In a forked child no other thread that held the limit lives on."""
        self._lock = Lock()
        self._executor = None
        if self._holders:
            self._holders = 0
            self._set(self._found)

    def _set(self, numbers: list[int]) -> None:
        for library, number in zip(self._libraries or [], numbers, strict=False):
            if library.num_threads == number:
                continue
            # From threadpoolctl 3.8 on, a limit set by one thread is, silently, not another's to change. This one
            # is: the last thread out is seldom the first in.
            release = getattr(library, "clear_controlling_thread", lambda force: None)
            release(force=True)
            library.set_num_threads(number)
            release(force=True)


single_threaded_blas = _SingleThreadedBlas()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=single_threaded_blas.reset_after_fork)


def in_threads(task: Callable[[int], T], n_tasks: int) -> list[T]:
    """The results of task(0), task(1), ... in this order, computed on as many threads as the caller allows.

    For holders of `single_threaded_blas`.
    """
    n_threads = min(n_tasks, single_threaded_blas.n_allowed()) if n_tasks > 1 else 1
    if n_threads == 1:
        return [task(number) for number in range(n_tasks)]
    results: list[Any] = [None] * n_tasks
    numbers = count()

    def work() -> None:
        # Floating-point warnings are a matter of each thread.
        with np.errstate(all="ignore"):
            while (number := next(numbers)) < n_tasks:
                results[number] = task(number)

    others = single_threaded_blas.submit(work, n_threads - 1)
    try:
        work()
    finally:
        # Whatever is raised here, no thread goes on working; and what they raise comes out.
        numbers = count(n_tasks)
        wait(others)
    for other in others:
        other.result()
    return results


def even_slices(n_rows: int, n_blocks: int) -> list[slice]:
    """About `n_blocks` slices of nearly the same length: a multiple of 8 or 2, if there are rows enough for it."""
    multiple = 8 if n_blocks > 8 else 2 if n_blocks > 1 else 1
    n_blocks = -(-n_blocks // multiple) * multiple
    n_blocks = max(1, min(n_blocks, n_rows))
    return [slice(i * n_rows // n_blocks, (i + 1) * n_rows // n_blocks) for i in range(n_blocks)]


def over_slices(task: Callable[[slice], T], length: int, numbers_each: int) -> list[T]:
    """The results of a task for the slices of 0 to `length`, in order.

    The slices follow from the arguments alone. The caller holds `threads_for` at least as many numbers. A task must not
    call this function: all threads might wait.
    """
    slices = even_slices(length, -(-length * numbers_each // _SLICE_SIZE))
    if length * numbers_each < _WORTH_THREADS:
        return [task(part) for part in slices]
    return in_threads(lambda number: task(slices[number]), len(slices))


def threads_for(n_numbers: int) -> AbstractContextManager[None]:
    """The context in which `over_slices` may work on so many numbers; for few numbers it uses no threads."""
    return nullcontext() if n_numbers < _WORTH_THREADS else single_threaded_blas


@cache
def _cores() -> int:
    """Cores that this process may use; joblib reads files to tell, which takes too long for each fit."""
    return int(cpu_count())
