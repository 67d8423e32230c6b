"""Rows that are read block by block, and sums over them on as many threads as the caller allows.

A term is a function ``term(block, *arguments)`` of a module that returns a tuple of numbers, arrays and lists. It takes
all data of rows from its block, and writes only to that block. Objectives know data as `Rows`: to compute elsewhere,
such as on a cluster, write a subclass of it.
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
"""Combines lists that have one item a block, in the order of the rows."""
# Elements of the partial sums that are held at once, 64 MB: fewer leave threads idle, more take memory.
_PARTIAL_SUMS_SIZE = 2**23
# Multiplications of a pass above which threads pay, measured on two cores. Below, waiting for Python's lock costs more
# than threads save.
_WORTH_THREADS = 10_000_000
# Largest number of groups of blocks, each summed on one thread: more would only add partial sums.
_MOST_GROUPS = 32


class Rows(ABC):
    """Rows of data, wherever they are, and sums of terms over them."""

    n_passes: int = 0
    """Number of passes over all rows so far."""

    @abstractmethod
    def sum(
        self,
        term: Callable[..., Parts],
        *arguments: Any,
        size: int,
        dtype: Any = np.float64,
        combine: Callable[..., Any] | tuple[Callable[..., Any], ...] = np.add,
        cost: float = 1.0,
    ) -> Parts:
        """Combine the results of ``term(block, *arguments)`` over all blocks.

        Parameters
        ----------
        term : callable
            Function of a block and the arguments that returns a tuple.
        *arguments
            Further arguments of the term.
        size : int
            Number of elements in the result of the term.
        dtype : dtype
            dtype of the numbers in the blocks.
        combine : callable or tuple of callables
            A ufunc or `CONCATENATE`: one for all elements of the tuple, or one for each.
        cost : float
            Approximate work of the term, relative to that of the logits.

        Returns
        -------
        tuple
            The combined results, in the form that the term returns.
        """


class RowBlocks(Rows):
    """Rows of data in blocks that stay in cache, and sums of terms over the blocks.

    Blocks, their grouping and the order of all additions depend only on the shape of the data, so results are the same
    bits for any number of threads.
    """

    slices: list[slice]
    """The rows of each block."""
    work: float
    """Approximate number of multiplications for the logits of all rows."""
    only: Any = None
    """The only block of small data, in double precision; None if blocks are made for each pass."""

    @abstractmethod
    def blocks(self, slices: list[slice], dtype: Any) -> Iterator[Any]:
        """Yield the blocks of the given slices. A block is valid until the next one is yielded."""

    def sum(
        self,
        term: Callable[..., Parts],
        *arguments: Any,
        size: int,
        dtype: Any = np.float64,
        combine: Callable[..., Any] | tuple[Callable[..., Any], ...] = np.add,
        cost: float = 1.0,
    ) -> Parts:
        """Combine the results of ``term(block, *arguments)`` over all blocks, on threads if they pay."""
        self.n_passes += 1
        if self.only is not None and dtype == np.float64:
            return term(self.only, *arguments)
        n_blocks = len(self.slices)
        n_groups = min(n_blocks, _MOST_GROUPS, max(2, _PARTIAL_SUMS_SIZE // size))

        def group_total(group: int) -> Parts:
            blocks = self.blocks(self.slices[group * n_blocks // n_groups : (group + 1) * n_blocks // n_groups], dtype)
            total = term(next(blocks), *arguments)
            for block in blocks:
                total = combined(total, term(block, *arguments), combine, in_place=True)
            return total

        parallel = self.work * cost >= _WORTH_THREADS
        totals = in_threads(group_total, n_groups) if parallel else [group_total(group) for group in range(n_groups)]
        total, *others = totals
        for parts in others:
            total = combined(total, parts, combine, in_place=True)
        return total


def combined(total: Parts, parts: Parts, combine: Any, *, in_place: bool = False) -> Parts:
    """Partial results with more of them, as in `Rows.sum`; in place, if no other object refers to their arrays."""
    functions = combine if isinstance(combine, tuple) else (combine,) * len(parts)
    return tuple(
        function(before, part, out=before)
        if in_place and isinstance(function, np.ufunc) and isinstance(before, np.ndarray) and before.ndim
        else function(before, part)
        for function, before, part in zip(functions, total, parts, strict=True)
    )


class Buffers:
    """Arrays that blocks reuse, one set a thread: allocating memory would cost as much as the work in it."""

    def __init__(self) -> None:
        self._free: deque[Any] = deque()

    def __reduce__(self) -> Any:
        # Files need no arrays that are written over.
        return Buffers, ()

    def take(self, make: Callable[[], Any]) -> Any:
        """Return a set that no other thread uses; make one if there is none."""
        try:
            return self._free.pop()
        except IndexError:
            return make()

    def give_back(self, buffers: Any) -> None:
        """Make a set available to other threads."""
        self._free.append(buffers)


def absent_rows(weights: Array | None) -> Array | None:
    """Mask (n,) of rows with weight 0 in every problem; None if there are none. Weights are (n,) or (W, n)."""
    if weights is None or weights.min() > 0:
        return None
    absent: Array = weights == 0 if weights.ndim == 1 else (weights == 0).all(axis=0)
    return absent
