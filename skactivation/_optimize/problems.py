"""Points, and the parts of an objective that are still being minimised."""

from typing import NamedTuple

import numpy as np

from skactivation._optimize.objective import Objective
from skactivation._typing import Array

__all__ = ["Point", "Problem", "all_of", "any_of"]


class Point(NamedTuple):
    """Coefficients (K, D), the parts' values (P,) and the gradient (K, D) there."""

    theta: Array
    values: Array
    gradient: Array

    def select(self, parts: Array) -> "Point":
        """Some of several parts; all or nothing of a single one."""
        if all_of(parts):
            return self
        return Point(*(array[parts] if parts.size > 1 else array[:0] for array in self))

    def updated(self, parts: Array, other: "Point") -> "Point":
        """With some parts as they are in another point, which has those alone."""
        if all_of(parts):
            return other
        arrays = [array.copy() for array in self]
        for array, new in zip(arrays, other, strict=True):
            array[parts] = new
        return Point(*arrays)


class Problem(NamedTuple):
    """Some parts of the objective that is minimised, and their numbers in it."""

    objective: Objective
    parts: Array

    def select(self, parts: Array) -> "Problem":
        """Some of several parts; all or nothing of a single one."""
        if all_of(parts):
            return self
        return Problem(self.objective.select(parts) if any_of(parts) else self.objective, self.parts[parts])


def any_of(parts: Array) -> bool:
    """Whether a mask of parts has any; quicker than the method, which matters for small data."""
    return bool(np.count_nonzero(parts))


def all_of(parts: Array) -> bool:
    """Whether it has all of them."""
    return bool(np.count_nonzero(parts) == parts.size)
