"""The best scaling of given logits: a temperature, or slopes and biases; what to warn of."""

from dataclasses import dataclass, replace
from typing import Literal

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

ScalingKind = Literal["temperature", "bias_corrected", "vector"]
SCALINGS: tuple[ScalingKind, ...] = ("temperature", "bias_corrected", "vector")

# Slopes and biases are few: each Newton step takes a new Hessian. L-BFGS follows where Newton's method does not get on.
_STRATEGY = replace(NEWTON, shortest=8, longest=16, n_evaluations=8, useful=0.0)
_TOL, _MAX_ITER = 1e-12, 1000
# A gap above this is worth a warning: floating point allows much smaller ones.
_LARGE_GAP = 1e-8

_CONSEQUENCES = {
    Limit.CONSTANT: "they carry no information, and the temperature stays at 1",
    Limit.ZERO: "the lower the temperature, the lower the loss. It is set where the least certain row leaves others a "
    "probability of about machine epsilon; more rows, some of which the classifier gets wrong, would help",
    Limit.INFINITE: "the higher the temperature, the lower the loss. It is set to infinity, where all classes are "
    "equally probable. Did the model learn anything, and do its columns belong to these labels?",
}


@dataclass(frozen=True)
class Scaling:
    """Calibrated logits are slope * z + bias, for each of P problems or each column."""

    slopes: Array
    """(P,) for a temperature, else (K,) for a bias, too."""
    biases: Array | None
    """(K,), or None for none."""
    temperatures: Array
    """1 / slopes, computed so that limits stay exact."""
    limits: list[Limit | None]
    """Why a temperature is no minimum, for each problem; None where it is one."""
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


def fit_scaling(rows: LogitRows, kind: ScalingKind = "temperature") -> Scaling:
    """The best temperatures; or the best slopes, one for all columns or one for each, with biases."""
    with single_threaded_blas, np.errstate(all="ignore"):
        rows, summary = prepare(rows)
        best = best_temperatures(rows, summary)
        slopes, biases, values, gaps, limits = best.beta * rows.unit, None, best.after, best.gaps, best.limits
        temperatures = 1 / slopes
        if kind != "temperature":
            # Biases may have an optimum where a temperature has none.
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
    weights = rows.weights
    least_weight = 1.0 if weights is None else float(weights[weights > 0].min())
    theta = objective.start(np.where(best.at(Limit.INFINITE), 1 / rows.unit, best.beta))
    solution = minimize(
        objective,
        [theta, objective.start(np.zeros(best.beta.size))],
        _STRATEGY,
        tol=_TOL,
        max_iter=_MAX_ITER,
        separated_below=np.log(2) * least_weight,
    )
    slopes, biases = objective.slopes_and_biases(solution.theta)
    return slopes * rows.unit, biases, solution.values, solution.gaps


def warnings_about(scaling: Scaling, *, multilabel: bool) -> list[tuple[str, type[Warning]]]:
    """Messages and categories: temperatures that are no minimum, optima that are not certified, negative slopes."""
    found: list[tuple[str, type[Warning]]] = []
    for limit, consequence in _CONSEQUENCES.items():
        problems = [problem for problem, there in enumerate(scaling.limits) if there is limit]
        if problems:
            of_labels = f"in the columns {abridged(problems)} " if multilabel else ""
            found.append((f"{of_labels}{limit.value}: {consequence}", UserWarning))
    gap = scaling.gaps.max()
    if not gap <= _LARGE_GAP and scaling.biases is None:
        message = (
            f"the temperature may not be the best: the certified optimality gap is {gap:.2g}. Logits or weights of "
            "very different sizes may be the cause"
        )
        found.append((message, ConvergenceWarning))
    elif not gap <= _LARGE_GAP:
        message = (
            "the optimum of the scaling could not be certified: slopes and biases may separate some classes without a "
            "mistake. Then there is no optimum, and they are some point on the way to infinity. "
            f"scaling='temperature' needs less. (Certified optimality_gap_ {gap:.2g})"
        )
        found.append((message, ConvergenceWarning))
    if scaling.biases is not None and np.any(scaling.slopes < 0):
        message = "some slopes are negative: larger logits mean smaller probabilities. Did the model learn anything?"
        found.append((message, UserWarning))
    return found
