"""Indicators of several labels, dense or sparse, turned into what SigmoidLoss takes, block by block."""

from typing import Any

import numpy as np
from scipy import sparse

from skactivation._class_major_losses import LabelSigns, LabelTargets, smooth
from skactivation._data.labels import as_label_columns
from skactivation._threads import even_slices
from skactivation._typing import Array

__all__ = ["Indicator", "LabelWeights"]


# Entries of Y that are looked at together.
_PART_SIZE = 2**20
_UNKNOWN = 2


class Indicator:
    """Y (n, L): which labels each row has. NaN is "not known", a number between 0 and 1 a soft label.

    Certain labels are kept in a byte an entry (dense) or an entry stored (sparse).
    """

    def __init__(self, Y: Any) -> None:
        columns = as_label_columns(Y)
        self.names, self.dtype, values = columns.names, columns.dtype, columns.values
        self.n_rows, self.n_labels = values.shape
        self.is_sparse = bool(sparse.issparse(values))
        # What predictions come in.
        self.container: Any = None
        if self.is_sparse:
            self.container = sparse.csr_array if isinstance(Y, sparse.sparray) else sparse.csr_matrix
        entries = values.data if self.is_sparse else values
        known = ~np.isnan(entries) if entries.dtype.kind == "f" else np.ones((1, 1), dtype=bool)
        self.all_known = bool(known.all())
        self.is_hard = bool(np.all((entries == 0) | (entries == 1) | ~known))
        self._values: Any = None if self.is_hard else values
        self._signs: Array | None = None
        self._codes: Any = None
        if self.is_hard and self.is_sparse:
            codes = np.where(entries == 0, 0, np.where(entries == 1, 1, _UNKNOWN)).astype(np.int8)
            self._codes = sparse.csr_array((codes, values.indices, values.indptr), shape=values.shape)
        elif self.is_hard:
            self._signs = np.empty((self.n_labels, self.n_rows), dtype=np.int8)
            for rows in self.slices():
                part = values[rows].T
                signs = np.subtract(1, 2 * part.astype(np.int8) if self.all_known else np.nan_to_num(2 * part, nan=1.0))
                self._signs[:, rows] = signs

    def slices(self) -> list[slice]:
        """Rows that are looked at together."""
        return even_slices(self.n_rows, -(-self.n_rows * self.n_labels // _PART_SIZE))

    def signs(self, rows: Any, outputs: Array) -> Array:
        """-1 for yes, 1 for no, 0 for not known (., b), int8, for some rows and labels, which must be hard."""
        if self._signs is not None:
            if outputs.size == self.n_labels:
                return self._signs[:, rows]
            return self._signs[outputs, rows] if isinstance(rows, slice) else self._signs[np.ix_(outputs, rows)]
        return self._from_entries(self._codes, rows, outputs, np.array([1, -1, 0], dtype=np.int8))

    def values(self, rows: Any, outputs: Array) -> Array:
        """Y (., b) in floats, for some rows and labels; NaN for not known."""
        if self.is_hard:
            return np.asarray(np.array([1.0, np.nan, 0.0])[self.signs(rows, outputs) + 1])
        if self.is_sparse:
            return self._from_entries(self._values, rows, outputs, None)
        return np.asarray(self._values[rows][:, outputs].T, dtype=np.float64)

    def _from_entries(self, entries: Any, rows: Any, outputs: Array, table: Array | None) -> Array:
        """Stored entries (., b), or what a table says of them and of 0."""
        part = entries[rows]
        place = np.full(self.n_labels, -1)
        place[outputs] = np.arange(outputs.size)
        row = np.repeat(np.arange(part.shape[0]), np.diff(part.indptr))
        label = place[part.indices]
        chosen = label >= 0
        shape = outputs.size, part.shape[0]
        if table is None:
            result = np.zeros(shape)
            result[label[chosen], row[chosen]] = part.data[chosen]
            return result
        result = np.full(shape, table[0])
        result[label[chosen], row[chosen]] = table[part.data[chosen]]
        return result


class LabelWeights:
    """The targets of an indicator with weights: what a fit needs to know of them.

    Parameters
    ----------
    indicator : Indicator
        Y (n, L).
    weights : ndarray of shape (n,) or (n, L), or None
        Weights of the rows or of the entries.
    """

    def __init__(self, indicator: Indicator, weights: Array | None) -> None:
        self._indicator = indicator
        self._smoothing = 0.0
        self._fitted = np.arange(indicator.n_labels)
        self._entries: Array | None = None if weights is None or weights.ndim == 1 else weights
        self._pos_weight = np.ones(indicator.n_labels)
        self.rows = weights if self._entries is None else None
        self._largest = np.ones(indicator.n_labels) if self._entries is None else self._entries.max(axis=0)
        self._largest[self._largest == 0] = 1
        self.units = self._largest
        self._leave_out_rows_that_say_nothing()

    @property
    def uniform(self) -> bool:
        """Whether the entries of a label all weigh the same, but for the weights of the rows."""
        return self._entries is None and self._indicator.all_known and bool(np.all(self._pos_weight == 1))

    def set(self, pos_weight: Array, label_smoothing: float, fitted: Array | None) -> None:
        """Multiply the weights of yes by factors (L,), smooth targets, leave out labels that aren't fitted (L,)."""
        self._pos_weight, self._smoothing = pos_weight, label_smoothing
        self.units = self._largest * np.maximum(pos_weight, 1)
        if fitted is not None:
            self._fitted = np.flatnonzero(fitted)

    def targets(self, rows: Any, outputs: Array) -> LabelTargets:
        """What SigmoidLoss takes for some rows and some of the fitted labels; the largest weight is 1 at most."""
        indicator, outputs = self._indicator, self._fitted[outputs]
        factors = (self._pos_weight * self._largest / self.units)[outputs, np.newaxis]
        others = (self._largest / self.units)[outputs, np.newaxis]
        if indicator.is_hard and self._smoothing == 0:
            signs = indicator.signs(rows, outputs)
            if self.uniform:
                return LabelSigns(signs, None)
            return LabelSigns(signs, self._weighted(np.where(signs < 0, factors, others * (signs != 0)), rows, outputs))
        values = indicator.values(rows, outputs)
        known = ~np.isnan(values)
        values = smooth(np.where(known, values, 0.0), self._smoothing, 2)
        yes, no = factors * values * known, others * (1 - values) * known
        return self._weighted(yes, rows, outputs), self._weighted(no, rows, outputs)

    def totals(self) -> tuple[Array, Array]:
        """Weighted sums of yes and of no (L,), soft labels in part."""
        largest = 1.0 if self.rows is None else float(self.rows.max()) or 1.0
        yes, no = np.zeros(self.units.size), np.zeros(self.units.size)
        outputs = np.arange(self.units.size)
        for rows in self._indicator.slices():
            targets = self.targets(rows, outputs)
            if isinstance(targets, LabelSigns):
                weights = 1.0 if targets.weights is None else targets.weights
                targets = (targets.signs < 0) * weights, (targets.signs > 0) * weights
            weights = np.ones(targets[0].shape[1]) if self.rows is None else self.rows[rows] / largest
            yes += targets[0] @ weights
            no += targets[1] @ weights
        return yes * self.units * largest, no * self.units * largest

    def lightest(self) -> Array:
        """The least weight (L,) that isn't 0, in units of `units`."""
        least = np.minimum(self._pos_weight, 1) * self._largest / self.units
        if self._entries is None:
            return np.asarray(least)
        smallest = np.min(self._entries, axis=0, where=self._entries > 0, initial=np.inf)
        return np.asarray(least * np.minimum(smallest / self._largest, 1))

    def rarest(self, shares: Array) -> Array:
        """For each row (n,) the number of what is rarest among its labels: a yes (even) or a no (odd).

        `shares` (L,) says how often a label is yes.
        """
        outputs = np.arange(self.units.size)
        codes = np.zeros(self._indicator.n_rows, dtype=np.intp)
        for rows in self._indicator.slices():
            values = self._indicator.values(rows, outputs)
            often = np.where(values >= 0.5, shares[:, np.newaxis], 1 - shares[:, np.newaxis])
            often[np.isnan(values)] = np.inf
            label = often.argmin(axis=0)
            codes[rows] = 2 * label + ~(values[label, np.arange(label.size)] >= 0.5)
        return codes

    def _weighted(self, entries: Array, rows: Any, outputs: Array) -> Array:
        """Class-major weights (., b) times those of the entries."""
        if self._entries is None:
            return entries
        return np.asarray(entries * (self._entries[rows][:, outputs] / self._largest[outputs]).T)

    def _leave_out_rows_that_say_nothing(self) -> None:
        """Give the weight 0 to rows without a known label of positive weight: they aren't there."""
        if self._indicator.all_known and self._entries is None:
            return
        outputs = np.arange(self.units.size)
        says_something = np.empty(self._indicator.n_rows, dtype=bool)
        for rows in self._indicator.slices():
            counts = ~np.isnan(self._indicator.values(rows, outputs))
            if self._entries is not None:
                counts &= self._entries[rows].T > 0
            says_something[rows] = counts.any(axis=0)
        if not says_something.all():
            self.rows = says_something * (1.0 if self.rows is None else self.rows)
