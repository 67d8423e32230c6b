"""Slow, obvious definitions to compare with."""

import numpy as np
from scipy.special import logsumexp


def softmax_regression_objective(coef, intercept, X, targets, weights, penalised, C):
    """F and its gradient (K, d + 1) for softmax regression; `penalised` are the coefficients of the penalty."""
    z = X @ coef.T + intercept
    log_p = z - logsumexp(z, axis=1, keepdims=True)
    value = -np.sum(weights[:, np.newaxis] * targets * log_p) + np.sum(penalised**2) / (2 * C)
    residuals = weights[:, np.newaxis] * (np.exp(log_p) - targets)
    penalty = np.zeros_like(coef)
    penalty[-len(penalised) :] = penalised / C
    return value, np.hstack([residuals.T @ X + penalty, residuals.sum(axis=0)[:, np.newaxis]])
