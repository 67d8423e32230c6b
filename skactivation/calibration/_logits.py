r"""Logits with their targets, block by block, and the terms of the cross-entropy at a temperature.

Exclusive classes are one problem; multilabel logits are one problem a label. With beta = 1 / T, D_k = max(z) - z_k,
u = beta D, p = softmax(beta z) and targets t, a row's cross-entropy and its first two derivatives by beta are

    log(sum_k exp(-u_k)) + beta <t, D>,    <t, D> - E_p[u] / beta,    Var_p[u] / beta^2

All terms are computed from u, which is near 1 where p matters, whatever the sizes of the logits. Targets enter only
through the sum of <t, D> over the rows, which is computed once. A sigmoid is the softmax of two classes with
D = (max(z, 0), max(-z, 0)). Only -E_p[u] is negative, so cancellation costs few digits.
"""

from abc import abstractmethod
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from skactivation._activation_kernels import sum_of_others
from skactivation._class_major_losses import LabelSigns, expected_gaps
from skactivation._data.blocks import CONCATENATE, Buffers, RowBlocks, Rows, absent_rows
from skactivation._data.targets import Targets, weights_of_yes_and_no
from skactivation._messages import abridged
from skactivation._threads import even_slices
from skactivation._typing import Array
from skactivation._validation import sum_tolerance

# Numbers in a block, measured: smaller blocks spend time on calls, larger ones leave the cache.
_BLOCK_SIZE = 2**17
# Logits are scaled where the mean <t, D> is larger than this, so that sums do not overflow, or the largest D smaller,
# so that 1 / T and products with tiny weights are floats.
_LARGEST, _SMALLEST = 1e100, 1e-8
# Where the largest D is near the largest float, but most are not, a small scale is enough: no difference overflows.
_WIDEST, _SPARE_EXPONENT = 1e300, 64
# Scales are powers of two up to this exponent, so that they and their inverses are floats.
_LARGEST_EXPONENT = 1000
# Weights are uneven if some are smaller than this share of the largest.
_UNEVEN = 1e-6
# Larger u are set to this: exp(-u) is 0 for both, and the product with it must not be NaN.
_CERTAIN = 1e4
# If in every row of a block the other exponentials add less than this to the largest, 1, log1p keeps their digits.
_SMALL = 1e-3


class LogitBlock(NamedTuple):
    """Class-major logits (K, b) of some rows, and a spare array of that shape. Both may be overwritten."""

    z: Array
    spare: Array
    infinite: Array | None
    """Mask of infinite logits, for which z is 0; None if there are none."""
    rows: slice
    data: "LogitRowsInBlocks"

    def targets(self, problems: Array) -> Any:
        """Targets of the given problems, in the form that the loss takes."""
        return self.data.targets.block(self.rows, problems)

    def weights(self) -> Array | None:
        """Weights (b,) of the rows; None for weights of 1."""
        return None if self.data.weights is None else self.data.weights[self.rows]

    def select(self, problems: Array) -> tuple["LogitBlock", Any]:
        """Logits and targets of the given problems; entries of weight 0 get the logit 0."""
        block, targets = self, self.targets(problems)
        if self.data.exclusive:
            return block, targets
        if problems.size < len(self.z):
            infinite = None if self.infinite is None else self.infinite[problems]
            block = self._replace(z=self.z[problems], spare=self.spare[: problems.size], infinite=infinite)
        entries = entry_weights(targets)
        if entries is not None:
            block.z[entries == 0] = 0
        return block, targets


class LogitRows(Rows):
    """Logits (n, K) with targets and weights, wherever they are: what calibrations take."""

    targets: Targets
    exclusive: bool
    """Whether the columns are classes that exclude each other."""
    n_rows: int
    n_columns: int
    n_problems: int
    least_weight: float
    """The least positive weight of a row; the largest is 1."""
    unit: float = 1.0
    """A power of two that scales logits of extreme size to about 1, set by `prepare`."""

    @property
    def are_few(self) -> bool:
        """Whether a pass over all rows takes no longer than one over a sample."""
        return self.n_rows * self.n_columns <= _BLOCK_SIZE

    @abstractmethod
    def with_(self, **changes: Any) -> Self:
        """A copy with changed attributes."""

    @abstractmethod
    def unlikely(self) -> str | None:
        """A message if the logits look like probabilities."""

    @abstractmethod
    def take(self, chosen: Array) -> "LogitRowsInBlocks":
        """The rows with the given numbers in memory, in the same unit."""

    @abstractmethod
    def summarised(self) -> tuple[Self, "Summary"]:
        """The rows, of which `sum` subtracts each row's largest logit; and sums over the rows, in one pass.

        Raises
        ------
        ValueError
            For rows with NaN, ``+inf`` or only ``-inf``, or that give a true class the probability 0.
        """


