"""What the linear estimators for Dask share: fits to partitions, lazy predictions, the way to plain estimators."""

from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any, NamedTuple, Self, cast

import numpy as np
from dask import is_dask_collection
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from skactivation._data.features import FeatureRows
from skactivation._data.inputs import check_features
from skactivation._validation import check_sample_weight
from skactivation.dask._cluster import Cluster
from skactivation.dask._feature_rows import PartitionedRows, encode
from skactivation.dask._partitions import Part, Partitions, RemoteTargets, delayed_parts, example_of, naming
from skactivation.dask._predictions import lazily
from skactivation.linear_model._base import LinearLogitModel
from skactivation.linear_model._encoded_targets import EncodedTargets


class DaskEstimator(BaseEstimator):
    """An estimator that works on a cluster, and its plain counterpart."""

    client: Any
    _plain_class: Any
    """The plain estimator's class."""

    def to_local(self) -> Any:
        """The fitted estimator without Dask, for data in memory.

        Returns
        -------
        estimator
            A plain estimator with the same parameters and fitted attributes.
        """
        plain, params = self._plain(), self.get_params(deep=False)
        plain.__dict__.update({name: value for name, value in vars(self).items() if name not in params})
        return plain

    def _plain(self) -> Any:
        """The plain estimator, not fitted."""
        names = self._plain_class().get_params(deep=False)
        return self._plain_class(**{name: getattr(self, name) for name in names})

    def _plain_for(self, X: Any) -> Any:
        """The plain estimator with the attributes that describe features; sets them here, too."""
        validate_data(self, example_of(X), skip_check_array=True)
        plain = self._plain()
        for name in ("n_features_in_", "feature_names_in_"):
            if hasattr(self, name):
                setattr(plain, name, getattr(self, name))
        return plain

    def __getstate__(self) -> dict[str, Any]:
        """The state without the client, which belongs to this process."""
        return {**super().__getstate__(), "client": None}

    def __sklearn_clone__(self) -> Self:
        """A clone with the same client, which cannot be copied."""
        without = copy(self)
        without.client = None
        other: Self = super(DaskEstimator, without).__sklearn_clone__()
        other.client = self.client
        return other


class DaskPredictions(DaskEstimator):
    """Predictions of classifiers: for a Dask collection a lazy Dask array, for anything else an array."""

    def predict(self, X: Any) -> Any:
        """Predictions, as those of the plain estimator.

        Parameters
        ----------
        X : Dask array or data frame of shape (n, d), or array-like
            Rows.

        Returns
        -------
        Dask array, or ndarray for an X in memory
            Nothing is computed before `compute` is called.
        """
        return lazily(self._fitted().predict, X)

    def decision_function(self, X: Any) -> Any:
        """Logits, as those of the plain estimator.

        Parameters
        ----------
        X : Dask array or data frame of shape (n, d), or array-like
            Rows.

        Returns
        -------
        Dask array, or ndarray for an X in memory
            Nothing is computed before `compute` is called.
        """
        return lazily(self._fitted().decision_function, X)

    def predict_proba(self, X: Any) -> Any:
        """Probabilities, as those of the plain estimator.

        Parameters
        ----------
        X : Dask array or data frame of shape (n, d), or array-like
            Rows.

        Returns
        -------
        Dask array, or ndarray for an X in memory
            Nothing is computed before `compute` is called.
        """
        return lazily(self._fitted().predict_proba, X)

    def predict_log_proba(self, X: Any) -> Any:
        """Logarithms of the probabilities, as those of the plain estimator.

        Parameters
        ----------
        X : Dask array or data frame of shape (n, d), or array-like
            Rows.

        Returns
        -------
        Dask array, or ndarray for an X in memory
            Nothing is computed before `compute` is called.
        """
        return lazily(self._fitted().predict_log_proba, X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The score of the plain estimator, computed on the cluster.

        Parameters
        ----------
        X : Dask array or data frame of shape (n, d), or array-like
            Rows; those in memory are scored in memory.
        y : Dask array, series or data frame, or array-like
            What the plain estimator's `score` takes.
        sample_weight : Dask array or series of shape (n,), default=None
            Non-negative weights of the rows.

        Returns
        -------
        float
            A number in [0, 1].
        """
        plain = self._fitted()
        if not is_dask_collection(X):
            return float(plain.score(X, y, sample_weight))
        parts = delayed_parts(X, y, sample_weight)
        with Cluster(self.client) as cluster:
            scores = cluster.results(cluster.on_collections("score", _score, (plain, self._scored_weight), parts))
        values, weights = np.array(scores).T
        if not weights.any():
            raise ValueError("y has no row of positive weight that can be scored")
        return float(np.average(values, weights=weights))

    @staticmethod
    def _scored_weight(y: Any, sample_weight: Any) -> float:
        """The total weight of the rows of a partition that are scored."""
        return float(len(y) if sample_weight is None else np.sum(np.asarray(sample_weight)))

    def _fitted(self) -> Any:
        check_is_fitted(self)
        return self.to_local()


class DaskLinearModel(DaskPredictions, LinearLogitModel):
    """Fits of a linear estimator to partitions."""

    def _fit(self, X: Any, y: Any, sample_weight: Any, read: Callable[..., Any] | None = None) -> Self:
        with Cluster(self.client) as cluster:
            return super()._fit(X, y, sample_weight, partial(self._read_and_encode, cluster))

    def _read_and_encode(
        self, cluster: Cluster, X: Any, y: Any, sample_weight: Any
    ) -> tuple[Partitions, EncodedTargets, list[str]]:
        """X in partitions, facts about y as fits take it, and messages for warnings."""
        parts = delayed_parts(X, y, sample_weight)
        plain = self._plain_for(X)
        data = Partitions(cluster, _Reader(plain), parts, X.shape[1])
        encoder, messages = self._encoder(data.totals)
        return data, encode(data, encoder), messages

    def _rows(self, X: Partitions, encoded: EncodedTargets, *, fit_intercept: bool) -> tuple[FeatureRows, float]:
        targets = cast(RemoteTargets, encoded.targets)
        return PartitionedRows.of(X, targets, fit_intercept=fit_intercept), targets.largest_weight


class _Reader(NamedTuple):
    """Reads features, and y as an estimator takes it."""

    plain: LinearLogitModel

    def read(self, X: Any, y: Any, sample_weight: Any) -> Part:
        """The rows of a partition, with y and weights."""
        features = check_features(self.plain, X, reset=False)
        weights = check_sample_weight(sample_weight, self.plain._shape_of_weights(features, y), allow_zeros=True)
        return Part(
            features, self.plain._describe(y).weighted(weights), None if weights is None else float(weights.max())
        )


def _score(
    shared: tuple[Any, Callable[[Any, Any], float]], number: int, X: Any, y: Any, sample_weight: Any
) -> tuple[float, float]:
    """The score of a partition, and its weight among others."""
    plain, weigh = shared
    with naming(number):
        weight = weigh(y, sample_weight)
        return (plain.score(X, y, sample_weight) if weight else 0.0), weight
