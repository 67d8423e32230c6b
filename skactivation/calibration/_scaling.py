"""The best scaling of given logits: whether there is one, in closed form, then the project's solver."""

import warnings
from dataclasses import dataclass
from enum import Enum

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skactivation._data.labels import abridged
from skactivation._optimize.certificate import self_concordance_gaps
from skactivation._optimize.preconditioner import Kind, Plan
from skactivation._optimize.solver import minimize
from skactivation._typing import Array
from skactivation.calibration._affine_objective import AffineObjective
from skactivation.calibration._logits import Logits, Summary
from skactivation.calibration._temperature import TemperatureObjective

__all__ = ["Limit", "Scaling", "fit_scaling", "losses_at", "warn_of"]


_EPS = float(np.finfo(np.float64).eps)
# Rows on which a start is found, where there are many, and the logits in them at most.
_SAMPLE, _SAMPLE_SIZE = 4096, 2**19
# L-BFGS in the coordinates of one second derivative, to a gap below what sampling leaves; few rows are enough to tell.
_FROM_AFAR = Plan(Kind.WHOLE, False, newton=False, shortest=16, longest=32, n_metrics=2, n_evaluations=30)
_SAMPLE_TOL, _MAX_ITER_ON_SAMPLE = 1e-5, 32
# Newton's method for slopes and biases, and L-BFGS where that doesn't get on.
_WITH_BIASES = Plan(Kind.WHOLE, False, newton=True, shortest=8, longest=16, n_metrics=4, n_evaluations=8, useful=0.0)
_TOL, _MAX_ITER = 1e-12, 1000
# Steps by log beta at most; where numbers under- or overflow, so that there is no telling. The last step needs no other
# value where it is this small: its square is what is left.
_LONGEST, _LEAP, _LAST_STEP, _MOST_STEPS = 3.0, 30.0, 3e-7, 200
_FURTHEST = 1500.0
# What is known at a temperature of 1 says little of others beyond these inverse temperatures.
_NEAR_ONE = 0.05, 20.0


class Limit(Enum):
    """Why a temperature is not a minimum of the cross-entropy."""

    CONSTANT = "all logits of each row are equal"
    ZERO = "the true class has the largest logit in every row"
    INFINITE = "the logits contradict the labels"


_CONSEQUENCES = {
    Limit.CONSTANT: "they say nothing, and the temperature is left at 1",
    Limit.ZERO: "the lower the temperature, the lower the loss. It is set where the least sure row leaves others a "
    "probability of about machine epsilon; more rows, on which the classifier errs, would tell more",
    Limit.INFINITE: "the higher the temperature, the lower the loss, and it is set to infinity, where all classes are "
    "equally probable. Has the model learned anything, and do its columns and the labels belong together?",
}


@dataclass(frozen=True)
class Scaling:
    """Calibrated logits are slope * z + bias, for each of P parts or each column."""

    slopes: Array
    """(P,) for a temperature, else (K,) for a bias, too."""
    biases: Array | None
    """(K,), or None for none."""
    temperatures: Array
    """1 / slopes, without the detour where they are at a limit."""
    limits: list[Limit | None]
    """For each part."""
    before: Array
    """Mean cross-entropy (P,) at a temperature of 1 without a bias."""
    after: Array
    gaps: Array
    """Bounds (P,) on (F - F*) / F; 0 at a limit."""
    n_passes: int
    """How often all logits were read."""

    @property
    def at_limit(self) -> Array:
        """Whether a temperature (P,) is at a limit."""
        return np.array([limit is not None for limit in self.limits])

    @property
    def unproved(self) -> Array:
        """Parts (P,) whose minimum isn't proved, within what floating point allows."""
        return self.gaps > 1e-8


def fit_scaling(logits: Logits, *, biased: bool = False, shared: bool = True) -> Scaling:
    """The best temperature; or the best slopes, one or one a column, and biases.

    For holders of `single_threaded_blas`.
    """
    summary = logits.summary()
    limits = _limits(summary)
    free = np.array([limit is None for limit in limits])
    unit, n_parts = logits.unit, free.size
    temperatures, values, gaps = np.ones(n_parts), np.zeros(n_parts), np.zeros(n_parts)
    with np.errstate(all="ignore"):
        # In units in which logits are near 1, beta is 1 / unit at a temperature of 1.
        before = summary.logs + summary.expected / unit
    beta = np.full(n_parts, 1 / unit)
    objective = TemperatureObjective(logits, summary)
    if free.any():
        start = _start(logits, summary, free)
        beta[free], values[free], gaps[free] = _best_temperatures(objective.select(free), start)
    if Limit.ZERO in limits:
        zero = np.array([limit is Limit.ZERO for limit in limits])
        # Where the least sure row has a probability of about machine epsilon left for others.
        beta[zero] = -np.log(_EPS) / logits.smallest_margins()[zero]
        values[zero] = objective.select(zero).value_and_gradient(beta[zero, np.newaxis])[0]
    constant, infinite = (np.array([limit is kind for limit in limits]) for kind in (Limit.CONSTANT, Limit.INFINITE))
    values[constant] = before[constant]
    if infinite.any():
        beta[infinite], values[infinite] = 0.0, _value_at_infinity(logits)[infinite]
    with np.errstate(all="ignore"):
        temperatures = 1 / (beta * unit)
    slopes, biases = beta * unit, None
    if biased:
        # A bias may have an optimum where a temperature has none.
        slopes, biases, values, gaps = _with_biases(logits, beta, infinite, shared=shared)
        limits = [None] * n_parts
        with np.errstate(all="ignore"):
            temperatures = 1 / slopes
    return Scaling(
        slopes=slopes,
        biases=biases,
        temperatures=temperatures,
        limits=limits,
        before=before / summary.total,
        after=values / summary.total,
        gaps=gaps,
        n_passes=logits.n_passes,
    )


