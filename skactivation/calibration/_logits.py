r"""Given logits with their targets, block by block, and what a temperature makes of them.

Exclusive classes are one part, labels that don't exclude each other a part each. With beta = 1 / T and
D_k = max(z) - z_k, a row's cross-entropy under a temperature and its derivatives by beta are, for p = softmax(beta z)
and targets t,

    log(sum_k exp(-beta D_k)) + beta <t, D>,    <t, D> - E_p[D],    Var_p[D]

so that targets take part only through the sum of <t, D> over the rows, which is formed once. A sigmoid's are those of
two classes, with D = (max(z, 0), max(-z, 0)). All terms are at least 0 but one: little is lost to cancellation.
"""

from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from skactivation._activation_kernels import sum_of_others
from skactivation._class_major_losses import LabelSigns
from skactivation._data.blocks import absent_rows, sum_over_blocks
from skactivation._data.labels import abridged
from skactivation._threads import even_slices
from skactivation._typing import Array

__all__ = ["LogitBlock", "Logits", "Summary", "entry_weights", "sigmoid_terms", "softmax_terms", "weights_of_labels"]


# Numbers in a block, measured: smaller ones pay for calls, larger ones for memory.
_BLOCK_SIZE = 2**17
# Mean differences of a true logit from the largest within which no square that matters leaves the range of floats.
_LARGEST, _SMALLEST = 1e100, 1e-100
# Where probabilities of all but one class are below this, the logarithm of their sum with 1 needs care.
_SMALL = 1e-3


class LogitBlock(NamedTuple):
    """Class-major logits (K, b) of some rows, and room for as many numbers. Both may be overwritten."""

    z: Array
    spare: Array
    infinite: Array | None
    """Where logits were infinite and z is 0, in place of them; None for nowhere."""


