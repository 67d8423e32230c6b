"""Logits of any classifier, and those of rows that it hasn't seen in its fit.

What a model's output is, is decided by the method that gave it, never by looking at the values: `decision_function`
gives logits; else the logarithms of `predict_proba` do, floored at the machine epsilon of its dtype.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.parallel import Parallel, delayed

from skactivation._data.labels import abridged, columns_of_labels, encode_labels, shape_of, soft_targets
from skactivation._data.responses import columns_of_yes, estimator_name
from skactivation._typing import Array
from skactivation._validation import as_floats

__all__ = [
    "HeldOut",
    "aligned",
    "classes_of",
    "gives_several_labels",
    "held_out_logits",
    "logits_of",
    "response_of",
    "seen_logits",
]


# Rows, at most, on which `predict` is compared with the largest logit; the share of them that may differ: SVC breaks
# ties between votes in another way than its decision function does, which concerned up to 2 % of rows where measured.
_COMPARED, _MAY_DIFFER = 1000, 0.05


class HeldOut(NamedTuple):
    """Logits of rows that a model hasn't seen in its fit."""

    rows: Array
    """Their numbers (m,); a row may be there several times, or not at all."""
    logits: Array
    """(m, K) in the order of the classes, or (m, 1) for two classes."""


def response_of(estimator: Any) -> str:
    """The method that gives logits."""
    for method in ("decision_function", "predict_proba"):
        if hasattr(estimator, method):
            return method
    raise TypeError(
        "estimator must have a decision_function or predict_proba to be calibrated, got "
        f"{estimator_name(estimator)} without either"
    )


