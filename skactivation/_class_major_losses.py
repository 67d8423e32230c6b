r"""Stateless losses on *class-major* logits, which objectives sum over rows.

A block of logits has the shape (K, b), K classes or labels by b rows of X, because NumPy reduces over the leading axis
fastest. With D_k = max(z) - z_k, all terms of the softmax loss are non-negative, so that losses near 0 stay accurate:

    logsumexp(z) - <t, z> = log(sum_k exp(-D_k)) + <t, D>

and for the sigmoid, with weights a for the target 1 ("yes") and c for the target 0 ("no"):

    a softplus(-z) + c softplus(z) = (a + c) log1p(exp(-abs(z))) + a max(-z, 0) + c max(z, 0)
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from skactivation._activation_kernels import sum_of_others
from skactivation._typing import Array

# Number of logits per elementwise step: more do not fit in cache, fewer lose time to call overhead.
_CHUNK_SIZE = 2**16


class Loss(Protocol):
    """Cross-entropy on class-major logits (P, K, b) of P separate problems."""

    def losses_and_residuals(self, z: Array, targets: Any) -> Array:
        """Return the losses (P, b) and overwrite z with the residuals; z is (P, b) where K = 1."""

    def sums_and_residuals(self, z: Array, targets: Any, weights: Array | None) -> Array:
        """Return the weighted sums of losses (P,) and overwrite z with the weighted residuals.

        Residuals are derivatives of the losses with respect to the logits. Weights have the shape (b,) or (P, b).
        """

    def curvature(self, z: Array, targets: Any) -> tuple[Array, Array | None]:
        """Return d and q (P, K, b): a row's Hessian (K, K) has the diagonal d and the off-diagonal entries of -q q^T.

        q is None if K = 1. May overwrite z.
        """

    def sums_residuals_and_curvature(
        self, z: Array, targets: Any, weights: Array | None
    ) -> tuple[Array, Array, Array | None]:
        """What `sums_and_residuals` and `curvature` do and return; the latter without the weights."""


class SoftmaxLoss:
    """Cross-entropy of exclusive classes, with targets from `softmax_targets` that all problems share."""

    def losses_and_residuals(self, z: Array, targets: Array) -> Array:
        """Return the losses (P, b) and overwrite z (P, K, b) with softmax(z) - targets."""
        if targets.ndim > 1:
            return np.stack([_soft_softmax(logits, targets) for logits in z])
        z -= z.max(axis=1, keepdims=True)
        flat, places = z.reshape(-1), _places(targets, z)
        gaps = flat.take(places)
        np.exp(z, out=z)
        # The true class's residual is minus the sum of the others, because 1 - p would cancel digits.
        own = flat.take(places)
        flat[places] = 0
        others = z.sum(axis=1)
        losses: Array = np.log1p(others + (own - 1))
        losses -= gaps
        own += others
        np.reciprocal(own, out=own)
        z *= own[:, np.newaxis]
        others *= own
        flat[places] = np.negative(others, out=others)
        return losses

    def sums_and_residuals(self, z: Array, targets: Array, weights: Array | None) -> Array:
        """Return the weighted sums of losses (P,) and overwrite z with the weighted residuals."""
        sums = np.empty(len(z))
        for problems in _problems_in_cache(z):
            part = z[problems]
            losses = self.losses_and_residuals(part, targets)
            if weights is not None:
                of_rows = weights if weights.ndim == 1 else weights[problems]
                part *= of_rows if of_rows.ndim == 1 else of_rows[:, np.newaxis]
                losses *= of_rows
            sums[problems] = losses.sum(axis=1, dtype=np.float64)
        return sums

    def curvature(self, z: Array, targets: Array) -> tuple[Array, Array]:
        """Return p (1 - p), within a few ULP even if p rounds to 1, and p, which overwrites z."""
        z -= z.max(axis=1, keepdims=True)
        complements, _ = _probabilities(z)
        complements *= z
        return complements, z

    def sums_residuals_and_curvature(
        self, z: Array, targets: Array, weights: Array | None
    ) -> tuple[Array, Array, Array]:
        """What `sums_and_residuals` and `curvature` do and return, the latter without the weights."""
        if targets.ndim > 1:
            curvature = self.curvature(z.copy(), targets)
            return self.sums_and_residuals(z, targets, weights), *curvature
        z -= z.max(axis=1, keepdims=True)
        places = _places(targets, z)
        gaps = z.take(places)
        complements, others = _probabilities(z)
        p = z.copy()
        z.reshape(-1)[places] = np.negative(complements.take(places))
        losses = np.log1p(others[:, 0])
        losses -= gaps
        if weights is not None:
            z *= weights if weights.ndim == 1 else weights[:, np.newaxis]
            losses *= weights
        complements *= p
        return losses.sum(axis=1, dtype=np.float64), complements, p


def _soft_softmax(z: Array, targets: Array) -> Array:
    """Return the losses (b,) of logits z (K, b) for distributions (K, b); overwrite z with the residuals."""
    z -= z.max(axis=0)
    gaps, flat = expected_gaps(z, targets), z.reshape(-1)
    top = softmax_targets(z.argmax(axis=0), len(z), 0)
    np.exp(z, out=z)
    losses: Array = np.log1p(sum_of_others(z)) + gaps
    z /= z.sum(axis=0)
    z -= targets
    # For targets next to 1, p - t of the most probable class would cancel digits.
    flat[top] = 0
    flat[top] = -z.sum(axis=0)
    return losses


def _places(targets: Array, z: Array) -> Array:
    """The places (P, b) of the true classes in the flattened logits (P, K, b), from those (b,) in each problem."""
    if len(z) == 1:
        return targets[np.newaxis]
    return np.asarray(np.add.outer(np.arange(len(z)) * z[0].size, targets))


def _problems_in_cache(z: Array) -> Iterator[slice]:
    """Yield slices of problems whose logits (P, K, b) fit in cache together."""
    step = max(1, _CHUNK_SIZE // max(1, z[:1].size))
    for first in range(0, len(z), step):
        yield slice(first, first + step)


def _probabilities(z: Array) -> tuple[Array, Array]:
    """Overwrite logits minus their maxima (P, K, b) with probabilities p.

    Return 1 - p, accurate even if p rounds to 1, and the sums (P, 1, b) of the exponentials without the largest.
    """
    np.exp(z, out=z)
    # Adding the largest exponentials, which are 1, would round away the small ones.
    largest = np.floor(z)
    others = (z - largest).sum(axis=1, keepdims=True) + (largest.sum(axis=1, keepdims=True) - 1)
    complements = np.subtract(1, z, out=largest)
    complements += others
    sums = 1 + others
    z /= sums
    complements /= sums
    return complements, others


class LabelSigns(NamedTuple):
    """Hard labels of a block, the form of targets for which SigmoidLoss needs the fewest operations."""

    signs: Array
    """-1 for yes, 1 for no, 0 for not known, int8 (L, b)."""
    weights: Array | None
    """Weights (L, b) of the entries, 0 for labels not known; None if all are known and weigh 1."""


LabelTargets = LabelSigns | tuple[Array, Array]


class SigmoidLoss:
    """Cross-entropy of L independent labels, one logit each; targets are signs, or weights of yes and of no (L, b).

    With a sign s, -1 for yes and 1 for no, an entry has the loss softplus(s z) and the residual s sigmoid(s z).
    """

    def losses_and_residuals(self, z: Array, targets: LabelTargets) -> Array:
        """Return the losses (L, b) and overwrite z with the residuals no * sigmoid(z) - yes * sigmoid(-z)."""
        losses = np.empty_like(z)
        for labels, targets_there in _chunks(z, targets):
            _losses_and_residuals(z[labels], targets_there, losses[labels])
        return losses

    def sums_and_residuals(self, z: Array, targets: LabelTargets, weights: Array | None) -> Array:
        """Return each label's weighted sum of losses (L,) and overwrite z (L, 1, b) with the weighted residuals."""
        z = z[:, 0]
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
            elif weights.ndim == 1:
                sums[labels] = losses_there @ weights
                part *= weights
            else:
                sums[labels] = np.einsum("lb,lb->l", losses_there, weights[labels])
                part *= weights[labels]
        return sums

    def sums_residuals_and_curvature(
        self, z: Array, targets: LabelTargets, weights: Array | None
    ) -> tuple[Array, Array, None]:
        """What `sums_and_residuals` and `curvature` do and return, the latter without the weights."""
        if isinstance(targets, LabelSigns) and targets.weights is None and weights is None:
            sums, sizes = self.sums_and_residuals(z, targets, None), np.abs(z)
            # sigmoid(z) sigmoid(-z), rounded down, since no Hessian may be too large for a certificate. Digits are lost
            # only where a prediction is certain and wrong.
            return sums, (1 - 4 * np.finfo(z.dtype).eps - sizes) * sizes, None
        curvature, _ = self.curvature(z.copy(), targets)
        return self.sums_and_residuals(z, targets, weights), curvature, None

    def curvature(self, z: Array, targets: LabelTargets) -> tuple[Array, None]:
        """Overwrite z with (yes + no) sigmoid(z) sigmoid(-z); return z, and None because each label has one logit."""
        for labels, targets_there in _chunks(z[:, 0], targets):
            decay = z[labels, 0]
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
    """Yield slices of labels with their targets, small enough for intermediate arrays to stay in cache."""
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
    """Write the losses into `losses` and the residuals into z."""
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
        # An infinite loss times a weight of 0 would be NaN; it counts as 0.
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
        # An infinite logit with the correct sign has loss 0, but 0 * inf would be NaN.
        losses[...] = 0
        np.multiply(wrong, size, out=losses, where=wrong > 0)
    losses += (yes + no) * np.log1p(decay)
    np.divide(np.where(negative, no * decay - yes, no - yes * decay), 1 + decay, out=z)


