"""The best temperature of given logits: a closed form decides whether it exists, then Newton's method finds it."""

from enum import Enum
from typing import NamedTuple

import numpy as np

from skactivation._optimize.certificate import self_concordance_bounds
from skactivation._typing import Array
from skactivation.calibration._logits import (
    LogitBlock,
    LogitRows,
    Summary,
    entry_weights,
    prepare,
    scaled,
    sigmoid_terms,
    smallest_margins,
    softmax_terms,
)

_FLOATS = np.finfo(np.float64)
_EPS = float(_FLOATS.eps)
# The cross-entropies at two temperatures may differ by so much from rounding alone, relative to them.
_ROUNDING = 1e-12
# Sample for an initial guess: its rows, the largest number of logits in it, and how many times as many rows the data
# must have. A larger sample costs as much as the pass that it saves; a smaller one leaves more passes over all rows.
_SAMPLE, _SAMPLE_SIZE, _WORTH = 4096, 2**19, 4
# Longest step in log beta; step length if derivatives under- or overflow; number of steps.
_LONGEST, _LEAP, _MOST_STEPS = 3.0, 30.0, 200
# After a step this small no new evaluation is needed: the remaining error is about its square.
_LAST_STEP = 3e-7
# Logits further apart than this have a probability of 0 in floating point.
_FURTHEST = 1500.0
# Value and slope at T = 1 predict the best beta only within this range.
_NEAR_ONE = 0.05, 20.0


class Limit(Enum):
    """Why the cross-entropy has no minimum at a positive and finite temperature."""

    CONSTANT = "all logits of each row are equal"
    ZERO = "the true class has the largest logit in every row, or in all rows of noticeable weight"
    INFINITE = "the logits contradict the labels"


class Temperatures(NamedTuple):
    """The best temperature of each of P problems."""

    beta: Array
    """Inverse temperatures (P,) in the rows' unit."""
    limits: list[Limit | None]
    """Why a problem has no minimum; None if it has one."""
    before: Array
    """Sum of the cross-entropies (P,) at T = 1."""
    after: Array
    gaps: Array
    """Certified bounds (P,) on (F - F*) / F; 0 at a limit."""

    def at(self, limit: Limit) -> Array:
        """Mask (P,) of the problems at the given limit."""
        return np.array([found is limit for found in self.limits])


class _Loss(NamedTuple):
    """Cross-entropies of some problems as functions of beta = 1 / T."""

    rows: LogitRows
    expected: Array
    """Sum of <t, D> (p,); it equals the sum of E_p[D] at the minimum."""
    widest: Array
    """The largest D (p,) of any row."""
    problems: Array
    """Numbers (p,) of the problems."""

    @classmethod
    def of(cls, rows: LogitRows, summary: Summary, chosen: Array) -> "_Loss":
        return cls(rows, summary.expected[chosen], summary.widest[chosen], np.flatnonzero(chosen))

    def at(self, beta: Array) -> tuple[Array, Array, Array, Array]:
        """Values, sums of beta <t, D>, of E_p[u] and of Var_p[u], all (p,), at inverse temperatures (p,)."""
        term = _softmax_sums if self.rows.exclusive else _sigmoid_sums
        widest = float(self.widest.max())
        ((logs, first, second),) = self.rows.sum(term, beta, self.problems, widest, size=3 * beta.size)
        expected = beta * self.expected
        return logs + expected, expected, first, second


