"""Dense or sparse X as `FeatureRows`."""

from typing import Any

from scipy import sparse

from skactivation._data.dense import DenseRows
from skactivation._data.features import FeatureRows
from skactivation._data.sparse import SparseRows
from skactivation._data.targets import Targets
from skactivation._typing import Array


def rows_of(
    X: Any, targets: Targets, weights: Array | None, *, n_outputs: int | None = None, fit_intercept: bool
) -> FeatureRows:
    """Rows of a validated X, dense or sparse; one pass measures the columns.

    `n_outputs` is the number of logits of a row in all problems; None for that of the targets.
    """
    kind = SparseRows if sparse.issparse(X) else DenseRows
    n_outputs = targets.n_problems * targets.n_logits if n_outputs is None else n_outputs
    return kind.measured(X, targets, weights, n_outputs=n_outputs, fit_intercept=fit_intercept)
