"""Slow, obvious definitions to compare with.

Activations and losses work with 450 digits: they take the same floats as the package and return mpmath numbers. With
fewer digits 1 + exp(-x) rounds to 1 long before a float result underflows, so that the reference would be wrong.
"""

import numpy as np
from mpmath import exp, ldexp, log, mp, mpf
from scipy.special import logsumexp

DIGITS = 450


def exact(function):
    """Work with enough digits inside a function."""
    return mp.workdps(DIGITS)(function)


@exact
def sigmoid(logit, temperature=1.0):
    return 1 / (1 + exp(-_quotient(logit, temperature)))


@exact
def log_sigmoid(logit, temperature=1.0):
    return -log(1 + exp(-_quotient(logit, temperature)))


@exact
def sigmoid_derivative(logit, temperature=1.0):
    p = sigmoid(logit, temperature)
    return p * (1 - p) / mpf(float(temperature))


@exact
def softmax(logits, temperature=1.0):
    exponentials = [exp(_quotient(z, temperature)) for z in logits]
    total = sum(exponentials)
    return [e / total for e in exponentials]


@exact
def log_softmax(logits, temperature=1.0):
    quotients = [_quotient(z, temperature) for z in logits]
    log_of_sum = log(sum(exp(q) for q in quotients))
    return [q - log_of_sum for q in quotients]


@exact
def softmax_cross_entropy(logits, targets):
    """Loss of one row; targets are one number for each class."""
    terms = zip(targets, log_softmax(logits), strict=True)
    return -sum(mpf(float(t)) * log_p for t, log_p in terms if t > 0)


@exact
def sigmoid_cross_entropy(logit, target, pos_weight=1.0):
    """Loss of one entry."""
    t = mpf(float(target))
    return -mpf(float(pos_weight)) * t * log_sigmoid(logit) - (1 - t) * log_sigmoid(-logit)


@exact
def ulp_error(got, exact_value, dtype):
    """Distance to the exact value in units in the last place of the exact value once rounded to the dtype."""
    info = np.finfo(dtype)
    with mp.workprec(info.nmant + 1):
        rounded = +exact_value
    # Subnormal numbers, and 0, are as far apart as the smallest normal ones.
    exponent = max(mp.mag(rounded) - 1, info.minexp) if rounded else info.minexp
    return float(abs(mpf(float(got)) - exact_value) / ldexp(1, int(exponent) - info.nmant))


@exact
def relative_error(got, exact_value):
    """Distance to the exact value, relative to it."""
    return float(abs(mpf(float(got)) - exact_value) / abs(exact_value))


def _quotient(logit, temperature):
    """The logit over the temperature."""
    return mpf(float(logit)) / mpf(float(temperature))


def softmax_regression_objective(coef, intercept, X, targets, weights, penalised, C):
    """F and its gradient (K, d + 1) for softmax regression; `penalised` are the coefficients of the penalty."""
    z = X @ coef.T + intercept
    log_p = z - logsumexp(z, axis=1, keepdims=True)
    value = -np.sum(weights[:, np.newaxis] * targets * log_p) + np.sum(penalised**2) / (2 * C)
    residuals = weights[:, np.newaxis] * (np.exp(log_p) - targets)
    penalty = np.zeros_like(coef)
    penalty[-len(penalised) :] = penalised / C
    return value, np.hstack([residuals.T @ X + penalty, residuals.sum(axis=0)[:, np.newaxis]])


def mean_cross_entropy(logits, targets, temperature):
    """Mean over rows of logsumexp(z / T) - <t, z / T>, in extended precision."""
    z = np.asarray(logits, dtype=np.longdouble) / temperature
    z = z - z.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(z).sum(axis=1)) - (targets * z).sum(axis=1)))


def best_temperature(logits, targets, weights=None):
    """The root of the derivative of the cross-entropy by 1 / T, by bisection in extended precision."""
    z = np.asarray(logits, dtype=np.longdouble)
    z = z - z.max(axis=1, keepdims=True)
    low, high = np.longdouble(-60), np.longdouble(60)

    def derivative(log_beta):
        p = np.exp(z * np.exp(log_beta))
        p /= p.sum(axis=1, keepdims=True)
        return np.average((p * z).sum(axis=1) - (targets * z).sum(axis=1), weights=weights)

    for _ in range(75):
        middle = (low + high) / 2
        low, high = (middle, high) if derivative(middle) < 0 else (low, middle)
    return float(np.exp(-low))


def bin_edges(probabilities, weights, n_bins, strategy):
    """Upper edges of bins. For equal weights, an edge is the least probability that covers its share of the rows."""
    if strategy == "uniform":
        return [float(edge) for edge in np.linspace(0, 1, n_bins + 1)[1:] + 5e-7]
    repeated = np.repeat(
        np.sort(probabilities), np.asarray(weights, dtype=int)[np.argsort(probabilities, kind="stable")]
    )
    return [float(repeated[-(-number * repeated.size // n_bins) - 1]) for number in range(1, n_bins + 1)]


def calibration_error(probabilities, outcomes, weights, n_bins, strategy, norm):
    """Expected calibration error, summed row by row, for whole weights."""
    edges = bin_edges(probabilities, weights, n_bins, strategy)
    sums = {}
    for p, outcome, weight in zip(probabilities, outcomes, weights, strict=True):
        if not weight:
            continue
        number = next(number for number, edge in enumerate(edges) if p <= edge)
        total, predicted, true = sums.get(number, (0, 0, 0))
        sums[number] = total + weight, predicted + weight * p, true + weight * outcome
    gaps = [(total / sum(weights), abs(true / total - predicted / total)) for total, predicted, true in sums.values()]
    if norm == "max":
        return max(gap for _, gap in gaps)
    power = 2 if norm == "l2" else 1
    return sum(share * gap**power for share, gap in gaps) ** (1 / power)


def isotonic(probabilities, outcomes, weights):
    """Isotonic regression by its max-min formula: the largest, over first, of the least mean, over last, of levels."""
    levels = sorted(set(probabilities))
    sums = [
        (sum(weights[probabilities == level] * outcomes[probabilities == level]), sum(weights[probabilities == level]))
        for level in levels
    ]

    def mean(first, last):
        return sum(yes for yes, _ in sums[first : last + 1]) / sum(total for _, total in sums[first : last + 1])

    values = [
        max(min(mean(first, last) for last in range(place, len(levels))) for first in range(place + 1))
        for place in range(len(levels))
    ]
    return np.array([values[levels.index(p)] for p in probabilities])
