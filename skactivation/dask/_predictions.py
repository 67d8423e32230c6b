"""Predictions of an estimator in memory for Dask collections: lazy, block by block."""

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from dask import delayed, is_dask_collection

from skactivation._typing import Array
from skactivation.dask._cluster import Held
from skactivation.dask._partitions import example_of, naming, partitions_of


def lazily(method: Callable[[Any], Any], X: Any) -> Any:
    """What a method gives for X: for a Dask array or data frame a lazy Dask array, with the chunks of X.

    The number and the names of the features are checked here, the rows when they are computed.
    """
    if not is_dask_collection(X):
        return method(X)
    example = method(example_of(X))
    if not isinstance(example, np.ndarray):
        raise TypeError(
            f"predictions must be arrays to be lazy, got {type(example).__name__}; use to_local() on each partition"
        )
    empty = example[:0]
    # One task holds the model, which may be large.
    held = delayed(Held(method), traverse=False)
    if not isinstance(X, da.Array):
        shape = (np.nan, *example.shape[1:])
        blocks = X.to_delayed()
        if len(blocks) != X.npartitions:
            blocks = partitions_of(X)
        parts = [delayed(_of_block)(block, held, empty, number) for number, block in enumerate(blocks)]
        arrays = [da.from_delayed(part, shape, meta=empty) for part in parts]
        return da.concatenate(arrays, allow_unknown_chunksizes=True)
    X = X.rechunk({1: -1})
    options: dict[str, Any] = {"drop_axis": 1} if example.ndim == 1 else {"chunks": (X.chunks[0], example.shape[1:])}
    return X.map_blocks(_of_block, held=held, empty=empty, meta=empty, **options)


def _of_block(X: Any, held: Held, empty: Array, number: int = 0, block_info: Any = None) -> Array:
    """Predictions of a block; Dask tells the place of an array's block in `block_info`."""
    with naming(block_info[0]["chunk-location"][0] if block_info else number):
        return held.value(X) if X.shape[0] else empty
