"""Read the output of fitted classifiers of any kind: probabilities, logits and classes, in one form.

The method decides what an output is, never its values: `decision_function` gives logits; without it, the logits are the
logarithms of `predict_proba`, floored at the machine epsilon of its dtype.
"""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.frozen import FrozenEstimator
from sklearn.utils import _safe_indexing, get_tags, indexable

from skactivation._data.labels import shape_of, soft_targets
from skactivation._typing import Array
from skactivation._validation import as_array, as_floats


def probabilities_of(estimator: Any, X: Any) -> tuple[Array, Array | None]:
    """Probabilities (n, K) or (n, L), and the classes (K,) of the columns; None if multilabel."""
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"estimator must have predict_proba, got {estimator_name(estimator)} without it; wrap it in a "
            "TemperatureCalibrator, which computes probabilities from decision_function"
        )
    output, classes = estimator.predict_proba(X), getattr(estimator, "classes_", None)
    if isinstance(output, list):
        return _columns_of_yes(output, classes, "predict_proba"), None
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


def response_method_of(estimator: Any) -> str:
    """Name of the method that gives the logits."""
    for method in ("decision_function", "predict_proba"):
        if hasattr(estimator, method):
            return method
    raise TypeError(
        "estimator must have a decision_function or predict_proba to be calibrated, got "
        f"{estimator_name(estimator)} without either"
    )


def gives_indicator(estimator: Any, y: Any, X: Any = None) -> bool:
    """Whether a classifier is multilabel for this y.

    With X, the classifier must be fitted, and the shape of a prediction decides; without X, its tags and y decide.
    """
    if isinstance(getattr(estimator, "classes_", None), list) or getattr(estimator, "multilabel_", False):
        return True
    shape = shape_of(y)
    if len(shape) != 2 or shape[1] < 2:
        return False
    if X is not None:
        return len(shape_of(estimator.predict(_safe_indexing(indexable(X)[0], [0])))) == 2
    if get_tags(estimator).classifier_tags.multi_label:
        return True
    # Some classifiers that take indicators lack the tag. A y that is no distribution must be an indicator.
    try:
        return soft_targets(y) is None
    except (TypeError, ValueError):
        return True


def classes_of(estimator: Any) -> Array:
    """The classes (K,) of a fitted classifier, in the order of its output columns."""
    if not hasattr(estimator, "classes_"):
        raise TypeError(
            f"estimator must have classes_ once it is fitted, as classifiers do, got {estimator_name(estimator)}"
        )
    classes = as_array(estimator.classes_, "classes_")
    if classes.ndim != 1 or classes.size < 2:
        raise ValueError(f"estimator must know at least two classes, got one class or none: {classes.tolist()}")
    return classes


def logits_of(estimator: Any, X: Any, *, multilabel: bool) -> Array:
    """Logits of a fitted classifier: (n, K), (n, 1) for two classes, or (n, L) if multilabel."""
    method = response_method_of(estimator)
    output = getattr(estimator, method)(X)
    if isinstance(output, list):
        # One array a label: (n, 2), or (n, 1) if only one of 0 and 1 occurred.
        return _log_odds(_columns_of_yes(output, estimator.classes_, method))
    logits = as_floats(output.toarray() if sparse.issparse(output) else output, method)
    if multilabel:
        return _log_odds(logits) if method == "predict_proba" else logits.reshape(len(logits), -1)
    n_classes = classes_of(estimator).size
    n_wanted = 1 if n_classes == 2 and method == "decision_function" else n_classes
    shape = logits.shape if logits.ndim > 1 else (*logits.shape, 1)
    if shape[1:] != (n_wanted,):
        pairs = n_classes * (n_classes - 1) // 2
        hint = (
            "; if these are logits of pairs of classes, as of SVC, use decision_function_shape='ovr'"
            if shape[1:] == (pairs,)
            else ""
        )
        raise ValueError(
            f"{estimator_name(estimator)}'s {method} gives the shape {logits.shape} for {n_classes} classes, but "
            f"{n_wanted} column{'s are' if n_wanted > 1 else ' is'} needed{hint}"
        )
    logits = logits.reshape(shape)
    if method == "decision_function":
        return logits
    logits = np.asarray(np.log(np.maximum(logits, np.finfo(logits.dtype).eps)))
    return np.asarray(logits[:, 1:] - logits[:, :1]) if n_classes == 2 else logits


def predictions_of(estimator: Any, X: Any) -> Array:
    """Predicted labels (n,) of a fitted classifier, which may give them as a column."""
    predicted = as_array(estimator.predict(X), "predict")
    if predicted.ndim == 2 and predicted.shape[1] == 1:
        predicted = predicted[:, 0]
    if predicted.ndim != 1:
        raise ValueError(f"{estimator_name(estimator)}'s predict gives the shape {predicted.shape}, but (n,) is needed")
    return predicted


def _log_odds(probabilities: Array) -> Array:
    """Logits (n, L) of probabilities; p and 1 - p are floored at machine epsilon."""
    eps = np.finfo(probabilities.dtype).eps
    return np.asarray(np.log(np.maximum(probabilities, eps)) - np.log(np.maximum(1 - probabilities, eps)))


def _columns_of_yes(outputs: list[Any], classes: Any, method: str) -> Array:
    """Probabilities (n, L) of 1, from an array (n, 2) or (n, 1) for each label."""
    pairs = zip(outputs, classes, strict=True)
    columns = [_yes(as_array(of_label, method), no_and_yes) for of_label, no_and_yes in pairs]
    return as_floats(np.column_stack(columns), method)


def estimator_name(estimator: Any) -> str:
    """Name of an estimator for messages."""
    return type(estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator).__name__


def _yes(probabilities: Array, no_and_yes: Array) -> Array:
    """Probability (n,) of 1, from a column for each of 0 and 1 that occurred in the fit."""
    values = np.asarray(no_and_yes)
    if not np.isin(values, (0, 1)).all():
        raise ValueError(
            f"classes of multilabel columns must be 0 and 1, got an estimator of {values.tolist()}; "
            "recode y and refit it"
        )
    place = np.flatnonzero(values == 1)
    return probabilities[:, place[0]] if place.size else np.zeros(len(probabilities), probabilities.dtype)
