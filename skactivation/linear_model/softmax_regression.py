"""Softmax regression for exclusive classes."""

from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted

from skactivation._arrays import in_library_of_x, without_tensors
from skactivation._callbacks import with_callbacks
from skactivation._data.class_totals import ClassTotals
from skactivation._data.labels import as_labels, encode_labels, soft_targets
from skactivation._messages import abridged
from skactivation._typing import Array
from skactivation._validation import check_real, check_sample_weight, check_two_classes
from skactivation.linear_model._base import LinearLogitModel
from skactivation.linear_model._class_encoder import ClassEncoder, Classes, prior_shift_of
from skactivation.linear_model._encoded_targets import EncodedTargets
from skactivation.linear_model._predictions import class_log_probabilities, class_probabilities, most_probable

__all__ = ["SoftmaxRegression"]

# A class counts as separated by the data if its largest residual is below this.
_CERTAIN = 1e-2
# Fractions of classes are at least this, so that their logarithms are finite.
_LEAST_FRACTION = 1e-9


class SoftmaxRegression(ClassifierMixin, LinearLogitModel):
    r"""Multinomial logistic regression, fitted to a certified optimum.

    Use it for classes that exclude each other: their probabilities are softmax(W x + b). The fit minimises

    .. math:: F(W, b) = \sum_i s_i \, l(W x_i + b, t_i) + \frac{1}{2 C} \|W\|^2

    with the cross-entropy l and sample weights s. This is the objective of scikit-learn's `LogisticRegression` divided
    by C, so that both have the same coefficients. A certificate bounds the distance of F from its minimum.

    Unscaled columns of X neither slow the fit nor cost it digits, but the *penalty* depends on their units: put
    `StandardScaler` in front to penalise all features alike.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty, positive; ``np.inf`` for no penalty.
    fit_intercept : bool, default=True
        Whether to fit b, which is not penalised.
    class_weight : dict or "balanced", default=None
        Factors on the weights of each class's rows, 1 for classes missing in a dict; classes that y lacks are ignored
        if all others have a factor. "balanced" gives all classes the same total weight. Not allowed with soft targets.
    prior_correction : bool, default=False
        Whether `fit` subtracts the logarithms of the class factors from the intercepts, so that probabilities match the
        unweighted data. This is exact only for a well-specified model (log-odds linear in the features) with a
        negligible penalty.
    label_smoothing : float in [0, 1), default=0.0
        With e, targets become (1 - e) t + e / K for K classes with weight.
    tol : float, default=1e-6
        Largest certified relative optimality gap, (F - F*) / F; positive. Lower it to compare digits of coefficients:
        with the default, coefficients of large problems have about three correct digits.
    max_iter : int, default=1000
        Maximum number of iterations on all of X, of L-BFGS and Newton's method together.
    warm_start : bool, default=False
        Whether to start from the previous coefficients if classes and features are the same. For a path of values of C,
        increase C.
    verbose : int or bool, default=0
        Whether to print a line of progress, at most one a second: iterations, evaluations and the objective.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The sorted classes; with soft targets, the columns of y.
    coef_ : ndarray of shape (K, d), or (1, d) for two classes
        Coefficients W, with sum 0 over the classes; for two classes, those of the logit of ``classes_[1]``. float32 if
        X is float32.
    intercept_ : ndarray of shape (K,) or (1,)
        Intercepts b, with which the logits are X W^T + b.
    uncorrected_intercept_ : ndarray of shape (K,) or (1,)
        Intercepts that minimise F: without the subtraction of `prior_correction`.
    prior_shift_ : ndarray of shape (K,) or (1,)
        Logarithms of the class factors; for two classes, their difference.
    n_iter_ : ndarray of shape (1,)
        Number of iterations on all of X.
    n_evaluations_ : int
        Number of evaluations of F and its gradient on all of X.
    n_passes_ : int
        Number of passes over X: for evaluations, for curvature, and one for the range of each feature.
    loss_ : float
        F at the solution.
    loss_curve_ : ndarray
        F at the start and after each iteration.
    gradient_norm_ : float
        Euclidean norm of F's gradient with respect to coefficients and intercepts.
    optimality_gap_ : float
        Certified bound on (F - F*) / F, at least machine epsilon; inf if unknown.
    converged_ : bool
        Whether ``optimality_gap_ <= tol``.
    n_features_in_ : int
        Number of features d.
    feature_names_in_ : ndarray of shape (d,)
        Feature names. Set only if X had string column names.

    See Also
    --------
    sklearn.linear_model.LogisticRegression : The same optimum with other solvers.
    SigmoidMultiLabel : For labels that do not exclude each other.

    Notes
    -----
    y may hold *soft targets*: an array or data frame (n, K) whose rows are distributions over the classes, such as
    another model's probabilities (distillation) or fractions of votes. The columns of a data frame become `classes_`
    (``pd.DataFrame(probabilities, columns=teacher.classes_)``); the columns of an array are numbered. `score` is then
    the expected accuracy. Cross-validate with ``KFold(shuffle=True)`` and this score or
    `skactivation.metrics.neg_cross_entropy`: scikit-learn's other scorers and its stratified splitters require labels.

    Rows of weight 0 are ignored, but for their classes. A class that occurs in no other row has the coefficients 0 and
    the logit log(0.5 / (n + 0.5)), for n rows of positive weight, beside logits of the others with mean 0. `loss_` is
    that of the others alone.

    The solver is SciPy's L-BFGS with a preconditioner from the Hessian, or Newton's method if that costs no more. It
    starts from the class frequencies; from the solution on a sample of rows if there are many rows; or from the best
    linear combination of rows if there are more features than rows. `n_iter_` and `n_evaluations_` do not count the
    work for these initial guesses.

    X is read in blocks and never changed. Copies are made of blocks, of a small dense X (24 MB at most), and of a CSC
    array, in CSR format. float32 and float64, C and Fortran order and memory maps need no conversion. Blocks are
    processed by as many threads as BLAS may use (OMP_NUM_THREADS, threadpoolctl); the results are bitwise identical
    for any number of threads.

    References
    ----------
    Hastie, Tibshirani and Friedman, *The Elements of Statistical Learning* (2009), section 4.4.
    Bach, "Self-concordant analysis for logistic regression", Electronic Journal of Statistics 4 (2010).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skactivation import SoftmaxRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SoftmaxRegression().fit(X, y)
    >>> model.predict_proba(X[:1]).round(4)
    array([[0.9816, 0.0184, 0.    ]])
    >>> print(round(model.loss_, 9), model.optimality_gap_ < 1e-12)
    28.886316604 True
    """

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
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.prior_correction = prior_correction
        self.label_smoothing = label_smoothing
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Training rows.
        y : array-like of shape (n,) or (n, K)
            Class labels of any type, or soft targets: each row a distribution over K classes.
        sample_weight : array-like of shape (n,), default=None
            Non-negative weights. Weight 0 is equivalent to removing the row, an integer weight to repeating it.

        Returns
        -------
        SoftmaxRegression
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter, X, y or the weights are invalid. The estimator stays unchanged.

        Warns
        -----
        ConvergenceWarning
            If ``optimality_gap_ > tol``; the message gives the reason and the gap reached.
        UserWarning
            If soft targets give a class no probability in any row.
        """
        return self._fit(X, y, sample_weight)

    @in_library_of_x
    def decision_function(self, X: Any) -> Array:
        """Logits of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.

        Returns
        -------
        ndarray of shape (n, K), or (n,) for two classes
            Logits; for two classes the log-odds of ``classes_[1]``.
        """
        logits = self._logits(X)
        return logits[:, 0] if logits.shape[1] == 1 else logits

    @in_library_of_x
    def predict(self, X: Any) -> Array:
        """Most probable class of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.

        Returns
        -------
        ndarray of shape (n,)
            Labels from `classes_`.
        """
        chosen = self._most_probable(X)
        labels: Array = self.classes_[chosen]
        return labels

    @in_library_of_x
    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.

        Returns
        -------
        ndarray of shape (n, K)
            Probabilities in the order of `classes_`; rows sum to one.
        """
        return self._activated(X, class_probabilities, by_class=True)

    @in_library_of_x
    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of the probabilities, finite even if a probability rounds to 0.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.

        Returns
        -------
        ndarray of shape (n, K)
            Log-probabilities in the order of `classes_`.
        """
        return self._activated(X, class_log_probabilities, by_class=True)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy; for soft targets the expected accuracy, which is the mean target of the predicted class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.
        y : array-like of shape (n,) or (n, K)
            Labels, or soft targets with columns in the order of `classes_`.
        sample_weight : array-like of shape (n,), default=None
            Non-negative weights of the rows.

        Returns
        -------
        float
            A number in [0, 1].

        Raises
        ------
        ValueError
            If the columns of soft targets are not `classes_`.
        """
        check_is_fitted(self)
        sample_weight = without_tensors(sample_weight, "sample_weight")
        soft = soft_targets(y)
        if soft is None:
            return float(
                accuracy_score(as_labels(y), self.classes_[self._most_probable(X)], sample_weight=sample_weight)
            )
        targets, names = soft
        if targets.shape[1] != self.classes_.size:
            raise ValueError(f"y must have {self.classes_.size} columns, one per class, got {targets.shape[1]}")
        if names is not None and not np.array_equal(names, self.classes_):
            raise ValueError(f"y must have the columns classes_ = {self.classes_.tolist()}, got {names.tolist()}")
        check_consistent_length(X, targets, sample_weight)
        chosen = self._most_probable(X)
        weights = check_sample_weight(sample_weight, chosen.shape)
        return float(np.average(targets[np.arange(chosen.size), chosen], weights=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _most_probable(self, X: Any) -> Array:
        """The number (n,) of each row's most probable class."""
        return self._activated(X, most_probable, by_class=True).astype(np.intp, copy=False)

    def _describe(self, y: Any) -> Classes:
        soft = soft_targets(y)
        if soft is None:
            return Classes(*encode_labels(y, None))
        encoded, names = soft
        return Classes(encoded, np.arange(encoded.shape[1]) if names is None else names)

    def _encoder(self, totals: ClassTotals) -> tuple[ClassEncoder, list[str]]:
        if totals.are_soft:
            return self._encoder_for_soft(totals)
        check_two_classes(totals.classes, type(self).__name__)
        factors, n_rows, weights = self._class_factors(totals), totals.n_rows, totals.weights
        if factors is not None:
            with np.errstate(over="ignore"):
                largest = factors * totals.largest
            if not 0 < largest.max() < np.inf:
                raise ValueError("class_weight times sample_weight overflows or is 0 in every row; rescale one of them")
            n_rows, weights = n_rows * (largest > 0), factors * weights
        present = n_rows > 0
        encoder = ClassEncoder(
            classes=totals.classes,
            present=present,
            factors=factors,
            smoothing=float(self.label_smoothing),
            null_logits=self._null_logits(weights[present]),
            prior_shift=prior_shift_of(factors, present),
        )
        if present.all():
            return encoder, []
        logit = np.log(0.5) - np.log(n_rows.sum() + 0.5)
        message = (
            f"y has no row of positive weight for the classes {abridged(totals.classes[~present])}: the others are "
            "fitted without them, and every row gives each of them a probability of at most "
            f"{0.5 / (n_rows.sum() + 1):.2g}. Add such rows, or weights"
        )
        return replace(encoder, constant=np.where(present, np.nan, logit)), [message]

    def _encoder_for_soft(self, totals: ClassTotals) -> tuple[ClassEncoder, list[str]]:
        if self.class_weight is not None:
            raise ValueError("class_weight can't be given with soft targets; use sample_weight instead")
        absent, messages = totals.n_rows == 0, []
        check_two_classes(totals.classes[~absent], type(self).__name__)
        if absent.any() and self.label_smoothing == 0:
            messages.append(
                f"y is 0 in every row of positive weight for the classes {totals.classes[absent].tolist()}: their "
                "intercepts have no finite optimum (they tend to -inf); drop these columns"
            )
        present = np.ones(totals.classes.size, dtype=bool)
        encoder = ClassEncoder(
            classes=totals.classes,
            present=present,
            factors=None,
            smoothing=float(self.label_smoothing),
            null_logits=self._null_logits(totals.weights),
            prior_shift=prior_shift_of(None, present),
        )
        return encoder, messages

    def _null_logits(self, weights: Array) -> Array:
        """Logits (P K,) of the fractions of the classes, given their total weights (K,); none for a single class."""
        fractions = (1 - self.label_smoothing) * weights / weights.sum() + self.label_smoothing / weights.size
        fractions = np.maximum(fractions, _LEAST_FRACTION)
        # A softmax over two classes is a sigmoid of one logit.
        if weights.size <= 2:
            return np.asarray(np.log(fractions[1:] / fractions[:1]))
        return np.asarray(np.log(fractions))

    def _store_outputs(self, encoded: EncodedTargets, coef: Array, intercept: Array, gaps: Array) -> None:
        """Insert the logits of classes without weight: no coefficients, and constant intercepts."""
        if encoded.constant is not None:
            coef, intercept = _with_absent_classes(coef, intercept, encoded.constant)
            gaps, encoded = np.append(gaps, 0.0), replace(encoded, constant=None)
        super()._store_outputs(encoded, coef, intercept, gaps)

    def _class_factors(self, totals: ClassTotals) -> Array | None:
        """Factor (K,) on the row weights of each class; None without `class_weight`."""
        if self.class_weight is None:
            return None
        classes = totals.classes
        factors = np.ones(classes.size)
        if isinstance(self.class_weight, dict):
            places = {label: place for place, label in enumerate(classes.tolist())}
            unknown = []
            for label, factor in self.class_weight.items():
                number = check_real(factor, f"class_weight[{label!r}]", allow_high=False)
                if label in places:
                    factors[places.pop(label)] = number
                else:
                    unknown.append(label)
            # Names of classes that y lacks are right in a fold of a search; if others lack a weight, they are mistakes.
            if unknown and places:
                raise ValueError(
                    f"class_weight has no weight for the class {next(iter(places))!r} of y, but one for "
                    f"{unknown[0]!r}, which y lacks; the classes are {classes.tolist()}"
                )
            return factors
        if self.class_weight != "balanced":
            raise ValueError(f"class_weight must be a dict, 'balanced' or None, got {self.class_weight!r}")
        # The total weights stand for the rows: one of each class.
        present = np.flatnonzero(totals.n_rows)
        factors[present] = compute_class_weight(
            "balanced", classes=present, y=present, sample_weight=totals.weights[present]
        )
        return factors

    def _separated(self, largest_residuals: Array) -> str:
        names = self.classes_[np.broadcast_to(largest_residuals < _CERTAIN, self.classes_.shape)].tolist()
        listed = ", ".join(map(repr, names))
        if len(names) == self.classes_.size:
            return f"the classes {listed} completely"
        return f"class{'es' if len(names) > 1 else ''} {listed} from the others" if names else ""


def _with_absent_classes(coef: Array, intercept: Array, constant: Array) -> tuple[Array, Array]:
    """Coefficients and intercepts of all classes from those of the classes that are fitted.

    Per row, the fitted logits have the mean 0 and so a maximum of at least 0: a constant logit is small beside it.
    """
    fitted = np.isnan(constant)
    n_fitted = int(np.count_nonzero(fitted))
    if len(coef) == 1:
        # One logit, of the second of two classes.
        coef, intercept = np.vstack([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
    all_coef = np.zeros((constant.size, coef.shape[1]), coef.dtype)
    all_intercepts = np.where(fitted, 0.0, constant).astype(coef.dtype)
    if n_fitted > 1:
        all_coef[fitted], all_intercepts[fitted] = coef, intercept - intercept.mean()
    if constant.size == 2:
        return all_coef[1:] - all_coef[:1], all_intercepts[1:] - all_intercepts[:1]
    return all_coef, all_intercepts
