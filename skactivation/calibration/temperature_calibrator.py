"""Temperature scaling of any classifier, from rows that it hasn't seen in its fit."""

import warnings
from typing import Any, Self

import numpy as np
from scipy import sparse
from scipy.special import logsumexp
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone, is_classifier
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, check_cv
from sklearn.utils import Bunch, check_consistent_length, column_or_1d, get_tags, indexable
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import check_is_fitted, has_fit_parameter, validate_data

from skactivation._data.class_columns import named_columns
from skactivation._data.inputs import refuse_masked
from skactivation._data.labels import LabelClasses, encode_labels, is_indicator, shape_of
from skactivation._data.responses import classes_of, gives_indicator, logits_of, response_of
from skactivation._messages import check_two_classes
from skactivation._typing import Array
from skactivation._validation import check_boolean, check_choice, check_sample_weight, unchanged_on_error
from skactivation.activations import log_sigmoid
from skactivation.calibration._fitted_scaling import FittedScaling
from skactivation.calibration._held_out import HeldOut, align_columns, checked_logits, held_out_logits
from skactivation.calibration._labelled_logits import classes_in, labelled_logits
from skactivation.calibration._logits import LogitRows
from skactivation.calibration._scaling import SCALINGS, ScalingKind
from skactivation.linear_model import SoftmaxRegression

__all__ = ["TemperatureCalibrator"]

Messages = list[tuple[str, type[Warning]]]

_LOGITS = "logits"