def best_temperatures(rows: LogitRows, summary: Summary) -> Temperatures:
    """The best temperatures, or limits; the caller holds `single_threaded_blas`."""
    limits = _limits(summary)
    result = Temperatures(
        beta=np.full(len(limits), 1 / rows.unit),
        limits=limits,
        # T = 1 is beta = 1 / unit.
        before=summary.logs + summary.expected / rows.unit,
        after=np.zeros(len(limits)),
        gaps=np.zeros(len(limits)),
    )
    free = np.array([limit is None for limit in limits])
    if free.any():
        loss = _Loss.of(rows, summary, free)
        beta, after, gaps = _within_floats(loss, *_minimise(loss, _start(rows, summary, free)))
        # Never worse than without a calibration; if that is more than rounding, the search failed.
        before = result.before[free]
        failed = ~(after <= before * (1 + _ROUNDING))
        result.beta[free] = np.where(failed, 1 / rows.unit, beta)
        result.after[free] = np.where(failed, before, np.minimum(after, before))
        result.gaps[free] = np.where(failed, np.inf, gaps)
    constant, zero, infinite = (result.at(limit) for limit in Limit)
    result.after[constant] = result.before[constant]
    if zero.any():
        # The other classes of the least certain row get a probability of about machine epsilon.
        result.beta[zero] = np.minimum(-np.log(_EPS) / smallest_margins(rows)[zero], _largest_beta(rows))
        result.after[zero] = _Loss.of(rows, summary, zero).at(result.beta[zero])[0]
    if infinite.any():
        # All finite logits are equally probable.
        result.beta[infinite] = 0.0
        result.after[infinite] = _Loss.of(rows, summary, infinite).at(np.zeros(np.count_nonzero(infinite)))[0]
    return result


def losses_at(rows: LogitRows, temperatures: Array) -> Array:
    """Mean cross-entropies (G, P) at temperatures (G,); the caller holds `single_threaded_blas`."""
    rows, summary = prepare(rows)
    loss = _Loss.of(rows, summary, np.ones(rows.n_problems, dtype=bool))
    betas = np.minimum(1 / (temperatures * rows.unit), np.finfo(np.float64).max)
    values = [loss.at(np.full(rows.n_problems, beta))[0] for beta in betas]
    return np.asarray(values / summary.total)


def _limits(summary: Summary) -> list[Limit | None]:
    """Why each problem has no positive and finite minimum, or None if it has one."""
    limits: list[Limit | None] = [None] * summary.widest.size
    contradict = summary.expected >= summary.null * (1 - 4 * _EPS)
    # If more than one limit applies, the later one in this list overwrites the earlier.
    for limit, problems in (
        (Limit.INFINITE, contradict),
        (Limit.ZERO, summary.expected < _FLOATS.tiny),
        (Limit.CONSTANT, summary.widest == 0),
    ):
        for problem in np.flatnonzero(problems):
            limits[problem] = limit
    return limits


