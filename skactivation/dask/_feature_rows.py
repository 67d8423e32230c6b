"""X with targets and weights in partitions on a cluster, as objectives know it: sums, and samples that come here."""

from copy import copy
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
from dask.sizeof import sizeof
from distributed import Future

from skactivation._data.blocks import CONCATENATE, Buffers, Parts
from skactivation._data.dense import DenseRows, estimate, measure
from skactivation._data.features import Columns, FeatureRows, SampledRows
from skactivation._data.sampling import even_steps, rows_at_ranks, stratum_quotas, stratum_ranks
from skactivation._data.targets import Targets
from skactivation._typing import Array
from skactivation.dask._cluster import Cluster
from skactivation.dask._partitions import Part, Partitions, RemoteTargets, TargetFacts, facts_of_targets
from skactivation.linear_model._encoded_targets import EncodedTargets


class EncodedPart(NamedTuple):
    """A partition's rows of X, with y and weights as fits take them."""

    X: Array
    y: EncodedTargets


def encode(data: Partitions, encoder: Any) -> EncodedTargets:
    """Encode y of partitions, where it is; return what the client must know of it."""
    data.parts = data.cluster.each("encode", _encoded, data.parts, encoder, data.dtype)
    each = data.cluster.each
    of_first: EncodedTargets = data.cluster.results(each("facts-of-first", _without_data, data.parts[:1]))[0]
    facts = data.cluster.results(each("target-facts", _facts, data.parts))
    return replace(of_first, targets=RemoteTargets(facts))


class PartitionedRows(FeatureRows):
    """Dense rows on the workers of a cluster: a `DenseRows` a partition, and sums of theirs in the partitions' order.

    Results depend on the partitions, but not on the workers that hold them.
    """

    weights = None

    def __init__(self, cluster: Cluster, parts: list[Future], counts: Array, targets: RemoteTargets) -> None:
        self._cluster, self._parts, self._counts = cluster, parts, counts
        self.targets = targets
        self.n_rows = int(counts.sum())

    @classmethod
    def of(cls, data: Partitions, targets: RemoteTargets, *, fit_intercept: bool) -> Self:
        """Rows of encoded partitions, which the data then let go, with weights relative to the largest."""
        n_outputs = targets.n_problems * targets.n_logits
        parts = data.cluster.each(
            "prepare", _prepared, data.parts, targets.are_weighted, targets.largest_weight, n_outputs, fit_intercept
        )
        data.parts = []
        rows = cls(data.cluster, parts, data.counts, targets)
        rows.is_weighted, rows.fit_intercept, rows.n_outputs = targets.are_weighted, fit_intercept, n_outputs
        rows.n_features = data.shape[1]
        rows.n_columns = rows.n_features + fit_intercept
        estimate(rows, data.dtype)
        rows.columns, rows.weight_facts = measure(rows, data.dtype)
        rows._parts = data.cluster.each("scale", _with_columns, parts, rows.columns)
        return rows

    def sum(self, term: Any, *arguments: Any, **options: Any) -> Parts:
        """Combine the results of a term over the partitions, in their order."""
        self.n_passes += 1
        return self._cluster.sum(self._parts, term, arguments, **options)

    def stratified_sample(self, size: int) -> SampledRows:
        """About `size` rows, some of each of the targets' strata."""
        each = self._cluster.each
        strata = each("strata", _strata, self._parts)
        by_part = self._cluster.results(each("count-strata", np.bincount, strata))
        table = np.zeros((len(by_part), max(counts.size for counts in by_part)), dtype=np.intp)
        for row, counts in zip(table, by_part, strict=True):
            row[: counts.size] = counts
        counts = table.sum(axis=0)
        quotas = stratum_quotas(counts, size)
        stand_for = counts / np.maximum(quotas, 1)
        chosen, ranks = stratum_ranks(counts, quotas)
        ends = np.cumsum(table, axis=0)
        # The partition of each sampled row, and its place among those of its stratum there.
        owners = np.concatenate(
            [np.searchsorted(end, ranks[chosen == stratum], side="right") for stratum, end in enumerate(ends.T)]
        )
        ranks = ranks - (ends - table)[owners, chosen]
        own = [(of_part, chosen[owners == number], ranks[owners == number]) for number, of_part in enumerate(strata)]
        return self._sampled(each("sample", _at_ranks, self._parts, stand_for, own=own))

    def sample_by(self, n_rows: int, shares: Any, *arguments: Any, dtype: Any) -> SampledRows:
        """At most `n_rows` rows, drawn by the shares that a term `shares` gives as a list; see `even_steps`."""
        self.n_passes += 1
        each = self._cluster.each
        of_rows = each("curvature-shares", _shares, self._parts, shares, arguments, dtype)
        totals = np.array(self._cluster.results(each("add-shares", np.sum, of_rows)))
        own = [(part, number) for number, part in enumerate(of_rows)]
        return self._sampled(each("sample", _at_steps, self._parts, totals, self._counts, n_rows, own=own))

    def _sampled(self, parts: list[Future]) -> SampledRows:
        """Sampled rows of all partitions, here."""
        drawn = [part for part in self._cluster.results(parts) if part is not None]
        X, weights, stands_for = (
            np.concatenate([getattr(part, name) for part in drawn]) for name in ("X", "weights", "stands_for")
        )
        targets = type(drawn[0].targets).joined([part.targets for part in drawn])
        rows = DenseRows(
            X,
            targets,
            weights,
            n_outputs=self.n_outputs,
            fit_intercept=self.fit_intercept,
            columns=self.columns,
        )
        rows.dtype = self.dtype
        return SampledRows(rows.take(np.arange(len(X)), stands_for), max(1.0, float(stands_for.max())))


