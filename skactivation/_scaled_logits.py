r"""Cross-entropies of given logits under a scaling: what calibration minimises, summed over blocks of rows.

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
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from skactivation._blocks import absent_rows, even_slices, sum_over_blocks
from skactivation._objective import Objective
from skactivation.activations import sum_of_others
from skactivation.losses import LabelSigns, SigmoidLoss, SoftmaxLoss

__all__ = ["AffineObjective", "Logits", "Summary", "TemperatureObjective"]

Array = NDArray[Any]

# Numbers in a block, measured: smaller ones pay for calls, larger ones for memory.
_BLOCK_SIZE = 2**17
# Ranges of logits within which no square leaves the range of floats.
_LARGEST, _SMALLEST = 1e150, 1e-150
# Where probabilities of all but one class are below this, the logarithm of their sum with 1 needs care.
_SMALL = 1e-3


class _Block(NamedTuple):
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

    def blocks(self, slices: list[slice], dtype: Any) -> Iterator[tuple[slice, _Block]]:
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
            yield rows, _Block(z, spare, infinite)
        self._free.append(room)

    def summary(self) -> "Summary":
        """What existence and starts follow from, in one pass, or two for logits of extreme size.

        Raises
        ------
        ValueError
            For rows that have no distribution, or give a true class the probability 0.
        """
        summary = self._summary()
        if summary.widest.max() > 0 and not _SMALLEST < summary.widest.max() < _LARGEST:
            finite = np.abs(self.values[np.isfinite(self.values)], dtype=np.float64)
            self.unit = float(np.ldexp(1.0, -np.frexp(finite.max(initial=0))[1] - 1))
            summary = self._summary()
        return summary

    def _summary(self) -> "Summary":
        tops = np.empty(self.values.shape[0]) if self.exclusive else None
        self.tops, self.has_infinite = None, False
        kinds = (np.add,) * 6 + (np.maximum,) * 3 + (np.minimum,)
        term = self._softmax_summary(tops) if tops is not None else self._sigmoid_summary
        *sums, infinite, bad = sum_over_blocks(self, term, size=10 * self.n_parts, combine=kinds)
        if bad < self.values.shape[0]:
            self._refuse(int(bad))
        self.tops, self.has_infinite = tops, bool(infinite)
        return Summary(*sums)

    def _softmax_summary(self, tops: Array) -> Callable[[slice, _Block], Any]:
        def term(rows: slice, block: _Block) -> Any:
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
            bad = ~np.isfinite(top) | (expected == np.inf)
            if infinite is not None:
                z[infinite] = 0
            null = z.sum(axis=0) / -n_finite
            logs, first, second = _softmax_terms(z, spare, 1 / self.unit, infinite)
            weights = None if self.weights is None else self.weights[rows]
            if weights is not None and self._absent is not None:
                here = ~self._absent[rows]
                bad &= here
                widths, weights = widths[here], weights[here]
                expected, null, logs, first, second = (a[here] for a in (expected, null, logs, first, second))
            total = float(expected.size) if weights is None else weights.sum()
            terms = expected, null, logs, first, second
            sums = (array.sum() if weights is None else weights @ array for array in terms)
            numbers = [*sums, total, widths.max(initial=0), expected.max(initial=0)]
            first_bad = rows.start + int(np.argmax(bad)) if bad.any() else self.values.shape[0]
            return *np.array(numbers)[:, np.newaxis], float(infinite is not None), first_bad

        return term

    def _sigmoid_summary(self, rows: slice, block: _Block) -> Any:
        z, spare, _ = block
        yes, no = _weights_of_labels(self.targets(rows), z.shape)
        row_weights = np.ones(z.shape[1]) if self.weights is None else self.weights[rows]
        counts = ((yes + no) > 0) & (row_weights > 0)
        infinite = np.isinf(z) & counts
        bad = (np.isnan(z) | ((z == np.inf) & (no > 0)) | ((z == -np.inf) & (yes > 0))) & counts
        z[~counts | infinite | bad] = 0
        expected = yes * np.maximum(-z, 0) + no * np.maximum(z, 0)
        sizes = np.abs(z)
        entries = yes + no
        null = 0.5 * entries * sizes
        terms = _sigmoid_terms(sizes.copy(), spare, np.full((len(z), 1), 1 / self.unit), infinite)
        sums = (array @ row_weights for array in (expected, null, *(entries * term for term in terms), entries))
        largest = (np.max(entry * counts, axis=1) for entry in (sizes, expected))
        bad_rows = bad.any(axis=0)
        first_bad = rows.start + int(np.argmax(bad_rows)) if bad_rows.any() else self.values.shape[0]
        return *sums, *largest, float(infinite.any()), first_bad

    def _refuse(self, row: int) -> None:
        """Say what is wrong with the first of the rows that can't be."""
        values = self.values[row]
        if np.isnan(values).any():
            raise ValueError(f"logits must not be NaN, but row {row} is {values}")
        if self.exclusive and not np.isfinite(values.max()):
            raise ValueError(
                f"logits must have a finite largest entry in each row, but row {row} is {values}: -inf is a "
                "probability of 0, +inf is none"
            )
        raise ValueError(
            f"logits give a true class the probability 0, so that its loss is infinite at every temperature: row {row} "
            f"is {values}; floor the probabilities that such logits are logarithms of"
        )

    def smallest_margins(self) -> Array:
        """The least positive D (P,) of any row: how sure the logits are of what they are least sure of."""

        def term(rows: slice, block: _Block) -> Any:
            distances = np.abs(block.z)
            if not self.exclusive:
                yes, no = _weights_of_labels(self.targets(rows), block.z.shape)
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


