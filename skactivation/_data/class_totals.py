"""Sums over rows of exclusive classes that decide how they are fitted; of rows in one part or in several."""

from typing import NamedTuple, Self

import numpy as np

from skactivation._data.labels import encode_labels, recode_labels
from skactivation._messages import abridged
from skactivation._typing import Array


class WeightedClasses(NamedTuple):
    """Exclusive classes of some rows, with the weights of the rows.

    There may be no class, if all weights are 0; the codes then are 0, too.
    """

    encoded: Array
    """Codes (n,) of the classes, or distributions (n, K)."""
    classes: Array
    """The classes (K,)."""
    weights: Array | None
    """Weights (n,); None if all are 1."""

    def recoded(self, classes: Array) -> Array:
        """The codes (n,) of the classes among others, or the distributions."""
        if self.encoded.ndim > 1 or not self.classes.size:
            return self.encoded
        return recode_labels(self.encoded, self.classes, classes)

    def totals(self) -> "ClassTotals":
        """What decides how the classes are fitted."""
        encoded, weights, n_classes = self.encoded, self.weights, self.classes.size
        largest = np.ones(n_classes)
        if weights is None:
            counted = encoded
        else:
            counted = encoded[weights > 0]
            largest = np.full(n_classes, weights.max(initial=0))
            if encoded.ndim == 1 and n_classes:
                largest = np.zeros(n_classes)
                np.maximum.at(largest, encoded, weights)
            # Sums of very large or small weights stay in the range of floats.
            weights = weights / (largest.max(initial=0) or 1.0)
        if encoded.ndim == 1:
            n_rows = np.bincount(counted, minlength=n_classes)[:n_classes]
            sums = (
                n_rows.astype(np.float64) if weights is None else np.bincount(encoded, weights, n_classes)[:n_classes]
            )
        else:
            n_rows = np.count_nonzero(counted, axis=0)
            sums = encoded.sum(axis=0, dtype=np.float64) if weights is None else weights @ encoded
        return ClassTotals(self.classes, encoded.ndim > 1, weights is not None, n_rows, sums, largest)


class ClassTotals(NamedTuple):
    """Sums over the rows, for each class (K,)."""

    classes: Array
    are_soft: bool
    """Whether rows have distributions over the classes."""
    are_weighted: bool
    n_rows: Array
    """Number of rows of positive weight with the class, or with a part of it."""
    weights: Array
    """Sum of the weights, relative to the largest of all."""
    largest: Array
    """The largest weight of a row with the class."""

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Those of several parts of the rows."""
        if len(parts) == 1:
            return parts[0]
        are_soft = parts[0].are_soft
        if are_soft:
            classes = parts[0].classes
            for part in parts:
                if not np.array_equal(part.classes, classes):
                    raise ValueError(
                        "y must have the same columns in all partitions, got "
                        f"{abridged(classes)} and {abridged(part.classes)}"
                    )
            codes = [np.arange(classes.size)] * len(parts)
        else:
            kinds = {part.classes.dtype.kind for part in parts}
            # Numbers and strings together would become strings.
            found = [part.classes if len(kinds) == 1 else part.classes.astype(object) for part in parts]
            of_all, classes = encode_labels(np.concatenate(found), None)
            codes = np.split(of_all, np.cumsum([part.classes.size for part in parts])[:-1])
        n_rows, weights, largest = np.zeros((3, classes.size))
        unit = max(part.largest.max(initial=0) for part in parts) or 1.0
        for part, places in zip(parts, codes, strict=True):
            n_rows[places] += part.n_rows
            weights[places] += part.weights * (part.largest.max(initial=0) / unit)
            largest[places] = np.maximum(largest[places], part.largest)
        return cls(classes, are_soft, any(part.are_weighted for part in parts), n_rows, weights, largest)
