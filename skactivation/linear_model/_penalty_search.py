"""Estimators that choose C by cross-validation: parameters, the choice and the final fit."""

from abc import ABC, abstractmethod
from typing import Any, Self, cast
from warnings import warn

import numpy as np
from sklearn import get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import validate_data

from skactivation._data.inputs import check_features
from skactivation._data.splits import splits_of
from skactivation._threads import single_threaded_blas
from skactivation._typing import Array
from skactivation._validation import (
    as_floats,
    check_boolean,
    check_integer,
    check_same_rows,
    check_sample_weight,
    unchanged_on_error,
)
from skactivation.linear_model._base import LinearLogitModel
from skactivation.linear_model._cross_validation import CrossValidation, SearchData
from skactivation.linear_model._encoded_targets import EncodedTargets
from skactivation.linear_model._held_out_losses import HeldOutLosses
from skactivation.linear_model._penalty_path import Fits


class PenaltySearch(ABC):
    """Chooses C by cross-validation. Final classes derive from the plain estimator, too, whose predictions they have."""

    Cs: Any
    cv: Any
    scoring: Any
    one_standard_error: Any

    @abstractmethod
    def _plain(self) -> LinearLogitModel:
        """The plain estimator with the parameters that both have, and some C."""

    @abstractmethod
    def _losses(self, data: SearchData) -> HeldOutLosses:
        """The losses that `scoring=None` stands for."""

    @abstractmethod
    def _check_fold(self, data: SearchData, encoded: EncodedTargets, messages: list[str]) -> None:
        """Raise a ValueError that says what the training rows of a fold lack."""

    def get_metadata_routing(self) -> MetadataRouter:
        """Which parameters of `fit` reach the splitter and the scorer.

        Returns
        -------
        MetadataRouter
            The routing.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        router.add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        if self.scoring is not None:
            scorer = check_scoring(self, self.scoring)
            router.add(scorer=scorer, method_mapping=MethodMapping().add(caller="fit", callee="score"))
        return router

    def _fit_search(self, X: Any, y: Any, sample_weight: Any, params: dict[str, Any]) -> Self:
        """Fit, or raise an error and leave the estimator unchanged. Warnings assume that `fit` is the direct caller."""
        estimator = cast(LinearLogitModel, self)
        with unchanged_on_error(estimator), single_threaded_blas:
            Cs = check_Cs(self.Cs)
            check_boolean(self.one_standard_error, "one_standard_error")
            plain = self._plain()
            plain._checked_parameters()
            if y is None:
                # validate_data raises scikit-learn's standard error for a missing y.
                validate_data(estimator, X, y, accept_sparse=True, skip_check_array=True)
            checked = check_features(estimator, X, reset=True)
            check_same_rows(X=X, y=y)
            for name in ("n_features_in_", "feature_names_in_"):
                if hasattr(estimator, name):
                    setattr(plain, name, getattr(estimator, name))
            weights = check_sample_weight(sample_weight, plain._shape_of_weights(checked, y))
            split_params, score_params = self._routed(sample_weight, params)
            description = plain._describe(y)
            encoded, messages = plain._weigh(description, weights)
            for message in messages:
                warn(message, UserWarning, stacklevel=3)
            data = SearchData(*indexable(X, y), checked, weights, description, encoded)
            folds = CrossValidation(
                plain,
                data,
                splits_of(self.cv, X, y, split_params),
                lambda of_fold, messages: self._check_fold(data, of_fold, messages),
            )
            with np.errstate(all="ignore"):
                of_all_rows, models = folds.fit(Cs)
                self.Cs_ = Cs
                self._choose(self._scores(folds, models, data, score_params))
                shortfalls = self._refit(plain, data, folds, of_all_rows)
            for shortfall in shortfalls:
                warn(shortfall, ConvergenceWarning, stacklevel=3)
        return self

    def _routed(self, sample_weight: Any, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters of the splitter and of the scorer."""
        if get_config()["enable_metadata_routing"]:
            weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
            routed = process_routing(self, "fit", **weighted, **params)
            return dict(routed.splitter.split), dict(routed.scorer.score) if self.scoring is not None else {}
        others = sorted(set(params) - {"groups"})
        if others:
            raise TypeError(
                f"fit got {others[0]!r}, which only metadata routing can pass on: call "
                "sklearn.set_config(enable_metadata_routing=True)"
            )
        return params, {}

    def _scores(
        self, folds: CrossValidation, models: list[list[LinearLogitModel]], data: SearchData, params: dict[str, Any]
    ) -> Array:
        """Scores (n_folds, n_Cs)."""
        if self.scoring is None:
            return np.stack([sums.scores() for sums in folds.loss_sums(models, self._losses(data))])
        return folds.scores(models, check_scoring(self, self.scoring), params)

    def _choose(self, scores: Array) -> None:
        """Set the attributes that tell which C is best."""
        self.scores_, Cs = scores, self.Cs_
        if not np.isfinite(scores).all():
            fold, number = np.argwhere(~np.isfinite(scores))[0]
            raise ValueError(f"the score of C={Cs[number]:g} is {scores[fold, number]} in split {fold} of cv")
        self.mean_scores_ = scores.mean(axis=0)
        self.standard_errors_ = np.full(Cs.size, np.nan)
        if len(scores) > 1:
            self.standard_errors_ = scores.std(axis=0, ddof=1) / np.sqrt(len(scores))
        best = int(np.argmax(self.mean_scores_))
        if self.one_standard_error:
            if len(scores) == 1:
                raise ValueError("one_standard_error=True takes at least two splits of cv, got one")
            good = np.flatnonzero(self.mean_scores_ >= self.mean_scores_[best] - self.standard_errors_[best])
            best = int(good[np.argmin(Cs[good])])
        self.best_index_, self.best_score_, self.C_ = best, float(self.mean_scores_[best]), float(Cs[best])

    def _refit(
        self, plain: LinearLogitModel, data: SearchData, folds: CrossValidation, of_all_rows: list[Fits]
    ) -> list[str]:
        """Fit to all rows with `C_`; set the attributes of the plain estimator; return messages of shortfalls."""
        encoded, parameters = data.encoded, plain._checked_parameters()
        previous = vars(folds.model(encoded, of_all_rows[self.best_index_]))
        plain.__dict__.update(encoded.attributes, prior_shift_=encoded.prior_shift)
        shortfall = plain._minimize(data.checked_X, encoded, parameters._replace(C=self.C_), previous)
        fitted = {name: value for name, value in vars(plain).items() if name not in plain.get_params(deep=False)}
        self.__dict__.update(fitted)
        return [shortfall] if shortfall else []


def check_Cs(Cs: Any) -> Array:
    """Values of C, given as such or as their number."""
    if isinstance(Cs, (int, np.integer)) and not isinstance(Cs, bool):
        return np.logspace(-4, 4, check_integer(Cs, "Cs", low=1))
    values = as_floats(Cs, "Cs").astype(np.float64)
    if values.ndim != 1 or values.size == 0 or not np.all(values > 0):
        raise ValueError(f"Cs must be an integer >= 1 or positive numbers of shape (n_Cs,), got {Cs!r}")
    return values
