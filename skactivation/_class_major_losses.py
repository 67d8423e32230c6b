r"""The losses that objectives sum over rows: stateless, on *class-major* logits.

A block of logits has the shape (K, b): one row a class or label, one column a row of X. NumPy reduces over the leading
axis fastest. With D_k = max(z) - z_k, every term of the softmax loss is at least 0, so that nothing cancels near a loss
of 0:

    logsumexp(z) - <t, z> = log(sum_k exp(-D_k)) + <t, D>

and likewise for the sigmoid, with weights a for "yes" and c for "no":

    a softplus(-z) + c softplus(z) = (a + c) log1p(exp(-abs(z))) + a max(-z, 0) + c max(z, 0)
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from skactivation._activation_kernels import sum_of_others
from skactivation._typing import Array

# Entries of class-major logits on which elementwise work goes on at a time: more leave the cache, fewer pay for calls.
_CHUNK_SIZE = 2**16


class Loss(Protocol):
    """A cross-entropy on class-major logits (P, K, b) of P problems that share no logit."""

    def sums_and_residuals(self, z: Array, targets: Any, weights: Array | None) -> Array:
        """Return the weighted sums of the losses (P,); z becomes the weighted residuals.

        Residuals are the losses' derivatives by the logits. Weights have the shape (b,) or (P, b).
        """

    def curvature(self, z: Array, targets: Any) -> tuple[Array, Array | None]:
        """Return d and q, both (P, K, b): a row's Hessian by the K logits has d on its diagonal and -q q^T off it.

        q is None for one logit. z may be overwritten.
        """


class SoftmaxLoss:
    """Cross-entropy of exclusive classes; targets as `softmax_targets` gives them, the same for all problems."""

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
            gaps = expected_gaps(z, targets)
            np.exp(z, out=z)
            losses = np.log1p(sum_of_others(z)) + gaps
            z /= z.sum(axis=0)
            z -= targets
        return losses

    def sums_and_residuals(self, z: Array, targets: Array, weights: Array | None) -> Array:
        """Return the weighted sums of the losses (P,); z becomes the weighted residuals."""
        sums = np.empty(len(z))
        for problem, logits in enumerate(z):
            losses = self.losses_and_residuals(logits, targets)
            if weights is not None:
                of_rows = weights if weights.ndim == 1 else weights[problem]
                logits *= of_rows
                losses = losses * of_rows
            sums[problem] = losses.sum(dtype=np.float64)
        return sums

    def curvature(self, z: Array, targets: Array) -> tuple[Array, Array]:
        """Return p (1 - p), to a few ULP also where p rounds to 1, and p."""
        curvatures = np.empty_like(z)
        for logits, curvature in zip(z, curvatures, strict=True):
            logits -= logits.max(axis=0)
            np.exp(logits, out=logits)
            largest = logits == 1
            # The sum of the others is added up without the largest, which would swallow it; several may be largest.
            small = np.where(largest, 0, logits).sum(axis=0)
            n_largest = largest.sum(axis=0, dtype=z.dtype)
            sums = small + n_largest
            np.subtract(sums, logits, out=curvature)
            np.copyto(curvature, small + (n_largest - 1), where=largest)
            logits /= sums
            curvature /= sums
            curvature *= logits
        return curvatures, z


class LabelSigns(NamedTuple):
    """Labels of a block that are known for certain: what SigmoidLoss takes in the fewest operations."""

    signs: Array
    """-1 for yes, 1 for no, 0 for not known, int8 (L, b)."""
    weights: Array | None
    """Weights (L, b) of the entries, 0 where the label isn't known; None where all are known and weigh 1."""


LabelTargets = LabelSigns | tuple[Array, Array]


class SigmoidLoss:
    """Cross-entropy of independent labels, L problems of one logit; targets as signs or as weights of yes and of no.

    With a sign s, -1 for yes and 1 for no, an entry's loss is softplus(s z) and its residual s sigmoid(s z).
    """

    def losses_and_residuals(self, z: Array, targets: LabelTargets) -> Array:
        """Return the losses (L, b); z becomes no * sigmoid(z) - yes * sigmoid(-z)."""
        losses = np.empty_like(z)
        for labels, targets_there in _chunks(z, targets):
            _losses_and_residuals(z[labels], targets_there, losses[labels])
        return losses

    def sums_and_residuals(self, z: Array, targets: LabelTargets, weights: Array | None) -> Array:
        """Return each label's weighted sum of losses (L,); z (L, 1, b) becomes the weighted residuals."""
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

    def curvature(self, z: Array, targets: LabelTargets) -> tuple[Array, None]:
        """Return (yes + no) sigmoid(z) sigmoid(-z), in z's place, and None: there is one logit."""
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


def expected_gaps(exponents: Array, targets: Array) -> Array:
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
