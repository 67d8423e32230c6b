"""Logits of rows that a classifier was not fitted to, and whether they agree with its predictions."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.parallel import Parallel, delayed

from skactivation._data.labels import columns_of_labels, encode_labels, shape_of
from skactivation._data.responses import classes_of, estimator_name, logits_of
from skactivation._messages import abridged
from skactivation._typing import Array

# Rows, at most, on which `predict` is compared with the largest logit; the share of them that may differ: SVC breaks
# ties between votes in another way than its decision function does, which concerned up to 2 % of rows where measured.
_COMPARED, _MAY_DIFFER = 1000, 0.05


class HeldOut(NamedTuple):
    """Logits of rows that a model hasn't seen in its fit."""

    rows: Array
    """Their numbers (m,); a row may be there multilabel times, or not at all."""
    logits: Array
    """(m, K) in the order of the classes, or (m, 1) for two classes."""


def checked_logits(estimator: Any, X: Any, classes: Array | None) -> Array:
    """Logits of a fitted classifier in the order of some classes, checked against its predictions.

    None stands for multilabel labels.
    """
    logits = logits_of(estimator, X, multilabel=classes is None)
    if classes is None:
        return logits
    own_classes = classes_of(estimator)
    _check_that_they_agree([_count_disagreements(estimator, X, logits, own_classes)])
    return align_columns(logits, own_classes, classes)


def align_columns(logits: Array, own_classes: Array, classes: Array) -> Array:
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

    `classes` (K,) gives the order of the columns, None is for multilabel labels.

    Raises
    ------
    ValueError
        Where rows are to be predicted whose class none of the training rows has.
    """
    X, y = indexable(X, y)
    n_rows = shape_of(y)[0]
    pairwise = get_tags(estimator).input_tags.pairwise

    def held_out(train: Array, test: Array) -> tuple[HeldOut, Any, Any]:
        params = {name: _select_rows(value, train, n_rows) for name, value in fit_params.items()}
        X_train, X_test = (X[np.ix_(rows, train)] if pairwise else _safe_indexing(X, rows) for rows in (train, test))
        copy = clone(estimator).fit(X_train, _safe_indexing(y, train), **params)
        logits = logits_of(copy, X_test, multilabel=classes is None)
        if classes is None:
            return HeldOut(test, logits), copy, None
        counts = None if weights is None else weights[test]
        _check_that_classes_are_known(copy, _safe_indexing(y, test), counts)
        own_classes = classes_of(copy)
        compared = _count_disagreements(copy, X_test, logits, own_classes)
        return HeldOut(test, align_columns(logits, own_classes, classes)), copy, compared

    pairs = [(_as_numbers(train), _as_numbers(test)) for train, test in splits]
    pairs = [(train, test) for train, test in pairs if test.size]
    if not pairs:
        raise ValueError("cv must leave some rows out, but no split of it does")
    results = Parallel(n_jobs=n_jobs)(delayed(held_out)(*pair) for pair in pairs)
    parts, copies, compared = (list(values) for values in zip(*results, strict=True))
    if classes is not None:
        _check_that_they_agree(compared)
    return parts, copies


def _as_numbers(rows: Any) -> Array:
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


class _Disagreements(NamedTuple):
    """Predictions beside largest logits."""

    n_wrong: int
    n_rows: int
    example: str


def _count_disagreements(estimator: Any, X: Any, logits: Array, classes: Array) -> _Disagreements:
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
    return _Disagreements(int(np.count_nonzero(wrong)), wrong.size, example)


def _check_that_they_agree(compared: list[_Disagreements]) -> None:
    """See that predictions and largest logits agree, but for a small share of the rows."""
    n_wrong, n_rows = sum(part.n_wrong for part in compared), sum(part.n_rows for part in compared)
    if n_wrong > max(1, _MAY_DIFFER * n_rows):
        example = next(part.example for part in compared if part.example)
        raise ValueError(
            f"the classifier's logits contradict its predictions in {n_wrong} of {n_rows} rows ({example}): they can't "
            "be calibrated as logits of the classes. (SVC(decision_function_shape='ovo') gives one for each pair of "
            "classes: use 'ovr'. A classifier with a threshold of its own belongs around the calibrator.)"
        )


def _select_rows(value: Any, rows: Array, n_rows: int) -> Any:
    """Some rows of a parameter of fit that has as many as X, else the parameter."""
    if isinstance(value, (str, dict)) or not any(hasattr(value, name) for name in ("shape", "__len__", "__array__")):
        return value
    shape = shape_of(value)
    return _safe_indexing(indexable(value)[0], rows) if shape[:1] == (n_rows,) else value
