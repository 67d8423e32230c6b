"""Judge certificates in extended precision: random problems of extreme sizes, each minimised further with mpmath.

The objective is recomputed from the stored coefficients in the units of X. Damped Newton steps from there give a lower
value, and so a gap that the certificate must not be below. Run more problems than the tests do with

    python tests/truth.py linear 0 1000
    python tests/truth.py temperature 0 1000
"""

import sys
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpmath import exp, log, matrix, mp, mpf
from scipy import sparse

from skactivation import SigmoidMultiLabel, SoftmaxRegression, fit_temperature

# Weights of 1e300 and columns of 1e-300 meet in one sum.
DIGITS = 700
MOST_STEPS = 60
# What rounding adds to a gap: the objective is a float.
ROUNDING = 1e-13


@dataclass
class Verdict:
    """What became of a problem."""

    kind: str
    """"certified", "warned", "refused", "limit" or "dependent"."""
    faults: list[str]
    """What is wrong: empty if all is well."""


class Objective:
    """A cross-entropy of K logits with a penalty, for coefficients theta (K, d + 1) of scaled columns."""

    def __init__(self, X, targets, weights, C, fit_intercept):
        exponents = np.where(np.abs(X).max(axis=0) > 0, np.frexp(np.abs(X).max(axis=0))[1], 0)
        self.scales = [mpf(2) ** int(exponent) for exponent in exponents]
        self.rows = [
            [number(x) / scale for x, scale in zip(row, self.scales, strict=True)] + [mpf(1)] * fit_intercept
            for row in X
        ]
        self.targets, self.weights = targets, [number(weight) for weight in weights]
        self.penalty = [0 if np.isinf(C) else 1 / (number(C) * scale**2) for scale in self.scales] + [
            mpf(0)
        ] * fit_intercept

    def theta(self, coef, intercept):
        """Coefficients (K, d + 1) from those in the units of X."""
        scaled = [[number(c) * scale for c, scale in zip(row, self.scales, strict=True)] for row in coef]
        return [row + [number(b)] * (len(self.penalty) - len(row)) for row, b in zip(scaled, intercept, strict=True)]

    def value(self, theta):
        total = sum(p * t**2 / 2 for row in theta for p, t in zip(self.penalty, row, strict=True))
        for x, target, weight in zip(self.rows, self.targets, self.weights, strict=True):
            if weight:
                total += weight * self._loss([dot(row, x) for row in theta], target)
        return total

    def gradient_and_hessian(self, theta):
        n_logits, n_columns = len(theta), len(self.penalty)
        size = n_logits * n_columns
        gradient, hessian = [mpf(0)] * size, matrix(size, size)
        for k, row in enumerate(theta):
            for j, p in enumerate(self.penalty):
                gradient[k * n_columns + j] += p * row[j]
                hessian[k * n_columns + j, k * n_columns + j] += p
        for x, target, weight in zip(self.rows, self.targets, self.weights, strict=True):
            if not weight:
                continue
            residuals, curvatures = self._derivatives([dot(row, x) for row in theta], target)
            for k in range(n_logits):
                for j in range(n_columns):
                    gradient[k * n_columns + j] += weight * residuals[k] * x[j]
                    for other in range(n_logits):
                        factor = weight * curvatures[k][other] * x[j]
                        for column in range(n_columns):
                            hessian[k * n_columns + j, other * n_columns + column] += factor * x[column]
        return gradient, hessian

    def lowest_value(self, theta):
        """The value after damped Newton steps, with a ridge where the Hessian is singular."""
        value, ridge = self.value(theta), mpf(10) ** -80
        n_columns = len(self.penalty)
        for _ in range(MOST_STEPS):
            gradient, hessian = self.gradient_and_hessian(theta)
            for place in range(len(gradient)):
                hessian[place, place] *= 1 + ridge
                hessian[place, place] += hessian[place, place] == 0
            try:
                step = mp.lu_solve(hessian, matrix(gradient))
            except ZeroDivisionError:
                ridge *= mpf(10) ** 20
                continue
            decrement = sum(g * s for g, s in zip(gradient, step, strict=True)) / 2
            length = mpf(1)
            while length > mpf(10) ** -12:
                trial = [
                    [t - length * step[k * n_columns + j] for j, t in enumerate(row)] for k, row in enumerate(theta)
                ]
                lower = self.value(trial)
                if lower < value:
                    break
                length /= 4
            else:
                return value
            theta, value = trial, lower
            if decrement < mpf(10) ** -40 * value:
                return value
        return value


class Softmax(Objective):
    """Targets are distributions (K,)."""

    def _loss(self, z, target):
        top = max(z)
        return log(sum(exp(each - top) for each in z)) + sum(
            t * (top - each) for t, each in zip(target, z, strict=True)
        )

    def _derivatives(self, z, target):
        top = max(z)
        exponentials = [exp(each - top) for each in z]
        total = sum(exponentials)
        p = [each / total for each in exponentials]
        curvatures = [[p[k] * ((k == other) - p[other]) for other in range(len(p))] for k in range(len(p))]
        return [each - t for each, t in zip(p, target, strict=True)], curvatures


