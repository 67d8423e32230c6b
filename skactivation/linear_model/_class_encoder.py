"""Exclusive classes as fits take them: y, how its classes are fitted, and the targets that follow."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skactivation._data.class_totals import WeightedClasses
from skactivation._data.targets import class_targets
from skactivation._typing import Array
from skactivation.linear_model._encoded_targets import EncodedTargets


class Classes(NamedTuple):
    """y in the form that fits take."""

    encoded: Array
    """Codes (n,) of the classes, or distributions (n, K)."""
    classes: Array
    """The classes (K,)."""

    def weighted(self, weights: Array | None) -> WeightedClasses:
        """The same with weights (n,) of the rows."""
        return WeightedClasses(*self, weights)


@dataclass(frozen=True)
class ClassEncoder:
    """How classes are fitted."""

    classes: Array
    """All classes (K,)."""
    present: Array
    """Mask (K,) of the classes that are fitted."""
    factors: Array | None
    """Factors (K,) on the weights of the rows of each class."""
    smoothing: float
    null_logits: Array
    prior_shift: Array
    """See `EncodedTargets`."""
    constant: Array | None = None

    def encode(self, rows: WeightedClasses) -> EncodedTargets:
        """Targets and weights of some rows."""
        encoded, weights = rows.recoded(self.classes), rows.weights
        if self.factors is not None:
            weights = self.factors[encoded] * (1.0 if weights is None else weights)
        if not self.present.all():
            # Rows of classes that are not fitted have the weight 0: their codes do not matter.
            encoded = np.maximum(np.cumsum(self.present) - 1, 0)[encoded] * self.present[encoded]
        return EncodedTargets(
            targets=class_targets(encoded, int(np.count_nonzero(self.present)), self.smoothing),
            weights=weights,
            null_logits=self.null_logits,
            attributes={"classes_": self.classes},
            prior_shift=self.prior_shift,
            units=np.ones(1),
            constant=self.constant,
        )


def prior_shift_of(factors: Array | None, present: Array) -> Array:
    """What factors (K,) on the weights of classes add to their logits (L,)."""
    if factors is None:
        return np.zeros(1 if present.size == 2 else present.size)
    logs = np.log(np.where(present, factors, 1.0))
    if not present.all():
        # Relative to their mean, so that the correction leaves the mean of the fitted logits at 0.
        logs = np.where(present, logs - logs[present].mean(), 0.0)
    return np.asarray(logs[1:] - logs[:1] if present.size == 2 else logs)
