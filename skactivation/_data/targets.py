"""y in the form that the losses take, block by block: exclusive classes, two classes as one logit, multilabel."""

from abc import ABC, abstractmethod
from copy import copy
from functools import cached_property
from typing import Any, NamedTuple, Self

import numpy as np

from skactivation._class_major_losses import (
    LabelSigns,
    LabelTargets,
    Loss,
    SigmoidLoss,
    SoftmaxLoss,
    smooth,
    softmax_targets,
)
from skactivation._data.indicators import Indicator
from skactivation._data.labels import is_soft
from skactivation._typing import Array


class Targets(ABC):
    """Targets of n rows for P problems of K logits each."""

    loss: Loss
    """The loss that takes these targets."""
    n_problems: int
    n_logits: int
    hard: bool
    """Whether each target is 0 or 1, so that the infimum of the loss is 0."""
    uniform: bool = True
    """Whether the targets carry no weights, so that rows with equal logits have equal curvature."""

    @abstractmethod
    def block(self, rows: slice | Array, problems: Array) -> Any:
        """Targets for the loss, of the given rows (a slice or numbers) and problems (numbers)."""

    def row_weights_of(self, problems: Array) -> Array:
        """Which of several weights of the rows, (W, n), each of the given problems has."""
        return problems

    @abstractmethod
    def strata(self) -> Array:
        """Stratum (n,) of each row, an integer from 0: a sample must include rows of every stratum."""

    @abstractmethod
    def take(self, chosen: Array) -> Self:
        """The targets of the rows with the given numbers."""

    def least_weights(self) -> Array:
        """Smallest positive weight (P,) that the targets carry; their largest is at most 1."""
        return np.ones(self.n_problems)

    def can_be_separated(self) -> bool:
        """Whether each target is 0 or 1, also where it is given as a distribution: else there is an optimum."""
        return self.hard


class RepeatedTargets(Targets):
    """Targets of problems that each have weights of their own, and the target of one of the problems of others.

    Parameters
    ----------
    targets : Targets
        The others.
    problems : ndarray of shape (P,)
        The number of each problem among them.
    """

    def __init__(self, targets: Targets, problems: Array) -> None:
        self._targets, self._problems, self.n_problems = targets, problems, problems.size
        self.loss, self.n_logits = targets.loss, targets.n_logits
        self.hard, self.uniform = targets.hard, targets.uniform

    def block(self, rows: slice | Array, problems: Array) -> Any:
        return self._targets.block(rows, self._problems[problems])

    def strata(self) -> Array:
        return self._targets.strata()

    def take(self, chosen: Array) -> Self:
        return type(self)(self._targets.take(chosen), self._problems)

    def least_weights(self) -> Array:
        return self._targets.least_weights()[self._problems]