class LogitRowsInBlocks(RowBlocks, LogitRows):
    """Logits (n, K) with targets and weights, block by block, in double precision. Rows of weight 0 are ignored.

    Parameters
    ----------
    values : ndarray of shape (n, K)
        float32 or float64.
    targets : Targets
        Targets of one problem with K logits, or of K problems with one logit.
    weights : ndarray of shape (n,) or None
        Weights of the rows; the largest is 1.
    numbers : ndarray of shape (n,) or None
        Row numbers for error messages; None for 0 to n - 1.
    """

    def __init__(self, values: Array, targets: Targets, weights: Array | None, numbers: Array | None = None) -> None:
        self.values, self.targets, self.weights, self.numbers = values, targets, weights, numbers
        self.exclusive = targets.n_logits > 1
        self.n_rows, self.n_columns = values.shape
        self.n_problems = targets.n_problems
        self.slices = even_slices(self.n_rows, -(-values.size // _BLOCK_SIZE))
        self._absent = absent_rows(weights)
        self.least_weight = 1.0 if weights is None else float(weights.min(where=weights > 0, initial=np.inf))
        # A few exponentials and reductions for each logit.
        self.work = 32.0 * values.size
        self._buffers = Buffers()
        # Set by `summarised`: the largest logit of each row, which is subtracted; whether there are infinite logits.
        self.tops: Array | None = None
        # Subtracted from the columns (K,), where biases make up for it.
        self.centers: Array | None = None
        self.has_infinite = False

    def with_(self, **changes: Any) -> Self:
        """A copy with changed attributes."""
        other = copy(self)
        vars(other).update(changes)
        return other

    def unlikely(self) -> str | None:
        """A message if the logits look like probabilities."""
        return look_like_probabilities(self.values)

    @property
    def uneven(self) -> bool:
        """Whether some positive weights are tiny beside others."""
        return self.least_weight < _UNEVEN

    def take(self, chosen: Array) -> "LogitRowsInBlocks":
        """The rows with the given numbers, in the same unit."""
        weights = None if self.weights is None else self.weights[chosen]
        return LogitRowsInBlocks(self.values[chosen], self.targets.take(chosen), weights).with_(unit=self.unit)

    def summarised(self) -> tuple[Self, "Summary"]:
        """The rows, of which `sum` subtracts each row's largest logit; and sums over the rows, in one pass."""
        kinds = (np.add,) * 6 + (np.maximum,) * 3 + (CONCATENATE,) * 2
        term = _softmax_summary if self.exclusive else _sigmoid_summary
        rows = self.with_()
        *sums, infinite, bad, tops = rows.sum(term, 1 / rows.unit, size=9 * rows.n_problems, combine=kinds)
        bad = np.concatenate(bad)
        if bad.any():
            _refuse(rows, np.flatnonzero(bad))
        shift = np.concatenate(tops) if rows.exclusive else None
        return rows.with_(tops=shift, has_infinite=bool(infinite)), Summary(*sums)

    def blocks(self, slices: list[slice], dtype: Any) -> Iterator[LogitBlock]:
        """Yield some blocks, one at a time."""
        size = max(rows.stop - rows.start for rows in self.slices) * self.n_columns
        room = self._buffers.take(lambda: (np.empty(size), np.empty(size)))
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
            if self.centers is not None:
                z -= self.centers[:, np.newaxis]
            if self._absent is not None:
                z[:, self._absent[rows]] = 0
            infinite = np.isinf(z) if self.has_infinite else None
            if infinite is not None:
                z[infinite] = 0
            yield LogitBlock(z, spare, infinite, rows, self)
        self._buffers.give_back(room)


AnyLogitRows = TypeVar("AnyLogitRows", bound=LogitRows)


@dataclass(frozen=True)
class Summary:
    """Sums and maxima over the rows, for each problem (P,), in the rows' unit."""

    expected: Array
    """Weighted sum of <t, D>."""
    null: Array
    """Weighted sum of the mean of D, which is E_p[D] at beta = 0."""
    logs: Array
    """Weighted sum of log(sum_k exp(-D_k)) at T = 1."""
    first: Array
    """Weighted sum of E_p[u] at T = 1."""
    second: Array
    """Weighted sum of Var_p[u] at T = 1."""
    total: Array
    """Sum of the weights."""
    widest: Array
    """The largest D of any row: 0 if the logits of each row are equal."""
    worst: Array
    """The largest <t, D> of any row: 0 if the true classes have the largest logits."""

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """That of several parts of the rows."""
        arrays = {field.name: np.stack([getattr(part, field.name) for part in parts]) for field in fields(cls)}
        return cls(
            **{
                name: array.max(axis=0) if name in ("widest", "worst") else array.sum(axis=0)
                for name, array in arrays.items()
            }
        )


def prepare(rows: AnyLogitRows) -> tuple[AnyLogitRows, Summary]:
    """Subtract each row's largest logit and choose a unit in which logits are near 1; also return sums over the rows.

    One pass, or two for logits of extreme size.
    """
    prepared, summary = rows.summarised()
    typical = float(np.max(summary.expected / summary.total))
    widest = float(np.max(summary.widest))
    if typical < _LARGEST and (_SMALLEST < widest < _WIDEST or widest == 0):
        return prepared, summary
    exponent = -_SPARE_EXPONENT
    if typical >= _LARGEST or widest <= _SMALLEST:
        size = min(max(typical, widest * (widest <= _SMALLEST)), np.finfo(np.float64).max)
        exponent = int(np.clip(-np.frexp(size)[1], -_LARGEST_EXPONENT, _LARGEST_EXPONENT))
    return rows.with_(unit=float(np.ldexp(1.0, exponent)), n_passes=prepared.n_passes).summarised()


def _softmax_summary(block: LogitBlock, beta: float) -> tuple[Any, ...]:
    z, spare = block.z, block.spare
    top, lowest = z.max(axis=0), z.min(axis=0)
    z -= top
    widths, n_finite, infinite = top - lowest, len(z), None
    if not widths.max() < np.inf:
        # Some logits are -inf, or some differences overflow.
        values = block.data.values[block.rows].T
        infinite = values == -np.inf
        np.maximum(z, np.finfo(z.dtype).min, out=z, where=~infinite)
        widths = top - np.min(values * block.data.unit, axis=0, where=~infinite, initial=np.inf)
        n_finite = len(z) - infinite.sum(axis=0)
    expected = expected_gaps(z, block.targets(np.arange(1)))
    bad = ~np.isfinite(top) | (expected == np.inf)
    if infinite is not None:
        z[infinite] = 0
    null = z.sum(axis=0) / -n_finite
    terms = [expected, null, *softmax_terms(scaled(z, beta, widths.max()), spare, infinite, block.data.uneven)]
    weights = block.weights()
    if weights is not None and weights.min() == 0:
        here = weights > 0
        bad &= here
        widths, weights, *terms = (array[here] for array in (widths, weights, *terms))
    total = float(widths.size) if weights is None else weights.sum()
    sums = (array.sum() if weights is None else weights @ array for array in terms)
    numbers = [*sums, total, widths.max(initial=0), terms[0].max(initial=0)]
    return *np.array(numbers)[:, np.newaxis], float(infinite is not None), [bad], [top]


def _sigmoid_summary(block: LogitBlock, beta: float) -> tuple[Any, ...]:
    z = block.z
    yes, no = weights_of_yes_and_no(block.targets(np.arange(len(z))))
    weights = block.weights()
    weights = np.ones(z.shape[1]) if weights is None else weights
    entries = yes + no
    counts = (entries > 0) & (weights > 0)
    infinite = np.isinf(z) & counts
    wrong = (np.isnan(z) | ((z == np.inf) & (no > 0)) | ((z == -np.inf) & (yes > 0))) & counts
    z[~counts | infinite | wrong] = 0
    expected = yes * np.maximum(-z, 0) + no * np.maximum(z, 0)
    sizes = np.abs(z, out=z)
    widest, worst = sizes.max(axis=1), np.max(expected * counts, axis=1)
    null = 0.5 * entries * sizes
    terms = sigmoid_terms(scaled(sizes, beta, widest.max()), block.spare, infinite)
    sums = (array @ weights for array in (expected, null, *(entries * term for term in terms), entries))
    return *sums, widest, worst, float(infinite.any()), [wrong.any(axis=0)], []


def _refuse(rows: LogitRowsInBlocks, bad: Array) -> None:
    """Raise an error about rows of invalid logits, given by their places."""
    of_rows = bad if rows.numbers is None else rows.numbers[bad]
    first, numbers = rows.values[bad[of_rows.argmin()]], np.unique(of_rows)
    places = f"rows {abridged(numbers)}; the first one holds {abridged(first)}"
    if numbers.size == 1:
        places = f"row {numbers[0]}, which holds {abridged(first)}"
    if np.isnan(first).any():
        raise ValueError(f"logits must not be NaN, got NaN in {places}; drop or repair these rows")
    if rows.exclusive and (first == np.inf).any():
        raise ValueError(f"logits must not be +inf, got it in {places} (float16 overflows above 65504)")
    if rows.exclusive and not np.isfinite(first.max()):
        raise ValueError(
            f"logits must have a finite entry in each row, but all are -inf, a probability of 0, in {places}; drop or "
            "repair these rows"
        )
    raise ValueError(
        f"logits give a true class the probability 0 in {places}: the loss is infinite at every temperature; use "
        "log(max(p, eps)) as logits of probabilities p"
    )


def look_like_probabilities(logits: Array) -> str | None:
    """A message if all rows (n, K) lie in [0, 1] and sum to 1, as probabilities do and logits do not."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        return None
    # The first row nearly always decides.
    for rows in (logits[:1], logits):
        if not (np.all((rows >= 0) & (rows <= 1)) and np.abs(rows.sum(axis=1) - 1).max() <= sum_tolerance(rows)):
            return None
    return (
        "the logits look like probabilities: all rows lie in [0, 1] and sum to 1. A temperature for probabilities is "
        "wrong for logits. Pass the logits, or np.log(np.maximum(p, np.finfo(p.dtype).eps))"
    )


def smallest_margins(rows: LogitRows) -> Array:
    """The smallest positive D (P,) of any row."""
    (margins,) = rows.sum(_least_distance, size=rows.n_problems, combine=np.minimum)
    return np.asarray(margins)


def _least_distance(block: LogitBlock) -> tuple[Array]:
    block, _ = block.select(np.arange(block.data.n_problems))
    distances, weights = np.abs(block.z), block.weights()
    if weights is not None:
        distances *= weights > 0
    least = np.min(distances, axis=1, where=distances > 0, initial=np.inf)
    return (least.min(keepdims=True) if block.data.exclusive else least,)


def scaled(distances: Array, beta: Any, widest: float) -> Array:
    """u for D or -u for -D, in place of the distances; `widest` is at least the largest D."""
    several = isinstance(beta, np.ndarray)
    if several or beta != 1:
        distances *= beta
    if not (beta.max() if several else beta) * widest < np.inf:
        np.clip(distances, -_CERTAIN, _CERTAIN, out=distances)
    return distances


def softmax_terms(z: Array, spare: Array, infinite: Array | None, uneven: bool) -> tuple[Array, Array, Array]:
    """log(sum_k exp(-u_k)), E_p[u] and Var_p[u], all (b,), for z = -u (K, b); both arrays are overwritten."""
    np.exp(z, out=spare)
    if infinite is not None:
        spare[infinite] = 0
    logs = _log_sums(spare, uneven)
    sums = spare.sum(axis=0)
    spare *= z
    first = spare.sum(axis=0)
    first /= sums
    spare *= z
    second = spare.sum(axis=0)
    second /= sums
    second -= np.square(first)
    return logs, np.negative(first, out=first), second


def sigmoid_terms(u: Array, spare: Array, infinite: Array | None) -> tuple[Array, Array, Array]:
    """The terms of `softmax_terms`, all (L, b), for sigmoids of u >= 0 (L, b); both arrays are overwritten."""
    np.negative(u, out=spare)
    np.exp(spare, out=spare)
    if infinite is not None:
        spare[infinite] = 0
    logs = np.log1p(spare)
    u /= 1 + spare
    spare *= u
    u *= spare
    return logs, spare, u


def _log_sums(exponentials: Array, uneven: bool) -> Array:
    """Log of the sums (b,) of class-major exponentials (K, b), the largest of which is 1.

    With weights of very uneven sizes a small logarithm may matter beside large ones.
    """
    sums = exponentials.sum(axis=0)
    if sums.max(initial=0) <= 1 + _SMALL:
        return np.log1p(sum_of_others(exponentials))
    logs = np.asarray(np.log(sums))
    if uneven:
        small = sums <= 1 + _SMALL
        logs[small] = np.log1p(sum_of_others(exponentials[:, small]))
    return logs


def entry_weights(targets: Any) -> Array | None:
    """Weights (L, b) of the entries in targets of SigmoidLoss; None if all are 1."""
    if isinstance(targets, LabelSigns):
        return targets.weights
    yes, no = targets
    return np.asarray(yes + no)
