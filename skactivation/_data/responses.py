"""Probabilities that fitted classifiers give, in whatever form they give them."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.frozen import FrozenEstimator

from skactivation._typing import Array
from skactivation._validation import as_array, as_floats

__all__ = ["columns_of_yes", "estimator_name", "probabilities_of"]


def probabilities_of(estimator: Any, X: Any) -> tuple[Array, Array | None]:
    """Probabilities (n, K) or (n, L), and the classes (K,) of the columns, or None where each column is a label."""
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"estimator must have predict_proba, got {estimator_name(estimator)} without it; TemperatureCalibrator "
            "makes probabilities of the logits of any classifier"
        )
    output, classes = estimator.predict_proba(X), getattr(estimator, "classes_", None)
    if isinstance(output, list):
        return columns_of_yes(output, classes, "predict_proba"), None
    probabilities = as_floats(output.toarray() if sparse.issparse(output) else output, "predict_proba")
    exclusive = classes is not None and not isinstance(classes, list)
    if not exclusive:
        return probabilities, None
    known = np.asarray(classes)
    if known.size < 2 and not getattr(estimator, "multilabel_", False):
        raise ValueError(
            f"estimator must know at least two classes, got {estimator_name(estimator)} that knows {known.tolist()}"
        )
    return probabilities, known


def columns_of_yes(outputs: list[Any], classes: Any, method: str) -> Array:
    """Probabilities (n, L) of the label 1, given a list of those of the values that occurred, (n, 2) or (n, 1)."""
    pairs = zip(outputs, classes, strict=True)
    columns = [_yes(as_array(of_label, method), no_and_yes) for of_label, no_and_yes in pairs]
    return as_floats(np.column_stack(columns), method)


def estimator_name(estimator: Any) -> str:
    """What a message calls an estimator."""
    return type(estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator).__name__


def _yes(probabilities: Array, no_and_yes: Array) -> Array:
    """The probability (n,) of the label 1, given those of the values that occurred."""
    values = np.asarray(no_and_yes)
    if not np.isin(values, (0, 1)).all():
        raise ValueError(f"labels that don't exclude each other must be 0 and 1, got an estimator of {values.tolist()}")
    place = np.flatnonzero(values == 1)
    return probabilities[:, place[0]] if place.size else np.zeros(len(probabilities), probabilities.dtype)
