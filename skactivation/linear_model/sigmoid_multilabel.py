"""Multilabel classification with one sigmoid per label."""

from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from skactivation._activation_kernels import log_sigmoid_block, sigmoid_block
from skactivation._arrays import column_names, in_library_of_x, without_tensors
from skactivation._callbacks import with_callbacks
from skactivation._data.indicators import Indicator
from skactivation._data.labels import LabelClasses, as_labels, is_indicator
from skactivation._messages import listed
from skactivation._typing import Array
from skactivation._validation import check_pos_weight, check_thresholds
from skactivation.linear_model._base import LinearLogitModel
from skactivation.linear_model._label_encoder import LabelEncoder, Labels, TotalsOfLabels
from skactivation.linear_model._multilabel_targets import constant_intercepts, indicator_of_classes
from skactivation.linear_model._predictions import (
    class_log_probabilities,
    class_probabilities,
    most_probable,
    normalized_log_probabilities,
    normalized_probabilities,
)
from skactivation.linear_model._subset_accuracy import check_hard, subset_accuracy

__all__ = ["SigmoidMultiLabel"]


# A label counts as separated by the data if its largest residual is below this.
_CERTAIN = 1e-2
# Larger initial logits would leave no curvature.
_LARGEST_START = 20


class SigmoidMultiLabel(ClassifierMixin, LinearLogitModel):
    r"""Multilabel classification: one logistic regression per label, fitted together to certified optima.

    Use it for labels that do not exclude each other. Label l has the probability sigmoid(w_l x + b_l), and the fit
    minimises

    .. math:: F_l(w, b) = \sum_i s_{il} \, l(w x_i + b, t_{il}) + \frac{1}{2 C} \|w\|^2

    with the cross-entropy l(z, t) = p_l t log(1 + exp(-z)) + (1 - t) log(1 + exp(z)), sample weights s and `pos_weight`
    p_l. The optimum is that of a `LogisticRegression` per label, on the rows where the label is known.

    Unscaled columns of X neither slow the fit nor cost it digits, but the *penalty* depends on their units: put
    `StandardScaler` in front to penalise all features alike.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty, positive; ``np.inf`` for no penalty.
    fit_intercept : bool, default=True
        Whether to fit b, which is not penalised.
    pos_weight : float, array-like of shape (L,) or "balanced", default=None
        Positive factor on the loss of entries 1, as in PyTorch's BCEWithLogitsLoss. "balanced" is n0 / n1, the total
        weights of a label's entries 0 and 1: both values then weigh n0. (`class_weight="balanced"` gives both n / 2,
        which is equivalent up to the value of C.) A factor shifts the probabilities: see `prior_correction`.
    prior_correction : bool, default=False
        Whether `fit` subtracts log(pos_weight) from the intercepts, so that probabilities match the unweighted data.
        This is exact only for a well-specified model (log-odds linear in the features) with a negligible penalty.
        `predict` and `threshold` use the corrected probabilities.
    label_smoothing : float in [0, 1), default=0.0
        With e, targets become (1 - e) t + e / 2.
    threshold : float, array-like of shape (L,) or dict, default=0.5
        `predict` returns 1 if the probability is at least this value in [0, 1]. A dict has the values of some labels by
        name; the others have 0.5. May be changed without refitting.
        `predict` ignores it if y has one dimension and more than two classes.
    tol : float, default=1e-6
        Largest certified relative optimality gap, (F - F*) / F, of each label; positive. Lower it to compare digits of
        coefficients with many rows or features; with few, gaps end far below the default.
    max_iter : int, default=1000
        Maximum number of iterations, of L-BFGS and Newton's method together, each for all labels that need it.
    warm_start : bool, default=False
        Whether to start from the previous coefficients if labels and features are the same.
    verbose : int or bool, default=0
        Whether to print a line of progress, at most one a second: iterations, evaluations and the objective.

    Attributes
    ----------
    classes_ : list of L ndarrays of shape (2,), or ndarray of shape (K,)
        The values 0 and 1 for each label, of Y's dtype; for y in one dimension, the sorted classes.
    label_names_ : ndarray of shape (L,)
        Column names of Y if it was a data frame, else column numbers. Not set for y in one dimension.
    coef_ : ndarray of shape (L, d)
        Coefficients w of each label; float32 if X is float32.
    intercept_ : ndarray of shape (L,)
        Intercepts b, with which the logits are X W^T + b.
    uncorrected_intercept_ : ndarray of shape (L,)
        Intercepts that minimise F: without the subtraction of `prior_correction`.
    prior_shift_ : ndarray of shape (L,)
        log(pos_weight), 0 for constant labels.
    n_iter_ : ndarray of shape (1,)
        Number of iterations on all of X.
    n_evaluations_ : int
        Number of evaluations of loss and gradient on all of X, for all labels or those not yet converged.
    n_passes_ : int
        Number of passes over X: for evaluations, for curvature, and one for the range of each feature.
    loss_ : float
        Sum of F_l over all labels that are not constant, at the solution.
    loss_curve_ : ndarray
        This sum at the start and after each iteration.
    gradient_norm_ : float
        Euclidean norm of its gradient with respect to coefficients and intercepts.
    label_optimality_gaps_ : ndarray of shape (L,)
        Certified bounds on (F_l - F_l*) / F_l, at least machine epsilon; inf if unknown, 0 for constant labels.
    optimality_gap_ : float
        Maximum of `label_optimality_gaps_`.
    converged_ : bool
        Whether ``optimality_gap_ <= tol``.
    n_features_in_ : int
        Number of features d.
    feature_names_in_ : ndarray of shape (d,)
        Feature names. Set only if X had string column names.

    See Also
    --------
    SoftmaxRegression : For classes that exclude each other.
    sklearn.multioutput.ClassifierChain : Models dependence between labels; accepts this estimator.

    Notes
    -----
    Rows of weight 0 and rows without a known label are ignored. A label that is 0, or 1, in all rows where it is known
    has no finite optimum, except with label smoothing or without an intercept: `fit` warns and sets its coefficients
    to 0 and its intercept to log((n1 + 1/2) / (n0 + 1/2)), with n0 and n1 the total weights of its entries 0 and 1.

    y may have one dimension. Two classes get one sigmoid, as in `SoftmaxRegression`. With more classes, each gets a
    sigmoid, `predict_proba` divides by their sum, and a warning recommends `SoftmaxRegression`.

    With NaN or soft labels in Y, cross-validate with a splitter object that does not read Y
    (``KFold(5, shuffle=True)``, not ``cv=5``) and the scorer `skactivation.metrics.neg_multilabel_log_loss`;
    `ClassifierChain` and `cross_val_predict` (except with ``method="predict"``) recode Y and cannot handle such labels.
    scikit-learn's `log_loss` and `brier_score_loss` treat any indicator as exclusive classes.

    With ``C=np.inf`` a certificate requires at most 2,000 columns, linearly independent on the rows where the label is
    known; without a certificate, `fit` warns. Memory beyond X and Y is one byte per entry of a dense Y plus an amount
    that does not depend on the number of rows: labels are fitted in groups if their Hessians need more.

    References
    ----------
    Zhang and Zhou, "A review on multi-label learning algorithms", IEEE TKDE 26 (2014): binary relevance.
    King and Zeng, "Logistic regression in rare events data", Political Analysis 9 (2001): prior correction.

    Examples
    --------
    >>> import numpy as np
    >>> from skactivation import SigmoidMultiLabel
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> Y = np.array([[0, 1], [0, 1], [1, 0], [0, 1], [1, np.nan], [1, 0]])  # NaN: not known
    >>> model = SigmoidMultiLabel().fit(X, Y)
    >>> model.predict_proba(X[-2:]).round(3)
    array([[0.76 , 0.341],
           [0.872, 0.216]])
    >>> model.predict(X[:2])
    array([[0., 1.],
           [0., 1.]])
    """

    def __init__(
        self,
        *,
        C: float = 1.0,
        fit_intercept: bool = True,
        pos_weight: Any = None,
        prior_correction: bool = False,
        label_smoothing: float = 0.0,
        threshold: Any = 0.5,
        tol: float = 1e-6,
        max_iter: int = 1000,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.pos_weight = pos_weight
        self.prior_correction = prior_correction
        self.label_smoothing = label_smoothing
        self.threshold = threshold
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
        y : {array-like, sparse matrix} of shape (n, L), or array-like of shape (n,)
            Y: 1 if the row has the label, 0 if not, NaN if not known, values between 0 and 1 for soft labels; or y:
            class labels of any type.
        sample_weight : array-like of shape (n,) or (n, L), default=None
            Non-negative weights of the rows or of the entries of Y.

        Returns
        -------
        SigmoidMultiLabel
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter, X, y or the weights are invalid, or a label is not known in any row. The estimator stays
            unchanged.

        Warns
        -----
        ConvergenceWarning
            If ``optimality_gap_ > tol``; the message names the labels, the reason and the gap reached.
        UserWarning
            For constant labels, and for more than two classes in one dimension.
        """
        return self._fit(X, y, sample_weight)

    @in_library_of_x
    def decision_function(self, X: Any) -> Array:
        """Logits of the labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.

        Returns
        -------
        ndarray of shape (n, L), or (n,) for two classes in one dimension
            Log-odds of each label.
        """
        logits = self._logits(X)
        return logits[:, 0] if self._is_binary() else logits

    @in_library_of_x
    def predict_proba(self, X: Any) -> Array:
        """Probability of each label; rows need not sum to one.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.

        Returns
        -------
        ndarray of shape (n, L), or (n, K) for K classes in one dimension
            Probabilities; for classes in one dimension, rows are normalised to sum to one.
        """
        check_is_fitted(self)
        if self._has_columns():
            return self._activated(X, lambda z: sigmoid_block(z, 1.0))
        if self._is_binary():
            return self._activated(X, class_probabilities)
        return self._activated(X, normalized_probabilities, by_class=True)

    @in_library_of_x
    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of the probabilities, accurate even if a probability rounds to 0 or 1.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.

        Returns
        -------
        ndarray of shape (n, L), or (n, K) for K classes in one dimension
            Natural logarithms.
        """
        check_is_fitted(self)
        if self._has_columns():
            return self._activated(X, lambda z: log_sigmoid_block(z, 1.0))
        if self._is_binary():
            return self._activated(X, class_log_probabilities)
        return self._activated(X, normalized_log_probabilities, by_class=True)

    @in_library_of_x
    def predict(self, X: Any) -> Any:
        """Predicted labels: those with a probability of at least `threshold`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.

        Returns
        -------
        {ndarray, sparse matrix} of shape (n, L), or ndarray of shape (n,)
            Indicator of Y's dtype, in CSR format if Y was sparse; or one class per row if y had one dimension.
        """
        check_is_fitted(self)
        if not self._has_columns():
            if not self._is_binary():
                return self.classes_[self._activated(X, most_probable, by_class=True)]
            threshold = check_thresholds(self.threshold, 1)
            return self.classes_[(self._activated(X, class_probabilities)[:, 1] >= threshold).astype(np.intp)]
        thresholds = check_thresholds(self.threshold, len(self.classes_), self.label_names_).reshape(-1, 1)
        chosen = self._activated(X, lambda z: sigmoid_block(z, 1.0) >= thresholds).astype(self.classes_[0].dtype)
        return chosen if self._container is None else getattr(sparse, self._container)(chosen)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Subset accuracy: fraction of rows whose known labels are all predicted correctly.

        For y in one dimension it is the accuracy. Rows without a known label are ignored.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.
        y : {array-like, sparse matrix} of shape (n, L), or array-like of shape (n,)
            Indicator with NaN for not known, or class labels. A data frame must have the same columns as in `fit`.
        sample_weight : array-like of shape (n,), default=None
            Non-negative weights of the rows.

        Returns
        -------
        float
            A number in [0, 1].

        Raises
        ------
        ValueError
            For soft labels or weights of entries: use the scorer `skactivation.metrics.neg_multilabel_log_loss`.
        """
        check_is_fitted(self)
        sample_weight = without_tensors(sample_weight, "sample_weight")
        if not self._has_columns():
            return float(accuracy_score(as_labels(y), as_labels(self.predict(X)), sample_weight=sample_weight))
        indicator = Indicator(y)
        check_hard(indicator, sample_weight)
        chosen = without_tensors(self.predict(X), "predict")
        check_consistent_length(X, y)
        n_labels = len(self.classes_)
        if indicator.n_labels != n_labels:
            raise ValueError(f"y must have a column for each of the {n_labels} labels, got {indicator.n_labels}")
        if column_names(y, "y") and not np.array_equal(indicator.names, self.label_names_):
            raise ValueError(
                f"y must have the columns {self.label_names_.tolist()} in this order, got {indicator.names.tolist()}"
            )
        return subset_accuracy(chosen, indicator, sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags

    def _has_columns(self) -> bool:
        return isinstance(self.classes_, list)

    def _is_binary(self) -> bool:
        return not self._has_columns() and len(self.classes_) == 2

    def _shape_of_weights(self, X: Any, y: Any) -> tuple[int, ...]:
        return (X.shape[0], *np.shape(y)[1:]) if is_indicator(y) else (X.shape[0],)

    def _encoder(self, totals: TotalsOfLabels) -> tuple[LabelEncoder, list[str]]:
        (yes, no, _), names = totals.sums, totals.names
        unknown = yes + no == 0
        if unknown.any():
            labels = listed(names[unknown], "label", "labels")
            raise ValueError(f"Y has no known entry of positive weight for {labels}: drop these columns")
        pos_weight = check_pos_weight(self.pos_weight, yes, no)
        check_thresholds(self.threshold, pos_weight.size, names)
        have_optimum = not self.fit_intercept or self.label_smoothing > 0
        constant, messages = constant_intercepts(yes, no, names, have_optimum=have_optimum)
        fitted = np.ones(yes.size, dtype=bool) if constant is None else np.isnan(constant)
        # The formula for the intercept of a constant label does not use pos_weight.
        pos_weight = np.where(fitted, pos_weight, 1.0)
        half, kept = 0.5 * self.label_smoothing * (yes + no), 1 - self.label_smoothing
        with np.errstate(divide="ignore"):
            null_logits = np.log(pos_weight * (kept * yes + half)) - np.log(kept * no + half)
        encoder = LabelEncoder(
            sums=totals.sums,
            pos_weight=pos_weight,
            smoothing=float(self.label_smoothing),
            fitted=fitted,
            null_logits=np.clip(null_logits, -_LARGEST_START, _LARGEST_START)[fitted],
            attributes=totals.attributes,
            constant=constant,
        )
        return encoder, totals.messages + messages

    def _describe(self, y: Any) -> Labels:
        if is_indicator(y):
            indicator = Indicator(y)
            no_and_yes = np.array([0, 1]).astype(indicator.dtype)
            classes_of_labels = LabelClasses([no_and_yes] * indicator.n_labels)
            attributes = {
                "classes_": classes_of_labels,
                "label_names_": indicator.names,
                "_container": indicator.container,
            }
            return Labels(indicator, indicator.names, attributes, [])
        self.__dict__.pop("label_names_", None)
        indicator, classes, messages = indicator_of_classes(y, type(self).__name__)
        return Labels(indicator, classes[-indicator.n_labels :], {"classes_": classes}, messages)

    def _store_gaps(self, gaps: Array) -> None:
        self.label_optimality_gaps_ = gaps

    def _uncertified(self) -> str:
        names = self._names()
        if len(names) == 1:
            return ""
        labels = listed(names[self.label_optimality_gaps_ > self.tol], "label", "labels")
        return f" ({labels} of {len(names)})"

    def _separated(self, largest_residuals: Array) -> str:
        separated = self._names()[largest_residuals < _CERTAIN]
        return listed(separated, "label", "labels") if separated.size else ""

    def _names(self) -> Array:
        """Names (L,) of the labels, or the classes that have a sigmoid."""
        names: Array = self.label_names_ if self._has_columns() else self.classes_[-len(self.coef_) :]
        return names
