"""Fixtures of all tests."""

import pytest

from skactivation._optimize.strategy import cheapest_strategy


@pytest.fixture(autouse=True)
def _strategies_are_chosen_anew():
    """Tests replace what the choice depends on."""
    cheapest_strategy.cache_clear()
    yield
    cheapest_strategy.cache_clear()
