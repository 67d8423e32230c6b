"""The abstract base of the linear estimators: steps of a fit, and logits for predictions."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from skactivation._callbacks import CallbackSupportMixin, Watch
from skactivation._data.features import FeatureRows
from skactivation._data.inputs import check_features
from skactivation._data.rows import rows_of
from skactivation._optimize.problems import Outcome, Progress, Solution
from skactivation._optimize.solver import minimize
from skactivation._optimize.strategy import cheapest_strategy
from skactivation._package import PackageMixin
from skactivation._threads import single_threaded_blas
from skactivation._typing import Array
from skactivation._validation import (
    check_boolean,
    check_integer,
    check_real,
    check_same_rows,
    check_sample_weight,
    check_verbose,
    unchanged_on_error,
)
from skactivation.linear_model._convergence_message import convergence_message
from skactivation.linear_model._encoded_targets import EncodedTargets
from skactivation.linear_model._initial_guess import guess_from_smaller_problem
from skactivation.linear_model._objective import LinearObjective
from skactivation.linear_model._penalty_path import Fits, fits_of, progress_line
from skactivation.linear_model._predictions import activated_logits, linear_logits

# The effect of rounding on F is quadratic in the coefficients: below this relative size it is negligible.
_NOTICEABLE = 1e-12


class _Parameters(NamedTuple):
    """Validated parameters of a fit."""

    C: Any
    """A number, or one for each problem (P,)."""
    tol: float
    max_iter: int
    fit_intercept: bool
    warm_start: bool


class LinearLogitModel(CallbackSupportMixin, PackageMixin, BaseEstimator, ABC):
    """Classifier with logits linear in X, fitted by minimising a cross-entropy with an L2 penalty.

    For K logits, X is (n, d), coefficients are (K, d) and intercepts (K,).
    """

    # Final estimators set these in __init__; type checkers need the declarations for the methods below.
    C: float
    fit_intercept: bool
    prior_correction: bool
    label_smoothing: float
    tol: float
    max_iter: int
    warm_start: bool
    verbose: Any
    coef_: Any
    intercept_: Any
    uncorrected_intercept_: Any
    optimality_gap_: float

    @abstractmethod
    def _describe(self, y: Any) -> Any:
        """Check y. The result's `weighted` joins it with weights, and the `totals` of that go to `_encoder`."""

    @abstractmethod
    def _encoder(self, totals: Any) -> tuple[Any, list[str]]:
        """Decide, from sums over all rows, how y is fitted; also return messages for warnings.

        The result's `encode` makes `EncodedTargets` of y with weights.
        """

    def _weigh(self, description: Any, sample_weight: Array | None) -> tuple[EncodedTargets, list[str]]:
        """Targets and weights from what `_describe` returned; messages for warnings."""
        weighted = description.weighted(sample_weight)
        encoder, messages = self._encoder(weighted.totals())
        return encoder.encode(weighted), messages

    @abstractmethod
    def _separated(self, largest_residuals: Array) -> str:
        """Name the classes or labels that the data separate, given each logit's largest residual (L,)."""

    def sparsify(self) -> Self:
        """Convert `coef_` to a SciPy CSR matrix, which takes less memory if most coefficients are 0.

        Predictions stay the same, and `fit` works as before; `fit` sets `coef_` to an array again.

        Returns
        -------
        estimator
            The fitted estimator itself.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        self.coef_ = sparse.csr_matrix(self.coef_)
        return self

    def densify(self) -> Self:
        """Convert `coef_` back to an array, the format that `fit` sets; undoes `sparsify`.

        Returns
        -------
        estimator
            The fitted estimator itself.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        self.coef_ = _dense(self.coef_)
        return self

    def _fit(self, X: Any, y: Any, sample_weight: Any, read: Callable[..., Any] | None = None) -> Self:
        """Fit, or raise an error and leave the estimator unchanged. For warnings, the caller is a decorated `fit`.

        `read` makes of the data what `_checked_and_encoded` does; None for that.
        """
        read = self._checked_and_encoded if read is None else read
        watch = Watch(self, X, y, sample_weight)
        # BLAS has one thread from the first product on: its others would spin for a while, in the way of ours.
        with unchanged_on_error(self), single_threaded_blas:
            parameters = self._checked_parameters()
            previous = dict(vars(self)) if parameters.warm_start else {}
            X, encoded, messages = read(X, y, sample_weight)
            for message in messages:
                warnings.warn(message, UserWarning, stacklevel=4)
            self.__dict__.update(encoded.attributes)
            self.prior_shift_ = encoded.prior_shift
            if encoded.null_logits.size == 0:
                self._store_constant(encoded, X)
                watch.end()
                return self
            with np.errstate(all="ignore"):
                shortfall = self._minimize(X, encoded, parameters, previous, watch)
            if shortfall:
                warnings.warn(shortfall, ConvergenceWarning, stacklevel=4)
            watch.end(f"done, certified gap {self.optimality_gap_:.2g}")
        return self

    def _checked_and_encoded(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, EncodedTargets, list[str]]:
        """X, checked; y and the weights as fits take them; messages for warnings."""
        X, weights = self._checked_data(X, y, sample_weight)
        return X, *self._weigh(self._describe(y), weights)

    def _checked_data(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Array | None]:
        """X and the weights, checked; that there is a y of as many rows."""
        if y is None:
            # validate_data raises scikit-learn's standard error for a missing y.
            validate_data(self, X, y, accept_sparse=True, skip_check_array=True)
        X = check_features(self, X, reset=True)
        check_same_rows(X=X, y=y)
        return X, check_sample_weight(sample_weight, self._shape_of_weights(X, y))

    def _checked_parameters(self) -> _Parameters:
        check_boolean(self.prior_correction, "prior_correction")
        check_real(self.label_smoothing, "label_smoothing", high=1.0, allow_high=False)
        check_verbose(self.verbose)
        return _Parameters(
            C=check_real(self.C, "C", allow_low=False),
            tol=check_real(self.tol, "tol", allow_low=False, allow_high=False),
            max_iter=check_integer(self.max_iter, "max_iter", low=1),
            fit_intercept=check_boolean(self.fit_intercept, "fit_intercept"),
            warm_start=check_boolean(self.warm_start, "warm_start"),
        )

    def _minimize(
        self, X: Any, encoded: EncodedTargets, parameters: _Parameters, previous: dict[str, Any], watch: Watch | None
    ) -> str | None:
        """Minimise the objective and set the fitted attributes; return a warning message if the gap exceeds tol."""
        rows, unit = self._rows(X, encoded, fit_intercept=parameters.fit_intercept)
        units = unit * encoded.units
        objective = LinearObjective(rows, np.divide(1.0, parameters.C), units)
        starts = self._starts(objective, encoded, previous)
        # A previous fit is a better guess.
        guess = None if len(starts) > 1 else guess_from_smaller_problem(objective, starts[0])
        strategy, _ = cheapest_strategy(objective.shape, objective.costs, has_penalty=objective.is_strongly_convex)
        separable = np.isinf(parameters.C) & encoded.targets.hard
        solution = minimize(
            objective,
            starts if guess is None else [*starts, guess.theta],
            strategy,
            tol=parameters.tol,
            max_iter=parameters.max_iter,
            separated_below=np.where(separable, objective.separation_levels(), 0.0) if np.any(separable) else 0.0,
            expected=None if guess is None else guess.expected,
            sample=None if guess is None else guess.sample,
            observe=self._observer(watch, objective, units, encoded, X.dtype),
        )
        self._store(objective, solution, units, encoded, X.dtype)
        return None if self.converged_ else self._shortfall(objective, solution, encoded)

    def _rows(self, X: Any, encoded: EncodedTargets, *, fit_intercept: bool) -> tuple[FeatureRows, float]:
        """X with targets and weights, and the unit of the weights.

        Weights are scaled to a maximum of 1, so that sums do not overflow; the unit scales the objective back.
        """
        unit = 1.0 if encoded.weights is None else float(encoded.weights.max())
        weights = None if encoded.weights is None else encoded.weights / unit
        return rows_of(X, encoded.targets, weights, fit_intercept=fit_intercept), unit

    def _observer(
        self, watch: Watch | None, objective: LinearObjective, units: Array, encoded: EncodedTargets, dtype: Any
    ) -> Callable[[Progress], bool] | None:
        """What tells those who watch of each iteration; None if nobody does."""
        if watch is None or not (self.verbose or watch.has_callbacks):
            return None

        def observe(progress: Progress) -> bool:
            watch.line(partial(progress_line, progress, units))
            attributes = partial(self._attributes_at, objective, progress, encoded, dtype)
            return watch.has_callbacks and watch.iteration(attributes)

        return observe

    def _attributes_at(
        self, objective: LinearObjective, progress: Progress, encoded: EncodedTargets, dtype: Any
    ) -> dict[str, Any]:
        """Fitted attributes that predictions take, after an iteration."""
        model = self.fitted_as(encoded, fits_of(objective, progress.theta, progress.gaps), dtype)
        return dict(vars(model))

    def _logits(self, X: Any) -> Array:
        """Logits (n, K)."""
        return self._predicted(X, linear_logits)

    def _activated(self, X: Any, activation: Callable[[Array], Array], *, by_class: bool = False) -> Array:
        """An activation of the logits, see `activated_logits`."""
        return self._predicted(X, partial(activated_logits, activation=activation, by_class=by_class))

    def _predicted(self, X: Any, prediction: Callable[..., tuple[Array, bool]]) -> Array:
        """A prediction from checked X, coefficients and intercepts, which also tells whether the logits are finite."""
        check_is_fitted(self)
        # With dense coefficients, logits tell whether X is finite; mostly there are fewer of them than entries of X.
        checked = check_features(self, X, reset=False, finite=sparse.issparse(self.coef_))
        predictions, are_finite = prediction(checked, self.coef_, self.intercept_)
        if not are_finite:
            # Raises an error if X is the cause, rather than large coefficients.
            check_features(self, X, reset=False)
        return predictions

    def _starts(self, objective: LinearObjective, encoded: EncodedTargets, previous: dict[str, Any]) -> list[Array]:
        """Initial guesses: intercepts only, and a previous fit to the same logits and features.

        The solver needs both, because on other data the previous fit can be worse than intercepts only.
        """
        start = np.zeros(objective.shape)
        if self.fit_intercept:
            start[:, :, -1] = encoded.null_logits.reshape(objective.shape[:2])
        same = all(
            name in previous and np.array_equal(previous[name], value) for name, value in encoded.attributes.items()
        )
        shape = (encoded.null_logits.size, objective.rows.n_features)
        if not same or "coef_" not in previous:
            return [start]
        coef, intercept = _dense(previous["coef_"])[encoded.fitted], previous["uncorrected_intercept_"][encoded.fitted]
        return [start, objective.from_features(coef, intercept)] if coef.shape == shape else [start]

    def _store(
        self, objective: LinearObjective, solution: Solution, units: Array, encoded: EncodedTargets, dtype: Any
    ) -> None:
        """Set the fitted attributes; loss, gap and gradient are those of the coefficients as stored."""
        coef, intercept = objective.to_features(solution.theta, dtype)
        values, gradient, gaps = solution.values, solution.gradient, solution.gaps
        self.n_evaluations_ = solution.n_evaluations
        stored = objective.from_features(coef, intercept)
        if np.abs(stored - solution.theta).max() > _NOTICEABLE * np.abs(solution.theta).max():
            # Rounding matters for float32 and for intercepts that compensate large offsets of the columns.
            values, gradient = objective.value_and_gradient(stored)
            rounding = objective.units.rounding_of_offsets(coef, gradient, objective.largest_curvature)
            risen = np.maximum(0.0, values - solution.values) + rounding
            gaps = gaps + np.where(values > 0, risen / values, 0.0)
            self.n_evaluations_ += 1
        self._store_outputs(encoded, coef, intercept, gaps)
        self.n_iter_ = np.array([max(1, solution.n_iterations)], dtype=np.int32)
        self.n_passes_ = objective.rows.n_passes
        self.converged_ = bool(self.optimality_gap_ <= self.tol)
        self.loss_ = float(values @ units)
        self.loss_curve_ = solution.history @ units
        by_features = objective.units.feature_gradient(gradient).reshape(len(units), -1)
        self.gradient_norm_ = float(np.linalg.norm((by_features.T * units).T))

    def _store_outputs(self, encoded: EncodedTargets, coef: Array, intercept: Array, gaps: Array) -> None:
        """Set coefficients, intercepts and gaps, with constant labels inserted."""
        if encoded.constant is not None:
            fitted = encoded.fitted
            all_coef = np.zeros((fitted.size, coef.shape[1]), coef.dtype)
            all_intercepts = encoded.constant.astype(coef.dtype)
            all_gaps = np.zeros(fitted.size)
            all_coef[fitted], all_intercepts[fitted], all_gaps[fitted] = coef, intercept, gaps
            coef, intercept, gaps = all_coef, all_intercepts, all_gaps
        # With the transpose contiguous, products with a few sparse rows need no copy of it.
        self.coef_, self.intercept_ = np.asfortranarray(coef), intercept
        self.uncorrected_intercept_ = intercept
        if self.prior_correction:
            self.intercept_ = (intercept - self.prior_shift_).astype(intercept.dtype)
        self.optimality_gap_ = float(gaps.max())
        self._store_gaps(gaps)

    def fitted_as(self, encoded: EncodedTargets, fits: Fits, dtype: Any) -> Self:
        """A copy of the estimator with the attributes that predictions take, from fits of its problems."""
        model = copy(self)
        model.__dict__.update(encoded.attributes, prior_shift_=encoded.prior_shift)
        coef, intercept = fits.coef.reshape(-1, fits.coef.shape[2]), fits.intercept.ravel()
        model._store_outputs(encoded, coef.astype(dtype), intercept.astype(dtype), fits.gaps)
        return model

    def _store_constant(self, encoded: EncodedTargets, X: Any) -> None:
        """Set the fitted attributes if all labels are constant, so that nothing is minimised."""
        none = np.zeros(0)
        self._store_outputs(encoded, np.zeros((0, X.shape[1]), X.dtype), none.astype(X.dtype), none)
        self.n_iter_, self.n_evaluations_, self.n_passes_ = np.ones(1, dtype=np.int32), 0, 0
        self.converged_, self.loss_, self.gradient_norm_ = True, 0.0, 0.0
        self.loss_curve_ = np.zeros(2)

    def _store_gaps(self, gaps: Array) -> None:
        """Set the attribute for the gaps (L,) of several labels."""

    def _uncertified(self) -> str:
        """Names, in brackets, of the labels without a certified gap; empty for a single problem."""
        return ""

    def _shape_of_weights(self, X: Any, y: Any) -> tuple[int, ...]:
        """A shape that sample_weight may have besides (n,)."""
        return (X.shape[0],)

    def _shortfall(self, objective: LinearObjective, solution: Solution, encoded: EncodedTargets) -> str:
        """Message for a fit whose gap is not certified to be at most tol."""
        worst = solution.outcomes[int(np.argmax(solution.gaps))]
        separated = ""
        if worst in (Outcome.STALLED, Outcome.SEPARATED) and encoded.targets.can_be_separated():
            # SEPARATED means that the solver found every row classified correctly; otherwise residuals decide.
            residuals = objective.largest_residuals(solution.theta)
            residuals[[outcome is Outcome.SEPARATED for outcome in solution.outcomes]] = 0.0
            of_all = np.full(residuals.size if encoded.constant is None else encoded.constant.size, np.inf)
            of_all[encoded.fitted] = residuals.ravel()
            separated = self._separated(of_all)
        reached = (
            f"certified optimality_gap_ {self.optimality_gap_:.2g}, tol={self.tol:g}, "
            f"gradient_norm_ {self.gradient_norm_:.2g} after {solution.n_iterations} iterations"
        )
        return convergence_message(
            type(self).__name__ + self._uncertified(),
            worst,
            reached,
            C=self.C,
            tol=self.tol,
            max_iter=self.max_iter,
            separated=separated,
        )


def _dense(coef: Any) -> Array:
    """Coefficients as an array."""
    dense: Array = coef.toarray() if sparse.issparse(coef) else coef
    return dense
