"""Softmax regression for exclusive classes."""

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import check_consistent_length
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.validation import check_is_fitted

from skactivation._data.labels import as_labels, encode_labels, soft_targets
from skactivation._data.targets import class_targets
from skactivation._typing import Array
from skactivation._validation import check_real, check_sample_weight, check_two_classes
from skactivation.activations import log_sigmoid, log_softmax, sigmoid, softmax
from skactivation.linear_model._base import EncodedTargets, LinearLogitModel

__all__ = ["SoftmaxRegression"]

# A class counts as separated by the data if its largest residual is below this.
_CERTAIN = 1e-2


class SoftmaxRegression(ClassifierMixin, LinearLogitModel):
    r"""Multinomial logistic regression, fitted to a certified optimum.

    Use it for classes that exclude each other: their probabilities are softmax(W x + b). The fit minimises

    .. math:: F(W, b) = \sum_i s_i \, l(W x_i + b, t_i) + \frac{1}{2 C} \|W\|^2

    with the cross-entropy l and sample weights s. This is the objective of scikit-learn's `LogisticRegression` divided
    by C, so that both have the same coefficients. A certificate bounds the distance of F from its minimum.

    Unscaled columns of X neither slow the fit nor cost accuracy, but the *penalty* depends on their units: put
    `StandardScaler` in front to penalise all features alike.

    Parameters
    ----------
    C : float, default=1.0
        Inverse strength of the penalty, positive; ``np.inf`` for no penalty.
    fit_intercept : bool, default=True
        Whether to fit b, which is not penalised.
    class_weight : dict or "balanced", default=None
        Positive factors on the weights of each class's rows, 1 for classes missing in a dict. "balanced" gives all
        classes the same total weight. Not allowed with soft targets.
    prior_correction : bool, default=False
        Whether predictions subtract the logarithms of the class factors from the logits, so that probabilities match
        the unweighted data. This is exact only for a well-specified model (log-odds linear in the features) with a
        negligible penalty. May be changed without refitting; `coef_` and `intercept_` do not change.
    label_smoothing : float in [0, 1), default=0.0
        With e, targets become (1 - e) t + e / K for K classes.
    tol : float, default=1e-6
        Largest certified relative optimality gap, (F - F*) / F; positive. Lower it to compare digits of coefficients:
        with the default, coefficients of large problems have about three correct digits.
    max_iter : int, default=1000
        Maximum number of iterations on all of X, of L-BFGS and Newton's method together.
    warm_start : bool, default=False
        Whether to start from the previous coefficients if classes and features are the same. For a path of values of C,
        increase C.

    Attributes
    ----------
    classes_ : ndarray of shape (K,)
        The sorted classes; with soft targets, the columns of y.
    coef_ : ndarray of shape (K, d), or (1, d) for two classes
        Coefficients W, with sum 0 over the classes; for two classes, those of the logit of ``classes_[1]``. float32 if
        X is float32.
    intercept_ : ndarray of shape (K,) or (1,)
        Intercepts b.
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

    Rows of weight 0 are ignored: a class that occurs in no other row is not in `classes_`.

    The solver is SciPy's L-BFGS with a preconditioner from the Hessian, or Newton's method if that costs no more. It
    starts from the class frequencies; from the solution on a sample of rows if there are many rows; or from the best
    linear combination of rows if there are more features than rows. `n_iter_` and `n_evaluations_` do not count the
    work for these initial guesses.

    X is read in blocks and never changed. Only a small dense X is copied as a whole, at most 24 MB. float32 and
    float64, C and Fortran order, memory maps, CSR and CSC need no conversion. Blocks are processed by as many threads
    as BLAS may use (OMP_NUM_THREADS, threadpoolctl); the results are bitwise identical for any number of threads.

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
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.prior_correction = prior_correction
        self.label_smoothing = label_smoothing
        self.tol = tol
        self.max_iter = max_iter
        self.warm_start = warm_start

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
        logits = self.decision_function(X)
        chosen = (logits > 0).astype(np.intp) if logits.ndim == 1 else logits.argmax(axis=1)
        labels: Array = self.classes_[chosen]
        return labels

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
        return self._logits(X, _probabilities)

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
        return self._logits(X, _log_probabilities)

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
        soft = soft_targets(y)
        if soft is None:
            return float(super().score(X, as_labels(y), sample_weight))
        targets, names = soft
        if targets.shape[1] != self.classes_.size:
            raise ValueError(f"y must have {self.classes_.size} columns, one per class, got {targets.shape[1]}")
        if names is not None and not np.array_equal(names, self.classes_):
            raise ValueError(f"y must have the columns classes_ = {self.classes_.tolist()}, got {names.tolist()}")
        check_consistent_length(X, targets, sample_weight)
        logits = self.decision_function(X)
        chosen = (logits > 0).astype(np.intp) if logits.ndim == 1 else logits.argmax(axis=1)
        weights = check_sample_weight(sample_weight, chosen.shape)
        return float(np.average(targets[np.arange(chosen.size), chosen], weights=weights))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _encode(self, y: Any, sample_weight: Array | None) -> tuple[EncodedTargets, list[str]]:
        soft = soft_targets(y)
        messages: list[str] = []
        if soft is None:
            encoded, classes = encode_labels(y, sample_weight)
            factors = self._class_factors(encoded, classes, sample_weight)
            weights = self._weigh_classes(encoded, factors, sample_weight)
        elif self.class_weight is not None:
            raise ValueError("class_weight can't be given with soft targets; use sample_weight instead")
        else:
            (encoded, names), weights = soft, sample_weight
            classes = np.arange(encoded.shape[1]) if names is None else names
            messages = self._check_shares(encoded, classes, weights)
            factors = np.ones(classes.size)
        check_two_classes(classes, type(self).__name__)
        shares, log_factors = self._shares(encoded, classes, weights), np.log(factors)
        null_logits = np.log(shares)
        if classes.size == 2:
            # A softmax over two classes is a sigmoid of one logit.
            null_logits, log_factors = np.log(shares[1:] / shares[:1]), log_factors[1:] - log_factors[:1]
        encoded_targets = EncodedTargets(
            targets=class_targets(encoded, classes.size, float(self.label_smoothing)),
            weights=weights,
            null_logits=null_logits,
            attributes={"classes_": classes},
            prior_shift=log_factors,
            units=np.ones(1),
        )
        return encoded_targets, messages

    def _class_factors(self, codes: Array, classes: Array, sample_weight: Array | None) -> Array:
        """Factor (K,) on the row weights of each class."""
        factors = np.ones(classes.size)
        if self.class_weight is None:
            return factors
        if isinstance(self.class_weight, dict):
            for label, factor in self.class_weight.items():
                place = np.flatnonzero(classes == label)
                if place.size != 1:
                    raise ValueError(f"class_weight must name classes of y, {classes.tolist()}, got {label!r}")
                factors[place] = check_real(factor, f"class_weight[{label!r}]", allow_low=False, allow_high=False)
            return factors
        if self.class_weight != "balanced":
            raise ValueError(f"class_weight must be a dict, 'balanced' or None, got {self.class_weight!r}")
        counted = slice(None) if sample_weight is None else sample_weight > 0
        return np.asarray(
            compute_class_weight(
                "balanced",
                classes=np.arange(classes.size),
                y=codes[counted],
                # Weights relative to the largest, because sums of huge weights overflow.
                sample_weight=None if sample_weight is None else sample_weight[counted] / sample_weight.max(),
            )
        )

    def _weigh_classes(self, codes: Array, factors: Array, sample_weight: Array | None) -> Array | None:
        """Row weights times class factors."""
        if self.class_weight is None:
            return sample_weight
        weights: Array = factors[codes]
        if sample_weight is not None:
            weights = weights * sample_weight
            if not (np.isfinite(weights.max()) and weights.max() > 0):
                raise ValueError("class_weight times sample_weight overflows or is 0 in every row; rescale one of them")
        return weights

    def _check_shares(self, targets: Array, classes: Array, sample_weight: Array | None) -> list[str]:
        """Check that at least two classes have targets above 0; return messages about the others."""
        present = targets if sample_weight is None else targets[sample_weight > 0]
        absent = present.max(axis=0) == 0
        check_two_classes(classes[~absent], type(self).__name__)
        if not absent.any() or self.label_smoothing > 0:
            return []
        return [
            f"y is 0 in every row of positive weight for the classes {classes[absent].tolist()}: their intercepts have "
            "no finite optimum (they tend to -inf); drop these columns"
        ]

    def _shares(self, encoded: Array, classes: Array, weights: Array | None) -> Array:
        """Fraction (K,) of each class in the targets, at least 1e-9, so that its logarithm is finite."""
        if encoded.ndim == 1:
            shares = np.bincount(encoded, weights, minlength=classes.size)
        else:
            shares = np.average(encoded, axis=0, weights=weights)
        shares = shares / shares.sum()
        return np.asarray(np.maximum((1 - self.label_smoothing) * shares + self.label_smoothing / classes.size, 1e-9))

    def _separated(self, largest_residuals: Array) -> str:
        names = self.classes_[np.broadcast_to(largest_residuals < _CERTAIN, self.classes_.shape)].tolist()
        listed = ", ".join(map(repr, names))
        if len(names) == self.classes_.size:
            return f"the classes {listed} completely"
        return f"class{'es' if len(names) > 1 else ''} {listed} from the others" if names else ""


def _probabilities(logits: Array) -> Array:
    return softmax(logits) if logits.shape[1] > 1 else np.hstack([sigmoid(-logits), sigmoid(logits)])


def _log_probabilities(logits: Array) -> Array:
    return log_softmax(logits) if logits.shape[1] > 1 else np.hstack([log_sigmoid(-logits), log_sigmoid(logits)])