class _Drawn(NamedTuple):
    """Sampled rows of a partition."""

    X: Array
    targets: Targets
    weights: Array
    stands_for: Array


class _PartRows(DenseRows):
    """The rows of a partition."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The partitions of a worker share arrays that are written over.
        self._buffers = _buffers(max(rows.stop - rows.start for rows in self.slices), self.n_columns, self.n_outputs)

    def _keep(self) -> None:
        """Keep no centred columns: the workers hold many partitions."""

    def drawn(self, chosen: Array, stands_for: Array) -> _Drawn | None:
        """The rows with the given numbers; None for none."""
        if not chosen.size:
            return None
        weights = np.ones(chosen.size) if self.weights is None else self.weights[chosen]
        return _Drawn(self._X[chosen], self.targets.take(chosen), weights, stands_for)


@lru_cache(maxsize=8)
def _buffers(n_rows: int, n_columns: int, n_outputs: int) -> dict[Any, Buffers]:
    """Arrays for blocks of a size, for each precision."""
    return {np.dtype(dtype): Buffers() for dtype in (np.float32, np.float64)}


def _size(rows: _PartRows) -> int:
    """Bytes of a partition, by which Dask decides where it computes what."""
    return int(rows._X.nbytes) + 32 * rows.n_rows


sizeof.register(_PartRows, _size)


def _encoded(part: Part, encoder: Any, dtype: Any) -> EncodedPart:
    return EncodedPart(part.X.astype(dtype, copy=False), encoder.encode(part.y))


def _without_data(part: EncodedPart) -> EncodedTargets:
    """What is the same for all partitions."""
    return replace(part.y, targets=RemoteTargets([_facts(part)]), weights=None)


def _facts(part: EncodedPart) -> TargetFacts:
    return facts_of_targets(part.y.targets, part.y.weights)


def _prepared(part: EncodedPart, are_weighted: bool, unit: float, n_outputs: int, fit_intercept: bool) -> _PartRows:
    weights = part.y.weights
    if are_weighted:
        weights = (np.ones(len(part.X)) if weights is None else weights) / unit
    columns = Columns.as_they_are(part.X.shape[1])
    return _PartRows(part.X, part.y.targets, weights, n_outputs=n_outputs, fit_intercept=fit_intercept, columns=columns)


def _with_columns(rows: _PartRows, columns: Columns) -> _PartRows:
    scaled = copy(rows)
    scaled.columns = columns
    return scaled


def _strata(rows: _PartRows) -> Array:
    return rows.targets.strata()


def _at_ranks(rows: _PartRows, stand_for: Array, strata: Array, chosen: Array, ranks: Array) -> _Drawn | None:
    return rows.drawn(*rows_at_ranks(strata, chosen, ranks, stand_for))


def _shares(rows: _PartRows, term: Any, arguments: tuple[Any, ...], dtype: Any) -> Array:
    (parts,) = rows.sum(term, *arguments, size=1, dtype=dtype, combine=CONCATENATE)
    return np.concatenate(parts)


def _at_steps(rows: _PartRows, totals: Array, counts: Array, n_rows: int, shares: Array, part: int) -> _Drawn | None:
    return rows.drawn(*even_steps(shares, totals, counts, part, n_rows))
