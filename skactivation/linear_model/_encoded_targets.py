"""y and weights in the form that fits take."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skactivation._data.targets import Targets
from skactivation._typing import Array


@dataclass(frozen=True)
class EncodedTargets:
    """The targets, weights and fitted attributes that a final estimator derives from y."""

    targets: Targets
    weights: Array | None
    """Row weights (n,), class weights included."""
    null_logits: Array
    """Approximately optimal logits (P K,) of a model without features."""
    attributes: dict[str, Any]
    """Fitted attributes that describe y, such as classes_."""
    prior_shift: Array
    """Amount (L,) by which class or label weights raise the logits of a well-specified model."""
    units: Array
    """Unit (P,) of the targets' own weights in each problem."""
    constant: Array | None = None
    """Intercepts (L,) of constant labels, NaN for fitted ones; None if all are fitted."""

    @property
    def fitted(self) -> Any:
        """Index of the fitted labels: a mask (L,), or a slice of all."""
        return slice(None) if self.constant is None else np.isnan(self.constant)

    def missing_since(self, before: "EncodedTargets") -> Array:
        """Numbers of the classes or labels that are constant here and were fitted before."""
        if self.constant is None:
            return np.zeros(0, dtype=np.intp)
        was_fitted = np.ones(self.constant.size, dtype=bool) if before.constant is None else before.fitted
        return np.flatnonzero(was_fitted & ~self.fitted)
