"""Cross-entropies from logits, accurate even if probabilities round to 0 or 1."""

from __future__ import annotations  # help() then shows ArrayLike instead of its long definition

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from skactivation._activation_kernels import class_major_blocks, compensated_exp_minus_max, sum_of_others
from skactivation._class_major_losses import SigmoidLoss, expected_gaps, smooth, softmax_targets
from skactivation._typing import Array
from skactivation._validation import as_array, as_distributions, as_floats, check_real, check_sample_weight

__all__ = ["sigmoid_cross_entropy", "softmax_cross_entropy"]

Reduction = Literal["mean", "sum", "none"]


def softmax_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Any:
    r"""Cross-entropy of exclusive classes, :math:`\log \sum_k e^{z_k} - \sum_k t_k z_k` for each row.

    Parameters
    ----------
    logits : array-like of shape (n, K)
        Logits of K exclusive classes; computed in float32 for float32 and float16, else in float64. A row with a NaN,
        several ``inf`` or only ``-inf`` gives NaN.
    targets : array-like of shape (n,) or (n, K)
        Class indices, integers from 0 to K - 1; or soft targets, each row a distribution over the classes.
    sample_weight : array-like of shape (n,), default=None
        Non-negative weights of the rows. Rows of weight 0 are ignored, even if their loss is infinite or NaN.
    label_smoothing : float in [0, 1], default=0.0
        With e, the targets become (1 - e) t + e / K.
    reduction : {"mean", "sum", "none"}, default="mean"
        The weighted mean, the weighted sum, or the weighted loss of each row.

    Returns
    -------
    float or ndarray of shape (n,)
        Loss in nats. Each row's loss has a relative error of at most 8 machine epsilons, even close to 0.

    Raises
    ------
    TypeError
        If logits are complex or sparse, or class indices are not integers.
    ValueError
        If shapes do not match, a class index is outside 0..K-1, a row of soft targets is not a distribution, a weight
        is negative, or all weights are 0.

    References
    ----------
    Goodfellow, Bengio and Courville, *Deep Learning* (2016), section 6.2.2.3.

    Examples
    --------
    >>> from skactivation.losses import softmax_cross_entropy
    >>> softmax_cross_entropy([[2.0, 0.0], [0.0, 40.0]], [0, 1], reduction="none")
    array([1.26928011e-01, 4.24835426e-18])
    >>> print(round(softmax_cross_entropy([[2.0, 0.0]], [[0.5, 0.5]]), 6))
    1.126928
    """
    z = as_floats(logits, "logits")
    if z.ndim != 2 or z.shape[1] == 0:
        raise ValueError(f"logits must have the shape (n, K) with K >= 1, got {z.shape}")
    weights = check_sample_weight(sample_weight, z.shape[:1])
    smoothing = check_real(label_smoothing, "label_smoothing", high=1.0)
    encoded = _encode_softmax_targets(targets, z.shape)
    losses = np.empty(z.shape[0], dtype=z.dtype)
    with np.errstate(all="ignore"):
        for rows, block in class_major_blocks(z):
            target = softmax_targets(encoded[rows], z.shape[1], smoothing)
            exponents, exponentials = compensated_exp_minus_max(block)
            losses[rows] = np.log1p(sum_of_others(exponentials)) + expected_gaps(exponents, target)
    return _reduce(losses, weights, None, reduction)


