"""Softmax regression on a Dask cluster."""

from typing import Any, Self

from skactivation._callbacks import with_callbacks
from skactivation.dask._linear import DaskLinearModel
from skactivation.linear_model.softmax_regression import SoftmaxRegression

__all__ = ["DaskSoftmaxRegression"]


class DaskSoftmaxRegression(DaskLinearModel, SoftmaxRegression):
    """`SoftmaxRegression` for rows on a Dask cluster."""

    _plain_class = SoftmaxRegression

    def __init__(
        self,
        *,
        C: float = 1.0,
        fit_intercept: bool = True,
        class_weight: Any = None,
        prior_correction: bool = False,
        label_smoothing: float = 0.0,
        tol: float = 1e-6,
        max_iter: int = 1000,
        warm_start: bool = False,
        verbose: int = 0,
        client: Any = None,
    ) -> None:
        super().__init__(
            C=C,
            fit_intercept=fit_intercept,
            class_weight=class_weight,
            prior_correction=prior_correction,
            label_smoothing=label_smoothing,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            verbose=verbose,
        )
        self.client = client

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit."""
        return self._fit(X, y, sample_weight)