def gives_several_labels(estimator: Any, y: Any, X: Any = None) -> bool:
    """Whether a classifier gives several labels for each row of y, not one of several classes.

    With rows X of a fitted one, its predictions tell; without, what it says of itself.
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
    # Some that take indicators don't say so; what they can't be is distributions over the classes.
    try:
        return soft_targets(y) is None
    except (TypeError, ValueError):
        return True


def classes_of(estimator: Any) -> Array:
    """The classes (K,) of a fitted classifier, in the order of its outputs."""
    if not hasattr(estimator, "classes_"):
        raise TypeError(
            f"estimator must have classes_ once it is fitted, as classifiers do, got {estimator_name(estimator)}"
        )
    classes = np.asarray(estimator.classes_)
    if classes.ndim != 1 or classes.size < 2:
        raise ValueError(f"estimator must know at least two classes, got one class or none: {classes.tolist()}")
    return classes


def logits_of(estimator: Any, X: Any, *, several: bool) -> Array:
    """Logits (n, K) of a fitted classifier, (n, 1) for two classes; (n, L) for several labels."""
    method = response_of(estimator)
    output = getattr(estimator, method)(X)
    if isinstance(output, list):
        # Several outputs: a list of (n, 2) for labels of which both values occurred.
        return _log_odds(columns_of_yes(output, estimator.classes_, method))
    logits = as_floats(output.toarray() if sparse.issparse(output) else output, method)
    if several:
        return _log_odds(logits) if method == "predict_proba" else logits.reshape(len(logits), -1)
    n_classes = classes_of(estimator).size
    n_wanted = 1 if n_classes == 2 and method == "decision_function" else n_classes
    shape = logits.shape if logits.ndim > 1 else (*logits.shape, 1)
    if shape[1:] != (n_wanted,):
        pairs = n_classes * (n_classes - 1) // 2
        hint = (
            ": one for each pair of classes? SVC then needs decision_function_shape='ovr'"
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


def seen_logits(estimator: Any, X: Any, classes: Array | None) -> Array:
    """Logits of a fitted classifier in the order of some classes, checked against its predictions.

    None stands for several labels.
    """
    logits = logits_of(estimator, X, several=classes is None)
    if classes is None:
        return logits
    own_classes = classes_of(estimator)
    _check_that_they_agree([_compared(estimator, X, logits, own_classes)])
    return aligned(logits, own_classes, classes)


def aligned(logits: Array, own_classes: Array, classes: Array) -> Array:
    """Logits in the order of some classes; one that the classifier doesn't know has the logit -inf.

    What it gives for others is left out.
    """
    if np.array_equal(own_classes, classes):
        return logits
    if logits.shape[1] == 1:
        logits = np.hstack([np.zeros_like(logits), logits])
    places = {label: place for place, label in enumerate(own_classes.tolist())}
    result = np.full((len(logits), classes.size), -np.inf, dtype=logits.dtype)
    for column, label in enumerate(classes.tolist()):
        if label in places:
            result[:, column] = logits[:, places[label]]
    return result[:, 1:] - result[:, :1] if classes.size == 2 else result


def held_out_logits(
    estimator: Any,
    X: Any,
    y: Any,
    splits: Iterable[tuple[Array, Array]],
    fit_params: dict[str, Any],
    *,
    classes: Array | None,
    weights: Array | None,
    n_jobs: int | None = None,
) -> tuple[list[HeldOut], list[Any]]:
    """Logits of each split's test rows from a copy of the classifier that was fitted to its training rows; the copies.

    `classes` (K,) gives the order of the columns, None is for several labels.

    Raises
    ------
    ValueError
        Where rows are to be predicted whose class none of the training rows has.
    """
    X, y = indexable(X, y)
    n_rows = shape_of(y)[0]
    pairwise = get_tags(estimator).input_tags.pairwise

    def held_out(train: Array, test: Array) -> tuple[HeldOut, Any, Any]:
        params = {name: _of_rows(value, train, n_rows) for name, value in fit_params.items()}
        X_train, X_test = (X[np.ix_(rows, train)] if pairwise else _safe_indexing(X, rows) for rows in (train, test))
        copy = clone(estimator).fit(X_train, _safe_indexing(y, train), **params)
        logits = logits_of(copy, X_test, several=classes is None)
        if classes is None:
            return HeldOut(test, logits), copy, None
        counts = None if weights is None else weights[test]
        _check_that_classes_are_known(copy, _safe_indexing(y, test), counts)
        own_classes = classes_of(copy)
        compared = _compared(copy, X_test, logits, own_classes)
        return HeldOut(test, aligned(logits, own_classes, classes)), copy, compared

    pairs = [(_numbers(train), _numbers(test)) for train, test in splits]
    pairs = [(train, test) for train, test in pairs if test.size]
    if not pairs:
        raise ValueError("cv must leave some rows out, but no split of it does")
    results = Parallel(n_jobs=n_jobs)(delayed(held_out)(*pair) for pair in pairs)
    parts, copies, compared = (list(values) for values in zip(*results, strict=True))
    if classes is not None:
        _check_that_they_agree(compared)
    return parts, copies


def _numbers(rows: Any) -> Array:
    """Numbers of rows that may be given by a mask."""
    rows = np.asarray(rows)
    return np.flatnonzero(rows) if rows.dtype == bool else rows


def _check_that_classes_are_known(estimator: Any, y: Any, weights: Array | None) -> None:
    """See that the classes of held-out rows occurred in the fit."""
    if np.ndim(y) != 1 or (weights is not None and not weights.any()):
        return
    _, present = encode_labels(y, weights)
    known = set(classes_of(estimator).tolist())
    missing = [label for label in present.tolist() if label not in known]
    if missing:
        raise ValueError(
            f"a split of cv holds out all rows of the class {missing[0]!r}, so that the classifier fitted to the "
            "others doesn't know it: stratify cv, give it fewer splits, or leave the class out, as must be if it has a "
            "single row"
        )


class _Compared(NamedTuple):
    """Predictions beside largest logits."""

    n_wrong: int
    n_rows: int
    example: str


def _compared(estimator: Any, X: Any, logits: Array, classes: Array) -> _Compared:
    """In how many rows the largest logit isn't that of the class that is predicted, but for ties."""
    step = -(-len(logits) // _COMPARED)
    if step > 1:
        X, logits = _safe_indexing(indexable(X)[0], np.arange(0, len(logits), step)), logits[::step]
    predicted = columns_of_labels(estimator.predict(X), classes)
    if logits.shape[1] == 1:
        wrong = ((logits[:, 0] > 0) != predicted) & (logits[:, 0] != 0)
    else:
        wrong = logits[np.arange(predicted.size), predicted] < logits.max(axis=1)
    example = ""
    if wrong.any():
        row, names = int(np.argmax(wrong)), classes.tolist()
        largest = names[int(logits[row, 0] > 0) if logits.shape[1] == 1 else int(logits[row].argmax())]
        example = (
            f"{estimator_name(estimator)} predicts {names[predicted[row]]!r} where the logits, "
            f"{abridged(logits[row])}, are largest for {largest!r}"
        )
    return _Compared(int(np.count_nonzero(wrong)), wrong.size, example)


def _check_that_they_agree(compared: list[_Compared]) -> None:
    """See that predictions and largest logits agree, but for a small share of the rows."""
    n_wrong, n_rows = sum(part.n_wrong for part in compared), sum(part.n_rows for part in compared)
    if n_wrong > max(1, _MAY_DIFFER * n_rows):
        example = next(part.example for part in compared if part.example)
        raise ValueError(
            f"the classifier's logits contradict its predictions in {n_wrong} of {n_rows} rows ({example}): they can't "
            "be calibrated as logits of the classes. (SVC(decision_function_shape='ovo') gives one for each pair of "
            "classes: use 'ovr'. A classifier with a threshold of its own belongs around the calibrator.)"
        )


def _log_odds(probabilities: Array) -> Array:
    """Logits (n, L) from probabilities, floored on both sides."""
    eps = np.finfo(probabilities.dtype).eps
    return np.asarray(np.log(np.maximum(probabilities, eps)) - np.log(np.maximum(1 - probabilities, eps)))


def _of_rows(value: Any, rows: Array, n_rows: int) -> Any:
    """Some rows of a parameter of fit that has as many as X, else the parameter."""
    if isinstance(value, (str, dict)) or not any(hasattr(value, name) for name in ("shape", "__len__", "__array__")):
        return value
    shape = shape_of(value)
    return _safe_indexing(indexable(value)[0], rows) if shape[:1] == (n_rows,) else value