def sigmoid_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    pos_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> Any:
    r"""Cross-entropy of independent labels, :math:`w t \log(1 + e^{-z}) + (1 - t) \log(1 + e^z)` for each entry.

    Parameters
    ----------
    logits : array-like of shape (n,) or (n, L)
        Log-odds of each label; computed in float32 for float32 and float16, else in float64.
    targets : array-like of the same shape
        Values in [0, 1]: 0 for no, 1 for yes, values between them for soft labels. NaN means not known and is ignored.
    sample_weight : array-like of shape (n,) or (n, L), default=None
        Non-negative weights of the rows or of the entries.
    pos_weight : float or array-like of shape (L,), default=None
        Positive factor w on the loss of targets 1, for rare labels. It does not enter the mean's denominator.
    label_smoothing : float in [0, 1], default=0.0
        With e, the targets become (1 - e) t + e / 2.
    reduction : {"mean", "sum", "none"}, default="mean"
        The weighted mean over known entries, their weighted sum, or each entry's weighted loss, NaN for targets not
        known.

    Returns
    -------
    float or ndarray of the logits' shape
        Loss in nats, accurate even close to 0.

    Raises
    ------
    TypeError
        If logits are complex or sparse.
    ValueError
        If shapes do not match, a target is outside [0, 1], a weight is negative, or a mean has no known target.

    References
    ----------
    Goodfellow, Bengio and Courville, *Deep Learning* (2016), section 6.2.2.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skactivation.losses import sigmoid_cross_entropy
    >>> sigmoid_cross_entropy([[0.0, 3.0], [40.0, -1.0]], [[1, 0], [1, np.nan]], reduction="none")
    array([[6.93147181e-01, 3.04858735e+00],
           [4.24835426e-18,            nan]])
    >>> print(round(sigmoid_cross_entropy([[0.0, 3.0], [40.0, -1.0]], [[1, 0], [1, np.nan]]), 6))
    1.247245
    """
    z = as_floats(logits, "logits")
    if z.ndim not in (1, 2):
        raise ValueError(f"logits must have the shape (n,) or (n, L), got {z.shape}")
    t = as_floats(targets, "targets")
    if t.shape != z.shape:
        raise ValueError(f"targets must have the logits' shape {z.shape}, got {t.shape}")
    known = ~np.isnan(t)
    if not np.all((t[known] >= 0) & (t[known] <= 1)):
        raise ValueError(
            f"targets must lie in [0, 1] (NaN for not known), got values from {np.nanmin(t):g} to {np.nanmax(t):g}"
        )
    weights = check_sample_weight(sample_weight, z.shape)
    if weights is not None and weights.ndim < z.ndim:
        weights = weights[:, np.newaxis]
    positive = _check_pos_weight(pos_weight, z.shape)
    smoothing = check_real(label_smoothing, "label_smoothing", high=1.0)
    losses = np.empty(z.shape, dtype=z.dtype)
    # Logits (n,) become one column (n, 1).
    shape = (*z.shape, 1)[:2]
    columns, column_losses, column_targets = z.reshape(shape), losses.reshape(shape), t.reshape(shape)
    with np.errstate(all="ignore"):
        for rows, block in class_major_blocks(columns) if z.size else ():
            yes = smooth(column_targets[rows].T.astype(z.dtype, copy=False), smoothing, 2)
            column_losses[rows] = SigmoidLoss().losses_and_residuals(block, (positive * yes, 1 - yes)).T
    return _reduce(losses, weights, known, reduction)


def _encode_softmax_targets(targets: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Validate targets; return class indices (n,) or distributions (n, K)."""
    encoded = as_array(targets, "targets")
    if encoded.ndim == 1:
        if encoded.size and encoded.dtype.kind not in "iub":
            raise TypeError(f"targets of shape (n,) must be integers, class indices, got dtype {encoded.dtype}")
        if encoded.shape != shape[:1]:
            raise ValueError(f"targets must have one entry for each of the {shape[0]} rows, got {encoded.size}")
        if encoded.size and not (0 <= encoded.min() and encoded.max() < shape[1]):
            raise ValueError(f"targets must lie in 0..{shape[1] - 1}, got {encoded.min()}..{encoded.max()}")
        return encoded.astype(np.intp, copy=False)
    if encoded.shape != shape:
        raise ValueError(f"targets must have the shape {shape[:1]} or {shape}, got {encoded.shape}")
    return as_distributions(targets, "targets", "for labels that do not exclude each other use sigmoid_cross_entropy")


def _check_pos_weight(pos_weight: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """Validate pos_weight; return a scalar or a column (L, 1)."""
    if pos_weight is None:
        return np.array(1.0)
    factor = as_floats(pos_weight, "pos_weight").astype(np.float64)
    if factor.ndim and factor.shape != shape[1:]:
        raise ValueError(f"pos_weight must be a number or have the shape {shape[1:]}, got {factor.shape}")
    if not np.all((factor > 0) & np.isfinite(factor)):
        raise ValueError(f"pos_weight must be positive and finite, got {pos_weight!r}")
    return factor[:, np.newaxis] if factor.ndim else factor


def _reduce(losses: Array, weights: Array | None, known: Array | None, reduction: Reduction) -> Any:
    """Weight and reduce losses; means and sums ignore entries not known or of weight 0."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be 'mean', 'sum' or 'none', got {reduction!r}")
    counted = np.broadcast_to(1.0 if weights is None else weights, losses.shape)
    if known is not None:
        counted = counted * known
    weight = 1.0
    if reduction == "mean":
        largest = counted.max(initial=0)
        if largest == 0:
            raise ValueError("the mean of no losses is not defined: no row, or no known target, has a positive weight")
        # Weights are divided by the largest, so that sums of huge weights do not overflow.
        counted = counted / largest
        weight = counted.sum()
    with np.errstate(all="ignore"):
        # Entries of weight 0 are skipped, because an infinite loss times 0 would be NaN.
        weighted = np.multiply(losses, counted, out=np.zeros(losses.shape), where=counted > 0)
        if reduction == "none":
            if known is not None:
                weighted[~known] = np.nan
            return weighted.astype(losses.dtype)
        return losses.dtype.type(weighted.sum() / weight)
