"""Predictions of an estimator in memory for Dask collections: lazy, block by block."""

from collections.abc import Callable
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
from dask import delayed, is_dask_collection

from skactivation._typing import Array
from skactivation.dask._partitions import example_of, naming, partitions_of


def lazily(method: Callable[[Any], Any], X: Any) -> Any:
    """What a method gives for X: for a Dask array or data frame a lazy Dask array, with the chunks of X.

    The number and the names of the features are checked here, the rows when they are computed.
    """
    if not is_dask_collection(X):
        return method(X)
    is_array = isinstance(X, da.Array)
    example = method(example_of(X))
    if not isinstance(example, np.ndarray):
        raise TypeError(
            f"predictions must be arrays to be lazy, got {type(example).__name__}; use to_local() on each partition"
        )
    of_block = partial(_of_block, method, example[:0])
    if not is_array:
        shape = (np.nan, *example.shape[1:])
        parts = [delayed(of_block)(part, number=number) for number, part in enumerate(partitions_of(X))]
        arrays = [da.from_delayed(part, shape, meta=example[:0]) for part in parts]
        return da.concatenate(arrays, allow_unknown_chunksizes=True)
    X = X.rechunk({1: -1})
    options: dict[str, Any] = {"drop_axis": 1} if example.ndim == 1 else {"chunks": (X.chunks[0], example.shape[1:])}
    return X.map_blocks(of_block, meta=example[:0], **options)


def _of_block(method: Callable[[Any], Array], empty: Array, X: Any, number: int = 0, block_info: Any = None) -> Array:
    """Predictions of a block; Dask tells the place of an array's block in `block_info`."""
    with naming(block_info[0]["chunk-location"][0] if block_info else number):
        return method(X) if X.shape[0] else empty
