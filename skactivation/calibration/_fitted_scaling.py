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
    kind: ScalingKind
    multilabel: bool
    """Whether the columns are labels that do not exclude each other."""

    @classmethod
    def fit(
        cls, rows: LogitRows, kind: ScalingKind, *, multilabel: bool
    ) -> tuple[FittedScaling, dict[str, Any], Messages]:
        """Fit a scaling to logits with targets; also return facts about the fit, by name, and warnings to emit."""
        scaling = fit_scaling(rows, kind)
        n_columns = rows.n_columns
        # Multilabel columns, and those of "vector", have their own temperatures.
        single = not multilabel and (scaling.temperatures.size == 1 or kind != "vector")
        numbers = {
            "loss_before": scaling.before,
            "loss_after": scaling.after,
            "at_limit": scaling.at_limit,
            "optimality_gap": scaling.gaps,
        }
        facts = {name: array if multilabel else array[0].item() for name, array in numbers.items()}
        fitted = cls(
            temperature=float(scaling.temperatures[0]) if single else scaling.temperatures,
            slope=np.broadcast_to(scaling.slopes, n_columns).copy(),
            bias=np.zeros(n_columns) if scaling.biases is None else scaling.biases,
            kind=kind,
            multilabel=multilabel,
        )
        return fitted, facts, warnings_about(scaling, multilabel=multilabel)

    @property
    def keeps_order(self) -> bool:
        """Whether the order of the classes, and so every prediction, stays the same."""
        return self.kind == "temperature"

    def apply(self, logits: Array) -> Array:
        """Calibrated logits (n, K)."""
        if self.keeps_order:
            return divided(logits, self.temperature)
        with np.errstate(all="ignore"):
            return _with_infinite(logits * self.slope + self.bias, logits)

    def probabilities(self, logits: Array, *, log: bool = False) -> Array:
        """Calibrated probabilities (n, K) or (n, L), or their logarithms."""
        if self.keeps_order:
            return probabilities_at(logits, self.temperature, multilabel=self.multilabel, log=log)
        return probabilities_at(self.apply(logits), 1.0, multilabel=self.multilabel, log=log)


def divided(logits: Array, temperature: Any) -> Array:
    """Logits (n, K) divided by a temperature, or by one for each column (K,)."""
    with np.errstate(all="ignore"):
        return _with_infinite(logits / np.asarray(temperature), logits)


def probabilities_at(logits: Array, temperature: Any, *, multilabel: bool, log: bool = False) -> Array:
    """Probabilities (n, K), (n, 2) from the logits (n, 1) of the second of two classes, or (n, L); or their logarithms.

    Labels may have a temperature each (L,).
    """
    of_labels, of_classes = (log_sigmoid, log_softmax) if log else (sigmoid, softmax)
    if multilabel:
        return of_labels(divided(logits, temperature))
    # Activations take the temperature themselves: z / T would be rounded first.
    if logits.shape[1] > 1:
        return of_classes(logits, temperature=temperature)
    return np.hstack([of_labels(sign * logits, temperature=temperature) for sign in (-1, 1)])


def _with_infinite(scaled: Array, logits: Array) -> Array:
    """Scaled logits, of which infinite ones stay as they were: a probability of 0 stays 0."""
    np.copyto(scaled, logits, where=np.isinf(logits), casting="same_kind")
    return np.asarray(scaled, dtype=logits.dtype)