class Sigmoid(Objective):
    """Targets are weights of yes and of no."""

    def _loss(self, z, target):
        (z,), (yes, no) = z, target
        positive, small = max(z, 0), log(1 + exp(-abs(z)))
        return yes * (positive - z + small) + no * (positive + small)

    def _derivatives(self, z, target):
        (z,), (yes, no) = z, target
        p = 1 / (1 + exp(-z)) if z > 0 else exp(z) / (1 + exp(z))
        return [no * p - yes * (1 - p)], [[(yes + no) * p * (1 - p)]]


def number(value):
    return mpf(float(value))


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def linear_problem(seed: int) -> tuple[Any, Any, Any, Any]:
    """An estimator, X, y and weights."""
    rng = np.random.default_rng(seed)
    n_rows, n_features = int(rng.integers(4, 9)), int(rng.integers(1, 4))
    X = rng.normal(size=(n_rows, n_features))
    if rng.random() < 0.5:
        X *= 10.0 ** rng.choice([0, 0, -3, 3, 150, -150, 300, -300, -305, -8, 8], size=n_features)
    if rng.random() < 0.3:
        X += np.abs(X).max(axis=0) * 10.0 ** rng.choice([0, 4, 8, 15], size=n_features)
    if rng.random() < 0.2:
        X[:, -1] = X[:, 0]
    if rng.random() < 0.2:
        with np.errstate(all="ignore"):
            single = X.astype(np.float32)
        X = single if np.isfinite(single).all() else X
    C = float(rng.choice([1.0, 1.0, 1e-3, 1e3, 1e-6, 1e9, 1e-300, 1e300, np.inf]))
    weights = None
    if rng.random() < 0.5:
        weights = 10.0 ** rng.choice([0, 0, -3, 3, -10, 10, -300, 300][: rng.integers(2, 9)], size=n_rows)
    options = {"C": C, "fit_intercept": bool(rng.random() < 0.8)}
    if rng.random() < 0.2:
        options["label_smoothing"] = 0.1
    n_classes = int(rng.integers(2, 4))
    if rng.random() < 0.3:
        y = (rng.random((n_rows, 2)) < 0.5).astype(float)
        if rng.random() < 0.5:
            y = rng.random((n_rows, 2))
        y[rng.random(y.shape) < 0.2] = np.nan
        model = SigmoidMultiLabel(**options)
    elif rng.random() < 0.3:
        y = rng.dirichlet(np.full(n_classes, 10.0 ** rng.integers(-3, 2)), size=n_rows)
        model = SoftmaxRegression(**options)
    else:
        y = rng.permutation(np.arange(n_rows) % n_classes)
        model = SoftmaxRegression(**options)
    return model, sparse.csr_array(X) if rng.random() < 0.3 else X, y, weights


def objectives_of(model, X, y, weights):
    """The objective of each problem, with the coefficients that belong to it."""
    X = X.toarray() if sparse.issparse(X) else X
    weights = np.ones(len(X)) if weights is None else weights
    smoothing = number(model.label_smoothing)
    shared = (weights, model.C, model.fit_intercept)
    if isinstance(model, SigmoidMultiLabel):
        problems = []
        for label, column in enumerate(y.T):
            if model.label_optimality_gaps_[label] == 0:
                continue  # a constant label, which is not fitted
            targets = [
                (mpf(0), mpf(0)) if np.isnan(t) else smoothed([number(t), 1 - number(t)], smoothing) for t in column
            ]
            problems.append((Sigmoid(X, targets, *shared), [model.coef_[label]], [model.intercept_[label]], label))
        return problems
    if y.ndim == 1:
        targets = [[mpf(int(label == each)) for each in model.classes_] for label in y]
    else:
        targets = [[number(t) / sum(map(number, row)) for t in row] for row in y]
    targets = [smoothed(target, smoothing) for target in targets]
    if len(model.classes_) == 2:
        yes_and_no = [(second, first) for first, second in targets]
        return [(Sigmoid(X, yes_and_no, *shared), model.coef_, model.intercept_, None)]
    return [(Softmax(X, targets, *shared), model.coef_, model.intercept_, None)]


def is_dependent(X, fit_intercept):
    """Whether columns depend on each other up to rounding: without a penalty they then count as dependent."""
    X = X.toarray() if sparse.issparse(X) else X.astype(float)
    if fit_intercept:
        X = X - X.mean(axis=0)
    size = np.abs(X).max(axis=0)
    scaled = X / np.where(size > 0, size, 1)
    singular = np.linalg.svd(scaled, compute_uv=False)
    return len(X) < X.shape[1] or bool(singular[-1] < 1e-12 * singular[0])


def smoothed(target, smoothing):
    return [(1 - smoothing) * t + smoothing / len(target) for t in target]


