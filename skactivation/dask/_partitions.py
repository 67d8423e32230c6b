"""Dask collections as partitions of rows: aligned, read, checked and encoded on the workers."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import dask.array as da
import numpy as np
from dask import is_dask_collection
from dask.delayed import Delayed
from distributed import Future
from scipy import sparse

from skactivation._data.inputs import check_features
from skactivation._data.targets import Targets
from skactivation._typing import Array
from skactivation._validation import check_same_rows, check_sample_weight, refuse_zero_weights
from skactivation.dask._cluster import Cluster
from skactivation.linear_model._base import LinearLogitModel
from skactivation.linear_model._encoded_targets import EncodedTargets


class Part(NamedTuple):
    """A partition's rows of X, with what the estimator's `_describe` made of y, and weights."""

    X: Array
    y: Any
    has_weight: bool
    """Whether a row has a positive weight."""


class PartFacts(NamedTuple):
    """What the client must know of a partition."""

    n_rows: int
    dtype: Any
    totals: Any
    """What `_plan` takes."""
    has_weight: bool


class EncodedPart(NamedTuple):
    """A partition's rows of X, with y and weights as fits take them."""

    X: Array
    y: EncodedTargets


def delayed_parts(X: Any, y: Any, sample_weight: Any) -> list[tuple[Any, Any, Any]]:
    """The partitions of X, y and the weights, each as objects of class Delayed; None for weights that are not given.

    Raises
    ------
    TypeError, ValueError
        If they are no Dask collections, or their partitions don't belong together.
    """
    if not is_dask_collection(X):
        raise TypeError(
            f"X must be a Dask array or data frame, got {type(X).__name__}; for data in memory or in a file use the "
            "estimator of the same name without Dask"
        )
    if len(X.shape) != 2:
        raise ValueError(f"X must have the shape (n, d), got {len(X.shape)} dimension{'s'[: len(X.shape) != 1]}")
    if isinstance(X, da.Array):
        X = X.rechunk({1: -1})
    parts = [_delayed(X)]
    for name, values in (("y", y), ("sample_weight", sample_weight)):
        if values is None:
            parts.append([None] * len(parts[0]))
            continue
        parts.append(_delayed(_aligned(values, X, name)))
        if len(parts[-1]) != len(parts[0]):
            raise ValueError(
                f"X and {name} must have the same number of partitions, got {len(parts[0])} and {len(parts[-1])}; "
                "repartition one of them, or call compute_chunk_sizes() of arrays with unknown chunks"
            )
    return list(zip(*parts, strict=True))


def _aligned(values: Any, X: Any, name: str) -> Any:
    """A collection in the chunks of X, if both are known."""
    known = isinstance(X, da.Array) and not np.isnan(X.chunks[0]).any()
    if not is_dask_collection(values):
        if not known:
            raise TypeError(
                f"{name} must be a Dask collection like X, got {type(values).__name__}; partitions of X whose sizes "
                "are not known cannot be matched with it"
            )
        check_same_rows(**{"X": X, name: values})
        values = np.asarray(values)
        return da.from_array(values, chunks=(X.chunks[0], *values.shape[1:]))
    if not isinstance(values, da.Array):
        return values
    if known and not np.isnan(values.chunks[0]).any():
        if values.shape[0] != X.shape[0]:
            raise ValueError(f"X and {name} must have the same number of rows, got {X.shape[0]} and {values.shape[0]}")
        values = values.rechunk({0: X.chunks[0]})
    return values.rechunk({1: -1}) if values.ndim > 1 else values


def _delayed(collection: Any) -> list[Delayed]:
    return list(np.ravel(np.array(collection.to_delayed(), dtype=object)))


class TargetFacts(NamedTuple):
    """What objectives must know of targets without them."""

    loss: Any
    n_problems: int
    n_logits: int
    hard: bool
    uniform: bool
    least_weights: Array
    separable: bool
    largest_weight: float | None
    """The largest weight of a row; None if rows have no weights."""


