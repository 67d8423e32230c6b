"""The abstract linear estimator: the one fit pipeline, and logits at prediction."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted, validate_data

from skactivation._class_major_losses import Loss
from skactivation._data.blocks import dense_slices, rows_of
from skactivation._optimize.preconditioner import cheapest_plan
from skactivation._optimize.solver import Outcome, Solution, minimize
from skactivation._threads import in_threads, single_threaded_blas
from skactivation._typing import Array
from skactivation._validation import check_boolean, check_integer, check_real, check_sample_weight, unchanged_on_error
from skactivation.linear_model._initial_guess import head_start
from skactivation.linear_model._objective import LinearObjective

__all__ = ["EncodedTargets", "LinearLogitModel"]


# Relative rounding of coefficients from which on its effect on F, which is quadratic, is looked at.
_NOTICEABLE = 1e-12


@dataclass(frozen=True)
class EncodedTargets:
    """What a final estimator makes of y."""

    loss: Loss
    targets: Callable[[Any, Array], Any]
    """From a slice of rows, or their numbers, and the numbers of outputs to the loss's targets."""
    weights: Array | None
    """Weights of the rows, class weights included."""
    strata: Callable[[], Array]
    """The class (n,) of each row, or its most probable one: what a sample must not leave out."""
    null_logits: Array
    """The best logits (K,) that are the same for all rows, about."""
    hard: bool
    """Whether a loss of 0 is the infimum: neither soft nor smoothed targets."""
    attributes: dict[str, Any]
    """Fitted attributes that describe y, such as classes_."""
    prior_shift: Array
    """What weights of classes or labels add to the logits of a well-specified model (K,)."""
    units: Array = field(default_factory=lambda: np.ones(1))
    """For each part of the objective (P,) what its targets' own weights are in units of."""
    lightest: Array = field(default_factory=lambda: np.ones(1))
    """The least of those weights (P,) that isn't 0; at most they are 1."""
    uniform: bool = True
    """Whether the targets have no weights of their own."""
    constant: Array | None = None
    """Intercepts (L,) of labels whose coefficients are 0, NaN for those that are fitted; None where all are."""


