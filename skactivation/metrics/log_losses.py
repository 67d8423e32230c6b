"""Log losses that scikit-learn does not have: for several labels with unknown entries, and for soft targets."""

from __future__ import annotations  # help() then shows ArrayLike, not its definition

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from skactivation._data.labels import as_label_columns, check_same_columns
from skactivation._threads import over_slices, threads_for
from skactivation._typing import Array
from skactivation._validation import as_array, as_distributions, as_floats, check_sample_weight
from skactivation.metrics._forecasts import check_probabilities

__all__ = ["cross_entropy", "multilabel_log_loss"]


def multilabel_log_loss(y_true: Any, y_proba: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    r"""Mean log loss over the known entries of an indicator, :math:`-y \log p - (1 - y) \log(1 - p)`.

    Lower is better; from 0 to about 36 (entirely wrong, in double precision); log 2 for p = 1/2. It is a proper score:
    the true probabilities have the lowest expected loss. It does not see how the labels of a row depend on each other.
    (`sklearn.metrics.log_loss` treats the columns of an indicator as exclusive classes, so its result differs.)

    Parameters
    ----------
    y_true : {array-like, sparse matrix} of shape (n, L)
        0 for no, 1 for yes, a number between for a soft label, NaN for unknown (left out).
    y_proba : array-like of shape (n, L)
        Probabilities of yes, clipped to [eps, 1 - eps] with the machine epsilon of their dtype.
    sample_weight : array-like of shape (n,) or (n, L), default=None
        Non-negative weights of rows or of single entries.

    Returns
    -------
    float
        Weighted mean, in nats per entry.

    Raises
    ------
    TypeError, ValueError
        If shapes do not match, values lie outside [0, 1], a weight is negative or no entry is known.

    References
    ----------
    Good, "Rational decisions", Journal of the Royal Statistical Society B 14 (1952).

    Examples
    --------
    >>> import numpy as np
    >>> from skactivation.metrics import multilabel_log_loss
    >>> y = [[1, 0], [1, 1], [0, np.nan]]
    >>> p = [[0.8, 0.3], [0.7, 0.6], [0.4, 0.5]]
    >>> print(round(multilabel_log_loss(y, p), 6))
    0.391629
    """
    truth = as_label_columns(y_true, "y_true").values
    check_same_columns(y_true=y_true, y_proba=y_proba)
    probabilities = _as_probabilities(y_proba, truth.shape, exclusive=False)
    weights = check_sample_weight(sample_weight, truth.shape)
    eps = np.finfo(probabilities.dtype).eps

    def entries(rows: slice) -> tuple[Array, Array]:
        """The indicator, and the weights of its entries: 0 for unknown ones."""
        y = truth[rows]
        y = (y.toarray() if sparse.issparse(y) else y).astype(np.float64)
        known = ~np.isnan(y)
        return y, known if weights is None else np.where(known, weights[rows].reshape(len(y), -1), 0.0)

    def sums(rows: slice, largest: float) -> tuple[float, float]:
        """The weighted sum of the losses, and the sum of the weights, for weights relative to the largest."""
        y, counted = entries(rows)
        counted = counted / largest
        p = np.clip(probabilities[rows], eps, 1 - eps, dtype=np.float64)
        losses = -(y * np.log(p) + (1 - y) * np.log1p(-p))
        return float(np.sum(losses * counted, where=counted > 0)), float(counted.sum())

    with threads_for(truth.shape[0] * truth.shape[1]), np.errstate(all="ignore"):
        # Weights are scaled to a largest one of 1 among those that count, so that sums stay in range.
        largest = 1.0
        if weights is not None:
            largest = max(over_slices(lambda rows: entries(rows)[1].max(), *truth.shape)) or 1.0
        of_slices = over_slices(lambda rows: sums(rows, largest), *truth.shape)
    loss, weight = np.sum(of_slices, axis=0)
    if weight == 0:
        raise ValueError("y_true has no known entry of positive weight: there is no loss to average")
    return float(loss / weight)


def cross_entropy(y_true: ArrayLike, y_proba: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    r"""Mean cross-entropy of exclusive classes with soft targets, :math:`-\sum_k t_k \log p_k`.

    Lower is better; from the entropy of the targets (0 for one-hot rows) to about 36 (in double precision). It is a
    proper score. For one-hot targets it equals the log loss.

    Parameters
    ----------
    y_true : array-like of shape (n, K)
        A distribution over the classes in each row.
    y_proba : array-like of shape (n, K), or (n,) for two classes
        Probabilities, clipped to at least the machine epsilon of their dtype. A one-dimensional array holds those of
        the second of two classes, as scikit-learn's scorers pass them.
    sample_weight : array-like of shape (n,), default=None
        Non-negative weights of the rows.

    Returns
    -------
    float
        Weighted mean, in nats per row.

    Raises
    ------
    TypeError, ValueError
        If shapes do not match, rows of targets do not sum to 1, values lie outside [0, 1] or a weight is negative.

    References
    ----------
    Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (2015).

    Examples
    --------
    >>> from skactivation.metrics import cross_entropy
    >>> print(round(cross_entropy([[0.7, 0.3], [0.0, 1.0]], [[0.6, 0.4], [0.1, 0.9]]), 6))
    0.368913
    """
    truth = as_array(y_true, "y_true")
    if truth.ndim != 2:
        raise ValueError(
            f"y_true must hold a distribution in each row, shape (n, K), got the shape {truth.shape}; for labels use "
            "sklearn.metrics.log_loss"
        )
    truth = as_distributions(y_true, "y_true", "for multilabel targets use multilabel_log_loss")
    if truth.shape[1] == 2 and np.ndim(y_proba) == 1:
        second = _as_probabilities(y_proba, truth.shape[:1], exclusive=True)
        probabilities = np.column_stack([1 - second, second])
    else:
        check_same_columns(y_true=y_true, y_proba=y_proba)
        probabilities = _as_probabilities(y_proba, truth.shape, exclusive=True)
    weights = check_sample_weight(sample_weight, truth.shape[:1])
    p = np.maximum(probabilities, np.finfo(probabilities.dtype).eps).astype(np.float64)
    # Targets are distributions up to rounding: divided by their sums, they are so exactly.
    # Many numbers in single precision would lose digits.
    losses = -(truth * np.log(p)).sum(axis=1, dtype=np.float64) / truth.sum(axis=1, dtype=np.float64)
    if weights is None:
        return float(losses.mean())
    # Scaled to a maximum of 1, so that sums stay in range.
    return float(np.average(losses, weights=weights / weights.max()))


def _as_probabilities(y_proba: ArrayLike, shape: tuple[int, ...], *, exclusive: bool) -> Array:
    """Checked probabilities of the given shape, in float32 or float64."""
    probabilities = as_floats(y_proba, "y_proba")
    if probabilities.shape != shape:
        raise ValueError(f"y_proba must have y_true's shape {shape}, got {probabilities.shape}")
    check_probabilities(probabilities, exclusive=exclusive, given=as_array(y_proba, "y_proba"))
    return probabilities
