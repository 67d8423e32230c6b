r"""Cross-entropies, from logits alone: no probability is formed whose logarithm would be lost.

The functions at the top are public. Below them stand the two losses that the estimators sum over rows, as stateless
objects that work on *class-major* logits z of shape (K, b): one row a class, one column a row of X. Reductions over the
leading axis are the fast ones in NumPy.

With D_k = max(z) - z_k, every term of the softmax loss is at least 0, so that nothing cancels near a loss of 0:

    logsumexp(z) - <t, z> = log(sum_k exp(-D_k)) + <t, D>

and likewise for the sigmoid, with weights a for "yes" and c for "no":

    a softplus(-z) + c softplus(z) = (a + c) log1p(exp(-abs(z))) + a max(-z, 0) + c max(z, 0)
"""

from __future__ import annotations  # signatures in help() then say ArrayLike, not what it stands for

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skactivation._validation import as_array, as_distributions, as_floats, check_real, check_sample_weight
from skactivation.activations import (
    class_major_blocks,
    compensated_exp_minus_max,
    sum_of_others,
)

__all__ = ["sigmoid_cross_entropy", "softmax_cross_entropy"]

Array = NDArray[Any]
Reduction = Literal["mean", "sum", "none"]

# Entries of class-major logits on which elementwise work goes on at a time.
_CHUNK_SIZE = 2**16


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
        Logits of K exclusive classes; float32 is kept, everything else is computed in float64. A row with a NaN, or
        without a finite probability for a class (several ``inf``, all ``-inf``), gives NaN.
    targets : array-like of shape (n,) or (n, K)
        Integers from 0 to K - 1, the column of each row's class; or a distribution over the classes in each row.
    sample_weight : array-like of shape (n,), default=None
        Weights of the rows, not negative. A row of weight 0 counts for nothing, whatever its loss.
    label_smoothing : float in [0, 1], default=0.0
        With e, the targets become (1 - e) t + e / K.
    reduction : {"mean", "sum", "none"}, default="mean"
        The weighted mean, the weighted sum, or the weighted loss of each row.

    Returns
    -------
    float or ndarray of shape (n,)
        Nats, each row's loss to 8 machine epsilons relative also where it is close to 0.

    Raises
    ------
    TypeError
        Complex or sparse logits; indices that aren't integers.
    ValueError
        Shapes that don't fit, an index outside 0..K-1, rows that don't sum to one, weights that are negative.

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
            losses[rows] = np.log1p(sum_of_others(exponentials)) + _expected_gaps(exponents, target)
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
        Log-odds of each label; float32 is kept, everything else is computed in float64.
    targets : array-like of the same shape
        Values in [0, 1]: 0 is no, 1 is yes, between them lie soft labels; NaN is "not known" and left out.
    sample_weight : array-like of shape (n,) or (n, L), default=None
        Weights of the rows or of the entries, not negative.
    pos_weight : float or array-like of shape (L,), default=None
        The factor w on the loss of "yes", for rare labels; positive. It does not count in the mean's denominator.
    label_smoothing : float in [0, 1], default=0.0
        With e, the targets become (1 - e) t + e / 2.
    reduction : {"mean", "sum", "none"}, default="mean"
        The weighted mean over known entries, their weighted sum, or each entry's weighted loss with NaN where the
        target isn't known.

    Returns
    -------
    float or ndarray of the logits' shape
        Nats, each entry's loss accurate also where it is close to 0.

    Raises
    ------
    TypeError
        Complex or sparse logits.
    ValueError
        Shapes that don't fit, targets outside [0, 1], negative weights, no known target to take a mean of.

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
    # One column for a single label.
    shape = (*z.shape, 1)[:2]
    columns, column_losses, column_targets = z.reshape(shape), losses.reshape(shape), t.reshape(shape)
    with np.errstate(all="ignore"):
        for rows, block in class_major_blocks(columns) if z.size else ():
            yes = smooth(column_targets[rows].T.astype(z.dtype, copy=False), smoothing, 2)
            column_losses[rows] = SigmoidLoss().losses_and_residuals(block, (positive * yes, 1 - yes)).T
    return _reduce(losses, weights, known, reduction)


