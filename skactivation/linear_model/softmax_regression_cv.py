"""Softmax regression with C chosen by cross-validation."""

from typing import Any, Self

from skactivation._data.targets import class_targets
from skactivation._messages import abridged
from skactivation.linear_model._cross_validation import SearchData
from skactivation.linear_model._encoded_targets import EncodedTargets
from skactivation.linear_model._held_out_losses import HeldOutLosses
from skactivation.linear_model._penalty_search import PenaltySearch
from skactivation.linear_model.softmax_regression import SoftmaxRegression

__all__ = ["SoftmaxRegressionCV"]


class SoftmaxRegressionCV(PenaltySearch, SoftmaxRegression):
    """X"""

    def __init__(
        self,
        *,
        Cs: Any = 10,
        cv: Any = None,
        scoring: Any = None,
        one_standard_error: bool = False,
        fit_intercept: bool = True,
        class_weight: Any = None,
        prior_correction: bool = False,
        label_smoothing: float = 0.0,
        tol: float = 1e-6,
        max_iter: int = 1000,
    ) -> None:
        self.Cs = Cs
        self.cv = cv
        self.scoring = scoring
        self.one_standard_error = one_standard_error
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.prior_correction = prior_correction
        self.label_smoothing = label_smoothing
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> Self:
        """X"""
        return self._fit_search(X, y, sample_weight, params)

    def _plain(self) -> SoftmaxRegression:
        return SoftmaxRegression(
            fit_intercept=self.fit_intercept,
            class_weight=self.class_weight,
            prior_correction=self.prior_correction,
            label_smoothing=self.label_smoothing,
            tol=self.tol,
            max_iter=self.max_iter,
        )

    def _losses(self, data: SearchData) -> HeldOutLosses:
        encoded, classes = data.description
        return HeldOutLosses(data.checked_X, class_targets(encoded, classes.size), data.weights)

    def _check_fold(self, data: SearchData, encoded: EncodedTargets, messages: list[str]) -> None:
        missing = encoded.missing_since(data.encoded)
        if missing.any():
            names = data.description.classes[missing]
            raise ValueError(
                f"the training rows lack the classes {abridged(names)}: use stratified or fewer splits, or drop rare classes"
            )