class LinearLogitModel(BaseEstimator, ABC):
    """Logits that are linear in X, fitted by minimising a cross-entropy with an L2 penalty.

    Shapes: X is (n, d); coefficients are (K, d) and intercepts (K,) for K logits.
    """

    # Set by the final estimators' __init__; declared here for the pipeline below.
    C: float
    fit_intercept: bool
    prior_correction: bool
    label_smoothing: float
    tol: float
    max_iter: int
    warm_start: bool

    @abstractmethod
    def _encode(self, y: Any, sample_weight: Array | None) -> EncodedTargets:
        """Check y and say what the solver needs to know of it."""

    @abstractmethod
    def _separated(self, largest_residuals: Array) -> str:
        """Name the classes or labels that are told apart without a mistake, given each output's largest residual."""

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Self:
        """Fit; whatever goes wrong, the estimator is as it was before."""
        with unchanged_on_error(self):
            C = check_real(self.C, "C", allow_low=False)
            tol = check_real(self.tol, "tol", allow_low=False)
            max_iter = check_integer(self.max_iter, "max_iter", low=1)
            fit_intercept = check_boolean(self.fit_intercept, "fit_intercept")
            warm_start = check_boolean(self.warm_start, "warm_start")
            check_boolean(self.prior_correction, "prior_correction")
            check_real(self.label_smoothing, "label_smoothing", high=1.0, allow_high=False)
            previous = dict(vars(self)) if warm_start else {}
            if y is None:
                # scikit-learn's own words for a missing y.
                validate_data(self, X, y, accept_sparse=True, skip_check_array=True)
            X = self._validate(X, reset=True)
            check_consistent_length(X, y)
            encoded = self._encode(y, check_sample_weight(sample_weight, self._shape_of_weights(X, y)))
            # The largest weight is 1, so that sums stay in range; `units` take the objective back.
            unit = 1.0 if encoded.weights is None else float(encoded.weights.max())
            weights = None if encoded.weights is None else encoded.weights / unit
            units = unit * encoded.units
            n_outputs = encoded.null_logits.size
            self.__dict__.update(encoded.attributes)
            self.prior_shift_ = encoded.prior_shift
            if n_outputs == 0:
                self._store_constant(encoded, X)
                return self
            with single_threaded_blas, np.errstate(all="ignore"):
                objective = LinearObjective(
                    rows_of(X, n_outputs, weights, fit_intercept=fit_intercept),
                    encoded.loss,
                    encoded.targets,
                    weights,
                    n_outputs=n_outputs,
                    penalty=np.divide(1.0, C) / units,
                    lightest=encoded.lightest,
                    uniform=encoded.uniform,
                )
                starts = self._starts(objective, encoded, previous)
                starts += head_start(objective, encoded.strata, starts)
                solution = minimize(
                    objective,
                    starts,
                    cheapest_plan(objective)[0],
                    tol=tol,
                    max_iter=max_iter,
                    separated_below=_separation_levels(encoded, weights) if C == np.inf else 0.0,
                )
                self._store(objective, solution, units, encoded, X.dtype)
                if not self.converged_:
                    message = self._shortfall(objective, solution, encoded)
                    warnings.warn(message, ConvergenceWarning, stacklevel=3)
        return self

    def _logits(self, X: Any, activation: Callable[[Array], Array] = np.asarray) -> Array:
        """An activation of the logits (n, K) of each row."""
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        coef, intercept = self.coef_, self.intercept_
        if check_boolean(self.prior_correction, "prior_correction"):
            intercept = (intercept - self.prior_shift_).astype(intercept.dtype)
        slices = dense_slices(X.shape[0], sum(coef.shape), coef.dtype)

        def activations(rows: slice) -> Array:
            logits = np.asarray(X[rows] @ coef.T)
            logits += intercept
            return activation(logits)

        with single_threaded_blas, np.errstate(all="ignore"):
            first = activations(slices[0])
            result = np.empty((X.shape[0], first.shape[1]), first.dtype)
            result[slices[0]] = first

            def fill(block: int) -> None:
                result[slices[block + 1]] = activations(slices[block + 1])

            in_threads(fill, len(slices) - 1)
        return result

    def _validate(self, X: Any, *, reset: bool) -> Any:
        if isinstance(X, np.ma.MaskedArray):
            raise TypeError("X must not be a masked array: fill or drop what is masked")
        X = validate_data(
            self,
            X,
            reset=reset,
            accept_sparse=("csr", "csc"),
            accept_large_sparse=True,
            dtype=[np.float64, np.float32],
        )
        if sparse.issparse(X):
            # Not X.check_format, which cuts off spare entries of the caller's array.
            entries = X.indices[: X.indptr[-1]]
            width = X.shape[1] if X.format == "csr" else X.shape[0]
            if entries.size and not (entries.min() >= 0 and entries.max() < width):
                raise ValueError(
                    f"X is not a valid sparse array: its indices must lie in 0..{width - 1}, "
                    f"got {entries.min()}..{entries.max()}"
                )
            if X.indptr[0] != 0 or np.any(np.diff(X.indptr) < 0) or X.indptr[-1] > X.indices.size:
                raise ValueError("X is not a valid sparse array: its indptr must rise from 0 to the number of entries")
        return X

    def _starts(self, objective: LinearObjective, encoded: EncodedTargets, previous: dict[str, Any]) -> list[Array]:
        """Where to start: no features but the intercepts; and a previous fit to the same outputs and features.

        Other data may make a good model a bad start.
        """
        start = np.zeros(objective.shape)
        if self.fit_intercept:
            start[:, -1] = encoded.null_logits
        starts = [start]
        same = all(
            name in previous and np.array_equal(previous[name], value) for name, value in encoded.attributes.items()
        )
        fitted = slice(None) if encoded.constant is None else np.isnan(encoded.constant)
        shape = (objective.shape[0], objective.n_features)
        if same and "coef_" in previous and previous["coef_"][fitted].shape == shape:
            starts.append(objective.from_features(previous["coef_"][fitted], previous["intercept_"][fitted]))
        return starts

    def _store(
        self, objective: LinearObjective, solution: Solution, units: Array, encoded: EncodedTargets, dtype: Any
    ) -> None:
        """Set the fitted attributes; they describe the coefficients as they are stored."""
        coef, intercept = objective.to_features(solution.theta, dtype)
        values, gradient, gaps, n_evaluations = (
            solution.values,
            solution.gradient,
            solution.gaps,
            solution.n_evaluations,
        )
        stored = objective.from_features(coef, intercept)
        if np.abs(stored - solution.theta).max() > _NOTICEABLE * np.abs(solution.theta).max():
            # float32, or intercepts that make up for large offsets of the columns.
            values, gradient = objective.value_and_gradient(stored)
            risen = np.maximum(0.0, values - solution.values) + objective.rounding_of_offsets(coef, gradient)
            gaps = gaps + np.where(values > 0, risen / values, 0.0)
            n_evaluations += 1
        self._store_outputs(encoded, coef, intercept, gaps)
        self.n_iter_ = max(1, solution.n_iterations)
        self.n_evaluations_ = n_evaluations
        self.n_passes_ = objective.rows.n_passes
        self.converged_ = bool(self.optimality_gap_ <= self.tol)
        self.loss_ = float(values @ units)
        self.loss_curve_ = solution.history @ units
        unscaled = (objective.feature_gradient(gradient).T * units).T
        self.gradient_norm_ = float(np.linalg.norm(unscaled))

    def _store_outputs(self, encoded: EncodedTargets, coef: Array, intercept: Array, gaps: Array) -> None:
        """Set coefficients, intercepts and the largest gap; constant labels among the others."""
        if encoded.constant is not None:
            fitted = np.isnan(encoded.constant)
            all_coef = np.zeros((fitted.size, coef.shape[1]), coef.dtype)
            all_intercepts = encoded.constant.astype(coef.dtype)
            all_gaps = np.zeros(fitted.size)
            all_coef[fitted], all_intercepts[fitted], all_gaps[fitted] = coef, intercept, gaps
            coef, intercept, gaps = all_coef, all_intercepts, all_gaps
        self.coef_, self.intercept_ = coef, intercept
        self.optimality_gap_ = float(gaps.max())
        self._store_gaps(gaps)

    def _store_gaps(self, gaps: Array) -> None:
        """Set attributes for the parts' gaps (P,), where there are several."""

    def _unproved(self) -> str:
        """For which of several parts the gap isn't proved, in brackets."""
        return ""

    def _store_constant(self, encoded: EncodedTargets, X: Any) -> None:
        """Set the fitted attributes where all labels are constant, so that there is nothing to minimise."""
        none = np.zeros(0)
        self._store_outputs(encoded, np.zeros((0, X.shape[1]), X.dtype), none.astype(X.dtype), none)
        self.n_iter_, self.n_evaluations_, self.n_passes_ = 1, 0, 0
        self.converged_, self.loss_, self.gradient_norm_ = True, 0.0, 0.0
        self.loss_curve_ = np.zeros(2)

    def _shape_of_weights(self, X: Any, y: Any) -> tuple[int, ...]:
        """The shape that sample_weight may have, besides (n,)."""
        return (X.shape[0],)

    def _shortfall(self, objective: LinearObjective, solution: Solution, encoded: EncodedTargets) -> str:
        """Say what was reached, where the gap isn't certified to be at most tol."""
        name = type(self).__name__ + self._unproved()
        reached = (
            f"certified optimality_gap_ {self.optimality_gap_:.2g}, tol={self.tol:g}, "
            f"gradient_norm_ {self.gradient_norm_:.2g} after {solution.n_iterations} iterations"
        )
        worst = solution.outcomes[int(np.argmax(solution.gaps))]
        if worst is Outcome.MAX_ITER:
            doubt = "; with C=inf there may be no finite optimum" if np.inf == self.C else ""
            return f"{name} stopped before a proof: max_iter={self.max_iter} was reached{doubt}. ({reached})"
        if worst is Outcome.CERTIFIED:
            return (
                f"{name}: rounding to {self.coef_.dtype} takes the coefficients further from the optimum than tol. "
                f"Where columns of X lie far from 0, subtract their means. ({reached})"
            )
        # The solver has seen every row on the right side, or the residuals have to say it.
        residuals = objective.largest_residuals(solution.theta)
        per_part = residuals.reshape(objective.n_parts, -1)
        for part, outcome in enumerate(solution.outcomes):
            if outcome is Outcome.SEPARATED:
                per_part[part] = 0.0
        if encoded.constant is not None:
            of_all = np.full(encoded.constant.size, np.inf)
            of_all[np.isnan(encoded.constant)] = residuals
            residuals = of_all
        separated = self._separated(residuals)
        if separated and np.inf == self.C:
            return (
                f"{name}: no finite optimum exists with C=inf, since the data separate {separated}. The coefficients "
                f"are some point on the way to infinity; set a finite C, or label_smoothing. ({reached})"
            )
        if separated:
            return (
                f"{name}: the data separate {separated}, and the penalty is too weak, for X in these units, to hold "
                f"the coefficients; lower C or rescale X. ({reached})"
            )
        if np.inf == self.C:
            return (
                f"{name}: with C=inf no finite optimum could be proved. There is none where some combination of "
                f"features tells classes apart, be it on some rows only; and there is no proof for more than 2,000 "
                f"coefficients. Set a finite C. ({reached})"
            )
        if self.tol < np.finfo(np.float64).eps:
            return f"{name}: tol={self.tol:g} is less than floating point can prove. ({reached})"
        return (
            f"{name} stopped before its optimum was proved: floating point allows no more. Raise tol or lower C; "
            f"columns that depend on each other, or on very different scales, may be the cause. ({reached})"
        )


def _separation_levels(encoded: EncodedTargets, weights: Array | None) -> Array:
    """Below these sums of losses (P,) every row is on the right side: its own loss is below log 2."""
    if not encoded.hard:
        return np.zeros(encoded.lightest.size)
    return np.asarray(np.log(2) * encoded.lightest * (1.0 if weights is None else weights[weights > 0].min()))
