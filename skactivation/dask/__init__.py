"""Fits to rows on a Dask cluster, with the same results as in memory. Takes the extra `dask`.

The classes subclass the plain ones and share their parameters and fitted attributes. `_cluster` runs functions as
tasks; `_partitions` aligns and reads collections; `_feature_rows` and `_logit_rows` give the solver and the calibration
sums over rows that they never see; `_linear` and `_predictions` are what the estimators share.
"""

from importlib.util import find_spec

if find_spec("distributed") is None:
    raise ImportError(
        "skactivation.dask needs the packages dask and distributed: python3 -m pip install 'skactivation[dask]'"
    )

from skactivation.dask.sigmoid_multilabel import DaskSigmoidMultiLabel
from skactivation.dask.softmax_regression import DaskSoftmaxRegression
from skactivation.dask.temperature_calibrator import DaskTemperatureCalibrator
from skactivation.dask.temperature_fit import fit_temperature

__all__ = ["DaskSigmoidMultiLabel", "DaskSoftmaxRegression", "DaskTemperatureCalibrator", "fit_temperature"]
