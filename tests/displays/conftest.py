"""Figures without a window, closed after each test."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import pytest


@pytest.fixture(autouse=True)
def _figures_are_closed():
    with mpl.rc_context({"backend": "agg"}):
        yield
    plt.close("all")