def losses_at(logits: Logits, temperatures: Array) -> Array:
    """Mean cross-entropies (G, P) at some temperatures (G,).

    For holders of `single_threaded_blas`.
    """
    summary = logits.summary()
    objective = TemperatureObjective(logits, summary)
    betas = 1 / (temperatures * logits.unit)
    values = [objective.value_and_gradient(np.full((logits.n_parts, 1), beta))[0] for beta in betas]
    return np.asarray(values / summary.total)


def _limits(summary: Summary) -> list[Limit | None]:
    """For each part why there is no finite minimum above 0, or None where there is one."""
    limits: list[Limit | None] = []
    for expected, null, widest, worst in zip(
        summary.expected, summary.null, summary.widest, summary.worst, strict=True
    ):
        if widest == 0:
            limits.append(Limit.CONSTANT)
        elif worst == 0:
            limits.append(Limit.ZERO)
        else:
            limits.append(Limit.INFINITE if expected >= null * (1 - 4 * _EPS) else None)
    return limits


def _start(logits: Logits, summary: Summary, free: Array) -> Array:
    """Inverse temperatures (., 1) to start from, for the parts that have a minimum: those of a sample of the rows."""
    start = _guesses(summary, logits.unit)[free, np.newaxis]
    n_rows = logits.values.shape[0]
    size = min(_SAMPLE, _SAMPLE_SIZE // logits.values.shape[1])
    if len(logits.slices) == 1 or n_rows < 4 * size or size == 0:
        # A sample would cost as much as it saves.
        return start
    sample = logits.sample(np.sort(np.random.default_rng(0).integers(0, n_rows, size)))
    part = sample.summary()
    known = free & np.array([limit is None for limit in _limits(part)])
    if not known.any():
        return start
    objective = TemperatureObjective(sample, part).select(known)
    starts = [start[known[free]]]
    solution = minimize(objective, starts, _FROM_AFAR, tol=_SAMPLE_TOL, max_iter=_MAX_ITER_ON_SAMPLE, certified=False)
    good = np.isfinite(solution.theta) & (solution.theta > 0)
    start[known[free]] = np.where(good, solution.theta * (sample.unit / logits.unit), starts[0])
    return start


def _best_temperatures(objective: TemperatureObjective, start: Array) -> tuple[Array, Array, Array]:
    """Inverse temperatures where the derivatives are 0, values and proved gaps, all (P,).

    Newton's method for log E_p[D] = log <t, D> in log beta, which is nearly linear for any tails, between points where
    the derivative is known to be negative and positive: it can't fail to arrive. The last step is one in beta.
    """
    place, low, high = np.log(start), np.full(start.shape, -np.inf), np.full(start.shape, np.inf)
    for _ in range(_MOST_STEPS):
        beta = np.exp(place)
        values, gradient = objective.value_and_gradient(beta)
        curvature = objective.hessian(beta)[:, :, 0]
        expected = objective.expected[:, np.newaxis]
        mean = expected - gradient
        step = np.log(mean / expected) * mean / (beta * curvature)
        step = np.where(np.isfinite(step), np.clip(step, -_LONGEST, _LONGEST), -_LEAP * np.sign(gradient))
        low, high = np.where(gradient <= 0, place, low), np.where(gradient >= 0, place, high)
        if np.all((np.abs(step) <= _LAST_STEP) | (high - low <= _EPS * np.abs(place))):
            break
        inside = (place + step > low) & (place + step < high)
        middle = 0.5 * (low + high)
        # Where there is no middle yet, the step was too small to go anywhere.
        place = np.where(inside, place + step, np.where(np.isfinite(middle), middle, place))
    step = gradient / curvature
    step[~(np.abs(step) <= 2 * _LAST_STEP * beta)] = 0
    gaps = _gaps(objective, beta, values, gradient, curvature)
    return (beta - step)[:, 0], values - 0.5 * (gradient * step)[:, 0], gaps


def _gaps(objective: TemperatureObjective, beta: Array, values: Array, gradient: Array, curvature: Array) -> Array:
    """Bounds (P,) on (F - F*) / F at a point, by self-concordance."""
    # Logits further off than this have a probability of 0 in floating point, wherever the minimum is.
    widest = np.minimum(objective.widest, _FURTHEST / beta[:, 0])
    spreads = widest / np.sqrt(curvature[:, 0])
    bounds = self_concordance_gaps(spreads, np.abs(gradient[:, 0]) / np.sqrt(curvature[:, 0]))
    return np.asarray(bounds / values + objective.rounding_of_value(gradient))


def _guesses(summary: Summary, unit: float) -> Array:
    """Inverse temperatures (P,) near the best, if a temperature of 1 isn't too far from it.

    E_p[D], which falls with beta, is taken to be N (1 + c beta)^-q, with its value at 0, and value and slope at a
    temperature of 1; the best beta makes it the mean of <t, D>.
    """
    means = summary.null / summary.total
    falls = np.log(summary.null / summary.expected)
    guesses = np.maximum(1, falls) / means
    # Logits that stand for a probability of 0 may be far from all others.
    of_targets = summary.total / summary.expected
    guesses = np.where(np.isfinite(guesses) & (guesses > 1e-9 * of_targets), guesses, of_targets)
    for part, (fall, null, first, second) in enumerate(
        zip(falls, summary.null, summary.first, summary.second / unit, strict=True)
    ):
        if not (0 < first < null and second > 0):
            continue
        fall_at_one = np.log(null / first)
        # (1 + c) log(1 + c) / c is what value and slope say it is, for beta in units of a temperature of 1.
        wanted = fall_at_one * first / second
        guess, c = fall / fall_at_one, 2 * (wanted - 1)
        if 0.01 < c < 100:
            for _ in range(8):
                log = np.log1p(c)
                c -= ((1 + c) * log / c - wanted) * c**2 / (c - log)
            guess = np.expm1(guess * np.log1p(c)) / c
        if _NEAR_ONE[0] < guess < _NEAR_ONE[1]:
            guesses[part] = guess / unit
    return guesses


def _value_at_infinity(logits: Logits) -> Array:
    """Sums of cross-entropies (P,) at an infinite temperature: all finite logits are equally probable."""
    objective = TemperatureObjective(logits, Summary(*np.zeros((8, logits.n_parts))))
    return objective.value_and_gradient(np.zeros((logits.n_parts, 1)))[0]


def _with_biases(logits: Logits, beta: Array, infinite: Array, *, shared: bool) -> tuple[Array, Array, Array, Array]:
    """Slopes, biases (K,), values and gaps (P,), from the best temperatures on."""
    objective = AffineObjective(logits, shared=shared)
    theta = objective.start(np.where(infinite, 1 / logits.unit, beta))
    solution = minimize(
        objective,
        [theta, objective.start(np.zeros(beta.size))],
        _WITH_BIASES,
        tol=_TOL,
        max_iter=_MAX_ITER,
        separated_below=np.log(2) * _lightest(logits),
    )
    slopes, biases = objective.slopes_and_biases(solution.theta)
    return slopes * logits.unit, biases, solution.values, solution.gaps


def _lightest(logits: Logits) -> float:
    """The least positive weight of a row."""
    weights = logits.weights
    return 1.0 if weights is None else float(weights[weights > 0].min())


def warn_of(scaling: Scaling, *, several: bool, stacklevel: int) -> None:
    """Warn of temperatures that are no minimum, and of optima that weren't proved."""
    for limit, consequence in _CONSEQUENCES.items():
        parts = [part for part, found in enumerate(scaling.limits) if found is limit]
        if parts:
            of_labels = f"in the columns {abridged(parts)} " if several else ""
            warnings.warn(f"{of_labels}{limit.value}: {consequence}", UserWarning, stacklevel=stacklevel)
    if scaling.biases is None and scaling.unproved.any():
        warnings.warn(
            f"the temperature may not be the best: proved is an optimality gap of {scaling.gaps.max():.2g}. Logits or "
            "weights of very different sizes may be the cause",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )
    elif scaling.unproved.any():
        warnings.warn(
            "the optimum of the scaling could not be proved: there may be none, since slopes and biases tell some "
            "classes apart without a mistake; they are some point on the way to infinity, then. scaling='temperature' "
            f"needs less. (Proved optimality_gap_ {scaling.gaps.max():.2g})",
            ConvergenceWarning,
            stacklevel=stacklevel,
        )
    if scaling.biases is not None and np.any(scaling.slopes < 0):
        warnings.warn(
            "some slopes are negative: larger logits then mean smaller probabilities. Has the model learned anything?",
            UserWarning,
            stacklevel=stacklevel,
        )
