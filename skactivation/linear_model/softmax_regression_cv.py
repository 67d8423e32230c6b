"""Softmax regression with C chosen by cross-validation."""

from typing import Any, Self

import numpy as np

from skactivation._callbacks import with_callbacks
from skactivation._data.targets import class_targets
from skactivation._messages import abridged
from skactivation.linear_model._cross_validation import SearchData
from skactivation.linear_model._encoded_targets import EncodedTargets
from skactivation.linear_model._held_out_losses import HeldOutLosses
from skactivation.linear_model._penalty_search import PenaltySearch, refuse_missing
from skactivation.linear_model.softmax_regression import SoftmaxRegression

__all__ = ["SoftmaxRegressionCV"]


class SoftmaxRegressionCV(PenaltySearch, SoftmaxRegression):
    """`SoftmaxRegression` that chooses its penalty, 1 / C, by cross-validation.

    It gives the C and the scores of ``GridSearchCV(SoftmaxRegression(), {"C": Cs})``, as far as `tol` determines them,
    in a fraction of the time: for each value of C, the fits to all folds read X together, share a preconditioner, and
    start where the fits with stronger penalties point to. The final fit, to all rows with `C_`, is that of
    `SoftmaxRegression`.

    Parameters
    ----------
    Cs : int or array-like of shape (n_Cs,), default=10
        Values of C to compare, or their number: so many from 1e-4 to 1e4, equal steps apart on a logarithmic scale.
    cv : int, splitter, iterable or "loo", default=None
        The folds, as everywhere in scikit-learn; None is 5 folds, stratified unless targets are soft. "loo" estimates
        the log loss of each row under the fit to all others, from one fit to all rows and from refits without the rows
        that need one: see Notes.
    scoring : str or callable, default=None
        What to compare, greater being better: a scorer or its name. None is minus the log loss of the held-out rows,
        computed from logits and weighted by `sample_weight`.
    one_standard_error : bool, default=False
        Whether to choose the smallest C whose mean score is within one standard error of the best.
    fit_intercept : bool, default=True
        Whether to fit intercepts, which are not penalised.
    class_weight : dict or "balanced", default=None
        As for `SoftmaxRegression`; "balanced" weights are those of each fold's training rows.
    prior_correction : bool, default=False
        As for `SoftmaxRegression`: held-out rows are scored with the corrected probabilities.
    label_smoothing : float in [0, 1), default=0.0
        As for `SoftmaxRegression`; held-out rows are scored against y as it is.
    tol : float, default=1e-6
        Largest certified relative optimality gap of each fit. Scores are about as accurate as the square root of the
        gaps reached, mostly to 4 digits and more.
    max_iter : int, default=1000
        Maximum number of iterations for each value of C.
    verbose : int or bool, default=0
        Whether to print a line of progress, at most one a second: the value of C and the progress of its fits.

    Attributes
    ----------
    C_ : float
        The chosen C.
    Cs_ : ndarray of shape (n_Cs,)
        The values of C, in the order given; if a callback has stopped the search, those that were tried.
    scores_ : ndarray of shape (n_folds, n_Cs)
        The score of each value of C in each fold. With ``cv="loo"``, each row is a fold; those of weight 0 are NaN.
    mean_scores_ : ndarray of shape (n_Cs,)
        Means of `scores_` over the folds; with ``cv="loo"``, means over the rows, weighted by `sample_weight`.
    standard_errors_ : ndarray of shape (n_Cs,)
        Standard errors of these means, for folds their standard deviation (with n_folds - 1) divided by
        sqrt(n_folds); NaN for a single fold.
    best_index_ : int
        Index of `C_` in `Cs_`; of equal scores the first counts.
    best_score_ : float
        Mean score of `C_`.
    classes_ : ndarray of shape (K,)
        Sorted class labels; column numbers for soft targets, column names if they were a data frame.
    coef_ : ndarray of shape (K, d), or (1, d) for two classes
        Coefficients of the final fit.
    intercept_ : ndarray of shape (K,), or (1,)
        Its intercepts.
    n_features_in_ : int
        Number of features d.
    feature_names_in_ : ndarray of shape (d,)
        Feature names. Set only if X had string column names.

    The final fit sets the other attributes of `SoftmaxRegression`, too: `optimality_gap_`, `converged_`, `loss_` and so
    on.

    See Also
    --------
    SoftmaxRegression : The same model with a given C.
    SigmoidMultiLabelCV : For labels that may occur together.
    skactivation.displays.CVDisplay : Draws the scores.
    sklearn.model_selection.GridSearchCV : For other parameters than C.

    Notes
    -----
    `score` is that of the plain estimator, whatever `scoring` is.

    scikit-learn's scorer "neg_log_loss" clips probabilities at the machine epsilon; ``scoring=None`` does not. Where a
    model is certain and wrong, its scores are lower.

    With ``cv="loo"``, a Newton step from the fit to all rows, with the Hessian without the row, gives each row's logits
    without it. Rows whose loss the step raises most are left out in fact, until what remains of the error is expected
    to be below half a per cent of the mean loss. There may be at most 2,000 coefficients. Class weights are those of
    all rows.

    References
    ----------
    Rad and Maleki, "A scalable estimate of the out-of-sample prediction error via approximate leave-one-out
    cross-validation", Journal of the Royal Statistical Society B 82 (2020).
    Friedman, Hastie and Tibshirani, "Regularization paths for generalized linear models via coordinate descent",
    Journal of Statistical Software 33 (2010): the rule of one standard error.

    Examples
    --------
    >>> from sklearn.datasets import load_wine
    >>> from skactivation import SoftmaxRegressionCV
    >>> X, y = load_wine(return_X_y=True)
    >>> search = SoftmaxRegressionCV(Cs=[0.01, 0.1, 1, 10]).fit(X, y)
    >>> search.C_
    10.0
    >>> search.mean_scores_.round(3)
    array([-0.29 , -0.144, -0.093, -0.088])
    >>> SoftmaxRegressionCV(Cs=[0.01, 0.1, 1, 10], cv="loo").fit(X, y).mean_scores_.round(3)
    array([-0.269, -0.138, -0.099, -0.115])
    """

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
        verbose: int = 0,
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
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> Self:
        """Choose C and fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, d)
            Training rows.
        y : array-like of shape (n,) or (n, K)
            Class labels of any type, or soft targets: each row a distribution over K classes.
        sample_weight : array-like of shape (n,), default=None
            Non-negative weights, of the fits and of ``scoring=None``. A scorer gets them by metadata routing.
        **params : dict
            `groups` for the splitter; with metadata routing enabled, parameters of the splitter and of the scorer.

        Returns
        -------
        SoftmaxRegressionCV
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter, X, y or the weights are invalid, if the training rows of a fold lack a class, or if a score
            is not finite. The estimator stays unchanged.

        Warns
        -----
        ConvergenceWarning
            If a fit's gap is not certified to be at most tol.
        UserWarning
            As `SoftmaxRegression.fit`, for all rows.
        """
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
        return HeldOutLosses(data.rows, class_targets(encoded, classes.size), data.weights)

    def _check_fold(self, data: SearchData, encoded: EncodedTargets, messages: list[str]) -> None:
        refuse_missing(data.description.classes[encoded.missing_since(data.encoded)])
        if messages and data.description.encoded.ndim > 1 and not data.messages:
            raise ValueError(f"of the training rows, {messages[0]}")

    def _check_rows_to_leave_out(self, data: SearchData) -> None:
        encoded, classes = data.description
        if data.encoded.constant is not None or data.messages:
            raise ValueError("cv='loo' takes classes that all have rows of positive weight: drop the others")
        counted = np.ones(len(encoded), dtype=bool) if data.encoded.weights is None else data.encoded.weights > 0
        if encoded.ndim > 1:
            n_rows = np.count_nonzero((encoded > 0) & counted[:, np.newaxis], axis=0)
        else:
            n_rows = np.bincount(encoded, counted, minlength=classes.size)
        if n_rows.min() < 2 and not (encoded.ndim > 1 and self.label_smoothing > 0):
            raise ValueError(
                f"cv='loo' leaves out the only row of the classes {abridged(classes[n_rows < 2])}: drop these classes"
            )