class Loss(Protocol):
    """A cross-entropy on class-major logits."""

    shift_invariant: bool
    """Whether adding a constant to all logits of a row changes nothing."""

    def sums_and_residuals(self, z: Array, targets: Any, weights: Array | None) -> Array:
        """Return the sum of the losses, weighted by row, of each problem that shares no logit with another.

        z is overwritten with the weighted residuals, the losses' derivatives by the logits.
        """

    def curvature(self, z: Array, targets: Any) -> tuple[Array, Array | None]:
        """Return d and q, both (K, b): each row's Hessian by its logits has d on its diagonal and -q q^T off it.

        q is None where logits don't touch each other. z may be overwritten.
        """


class SoftmaxLoss:
    """Cross-entropy of exclusive classes: class-major logits (K, b), targets as `softmax_targets` gives them."""

    shift_invariant = True

    def losses_and_residuals(self, z: Array, targets: Array) -> Array:
        """Return the losses (b,); z becomes softmax(z) - targets."""
        z -= z.max(axis=0)
        losses: Array
        if targets.ndim == 1:
            # Flat places are found faster than pairs of indices.
            chosen = np.multiply(targets, targets.size, dtype=np.intp)
            chosen += np.arange(targets.size)
            flat = z.reshape(-1)
            gaps = flat.take(chosen)
            np.exp(z, out=z)
            # The residual of the true class is minus the sum of the others', never 1 - p.
            own = flat.take(chosen)
            flat[chosen] = 0
            others = z.sum(axis=0)
            losses = np.log1p(others + (own - 1))
            losses -= gaps
            own += others
            np.reciprocal(own, out=own)
            z *= own
            others *= own
            flat[chosen] = np.negative(others, out=others)
        else:
            gaps = _expected_gaps(z, targets)
            np.exp(z, out=z)
            losses = np.log1p(sum_of_others(z)) + gaps
            z /= z.sum(axis=0)
            z -= targets
        return losses

    def sums_and_residuals(self, z: Array, targets: Array, weights: Array | None) -> Array:
        """Return the weighted sum of losses (1,); z becomes the weighted residuals."""
        losses = self.losses_and_residuals(z, targets)
        if weights is not None:
            z *= weights
            losses = losses * weights
        sums: Array = losses.sum(dtype=np.float64, keepdims=True)
        return sums

    def curvature(self, z: Array, targets: Array) -> tuple[Array, Array]:
        """Return p (1 - p), to a few ULP also where p rounds to 1, and p."""
        z -= z.max(axis=0)
        np.exp(z, out=z)
        largest = z == 1
        # The sum of the others is added up without the largest, which would swallow it; several may be largest.
        others = np.where(largest, 0, z)
        small = others.sum(axis=0)
        n_largest = largest.sum(axis=0, dtype=z.dtype)
        sums = small + n_largest
        np.subtract(sums, z, out=others)
        np.copyto(others, small + (n_largest - 1), where=largest)
        z /= sums
        others /= sums
        others *= z
        return others, z


class LabelSigns(NamedTuple):
    """Labels of a block that are known for certain: what SigmoidLoss takes in the fewest operations."""

    signs: Array
    """-1 for yes, 1 for no, 0 for not known, int8 (L, b)."""
    weights: Array | None
    """Weights (L, b) of the entries, 0 where the label isn't known; None where all are known and weigh 1."""


LabelTargets = LabelSigns | tuple[Array, Array]


