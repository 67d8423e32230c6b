"""Certificates against the truth: a few of the problems of `truth.py`; run it for thousands."""

import pytest

from truth import judge_linear, judge_temperature


@pytest.mark.parametrize("seed", range(40))
def test_a_certificate_is_never_below_the_true_gap(seed):
    assert judge_linear(seed).faults == []


@pytest.mark.parametrize("seed", range(60))
def test_a_temperature_is_the_best_or_comes_with_a_warning(seed):
    assert judge_temperature(seed).faults == []
