"""Which rows a sample consists of: stratified, or in proportion to shares. Rows may be in several parts."""

import numpy as np

from skactivation._typing import Array


def stratum_quotas(counts: Array, size: int) -> Array:
    """How many rows (S,) of each stratum a sample takes, given how many there are (S,).

    Half of the sample is divided equally among the strata, half in proportion to their sizes, so that it contains rare
    strata.
    """
    even = 0.5 * size / np.count_nonzero(counts)
    quotas: Array = np.minimum(counts, np.ceil(even + 0.5 * size * counts / counts.sum()).astype(np.intp))
    return quotas


def stratum_ranks(counts: Array, quotas: Array) -> tuple[Array, Array]:
    """The stratum of each sampled row, and its place among the rows of its stratum, both (m,), in order.

    The choice is random, because data may be periodic, with a fixed seed.
    """
    rng = np.random.default_rng(0)
    ranks = [np.sort(rng.choice(count, quota, replace=False)) for count, quota in zip(counts, quotas, strict=True)]
    return np.repeat(np.arange(counts.size), quotas), np.concatenate(ranks)


def rows_at_ranks(strata: Array, chosen: Array, ranks: Array, stand_for: Array) -> tuple[Array, Array]:
    """Sorted numbers (m,) of the rows with some places in their strata, and how many rows (m,) each stands for.

    Parameters
    ----------
    strata : ndarray of shape (n,)
        Stratum of each row.
    chosen, ranks : ndarray of shape (m,)
        Stratum of each sampled row, and its place there.
    stand_for : ndarray of shape (S,)
        How many rows a sampled row of each stratum stands for.
    """
    counts = np.bincount(strata, minlength=stand_for.size)
    numbers = np.argsort(strata, kind="stable")[(np.cumsum(counts) - counts)[chosen] + ranks]
    by_row = np.argsort(numbers)
    return numbers[by_row], stand_for[chosen[by_row]]


def even_steps(shares: Array, totals: Array, counts: Array, part: int, n_rows: int) -> tuple[Array, Array]:
    """Rows of a part that a systematic sample of all parts draws: numbers (m,), and how many rows each stands for.

    Half of each row's chance is its share, so that rare rows occur. The other half is the same for all rows, so that
    none stands for very many. Rows are drawn at even steps along the cumulative sum of chances; one whose chance
    exceeds a step is drawn several times, and stands for more.

    Parameters
    ----------
    shares : ndarray of shape (n,)
        Shares of the rows of this part.
    totals, counts : ndarray of shape (n_parts,)
        Sum of the shares, and number of rows, of each part.
    part : int
        The number of this part.
    n_rows : int
        How many rows are drawn from all parts.
    """
    total, count = totals.sum(), counts.sum()
    ends = np.cumsum(totals / total + counts / count)
    sums = np.cumsum(shares / total + 1 / count)
    # The part's own sum is rounded otherwise than its end: no place may lie between two parts.
    first, last = ends[part - 1] if part else 0.0, ends[part]
    places = ends[-1] * (np.arange(n_rows) + 0.5) / n_rows
    places = places[(places >= first) & (places < last)] - first
    drawn = np.minimum(np.searchsorted(sums, places), sums.size - 1)
    chosen, times = np.unique(drawn, return_counts=True)
    stands_for = times * (ends[-1] / n_rows) / np.diff(sums, prepend=0.0)[chosen]
    return chosen, stands_for