class SigmoidLoss:
    """Cross-entropy of independent labels: class-major logits (L, b), targets as signs or as weights of yes and of no.

    With a sign s, -1 for yes and 1 for no, an entry's loss is softplus(s z) and its residual s sigmoid(s z).
    """

    shift_invariant = False

    def losses_and_residuals(self, z: Array, targets: LabelTargets) -> Array:
        """Return the losses (L, b); z becomes no * sigmoid(z) - yes * sigmoid(-z)."""
        losses = np.empty_like(z)
        for labels, targets_there in _chunks(z, targets):
            _losses_and_residuals(z[labels], targets_there, losses[labels])
        return losses

    def sums_and_residuals(self, z: Array, targets: LabelTargets, weights: Array | None) -> Array:
        """Return each label's weighted sum of losses (L,); z becomes the weighted residuals."""
        sums = np.empty(len(z))
        losses = np.empty((0, z.shape[1]), z.dtype)
        for labels, targets_there in _chunks(z, targets):
            part = z[labels]
            if not len(losses):
                losses = np.empty_like(part)
            losses_there = losses[: len(part)]
            _losses_and_residuals(part, targets_there, losses_there)
            if weights is None:
                sums[labels] = losses_there.sum(axis=1, dtype=np.float64)
            else:
                sums[labels] = losses_there @ weights
                part *= weights
        return sums

    def curvature(self, z: Array, targets: LabelTargets) -> tuple[Array, None]:
        """Return (yes + no) sigmoid(z) sigmoid(-z), in z's place, and None: labels don't touch each other."""
        for labels, targets_there in _chunks(z, targets):
            decay = z[labels]
            np.abs(decay, out=decay)
            np.negative(decay, out=decay)
            np.exp(decay, out=decay)
            sums = 1 + decay
            decay /= np.square(sums, out=sums)
            if not isinstance(targets_there, LabelSigns):
                yes, no = targets_there
                decay *= yes + no
            elif targets_there.weights is not None:
                decay *= targets_there.weights
        return z, None