@mp.workdps(DIGITS)
def judge_linear(seed: int) -> Verdict:
    """Fit a problem and compare its certificate with the truth."""
    model, X, y, weights = linear_problem(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(X, y, sample_weight=weights)
        except ValueError as error:
            return Verdict("refused", [] if len(str(error)) > 20 else [repr(error)])
    messages = " ".join(str(warning.message) for warning in caught)
    faults: list[str] = []
    if np.isinf(model.C) and is_dependent(X, model.fit_intercept):
        return Verdict("dependent", faults)
    if not (np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()):
        return Verdict("warned", ["coefficients are not finite"])
    total = mpf(0)
    for objective, coef, intercept, label in objectives_of(model, X, y, weights):
        theta = objective.theta(coef, intercept)
        value = objective.value(theta)
        total += value
        gap = float((value - objective.lowest_value(theta)) / value) if value else 0.0
        claimed = model.optimality_gap_ if label is None else model.label_optimality_gaps_[label]
        if not gap <= claimed * (1 + 1e-6) + ROUNDING * np.isfinite(claimed):
            faults.append(f"gap {gap:.3g}, claimed {claimed:.3g}")
        if model.converged_ and not gap <= model.tol:
            faults.append(f"converged, but the gap is {gap:.3g}")
    excess = float((total - number(model.loss_)) / total) if total else 0.0
    if not abs(excess) <= max(model.optimality_gap_, 1e-12):
        faults.append(f"loss_ {model.loss_:.6g} differs by {excess:.3g}, gap {model.optimality_gap_:.3g}")
    if not model.converged_ and "optimum" not in messages and "certif" not in messages:
        faults.append("no warning")
    return Verdict("certified" if model.converged_ else "warned", faults)


def temperature_problem(seed: int) -> tuple[Any, Any, Any]:
    """Logits, codes and weights."""
    rng = np.random.default_rng(seed)
    n_rows, n_classes = int(rng.integers(2, 8)), int(rng.integers(2, 5))
    logits = rng.normal(size=(n_rows, n_classes)) * 10.0 ** rng.choice([0, 0, -20, -60, 60, -160, 160, -300, 300])
    if rng.random() < 0.3:
        with np.errstate(all="ignore"):
            logits = np.nan_to_num(
                logits * 10.0 ** rng.integers(-100, 100, size=(n_rows, 1)), posinf=1e308, neginf=-1e308
            )
    if rng.random() < 0.1:
        logits[0, rng.integers(n_classes)] = -np.finfo(float).max
    weights = np.ones(n_rows)
    if rng.random() < 0.6:
        weights = 10.0 ** rng.choice([0, -5, -160, -290, 150], size=n_rows)
    return logits, rng.integers(n_classes, size=n_rows), weights


@mp.workdps(DIGITS)
def judge_temperature(seed: int) -> Verdict:
    """Fit a temperature and compare its certificate with the truth."""
    logits, codes, weights = temperature_problem(seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fit = fit_temperature(logits, codes, classes=np.arange(logits.shape[1]), sample_weight=weights)
        except ValueError as error:
            return Verdict("refused", [] if "probability 0" in str(error) else [repr(error)])
    if fit.at_limit:
        return Verdict("limit", [] if caught and fit.temperature > 0 else ["a limit without a warning"])
    if not (0 < fit.temperature < np.inf and fit.loss_after <= fit.loss_before):
        return Verdict("warned", [str(fit)])
    rows = []
    # Weights below the smallest float times the largest weight count as 0.
    for row, code, weight in zip(logits, codes, weights / weights.max(), strict=True):
        z = [number(each) for each in row]
        rows.append((number(weight), [max(z) - each for each in z], int(code)))
    value = cross_entropy_at(1 / number(fit.temperature), rows)[0]
    low, high = mpf(-2000), mpf(2000)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if cross_entropy_at(exp(middle), rows)[1] < 0 else (low, middle)
    gap = float((value - cross_entropy_at(exp(low), rows)[0]) / value)
    error = float(abs(number(fit.loss_after) * sum(weight for weight, _, _ in rows) / value - 1))
    faults = []
    if not gap <= fit.optimality_gap:
        faults.append(f"gap {gap:.3g}, claimed {fit.optimality_gap:.3g}")
    if not caught and not (gap <= 1e-8 and error <= 1e-9):
        faults.append(f"no warning: gap {gap:.3g}, error of the loss {error:.3g}")
    return Verdict("warned" if caught else "certified", faults)


def cross_entropy_at(beta, rows):
    """The sum of the cross-entropies at an inverse temperature, and its derivative."""
    value = slope = mpf(0)
    for weight, distances, code in rows:
        exponentials = [exp(-beta * distance) for distance in distances]
        total = sum(exponentials)
        value += weight * (log(total) + beta * distances[code])
        slope += weight * (distances[code] - dot(exponentials, distances) / total)
    return value, slope


def main() -> None:
    kind, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    judge = {"linear": judge_linear, "temperature": judge_temperature}[kind]
    kinds, n_faults = Counter(), 0
    for seed in range(first, first + count):
        verdict = judge(seed)
        kinds[verdict.kind] += 1
        for fault in verdict.faults:
            n_faults += 1
            print(f"seed {seed}, {verdict.kind}: {fault}")
    print(f"{count} problems: {dict(kinds)}, {n_faults} faults")


if __name__ == "__main__":
    main()
