"""Selections of problems: a mask (P,), or `ALL`. Small data need functions that are quicker than NumPy's methods."""

from typing import Any

import numpy as np

from skactivation._typing import Array

ALL = slice(None)
"""All problems, in the place of a mask: a slice is quicker to index with."""


def any_of(problems: Array) -> bool:
    """Whether a mask has any problem."""
    return bool(np.count_nonzero(problems))


def all_of(problems: Array | slice) -> bool:
    """Whether a mask, or `ALL`, has all problems."""
    return isinstance(problems, slice) or bool(np.count_nonzero(problems) == problems.size)


def mask_of(problems: list[int], n_problems: int) -> Any:
    """The mask of problems with the given numbers; `ALL`, if these are all."""
    if len(problems) == n_problems:
        return ALL
    mask = np.zeros(n_problems, dtype=bool)
    mask[problems] = True
    return mask
