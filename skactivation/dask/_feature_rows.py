"""X with targets and weights in partitions on a cluster, as objectives know it: sums, and samples that come here."""

from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple, Self

import numpy as np
from dask.sizeof import sizeof
from distributed import Future

from skactivation._data.blocks import CONCATENATE, Parts
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
    known = data.cluster.results(data.cluster.each("target-facts", _known, data.parts))
    of_first: EncodedTargets = known[0][0]
    return replace(of_first, targets=RemoteTargets([facts for _, facts in known]))


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
        ends = np.cumsum(table, axis=0)
        # The places of a stratum's rows, split among the partitions.
        split = [
            np.split(ranks, np.searchsorted(ranks, of_stratum[:-1]))
            for ranks, of_stratum in zip(stratum_ranks(counts, quotas), ends.T, strict=True)
        ]
        own = [
            (
                of_strata,
                [ranks[part] - (end[part - 1] if part else 0) for ranks, end in zip(split, ends.T, strict=True)],
            )
            for part, of_strata in enumerate(strata)
        ]
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

    def _keep(self) -> None:
        """Keep nothing: the workers hold many partitions."""

    def drawn(self, chosen: Array, stands_for: Array) -> _Drawn | None:
        """The rows with the given numbers; None for none."""
        if not chosen.size:
            return None
        weights = np.ones(chosen.size) if self.weights is None else self.weights[chosen]
        return _Drawn(self._X[chosen], self.targets.take(chosen), weights, stands_for)


@sizeof.register(_PartRows)  # type: ignore[untyped-decorator]
def _size(rows: _PartRows) -> int:
    """Bytes of a partition, by which Dask decides where it computes what."""
    return int(rows._X.nbytes) + 32 * rows.n_rows


def _encoded(part: Part, encoder: Any, dtype: Any) -> EncodedPart:
    return EncodedPart(part.X.astype(dtype, copy=False), encoder.encode(part.y))


def _known(part: EncodedPart) -> tuple[EncodedTargets, TargetFacts]:
    """What is the same for all partitions, and facts about the targets and weights of this one."""
    facts = facts_of_targets(part.y.targets, part.y.weights)
    return replace(part.y, targets=RemoteTargets([facts]), weights=None), facts


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


def _at_ranks(rows: _PartRows, stand_for: Array, strata: Array, ranks: list[Array]) -> _Drawn | None:
    return rows.drawn(*rows_at_ranks(strata, ranks, stand_for))


def _shares(rows: _PartRows, term: Any, arguments: tuple[Any, ...], dtype: Any) -> Array:
    (parts,) = rows.sum(term, *arguments, size=1, dtype=dtype, combine=CONCATENATE)
    return np.concatenate(parts)


def _at_steps(rows: _PartRows, totals: Array, counts: Array, n_rows: int, shares: Array, part: int) -> _Drawn | None:
    return rows.drawn(*even_steps(shares, totals, counts, part, n_rows))
