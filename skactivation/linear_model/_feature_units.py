"""Conversion of coefficients between the solver's scaled columns and the features of X."""

from typing import Any

import numpy as np

from skactivation._data.features import FeatureRows
from skactivation._typing import Array

_LONG_EPS = float(np.finfo(np.longdouble).eps)
# The largest number that the penalty on a coefficient of the solver's columns may be. Such a coefficient is 0 to
# working precision; where it is set to exactly 0, the value and its bounds hold for the penalty in the units of X, too.
STRONGEST = 1e300
# Exponents of the scales: beyond, a power of two or its inverse would not be a float.
_LEAST_EXPONENT = -1022


class FeatureUnits:
    """The solver's D columns: the centred features of X, each divided by a power of two near its largest value.

    Numbers then stay in range for any units of X, and scaling adds no rounding. The last column is that of the
    intercept, if there is one.
    """

    def __init__(self, rows: FeatureRows) -> None:
        self._center, self._n_features = rows.columns.center, rows.n_features
        self.has_intercept = rows.fit_intercept
        largest = rows.columns.largest
        exponents = np.zeros(rows.n_columns, dtype=np.intc)
        exponents[: self._n_features] = np.maximum(
            np.frexp(np.where(largest > 0, largest, 1.0))[1] - 1, _LEAST_EXPONENT
        )
        self._exponents = exponents
        self.scale = np.ldexp(1.0, exponents)
        self.inverse_scale = np.ldexp(1.0, -exponents)
        self.block_scale = self.inverse_scale.copy()
        """Factors (D,) from theta to coefficients of the blocks' columns."""
        self.block_scale[: self._n_features] /= rows.columns.units

    def penalty(self, strengths: Array, units: Array, n_logits: int) -> Array:
        """Penalty (P, K, D) on theta, from strengths (P,) in the units of X for values in some units (P,).

        Mantissas and exponents are combined separately, so that nothing overflows or underflows on the way.
        """
        penalty = np.zeros((strengths.size, n_logits, self.scale.size))
        (mantissas, exponents), (unit_mantissas, unit_exponents) = np.frexp(strengths), np.frexp(units)
        shifts = np.subtract.outer(exponents - unit_exponents, 2 * self._exponents[: self._n_features])
        with np.errstate(all="ignore"):
            of_features = np.ldexp((mantissas / unit_mantissas)[:, np.newaxis], shifts)
        penalty[:, :, : self._n_features] = np.minimum(of_features, STRONGEST)[:, np.newaxis]
        return penalty

    def to_features(self, theta: Array, dtype: Any) -> tuple[Array, Array]:
        """Coefficients (P K, d) and intercepts (P K,) for the original X, from theta (P, K, D)."""
        coefficients = (theta * self.inverse_scale).reshape(-1, self.scale.size)
        # Without a penalty, columns with a tiny range may need larger coefficients than there are.
        largest = np.finfo(dtype).max
        coef = np.clip(coefficients[:, : self._n_features], -largest, largest).astype(dtype)
        if not self.has_intercept:
            return coef, np.zeros(len(coef), dtype=dtype)
        # The intercept absorbs the centre, computed from the coefficients as stored, so that rounding cancels.
        return coef, (coefficients[:, -1] - self._shifts(coef)).astype(dtype)

    def from_features(self, coef: Array, intercepts: Array, shape: tuple[int, int, int]) -> Array:
        """Inverse of `to_features`: theta (P, K, D)."""
        theta = np.empty((len(coef), shape[-1]))
        theta[:, : self._n_features] = coef
        if self.has_intercept:
            theta[:, -1] = intercepts + self._shifts(coef)
        return (theta * self.scale).reshape(shape)

    def rounding_of_offsets(self, coef: Array, gradient: Array, largest_curvature: Array) -> Array:
        """Bound (P,) on the change of each problem's value by rounding in `from_features`, at a gradient (P, K, D).

        The intercept's shift by the centre is a sum in extended precision, which is accurate only to its epsilon.
        """
        if not self.has_intercept:
            return np.zeros(len(gradient))
        sizes = (np.abs(coef.astype(np.float64)) * np.abs(self._center)).sum(axis=1)
        shifts = (self._n_features * _LONG_EPS * sizes).reshape(gradient.shape[:2])
        # The curvature of an intercept is at most a quarter of the total weight, that of two at most a half.
        lost = np.abs(gradient[:, :, -1]) * shifts + 0.25 * largest_curvature[:, np.newaxis] * shifts**2
        return np.asarray(lost.sum(axis=1))

    def feature_gradient(self, gradient: Array) -> Array:
        """Gradient (P, K, D) with respect to coefficients and intercepts for the original X."""
        result: Array = gradient * self.scale
        if self.has_intercept:
            result[:, :, : self._n_features] += gradient[:, :, -1:] * self._center
        return result

    def _shifts(self, coef: Array) -> Array:
        """Contribution of the centre to the logits (P K,), in extended precision as large offsets nearly cancel."""
        return np.asarray((coef.astype(np.longdouble) * self._center).sum(axis=1))
