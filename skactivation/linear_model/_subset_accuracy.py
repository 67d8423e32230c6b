"""Subset accuracy of predicted labels, some of which are not known."""

from typing import Any

import numpy as np
from scipy import sparse

from skactivation._data.indicators import Indicator
from skactivation._validation import check_sample_weight


def check_hard(indicator: Indicator, sample_weight: Any) -> None:
    """Raise an error for soft labels and weights of entries, for which the subset accuracy is not defined."""
    if not indicator.is_hard:
        raise ValueError(
            "y must hold only 0, 1 and NaN for the subset accuracy, got soft labels; score with "
            "skactivation.metrics.neg_multilabel_log_loss"
        )
    if np.ndim(sample_weight) > 1:
        raise ValueError(
            f"sample_weight must hold one weight per row for the subset accuracy, got {np.ndim(sample_weight)} "
            "dimensions; for weights of entries score with skactivation.metrics.neg_multilabel_log_loss"
        )


def subset_accuracy(predicted: Any, indicator: Indicator, sample_weight: Any) -> float:
    """Weighted fraction of rows whose known labels are all predicted correctly; rows without a known label are ignored.

    Parameters
    ----------
    predicted : {ndarray, sparse matrix} of shape (n, L)
        Predicted labels, 0 or 1.
    indicator : Indicator
        True labels, 0, 1 or not known.
    sample_weight : array-like of shape (n,) or None
        Weights of the rows.
    """
    labels = np.arange(indicator.n_labels)
    correct, known = np.empty(indicator.n_rows), np.empty(indicator.n_rows, dtype=bool)
    for rows in indicator.slices():
        chosen = predicted[rows].toarray() if sparse.issparse(predicted) else predicted[rows]
        signs = indicator.signs(rows, labels)
        correct[rows] = ((signs == 0) | ((signs < 0) == (chosen.T == 1))).all(axis=0)
        known[rows] = signs.any(axis=0)
    weights = check_sample_weight(sample_weight, correct.shape)
    weights = known * (1.0 if weights is None else weights)
    if not weights.any():
        raise ValueError("y has no row of positive weight with a known label; add such rows")
    return float(np.average(correct, weights=weights))
