"""Dask."""

from skactivation.dask.softmax_regression import DaskSoftmaxRegression
