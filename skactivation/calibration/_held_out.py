"""Cross-validation: logits of held-out rows, checked against the classifier's predictions."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing, get_tags, indexable
from sklearn.utils.parallel import Parallel, delayed

from skactivation._callbacks import Task, Watch
from skactivation._data.labels import columns_of_labels, encode_labels, shape_of
from skactivation._data.responses import classes_of, estimator_name, logits_of, predictions_of
from skactivation._data.splits import numbers_of_rows, selected_rows
from skactivation._messages import abridged
from skactivation._typing import Array

# Largest number of rows in which `predict` is compared with the largest logit, and the fraction that may differ: SVC
# breaks ties between votes differently in `predict` and in its decision function, measured in up to 2 % of the rows.
_COMPARED, _MAY_DIFFER = 1000, 0.05


def checked_logits(estimator: Any, X: Any, classes: Array | None) -> Array:
    """Logits of a fitted classifier in the order of `classes`, checked against its predictions; None for multilabel."""
    logits = logits_of(estimator, X, multilabel=classes is None)
    if classes is None:
        return logits
    own_classes = classes_of(estimator)
    _check_that_they_agree([_count_disagreements(estimator, X, logits, own_classes)])
    return align_columns(logits, own_classes, classes)


def align_columns(logits: Array, own_classes: Array, classes: Array) -> Array:
    """Logits in the order of `classes`: -inf for those not in `own_classes`, and no columns for other classes."""
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


class _Disagreements(NamedTuple):
    """Rows in which the prediction is not the class of the largest logit."""

    n_wrong: int
    n_rows: int
    example: str


class HeldOut(NamedTuple):
    """Logits of the rows that one split held out."""

    rows: Array
    """Row numbers (m,). Splits may overlap or leave rows out."""
    logits: Array
    """(m, K) in the order of the classes, or (m, 1) for two classes."""
    classifier: Any
    """The classifier, fitted to the split's training rows."""
    disagreements: _Disagreements | None
    """None for multilabel y."""


def held_out_logits(
    estimator: Any,
    X: Any,
    y: Any,
    splits: Iterable[tuple[Array, Array]],
    fit_params: dict[str, Any],
    *,
    classes: Array | None,
    weights: Array | None,
    n_jobs: int | None,
    watch: Watch,
) -> list[HeldOut]:
    """For each split, fit a copy of the classifier to the training rows and get its logits of the test rows.

    `classes` (K,) gives the order of the columns; None for multilabel y. A class that is held out but not in the
    training rows is a ValueError.
    """
    X, y = indexable(X, y)
    n_rows = shape_of(y)[0]
    pairs = [(numbers_of_rows(train, n_rows), numbers_of_rows(test, n_rows)) for train, test in splits]
    pairs = [(train, test) for train, test in pairs if test.size]
    if not pairs:
        raise ValueError("cv must leave some rows out, but every split has an empty test set; use another splitter")

    def tasks() -> Iterator[Any]:
        for number, pair in enumerate(pairs, 1):
            watch.line(partial("split {} of {}".format, number, len(pairs)))
            task = watch.task("fit-split", with_data=False)
            yield delayed(_hold_out)(estimator, X, y, fit_params, classes, weights, task, *pair)

    parts: list[HeldOut] = Parallel(n_jobs=n_jobs)(tasks())
    _check_that_they_agree([part.disagreements for part in parts if part.disagreements is not None])
    return parts


def _hold_out(
    estimator: Any,
    X: Any,
    y: Any,
    fit_params: dict[str, Any],
    classes: Array | None,
    weights: Array | None,
    task: Task,
    train: Array,
    test: Array,
) -> HeldOut:
    """One split of `held_out_logits`: a function of the module, so that processes can be given it."""
    n_rows = shape_of(y)[0]
    params = {name: selected_rows(value, train, n_rows) for name, value in fit_params.items()}
    pairwise = get_tags(estimator).input_tags.pairwise
    X_train, X_test = (X[np.ix_(rows, train)] if pairwise else _safe_indexing(X, rows) for rows in (train, test))
    copy = clone(estimator)
    with task.fitting(copy):
        copy = copy.fit(X_train, _safe_indexing(y, train), **params)
    logits = logits_of(copy, X_test, multilabel=classes is None)
    if classes is None:
        return HeldOut(test, logits, copy, None)
    _check_that_classes_are_known(copy, _safe_indexing(y, test), None if weights is None else weights[test])
    own_classes = classes_of(copy)
    disagreements = _count_disagreements(copy, X_test, logits, own_classes)
    return HeldOut(test, align_columns(logits, own_classes, classes), copy, disagreements)


def _check_that_classes_are_known(estimator: Any, y: Any, weights: Array | None) -> None:
    """Raise an error if held-out rows of positive weight have a class that the training rows lack."""
    if np.ndim(y) != 1 or (weights is not None and not weights.any()):
        return
    _, present = encode_labels(y, weights)
    known = set(classes_of(estimator).tolist())
    missing = [label for label in present.tolist() if label not in known]
    if missing:
        raise ValueError(
            f"a split of cv holds out all rows of the class {missing[0]!r}, so the classifier fitted to the other rows "
            "doesn't know it: stratify cv or use fewer splits, or a splitter whose training rows have all classes"
        )


def _count_disagreements(estimator: Any, X: Any, logits: Array, classes: Array) -> _Disagreements:
    """Count the rows in which the predicted class doesn't have the largest logit; ties agree."""
    step = -(-len(logits) // _COMPARED)
    if step > 1:
        X, logits = _safe_indexing(indexable(X)[0], np.arange(0, len(logits), step)), logits[::step]
    predicted = columns_of_labels(predictions_of(estimator, X), classes)
    if logits.shape[1] == 1:
        size = np.abs(logits[:, 0])
        wrong = ((logits[:, 0] > 0) != predicted) & (size > _tie(size))
    else:
        top = logits.max(axis=1)
        wrong = logits[np.arange(predicted.size), predicted] < top - _tie(np.abs(top))
    example = ""
    if wrong.any():
        row, names = int(np.argmax(wrong)), classes.tolist()
        largest = names[int(logits[row, 0] > 0) if logits.shape[1] == 1 else int(logits[row].argmax())]
        example = (
            f"{estimator_name(estimator)} predicts {names[predicted[row]]!r} where the logits, "
            f"{abridged(logits[row])}, are largest for {largest!r}"
        )
    return _Disagreements(int(np.count_nonzero(wrong)), wrong.size, example)


def _tie(sizes: Array) -> Array:
    """Differences of logits of these sizes that may come from rounding, in the logits or the probabilities behind."""
    return np.asarray(10 * np.sqrt(np.finfo(sizes.dtype).eps) * np.maximum(1, sizes))


def _check_that_they_agree(compared: list[_Disagreements]) -> None:
    """Raise an error if predictions and largest logits disagree in more than a small fraction of the rows."""
    n_wrong, n_rows = sum(part.n_wrong for part in compared), sum(part.n_rows for part in compared)
    if n_wrong > max(1, _MAY_DIFFER * n_rows):
        example = next(part.example for part in compared if part.example)
        raise ValueError(
            f"the classifier's logits contradict its predictions in {n_wrong} of {n_rows} rows ({example}), so they "
            "can't be calibrated. For SVC, use decision_function_shape='ovr' ('ovo' gives logits of pairs of classes). "
            "Put a classifier with its own threshold around the calibrator, not inside."
        )
