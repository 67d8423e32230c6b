"""`TemperatureCalibrator`: temperature scaling of any classifier on rows that it was not fitted to."""

import warnings
from typing import Any, Self

import numpy as np
from scipy.special import logsumexp
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted, validate_data

from skactivation._arrays import in_library_of_x, without_tensors
from skactivation._callbacks import CallbackSupportMixin, Watch, with_callbacks
from skactivation._data.class_columns import named_columns
from skactivation._data.inputs import check_logits, refuse_dates_and_bytes, refuse_unreadable
from skactivation._data.labels import (
    LabelClasses,
    check_same_columns,
    encode_labels,
    is_indicator,
    is_soft,
    shape_of,
    without_nullable,
)
from skactivation._data.responses import classes_of, gives_indicator, logits_of, predictions_of, response_method_of
from skactivation._data.splits import splits_of
from skactivation._package import PackageMixin
from skactivation._typing import Array
from skactivation._validation import (
    as_array,
    check_boolean,
    check_choice,
    check_same_rows,
    check_sample_weight,
    check_two_classes,
    check_verbose,
    unchanged_on_error,
)
from skactivation.activations import log_sigmoid
from skactivation.calibration._fitted_scaling import FittedScaling
from skactivation.calibration._held_out import HeldOut, align_columns, checked_logits, held_out_logits
from skactivation.calibration._labelled_logits import classes_in, labelled_logits
from skactivation.calibration._logits import LogitRows
from skactivation.calibration._metadata import routed_params
from skactivation.calibration._scaling import SCALINGS, Messages, ScalingKind
from skactivation.linear_model import SoftmaxRegression

__all__ = ["TemperatureCalibrator"]

_LOGITS, MULTILABEL_LOGITS = "logits", "multilabel_logits"


