"""Totals of classes: those of several parts, joined, are those of all rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skactivation._data.class_totals import ClassTotals, WeightedClasses
from skactivation._data.labels import encode_labels

RNG = np.random.default_rng(0)
LABELS = RNG.choice(["ash", "birch", "cedar"], 90)
LABELS[:30] = "ash"
SOFT = RNG.dirichlet(np.ones(3), 90)
WEIGHTS = RNG.random(90) * np.repeat([1e-9, 5.0, 0.0], 30)
PARTS = [slice(0, 30), slice(30, 60), slice(60, 90)]


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["none", "weights"])
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_joined_totals(soft, weights):
    def totals(rows):
        of_rows = None if weights is None else weights[rows]
        encoded, classes = (SOFT[rows], np.arange(3)) if soft else encode_labels(LABELS[rows], None)
        return WeightedClasses(encoded, classes, of_rows).totals()

    joined, whole = ClassTotals.joined([totals(part) for part in PARTS]), totals(slice(None))
    assert_array_equal(joined.classes, whole.classes)
    assert joined.are_weighted == whole.are_weighted == (weights is not None)
    assert_array_equal(joined.n_rows, whole.n_rows)
    assert_allclose(joined.weights, whole.weights, rtol=1e-12)
    assert_allclose(joined.largest, whole.largest, rtol=1e-12)


def test_labels_of_different_kinds_in_different_parts_are_an_error():
    parts = [WeightedClasses(np.array([0]), np.array(classes), None).totals() for classes in (["1"], [1])]
    with pytest.raises(TypeError, match="labels of one kind"):
        ClassTotals.joined(parts)


def test_columns_must_be_the_same_in_all_parts():
    parts = [WeightedClasses(SOFT, np.array(list(names)), None).totals() for names in ("abc", "abd")]
    with pytest.raises(ValueError, match="the same columns in all partitions"):
        ClassTotals.joined(parts)