class TemperatureCalibrator(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    r"""Probabilities that can be trusted, from any classifier: its logits z become z / T, with one temperature T.

    The classifier's logits of rows that it wasn't fitted to, from cross-validation, tell the T with the least
    cross-entropy; then it is fitted once more, to all rows. A T above 1 takes back overconfidence, one below 1 sharpens
    what was too timid. The order of the classes stays, and with it every prediction and accuracy.

    Parameters
    ----------
    estimator : estimator, "logits" or None, default=None
        A classifier with `decision_function` or `predict_proba`; None for `SoftmaxRegression()`. A `FrozenEstimator` is
        taken as it is, and all rows given to `fit`, which must be new to it, calibrate it. "logits": there is no
        classifier, X holds the logits of a model that lies elsewhere, (n, K) or (n, 1), of rows that are new to it.
    cv : int, cross-validation generator, iterable or None, default=None
        Splits, as everywhere in scikit-learn: None for 5 folds. Where rows are held out several times, all their logits
        count. Not used with a frozen estimator or "logits".
    ensemble : bool, default=False
        Whether to keep each split's classifier, calibrated on the rows that the split held out, and average their
        probabilities, instead of fitting one classifier to all rows. Not used with a frozen estimator or "logits".
    scaling : {"temperature", "bias_corrected", "vector"}, default="temperature"
        "temperature": z / T. One number from all rows: nothing to overfit, predictions stay as they are. Take it unless
        you know better.
        "bias_corrected": z / T + b with a bias b for each class. For classes that are more or less frequent than the
        classifier believes, as after training on resampled classes; needs some dozens of rows of each class.
        "vector": a slope and a bias for each class, a z + b. For classes that are calibrated differently, and thousands
        of rows; unlike the others it depends on what is added to all logits of a row.
        All are convex problems; but only "temperature" is sure to keep the order of the classes, and so the accuracy.
    n_jobs : int, default=None
        Splits whose classifiers are fitted at the same time, in as many processes; None for 1, -1 for all cores.

    Attributes
    ----------
    temperature_ : float, or ndarray of shape (L,), (K,) or (n_splits, ...)
        T; one for each of L labels; the inverse slopes of the columns for "vector"; those of each copy in an ensemble.
    slope_ : ndarray of shape (K,) or (n_splits, K)
        What the columns of logits are multiplied by: 1 / T, or a. For two classes there is one column.
    bias_ : ndarray of shape (K,) or (n_splits, K)
        What is added then; 0 for "temperature".
    estimator_ : estimator
        The classifier, fitted to all rows. Not there in an ensemble, nor for "logits".
    calibrated_estimators_ : list of TemperatureCalibrator
        In an ensemble, the calibrated classifier of each split.
    classes_ : ndarray of shape (K,), or what the classifier has for several labels
        The classes, in the order of columns. With "logits", as `fit_temperature` tells them from y, or from the columns
        of a data frame.
    loss_before_ : float or ndarray of shape (L,)
        Mean cross-entropy of held-out rows before calibration, nats a row; in an ensemble the mean over splits.
    loss_after_ : float or ndarray of shape (L,)
        The same after it.
    at_limit_ : bool or ndarray of shape (L,)
        Whether no finite temperature is best: see `fit_temperature`. In an ensemble, whether that is so in any split.
    optimality_gap_ : float or ndarray of shape (L,)
        Proved bound on (loss_after_ - L*) / loss_after_ for the least loss L*.
    response_method_ : str or None
        What gives logits: "decision_function", or "predict_proba" (their logarithm, floored at the machine epsilon of
        their dtype); None for "logits".
    n_features_in_ : int
        Number of features, where the classifier has it.
    feature_names_in_ : ndarray
        Names of the features, where the classifier has them.

    See Also
    --------
    fit_temperature : The same for logits in arrays, and for several labels.
    sklearn.calibration.CalibratedClassifierCV : Isotonic and sigmoid calibration, too.

    Notes
    -----
    For several labels, from `SigmoidMultiLabel` or any scikit-learn classifier that takes an indicator, each label has
    a temperature (and bias) of its own.

    Classes that are missing in the rows of a frozen estimator, or in one split's held-out rows, are no problem for a
    temperature. Where a split's training rows lack a class that it holds out, an error says so.

    The classifier's predictions and its logits must agree, or what is calibrated is not what is predicted: it is an
    error if the largest logit isn't that of the predicted class in more than a twentieth of the rows. (A few are let
    pass, since SVC breaks ties in another way than its decision function.) A classifier with a threshold of its own, as
    `FixedThresholdClassifier`, belongs around the calibrator. Several labels may have thresholds: `predict` then is the
    classifier's own answer from its own probabilities.

    With "bias_corrected" and "vector", classes may be told apart without a mistake, so that there is no finite optimum:
    a `ConvergenceWarning` says so, and the scaling is some point on the way. Negative slopes, which turn the order
    round, are warned of. What `fit_temperature` says of limits is about a temperature alone.

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

    # Set by fit; several have another form for several labels or in an ensemble.
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
    ) -> None:
        self.estimator = estimator
        self.cv = cv
        self.ensemble = ensemble
        self.scaling = scaling
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Self:
        """Fit the classifier and its calibration.

        Parameters
        ----------
        X : array-like of shape (n, d), or whatever the classifier takes
            Training rows; with "logits", the logits, (n, K) or (n, 1).
        y : array-like of shape (n,), or (n, L)
            Labels; an indicator for classifiers of several labels; distributions (n, K) for those that take them, and
            with "logits".
        sample_weight : array-like of shape (n,), default=None
            Weights, not negative, for both the classifier (a warning says so if it takes none) and the calibration; for
            several labels (n, L), too, if the classifier takes that.
        **fit_params : dict
            What else the classifier's `fit` takes; entries with as many rows as X are split with it. With metadata
            routing enabled, what is requested of the classifier and of the splitter.

        Returns
        -------
        TemperatureCalibrator
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            For parameters, rows or weights that make no sense; a frozen classifier that doesn't know a label; a
            split without a class in training; logits that contradict the classifier's predictions. The estimator then
            is as it was before.

        Warns
        -----
        UserWarning
            Where no finite temperature is best, see `fit_temperature`; where weights don't reach the classifier.
        ConvergenceWarning
            Where the optimum wasn't proved: there may be none with biases.
        """
        with unchanged_on_error(self):
            for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
                delattr(self, name)
            check_choice(self.scaling, "scaling", SCALINGS)
            check_boolean(self.ensemble, "ensemble")
            classifier = self._classifier()
            if isinstance(classifier, str):
                messages = self._fit_logits(X, y, sample_weight, fit_params)
            elif hasattr(classifier, "fit") and is_classifier(classifier):
                messages = self._fit_classifier(X, y, sample_weight, fit_params)
            else:
                raise TypeError(f"estimator must be a classifier, 'logits' or None, got {self.estimator!r}")
            for message, category in messages:
                warnings.warn(message, category, stacklevel=2)
        return self

    def predict(self, X: Any) -> Any:
        """The classifier's own predictions with a temperature; else, and in an ensemble, the most probable class.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows, or their logits.

        Returns
        -------
        ndarray of shape (n,), or an indicator (n, L)
            Labels out of `classes_`.
        """
        check_is_fitted(self)
        if hasattr(self, "estimator_") and self._scaling.keeps_order:
            return self.estimator_.predict(X)
        probabilities = self.predict_proba(X)
        if self._multilabel:
            return (probabilities >= 0.5).astype(np.intp)
        return self.classes_[probabilities.argmax(axis=1)]

    def decision_function(self, X: Any) -> Array:
        """Calibrated logits; in an ensemble the logarithms of its probabilities.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows, or their logits.

        Returns
        -------
        ndarray of shape (n, K), (n, L), or (n,) for two classes
            Logits, for two classes the log-odds of ``classes_[1]``.
        """
        check_is_fitted(self)
        if not hasattr(self, "calibrated_estimators_"):
            logits = self._scaling.apply(self._raw_logits(X))
        elif self._multilabel or len(self.classes_) == 2:
            of_copies = np.array([copy.decision_function(X) for copy in self.calibrated_estimators_])
            yes, no = (logsumexp(log_sigmoid(sign * of_copies), axis=0) for sign in (1, -1))
            logits = (yes - no).reshape(of_copies.shape[1], -1)
        else:
            return self.predict_log_proba(X)
        return logits[:, 0] if logits.shape[1] == 1 and not self._multilabel else logits

    def predict_proba(self, X: Any) -> Array:
        """Calibrated probabilities.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows, or their logits.

        Returns
        -------
        ndarray of shape (n, K) or (n, L)
            Probabilities of the classes, whose rows sum to one; or of each label.
        """
        check_is_fitted(self)
        if hasattr(self, "calibrated_estimators_"):
            return np.asarray(np.mean([copy.predict_proba(X) for copy in self.calibrated_estimators_], axis=0))
        return self._scaling.probabilities(self._raw_logits(X))

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of the probabilities, from the logits: accurate also where they round to 0 or 1.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows, or their logits.

        Returns
        -------
        ndarray of shape (n, K) or (n, L)
            Natural logarithms.
        """
        check_is_fitted(self)
        if hasattr(self, "calibrated_estimators_"):
            logs = [copy.predict_log_proba(X) for copy in self.calibrated_estimators_]
            return np.asarray(logsumexp(logs, axis=0) - np.log(len(logs)))
        return self._scaling.probabilities(self._raw_logits(X), log=True)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of rows that are predicted right; what the classifier makes of unknown or soft labels.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Rows, or their logits.
        y : array-like of shape (n,) or (n, L)
            Labels. Where they are unknown (NaN) or soft, the classifier's own `score` is asked, if its predictions
            stay.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows.

        Returns
        -------
        float
            A number from 0 to 1: accuracy, for several labels of all of them together.
        """
        check_is_fitted(self)
        if hasattr(self, "estimator_") and self._scaling.keeps_order and len(shape_of(y)) == 2 and _is_soft(y):
            weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
            return float(self.estimator_.score(X, y, **weighted))
        return float(super().score(X, y, sample_weight))

    def get_metadata_routing(self) -> Any:
        """What `fit` passes on, to the classifier's `fit` and to the splitter.

        Returns
        -------
        MetadataRouter
            As scikit-learn's user guide on metadata routing explains.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        if not isinstance(self.estimator, str):
            to_fit = MethodMapping().add(caller="fit", callee="fit")
            router.add(estimator=self._classifier(), method_mapping=to_fit)
        return router.add(splitter=self.cv, method_mapping=MethodMapping().add(caller="fit", callee="split"))

    def __sklearn_tags__(self) -> Any:
        """Take what the classifier takes."""
        tags = super().__sklearn_tags__()
        if not isinstance(self.estimator, str):
            of_classifier = get_tags(self._classifier())
            tags.input_tags = of_classifier.input_tags
            tags.classifier_tags = of_classifier.classifier_tags or tags.classifier_tags
            tags.target_tags.multi_output = of_classifier.target_tags.multi_output
        return tags

    def _classifier(self) -> Any:
        if self.estimator is not None:
            return self.estimator
        classifier = SoftmaxRegression()
        if get_config()["enable_metadata_routing"]:
            classifier.set_fit_request(sample_weight=True)
        return classifier

    def _fit_logits(self, X: Any, y: Any, sample_weight: Any, fit_params: dict[str, Any]) -> Messages:
        """Calibrate given logits; return messages to warn with."""
        if self.estimator != _LOGITS:
            raise ValueError(f"estimator must be a classifier, 'logits' or None, got {self.estimator!r}")
        if fit_params:
            raise TypeError(f"with estimator='logits' fit takes X, y and sample_weight, got {sorted(fit_params)}")
        logits = self._as_logits(X, reset=True)
        check_consistent_length(logits, y)
        weights = check_sample_weight(sample_weight, logits.shape[:1])
        rows, classes = self._labelled(logits, y, weights, named_columns(X, y, weights), multilabel=False)
        scaling, messages = FittedScaling.fit(rows, self.scaling, multilabel=False)
        self._set_fitted(None, classes, scaling)
        return messages

    def _fit_classifier(self, X: Any, y: Any, sample_weight: Any, fit_params: dict[str, Any]) -> Messages:
        """Fit the classifier, and calibrate the logits of rows that are new to it; return messages to warn with."""
        estimator = self._classifier()
        frozen = isinstance(estimator, FrozenEstimator)
        if y is None:
            # scikit-learn's own words for a missing y.
            validate_data(self, X, y, skip_check_array=True)
        check_consistent_length(X, y)
        if shape_of(y)[1:] == (1,) and not is_indicator(y):
            y = column_or_1d(y, warn=True)
        if frozen and fit_params and not get_config()["enable_metadata_routing"]:
            raise TypeError(
                f"a frozen classifier is not fitted: fit takes X, y and sample_weight, got {sorted(fit_params)}"
            )
        shape = shape_of(y)
        by_entry = len(shape) == 2 and gives_indicator(estimator, y)
        weights = check_sample_weight(sample_weight, shape if by_entry else shape[:1])
        routed, messages = self._routed(estimator, sample_weight, fit_params)
        if not frozen and len(shape) == 1:
            check_two_classes(classes_in(y, weights), type(self).__name__)
        if frozen:
            check_is_fitted(estimator)
            multilabel = gives_indicator(estimator, y, X)
            classes = None if multilabel else classes_of(estimator)
            return messages + self._calibrate(estimator, classes, checked_logits(estimator, X, classes), y, weights)
        fitted = None
        if self.ensemble:
            multilabel = gives_indicator(estimator, y)
            classes = None if multilabel else classes_in(y, weights)
        else:
            fitted = clone(estimator).fit(X, y, **routed.estimator.fit)
            check_is_fitted(fitted)
            classes = None if gives_indicator(fitted, y, X) else classes_of(fitted)
        parts, copies = held_out_logits(
            estimator,
            X,
            y,
            self._splits(X, y, routed.splitter.split),
            routed.estimator.fit,
            classes=classes,
            weights=weights,
            n_jobs=self.n_jobs,
        )
        if fitted is None:
            return messages + self._calibrate_each(parts, copies, classes, y, weights)
        numbers = np.concatenate([part.rows for part in parts])
        logits = np.vstack([part.logits for part in parts])
        return messages + self._calibrate(fitted, classes, logits, y, weights, numbers)

    def _calibrate(
        self,
        fitted: Any,
        classes: Array | None,
        logits: Array,
        y: Any,
        weights: Array | None,
        numbers: Array | None = None,
    ) -> Messages:
        """Fit the scaling to a classifier's logits of some rows, given by their numbers; return messages."""
        multilabel = classes is None
        rows, _ = self._labelled(logits, y, weights, classes, multilabel=multilabel, numbers=numbers)
        scaling, messages = FittedScaling.fit(rows, self.scaling, multilabel=multilabel)
        self._set_fitted(fitted, _classes_of_labels(fitted) if classes is None else classes, scaling)
        return messages

    def _calibrate_each(
        self, parts: list[HeldOut], copies: list[Any], classes: Array | None, y: Any, weights: Array | None
    ) -> Messages:
        """Calibrate the classifiers of an ensemble, each on the rows that its split held out; return messages."""
        every, messages = [], []
        for part, copy in zip(parts, copies, strict=True):
            one = TemperatureCalibrator(FrozenEstimator(copy), cv=self.cv, scaling=self.scaling)
            messages += one._calibrate(copy, classes, part.logits, y, weights, part.rows)
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
        for name, combined in combinations.items():
            value = combined([getattr(one, name) for one in every], axis=0)
            setattr(self, name, value if classes is None else value.item())
        return messages

    def _set_fitted(self, fitted: Any, classes: Any, scaling: FittedScaling) -> None:
        """Set the attributes of a fitted calibrator: of a classifier, or of logits where that is None."""
        self.classes_, self._scaling, self._multilabel = classes, scaling, scaling.multilabel
        self.response_method_ = None if fitted is None else response_of(fitted)
        if fitted is not None:
            self.estimator_ = fitted
            self._take_features_of(fitted)
        self.temperature_, self.slope_, self.bias_ = scaling.temperature, scaling.slope, scaling.bias
        self.loss_before_, self.loss_after_ = scaling.loss_before, scaling.loss_after
        self.at_limit_, self.optimality_gap_ = scaling.at_limit, scaling.optimality_gap

    def _labelled(
        self,
        logits: Array,
        y: Any,
        weights: Array | None,
        classes: Array | None,
        *,
        multilabel: bool,
        numbers: Array | None = None,
    ) -> tuple[LogitRows, Array]:
        every_class = self.scaling != "temperature"
        return labelled_logits(
            logits, y, weights, classes=classes, multilabel=multilabel, numbers=numbers, every_class=every_class
        )

    def _routed(self, estimator: Any, sample_weight: Any, fit_params: dict[str, Any]) -> tuple[Any, Messages]:
        """What goes to the classifier's fit and to the splitter; messages to warn with."""
        if get_config()["enable_metadata_routing"]:
            weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
            return process_routing(self, "fit", **weighted, **fit_params), []
        if "groups" in fit_params:
            raise ValueError("groups reach the splitter with scikit-learn's metadata routing enabled only")
        params = dict(fit_params)
        messages: Messages = []
        if sample_weight is not None:
            # Searches hand on what they get.
            inner = estimator.estimator if isinstance(estimator, (GridSearchCV, RandomizedSearchCV)) else estimator
            if has_fit_parameter(inner, "sample_weight"):
                params["sample_weight"] = sample_weight
            elif not isinstance(estimator, FrozenEstimator) and not any("sample_weight" in name for name in params):
                message = (
                    f"{type(estimator).__name__}.fit takes no sample_weight, so that only the calibration is weighted; "
                    "inside a pipeline or a search, enable scikit-learn's metadata routing and request sample_weight"
                )
                messages.append((message, UserWarning))
        return Bunch(estimator=Bunch(fit=params), splitter=Bunch(split={})), messages

    def _splits(self, X: Any, y: Any, split_params: dict[str, Any]) -> Any:
        """Pairs of training and test rows. Splitters see what they can take of y.

        That is codes for labels of any kind, and nothing of what has two dimensions and may hold NaN or soft labels.
        """
        X, y = indexable(X, y)
        codes = None if len(shape_of(y)) == 2 else encode_labels(y, None)[0].astype(np.intp)
        splitter = check_cv(self.cv, codes, classifier=codes is not None)
        return splitter.split(X, y if codes is None else codes, **split_params)

    def _take_features_of(self, estimator: Any) -> None:
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))

    def _as_logits(self, X: Any, *, reset: bool) -> Array:
        """X as logits (n, K), whatever is in them but NaN."""
        refuse_masked(X)
        logits: Array = validate_data(self, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite=False)
        if np.isnan(logits).any():
            row = int(np.argmax(np.isnan(logits).any(axis=1)))
            raise ValueError(
                f"Input X contains NaN: with estimator='logits' it holds logits, but row {row} is {logits[row]}"
            )
        return logits

    def _raw_logits(self, X: Any) -> Array:
        """Logits (n, K) before calibration."""
        if self.response_method_ is None:
            return self._as_logits(X, reset=False)
        logits = logits_of(self.estimator_, X, multilabel=self._multilabel)
        return logits if self._multilabel else align_columns(logits, classes_of(self.estimator_), self.classes_)


def _classes_of_labels(estimator: Any) -> Any:
    """What a classifier of several labels has for classes, in a form that cross_val_predict takes."""
    classes = estimator.classes_
    return LabelClasses(classes) if type(classes) is list else classes


def _is_soft(y: Any) -> bool:
    """Whether an indicator or distributions hold more than 0 and 1."""
    entries = y.data if sparse.issparse(y) else np.asarray(y)
    return entries.dtype.kind not in "biu" and not np.all((entries == 0) | (entries == 1))
