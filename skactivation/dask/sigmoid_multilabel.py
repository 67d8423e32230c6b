"""Multilabel classification on a Dask cluster."""

from typing import Any, Self

import numpy as np

from skactivation._callbacks import with_callbacks
from skactivation._data.indicators import Indicator
from skactivation.dask._linear import DaskLinearModel
from skactivation.linear_model._subset_accuracy import check_hard
from skactivation.linear_model.sigmoid_multilabel import SigmoidMultiLabel

__all__ = ["DaskSigmoidMultiLabel"]


class DaskSigmoidMultiLabel(DaskLinearModel, SigmoidMultiLabel):
    """`SigmoidMultiLabel` for rows on a Dask cluster: the same objectives, certificates and coefficients.

    The rows stay on the workers. In each pass over them, coefficients go out and sums come back, which are added in
    the order of the partitions: results are the same bits for any number of workers with the same kind of processor.

    Parameters
    ----------
    C, fit_intercept, pos_weight, prior_correction, label_smoothing, threshold, tol, max_iter, warm_start, verbose
        See `SigmoidMultiLabel`.
    client : distributed.Client, default=None
        The connection to the cluster; None for the current one. It is no part of files.

    Attributes
    ----------
    coef_, intercept_, classes_, ...
        NumPy arrays and numbers; see `SigmoidMultiLabel`.

    See Also
    --------
    SigmoidMultiLabel : For rows in memory or in a file.

    Notes
    -----
    Y needs a column for each label; for exclusive classes in one dimension use `DaskSoftmaxRegression`. The notes of
    that class hold here, too.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> from distributed import Client
    >>> from skactivation.dask import DaskSigmoidMultiLabel
    >>> client = Client(processes=False, dashboard_address=":0")
    >>> X = da.from_array(np.arange(6.0).reshape(-1, 1), chunks=(3, 1))
    >>> Y = da.from_array([[0, 1], [0, 1], [1, 0], [0, 1], [1, np.nan], [1, 0]], chunks=(3, 2))  # NaN: not known
    >>> DaskSigmoidMultiLabel().fit(X, Y).predict_proba(X[-2:]).compute().round(3)
    array([[0.76 , 0.341],
           [0.872, 0.216]])
    >>> client.close()
    """

    _plain_class = SigmoidMultiLabel

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
        client: Any = None,
    ) -> None:
        super().__init__(
            C=C,
            fit_intercept=fit_intercept,
            pos_weight=pos_weight,
            prior_correction=prior_correction,
            label_smoothing=label_smoothing,
            threshold=threshold,
            tol=tol,
            max_iter=max_iter,
            warm_start=warm_start,
            verbose=verbose,
        )
        self.client = client

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model on the cluster.

        Parameters
        ----------
        X : Dask array or data frame of shape (n, d)
            Training rows, dense. Chunks of columns are merged.
        y : Dask array or data frame of shape (n, L)
            Y: 1 if the row has the label, 0 if not, NaN if not known, values between 0 and 1 for soft labels. Arrays
            with known chunks are brought into those of X; otherwise the partitions of X and Y must have the same rows.
        sample_weight : Dask array, series or data frame of shape (n,) or (n, L), default=None
            Non-negative weights of the rows or of the entries of Y.

        Returns
        -------
        DaskSigmoidMultiLabel
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            As in `SigmoidMultiLabel`; errors in the data name the partition. The estimator stays unchanged.
        RuntimeError
            If the cluster is lost, or has no worker for half a minute. The estimator stays unchanged.

        Warns
        -----
        ConvergenceWarning, UserWarning
            As in `SigmoidMultiLabel`.
        """
        if len(getattr(y, "shape", (0, 0))) == 1:
            raise ValueError(
                "y must have a column for each label, got one dimension; for exclusive classes use "
                "DaskSoftmaxRegression, for a single label pass y.reshape(-1, 1) or series.to_frame()"
            )
        return self._fit(X, y, sample_weight)

    @staticmethod
    def _scored_weight(y: Any, sample_weight: Any) -> float:
        """The total weight of the rows of a partition that have a known label."""
        indicator = Indicator(y)
        check_hard(indicator, sample_weight)
        known = indicator.signs(slice(None), np.arange(indicator.n_labels)).any(axis=0)
        return float(np.sum(known * (np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight))))
