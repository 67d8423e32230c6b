"""Cross-entropy as a function of the inverse temperature, with its derivatives in one pass over the logits."""

from collections.abc import Callable
from copy import copy
from typing import Any, Self

import numpy as np

from skactivation._data.blocks import sum_over_blocks
from skactivation._optimize.objective import Objective
from skactivation._typing import Array
from skactivation.calibration._logits import LogitBlock, Logits, Summary, entry_weights, sigmoid_terms, softmax_terms

__all__ = ["TemperatureObjective"]


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
    def expected(self) -> Array:
        """The weighted sum of <t, D> (P,), which E_p[D] sums up to at the minimum."""
        return self._summary.expected[self._parts]

    @property
    def widest(self) -> Array:
        """The largest D (P,) of any row."""
        return self._summary.widest[self._parts]

    @property
    def has_light_rows(self) -> Array:
        """The solver sees a sample alone: no row is lost by a step of its."""
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
        """Values (P,) and derivatives (P, 1); below 0, where exponentials could overflow, those of the tangent at 0."""
        kernel = self._softmax_term if self._logits.exclusive else self._sigmoid_term
        beta = np.maximum(theta, 0)
        (sums,) = sum_over_blocks(self._logits, kernel(beta), size=3 * self.n_parts)
        logs, first, second = sums
        expected = self.expected
        gradient = (expected - first)[:, np.newaxis]
        self._latest = theta.copy(), second[:, np.newaxis, np.newaxis]
        return logs + beta[:, 0] * expected + ((theta - beta) * gradient)[:, 0], gradient

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

    def _softmax_term(self, theta: Array) -> Callable[[slice, LogitBlock], Any]:
        beta, weights = theta[0, 0], self._logits.weights

        def term(rows: slice, block: LogitBlock) -> Any:
            z, spare, infinite = block
            terms = softmax_terms(z, spare, beta, infinite)
            if weights is None:
                return (np.array([[array.sum()] for array in terms]),)
            return (np.array([[weights[rows] @ array] for array in terms]),)

        return term

    def _sigmoid_term(self, theta: Array) -> Callable[[slice, LogitBlock], Any]:
        weights = self._logits.weights

        def term(rows: slice, block: LogitBlock) -> Any:
            z, spare, infinite = block
            entries = entry_weights(self._logits.targets(rows))
            if entries is not None:
                # Entries that aren't known may hold anything.
                z[entries == 0] = 0
            if self._parts.size < len(z):
                z, spare = z[self._parts], spare[: self._parts.size]
                entries, infinite = (None if array is None else array[self._parts] for array in (entries, infinite))
            np.abs(z, out=z)
            terms = sigmoid_terms(z, spare, theta, infinite)
            return (np.array([_weighted_sums(array, entries, weights, rows) for array in terms]),)

        return term


def _weighted_sums(terms: Array, entries: Array | None, weights: Array | None, rows: slice) -> Array:
    """Sums (L,) of terms (L, b), weighted by entry and by row."""
    if entries is not None:
        terms = terms * entries
    return np.asarray(terms.sum(axis=1) if weights is None else terms @ weights[rows])
