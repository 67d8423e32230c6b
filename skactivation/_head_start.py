"""Head starts: smaller problems whose solution is near that of the whole."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["SAMPLE_TOL", "sample_size", "stratified_sample"]

Array = NDArray[Any]

# A sample is worth its while from five times as many rows on; the relative gap to which its problem is solved.
_LEAST_SAMPLE, _PART, _WORTH = 10_000, 20, 5
SAMPLE_TOL = 1e-3


def sample_size(n_rows: int) -> int | None:
    """Rows of a sample, or None where all rows had better be taken at once."""
    size = max(_LEAST_SAMPLE, n_rows // _PART)
    return size if n_rows >= _WORTH * size else None


def stratified_sample(strata: Array, n_strata: int, size: int) -> tuple[Array, Array]:
    """Rows (m,), sorted, and how many rows (m,) each stands for.

    Half of the sample goes to the strata in equal shares, half in proportion to their rows, so that the rare are there.
    The choice is random, for data may come in cycles, and always the same.
    """
    rng = np.random.default_rng(0)
    counts = np.bincount(strata, minlength=n_strata)
    quotas = np.minimum(counts, np.ceil(0.5 * size / n_strata + 0.5 * size * counts / strata.size).astype(np.intp))
    order = np.argsort(strata, kind="stable")
    starts = np.cumsum(counts) - counts
    chosen = np.concatenate(
        [
            order[first : first + count] if quota == count else order[first + rng.integers(0, count, quota)]
            for first, count, quota in zip(starts, counts, quotas, strict=True)
        ]
    )
    stands_for = np.repeat(counts / np.maximum(quotas, 1), quotas)
    by_row = np.argsort(chosen)
    return chosen[by_row], stands_for[by_row]
