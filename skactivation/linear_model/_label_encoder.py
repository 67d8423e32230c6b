"""Labels as fits take them: Y, how its labels are fitted, and the targets that follow."""

from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np

from skactivation._data.indicators import Indicator
from skactivation._data.labels import LabelClasses
from skactivation._data.targets import IndicatorTargets, LabelTotals
from skactivation._messages import abridged
from skactivation._typing import Array
from skactivation.linear_model._encoded_targets import EncodedTargets


class Labels(NamedTuple):
    """Y in the form that fits take."""

    indicator: Indicator
    names: Array
    """Names (L,) of the labels."""
    attributes: dict[str, Any]
    """Fitted attributes that describe y."""
    messages: list[str]
    """Messages for warnings."""

    def weighted(self, weights: Array | None) -> "WeightedLabels":
        """The same with weights of the rows (n,) or of the entries (n, L)."""
        return WeightedLabels(IndicatorTargets(self.indicator, weights), *self[1:])


class WeightedLabels(NamedTuple):
    """Y with weights."""

    targets: IndicatorTargets
    names: Array
    attributes: dict[str, Any]
    messages: list[str]

    def totals(self) -> "TotalsOfLabels":
        """What decides how the labels are fitted."""
        return TotalsOfLabels(self.targets.totals, *self[1:])


class TotalsOfLabels(NamedTuple):
    """Sums over the rows, and what describes y."""

    sums: LabelTotals
    names: Array
    attributes: dict[str, Any]
    messages: list[str]

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Those of several parts of the rows, each with a column for every label."""
        first = parts[0]
        for part in parts:
            if not np.array_equal(part.names, first.names):
                raise ValueError(
                    "y must have the same columns in all partitions, got "
                    f"{abridged(first.names)} and {abridged(part.names)}"
                )
        dtype = np.result_type(*(part.attributes["classes_"][0] for part in parts))
        classes = LabelClasses([np.array([0, 1]).astype(dtype)] * first.names.size)
        attributes = {**first.attributes, "classes_": classes}
        return cls(LabelTotals.joined([part.sums for part in parts]), first.names, attributes, first.messages)


@dataclass(frozen=True)
class LabelEncoder:
    """How labels are fitted."""

    sums: LabelTotals
    pos_weight: Array
    """Factors (L,) on the loss of entries 1."""
    smoothing: float
    fitted: Array
    """Mask (L,) of the labels that are fitted."""
    null_logits: Array
    attributes: dict[str, Any]
    """See `EncodedTargets`."""
    constant: Array | None

    def encode(self, rows: WeightedLabels) -> EncodedTargets:
        """Targets and weights of some rows."""
        targets = copy(rows.targets)
        targets.fit_to(self.sums, self.pos_weight, self.smoothing, self.fitted)
        return EncodedTargets(
            targets=targets,
            weights=targets.row_weights,
            null_logits=self.null_logits,
            attributes=self.attributes,
            prior_shift=np.log(self.pos_weight),
            units=targets.units[self.fitted],
            constant=self.constant,
        )
