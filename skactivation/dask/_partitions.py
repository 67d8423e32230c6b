"""Dask collections as partitions of rows: aligned, read, checked and encoded on the workers."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import dask.array as da
import numpy as np
from dask import delayed, is_dask_collection
from distributed import Future
from scipy import sparse
from sklearn.utils import _safe_indexing, indexable

from skactivation._data.targets import Targets
from skactivation._typing import Array
from skactivation._validation import check_same_rows, refuse_zero_weights
from skactivation.dask._cluster import Cluster


class Reader(Protocol):
    """Checks the rows of a partition."""

    def read(self, X: Any, y: Any, sample_weight: Any) -> "Part":
        """The rows, in the form that a fit takes them."""


class Part(NamedTuple):
    """Rows of a partition."""

    X: Array
    """The features or logits."""
    y: Any
    """y with its weights; `totals` says what decides how it is fitted."""
    largest_weight: float | None
    """None if rows have no weights."""


class PartFacts(NamedTuple):
    """What the client must know of a partition."""

    n_rows: int
    dtype: Any
    totals: Any
    largest_weight: float | None


def delayed_parts(X: Any, y: Any, sample_weight: Any, *, name: str = "X") -> list[tuple[Any, Any, Any]]:
    """The partitions of X, y and the weights, each as objects of class Delayed; None for weights that are not given.

    Raises
    ------
    TypeError, ValueError
        If they are no Dask collections, or their partitions don't belong together.
    """
    if not is_dask_collection(X) or not (isinstance(X, da.Array) or hasattr(X, "_meta_nonempty")):
        raise TypeError(
            f"{name} must be a Dask array or data frame, got {type(X).__name__}. For data in memory or in a file use "
            "the plain estimator or function. In a pipeline, a step in front has pulled the rows into memory: "
            "transform the collection before the fit"
        )
    if len(X.shape) != 2:
        raise ValueError(f"{name} must have two dimensions, got {len(X.shape)}; reshape it")
    if y is None:
        raise ValueError("y must be given, got None")
    if isinstance(X, da.Array):
        X = X.rechunk({1: -1})
    given = {"y": y} if sample_weight is None else {"y": y, "sample_weight": sample_weight}
    collections = [X, *(_aligned(values, X, f"{name} and {other}") for other, values in given.items())]
    parts = [partitions_of(each) for each in collections]
    for other, of_other in zip(given, parts[1:], strict=True):
        if len(of_other) != len(parts[0]):
            raise ValueError(
                f"{name} and {other} must have the same number of partitions, got {len(parts[0])} and "
                f"{len(of_other)}; repartition one, or call compute_chunk_sizes() of arrays with unknown chunks"
            )
    if sample_weight is None:
        parts.append([None] * len(parts[0]))
    return list(zip(*parts, strict=True))


def _aligned(values: Any, X: Any, names: str) -> Any:
    """A collection of y or of weights, in the chunks of X if both are known; a list of partitions for an array."""
    known = isinstance(X, da.Array) and not np.isnan(X.chunks[0]).any()
    if not is_dask_collection(values):
        if not known or isinstance(values, str) or not hasattr(values, "__len__"):
            raise TypeError(
                f"{names} must be Dask collections with the same partitions, got {type(values).__name__} for the "
                "latter; an array in memory is taken only if the chunks of X are known"
            )
        if len(values) != X.shape[0]:
            raise ValueError(f"{names} must have the same number of rows, got {X.shape[0]} and {len(values)}")
        ends = np.cumsum(X.chunks[0])
        rows = [slice(end - size, end) for end, size in zip(ends.tolist(), X.chunks[0], strict=True)]
        # What these hold, such as names and masks, is checked where they are read.
        (indexed,) = indexable(values)
        return [delayed(_safe_indexing(indexed, part), traverse=False) for part in rows]
    if isinstance(values, da.Array):
        if values.ndim == 0:
            raise ValueError(f"{names} must have the same number of rows, got a single number for the latter")
        if known and not np.isnan(values.chunks[0]).any():
            if values.shape[0] != X.shape[0]:
                raise ValueError(f"{names} must have the same number of rows, got {X.shape[0]} and {values.shape[0]}")
            values = values.rechunk({0: X.chunks[0]})
        values = values.rechunk({1: -1}) if values.ndim > 1 else values
    return values


def example_of(X: Any) -> Any:
    """A row of zeros, or an invented one of a data frame, with the columns of X."""
    return np.zeros((1, *X.shape[1:]), X.dtype) if isinstance(X, da.Array) else X._meta_nonempty


def meta_of(collection: Any) -> Any:
    """What a collection is made of, without rows: its columns may have names."""
    return getattr(collection, "_meta", collection)


def partitions_of(collection: Any) -> list[Any]:
    """The partitions that a collection shows; a list holds partitions already.

    Dask optimises each collection by itself: it would read the same files once for X and once for y, and merge
    partitions of files of which few columns are taken.
    """
    if isinstance(collection, list):
        return collection
    return list(np.ravel(np.array(collection.to_delayed(optimize_graph=False), dtype=object)))


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
        return np.asarray(self._least)

    def can_be_separated(self) -> bool:
        return self._separable

    def _elsewhere(self) -> Exception:
        return TypeError("these targets are on the workers of a cluster")


class Partitions:
    """Partitions on a cluster, checked. Those without rows are left out.

    Parameters
    ----------
    cluster : Cluster
        Where they are.
    reader : Reader
        Checks each of them, where it is.
    parts : list
        What `delayed_parts` returned.
    n_columns : int
        Number of columns of X.
    """

    parts: list[Future]
    """The partitions, each a `Part`."""

    def __init__(self, cluster: Cluster, reader: Reader, parts: list[Any], n_columns: int) -> None:
        self.cluster = cluster
        futures = cluster.on_collections("read", _read, reader, parts)
        facts = cluster.results(cluster.each("read-facts", _facts, futures))
        self.numbers = [number for number, fact in enumerate(facts) if fact is not None]
        """The numbers of the partitions in the collections, for messages."""
        self.parts = [futures[number] for number in self.numbers]
        facts = [facts[number] for number in self.numbers]
        if not facts:
            raise ValueError("X has no rows: all its partitions are empty")
        largest = [fact.largest_weight for fact in facts if fact.largest_weight is not None]
        refuse_zero_weights(not largest or max(largest) > 0)
        self.largest_weight = max(largest, default=1.0)
        self.counts = np.array([fact.n_rows for fact in facts])
        self.dtype = np.result_type(*(fact.dtype for fact in facts))
        self.shape = int(self.counts.sum()), n_columns
        self.totals = type(facts[0].totals).joined([fact.totals for fact in facts])
        """What the estimator's `_encoder` takes."""


@contextmanager
def naming(number: int) -> Iterator[None]:
    """Name the partition in errors about its data."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"partition {number}: {error}") from error


def _read(reader: Reader, number: int, X: Any, y: Any, sample_weight: Any) -> Part | None:
    """A partition, checked; None if it has no rows."""
    with naming(number):
        check_same_rows(X=X, y=y, **({} if sample_weight is None else {"sample_weight": sample_weight}))
        if X.shape[0] == 0:
            return None
        if sparse.issparse(X):
            raise TypeError("X must be dense, got a sparse array; use .map_blocks(lambda block: block.toarray())")
        return reader.read(X, y, sample_weight)


def _facts(part: Part | None) -> PartFacts | None:
    return None if part is None else PartFacts(len(part.X), part.X.dtype, part.y.totals(), part.largest_weight)


def facts_of_targets(targets: Targets, weights: Array | None) -> TargetFacts:
    """Facts about the targets and weights of a partition."""
    return TargetFacts(
        targets.loss,
        targets.n_problems,
        targets.n_logits,
        targets.hard,
        targets.uniform,
        targets.least_weights(),
        targets.can_be_separated(),
        None if weights is None else float(weights.max()),
    )
