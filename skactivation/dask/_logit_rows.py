"""Logits with targets and weights in partitions on a cluster, as calibrations know them."""

from collections.abc import Callable
from copy import copy
from typing import Any, NamedTuple, Self

import numpy as np
from dask.sizeof import sizeof

from skactivation._data.blocks import Parts
from skactivation._data.class_columns import named_columns
from skactivation._typing import Array
from skactivation._validation import check_sample_weight
from skactivation.calibration._labelled_logits import Columns
from skactivation.calibration._logits import LogitRows, LogitRowsInBlocks, Summary
from skactivation.dask._cluster import Cluster
from skactivation.dask._partitions import (
    Part,
    Partitions,
    RemoteTargets,
    TargetFacts,
    facts_of_targets,
    meta_of,
    naming,
)


class PartitionedLogits(LogitRows):
    """Logits on the workers of a cluster: a `LogitRowsInBlocks` a partition, and sums in the partitions' order."""

    def __init__(self, data: Partitions, columns: Columns, names: Array) -> None:
        self._cluster, self._counts, self._numbers = data.cluster, data.counts, data.numbers
        each = data.cluster.each
        parts = each("encode", _encoded, data.parts, columns, data.totals, names, data.largest_weight)
        data.parts = []
        facts = data.cluster.results(each("target-facts", _facts, parts))
        self.n_rows, self.n_columns = data.shape
        self.targets = RemoteTargets([fact.targets for fact in facts])
        self.exclusive, self.n_problems = self.targets.n_logits > 1, self.targets.n_problems
        self._unlikely = [fact.unlikely for fact in facts]
        self.least_weight = min(fact.least_weight for fact in facts)
        self._parts = each("change", _changed, parts, {"least_weight": self.least_weight})

    def with_(self, **changes: Any) -> Self:
        """A copy with changed attributes, here and on the workers."""
        other = copy(self)
        vars(other).update(changes)
        if changes:
            other._parts = self._cluster.each("change", _changed, self._parts, changes)
        return other

    def sum(self, term: Any, *arguments: Any, **options: Any) -> Parts:
        """Combine the results of a term over the partitions, in their order."""
        self.n_passes += 1
        return self._cluster.sum(self._parts, term, arguments, **options)

    def unlikely(self) -> str | None:
        """A message if the logits look like probabilities."""
        return None if None in self._unlikely else self._unlikely[0]

    def take(self, chosen: Array) -> LogitRowsInBlocks:
        """The rows with the given numbers in memory, in the same unit."""
        starts = np.cumsum(self._counts) - self._counts
        own = [(of_part - start,) for of_part, start in zip(_split(chosen, starts), starts, strict=True)]
        parts = self._cluster.results(self._cluster.each("sample", LogitRowsInBlocks.take, self._parts, own=own))
        parts = [part for part in parts if part.n_rows]
        targets = type(parts[0].targets).joined([part.targets for part in parts])
        weights = [np.ones(part.n_rows) if part.weights is None else part.weights for part in parts]
        values = np.concatenate([part.values for part in parts])
        return LogitRowsInBlocks(values, targets, np.concatenate(weights)).with_(unit=self.unit)

    def summarised(self) -> tuple[Self, Summary]:
        """The rows, of which `sum` subtracts each row's largest logit; and sums over the rows, in one pass."""
        each = self._cluster.each
        both = each("summarise", _summarised, self._parts, own=[(number,) for number in self._numbers])
        other = copy(self)
        other.n_passes += 1
        other._parts = each("keep-rows", _item, both, 0)
        return other, Summary.joined(self._cluster.results(each("keep-summary", _item, both, 1)))


def labelled_partitions(
    cluster: Cluster,
    columns: Columns,
    parts: list[Any],
    logits_of_block: Callable[[Any], Array],
    X: Any,
    *,
    every_class: bool = False,
) -> tuple[PartitionedLogits, Array]:
    """Join logits with their targets, where they are; also return the classes or labels of the columns.

    Parameters
    ----------
    cluster : Cluster
        Where they are.
    columns : Columns
        The columns of the logits.
    parts : list
        What `delayed_parts` returned for X.
    logits_of_block : callable
        Makes logits (n, K) of a block of X.
    X : Dask collection
        Its columns may have the names of the classes.
    every_class : bool
        Whether a class without a row of positive weight is an error.
    """
    data = Partitions(cluster, LogitReader(columns, logits_of_block), parts, columns.number)
    if not columns.multilabel and columns.classes is None and not data.totals.are_soft:
        found = data.totals.classes[data.totals.n_rows > 0]
        columns = columns._replace(classes=named_columns(meta_of(X), found, None))
    names = columns.names(data.totals, every_class=every_class)
    return PartitionedLogits(data, columns, names), names


class LogitReader(NamedTuple):
    """Reads logits, or computes them by a fitted classifier."""

    columns: Columns
    logits: Callable[[Any], Array]
    """Logits (n, K) of a block."""

    def read(self, X: Any, y: Any, sample_weight: Any) -> Part:
        """The logits of a partition, with y and weights."""
        z = self.logits(X)
        shape = z.shape if self.columns.multilabel else z.shape[:1]
        weights = check_sample_weight(sample_weight, shape, allow_zeros=True)
        largest = None if weights is None else float(weights.max() if weights.ndim == 1 else weights.any())
        return Part(z, self.columns.read(y, weights), largest)


class _Facts(NamedTuple):
    """What the client must know of a partition."""

    targets: TargetFacts
    least_weight: float
    unlikely: str | None


def _size(rows: LogitRowsInBlocks) -> int:
    """Bytes of a partition, by which Dask decides where it computes what."""
    return int(rows.values.nbytes) + 32 * rows.n_rows


sizeof.register(LogitRowsInBlocks, _size)


def _encoded(part: Part, columns: Columns, totals: Any, names: Array, unit: float) -> LogitRowsInBlocks:
    targets, weights = columns.encode(part.y, totals, names)
    return LogitRowsInBlocks(part.X, targets, None if weights is None else weights / unit)


def _facts(rows: LogitRowsInBlocks) -> _Facts:
    return _Facts(facts_of_targets(rows.targets, rows.weights), rows.least_weight, rows.unlikely())


def _changed(rows: LogitRowsInBlocks, changes: dict[str, Any]) -> LogitRowsInBlocks:
    return rows.with_(**changes)


def _summarised(rows: LogitRowsInBlocks, number: int) -> tuple[LogitRowsInBlocks, Summary]:
    with naming(number):
        return rows.summarised()


def _item(both: tuple[Any, Any], place: int) -> Any:
    return both[place]


def _split(numbers: Array, starts: Array) -> list[Array]:
    """Sorted row numbers, split among parts that start at some rows."""
    return np.split(numbers, np.searchsorted(numbers, starts[1:]))