class TemperatureCalibrator(CallbackSupportMixin, PackageMixin, ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    r"""Temperature scaling of any classifier: its logits z become z / T, with one temperature T.

    T minimises the cross-entropy of held-out rows, whose logits come from cross-validation; the classifier is then
    fitted to all rows. T > 1 lowers overconfident probabilities; T < 1 raises underconfident ones. The order of the
    classes, and so every prediction, stays the same.

    The log loss on held-out rows falls; the expected calibration error need not. With many rows and errors that one
    temperature cannot mend, another map is the better choice: the other values of `scaling`, or isotonic calibration by
    `sklearn.calibration.CalibratedClassifierCV`.

    Parameters
    ----------
    estimator : estimator, "logits", "multilabel_logits" or None, default=None
        A classifier with `decision_function` or `predict_proba`; None for `SoftmaxRegression()`. A `FrozenEstimator` is
        not fitted again: all rows given to `fit`, which must be new to it, calibrate it. With "logits" there is no
        classifier: X holds the logits, (n, K) or (n, 1), of any model for rows that are new to it; with
        "multilabel_logits" those of L labels, (n, L), and y is an indicator.
    cv : int, cross-validation generator, iterable or None, default=None
        Splits, as in scikit-learn: None for 5 folds. If a row is held out more than once, all its logits count. Not
        used with a frozen estimator or "logits".
    ensemble : bool, default=False
        If False, fit one classifier to all rows. If True, keep each split's classifier, calibrate it on the rows that
        the split held out, average the probabilities, and predict from them. Not used with a frozen estimator or
        "logits".
    scaling : {"temperature", "bias_corrected", "vector"}, default="temperature"
        "temperature": z / T. One number from all rows can hardly overfit, and predictions stay the same.
        "bias_corrected": z / T + b, with a bias b for each class. Use it if class frequencies differ from those that
        the classifier was fitted to, as after resampling. It needs some dozens of rows of each class.
        "vector": a z + b, with a slope a and a bias b for each class. Use it if the classes are calibrated differently
        and there are thousands of rows. The result depends on constants added to all logits of a row.
        All three are convex problems. Only "temperature" always keeps the predictions.
    n_jobs : int, default=None
        Number of processes that fit the classifiers of the splits; None for 1, -1 for all cores.
    verbose : int or bool, default=0
        Whether to print a line of progress, at most one a second: the splits that are done.

    Attributes
    ----------
    temperature_ : float, or ndarray of shape (L,), (K,) or (n_splits, ...)
        T; one for each of L labels; 1 / slope of each column for "vector"; one row a split in an ensemble.
    slope_ : ndarray of shape (K,) or (n_splits, K)
        Factors of the columns of logits: 1 / T, or a. Two classes have one column.
    bias_ : ndarray of shape (K,) or (n_splits, K)
        Biases of the columns; 0 for "temperature".
    estimator_ : estimator
        The classifier, fitted to all rows. Not set in an ensemble or with "logits".
    calibrated_estimators_ : list of TemperatureCalibrator
        In an ensemble, the calibrated classifier of each split.
    classes_ : ndarray of shape (K,), or the multilabel classifier's own `classes_`
        The classes, in the order of the columns. With "logits", `fit_temperature` describes how they follow from y or
        from the columns of a data frame.
    loss_before_ : float or ndarray of shape (L,)
        Mean cross-entropy of the held-out rows before calibration, nats a row; in an ensemble the mean over the splits.
    loss_after_ : float or ndarray of shape (L,)
        The same after calibration.
    at_limit_ : bool or ndarray of shape (L,)
        Whether there is no finite best temperature, see `fit_temperature`; in an ensemble, whether any split has none.
    optimality_gap_ : float or ndarray of shape (L,)
        Certified bound on (L - L*) / L for the loss L after calibration and its minimum L*; in an ensemble the largest.
    response_method_ : str or None
        Method that gives the logits: "decision_function", or "predict_proba" (their logarithm, floored at the machine
        epsilon of their dtype); None for "logits".
    n_features_in_ : int
        Number of features, if the classifier has it.
    feature_names_in_ : ndarray
        Names of the features, if the classifier has them.

    See Also
    --------
    fit_temperature : The same for logits in arrays, multilabel ones too.
    sklearn.calibration.CalibratedClassifierCV : Isotonic and sigmoid calibration.

    Notes
    -----
    In a multilabel problem (`SigmoidMultiLabel`, or any classifier that takes an indicator) each label has its own
    temperature and bias.

    With "temperature", the calibration rows may lack some classes. But it is an error if a split holds out a class that
    its training rows lack.

    The largest logit must belong to the predicted class. It is an error if this fails in more than 5 % of the rows; a
    few may differ because SVC breaks ties differently in `predict`. Put a classifier with its own threshold, such as
    `FixedThresholdClassifier`, around the calibrator, not inside. Multilabel classifiers may have thresholds: `predict`
    with "temperature" returns the classifier's own predictions, made from its uncalibrated probabilities.

    With "bias_corrected" and "vector", logits may separate some classes without an error. There is no finite optimum
    then: a `ConvergenceWarning` is emitted, and slopes and biases are those of the last iteration. Negative slopes
    reverse the order of the classes; a warning says so.

    References
    ----------
    Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017: temperature and vector
    scaling.
    Alexandari, Kundaje and Shrikumar, "Maximum likelihood with bias-corrected calibration is hard-to-beat at label
    shift adaptation", ICML 2020: bias-corrected temperature scaling.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.naive_bayes import GaussianNB
    >>> from skactivation import TemperatureCalibrator
    >>> X, y = load_digits(return_X_y=True)
    >>> model = TemperatureCalibrator(GaussianNB()).fit(X, y)
    >>> print(f"T = {model.temperature_:.1f}: loss {model.loss_before_:.2f} -> {model.loss_after_:.2f}")
    T = 8.2: loss 4.00 -> 0.70
    >>> model.predict_proba(X[:1]).round(2)[0, :3]
    array([0.9 , 0.01, 0.01])
    """

    # Set by fit. Shapes depend on multilabel and ensemble.
    temperature_: Any
    slope_: Array
    bias_: Array
    classes_: Any
    response_method_: str | None

    def __init__(
        self,
        estimator: Any = None,
        *,
        cv: Any = None,
        ensemble: bool = False,
        scaling: ScalingKind = "temperature",
        n_jobs: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.estimator = estimator
        self.cv = cv
        self.ensemble = ensemble
        self.scaling = scaling
        self.n_jobs = n_jobs
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Self:
        """Fit the classifier and its calibration.

        Parameters
        ----------
        X : array-like of shape (n, d), or whatever the classifier takes
            Training rows; with "logits", the logits, (n, K) or (n, 1).
        y : array-like of shape (n,), or (n, L)
            Labels; an indicator for multilabel classifiers; distributions over the classes, (n, K), if the classifier
            takes them, or with "logits".
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows, not negative, for the classifier and the calibration. A warning says if the classifier
            takes none. Multilabel classifiers may also take (n, L).
        **fit_params : dict
            Other parameters of the classifier's `fit`; those with as many rows as X are split with it. With metadata
            routing enabled, the metadata that the classifier and the splitter request.

        Returns
        -------
        TemperatureCalibrator
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            For invalid parameters, rows or weights; labels that a frozen classifier doesn't know; a split that holds
            out all rows of a class; logits that contradict the classifier's predictions. The estimator is then
            unchanged.

        Warns
        -----
        UserWarning
            If there is no finite best temperature, see `fit_temperature`; if weights don't reach the classifier.
        ConvergenceWarning
            If the optimum could not be certified; with biases, there may be none.
        """
        return self._fit(X, y, sample_weight, fit_params)

    @in_library_of_x
    def predict(self, X: Any) -> Any:
        """Predictions: the classifier's own with "temperature" and no ensemble, else the most probable class.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows; with "logits", their logits.

        Returns
        -------
        ndarray of shape (n,), or an indicator (n, L)
            Elements of `classes_`; for multilabel classifiers 0 and 1.
        """
        check_is_fitted(self)
        if hasattr(self, "estimator_") and self._scaling.keeps_order:
            X = self._for_classifier(X)
            return self.estimator_.predict(X) if self._multilabel else predictions_of(self.estimator_, X)
        probabilities = as_array(self.predict_proba(X), "predict_proba")
        if self._multilabel:
            return (probabilities >= 0.5).astype(np.intp)
        return self.classes_[probabilities.argmax(axis=1)]

    @in_library_of_x
    def decision_function(self, X: Any) -> Array:
        """Calibrated logits; in an ensemble, logits of the averaged probabilities.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows; with "logits", their logits.

        Returns
        -------
        ndarray of shape (n, K), (n, L), or (n,) for two classes
            Logits; for two classes the log-odds of ``classes_[1]``.
        """
        check_is_fitted(self)
        if not hasattr(self, "calibrated_estimators_"):
            logits = self._scaling.apply(self._raw_logits(X))
        elif self._multilabel or len(self.classes_) == 2:
            X = without_tensors(X, "X")
            of_copies = np.array([copy.decision_function(X) for copy in self.calibrated_estimators_])
            yes, no = (logsumexp(log_sigmoid(sign * of_copies), axis=0) for sign in (1, -1))
            logits = (yes - no).reshape(of_copies.shape[1], -1)
        else:
            return as_array(self.predict_log_proba(X), "predict_log_proba")
        return logits[:, 0] if logits.shape[1] == 1 and not self._multilabel else logits

    @in_library_of_x
    def predict_proba(self, X: Any) -> Array:
        """Calibrated probabilities.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows; with "logits", their logits.

        Returns
        -------
        ndarray of shape (n, K) or (n, L)
            Probabilities of the classes, which sum to one in each row, or of the labels.
        """
        check_is_fitted(self)
        if hasattr(self, "calibrated_estimators_"):
            X = without_tensors(X, "X")
            return np.asarray(np.mean([copy.predict_proba(X) for copy in self.calibrated_estimators_], axis=0))
        return self._scaling.probabilities(self._raw_logits(X))

    @in_library_of_x
    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of the probabilities, accurate even if the probabilities round to 0 or 1.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows; with "logits", their logits.

        Returns
        -------
        ndarray of shape (n, K) or (n, L)
            Natural logarithms.
        """
        check_is_fitted(self)
        if hasattr(self, "calibrated_estimators_"):
            X = without_tensors(X, "X")
            logs = [copy.predict_log_proba(X) for copy in self.calibrated_estimators_]
            return np.asarray(logsumexp(logs, axis=0) - np.log(len(logs)))
        return self._scaling.probabilities(self._raw_logits(X), log=True)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Accuracy; for soft or unknown y, the classifier's own score.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows; with "logits", their logits.
        y : array-like of shape (n,) or (n, L)
            Labels. If y holds soft or unknown (NaN) entries and the scaling is "temperature", the classifier's own
            `score` is returned.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows.

        Returns
        -------
        float
            A number from 0 to 1; a multilabel row counts if all its labels are right.
        """
        check_is_fitted(self)
        y, sample_weight = without_tensors(y, "y"), without_tensors(sample_weight, "sample_weight")
        if hasattr(self, "estimator_") and self._scaling.keeps_order and len(shape_of(y)) == 2 and is_soft(y):
            weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
            return float(self.estimator_.score(X, y, **weighted))
        predicted = without_tensors(self.predict(X), "predict")
        return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    def get_metadata_routing(self) -> Any:
        """Metadata routing of `fit` to the classifier's `fit` and to the splitter.

        Returns
        -------
        MetadataRouter
            See scikit-learn's user guide on metadata routing.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        if not isinstance(self.estimator, str):
            to_fit = MethodMapping().add(caller="fit", callee="fit")
            router.add(estimator=self._classifier(), method_mapping=to_fit)
        return router.add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))

    def __sklearn_tags__(self) -> Any:
        """Inputs and targets are those of the classifier."""
        tags = super().__sklearn_tags__()
        if not isinstance(self.estimator, str):
            of_classifier = get_tags(self._classifier())
            tags.input_tags = of_classifier.input_tags
            tags.classifier_tags = of_classifier.classifier_tags or tags.classifier_tags
        return tags

    def _fit(self, X: Any, y: Any, sample_weight: Any, fit_params: dict[str, Any]) -> Self:
        """Fit, or raise an error and leave the estimator unchanged. For warnings, the caller is a decorated `fit`."""
        watch = Watch(self, X, y, sample_weight, n_tasks=self._n_tasks(), part=self.estimator)
        with unchanged_on_error(self):
            for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
                delattr(self, name)
            check_choice(self.scaling, "scaling", SCALINGS)
            check_boolean(self.ensemble, "ensemble")
            check_verbose(self.verbose)
            if isinstance(self.cv, str):
                raise ValueError(
                    f"cv must be an integer, a splitter or splits, got {self.cv!r}; for a classifier that is fitted "
                    "already use TemperatureCalibrator(FrozenEstimator(classifier))"
                )
            y, sample_weight = without_tensors(y, "y"), without_tensors(sample_weight, "sample_weight")
            fit_params = {name: without_tensors(value, name) for name, value in fit_params.items()}
            classifier = self._classifier()
            if isinstance(classifier, str) and classifier in (_LOGITS, MULTILABEL_LOGITS):
                messages = self._fit_logits(X, y, sample_weight, fit_params)
            elif hasattr(classifier, "fit") and is_classifier(classifier):
                messages = self._fit_classifier(X, y, sample_weight, fit_params, watch)
            else:
                kind = ValueError if isinstance(classifier, str) else TypeError
                raise kind(
                    f"estimator must be a classifier, 'logits', 'multilabel_logits' or None, got {self.estimator!r}"
                )
            for message, category in messages:
                warnings.warn(message, category, stacklevel=4)
            watch.end()
        return self

    def _classifier(self) -> Any:
        if self.estimator is not None:
            return self.estimator
        classifier = SoftmaxRegression()
        if get_config()["enable_metadata_routing"]:
            classifier.set_fit_request(sample_weight=True)
        return classifier

    def _fit_logits(self, X: Any, y: Any, sample_weight: Any, fit_params: dict[str, Any]) -> Messages:
        """Calibrate given logits; return warnings to emit."""
        if fit_params:
            raise TypeError(
                f"with estimator={self.estimator!r} fit takes X, y and sample_weight only, got {sorted(fit_params)}"
            )
        logits = check_logits(self, X, reset=True)
        check_same_rows(X=logits, y=y)
        check_same_columns(X=X, y=y)
        if self.estimator == MULTILABEL_LOGITS:
            weights = check_sample_weight(sample_weight, logits.shape)
            return self._calibrate(None, logits, y, weights, None, multilabel=True)
        weights = check_sample_weight(sample_weight, logits.shape[:1])
        return self._calibrate(None, logits, y, weights, named_columns(X, y, weights))

    def _fit_classifier(self, X: Any, y: Any, sample_weight: Any, fit_params: dict[str, Any], watch: Watch) -> Messages:
        """Fit the classifier and calibrate its logits of rows that are new to it; return warnings to emit."""
        estimator, X = self._classifier(), self._for_classifier(X)
        inner = estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator
        if not hasattr(inner, "steps") and not hasattr(inner, "estimator"):
            # A pipeline, or a search over one, may make numbers of anything.
            refuse_dates_and_bytes(X)
        y, weights = self._check_targets(estimator, X, y, sample_weight)
        params, split_params, messages = routed_params(self, estimator, sample_weight, fit_params)
        if isinstance(estimator, FrozenEstimator):
            check_is_fitted(estimator)
            classes = None if gives_indicator(estimator, y, X) else classes_of(estimator)
            return messages + self._calibrate(estimator, checked_logits(estimator, X, classes), y, weights, classes)
        if len(shape_of(y)) == 1:
            _, weighted = encode_labels(y, weights)
            check_two_classes(weighted, type(self).__name__, "the rows of positive weight hold")
        fitted = None
        if self.ensemble:
            classes = None if gives_indicator(estimator, y) else classes_in(y)
        else:
            fitted = clone(estimator)
            with watch.task("fit-classifier", with_data=False).fitting(fitted):
                fitted = fitted.fit(X, y, **params)
            check_is_fitted(fitted)
            classes = None if gives_indicator(fitted, y, X) else classes_of(fitted)
        splits = splits_of(self.cv, X, y, split_params)
        held_out = held_out_logits(
            estimator, X, y, splits, params, classes=classes, weights=weights, n_jobs=self.n_jobs, watch=watch
        )
        if fitted is None:
            return messages + self._calibrate_each(held_out, y, weights, classes)
        logits, rows = np.vstack([part.logits for part in held_out]), np.concatenate([part.rows for part in held_out])
        return messages + self._calibrate(fitted, logits, y, weights, classes, rows)

    def _check_targets(self, estimator: Any, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Array | None]:
        """y, one-dimensional if it is a column of labels, and the weights."""
        if y is None:
            # This raises scikit-learn's error for a missing y.
            validate_data(self, X, y, skip_check_array=True)
        check_same_rows(X=X, y=y)
        if shape_of(y)[1:] == (1,) and not is_indicator(y):
            y = column_or_1d(y, warn=True)
        if len(shape_of(y)) == 1:
            y = without_nullable(y)
        shape = shape_of(y)
        by_entry = len(shape) == 2 and gives_indicator(estimator, y)
        return y, check_sample_weight(sample_weight, shape if by_entry else shape[:1])

    def _calibrate(
        self,
        fitted: Any,
        logits: Array,
        y: Any,
        weights: Array | None,
        classes: Any,
        rows: Array | None = None,
        *,
        multilabel: bool = False,
    ) -> Messages:
        """Fit the scaling to logits of some rows, and set the fitted attributes; return warnings to emit.

        `fitted` is None for given logits, whose columns y names. A classifier without `classes` is multilabel.
        """
        multilabel = multilabel or (fitted is not None and classes is None)
        every_class = self.scaling != "temperature"
        labelled, names = labelled_logits(
            logits, y, weights, classes=classes, multilabel=multilabel, numbers=rows, every_class=every_class
        )
        return self._calibrate_rows(fitted, labelled, names, multilabel=multilabel)

    def _calibrate_rows(self, fitted: Any, labelled: LogitRows, names: Array, *, multilabel: bool) -> Messages:
        """The same for logits with targets, and the classes or labels of their columns."""
        scaling, facts, messages = FittedScaling.fit(labelled, self.scaling, multilabel=multilabel)
        unlikely = None if multilabel or fitted is not None else labelled.unlikely()
        if unlikely is not None:
            messages.insert(0, (unlikely, UserWarning))
        self.classes_ = names
        # The parameter may change after the fit.
        self._fitted_kind = scaling.kind
        self._multilabel, self.response_method_ = multilabel, None
        if fitted is not None:
            self.estimator_, self.response_method_ = fitted, response_method_of(fitted)
            self._take_features_of(fitted)
        if multilabel and fitted is None:
            self.classes_ = LabelClasses([np.array([0, 1])] * labelled.n_columns)
        elif multilabel:
            # cross_val_predict asks for the shape of classes_, which a list lacks.
            self.classes_ = LabelClasses(fitted.classes_) if type(fitted.classes_) is list else fitted.classes_
        self.temperature_, self.slope_, self.bias_ = scaling.temperature, scaling.slope, scaling.bias
        for name, fact in facts.items():
            setattr(self, f"{name}_", fact)
        return messages

    def _calibrate_each(
        self, held_out: list[HeldOut], y: Any, weights: Array | None, classes: Array | None
    ) -> Messages:
        """Calibrate each classifier of an ensemble on the rows that its split held out; return warnings to emit."""
        every, messages = [], []
        for number, part in enumerate(held_out):
            one = TemperatureCalibrator(FrozenEstimator(part.classifier), cv=self.cv, scaling=self.scaling)
            of_split = one._calibrate(part.classifier, part.logits, y, weights, classes, part.rows)
            messages += [(f"split {number} of cv: {message}", category) for message, category in of_split]
            every.append(one)
        self.calibrated_estimators_ = every
        self.classes_, self.response_method_ = every[0].classes_, every[0].response_method_
        self._multilabel = classes is None
        self._take_features_of(every[0])
        for name in ("temperature_", "slope_", "bias_"):
            setattr(self, name, np.array([getattr(one, name) for one in every]))
        combinations: dict[str, Any] = {
            "loss_before_": np.mean,
            "loss_after_": np.mean,
            "at_limit_": np.any,
            "optimality_gap_": np.max,
        }
        for name, combine in combinations.items():
            value = combine([getattr(one, name) for one in every], axis=0)
            setattr(self, name, value if classes is None else value.item())
        return messages

    @property
    def _scaling(self) -> FittedScaling:
        """The fitted scaling. Attributes hold its numbers, so that files need no class for it."""
        return FittedScaling(self.temperature_, self.slope_, self.bias_, self._fitted_kind, self._multilabel)

    def _take_features_of(self, estimator: Any) -> None:
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))

    def _n_tasks(self) -> int | None:
        """How many fits of the classifier there are; None if it is not known before the splits are."""
        if isinstance(self.estimator, (str, FrozenEstimator)):
            return 0
        if self.cv is None or isinstance(self.cv, (int, np.integer)):
            return (5 if self.cv is None else int(self.cv)) + (0 if self.ensemble else 1)
        return None

    def _for_classifier(self, X: Any) -> Any:
        """X as the classifier can read it. One that is frozen may have been fitted to tensors."""
        X = X if isinstance(self.estimator, FrozenEstimator) else without_tensors(X, "X")
        refuse_unreadable(X)
        return X

    def _raw_logits(self, X: Any) -> Array:
        """Logits (n, K) before calibration."""
        if self.response_method_ is None:
            return check_logits(self, X, reset=False)
        X = self._for_classifier(X)
        logits = logits_of(self.estimator_, X, multilabel=self._multilabel)
        return logits if self._multilabel else align_columns(logits, classes_of(self.estimator_), self.classes_)