class TemperatureObjective(Objective):
    """The sum of the cross-entropies as a function of beta = 1 / T, for each part: theta (P, 1)."""

    is_coarse = False
    has_penalty = False

    def __init__(self, logits: Logits, summary: Summary) -> None:
        self._logits, self._summary = logits, summary
        self._parts = np.arange(logits.n_parts)
        self.n_parts = logits.n_parts
        self.shape = (self.n_parts, 1)
        self.penalty = np.zeros(self.shape)
        # Curvature comes with a value: it is kept until the next one.
        self._latest: tuple[Array, Array] | None = None

    @property
    def has_light_rows(self) -> Array:
        """Rows of small weight are not thrown far by a step that is safe for others: there is one coefficient."""
        return np.zeros(self.n_parts, dtype=bool)

    def select(self, parts: Array) -> Self:
        """Some of several parts."""
        if np.count_nonzero(parts) == parts.size:
            return self
        selected = copy(self)
        selected._parts = self._parts[parts]
        selected.n_parts = selected._parts.size
        selected.shape, selected.penalty = (selected.n_parts, 1), self.penalty[parts]
        if self._latest is not None:
            selected._latest = self._latest[0][parts], self._latest[1][parts]
        return selected

    def center(self, theta: Array) -> None:
        """Nothing: every change of a temperature matters."""

    def value_and_gradient(self, theta: Array, *, exact: bool = True) -> tuple[Array, Array]:
        """Values (P,) and derivatives (P, 1)."""
        kernel = self._softmax_term if self._logits.exclusive else self._sigmoid_term
        (sums,) = sum_over_blocks(self._logits, kernel(theta), size=3 * self.n_parts)
        logs, first, second = sums
        expected = self._summary.expected[self._parts]
        self._latest = theta.copy(), second[:, np.newaxis, np.newaxis]
        return logs + theta[:, 0] * expected, (expected - first)[:, np.newaxis]

    def hessian(self, theta: Array, *, exact: bool = True) -> Array:
        """Second derivatives (P, 1, 1)."""
        if self._latest is None or not np.array_equal(self._latest[0], theta):
            self.value_and_gradient(theta)
        assert self._latest is not None
        return self._latest[1].copy()

    def hessian_diagonal(self, theta: Array) -> Array:
        """Second derivatives (P, 1)."""
        return self.hessian(theta)[:, :, 0]

    def rounding(self, hessian: Array) -> Array:
        """No curvature is a difference: its size is its own."""
        return hessian[:, :, 0]

    def rounding_of_value(self, theta: Array) -> Array:
        """A few units in the last place, since all terms are positive."""
        return np.full(self.n_parts, 8 * np.finfo(np.float64).eps)

    def logit_range(self, step: Array) -> Array:
        """How far a step (P, 1) spreads the logits of a row."""
        return np.asarray(np.abs(step[:, 0]) * self._summary.widest[self._parts])

    def crude_logit_range(self, length: Array) -> Array:
        """How far steps of some lengths (P,) do."""
        return np.asarray(length * self._summary.widest[self._parts])

    def largest_logit_range(self, inverse: Array) -> Array:
        """How far steps of length 1 in the norm of the Hessian do."""
        return self.crude_logit_range(np.sqrt(inverse[:, 0, 0]))

    def _softmax_term(self, theta: Array) -> Callable[[slice, _Block], Any]:
        beta, weights = theta[0, 0], self._logits.weights

        def term(rows: slice, block: _Block) -> Any:
            z, spare, infinite = block
            terms = _softmax_terms(z, spare, beta, infinite)
            if weights is None:
                return (np.array([[array.sum()] for array in terms]),)
            return (np.array([[weights[rows] @ array] for array in terms]),)

        return term

    def _sigmoid_term(self, theta: Array) -> Callable[[slice, _Block], Any]:
        weights = self._logits.weights

        def term(rows: slice, block: _Block) -> Any:
            z, spare, infinite = block
            entries = _entry_weights(self._logits.targets(rows))
            if entries is not None:
                # Entries that aren't known may hold anything.
                z[entries == 0] = 0
            if self._parts.size < len(z):
                z, spare = z[self._parts], spare[: self._parts.size]
                entries, infinite = (None if array is None else array[self._parts] for array in (entries, infinite))
            np.abs(z, out=z)
            terms = _sigmoid_terms(z, spare, theta, infinite)
            return (np.array([_weighted_sums(array, entries, weights, rows) for array in terms]),)

        return term


