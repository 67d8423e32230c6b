"""Estimators that choose C by cross-validation: parameters, the choice and the final fit."""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, NamedTuple, Self, cast
from warnings import warn

import numpy as np
from sklearn import get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing

from skactivation._arrays import without_tensors
from skactivation._callbacks import Watch
from skactivation._data.splits import splits_of
from skactivation._data.stored import StoredRows
from skactivation._messages import abridged
from skactivation._threads import single_threaded_blas
from skactivation._typing import Array
from skactivation._validation import (
    as_floats,
    check_boolean,
    check_integer,
    check_verbose,
    unchanged_on_error,
)
from skactivation.linear_model._base import LinearLogitModel
from skactivation.linear_model._cross_validation import CrossValidation, SearchData
from skactivation.linear_model._encoded_targets import EncodedTargets
from skactivation.linear_model._held_out_losses import HeldOutLosses, LossSums
from skactivation.linear_model._leave_one_out import LeaveOneOut
from skactivation.linear_model._penalty_path import PenaltyPath

# Mean scores that differ by so little, relative to the largest, are the same.
_TIE = 1e-12
# Attributes that checks of X set.
_NAMES = ("n_features_in_", "feature_names_in_")


class Choice(NamedTuple):
    """Which of several values of C is chosen, and why."""

    best: int
    means: Array
    """Mean score (n_Cs,) of each."""
    errors: Array
    """Their standard errors (n_Cs,); NaN for a single fold."""

    @classmethod
    def of(cls, scores: Array, weights: Array, Cs: Array, *, one_standard_error: bool) -> "Choice":
        """The choice from scores (n_folds, n_Cs) with weights (n_folds,); those of weight 0 do not count."""
        scores, weights = scores[weights > 0], weights[weights > 0] / weights.max()
        means = weights @ scores / weights.sum()
        n_folds = len(scores)
        spread = np.sqrt(np.square(weights) @ np.square(scores - means)) / weights.sum()
        errors = spread * np.sqrt(n_folds / (n_folds - 1)) if n_folds > 1 else np.full(Cs.size, np.nan)
        tie = _TIE * np.abs(means).max()
        # The first of those that rounding alone tells apart.
        best = int(np.argmax(means >= means.max() - tie))
        if one_standard_error and n_folds > 1:
            good = np.flatnonzero(means >= means[best] - errors[best] - tie)
            best = int(good[np.argmin(Cs[good])])
        return cls(best, means, errors)