def softmax_targets(encoded: Array, n_classes: int, label_smoothing: float) -> Array:
    """Targets of a block for SoftmaxLoss from codes (b,) or distributions (b, K).

    Hard targets are the places (b,) of the true classes in the flattened logits (K, b): with them, NumPy indexes faster
    than with pairs of indices. Soft or smoothed targets are distributions (K, b).
    """
    if encoded.ndim == 1:
        if label_smoothing == 0:
            places = np.multiply(encoded, encoded.size, dtype=np.intp)
            places += np.arange(encoded.size)
            return places
        targets = np.zeros((n_classes, encoded.size))
        targets[encoded, np.arange(encoded.size)] = 1
        return smooth(targets, label_smoothing, n_classes)
    # Validation accepts row sums that differ from one by a small tolerance.
    distributions = encoded.T / encoded.sum(axis=1, dtype=np.float64)
    return smooth(distributions, label_smoothing, n_classes)


def expected_gaps(exponents: Array, targets: Array) -> Array:
    """Sums (b,) over the classes of target times (max(z) - z), given exponents z - max(z)."""
    gaps: Array
    if targets.ndim == 1:
        gaps = exponents.reshape(-1)[targets]
    else:
        gaps = np.multiply(targets, exponents, out=np.zeros_like(exponents), where=targets > 0).sum(axis=0)
    return np.negative(gaps, out=gaps)


def smooth(targets: Array, label_smoothing: float, n_classes: int) -> Array:
    """Targets mixed with the uniform distribution."""
    if label_smoothing == 0:
        return targets
    return (1 - label_smoothing) * targets + label_smoothing / n_classes
