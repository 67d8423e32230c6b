"""`fit_temperature` for logits on a Dask cluster."""

import warnings
from functools import partial
from typing import Any

import dask.array as da
import numpy as np

from skactivation._data.class_columns import given_classes
from skactivation._data.labels import check_same_columns
from skactivation._validation import as_floats, check_boolean
from skactivation.calibration._labelled_logits import Columns
from skactivation.calibration.temperature_fit import TemperatureFit, fit_to_rows
from skactivation.dask._cluster import Cluster
from skactivation.dask._logit_rows import labelled_partitions
from skactivation.dask._partitions import delayed_parts, meta_of

__all__ = ["fit_temperature"]


def fit_temperature(
    logits: Any,
    y: Any,
    *,
    classes: Any = None,
    multilabel: bool = False,
    sample_weight: Any = None,
    client: Any = None,
) -> TemperatureFit:
    """`skactivation.calibration.fit_temperature` for logits on a Dask cluster: the same temperature.

    Parameters
    ----------
    logits : Dask array or data frame of shape (n, K), (n,) or (n, L)
        Logits, as for the function of this name in `skactivation.calibration`.
    y : Dask array, series or data frame
        Labels, distributions or an indicator. Arrays with known chunks are brought into those of the logits; otherwise
        the partitions must have the same rows.
    classes : array-like of shape (K,), default=None
        The label of each column, in memory.
    multilabel : bool, default=False
        Whether the columns are labels that don't exclude each other.
    sample_weight : Dask array or series, default=None
        Weights of the rows; with `multilabel` also (n, L).
    client : distributed.Client, default=None
        The connection to the cluster; None for the current one.

    Returns
    -------
    TemperatureFit
        The temperature and losses. For an array (n, K), ``logits.map_blocks(fit.predict_proba)`` are calibrated
        probabilities.

    Raises
    ------
    TypeError, ValueError
        As for data in memory; errors in the data name the partition.
    RuntimeError
        If the cluster is lost, or has no worker for half a minute.

    Warns
    -----
    UserWarning, ConvergenceWarning
        As for data in memory.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from skactivation.dask import fit_temperature
    >>> client = Client(processes=False, dashboard_address=":0")
    >>> logits = da.from_array([[9.0, 1.0, 0.0], [0.0, 8.0, 2.0], [7.0, 9.0, 0.0], [8.0, 0.0, 3.0]], chunks=(2, 3))
    >>> fit = fit_temperature(logits, da.from_array(["bird", "cat", "bird", "dog"], chunks=2))
    >>> round(fit.temperature, 2)
    4.27
    >>> client.close()
    """
    multilabel = check_boolean(multilabel, "multilabel")
    if multilabel and classes is not None:
        raise ValueError(
            "classes can't be given with multilabel=True; omit them: column k of y belongs to column k of logits"
        )
    if len(getattr(logits, "shape", ())) == 1:
        logits = logits[:, np.newaxis] if isinstance(logits, da.Array) else logits.to_frame()
    if classes is not None:
        classes = given_classes(classes, max(2, logits.shape[1]))
    parts = delayed_parts(logits, y, sample_weight, name="logits")
    check_same_columns(logits=meta_of(logits), y=meta_of(y))
    with Cluster(client) as cluster:
        columns = Columns(logits.shape[1], classes, multilabel)
        rows, _ = labelled_partitions(cluster, columns, parts, partial(as_floats, name="logits"), logits)
        fit, messages = fit_to_rows(rows, multilabel=multilabel)
    for message, category in messages:
        warnings.warn(message, category, stacklevel=2)
    return fit
