"""Multilabel classification with C chosen by cross-validation."""

from functools import partial
from typing import Any, Self

import numpy as np

from skactivation._activation_kernels import log_sigmoid_block
from skactivation._callbacks import with_callbacks
from skactivation._data.labels import encode_labels, is_indicator
from skactivation._data.targets import IndicatorTargets, class_targets
from skactivation._messages import listed
from skactivation._typing import Array
from skactivation._validation import check_boolean
from skactivation.linear_model._cross_validation import SearchData
from skactivation.linear_model._encoded_targets import EncodedTargets
from skactivation.linear_model._held_out_losses import HeldOutLosses, LossSums
from skactivation.linear_model._penalty_search import Choice, PenaltySearch, refuse_missing
from skactivation.linear_model.sigmoid_multilabel import SigmoidMultiLabel

__all__ = ["SigmoidMultiLabelCV"]


class SigmoidMultiLabelCV(PenaltySearch, SigmoidMultiLabel):
    """`SigmoidMultiLabel` that chooses its penalty, 1 / C, by cross-validation: one C for all labels, or one for each.

    It gives the C and the scores of ``GridSearchCV(SigmoidMultiLabel(), {"C": Cs})`` in less time, as far as `tol`
    determines them: for each value of C, the fits to all folds read X together, and start where the fits with stronger
    penalties point to. The final fit, to all rows with `C_`, is that of `SigmoidMultiLabel`.

    Parameters
    ----------
    Cs : int or array-like of shape (n_Cs,), default=10
        Values of C to compare, or their number: so many from 1e-4 to 1e4, equal steps apart on a logarithmic scale.
    cv : int, splitter, iterable or "loo", default=None
        The folds, as everywhere in scikit-learn; None is 5 folds, stratified if y has one dimension. "loo" estimates
        the log loss of each row under the fit to all others, from one fit to all rows and from refits without the rows
        that need one: see Notes.
    scoring : str or callable, default=None
        What to compare, greater being better: a scorer or its name. None is minus the mean log loss over the known
        entries of all labels in the held-out rows, computed from logits and weighted by `sample_weight`.
    one_standard_error : bool, default=False
        Whether to choose the smallest C whose mean score is within one standard error of the best.
    per_label : bool, default=False
        Whether each label gets its own C, by its own log loss. (`SigmoidMultiLabel` takes one C for all.)
    fit_intercept : bool, default=True
        Whether to fit intercepts, which are not penalised.
    pos_weight : float, array-like of shape (L,) or "balanced", default=None
        As for `SigmoidMultiLabel`; "balanced" weights are those of each fold's training rows.
    prior_correction : bool, default=False
        As for `SigmoidMultiLabel`: held-out rows are scored with the corrected probabilities.
    label_smoothing : float in [0, 1), default=0.0
        As for `SigmoidMultiLabel`; held-out rows are scored against y as it is.
    threshold : float, array-like of shape (L,) or dict, default=0.5
        As for `SigmoidMultiLabel`.
    tol : float, default=1e-6
        Largest certified relative optimality gap of each label in each fit. Scores are about as accurate as the square
        root of the gaps reached, mostly to 4 digits and more.
    max_iter : int, default=1000
        Maximum number of iterations for each value of C.
    verbose : int or bool, default=0
        Whether to print a line of progress, at most one a second: the value of C and the progress of its fits.

    Attributes
    ----------
    C_ : float, or ndarray of shape (L,) with `per_label`
        The chosen C.
    Cs_ : ndarray of shape (n_Cs,)
        The values of C, in the order given; if a callback has stopped the search, those that were tried.
    scores_ : ndarray of shape (n_folds, n_Cs)
        The score of each value of C in each fold. With ``cv="loo"``, each row is a fold; those of weight 0 are NaN.
    mean_scores_ : ndarray of shape (n_Cs,), or (n_Cs, L) with `per_label`
        Means of `scores_` over the folds, with `per_label` of `label_scores_`; with ``cv="loo"``, the mean over the
        known entries of all rows.
    standard_errors_ : ndarray of the same shape
        Standard errors of these means, for folds their standard deviation (with n_folds - 1) divided by
        sqrt(n_folds); NaN for a single fold.
    best_index_ : int, or ndarray of shape (L,) with `per_label`
        Index of `C_` in `Cs_`; of equal scores the first counts.
    best_score_ : float, or ndarray of shape (L,) with `per_label`
        Mean score of `C_`.
    label_scores_ : ndarray of shape (n_folds, n_Cs, L)
        Minus the log loss of each label, NaN without a known entry; that of y in one dimension, with L = 1. Set if
        `scoring` is None.
    classes_ : list of L ndarrays of shape (2,), or ndarray of shape (K,)
        The values 0 and 1 for each label; for y in one dimension, the sorted classes.
    label_names_ : ndarray of shape (L,)
        Column names of Y if it was a data frame, else column numbers. Not set for y in one dimension.
    coef_ : ndarray of shape (L, d)
        Coefficients of the final fit.
    intercept_ : ndarray of shape (L,)
        Its intercepts.
    n_features_in_ : int
        Number of features d.
    feature_names_in_ : ndarray of shape (d,)
        Feature names. Set only if X had string column names.

    The final fit sets the other attributes of `SigmoidMultiLabel`, too.

    See Also
    --------
    SigmoidMultiLabel : The same model with a given C.
    SoftmaxRegressionCV : For classes that exclude each other.
    skactivation.displays.CVDisplay : Draws the scores.

    Notes
    -----
    `score` is that of the plain estimator, whatever `scoring` is.

    In a fold whose training rows have only one value of a label, the label is constant, as in `SigmoidMultiLabel`.

    With ``cv="loo"``, a Newton step from the fit to all rows, with the Hessian without the row, gives each row's logits
    without it. Entries whose loss the step raises most are left out in fact, until what remains of the error is
    expected to be below half a per cent of the mean loss. There may be at most 2,000 columns. Weights of labels are
    those of all rows.

    References
    ----------
    Rad and Maleki, "A scalable estimate of the out-of-sample prediction error via approximate leave-one-out
    cross-validation", Journal of the Royal Statistical Society B 82 (2020).

    Examples
    --------
    >>> from sklearn.datasets import make_multilabel_classification
    >>> from skactivation import SigmoidMultiLabelCV
    >>> X, Y = make_multilabel_classification(random_state=0)
    >>> search = SigmoidMultiLabelCV(Cs=[0.001, 0.01, 0.1, 1], per_label=True).fit(X, Y)
    >>> search.C_
    array([0.01, 0.01, 0.1 , 0.01, 0.1 ])
    >>> search.best_score_.round(3)
    array([-0.641, -0.631, -0.539, -0.624, -0.483])
    """

    def __init__(
        self,
        *,
        Cs: Any = 10,
        cv: Any = None,
        scoring: Any = None,
        one_standard_error: bool = False,
        per_label: bool = False,
        fit_intercept: bool = True,
        pos_weight: Any = None,
        prior_correction: bool = False,
        label_smoothing: float = 0.0,
        threshold: Any = 0.5,
        tol: float = 1e-6,
        max_iter: int = 1000,
        verbose: int = 0,
    ) -> None:
        self.Cs = Cs
        self.cv = cv
        self.scoring = scoring
        self.one_standard_error = one_standard_error
        self.per_label = per_label
        self.fit_intercept = fit_intercept
        self.pos_weight = pos_weight
        self.prior_correction = prior_correction
        self.label_smoothing = label_smoothing
        self.threshold = threshold
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
        y : {array-like, sparse matrix} of shape (n, L), or array-like of shape (n,)
            Y: 1 if the row has the label, 0 if not, NaN if not known, values between 0 and 1 for soft labels; or y:
            class labels of any type.
        sample_weight : array-like of shape (n,) or (n, L), default=None
            Non-negative weights, of the fits and of ``scoring=None``. A scorer gets them by metadata routing.
        **params : dict
            `groups` for the splitter; with metadata routing enabled, parameters of the splitter and of the scorer.

        Returns
        -------
        SigmoidMultiLabelCV
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter, X, y or the weights are invalid, if a label is not known in any training row of a fold, or
            if a score is not finite. The estimator stays unchanged.

        Warns
        -----
        ConvergenceWarning
            If a fit's gap is not certified to be at most tol.
        UserWarning
            As `SigmoidMultiLabel.fit`, for all rows.
        """
        return self._fit_search(X, y, sample_weight, params)

    def _plain(self) -> SigmoidMultiLabel:
        return SigmoidMultiLabel(
            fit_intercept=self.fit_intercept,
            pos_weight=self.pos_weight,
            prior_correction=self.prior_correction,
            label_smoothing=self.label_smoothing,
            threshold=self.threshold,
            tol=self.tol,
            max_iter=self.max_iter,
        )

    def _check_search_parameters(self) -> Array:
        if check_boolean(self.per_label, "per_label") and self.scoring is not None:
            raise ValueError("per_label=True compares the log losses of each label, which takes scoring=None")
        return super()._check_search_parameters()

    def _losses(self, data: SearchData) -> HeldOutLosses:
        if is_indicator(data.y):
            of_entries = data.weights is not None and data.weights.ndim == 2
            indicated = IndicatorTargets(data.description.indicator, data.weights if of_entries else None)
            return HeldOutLosses(data.rows, indicated, None if of_entries else data.weights)
        if self.per_label:
            raise ValueError("per_label=True takes a y with a column for each label, got classes in one dimension")
        codes, classes = encode_labels(data.y, None)
        targets = class_targets(codes, classes.size)
        # Sigmoids divided by their sum are a softmax of their logarithms.
        transform = None if classes.size == 2 else partial(log_sigmoid_block, temperature=1.0)
        return HeldOutLosses(data.rows, targets, data.weights, transform)

    def _check_fold(self, data: SearchData, encoded: EncodedTargets, messages: list[str]) -> None:
        if is_indicator(data.y):
            return
        codes, classes = encode_labels(data.y, None)
        counted = np.ones(codes.size, dtype=bool) if encoded.weights is None else encoded.weights > 0
        missing = np.bincount(codes[counted], minlength=classes.size) == 0
        refuse_missing(classes[missing])

    def _check_rows_to_leave_out(self, data: SearchData) -> None:
        indicator, names = data.description.indicator, data.description.names
        if not is_indicator(data.y) and names.size > 1:
            raise ValueError(
                "cv='loo' takes a column for each label, or two classes; for more exclusive classes use "
                "SoftmaxRegressionCV"
            )
        if data.encoded.constant is not None:
            constant = listed(names[~np.isnan(data.encoded.constant)], "label", "labels")
            raise ValueError(f"cv='loo' takes no constant labels: drop the columns of {constant}, or use folds")
        if self.label_smoothing > 0 or not self.fit_intercept:
            return
        values = indicator.values(slice(0, indicator.n_rows), np.arange(names.size))
        counted = ~np.isnan(values) & (True if data.weights is None else np.transpose(data.weights) > 0)
        # A label needs something of both values in the other rows.
        rarer = np.minimum(*(np.count_nonzero((values != value) & counted, axis=1) for value in (0, 1)))
        if rarer.min() < 2:
            raise ValueError(
                f"cv='loo' leaves out the only 0, or the only 1, of {listed(names[rarer < 2], 'label', 'labels')}: "
                "drop these columns, or use folds"
            )

    def _by_label(self) -> bool:
        return bool(self.per_label)

    def _choose_by_losses(self, sums: LossSums, weights: Array, weights_by_label: Array) -> None:
        super()._choose_by_losses(sums, weights, weights_by_label)
        self.label_scores_ = sums.label_scores()
        if not self.per_label:
            return
        unknown = weights_by_label.max(axis=0) == 0
        if unknown.any():
            numbers = listed(np.flatnonzero(unknown), "label number", "labels number")
            raise ValueError(f"no test row of cv has a known entry of {numbers}: per_label=True can't choose C for it")
        if self.one_standard_error and np.count_nonzero(weights_by_label, axis=0).min() < 2:
            numbers = listed(
                np.flatnonzero(np.count_nonzero(weights_by_label, axis=0) < 2), "label number", "labels number"
            )
            raise ValueError(f"one_standard_error=True takes at least two splits of cv with known entries of {numbers}")
        choices = [
            Choice.of(scores, of_label, self.Cs_, one_standard_error=self.one_standard_error)
            for scores, of_label in zip(np.moveaxis(self.label_scores_, 2, 0), weights_by_label.T, strict=True)
        ]
        self.mean_scores_ = np.stack([choice.means for choice in choices], axis=1)
        self.standard_errors_ = np.stack([choice.errors for choice in choices], axis=1)
        self.best_index_ = np.array([choice.best for choice in choices])
        self.best_score_ = np.array([choice.means[choice.best] for choice in choices])
        self.C_ = self.Cs_[self.best_index_]
