"""Targets of problems that are put together from others."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

from skactivation._data.indicators import Indicator
from skactivation._data.targets import IndicatorTargets, JoinedTargets, RepeatedTargets

RNG = np.random.default_rng(0)
HARD = RNG.integers(0, 2, size=(30, 4))
UNKNOWN = np.where(RNG.random((30, 4)) < 0.8, HARD, np.nan)
SOFT = RNG.random((30, 4))


def parts_of(block):
    """A block of targets as a list of arrays, None for no weights."""
    return [block.signs, block.weights] if hasattr(block, "signs") else list(block)


@pytest.mark.parametrize("Y", [HARD, UNKNOWN, SOFT, sparse.csr_array(HARD)], ids=["hard", "unknown", "soft", "sparse"])
@pytest.mark.parametrize("rows", [slice(3, 11), np.array([5, 2, 2])], ids=["slice", "numbers"])
def test_joined_targets_are_those_of_their_parts(Y, rows):
    one, other = IndicatorTargets(Indicator(Y), None), IndicatorTargets(Indicator(Y), None)
    other.fit_to(other.totals, np.array([1.0, 2.0, 0.5, 3.0]), 0.0, np.array([True, False, True, True]))
    joined = JoinedTargets([one, other])
    assert joined.n_problems == 7
    problems = np.array([0, 3, 4, 6])
    expected = [
        None if any(part is None for part in pair) else np.concatenate(pair)
        for pair in zip(
            parts_of(one.block(rows, np.array([0, 3]))), parts_of(other.block(rows, np.array([0, 2]))), strict=True
        )
    ]
    for mine, theirs in zip(parts_of(joined.block(rows, problems)), expected, strict=True):
        if theirs is not None:
            assert_array_equal(mine, theirs)
    assert_array_equal(joined.row_weights_of(problems), [0, 0, 1, 1])
    assert_array_equal(joined.least_weights(), [*one.least_weights(), *other.least_weights()])


@pytest.mark.parametrize("Y", [HARD, UNKNOWN, SOFT, sparse.csr_array(HARD)], ids=["hard", "unknown", "soft", "sparse"])
@pytest.mark.parametrize("labels", [[1, 1, 3, 1], [3, 2, 1, 0], [2, 2]], ids=str)
def test_repeated_targets_are_those_of_the_problems_that_are_repeated(Y, labels):
    targets = IndicatorTargets(Indicator(Y), None)
    repeated = RepeatedTargets(targets, np.array(labels))
    for mine, theirs in zip(
        parts_of(repeated.block(slice(0, 30), np.arange(len(labels)))),
        zip(*(parts_of(targets.block(slice(0, 30), np.array([label]))) for label in labels), strict=True),
        strict=True,
    ):
        if mine is not None:
            assert_array_equal(mine, np.concatenate(theirs))
    assert_array_equal(repeated.row_weights_of(np.arange(len(labels))), np.arange(len(labels)))
