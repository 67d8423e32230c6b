"""One BLAS thread while skactivation computes: the same bits come out for any number of cores."""

import os
from threading import Lock
from types import TracebackType
from typing import Any

from threadpoolctl import ThreadpoolController

__all__ = ["single_threaded_blas"]


class _SingleThreadedBlas:
    """A context manager that many threads may hold at once: the first in sets the limit, the last out lifts it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._holders = 0
        self._controller: ThreadpoolController | None = None
        self._limiter: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if self._controller is None:
                # Looking for the libraries takes milliseconds, hence once.
                self._controller = ThreadpoolController()
            if self._holders == 0:
                self._limiter = self._controller.limit(limits=1, user_api="blas")
            self._holders += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._limiter.restore_original_limits()
                self._limiter = None

    def reset_after_fork(self) -> None:
        """In a forked child no thread that held the limit lives on."""
        self._lock = Lock()
        if self._holders:
            self._limiter.restore_original_limits()
        self._holders = 0
        self._limiter = None


single_threaded_blas = _SingleThreadedBlas()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=single_threaded_blas.reset_after_fork)
