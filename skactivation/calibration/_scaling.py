"""Fit a scaling to given logits: a temperature, or slopes and biases; warnings about it."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skactivation._messages import abridged
from skactivation._optimize.solver import minimize
from skactivation._optimize.strategy import NEWTON
from skactivation._threads import single_threaded_blas
from skactivation._typing import Array
from skactivation.calibration._affine_objective import AffineObjective
from skactivation.calibration._logits import LogitRows, prepare
from skactivation.calibration._temperature import Limit, Temperatures, best_temperatures

Messages = list[tuple[str, type[Warning]]]
"""Warnings that the public function or method emits: messages and categories."""
ScalingKind = Literal["temperature", "bias_corrected", "vector"]
SCALINGS: tuple[ScalingKind, ...] = get_args(ScalingKind)

# Slopes and biases are few, so each Newton step uses a new Hessian. L-BFGS follows if Newton's method stalls.
_STRATEGY = replace(NEWTON, shortest=8, longest=16, n_evaluations=8, useful=0.0)
_TOL, _MAX_ITER = 1e-12, 1000
# Gaps above this lead to a warning; floating point allows much smaller ones.
_LARGE_GAP = 1e-8

_CONSEQUENCES = {
    Limit.CONSTANT: "they carry no information, so the temperature stays 1",
    Limit.ZERO: "the lower the temperature, the lower the loss, without a minimum. The temperature is set so that the "
    "other classes of the least certain row have a probability of about machine epsilon. Use more rows, including some "
    "that the classifier gets wrong",
    Limit.INFINITE: "the higher the temperature, the lower the loss. The temperature is set to infinity: all classes "
    "are equally probable. Check that the columns of logits are in the order of the classes, and that the model is "
    "trained",
}


@dataclass(frozen=True)
class Scaling:
    """Fitted scaling: calibrated logits are slope * z + bias, for each of P problems or each column."""

    slopes: Array
    """(P,) without biases, (K,) with biases."""
    biases: Array | None
    """(K,), or None for a temperature alone."""
    temperatures: Array
    """1 / slopes."""
    limits: list[Limit | None]
    """Why a problem has no finite best temperature; None if it has one."""
    before: Array
    """Mean cross-entropy (P,) at a temperature of 1 without a bias."""
    after: Array
    gaps: Array
    """Certified bounds (P,) on (F - F*) / F; 0 at a limit."""
    n_passes: int
    """How often all logits were read."""

    @property
    def at_limit(self) -> Array:
        """Whether a temperature (P,) is at a limit."""
        return np.array([limit is not None for limit in self.limits])


def fit_scaling(rows: LogitRows, kind: ScalingKind = "temperature") -> Scaling:
    """Fit temperatures, or biases with one slope ("bias_corrected") or a slope for each column ("vector")."""
    with single_threaded_blas, np.errstate(all="ignore"):
        rows, summary = prepare(rows)
        best = best_temperatures(rows, summary)
        slopes, biases, values, gaps, limits = best.beta * rows.unit, None, best.after, best.gaps, best.limits
        temperatures = 1 / best.beta / rows.unit
        if kind != "temperature":
            # With biases there may be an optimum even if a temperature alone has none.
            slopes, biases, values, gaps = _with_biases(rows, best, shared=kind == "bias_corrected")
            limits = [None] * len(limits)
            temperatures = 1 / slopes
        return Scaling(
            slopes=slopes,
            biases=biases,
            temperatures=temperatures,
            limits=limits,
            before=best.before / summary.total,
            after=values / summary.total,
            gaps=gaps,
            n_passes=rows.n_passes,
        )


def _with_biases(rows: LogitRows, best: Temperatures, *, shared: bool) -> tuple[Array, Array, Array, Array]:
    """Slopes and biases (K,), values and gaps (P,), starting from the best temperatures."""
    objective = AffineObjective(rows, shared=shared)
    theta = objective.start(np.where(best.at(Limit.INFINITE), 1 / rows.unit, best.beta))
    solution = minimize(
        objective,
        [theta, objective.start(np.zeros(best.beta.size))],
        _STRATEGY,
        tol=_TOL,
        max_iter=_MAX_ITER,
        separated_below=np.log(2) * rows.least_weight,
    )
    slopes, biases = objective.slopes_and_biases(solution.theta)
    return slopes * rows.unit, biases, solution.values, solution.gaps


def warnings_about(scaling: Scaling, *, multilabel: bool) -> Messages:
    """Warnings to emit: temperatures at a limit, optima that are not certified, negative slopes."""
    found: Messages = []
    for limit, consequence in _CONSEQUENCES.items():
        problems = [problem for problem, there in enumerate(scaling.limits) if there is limit]
        if problems:
            of_labels = f"in the columns {abridged(problems)} " if multilabel else ""
            found.append((f"{of_labels}{limit.value}: {consequence}", UserWarning))
    gap = scaling.gaps.max()
    if not gap <= _LARGE_GAP and scaling.biases is None:
        message = (
            f"the temperature may not be the best: the certified optimality gap is {gap:.2g}. Check for logits or "
            "weights of very different sizes"
        )
        found.append((message, ConvergenceWarning))
    elif not gap <= _LARGE_GAP:
        message = (
            f"the optimum of the scaling could not be certified (optimality_gap_ is {gap:.2g}). If slopes and "
            "biases can separate some classes without an error, there is no optimum: they grow without bound, and are "
            "those of the last iteration. Use more rows or scaling='temperature'"
        )
        found.append((message, ConvergenceWarning))
    if scaling.biases is not None and np.any(scaling.slopes < 0):
        message = "some slopes are negative: larger logits get smaller probabilities. Check that the model is trained"
        found.append((message, UserWarning))
    return found
