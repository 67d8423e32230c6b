"""Sigmoids: several labels at once."""

from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from skactivation._data.indicators import Indicator
from skactivation._data.labels import LabelClasses, as_labels, encode_labels, is_indicator
from skactivation._data.targets import IndicatorTargets
from skactivation._messages import check_two_classes, listed
from skactivation._typing import Array
from skactivation._validation import check_pos_weight, check_sample_weight, check_thresholds
from skactivation.activations import log_sigmoid, log_softmax, sigmoid, softmax
from skactivation.linear_model._base import EncodedTargets, LinearLogitModel

__all__ = ["SigmoidMultiLabel"]


# A label whose largest residual is below this is told apart without a mistake.
_CERTAIN = 1e-2
# The largest logit to start from: with larger ones all curvature would be lost.
_LARGEST_START = 20


class SigmoidMultiLabel(ClassifierMixin, LinearLogitModel):
    r"""Several labels at once: one logistic regression for each, fitted together to certified optima.

    The model for labels that don't exclude each other: the probability of label l is sigmoid(w_l x + b_l), whatever the
    other labels are. Minimised is, for each label,

    .. math:: F_l(w, b) = \sum_i s_{il} \, l(w x_i + b, t_{il}) + \frac{1}{2 C} \|w\|^2

    with the cross-entropy l(z, t) = p_l t log(1 + exp(-z)) + (1 - t) log(1 + exp(z)), weights s and `pos_weight` p_l.
    The coefficients are those of a `LogisticRegression` for each label, on the rows where the label is known; X is
    read once for all of them.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty, positive; ``np.inf`` for no penalty.
    fit_intercept : bool, default=True
        Whether to fit b. It isn't penalised.
    pos_weight : float, array-like of shape (L,) or "balanced", default=None
        Positive factor on the loss of "yes", as in PyTorch's BCEWithLogitsLoss. "balanced" stands for n0 / n1 of each
        label, the weights of its no and yes: both weigh n0 then (with `class_weight="balanced"` both weigh n / 2,
        which is the same but for C). It shifts the probabilities: see `prior_correction`.
    prior_correction : bool, default=False
        Whether log(pos_weight) is subtracted from all logits at prediction, so that probabilities are those of the data
        again. That is exact only for a well-specified model (log-odds that are linear in the features) whose penalty
        doesn't matter; it may be switched without another fit. `predict` and `threshold` go by the corrected
        probabilities.
    label_smoothing : float in [0, 1), default=0.0
        With e, targets become (1 - e) t + e / 2.
    threshold : float or array-like of shape (L,), default=0.5
        Probability in [0, 1] from which on `predict` says yes. It may be changed without another fit. (Not used by
        `predict` for labels in one dimension of which there are more than two.)
    tol : float, default=1e-6
        The relative optimality gap to be proved for each label, (F - F*) / F; positive. Lower it where digits are
        compared and there are thousands of features: with fewer, fits end far below the default.
    max_iter : int, default=1000
        Most iterations, of L-BFGS and of Newton's method together, each for all labels that need it.
    warm_start : bool, default=False
        Whether to start from the coefficients of the last fit, where labels and features are the same.

    Attributes
    ----------
    classes_ : list of L ndarrays of shape (2,), or ndarray of shape (K,)
        No and yes for each label, of Y's dtype; for labels in one dimension the classes, sorted.
    label_names_ : ndarray of shape (L,)
        Names of Y's columns, where it was a data frame, else their numbers. Not there for labels in one dimension.
    coef_ : ndarray of shape (L, d)
        Coefficients w of each label. float32 where X is.
    intercept_ : ndarray of shape (L,)
        Intercepts b.
    prior_shift_ : ndarray of shape (L,)
        log(pos_weight), 0 for constant labels.
    n_iter_ : int
        Iterations, of those on all of X.
    n_evaluations_ : int
        Evaluations of F and its gradient on all of X, for all labels or those that are left.
    n_passes_ : int
        How often all of X was read: for evaluations, for curvature, and once for the range of each feature.
    loss_ : float
        The sum of all F_l at the solution, but for constant labels.
    loss_curve_ : ndarray
        That sum at the start and after each iteration.
    gradient_norm_ : float
        Euclidean norm of its gradient by coefficients and intercepts.
    label_optimality_gaps_ : ndarray of shape (L,)
        Proved bounds on (F_l - F_l*) / F_l, never below machine epsilon; inf where none is known, 0 for constant
        labels.
    optimality_gap_ : float
        The largest of them.
    converged_ : bool
        Whether ``optimality_gap_ <= tol``.
    n_features_in_ : int
        Number of features d.
    feature_names_in_ : ndarray of shape (d,)
        Names of the features, where X had string column names.

    See Also
    --------
    SoftmaxRegression : Where exactly one class is right.
    sklearn.multioutput.ClassifierChain : Makes labels depend on each other; takes this estimator.

    Notes
    -----
    A row of weight 0 isn't there, nor is one of which no label is known. A label that is yes, or no, in all rows where
    it is known has no finite optimum: a warning says so, its coefficients are 0 and its intercept is
    log((n1 + 1/2) / (n0 + 1/2)), with n1 and n0 the sums of the sample weights of yes and no. (Without an intercept, or
    with label smoothing, there is an optimum, and it is fitted.)

    Labels in one dimension are taken too: two classes are one sigmoid, as in `SoftmaxRegression`. Several classes get
    a sigmoid each, and `predict_proba` divides by their sum; a warning says that `SoftmaxRegression` models that.

    scikit-learn's splitters and scorers look at Y in ways of their own. With NaN or soft labels in Y, cross-validate
    with a splitter that is an object and doesn't look (``KFold(5, shuffle=True, random_state=0)``, not ``cv=5``), and
    score with `skactivation.metrics.neg_multilabel_log_loss`. `cross_val_predict` (but for ``method="predict"``) and
    `ClassifierChain` recode Y, and can't have NaN or soft labels in it at all. scikit-learn's `log_loss` and
    `brier_score_loss` take indicators for exclusive classes.

    With ``C=np.inf`` a proof needs columns that are independent on the rows where a label is known, and at most 2,000
    of them; where there is none, a warning says so.

    Memory above X and Y: a byte an entry of a dense Y, and what doesn't grow with rows. Labels are fitted in groups
    where their curvature would take more than that.

    References
    ----------
    Zhang and Zhou, "A review on multi-label learning algorithms", IEEE TKDE 26 (2014): binary relevance.
    King and Zeng, "Logistic regression in rare events data", Political Analysis 9 (2001): prior correction.

    Examples
    --------
    >>> import numpy as np
    >>> from skactivation import SigmoidMultiLabel
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]])
    >>> Y = np.array([[0, 1], [0, 1], [1, 0], [0, 1], [1, np.nan], [1, 0]])  # the last but one isn't known
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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Training rows.
        y : {array-like, sparse matrix} of shape (n, L), or array-like of shape (n,)
            Y: 1 where a row has a label, 0 where not, NaN where that isn't known, values between for soft labels; or
            labels of any kind in one dimension.
        sample_weight : array-like of shape (n,) or (n, L), default=None
            Weights of rows or of single entries of Y, not negative.

        Returns
        -------
        SigmoidMultiLabel
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            For parameters, X, Y or weights that make no sense, or a label that isn't known in any row. The estimator
            then is as it was before.

        Warns
        -----
        ConvergenceWarning
            Where ``optimality_gap_ <= tol`` could not be proved; the message says for which labels and how far it got.
        UserWarning
            For constant labels, and for several classes that exclude each other.
        """
        return self._fit(X, y, sample_weight)

    def decision_function(self, X: Any) -> Array:
        """Logits.

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

    def predict_proba(self, X: Any) -> Array:
        """Probability of each label, whatever the others are: rows needn't sum to one.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.

        Returns
        -------
        ndarray of shape (n, L), or (n, K) for K classes in one dimension
            Probabilities; for classes in one dimension they are made to sum to one.
        """
        check_is_fitted(self)
        if self._has_columns():
            return self._logits(X, sigmoid)
        if self._is_binary():
            return self._logits(X, lambda logits: np.hstack([sigmoid(-logits), sigmoid(logits)]))
        return self._logits(X, lambda logits: softmax(log_sigmoid(logits)))

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithm of the probabilities, accurate also where they round to 0 or 1.

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
            return self._logits(X, log_sigmoid)
        if self._is_binary():
            return self._logits(X, lambda logits: np.hstack([log_sigmoid(-logits), log_sigmoid(logits)]))
        return self._logits(X, lambda logits: log_softmax(log_sigmoid(logits)))

    def predict(self, X: Any) -> Any:
        """Labels whose probability is at least `threshold`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.

        Returns
        -------
        {ndarray, sparse matrix} of shape (n, L), or ndarray of shape (n,)
            An indicator of Y's dtype, in CSR format if Y was sparse; for labels in one dimension one of them a row.
        """
        check_is_fitted(self)
        if not self._has_columns():
            if not self._is_binary():
                return self.classes_[self._logits(X).argmax(axis=1)]
            threshold = check_thresholds(self.threshold, 1)
            return self.classes_[(self.predict_proba(X)[:, 1] >= threshold).astype(np.intp)]
        thresholds = check_thresholds(self.threshold, len(self.classes_))
        chosen = self._logits(X, lambda logits: sigmoid(logits) >= thresholds).astype(self.classes_[0].dtype)
        return chosen if self._container is None else self._container(chosen)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of rows whose known labels are all right: subset accuracy; accuracy for labels in one dimension.

        Rows of which no label is known are left out.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Rows.
        y : {array-like, sparse matrix} of shape (n, L), or array-like of shape (n,)
            Indicator, NaN for not known, or labels. A data frame must have the columns of the fit's.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows.

        Returns
        -------
        float
            A number from 0 to 1.

        Raises
        ------
        ValueError
            For soft labels, which are neither right nor wrong, and weights of entries: use the scorer
            `skactivation.metrics.neg_multilabel_log_loss`.
        """
        check_is_fitted(self)
        if not self._has_columns():
            return float(accuracy_score(as_labels(y), self.predict(X), sample_weight=sample_weight))
        indicator = Indicator(y)
        if not indicator.is_hard:
            raise ValueError(
                "y must hold 0 and 1 for a share of right rows, got soft labels; score with "
                "skactivation.metrics.neg_multilabel_log_loss"
            )
        if np.ndim(sample_weight) > 1:
            raise ValueError(
                "sample_weight must hold one weight a row for a share of right rows; for weights of entries score with "
                "skactivation.metrics.neg_multilabel_log_loss"
            )
        chosen = self.predict(X)
        check_consistent_length(X, y)
        outputs = np.arange(len(self.classes_))
        if indicator.n_labels != outputs.size:
            raise ValueError(f"y must have a column for each of the {outputs.size} labels, got {indicator.n_labels}")
        if hasattr(y, "columns") and not np.array_equal(indicator.names, self.label_names_):
            raise ValueError(
                f"y must have the columns {self.label_names_.tolist()} in this order, got {indicator.names.tolist()}"
            )
        right, known = np.empty(indicator.n_rows), np.empty(indicator.n_rows, dtype=bool)
        for rows in indicator.slices():
            part = chosen[rows].toarray() if sparse.issparse(chosen) else chosen[rows]
            signs = indicator.signs(rows, outputs)
            right[rows] = ((signs == 0) | ((signs < 0) == (part.T == 1))).all(axis=0)
            known[rows] = signs.any(axis=0)
        weights = check_sample_weight(sample_weight, right.shape)
        weights = known * (1.0 if weights is None else weights)
        if not weights.any():
            raise ValueError("y has no row of positive weight with a known label")
        return float(np.average(right, weights=weights))

    def __sklearn_tags__(self) -> Any:
        """Say that y may be an indicator, and X sparse."""
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

    def _encode(self, y: Any, sample_weight: Array | None) -> tuple[EncodedTargets, list[str]]:
        indicator, names, attributes, messages = self._indicator_of(y, sample_weight)
        targets = IndicatorTargets(indicator, sample_weight)
        yes, no = targets.yes, targets.no
        unknown = yes + no == 0
        if unknown.any():
            labels = listed(names[unknown], "label", "labels")
            raise ValueError(f"Y has no known entry of positive weight for {labels}: drop these columns")
        pos_weight = check_pos_weight(self.pos_weight, yes, no)
        check_thresholds(self.threshold, pos_weight.size)
        constant, more_messages = self._constant_intercepts(yes, no, names)
        fitted = np.ones(yes.size, dtype=bool) if constant is None else np.isnan(constant)
        # A constant label learns nothing from its weight.
        pos_weight = np.where(fitted, pos_weight, 1.0)
        targets.fit_to(pos_weight, float(self.label_smoothing), fitted)
        half, kept = 0.5 * self.label_smoothing * (yes + no), 1 - self.label_smoothing
        with np.errstate(divide="ignore"):
            null_logits = np.log(pos_weight * (kept * yes + half)) - np.log(kept * no + half)
        encoded = EncodedTargets(
            targets=targets,
            weights=targets.row_weights,
            null_logits=np.clip(null_logits, -_LARGEST_START, _LARGEST_START)[fitted],
            attributes=attributes,
            prior_shift=np.log(pos_weight),
            units=targets.units[fitted],
            constant=constant,
        )
        return encoded, messages + more_messages

    def _indicator_of(self, y: Any, sample_weight: Array | None) -> tuple[Indicator, Array, dict[str, Any], list[str]]:
        """y as an indicator, the names of its labels, the fitted attributes that describe it, messages."""
        if is_indicator(y):
            indicator = Indicator(y)
            no_and_yes = np.array([0, 1]).astype(indicator.dtype)
            classes_of_labels = LabelClasses([no_and_yes] * indicator.n_labels)
            self._container = indicator.container
            return indicator, indicator.names, {"classes_": classes_of_labels, "label_names_": indicator.names}, []
        self.__dict__.pop("label_names_", None)
        try:
            codes, classes = encode_labels(y, sample_weight)
        except ValueError as error:
            hint = "unknown or soft values of a single label need a column: y.reshape(-1, 1), or frame[['name']]"
            raise ValueError(f"{error} ({hint})") from error
        check_two_classes(classes, type(self).__name__)
        messages = []
        if classes.size > 2:
            messages = [
                f"y holds {classes.size} classes that exclude each other: each gets a sigmoid, which does not model "
                "that; SoftmaxRegression does. For labels that do not exclude each other, y must have a column for each"
            ]
        indicator = Indicator(codes[:, np.newaxis] == np.arange(1 if classes.size == 2 else 0, classes.size))
        return indicator, classes[-indicator.n_labels :], {"classes_": classes}, messages

    def _constant_intercepts(self, yes: Array, no: Array, names: Array) -> tuple[Array | None, list[str]]:
        """Intercepts (L,) of labels without a finite optimum, NaN for the others; None where all have one; messages."""
        constant = (yes == 0) | (no == 0)
        if not constant.any():
            return None, []
        which = " and ".join(
            f"always {value} for {listed(names[other == 0], 'label', 'labels')}"
            for value, other in ((0, yes), (1, no))
            if not other.all()
        )
        if not self.fit_intercept or self.label_smoothing > 0:
            return None, [f"Y is {which}"]
        consequence = "their coefficients are 0, and every row gets the same probability, (n1 + 1/2) / (n + 1)"
        return np.where(constant, np.log(yes + 0.5) - np.log(no + 0.5), np.nan), [f"Y is {which}: {consequence}"]

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
        """Names (L,) of the labels, or the classes that have a sigmoid each."""
        names: Array = self.label_names_ if self._has_columns() else self.classes_[-len(self.coef_) :]
        return names