class RemoteTargets(Targets):
    """Facts about the targets of all partitions; the targets themselves are on the workers."""

    def __init__(self, parts: list[TargetFacts]) -> None:
        self.loss, self.n_problems, self.n_logits = parts[0][:3]
        self.hard, self.uniform = all(part.hard for part in parts), all(part.uniform for part in parts)
        self._least = np.min([part.least_weights for part in parts], axis=0)
        self._separable = all(part.separable for part in parts)
        largest = [part.largest_weight for part in parts if part.largest_weight is not None]
        self.are_weighted = bool(largest)
        """Whether some rows have weights; the others then have the weight 1."""
        self.largest_weight = max(largest + [1.0] * (len(largest) < len(parts)))

    def block(self, rows: slice | Array, problems: Array) -> Any:
        raise self._elsewhere()

    def strata(self) -> Array:
        raise self._elsewhere()

    def take(self, chosen: Array) -> Any:
        raise self._elsewhere()

    def least_weights(self) -> Array:
        return self._least

    def can_be_separated(self) -> bool:
        return self._separable

    def _elsewhere(self) -> Exception:
        return TypeError("these targets are on the workers of a cluster")


class Partitions:
    """Partitions on a cluster, checked: X of a fit, with y and weights in the estimator's form.

    Parameters
    ----------
    cluster : Cluster
        Where they are.
    reader : LinearLogitModel
        A plain estimator with the attributes that describe the features.
    parts : list
        What `delayed_parts` returned.
    n_features : int
        Number of columns of X.
    """

    def __init__(self, cluster: Cluster, reader: LinearLogitModel, parts: list[Any], n_features: int) -> None:
        self.cluster = cluster
        futures = cluster.on_collections("read", _read, [(reader, *part) for part in parts])
        facts = cluster.results(cluster.each("describe", _facts, futures))
        self.parts = [future for future, fact in zip(futures, facts, strict=True) if fact is not None]
        facts = [fact for fact in facts if fact is not None]
        if not facts:
            raise ValueError("X has no rows: all its partitions are empty")
        refuse_zero_weights(any(fact.has_weight for fact in facts))
        self.counts = np.array([fact.n_rows for fact in facts])
        self.dtype = np.result_type(*(fact.dtype for fact in facts))
        self.shape = int(self.counts.sum()), n_features
        self.totals = type(facts[0].totals).joined([fact.totals for fact in facts])
        """What the estimator's `_plan` takes."""

    def encode(self, plan: Any) -> EncodedTargets:
        """Encode y by a plan, where it is; return what the client knows of it."""
        self.parts = self.cluster.each("encode", _encode, self.parts, plan, self.dtype)
        known = self.cluster.results(self.cluster.each("describe-targets", _facts_of_targets, self.parts))
        encoded, facts = zip(*known, strict=True)
        return replace(encoded[0], targets=RemoteTargets(list(facts)))


@contextmanager
def naming(number: int) -> Iterator[None]:
    """Name the partition in errors about its data."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"partition {number}: {error}") from error


def _read(number: int, reader: LinearLogitModel, X: Any, y: Any, sample_weight: Any) -> Part | None:
    """A partition, checked; None if it has no rows."""
    with naming(number):
        check_same_rows(X=X, y=y, **({} if sample_weight is None else {"sample_weight": sample_weight}))
        if X.shape[0] == 0:
            return None
        if sparse.issparse(X):
            raise TypeError("X must be dense, got a sparse array; use .map_blocks(lambda block: block.toarray())")
        features = check_features(reader, X, reset=False)
        weights = check_sample_weight(sample_weight, reader._shape_of_weights(features, y), allow_zeros=True)
        return Part(features, reader._describe(y).weighted(weights), weights is None or bool(weights.any()))


def _facts(part: Part | None) -> PartFacts | None:
    if part is None:
        return None
    return PartFacts(len(part.X), part.X.dtype, part.y.totals(), part.has_weight)


def _encode(part: Part, plan: Any, dtype: Any) -> EncodedPart:
    return EncodedPart(part.X.astype(dtype, copy=False), plan.encode(part.y))


def _facts_of_targets(part: EncodedPart) -> tuple[EncodedTargets, TargetFacts]:
    """What is the same for all partitions, and facts about the targets and weights of this one."""
    targets, weights = part.y.targets, part.y.weights
    facts = TargetFacts(
        targets.loss,
        targets.n_problems,
        targets.n_logits,
        targets.hard,
        targets.uniform,
        targets.least_weights(),
        targets.can_be_separated(),
        None if weights is None else float(weights.max()),
    )
    return replace(part.y, targets=RemoteTargets([facts]), weights=None), facts