class Logits:
    """Logits (n, K) with their targets, block by block. A row of weight 0 isn't there.

    Parameters
    ----------
    values : ndarray of shape (n, K)
        float32 or float64; they are computed with in float64.
    exclusive : bool
        Whether the columns are classes that exclude each other, or labels with a sigmoid each.
    targets : callable
        From a slice of rows, or their numbers, to what SoftmaxLoss or SigmoidLoss takes.
    weights : ndarray of shape (n,) or None
        Weights of the rows.
    """

    def __init__(self, values: Array, exclusive: bool, targets: Callable[[Any], Any], weights: Array | None) -> None:
        self.values, self.exclusive, self.targets, self.weights = values, exclusive, targets, weights
        n_rows, n_columns = values.shape
        self.n_parts = 1 if exclusive else n_columns
        self.slices = even_slices(n_rows, -(-n_rows * n_columns // _BLOCK_SIZE))
        self.only: None = None
        self.n_passes = 0
        # A power of two that takes logits of extreme size near 1.
        self.unit = 1.0
        # Largest logit of each row, which is taken from it; None for none.
        self.tops: Array | None = None
        self.has_infinite = False
        self._absent = absent_rows(weights)
        # What an error calls the rows; None for their places.
        self.numbers: Array | None = None
        self._free: deque[tuple[Array, Array]] = deque()

    def sample(self, chosen: Array) -> "Logits":
        """Some rows, given by their numbers."""
        weights = None if self.weights is None else self.weights[chosen]
        part = Logits(self.values[chosen], self.exclusive, lambda rows: self.targets(chosen[rows]), weights)
        part.unit = self.unit
        return part

    def unshifted(self) -> "Logits":
        """The same, of which nothing is taken."""
        other = copy(self)
        other.tops = None
        return other

    def blocks(self, slices: list[slice], dtype: Any) -> Iterator[tuple[slice, LogitBlock]]:
        """Yield some blocks, one at a time."""
        try:
            room = self._free.pop()
        except IndexError:
            size = max(rows.stop - rows.start for rows in self.slices) * self.values.shape[1]
            room = np.empty(size, dtype), np.empty(size, dtype)
        for rows in slices:
            values = self.values[rows].T
            z, spare = (array[: values.size].reshape(values.shape) for array in room)
            if self.unit != 1:
                np.multiply(values, self.unit, out=z)
                values = z
            if self.tops is not None:
                np.subtract(values, self.tops[rows], out=z)
            elif values is not z:
                np.copyto(z, values)
            if self._absent is not None:
                z[:, self._absent[rows]] = 0
            infinite = np.isinf(z) if self.has_infinite else None
            if infinite is not None:
                z[infinite] = 0
            yield rows, LogitBlock(z, spare, infinite)
        self._free.append(room)

    def summary(self) -> "Summary":
        """What existence and starts follow from, in one pass, or two for logits of extreme size.

        Raises
        ------
        ValueError
            For rows that have no distribution, or give a true class the probability 0.
        """
        summary = self._summary()
        typical = float(np.max(summary.expected / summary.total, initial=0))
        if typical > 0 and not _SMALLEST < typical < _LARGEST:
            self.unit = float(np.ldexp(1.0, -np.frexp(min(typical, np.finfo(np.float64).max))[1]))
            summary = self._summary()
        return summary

    def _summary(self) -> "Summary":
        tops = np.empty(self.values.shape[0]) if self.exclusive else None
        self.tops, self.has_infinite = None, False
        bad = np.zeros(self.values.shape[0], dtype=bool)
        kinds = (np.add,) * 6 + (np.maximum,) * 3
        term = self._sigmoid_summary(bad) if tops is None else self._softmax_summary(bad, tops)
        *sums, infinite = sum_over_blocks(self, term, size=9 * self.n_parts, combine=kinds)
        if bad.any():
            self._refuse(np.flatnonzero(bad))
        self.tops, self.has_infinite = tops, bool(infinite)
        return Summary(*sums)

    def _softmax_summary(self, bad: Array, tops: Array) -> Callable[[slice, LogitBlock], Any]:
        def term(rows: slice, block: LogitBlock) -> Any:
            z, spare, _ = block
            top, lowest = z.max(axis=0), z.min(axis=0)
            tops[rows] = top
            z -= top
            widths = top - lowest
            n_finite: Any = len(z)
            infinite = None
            if not widths.max() < np.inf:
                # Some logits are -inf, or some differences overflow.
                values = self.values[rows].T
                infinite = values == -np.inf
                np.maximum(z, np.finfo(z.dtype).min, out=z, where=~infinite)
                widths = top - np.min(values * self.unit, axis=0, where=~infinite, initial=np.inf)
                n_finite = len(z) - infinite.sum(axis=0)
            expected = _expected(z, self.targets(rows))
            bad[rows] = ~np.isfinite(top) | (expected == np.inf)
            if infinite is not None:
                z[infinite] = 0
            null = z.sum(axis=0) / -n_finite
            logs, first, second = softmax_terms(z, spare, 1 / self.unit, infinite)
            weights = None if self.weights is None else self.weights[rows]
            if weights is not None and self._absent is not None:
                here = ~self._absent[rows]
                bad[rows] &= here
                widths, weights = widths[here], weights[here]
                expected, null, logs, first, second = (a[here] for a in (expected, null, logs, first, second))
            total = float(expected.size) if weights is None else weights.sum()
            terms = expected, null, logs, first, second
            sums = (array.sum() if weights is None else weights @ array for array in terms)
            numbers = [*sums, total, widths.max(initial=0), expected.max(initial=0)]
            return *np.array(numbers)[:, np.newaxis], float(infinite is not None)

        return term

    def _sigmoid_summary(self, bad: Array) -> Callable[[slice, LogitBlock], Any]:
        def term(rows: slice, block: LogitBlock) -> Any:
            z, spare, _ = block
            yes, no = weights_of_labels(self.targets(rows), z.shape)
            row_weights = np.ones(z.shape[1]) if self.weights is None else self.weights[rows]
            entries = yes + no
            counts = (entries > 0) & (row_weights > 0)
            infinite = np.isinf(z) & counts
            wrong = (np.isnan(z) | ((z == np.inf) & (no > 0)) | ((z == -np.inf) & (yes > 0))) & counts
            bad[rows] = wrong.any(axis=0)
            z[~counts | infinite | wrong] = 0
            expected = yes * np.maximum(-z, 0) + no * np.maximum(z, 0)
            sizes = np.abs(z, out=z)
            widest, worst = sizes.max(axis=1), np.max(expected * counts, axis=1)
            null = 0.5 * entries * sizes
            terms = sigmoid_terms(sizes, spare, np.full((len(z), 1), 1 / self.unit), infinite)
            sums = (array @ row_weights for array in (expected, null, *(entries * term for term in terms), entries))
            return *sums, widest, worst, float(infinite.any())

        return term

    def _refuse(self, rows: Array) -> None:
        """Say what is wrong with rows, given by their numbers, that can't be."""
        first = self.values[rows[0]]
        rows = rows if self.numbers is None else np.unique(self.numbers[rows])
        numbers = f"in row{'s' if rows.size > 1 else ''} {abridged(rows)}, the first of which is {abridged(first)}"
        if np.isnan(first).any():
            raise ValueError(f"logits must not be NaN, as {numbers}")
        if self.exclusive and not np.isfinite(first.max()):
            raise ValueError(
                f"logits must have a finite largest entry in each row, not as {numbers}: -inf is a probability of 0, "
                "+inf is none"
            )
        raise ValueError(
            f"logits must not give a true class the probability 0, as {numbers}: the loss is infinite at every "
            "temperature; floor the probabilities that such logits are logarithms of"
        )

    def smallest_margins(self) -> Array:
        """The least positive D (P,) of any row: how sure the logits are of what they are least sure of."""

        def term(rows: slice, block: LogitBlock) -> Any:
            distances = np.abs(block.z)
            if not self.exclusive:
                yes, no = weights_of_labels(self.targets(rows), block.z.shape)
                distances *= (yes + no) > 0
            if self.weights is not None:
                distances *= self.weights[rows] > 0
            least = np.min(distances, axis=1, where=distances > 0, initial=np.inf)
            return (least.min(keepdims=True) if self.exclusive else least,)

        (margins,) = sum_over_blocks(self, term, size=self.n_parts, combine=np.minimum)
        return np.asarray(margins)


@dataclass(frozen=True)
class Summary:
    """Sums over the rows and largest numbers, for each part (P,), in the logits' units."""

    expected: Array
    """Weighted sum of <t, D>."""
    null: Array
    """Weighted sum of the mean of D: what E_p[D] is at beta = 0."""
    logs: Array
    """Weighted sum of log(sum_k exp(-D_k)), at a temperature of 1."""
    first: Array
    """Weighted sum of E_p[D], at a temperature of 1."""
    second: Array
    """Weighted sum of Var_p[D], at a temperature of 1."""
    total: Array
    """Sum of the weights."""
    widest: Array
    """The largest D of any row: 0 where all logits are constant."""
    worst: Array
    """The largest <t, D> of any row: 0 where all targets have the largest logit."""


def softmax_terms(z: Array, spare: Array, beta: float, infinite: Array | None) -> tuple[Array, Array, Array]:
    """log(sum_k exp(-beta D_k)), E_p[D] and Var_p[D], all (b,), for -D (K, b); `spare` is overwritten."""
    np.multiply(z, beta, out=spare)
    np.exp(spare, out=spare)
    if infinite is not None:
        spare[infinite] = 0
    logs = _log_sums(spare)
    sums = spare.sum(axis=0)
    spare *= z
    first = spare.sum(axis=0)
    first /= sums
    spare *= z
    second = spare.sum(axis=0)
    second /= sums
    second -= np.square(first)
    return logs, np.negative(first, out=first), second


def sigmoid_terms(z: Array, spare: Array, beta: Array, infinite: Array | None) -> tuple[Array, Array, Array]:
    """The same, all (L, b), for sigmoids with abs(z) (L, b) and beta (L, 1); both arrays are overwritten."""
    np.multiply(z, -beta, out=spare)
    np.exp(spare, out=spare)
    if infinite is not None:
        spare[infinite] = 0
    logs = np.log1p(spare)
    z /= 1 + spare
    spare *= z
    z *= spare
    return logs, spare, z


def _log_sums(exponentials: Array) -> Array:
    """log of the sums (b,) of class-major exponentials (K, b) of which the largest is 1."""
    sums = exponentials.sum(axis=0)
    if sums.max(initial=0) > 1 + _SMALL:
        return np.asarray(np.log(sums, out=sums))
    return np.log1p(sum_of_others(exponentials))


def _expected(z: Array, targets: Array) -> Array:
    """<t, D> (b,) for -D (K, b); a target of 0 takes no part."""
    if targets.ndim == 1:
        # Flat places are found faster than pairs of indices.
        chosen = np.multiply(targets, targets.size, dtype=np.intp)
        chosen += np.arange(targets.size)
        return np.negative(z.reshape(-1).take(chosen))
    return np.asarray(-np.multiply(targets, z, out=np.zeros_like(z), where=targets > 0).sum(axis=0))


def weights_of_labels(targets: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Weights of yes and of no (L, b) from what SigmoidLoss takes."""
    if not isinstance(targets, LabelSigns):
        yes, no = targets
        return yes, no
    yes, no = targets.signs < 0, targets.signs > 0
    if targets.weights is None:
        return yes.astype(np.float64), no.astype(np.float64)
    return yes * targets.weights, no * targets.weights


def entry_weights(targets: Any) -> Array | None:
    """Weights (L, b) of entries, from what SigmoidLoss takes; None where all are known and weigh 1."""
    if isinstance(targets, LabelSigns):
        return targets.weights
    yes, no = targets
    return np.asarray(yes + no)
