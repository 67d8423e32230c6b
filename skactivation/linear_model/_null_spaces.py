"""Null spaces of X: directions in which coefficients without a penalty change no logit.

Columns count as dependent if they are so up to rounding, because floating point cannot distinguish the logits.
"""

from typing import Any

import numpy as np

from skactivation._data.features import FeatureRows
from skactivation._typing import Array
from skactivation.linear_model import _terms

_EPS = float(np.finfo(np.float64).eps)
# Up to this many columns, decomposing their D x D matrix costs no more than the fit.
_MOST_COLUMNS = 2000


class NullSpaces:
    """Orthonormal bases (D, r): one for all problems, or one for each, without columns where there is a penalty."""

    def __init__(self, bases: list[Array]) -> None:
        self._bases = bases

    def select(self, problems: Any) -> "NullSpaces":
        """Those of some problems, given by a mask (P,)."""
        if len(self._bases) == 1:
            return self
        return NullSpaces([basis for basis, chosen in zip(self._bases, problems, strict=True) if chosen])

    def project(self, theta: Array) -> None:
        """Remove, in place, the component of coefficients or of a gradient (P, K, D) in the null spaces."""
        for some, basis in zip([theta] if len(self._bases) == 1 else theta, self._bases, strict=True):
            flat = some.reshape(-1, theta.shape[2])
            flat -= (flat @ basis) @ basis.T

    def projections(self) -> Array:
        """Matrices (P, D, D), or (1, D, D), that project onto the null spaces."""
        return np.stack([basis @ basis.T for basis in self._bases])


def null_spaces(rows: FeatureRows, scale: Array, problems: Array, strengths: Array) -> NullSpaces | None:
    """The null spaces for problems (P,) with some penalties (P,); None if there are none, or too many columns."""
    if strengths.all() or rows.n_columns > _MOST_COLUMNS:
        return None
    # Problems with row weights of their own may lack the rows that make columns independent.
    own = rows.have_weights_of_problems
    if not own and not strengths.any():
        bases = [_null_space(rows, scale, None)]
    else:
        bases = []
        known: dict[int | None, Array] = {}
        of_weights = rows.targets.row_weights_of(problems).tolist() if own else [None] * problems.size
        for number, weights, strength in zip(problems.tolist(), of_weights, strengths, strict=True):
            if strength == 0 and weights not in known:
                known[weights] = _null_space(rows, scale, number if own else None)
            bases.append(np.zeros((rows.n_columns, 0)) if strength else known[weights])
    return NullSpaces(bases) if any(basis.size for basis in bases) else None


def _null_space(rows: FeatureRows, scale: Array, problem: int | None) -> Array:
    """Basis (D, r) for X's scaled columns over all rows, or over those that a problem has."""
    size = rows.n_columns
    (triangle,) = rows.sum(_terms.triangle, scale, problem, size=size**2, combine=_terms.triangles)
    norms = np.linalg.norm(triangle, axis=0)
    norms[norms == 0] = 1
    _, singular, vectors = np.linalg.svd(triangle / norms)
    singular = np.append(singular, np.zeros(size - singular.size))
    null = vectors[singular <= 10 * size * _EPS * singular[0]].T
    return np.linalg.qr(null / norms[:, np.newaxis])[0]