class AffineObjective(Objective):
    """The sum of the cross-entropies as a function of slopes a and biases b: logits become a_k z_k + b_k.

    Labels that don't exclude each other have theta (L, 2), a slope and a bias each. For exclusive classes theta is
    (1, m): slopes, K of them or one for all classes, then K biases.
    """

    is_coarse = False
    has_penalty = False

    def __init__(self, logits: Logits, *, shared: bool) -> None:
        # One slope leaves the probabilities as they are whatever is taken from all logits of a row; several don't.
        self._logits = logits if shared or not logits.exclusive else logits.unshifted()
        self._loss: SoftmaxLoss | SigmoidLoss = SoftmaxLoss() if logits.exclusive else SigmoidLoss()
        self._n_columns = logits.values.shape[1]
        self._n_slopes = 1 if shared and logits.exclusive else self._n_columns
        self._parts = np.arange(logits.n_parts)
        self.n_parts = logits.n_parts
        self.shape = (1, self._n_slopes + self._n_columns) if logits.exclusive else (self.n_parts, 2)
        self.penalty = np.zeros(self.shape)
        self._low, self._high = self._ranges()

    @property
    def has_light_rows(self) -> Array:
        """Whether weights of rows differ so much that values hardly show what some of them lose."""
        weights = self._logits.weights
        light = weights is not None and weights[weights > 0].min(initial=1) < 1e-6 * weights.max()
        return np.full(self.n_parts, light)

    def start(self, beta: Array) -> Array:
        """The coefficients without a bias, for slopes (P,)."""
        theta = np.zeros(self.shape)
        if self._logits.exclusive:
            theta[0, : self._n_slopes] = beta[0]
        else:
            theta[:, 0] = beta
        return theta

    def slopes_and_biases(self, theta: Array) -> tuple[Array, Array]:
        """Slopes and biases of the columns, both (K,)."""
        if self._logits.exclusive:
            return np.broadcast_to(theta[0, : self._n_slopes], self._n_columns), theta[0, self._n_slopes :]
        return theta[:, 0], theta[:, 1]

    def select(self, parts: Array) -> Self:
        """Some of several parts."""
        if np.count_nonzero(parts) == parts.size:
            return self
        selected = copy(self)
        selected._parts = self._parts[parts]
        selected.n_parts = selected._parts.size
        selected.shape, selected.penalty = (selected.n_parts, 2), self.penalty[parts]
        return selected

    def center(self, theta: Array) -> None:
        """Take the mean from the biases of exclusive classes."""
        if self._logits.exclusive:
            theta[:, self._n_slopes :] -= theta[:, self._n_slopes :].mean()

    def value_and_gradient(self, theta: Array, *, exact: bool = True) -> tuple[Array, Array]:
        """Values (P,) and the gradient."""
        weights = self._logits.weights

        def term(rows: slice, block: _Block) -> Any:
            z, scaled, targets = self._scaled(theta, rows, block)
            sums = self._loss.sums_and_residuals(scaled, targets, None if weights is None else weights[rows])
            return sums, np.einsum("kb,kb->k", scaled, z), scaled.sum(axis=1)

        values, by_slopes, by_biases = sum_over_blocks(self._logits, term, size=2 * theta.size)
        if not self._logits.exclusive:
            return values, np.stack([by_slopes, by_biases], axis=1)
        by_slopes = by_slopes.sum(keepdims=True) if self._n_slopes == 1 else by_slopes
        by_biases = by_biases - by_biases.mean()
        return values, np.concatenate([by_slopes, by_biases])[np.newaxis]

    def hessian(self, theta: Array, *, exact: bool = True) -> Array:
        """The Hessian of each part, regular where all biases move."""
        weights, exclusive = self._logits.weights, self._logits.exclusive

        def term(rows: slice, block: _Block) -> Any:
            z, scaled, targets = self._scaled(theta, rows, block)
            diagonal, rank_one = self._loss.curvature(scaled, targets)
            if weights is not None:
                diagonal = diagonal * weights[rows]
            own = np.array([np.einsum("kb,kb->k", diagonal, power) for power in (z * z, z, np.ones_like(z))])
            if not exclusive or rank_one is None:
                return own, np.zeros(())
            if weights is not None:
                rank_one = rank_one * np.sqrt(weights[rows])
            stacked = np.concatenate([rank_one * z, rank_one])
            return own, stacked @ stacked.T

        own, products = sum_over_blocks(
            self._logits, term, size=4 * self._n_columns**2 if exclusive else 3 * theta.size
        )
        if not exclusive:
            return np.stack([np.stack([own[0], own[1]], -1), np.stack([own[1], own[2]], -1)], 1)
        return self._of_exclusive(own, products)[np.newaxis]

    def _of_exclusive(self, own: Array, products: Array) -> Array:
        """The Hessian (m, m) by slopes and biases, from the curvatures' sums with z^2, z and 1, and those of q q^T."""
        n_columns = self._n_columns
        columns = np.arange(n_columns)
        hessian = np.negative(products).reshape(2, n_columns, 2, n_columns)
        hessian[0, columns, 0, columns] = own[0]
        hessian[0, columns, 1, columns] = hessian[1, columns, 0, columns] = own[1]
        hessian[1, columns, 1, columns] = own[2]
        # Where all biases move nothing changes: a class of little curvature must not drown in what is added there.
        shares = own[2] / np.sqrt(own[2].sum() or 1.0)
        hessian[1, :, 1, :] += np.outer(shares, shares)
        flat = hessian.reshape(2 * n_columns, 2 * n_columns)
        if self._n_slopes == n_columns:
            return flat
        summed = np.vstack([flat[:n_columns].sum(axis=0), flat[n_columns:]])
        return np.column_stack([summed[:, :n_columns].sum(axis=1), summed[:, n_columns:]])

    def hessian_diagonal(self, theta: Array) -> Array:
        """The Hessian's diagonal, in theta's shape."""
        return np.asarray(np.einsum("pjj->pj", self.hessian(theta))).reshape(theta.shape)

    def rounding(self, hessian: Array) -> Array:
        """No entry on the diagonal is a difference of much larger numbers."""
        return np.asarray(np.einsum("pjj->pj", hessian))

    def rounding_of_value(self, theta: Array) -> Array:
        """Logits are rounded relative to their sizes, and a row's loss moves by about twice as much times itself."""
        sizes = np.max(np.abs(self._logit_ends(theta)), axis=0)
        sizes = sizes.max(keepdims=True) if self._logits.exclusive else sizes
        return np.asarray(np.finfo(np.float64).eps * (8 + 4 * sizes))

    def logit_range(self, step: Array) -> Array:
        """How far a step spreads the logits of a row: no further than the ranges of the columns allow."""
        ends = self._logit_ends(step)
        if self._logits.exclusive:
            return np.asarray(np.ptp(ends, keepdims=True)[0])
        return np.asarray(np.max(np.abs(ends), axis=0))

    def crude_logit_range(self, length: Array) -> Array:
        """How far steps of some lengths (P,) do."""
        largest = np.maximum(np.abs(self._low), np.abs(self._high))
        largest = largest.max(keepdims=True) if self._logits.exclusive else largest[self._parts]
        return np.asarray(2 * length * np.sqrt(1 + largest**2))

    def largest_logit_range(self, inverse: Array) -> Array:
        """How far steps of length 1 in the norm of the Hessian do, at the ends of the columns' ranges."""
        if self._logits.exclusive:
            biases = self._n_slopes + np.arange(self._n_columns)
            slopes = np.arange(self._n_columns) if self._n_slopes > 1 else np.zeros(self._n_columns, dtype=int)
            of_slopes, mixed, of_biases = (
                inverse[0, i, j] for i, j in ((slopes,) * 2, (slopes, biases), (biases,) * 2)
            )
        else:
            of_slopes, mixed, of_biases = inverse[:, 0, 0], inverse[:, 0, 1], inverse[:, 1, 1]
        parts = slice(None) if self._logits.exclusive else self._parts
        # A quadratic form that isn't negative is convex in z: it is largest at an end.
        squares = [z * z * of_slopes + 2 * z * mixed + of_biases for z in (self._low[parts], self._high[parts])]
        norms = np.sqrt(np.maximum(0, np.max(squares, axis=0)))
        return np.asarray(np.sort(norms)[-2:].sum(keepdims=True) if self._logits.exclusive else norms)

    def _logit_ends(self, theta: Array) -> Array:
        """Logits (2, .) at the ends of the columns' ranges."""
        slopes, biases = self.slopes_and_biases(theta)
        parts = slice(None) if self._logits.exclusive else self._parts
        return np.array([slopes * z + biases for z in (self._low[parts], self._high[parts])])

    def _ranges(self) -> tuple[Array, Array]:
        """The least and the largest finite logit of each column (K,), in rows that count."""

        def term(rows: slice, block: _Block) -> Any:
            if not self._logits.exclusive:
                entries = _entry_weights(self._logits.targets(rows))
                if entries is not None:
                    block.z[entries == 0] = 0
            return block.z.min(axis=1), block.z.max(axis=1)

        low, high = sum_over_blocks(self._logits, term, size=2 * self._n_columns, combine=(np.minimum, np.maximum))
        return low, high

    def _scaled(self, theta: Array, rows: slice, block: _Block) -> tuple[Array, Array, Any]:
        """Logits (., b), what they become, and the loss's targets."""
        z, spare, infinite = block
        targets = self._logits.targets(rows)
        if not self._logits.exclusive:
            entries = _entry_weights(targets)
            if entries is not None:
                z[entries == 0] = 0
            if infinite is not None:
                # Their loss is 0 for every slope above 0.
                targets = tuple(weights * ~infinite for weights in _weights_of_labels(targets, z.shape))
            if self._parts.size < len(z):
                z, spare = z[self._parts], spare[: self._parts.size]
                targets = _of_parts(targets, self._parts)
        slopes, biases = self.slopes_and_biases(theta)
        np.multiply(z, slopes[:, np.newaxis], out=spare)
        spare += biases[:, np.newaxis]
        if infinite is not None and self._logits.exclusive:
            spare[infinite] = -np.inf
        return z, spare, targets


