"""Precision and recall of predicted labels, where some labels are not known."""

from __future__ import annotations  # help() then shows ArrayLike, not its definition

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from skactivation._data.indicators import Indicator
from skactivation._data.labels import check_same_columns
from skactivation._typing import Array
from skactivation._validation import check_sample_weight

__all__ = ["PrecisionRecall", "multilabel_precision_recall"]


class PrecisionRecall(NamedTuple):
    """Result of `multilabel_precision_recall`, an entry for each label (L,); NaN where a number is not defined.

    Examples
    --------
    >>> from skactivation.metrics import PrecisionRecall, multilabel_precision_recall
    >>> isinstance(multilabel_precision_recall([[1], [0]], [[1], [1]]), PrecisionRecall)
    True
    """

    precision: Array
    """Fraction of the predicted labels that are right."""
    recall: Array
    """Fraction of the true labels that are predicted."""
    f1: Array
    """Harmonic mean of both."""
    support: Array
    """Total weight of the known entries that are 1."""


def multilabel_precision_recall(y_true: Any, y_pred: Any, *, sample_weight: ArrayLike | None = None) -> PrecisionRecall:
    """Precision, recall and F1 of each label, over the rows in which it is known.

    scikit-learn's `precision_recall_fscore_support` takes no unknown entries.

    Parameters
    ----------
    y_true : {array-like, sparse matrix} of shape (n, L)
        0 for no, 1 for yes, NaN for unknown (left out).
    y_pred : {array-like, sparse matrix} of shape (n, L)
        Predictions, 0 or 1.
    sample_weight : array-like of shape (n,) or (n, L), default=None
        Non-negative weights of rows or of single entries.

    Returns
    -------
    PrecisionRecall
        Precision, recall, F1 and support of each label. Precision is NaN if a label is never predicted, recall if it is
        never true, F1 if both are.

    Raises
    ------
    TypeError, ValueError
        If shapes do not match, `y_true` holds soft labels, `y_pred` other entries than 0 and 1, or a weight is
        negative.

    References
    ----------
    Manning, Raghavan and Schütze, "Introduction to information retrieval" (2008), chapter 8.

    Examples
    --------
    >>> import numpy as np
    >>> from skactivation.metrics import multilabel_precision_recall
    >>> y = [[1, 0], [1, 1], [0, np.nan], [1, 1]]
    >>> result = multilabel_precision_recall(y, [[1, 1], [1, 1], [1, 1], [0, 1]])
    >>> result.precision.round(3), result.recall.round(3)
    (array([0.667, 0.667]), array([0.667, 1.   ]))
    """
    truth, chosen = Indicator(y_true), Indicator(y_pred)
    check_same_columns(y_true=y_true, y_pred=y_pred)
    shape = truth.n_rows, truth.n_labels
    if (chosen.n_rows, chosen.n_labels) != shape:
        raise ValueError(
            f"y_true and y_pred must have the same shape, got {shape} and {(chosen.n_rows, chosen.n_labels)}"
        )
    if not truth.is_hard:
        raise ValueError("y_true must hold only 0, 1 and NaN, got soft labels; use multilabel_log_loss")
    if not (chosen.is_hard and chosen.all_known):
        raise ValueError("y_pred must hold only 0 and 1: compare probabilities with thresholds first")
    weights = check_sample_weight(sample_weight, shape)
    labels, largest = np.arange(truth.n_labels), 1.0 if weights is None else float(weights.max())
    right, predicted, true = np.zeros((3, truth.n_labels))
    for rows in truth.slices():
        signs, yes = truth.signs(rows, labels), chosen.signs(rows, labels) < 0
        # Relative to the largest weight, because sums of huge weights overflow.
        counted = (signs != 0) * (1.0 if weights is None else np.atleast_2d(weights[rows].T) / largest)
        right += (counted * (yes & (signs < 0))).sum(axis=1)
        predicted += (counted * yes).sum(axis=1)
        true += (counted * (signs < 0)).sum(axis=1)
    with np.errstate(invalid="ignore"):
        return PrecisionRecall(right / predicted, right / true, 2 * right / (predicted + true), true * largest)