def _chunks(z: Array, targets: LabelTargets) -> Iterator[tuple[slice, LabelTargets]]:
    """A few labels at a time, and their targets: what is made of them stays in the processor's cache."""
    step = max(1, _CHUNK_SIZE // max(1, z.shape[1]))
    for first in range(0, len(z), step):
        labels = slice(first, first + step)
        if isinstance(targets, LabelSigns):
            weights = None if targets.weights is None else targets.weights[labels]
            yield labels, LabelSigns(targets.signs[labels], weights)
        else:
            yes, no = targets
            yield labels, (yes[labels], no[labels])


def _losses_and_residuals(z: Array, targets: LabelTargets, losses: Array) -> None:
    """Put the losses into an array and the residuals into z."""
    if isinstance(targets, LabelSigns):
        _signed_losses_and_residuals(z, *targets, losses)
    else:
        _soft_losses_and_residuals(z, *targets, losses)


def _signed_losses_and_residuals(z: Array, signs: Array, weights: Array | None, losses: Array) -> None:
    z *= signs
    decay = np.abs(z)
    np.negative(decay, out=decay)
    np.exp(decay, out=decay)
    np.log1p(decay, out=losses)
    losses += np.maximum(z, 0)
    # sigmoid(z) = exp(min(z, 0)) / (1 + exp(-abs(z)))
    np.minimum(z, 0, out=z)
    np.exp(z, out=z)
    decay += 1
    z /= decay
    z *= signs
    if weights is not None:
        z *= weights
        # An infinite loss of an entry that counts for nothing is none.
        np.multiply(losses, weights, out=losses, where=weights > 0)
        losses[weights == 0] = 0


def _soft_losses_and_residuals(z: Array, yes: Array, no: Array, losses: Array) -> None:
    size = np.abs(z)
    decay = np.exp(-size)
    negative = z < 0
    wrong = np.where(negative, yes, no)
    if size.max(initial=0) < np.inf:
        np.multiply(wrong, size, out=losses)
    else:
        # An infinite logit on the right side costs nothing; 0 * inf would be NaN.
        losses[...] = 0
        np.multiply(wrong, size, out=losses, where=wrong > 0)
    losses += (yes + no) * np.log1p(decay)
    np.divide(np.where(negative, no * decay - yes, no - yes * decay), 1 + decay, out=z)


def softmax_targets(encoded: Array, n_classes: int, label_smoothing: float) -> Array:
    """Targets of a block for SoftmaxLoss: class indices (b,), or distributions (K, b) where soft or smoothed."""
    if encoded.ndim == 1:
        if label_smoothing == 0:
            return encoded
        targets = np.zeros((n_classes, encoded.size))
        targets[encoded, np.arange(encoded.size)] = 1
        return smooth(targets, label_smoothing, n_classes)
    # Rows sum to one only to rounding, or to the tolerance of float32.
    distributions = encoded.T / encoded.sum(axis=1, dtype=np.float64)
    return smooth(distributions, label_smoothing, n_classes)


def _expected_gaps(exponents: Array, targets: Array) -> Array:
    """Sum over the classes of target times max(z) - z, (b,), given z - max(z)."""
    gaps: Array
    if targets.ndim == 1:
        gaps = exponents[targets, np.arange(targets.size)]
    else:
        gaps = np.multiply(targets, exponents, out=np.zeros_like(exponents), where=targets > 0).sum(axis=0)
    return np.negative(gaps, out=gaps)


def smooth(targets: Array, label_smoothing: float, n_classes: int) -> Array:
    """Targets moved towards the uniform distribution."""
    if label_smoothing == 0:
        return targets
    return (1 - label_smoothing) * targets + label_smoothing / n_classes


def _encode_softmax_targets(targets: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Targets as class indices (n,) or distributions (n, K), checked."""
    encoded = as_array(targets, "targets")
    if encoded.ndim == 1:
        if encoded.size and encoded.dtype.kind not in "iub":
            raise TypeError(f"targets of shape (n,) must be integers, the class's column, got dtype {encoded.dtype}")
        if encoded.shape != shape[:1]:
            raise ValueError(f"targets must have one entry for each of the {shape[0]} rows, got {encoded.size}")
        if encoded.size and not (0 <= encoded.min() and encoded.max() < shape[1]):
            raise ValueError(f"targets must lie in 0..{shape[1] - 1}, got {encoded.min()}..{encoded.max()}")
        return encoded.astype(np.intp, copy=False)
    if encoded.shape != shape:
        raise ValueError(f"targets must have the shape {shape[:1]} or {shape}, got {encoded.shape}")
    return as_distributions(targets, "targets", "for labels that don't exclude each other use sigmoid_cross_entropy")


def _check_pos_weight(pos_weight: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """The factor on the loss of "yes" as a scalar or a column (L, 1)."""
    if pos_weight is None:
        return np.array(1.0)
    factor = as_floats(pos_weight, "pos_weight").astype(np.float64)
    if factor.ndim and factor.shape != shape[1:]:
        raise ValueError(f"pos_weight must be a number or have the shape {shape[1:]}, got {factor.shape}")
    if not np.all((factor > 0) & np.isfinite(factor)):
        raise ValueError(f"pos_weight must be positive and finite, got {pos_weight!r}")
    return factor[:, np.newaxis] if factor.ndim else factor


def _reduce(losses: Array, weights: Array | None, known: Array | None, reduction: Reduction) -> Any:
    """Weigh and reduce losses; entries that aren't known, or weigh nothing, are left out of means and sums."""
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
        # Relative to the largest, weights of any size leave sums in range.
        counted = counted / largest
        weight = counted.sum()
    with np.errstate(all="ignore"):
        # Not losses * weights: an infinite loss times a weight of zero would be NaN.
        weighted = np.multiply(losses, counted, out=np.zeros(losses.shape), where=counted > 0)
        if reduction == "none":
            if known is not None:
                weighted[~known] = np.nan
            return weighted.astype(losses.dtype)
        return losses.dtype.type(weighted.sum() / weight)
