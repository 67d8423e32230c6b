"""One BLAS thread while skactivation computes: the same bits come out for any number of cores."""

import os
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["single_threaded_blas"]


class _SingleThreadedBlas:
    """A context manager that many threads may hold at once: the first in sets the limit, the last out lifts it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holders = 0
        self._libraries: list[Any] | None = None
        self._found: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            if self._libraries is None:
                # Looking for the libraries takes milliseconds, hence once.
                self._libraries = ThreadpoolController().select(user_api="blas").lib_controllers
            if self._holders == 0:
                self._found = [library.num_threads for library in self._libraries]
                self._set([1] * len(self._found))
            self._holders += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._set(self._found)

    def reset_after_fork(self) -> None:
        """In a forked child no other thread that held the limit lives on."""
        self._lock = Lock()
        if self._holders:
            self._holders = 0
            self._set(self._found)

    def _set(self, numbers: list[int]) -> None:
        for library, number in zip(self._libraries or [], numbers, strict=True):
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
