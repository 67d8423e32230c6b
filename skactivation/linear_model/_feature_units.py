"""Units of coefficients: from those of the solver's columns to those of X's features and back."""

from typing import Any

import numpy as np

from skactivation._data.features import FeatureRows
from skactivation._typing import Array

_LONG_EPS = float(np.finfo(np.longdouble).eps)
# Beyond this strength of a penalty a coefficient is 0 to the last digit.
_STRONGEST = 1e300


class FeatureUnits:
    """The solver's columns are X's centred features, each divided by a power of two near its largest value.

    So all numbers stay in range whatever the units of X, and scaling is exact. The last column is the intercept's,
    where there is one.
    """

    def __init__(self, rows: FeatureRows) -> None:
        self._center, self._n_features = rows.columns.center, rows.n_features
        self.has_intercept = rows.fit_intercept
        largest = rows.columns.largest
        exponents = np.zeros(rows.n_columns, dtype=np.intc)
        exponents[: self._n_features] = np.frexp(np.where(largest > 0, largest, 1.0))[1] - 1
        self.scale = np.ldexp(1.0, exponents)
        self.inverse_scale = np.ldexp(1.0, -exponents)
        self.block_scale = self.inverse_scale.copy()
        """From theta to coefficients of the blocks' columns (D,)."""
        self.block_scale[: self._n_features] /= rows.columns.units

    def penalty(self, strengths: Array, n_logits: int) -> Array:
        """The penalty (P, K, D) on theta, for strengths (P,) in the units of X."""
        penalty = np.zeros((strengths.size, n_logits, self.scale.size))
        with np.errstate(all="ignore"):
            of_features = np.outer(strengths, np.square(self.inverse_scale[: self._n_features]))
        of_features = np.where(strengths[:, np.newaxis] > 0, np.minimum(of_features, _STRONGEST), 0)
        penalty[:, :, : self._n_features] = of_features[:, np.newaxis]
        return penalty

    def to_features(self, theta: Array, dtype: Any) -> tuple[Array, Array]:
        """Coefficients (P K, d) and intercepts (P K,) of X as it came, from theta (P, K, D)."""
        coefficients = (theta * self.inverse_scale).reshape(-1, self.scale.size)
        weights = coefficients[:, : self._n_features].astype(dtype)
        if not self.has_intercept:
            return weights, np.zeros(len(weights), dtype=dtype)
        # The intercept makes up for the centre with the coefficients as they are stored.
        return weights, (coefficients[:, -1] - self._shifts(weights)).astype(dtype)

    def from_features(self, weights: Array, intercepts: Array, shape: tuple[int, int, int]) -> Array:
        """The inverse of `to_features`: theta of a shape (P, K, D)."""
        theta = np.empty((len(weights), shape[-1]))
        theta[:, : self._n_features] = weights
        if self.has_intercept:
            theta[:, -1] = intercepts + self._shifts(weights)
        return (theta * self.scale).reshape(shape)

    def rounding_of_offsets(self, weights: Array, gradient: Array, largest_curvature: Array) -> Array:
        """How much of each problem's value (P,), at a gradient (P, K, D), `from_features` may have rounded away.

        The sums that make up for the centre have the digits of extended precision only.
        """
        if not self.has_intercept:
            return np.zeros(len(gradient))
        sizes = (np.abs(weights.astype(np.float64)) * np.abs(self._center)).sum(axis=1)
        shifts = (self._n_features * _LONG_EPS * sizes).reshape(gradient.shape[:2])
        # No intercept has more than a quarter of all weight as its curvature, two together no more than half.
        lost = np.abs(gradient[:, :, -1]) * shifts + 0.25 * largest_curvature[:, np.newaxis] * shifts**2
        return np.asarray(lost.sum(axis=1))

    def feature_gradient(self, gradient: Array) -> Array:
        """The gradient (P, K, D) by coefficients and intercepts of X as it came."""
        result: Array = gradient * self.scale
        if self.has_intercept:
            result[:, :, : self._n_features] += gradient[:, :, -1:] * self._center
        return result

    def _shifts(self, weights: Array) -> Array:
        """What the centre adds to the logits (P K,), with more digits than they have: large offsets nearly cancel."""
        return np.asarray((weights.astype(np.longdouble) * self._center).sum(axis=1))
