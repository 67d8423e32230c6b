"""A fitted scaling, and its application to logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skactivation._typing import Array
from skactivation.activations import log_sigmoid, log_softmax, sigmoid, softmax
from skactivation.calibration._logits import LogitRows
from skactivation.calibration._scaling import Messages, ScalingKind, fit_scaling, warnings_about


@dataclass(frozen=True)
class FittedScaling:
    """Calibrated logits are slope * z + bias; with only a temperature, z / T."""

    temperature: Any
    """A number; multilabel (L,), with "vector" (K,)."""
    slope: Array
    """(K,)."""
    bias: Array
    """(K,)."""
    loss_before: Any
    """Mean cross-entropy before calibration: a number, or (L,)."""
    loss_after: Any
    at_limit: Any
    optimality_gap: Any
    kind: ScalingKind
    multilabel: bool
    """Whether the columns are labels that do not exclude each other."""

    @classmethod
    def fit(cls, rows: LogitRows, kind: ScalingKind, *, multilabel: bool) -> tuple[FittedScaling, Messages]:
        """Fit a scaling to logits with targets; also return warnings to emit."""
        scaling = fit_scaling(rows, kind)
        n_columns = rows.n_columns
        # Multilabel columns, and those of "vector", have their own temperatures.
        single = not multilabel and (scaling.temperatures.size == 1 or kind != "vector")
        numbers = scaling.before, scaling.after, scaling.at_limit, scaling.gaps
        before, after, at_limit, gap = (array if multilabel else array[0].item() for array in numbers)
        fitted = cls(
            temperature=float(scaling.temperatures[0]) if single else scaling.temperatures,
            slope=np.broadcast_to(scaling.slopes, n_columns).copy(),
            bias=np.zeros(n_columns) if scaling.biases is None else scaling.biases,
            loss_before=before,
            loss_after=after,
            at_limit=at_limit,
            optimality_gap=gap,
            kind=kind,
            multilabel=multilabel,
        )
        return fitted, warnings_about(scaling, multilabel=multilabel)

    @property
    def keeps_order(self) -> bool:
        """Whether the order of the classes, and so every prediction, stays the same."""
        return self.kind == "temperature"

    def apply(self, logits: Array) -> Array:
        """Calibrated logits (n, K)."""
        with np.errstate(all="ignore"):
            scaled = logits / np.asarray(self.temperature) if self.keeps_order else logits * self.slope + self.bias
        # Infinite logits stay infinite: a probability of 0 stays 0.
        np.copyto(scaled, logits, where=np.isinf(logits), casting="same_kind")
        return np.asarray(scaled, dtype=logits.dtype)

    def probabilities(self, logits: Array, *, log: bool = False) -> Array:
        """Calibrated probabilities (n, K) or (n, L), or their logarithms."""
        of_labels, of_classes = (log_sigmoid, log_softmax) if log else (sigmoid, softmax)
        if self.multilabel:
            return of_labels(self.apply(logits))
        # Activations take the temperature themselves: `apply` would round z / T first.
        temperature = self.temperature if self.keeps_order else 1.0
        z = logits if self.keeps_order else self.apply(logits)
        if z.shape[1] > 1:
            return of_classes(z, temperature=temperature)
        return np.hstack([of_labels(sign * z, temperature=temperature) for sign in (-1, 1)])