class PenaltySearch(ABC):
    """Chooses C by cross-validation. Final classes also derive from the plain estimator: they predict as it does."""

    Cs: Any
    cv: Any
    scoring: Any
    one_standard_error: Any
    verbose: Any

    @abstractmethod
    def _plain(self) -> LinearLogitModel:
        """The plain estimator with the parameters that both have, and some C."""

    @abstractmethod
    def _losses(self, data: SearchData) -> HeldOutLosses:
        """The losses that `scoring=None` stands for."""

    @abstractmethod
    def _check_fold(self, data: SearchData, encoded: EncodedTargets, messages: list[str]) -> None:
        """Raise a ValueError that says what the training rows of a fold lack."""

    @abstractmethod
    def _check_rows_to_leave_out(self, data: SearchData) -> None:
        """Raise a ValueError that says which row can't be left out."""

    def get_metadata_routing(self) -> MetadataRouter:
        """Which parameters of `fit` reach the splitter and the scorer.

        Returns
        -------
        MetadataRouter
            The routing.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        splitter = None if isinstance(self.cv, str) else self.cv
        router.add(splitter=splitter, method_mapping=MethodMapping().add(caller="fit", callee="split"))
        if self.scoring is not None:
            scorer = check_scoring(self, self.scoring)
            router.add(scorer=scorer, method_mapping=MethodMapping().add(caller="fit", callee="score"))
        return router

    def _fit_search(self, X: Any, y: Any, sample_weight: Any, params: dict[str, Any]) -> Self:
        """Fit, or raise an error and leave the estimator unchanged. For warnings, the caller is a decorated `fit`."""
        estimator = cast(LinearLogitModel, self)
        Cs = self._check_search_parameters()
        watch = Watch(self, X, y, sample_weight, n_tasks=Cs.size + 1)
        with unchanged_on_error(estimator), single_threaded_blas:
            X, y = without_tensors(X, "X"), without_tensors(y, "y")
            sample_weight = without_tensors(sample_weight, "sample_weight")
            params = {name: without_tensors(value, name) for name, value in params.items()}
            plain = self._plain()
            plain._checked_parameters()
            # What only an earlier fit has set must not stay.
            for name in [name for name in vars(self) if name.endswith("_") or name == "_container"]:
                delattr(self, name)
            rows, weights = estimator._checked_data(X, y, sample_weight)
            split_params, score_params = self._routed(sample_weight, params)
            plain.__dict__.update({name: vars(self)[name] for name in _NAMES if name in vars(self)})
            description = plain._describe(y)
            encoded, messages = plain._weigh(description, weights)
            if encoded.null_logits.size == 0:
                raise ValueError(
                    f"{type(self).__name__} has no C to choose: rows of positive weight have one class, or one "
                    "value of each label"
                )
            for message in messages:
                warn(message, UserWarning, stacklevel=4)
            data = SearchData(indexable(X)[0], indexable(y)[0], rows, weights, description, encoded, messages)
            self.Cs_ = Cs
            with np.errstate(all="ignore"):
                if isinstance(self.cv, str):
                    starts, shortfalls = self._leave_one_out(plain, data, watch)
                else:
                    starts, shortfalls = self._cross_validate(plain, data, split_params, score_params, watch)
                if self.Cs_.size < Cs.size:
                    shortfalls.append(
                        f"{type(self).__name__}: a callback stopped the search after {self.Cs_.size} of {Cs.size} "
                        "values of C, in ascending order"
                    )
                shortfalls += self._refit(plain, data, starts, watch)
            for shortfall in shortfalls:
                warn(shortfall, ConvergenceWarning, stacklevel=4)
            watch.end(f"done, C = {np.array2string(np.asarray(self.C_), precision=3, threshold=8)}")
        return self

    def _check_search_parameters(self) -> Array:
        """Check the parameters that the plain estimator lacks; return the values of C."""
        check_boolean(self.one_standard_error, "one_standard_error")
        check_verbose(self.verbose)
        if isinstance(self.cv, str):
            if self.cv != "loo":
                raise ValueError(f"cv must be an integer, a splitter, an iterable of splits or 'loo', got {self.cv!r}")
            if self.scoring is not None:
                raise ValueError(
                    "cv='loo' estimates the log loss, which scoring=None stands for; for another score pass the "
                    "splitter LeaveOneOut()"
                )
        if not (self.scoring is None or isinstance(self.scoring, str) or callable(self.scoring)):
            raise TypeError(
                f"scoring must be one scorer, its name or None, got {self.scoring!r}; for several use GridSearchCV"
            )
        return check_grid(self.Cs)

    def _routed(self, sample_weight: Any, params: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters of the splitter and of the scorer."""
        if get_config()["enable_metadata_routing"]:
            weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
            routed = process_routing(self, "fit", **weighted, **params)
            return dict(routed.splitter.split), dict(routed.scorer.score) if self.scoring is not None else {}
        others = sorted(set(params) - {"groups"})
        if others:
            raise TypeError(
                f"fit got {others[0]!r}, but takes sample_weight and groups; for others of a splitter or a scorer call "
                "sklearn.set_config(enable_metadata_routing=True)"
            )
        if params and isinstance(self.cv, str):
            raise TypeError("fit got groups, but cv='loo' leaves out single rows: pass a splitter")
        return params, {}

    def _cross_validate(
        self,
        plain: LinearLogitModel,
        data: SearchData,
        split_params: dict[str, Any],
        score_params: dict[str, Any],
        watch: Watch,
    ) -> tuple[Array, list[str]]:
        """Score and choose C; return mean coefficients (n_Cs, L, d + 1) of the folds, and messages."""
        splits = splits_of(self.cv, data.X, data.y, split_params)
        folds = CrossValidation(plain, data, splits, partial(self._check_fold, data))
        order = np.argsort(self.Cs_, kind="stable")
        in_order = folds.fit(self.Cs_[order], watch)
        places = self._keep_tried(order, len(in_order[0]))
        models = [[of_fold[place] for place in places] for of_fold in in_order]
        if self.scoring is None:
            sums = folds.loss_sums(models, self._losses(data))
            unknown = np.flatnonzero(sums.weights.sum(axis=1) == 0)
            if unknown.size:
                raise ValueError(f"split {unknown[0]} of cv: no label of a test row is known: use another splitter")
            # Folds count equally, as in GridSearchCV.
            self._choose_by_losses(sums, np.ones(len(sums.weights)), (sums.weights > 0).astype(float))
        else:
            scores = folds.scores(models, check_scoring(self, self.scoring), score_params)
            self._choose(scores, np.ones(len(scores)))
        gaps = np.array([[model.optimality_gap_ for model in of_fold] for of_fold in models])
        coef = np.mean([[_coefficients(model) for model in of_fold] for of_fold in models], axis=0)
        return coef, self._uncertified_fits(gaps.max(axis=0))

    def _leave_one_out(self, plain: LinearLogitModel, data: SearchData, watch: Watch) -> tuple[Array, list[str]]:
        """Score by losses of left-out rows and choose C; return coefficients (n_Cs, L, d + 1), and messages."""
        if isinstance(data.rows, StoredRows):
            raise TypeError("cv='loo' takes X in memory; use folds, such as cv=10, or pass X[:]")
        self._check_rows_to_leave_out(data)
        options: dict[str, Any] = {"tol": plain.tol, "max_iter": plain.max_iter}
        path = PenaltyPath(data.rows, [data.encoded], fit_intercept=plain.fit_intercept, **options)
        order = np.argsort(self.Cs_, kind="stable")
        in_order = path.fits(self.Cs_[order], watch, with_tasks=False)
        shift = data.encoded.prior_shift.reshape(in_order[0].intercept.shape)
        offset = -shift if plain.prior_correction else np.zeros_like(shift)
        rows = LeaveOneOut(path, data.rows, self._losses(data), offset, by_label=self._by_label(), **options)
        found = []
        for C, fits in zip(self.Cs_[order].tolist(), in_order, strict=True):
            task = watch.task(f"C={C:g}")
            task.begin()
            found.append(rows.left_out(C, fits, watch))
            if task.end():
                break
        places = self._keep_tried(order, len(found))
        of_all_rows, left_out = [in_order[place] for place in places], [found[place] for place in places]
        weights = left_out[0].weights.T
        losses = np.stack([of_C.losses for of_C in left_out]).transpose(2, 0, 1)
        sums = LossSums(losses * weights[:, np.newaxis], weights)
        self._choose_by_losses(sums, weights.sum(axis=1), weights)
        models = [plain.fitted_as(data.encoded, fits, np.float64) for fits in of_all_rows]
        gaps = np.array([max(model.optimality_gap_, of_C.gap) for model, of_C in zip(models, left_out, strict=True)])
        return np.stack([_coefficients(model) for model in models]), self._uncertified_fits(gaps)

    def _keep_tried(self, order: Array, n_tried: int) -> list[int]:
        """Keep the values of C that have been tried, the first ones in an order; return their places in it."""
        tried = np.sort(order[:n_tried])
        self.Cs_ = self.Cs_[tried]
        return [int(place) for place in np.argsort(order)[tried]]

    def _choose_by_losses(self, sums: LossSums, weights: Array, weights_by_label: Array) -> None:
        """Choose C by mean losses, given the weights (n_folds,) of the folds, and those for each label (n_folds, L)."""
        self._choose(sums.scores(), weights)

    def _choose(self, scores: Array, weights: Array) -> None:
        """Choose C by scores (n_folds, n_Cs) with weights (n_folds,)."""
        bad = ~np.isfinite(scores) & (weights > 0)[:, np.newaxis]
        if bad.any():
            fold, number = np.argwhere(bad)[0]
            raise ValueError(f"the score of C={self.Cs_[number]:g} in split {fold} of cv is {scores[fold, number]}")
        if self.one_standard_error and len(scores) == 1:
            raise ValueError("one_standard_error=True takes at least two splits of cv, got one")
        choice = Choice.of(scores, weights, self.Cs_, one_standard_error=self.one_standard_error)
        self.scores_, self.mean_scores_, self.standard_errors_ = scores, choice.means, choice.errors
        self.best_index_: Any = choice.best
        self.best_score_: Any = float(choice.means[choice.best])
        self.C_: Any = float(self.Cs_[choice.best])

    def _uncertified_fits(self, gaps: Array) -> list[str]:
        """A message about the values of C whose scored fits have gaps (n_Cs,) above tol."""
        bad = ~(gaps <= cast(Any, self).tol)
        if not bad.any():
            return []
        advice = "raise max_iter, or drop these values"
        if np.isinf(self.Cs_[bad]).any():
            advice += "; without a penalty (C=inf) there is no optimum where the classes are separated"
        return [
            f"{type(self).__name__} scored fits without a certified optimum for C in {abridged(self.Cs_[bad])} "
            f"(largest gap {gaps[bad].max():.2g}, tol={cast(Any, self).tol:g}): {advice}"
        ]

    def _refit(self, plain: LinearLogitModel, data: SearchData, starts: Array, watch: Watch) -> list[str]:
        """Fit to all rows with `C_`, starting from coefficients (n_Cs, L, d + 1); return messages of shortfalls."""
        encoded = data.encoded
        # Each label may have its own C.
        start = starts[self.best_index_, np.arange(starts.shape[1])]
        of_problems = self.C_ if np.ndim(self.C_) == 0 else self.C_[encoded.fitted]
        previous = encoded.attributes | {"coef_": start[:, :-1], "uncorrected_intercept_": start[:, -1]}
        plain.__dict__.update(encoded.attributes, prior_shift_=encoded.prior_shift)
        parameters = plain._checked_parameters()._replace(C=of_problems)
        # The weakest penalty is the likeliest reason if there is no certificate.
        plain.set_params(C=float(np.max(self.C_)))
        task = watch.task("refit")
        task.begin()
        shortfall = plain._minimize(data.rows, encoded, parameters, previous, None)
        task.end(lambda: dict(vars(plain)))
        self.__dict__.update({k: v for k, v in vars(plain).items() if k not in plain.get_params(deep=False)})
        return [shortfall.replace(type(plain).__name__, type(self).__name__, 1)] if shortfall else []

    def _by_label(self) -> bool:
        """Whether each label has its own C."""
        return False


def _coefficients(model: LinearLogitModel) -> Array:
    """Coefficients and intercepts (L, d + 1) that minimise the objective."""
    return np.column_stack([model.coef_, model.uncorrected_intercept_])


def refuse_missing(classes: Array) -> None:
    """Raise an error if the training rows of a fold lack any classes."""
    if classes.size:
        raise ValueError(
            f"the training rows lack the classes {abridged(classes)}: shuffle or stratify the splits, or drop classes "
            "of few rows"
        )


def check_grid(Cs: Any) -> Array:
    """Values of C, given as such or as their number."""
    if isinstance(Cs, (int, np.integer)) and not isinstance(Cs, bool):
        return np.logspace(-4, 4, check_integer(Cs, "Cs", low=1))
    values = as_floats(Cs, "Cs").astype(np.float64)
    if values.ndim != 1 or values.size == 0 or not np.all(values > 0):
        raise ValueError(f"Cs must be an integer >= 1 or positive numbers of shape (n_Cs,), got {Cs!r}")
    return values