class ClassTargets(Targets):
    """Exclusive classes: codes (n,) from 0 to K - 1, or a distribution over the classes in each row (n, K).

    Problems on the same rows share them, however many there are.
    """

    n_problems = 1

    def __init__(self, encoded: Array, n_classes: int, label_smoothing: float = 0.0) -> None:
        self.loss = SoftmaxLoss()
        self.n_logits = n_classes
        self.hard = encoded.ndim == 1 and label_smoothing == 0
        self._encoded, self._smoothing = encoded, label_smoothing

    def block(self, rows: slice | Array, problems: Array) -> Array:
        if isinstance(rows, slice) and rows == slice(0, len(self._encoded)):
            return self._of_all_rows
        return softmax_targets(self._encoded[rows], self.n_logits, self._smoothing)

    @cached_property
    def _of_all_rows(self) -> Array:
        """Targets of data in one block: made once."""
        targets = softmax_targets(self._encoded, self.n_logits, self._smoothing)
        targets.setflags(write=False)
        return targets

    def strata(self) -> Array:
        return _most_probable(self._encoded)

    def take(self, chosen: Array) -> Self:
        return type(self)(self._encoded[chosen], self.n_logits, self._smoothing)

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Targets of the rows of several parts."""
        return cls(np.concatenate([part._encoded for part in parts]), parts[0].n_logits, parts[0]._smoothing)

    def can_be_separated(self) -> bool:
        return self._smoothing == 0 and not is_soft(self._encoded)


class BinaryTargets(Targets):
    """Two exclusive classes as one logit: codes (n,) of 0 and 1, or distributions (n, 2).

    Problems on the same rows share them, however many there are.
    """

    n_problems = n_logits = 1

    def __init__(self, encoded: Array, label_smoothing: float = 0.0) -> None:
        self.loss = SigmoidLoss()
        self.hard = encoded.ndim == 1 and label_smoothing == 0
        self._encoded, self._smoothing = encoded, label_smoothing
        if self.hard:
            self._signs = np.where(encoded == 1, -1, 1).astype(np.int8)[np.newaxis]
        else:
            # The smaller probability is not the difference of 1 and the other: that would cancel its digits.
            both = np.stack([1 - encoded, encoded]) if encoded.ndim == 1 else encoded.T / encoded.sum(axis=1)
            self._no, self._yes = smooth(both.astype(np.float64), label_smoothing, 2)[:, np.newaxis]

    def block(self, rows: slice | Array, problems: Array) -> LabelTargets:
        if self.hard:
            return LabelSigns(_for_each(problems, self._signs[:, rows]), None)
        return _for_each(problems, self._yes[:, rows]), _for_each(problems, self._no[:, rows])

    def strata(self) -> Array:
        return _most_probable(self._encoded)

    def take(self, chosen: Array) -> Self:
        return type(self)(self._encoded[chosen], self._smoothing)

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Targets of the rows of several parts."""
        return cls(np.concatenate([part._encoded for part in parts]), parts[0]._smoothing)

    def can_be_separated(self) -> bool:
        return self._smoothing == 0 and not is_soft(self._encoded)


def _for_each(problems: Array, of_one: Array) -> Array:
    """Targets (1, b) of one problem for each of several, (P, b)."""
    return of_one if problems.size == 1 else np.broadcast_to(of_one, (problems.size, of_one.shape[1]))


def class_targets(encoded: Array, n_classes: int, label_smoothing: float = 0.0) -> ClassTargets | BinaryTargets:
    """Targets of exclusive classes from codes or distributions; two classes share one logit."""
    if n_classes == 2:
        return BinaryTargets(encoded, label_smoothing)
    return ClassTargets(encoded, n_classes, label_smoothing)


def _most_probable(encoded: Array) -> Array:
    """Class, or most probable class, of each row (n,)."""
    return encoded if encoded.ndim == 1 else encoded.argmax(axis=1)


