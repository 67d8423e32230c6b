"""Which rows a sample consists of."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skactivation._data.sampling import even_steps, rows_at_ranks, stratum_quotas, stratum_ranks


def test_a_stratified_sample_has_all_rows_of_rare_strata_and_stands_for_all_rows():
    strata = np.random.default_rng(0).permutation(np.repeat([0, 1, 3], [9000, 990, 10]))
    counts = np.bincount(strata)
    quotas = stratum_quotas(counts, 600)
    of_strata, ranks = stratum_ranks(counts, quotas)
    chosen, stands_for = rows_at_ranks(strata, of_strata, ranks, counts / np.maximum(quotas, 1))
    assert 500 <= chosen.size <= 610  # the rare stratum has only 10 rows
    assert np.all(np.diff(chosen) > 0)  # a row that came twice would stand for twice as many
    assert set(np.flatnonzero(strata == 3)) <= set(chosen)
    for stratum in (0, 1, 3):
        assert_allclose(stands_for[strata[chosen] == stratum].sum(), np.sum(strata == stratum))
    # The first row of a stratum has rank 0.
    for stratum in range(4):
        of_stratum = np.flatnonzero(strata == stratum)
        assert_array_equal(of_stratum[ranks[of_strata == stratum]], chosen[strata[chosen] == stratum])
    assert_array_equal(stratum_ranks(counts, quotas)[1], ranks)


@pytest.mark.parametrize("ends", [[], [10, 400], [1, 2, 500]])
def test_a_systematic_sample_is_the_same_for_rows_in_one_part_and_in_several(ends):
    shares = np.random.default_rng(1).random(600) ** 8
    parts = np.split(shares, ends)
    totals, counts = np.array([part.sum() for part in parts]), np.array([part.size for part in parts])
    drawn = [even_steps(part, totals, counts, number, 100) for number, part in enumerate(parts)]
    starts = np.cumsum(counts) - counts
    chosen = np.concatenate([start + of_part for start, (of_part, _) in zip(starts, drawn, strict=True)])
    stands_for = np.concatenate([of_part for _, of_part in drawn])
    whole = even_steps(shares, np.full(1, shares.sum()), np.full(1, 600), 0, 100)
    assert_array_equal(chosen, whole[0])
    assert_allclose(stands_for, whole[1], rtol=1e-9)


def test_in_a_systematic_sample_rows_of_large_shares_stand_for_fewer():
    shares = np.ones(1000)
    shares[77] = 500.0
    chosen, stands_for = even_steps(shares, np.full(1, shares.sum()), np.full(1, 1000), 0, 200)
    assert 77 in chosen
    assert stands_for[chosen == 77] == pytest.approx(1.0, abs=0.1)  # drawn many times
    assert stands_for.max() <= 2 * 1000 / 200
    # Sums over all rows are estimated without bias by those over the sample.
    assert stands_for.sum() == pytest.approx(1000, rel=0.1)
