"""Calibration by a temperature on a Dask cluster."""

from collections.abc import Callable
from functools import partial
from typing import Any, Self

from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from skactivation._callbacks import Watch, with_callbacks
from skactivation._data.inputs import check_logits
from skactivation._data.labels import check_same_columns
from skactivation._data.responses import classes_of, gives_indicator, logits_of
from skactivation._typing import Array
from skactivation.calibration._held_out import checked_logits
from skactivation.calibration._labelled_logits import Columns
from skactivation.calibration._scaling import Messages, ScalingKind
from skactivation.calibration.temperature_calibrator import MULTILABEL_LOGITS, TemperatureCalibrator
from skactivation.dask._cluster import Cluster
from skactivation.dask._linear import DaskPredictions
from skactivation.dask._logit_rows import labelled_partitions
from skactivation.dask._partitions import delayed_parts, example_of, meta_of

__all__ = ["DaskTemperatureCalibrator"]


class DaskTemperatureCalibrator(DaskPredictions, TemperatureCalibrator):
    """`TemperatureCalibrator` for rows on a Dask cluster: of given logits, or of a classifier that is fitted already.

    Parameters
    ----------
    estimator : "logits", "multilabel_logits" or FrozenEstimator
        What X is: the logits; or rows of which a fitted classifier, ``FrozenEstimator(classifier)``, gives the logits.
        Calibrate on rows that it was not fitted to. Other classifiers are an error: they would have to be fitted.
    cv, ensemble, n_jobs
        Not used: they are about fits of classifiers.
    scaling, verbose
        See `TemperatureCalibrator`.
    client : distributed.Client, default=None
        The connection to the cluster; None for the current one. It is no part of files.

    Attributes
    ----------
    temperature_, classes_, loss_before_, loss_after_, ...
        NumPy arrays and numbers; see `TemperatureCalibrator`.

    See Also
    --------
    TemperatureCalibrator : For data in memory; it also fits classifiers, on splits of the rows.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from skactivation.dask import DaskTemperatureCalibrator
    >>> client = Client(processes=False, dashboard_address=":0")
    >>> logits = da.from_array([[9.0, 1.0, 0.0], [0.0, 8.0, 2.0], [7.0, 9.0, 0.0], [8.0, 0.0, 3.0]], chunks=(2, 3))
    >>> y = da.from_array(["bird", "cat", "bird", "dog"], chunks=2)
    >>> model = DaskTemperatureCalibrator("logits").fit(logits, y)
    >>> model.predict_proba(logits[:1]).compute().round(2)
    array([[0.78, 0.12, 0.1 ]])
    >>> client.close()
    """

    _plain_class = TemperatureCalibrator

    def __init__(
        self,
        estimator: Any = None,
        *,
        cv: Any = None,
        ensemble: bool = False,
        scaling: ScalingKind = "temperature",
        n_jobs: int | None = None,
        verbose: int = 0,
        client: Any = None,
    ) -> None:
        super().__init__(estimator, cv=cv, ensemble=ensemble, scaling=scaling, n_jobs=n_jobs, verbose=verbose)
        self.client = client

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None, **fit_params: Any) -> Self:
        """Fit the calibration on the cluster.

        Parameters
        ----------
        X : Dask array or data frame of shape (n, d) or (n, K)
            Rows for the classifier, or logits.
        y : Dask array, series or data frame
            Labels, distributions or an indicator. Arrays with known chunks are brought into those of X; otherwise the
            partitions must have the same rows.
        sample_weight : Dask array or series, default=None
            Non-negative weights of the rows; for several labels also (n, L).
        **fit_params : dict
            None are taken: no classifier is fitted.

        Returns
        -------
        DaskTemperatureCalibrator
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            As in `TemperatureCalibrator`; errors in the data name the partition. The estimator stays unchanged.
        RuntimeError
            If the cluster is lost, or has no worker for half a minute. The estimator stays unchanged.

        Warns
        -----
        UserWarning, ConvergenceWarning
            As in `TemperatureCalibrator`.
        """
        return self._fit(X, y, sample_weight, fit_params)

    def _fit_logits(self, X: Any, y: Any, sample_weight: Any, fit_params: dict[str, Any]) -> Messages:
        """Calibrate given logits; return warnings to emit."""
        _refuse(fit_params)
        parts = delayed_parts(X, y, sample_weight)
        reader = self._plain_for(X)
        check_same_columns(X=meta_of(X), y=meta_of(y))
        columns = Columns(X.shape[1], None, self.estimator == MULTILABEL_LOGITS)
        return self._calibrate_parts(None, columns, parts, partial(check_logits, reader, reset=False), X)

    def _fit_classifier(self, X: Any, y: Any, sample_weight: Any, fit_params: dict[str, Any], watch: Watch) -> Messages:
        """Calibrate the logits of a frozen classifier; return warnings to emit."""
        if not isinstance(self.estimator, FrozenEstimator):
            raise TypeError(
                "estimator must be 'logits', 'multilabel_logits' or a FrozenEstimator, got "
                f"{self.estimator!r}: fit the classifier to other rows first"
            )
        _refuse(fit_params)
        check_is_fitted(self.estimator)
        parts, example = delayed_parts(X, y, sample_weight), example_of(X)
        classes = None if gives_indicator(self.estimator, y, example) else classes_of(self.estimator)
        n_columns = logits_of(self.estimator, example, multilabel=classes is None).shape[1]
        columns = Columns(n_columns, classes, classes is None)
        of_block = partial(checked_logits, self.estimator, classes=classes)
        return self._calibrate_parts(self.estimator, columns, parts, of_block, X)

    def _calibrate_parts(
        self,
        fitted: Any,
        columns: Columns,
        parts: list[Any],
        logits_of_block: Callable[[Any], Array],
        X: Any,
    ) -> Messages:
        with Cluster(self.client) as cluster:
            every_class = self.scaling != "temperature"
            rows, names = labelled_partitions(cluster, columns, parts, logits_of_block, X, every_class=every_class)
            return self._calibrate_rows(fitted, rows, names, multilabel=columns.multilabel)


def _refuse(fit_params: dict[str, Any]) -> None:
    if fit_params:
        raise TypeError(f"fit takes X, y and sample_weight only, got {sorted(fit_params)}: no classifier is fitted")