class LabelTotals(NamedTuple):
    """Sums over rows, for each label (L,)."""

    yes: Array
    no: Array
    """Weighted sums of yes and of no; a soft label adds to both."""
    largest: Array
    """The largest weight of an entry; 1 if entries have no weights."""

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Those of several parts of the rows."""
        yes, no, largest = (np.stack(arrays) for arrays in zip(*parts, strict=True))
        return cls(yes.sum(axis=0), no.sum(axis=0), largest.max(axis=0))


class IndicatorTargets(Targets):
    """Multilabel: an indicator with weights; each label is a problem with one logit.

    Parameters
    ----------
    indicator : Indicator
        Y (n, L).
    weights : ndarray of shape (n,) or (n, L), or None
        Weights of the rows or of the entries.
    """

    n_logits = 1

    def __init__(self, indicator: Indicator, weights: Array | None) -> None:
        self.loss = SigmoidLoss()
        self._indicator = indicator
        self._smoothing = 0.0
        self._fitted = np.arange(indicator.n_labels)
        self._entries: Array | None = None if weights is None or weights.ndim == 1 else weights
        self._pos_weight = np.ones(indicator.n_labels)
        largest = np.ones(indicator.n_labels) if self._entries is None else self._entries.max(axis=0)
        self._largest = self.units = np.where(largest > 0, largest, 1.0)
        """Unit (L,) of the weights of each label: the weights in a block are divided by it."""
        self.row_weights = _without_silent_rows(indicator, self._entries, weights)
        """Weights (n,) of the rows; None if all are 1."""
        self._describe()
        self.totals = LabelTotals(*self._sums(), largest)
        """Sums over these rows; or over all, once `fit_to` or `scale_to` has told them."""

    def scale_to(self, totals: LabelTotals) -> None:
        """Take weights in units of the largest ones of all rows, of which these are a part."""
        self.totals, self._largest = totals, np.where(totals.largest > 0, totals.largest, 1.0)
        self.units = self._largest * np.maximum(self._pos_weight, 1)

    def fit_to(self, totals: LabelTotals, pos_weight: Array, label_smoothing: float, fitted: Array) -> None:
        """Multiply the weights of yes by `pos_weight` (L,), smooth targets, keep the labels in `fitted` (L,)."""
        self._pos_weight, self._smoothing = pos_weight, label_smoothing
        self.scale_to(totals)
        self._fitted = np.flatnonzero(fitted)
        self._describe()

    def _describe(self) -> None:
        self.n_problems = self._fitted.size
        self.hard = self._indicator.is_hard and self._smoothing == 0
        self.uniform = self._entries is None and self._indicator.all_known and bool(np.all(self._pos_weight == 1))

    def block(self, rows: slice | Array, problems: Array) -> LabelTargets:
        labels = self._fitted[problems]
        yes_factors = (self._pos_weight * self._largest / self.units)[labels, np.newaxis]
        no_factors = (self._largest / self.units)[labels, np.newaxis]
        if self.hard:
            signs = self._indicator.signs(rows, labels)
            if self.uniform:
                return LabelSigns(signs, None)
            weights = np.where(signs < 0, yes_factors, no_factors * (signs != 0))
            return LabelSigns(signs, self._weighted(weights, rows, labels))
        values = self._indicator.values(rows, labels)
        known = ~np.isnan(values)
        values = smooth(np.where(known, values, 0.0), self._smoothing, 2)
        yes, no = yes_factors * values * known, no_factors * (1 - values) * known
        return self._weighted(yes, rows, labels), self._weighted(no, rows, labels)

    def least_weights(self) -> Array:
        least = np.minimum(self._pos_weight, 1) * self._largest / self.units
        if self._entries is not None:
            smallest = np.min(self._entries, axis=0, where=self._entries > 0, initial=np.inf)
            least = least * np.minimum(smallest / self._largest, 1)
        return np.asarray(least[self._fitted])

    def strata(self) -> Array:
        """Stratum of each row: its rarest entry, 2 l for a yes and 2 l + 1 for a no to label l."""
        yes, no, _ = self.totals
        shares = yes / (yes + no)
        codes = np.zeros(self._indicator.n_rows, dtype=np.intp)
        for rows in self._indicator.slices():
            values = self._indicator.values(rows, np.arange(shares.size))
            frequency = np.where(values >= 0.5, shares[:, np.newaxis], 1 - shares[:, np.newaxis])
            frequency[np.isnan(values)] = np.inf
            label = frequency.argmin(axis=0)
            codes[rows] = 2 * label + ~(values[label, np.arange(label.size)] >= 0.5)
        return codes

    def take(self, chosen: Array) -> Self:
        entries = None if self._entries is None else self._entries[chosen]
        return self._of_rows(self._indicator.take(chosen), entries)

    @classmethod
    def joined(cls, parts: list[Self]) -> Self:
        """Targets of the rows of several parts, which have been fitted to the same totals."""
        entries = [part._entries for part in parts if part._entries is not None]
        indicator = Indicator.joined([part._indicator for part in parts])
        return parts[0]._of_rows(indicator, np.concatenate(entries) if entries else None)

    def _of_rows(self, indicator: Indicator, entries: Array | None) -> Self:
        """The same labels and factors with other rows, whose weights are left to others."""
        other = copy(self)
        other._indicator, other._entries, other.row_weights = indicator, entries, None
        other._describe()
        return other

    def _sums(self) -> tuple[Array, Array]:
        """Weighted sums of yes and of no (L,); called before `fit_to`."""
        largest = 1.0 if self.row_weights is None else float(self.row_weights.max()) or 1.0
        labels = np.arange(self.n_problems)
        yes, no = np.zeros(labels.size), np.zeros(labels.size)
        for rows in self._indicator.slices():
            yes_there, no_there = weights_of_yes_and_no(self.block(rows, labels))
            weights = np.ones(yes_there.shape[1]) if self.row_weights is None else self.row_weights[rows] / largest
            yes += yes_there @ weights
            no += no_there @ weights
        return yes * self.units * largest, no * self.units * largest

    def _weighted(self, weights: Array, rows: slice | Array, labels: Array) -> Array:
        """Class-major weights (., b) times the weights of the entries."""
        if self._entries is None:
            return weights
        return np.asarray(weights * (self._entries[rows][:, labels] / self._largest[labels]).T)


class JoinedTargets(Targets):
    """The problems of several multilabel targets of the same rows, one after the other.

    Each of the W targets belongs to the row of the same number in the weights of the rows, (W, n).
    """

    n_logits = 1

    def __init__(self, parts: list[IndicatorTargets]) -> None:
        self.loss = parts[0].loss
        self._parts = parts
        sizes = [part.n_problems for part in parts]
        self._owners = np.repeat(np.arange(len(parts)), sizes)
        self._numbers = np.concatenate([np.arange(size) for size in sizes])
        self.n_problems = self._owners.size
        self.hard, self.uniform = all(part.hard for part in parts), all(part.uniform for part in parts)

    def block(self, rows: slice | Array, problems: Array) -> LabelTargets:
        """Targets of the given rows and problems; problems of the same part follow each other."""
        owners = self._owners[problems]
        firsts = np.flatnonzero(np.diff(owners, prepend=-1))
        blocks = [
            self._parts[owners[chosen[0]]].block(rows, self._numbers[problems[chosen]])
            for chosen in np.split(np.arange(problems.size), firsts[1:])
        ]
        if not self.hard:
            yes, no = zip(*blocks, strict=True)
            return np.concatenate(yes), np.concatenate(no)
        signs = np.concatenate([block.signs for block in blocks])
        if self.uniform:
            return LabelSigns(signs, None)
        weights = [np.ones(block.signs.shape) if block.weights is None else block.weights for block in blocks]
        return LabelSigns(signs, np.concatenate(weights))

    def row_weights_of(self, problems: Array) -> Array:
        return self._owners[problems]

    def least_weights(self) -> Array:
        return np.concatenate([part.least_weights() for part in self._parts])

    def strata(self) -> Array:
        return self._parts[0].strata()

    def take(self, chosen: Array) -> Self:
        return type(self)([part.take(chosen) for part in self._parts])


def _without_silent_rows(indicator: Indicator, entries: Array | None, weights: Array | None) -> Array | None:
    """Weights (n,) of the rows, set to 0 if no entry of positive weight is known."""
    of_rows = weights if entries is None else None
    if indicator.all_known and entries is None:
        return of_rows
    speaks = np.empty(indicator.n_rows, dtype=bool)
    for rows in indicator.slices():
        counts = ~np.isnan(indicator.values(rows, np.arange(indicator.n_labels)))
        if entries is not None:
            counts &= entries[rows].T > 0
        speaks[rows] = counts.any(axis=0)
    return of_rows if speaks.all() else speaks * (1.0 if of_rows is None else of_rows)


def weights_of_yes_and_no(targets: LabelTargets) -> tuple[Array, Array]:
    """Weights of yes and of no (L, b) from targets of SigmoidLoss."""
    if not isinstance(targets, LabelSigns):
        return targets
    yes, no = targets.signs < 0, targets.signs > 0
    if targets.weights is None:
        return yes.astype(np.float64), no.astype(np.float64)
    return yes * targets.weights, no * targets.weights