def _start(rows: LogitRows, summary: Summary, free: Array) -> Array:
    """Initial guesses of beta (p,) for problems that have a minimum: for many rows, the best ones of a sample."""
    start = _guesses(summary, rows.unit)[free]
    size = min(_SAMPLE, _SAMPLE_SIZE // rows.n_columns)
    if rows.are_few or rows.n_rows < _WORTH * size or size == 0:
        return start
    sample, its_summary = prepare(rows.take(np.sort(np.random.default_rng(0).integers(0, rows.n_rows, size))))
    known = free & np.array([limit is None for limit in _limits(its_summary)])
    if known.any():
        found, _, _ = _minimise(_Loss.of(sample, its_summary, known), start[known[free]])
        start[known[free]] = found * (sample.unit / rows.unit)
    return start


def _minimise(loss: _Loss, start: Array) -> tuple[Array, Array, Array]:
    """Minimising inverse temperatures, values and certified gaps, all (p,).

    Newton's method solves log E_p[u] = log beta <t, D> in log beta, a nearly linear equation even for heavy tails.
    Bisection between points of negative and positive derivative guarantees convergence. The last step is taken in beta.
    """
    place, low, high = np.log(start), np.full(start.shape, -np.inf), np.full(start.shape, np.inf)
    for _ in range(_MOST_STEPS):
        beta = np.exp(place)
        values, expected, means, curvatures = loss.at(beta)
        slopes = expected - means
        step = np.log(means / expected) * means / curvatures
        step = np.where(np.isfinite(step), np.clip(step, -_LONGEST, _LONGEST), -_LEAP * np.sign(slopes))
        low, high = np.where(slopes <= 0, place, low), np.where(slopes >= 0, place, high)
        if np.all((np.abs(step) <= _LAST_STEP) | (high - low <= _EPS * np.abs(place))):
            break
        inside = (place + step > low) & (place + step < high)
        middle = 0.5 * (low + high)
        # Without a finite bracket the step is below the rounding of `place`, which then stays.
        place = np.where(inside, place + step, np.where(np.isfinite(middle), middle, place))
    # Derivatives by beta, relative to beta: the last step is a share of it.
    step = slopes / curvatures
    step[~(np.abs(step) <= 2 * _LAST_STEP)] = 0
    # Logits further apart than _FURTHEST / beta have probability 0 at any beta near the minimum.
    ranges = np.minimum(beta * loss.widest, _FURTHEST) / np.sqrt(curvatures)
    gaps = self_concordance_bounds(ranges, np.abs(slopes) / np.sqrt(curvatures)) / values + 8 * _EPS
    certain = (curvatures > 0) & (curvatures < np.inf) & np.isfinite(beta) & (values > 0)
    return beta * (1 - step), values - 0.5 * (slopes * step), np.where(certain, gaps, np.inf)


def _within_floats(loss: _Loss, beta: Array, values: Array, gaps: Array) -> tuple[Array, Array, Array]:
    """The same if the temperatures are floats with all digits; else the closest that are, without a certificate."""
    possible = np.clip(beta, np.divide(1.0, _FLOATS.max / 2 * loss.rows.unit), _largest_beta(loss.rows))
    if np.array_equal(possible, beta):
        return beta, values, gaps
    return possible, loss.at(possible)[0], np.where(possible == beta, gaps, np.inf)


def _largest_beta(rows: LogitRows) -> float:
    """The largest inverse temperature, in the rows' unit, for which the temperature is a float with all digits."""
    return float(np.minimum(np.divide(1.0, _FLOATS.tiny * rows.unit), _FLOATS.max))


def _guesses(summary: Summary, unit: float) -> Array:
    """Initial guesses of beta (P,), good if the best temperature is not far from 1.

    E_p[D] is modelled as N (1 + c beta)^-q, with its value at beta = 0 and its value and slope at T = 1. The guess is
    the beta at which the model equals the mean of <t, D>.
    """
    means = summary.null / summary.total
    falls = np.log(summary.null / summary.expected)
    guesses = np.maximum(1, falls) / means
    # Very negative logits, which stand for a probability of 0, would make the guess far too small.
    of_targets = summary.total / summary.expected
    guesses = np.where(np.isfinite(guesses) & (guesses > 1e-9 * of_targets), guesses, of_targets)
    for problem, (fall, null, first, second) in enumerate(
        zip(falls, summary.null / unit, summary.first, summary.second, strict=True)
    ):
        if not (0 < first < null and second > 0):
            continue
        fall_at_one = np.log(null / first)
        # Value and slope at T = 1 give (1 + c) log(1 + c) / c = wanted, for beta in units of 1 / T at T = 1.
        wanted = fall_at_one * first / second
        guess, c = fall / fall_at_one, 2 * (wanted - 1)
        if 0.01 < c < 100:
            for _ in range(8):
                log = np.log1p(c)
                c -= ((1 + c) * log / c - wanted) * c**2 / (c - log)
            guess = np.expm1(guess * np.log1p(c)) / c
        if _NEAR_ONE[0] < guess < _NEAR_ONE[1]:
            guesses[problem] = guess / unit
    return guesses


def _softmax_sums(block: LogitBlock, beta: Array, problems: Array, widest: float) -> tuple[Array]:
    """Sums (3, 1) of the `softmax_terms`."""
    z, weights = scaled(block.z, beta[0], widest), block.weights()
    terms = softmax_terms(z, block.spare, block.infinite, block.data.uneven)
    return (np.array([[array.sum() if weights is None else weights @ array] for array in terms]),)


def _sigmoid_sums(block: LogitBlock, beta: Array, problems: Array, widest: float) -> tuple[Array]:
    """Sums (3, p) of the `sigmoid_terms`."""
    block, targets = block.select(problems)
    entries, weights = entry_weights(targets), block.weights()
    sizes = np.abs(block.z, out=block.z)
    terms = sigmoid_terms(scaled(sizes, beta[:, np.newaxis], widest), block.spare, block.infinite)
    weighted = terms if entries is None else tuple(array * entries for array in terms)
    return (np.array([array.sum(axis=1) if weights is None else array @ weights for array in weighted]),)
