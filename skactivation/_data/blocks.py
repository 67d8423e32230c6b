"""The one seam for data: rows that are read block by block, and sums over them on all threads that the caller allows.

A term is a function ``term(block, *arguments)`` that returns a tuple of numbers, arrays and lists. It takes everything
that belongs to rows from its block and writes nowhere else. Data that are kept elsewhere, on disk or on a cluster, are
another subclass of `RowBlocks`.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from operator import add
from typing import Any

import numpy as np

from skactivation._threads import in_threads
from skactivation._typing import Array

Parts = tuple[Any, ...]

CONCATENATE = add
"""The way to combine lists, one item a block, in the order of the rows."""
# Elements of the partial sums that are held at once: 64 MB. Fewer leave threads idle, more take memory.
_PARTIAL_SUMS_SIZE = 2**23
# Multiplications of a pass from which on threads are worth their start, measured on two cores: below it, waiting for
# Python's lock costs more than they gain.
_WORTH_THREADS = 10_000_000
# Groups of blocks, each summed on one thread: more would only add partial sums.
_MOST_GROUPS = 32


class RowBlocks(ABC):
    """Rows of data in blocks that stay in cache, and sums of terms over the blocks.

    Blocks, their grouping and the order of all additions follow from the data's shape alone. So results are the same
    bits for any number of threads.
    """

    slices: list[slice]
    """The rows of each block."""
    n_passes: int = 0
    """How often all rows have been read."""
    work: float
    """Multiplications, about, that the logits of all rows take."""
    only: Any = None
    """The one block, in double precision, that small data consist of; None where blocks are made for each pass."""

    @abstractmethod
    def blocks(self, slices: list[slice], dtype: Any) -> Iterator[Any]:
        """Yield some blocks, one at a time. A block is valid until the next one is asked for."""

    def sum(
        self,
        term: Callable[..., Parts],
        *arguments: Any,
        size: int,
        dtype: Any = np.float64,
        combine: Callable[..., Any] | tuple[Callable[..., Any], ...] = np.add,
        cost: float = 1.0,
    ) -> Parts:
        """Combine what ``term(block, *arguments)`` returns for each block.

        Parameters
        ----------
        term : callable
            From a block and the arguments to a tuple.
        *arguments
            What else the term needs.
        size : int
            Elements of what the term returns, all together.
        dtype : dtype
            Of the blocks' numbers.
        combine : callable or tuple of callables
            A ufunc or `CONCATENATE`, one for all that the term returns or one for each.
        cost : float
            How many times the work of the logits the term takes, about.

        Returns
        -------
        tuple
            As the term returns it.
        """
        self.n_passes += 1
        if self.only is not None and dtype == np.float64:
            return term(self.only, *arguments)
        n_blocks = len(self.slices)
        n_groups = min(n_blocks, _MOST_GROUPS, max(2, _PARTIAL_SUMS_SIZE // size))

        def group_total(group: int) -> Parts:
            blocks = self.blocks(self.slices[group * n_blocks // n_groups : (group + 1) * n_blocks // n_groups], dtype)
            total = term(next(blocks), *arguments)
            for block in blocks:
                total = _combined(total, term(block, *arguments), combine)
            return total

        parallel = self.work * cost >= _WORTH_THREADS
        totals = in_threads(group_total, n_groups) if parallel else [group_total(group) for group in range(n_groups)]
        total, *others = totals
        for parts in others:
            total = _combined(total, parts, combine)
        return total


def _combined(total: Parts, parts: Parts, combine: Any) -> Parts:
    functions = combine if isinstance(combine, tuple) else (combine,) * len(parts)
    return tuple(
        # In place, since nothing else refers to a partial sum.
        function(before, part, out=before)
        if isinstance(function, np.ufunc) and isinstance(before, np.ndarray) and before.ndim
        else function(before, part)
        for function, before, part in zip(functions, total, parts, strict=True)
    )


class Buffers:
    """Arrays that blocks reuse, one set a thread: fresh memory would cost as much as the work in it."""

    def __init__(self) -> None:
        self._free: deque[Any] = deque()

    def take(self, make: Callable[[], Any]) -> Any:
        """A set that no other thread holds, made anew if there is none."""
        try:
            return self._free.pop()
        except IndexError:
            return make()

    def give_back(self, buffers: Any) -> None:
        """Let others have a set."""
        self._free.append(buffers)


def absent_rows(weights: Array | None) -> Array | None:
    """Which rows (n,) have weight 0 in every problem; None for none. Weights have the shape (n,) or (P, n)."""
    if weights is None or weights.min() > 0:
        return None
    absent: Array = weights == 0 if weights.ndim == 1 else (weights == 0).all(axis=0)
    return absent