def _softmax_terms(z: Array, spare: Array, beta: float, infinite: Array | None) -> tuple[Array, Array, Array]:
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


def _sigmoid_terms(z: Array, spare: Array, beta: Array, infinite: Array | None) -> tuple[Array, Array, Array]:
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


def _entry_weights(targets: Any) -> Array | None:
    """Weights (L, b) of entries, from what SigmoidLoss takes; None where all are known and weigh 1."""
    if isinstance(targets, LabelSigns):
        return targets.weights
    yes, no = targets
    return np.asarray(yes + no)


def _weighted_sums(terms: Array, entries: Array | None, weights: Array | None, rows: slice) -> Array:
    """Sums (L,) of terms (L, b), weighted by entry and by row."""
    if entries is not None:
        terms = terms * entries
    return np.asarray(terms.sum(axis=1) if weights is None else terms @ weights[rows])


def _of_parts(targets: Any, parts: Array) -> Any:
    """Targets of some labels."""
    if isinstance(targets, LabelSigns):
        return LabelSigns(targets.signs[parts], None if targets.weights is None else targets.weights[parts])
    return tuple(weights[parts] for weights in targets)


def _weights_of_labels(targets: Any, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Weights of yes and of no (L, b) from what SigmoidLoss takes."""
    if not isinstance(targets, LabelSigns):
        yes, no = targets
        return yes, no
    yes, no = targets.signs < 0, targets.signs > 0
    if targets.weights is None:
        return yes.astype(np.float64), no.astype(np.float64)
    return yes * targets.weights, no * targets.weights
