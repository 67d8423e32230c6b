"""Softmax regression on a Dask cluster."""

from typing import Any, Self

from skactivation._callbacks import with_callbacks
from skactivation.dask._linear import DaskLinearModel
from skactivation.linear_model.softmax_regression import SoftmaxRegression

__all__ = ["DaskSoftmaxRegression"]


class DaskSoftmaxRegression(DaskLinearModel, SoftmaxRegression):
    """`SoftmaxRegression` for rows on a Dask cluster: the same objective, certificate and coefficients.

    The rows stay on the workers. In each pass over them, coefficients go out and sums come back, which are added in
    the order of the partitions: results are the same bits for any number of workers with the same kind of processor.

    Parameters
    ----------
    C, fit_intercept, class_weight, prior_correction, label_smoothing, tol, max_iter, warm_start, verbose
        See `SoftmaxRegression`.
    client : distributed.Client, default=None
        The connection to the cluster; None for the current one. It is no part of files.

    Attributes
    ----------
    coef_, intercept_, classes_, ...
        NumPy arrays and numbers; see `SoftmaxRegression`.

    See Also
    --------
    SoftmaxRegression : For rows in memory or in a file.

    Notes
    -----
    Workers hold X as dense float32 or float64 during the fit; an array that is persisted in this form is not copied. If
    a worker dies, Dask computes its partitions again, and the fit goes on to the same result. A sample of the rows, of
    at most 128 MB, comes to the client. Sparse blocks are not supported.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from skactivation.dask import DaskSoftmaxRegression
    >>> client = Client(processes=False, dashboard_address=":0")
    >>> X = da.from_array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]], chunks=(2, 1))
    >>> y = da.from_array(["no", "no", "yes", "no", "yes", "yes"], chunks=2)
    >>> model = DaskSoftmaxRegression().fit(X, y)
    >>> model.predict_proba(X[-1:]).compute().round(2)
    array([[0.13, 0.87]])
    >>> model.to_local().predict([[5.0]])
    array(['yes'], dtype='<U3')
    >>> client.close()
    """

    _plain_class = SoftmaxRegression

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
        verbose: int = 0,
        client: Any = None,
    ) -> None:
        super().__init__(
            C=C,
            fit_intercept=fit_intercept,
            class_weight=class_weight,
            prior_correction=prior_correction,
            label_smoothing=label_smoothing,
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
        y : Dask array, series or data frame of shape (n,) or (n, K)
            Class labels, or soft targets: each row a distribution over K classes. Arrays with known chunks are brought
            into those of X; otherwise the partitions of X and y must have the same rows.
        sample_weight : Dask array or series of shape (n,), default=None
            Non-negative weights.

        Returns
        -------
        DaskSoftmaxRegression
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            As in `SoftmaxRegression`; errors in the data name the partition. The estimator stays unchanged.
        RuntimeError
            If the cluster is lost, or has no worker for half a minute. The estimator stays unchanged.

        Warns
        -----
        ConvergenceWarning, UserWarning
            As in `SoftmaxRegression`.
        """
        return self._fit(X, y, sample_weight)
