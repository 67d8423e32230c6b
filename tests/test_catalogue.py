"""Inputs that break others, for all three estimators: what is an error, and what must work."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning

from skactivation import SigmoidMultiLabel, SoftmaxRegression, TemperatureCalibrator

X, Y = load_iris(return_X_y=True)
ESTIMATORS = {
    "softmax": lambda: (SoftmaxRegression(), Y),
    "labels": lambda: (SigmoidMultiLabel(), np.eye(3)[Y]),
    "calibrator": lambda: (TemperatureCalibrator(SoftmaxRegression(), cv=3), Y),
}
every_estimator = pytest.mark.parametrize("make", ESTIMATORS.values(), ids=ESTIMATORS)


def changed(entry, value, dtype=float):
    array = X.astype(dtype)
    array[entry] = value
    return array


with warnings.catch_warnings():
    warnings.simplefilter("ignore", PendingDeprecationWarning)
    MATRIX = np.matrix(X)
BAD_X = {
    "NaN": changed((3, 1), np.nan),
    "inf": changed((3, 1), np.inf),
    "1-D": X[:, 0],
    "3-D": X[:, :, np.newaxis],
    "no rows": X[:0],
    "no columns": X[:, :0],
    "complex": X.astype(complex),
    "strings": changed((3, 1), "x", object),
    "ragged": [*X[:-1].tolist(), [1.0]],
    "masked": np.ma.masked_array(X, X > 6),
    "matrix": MATRIX,
    "sparse with NaN": sparse.csr_array(changed((3, 1), np.nan)),
    "too short": X[:-1],
}


@every_estimator
@pytest.mark.parametrize("bad", BAD_X.values(), ids=BAD_X)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_a_bad_X_is_an_error(make, bad):
    estimator, y = make()
    with pytest.raises((ValueError, TypeError)) as caught:
        estimator.fit(bad, y[: len(bad)] if np.shape(bad)[:1] == (0,) else y)
    assert len(str(caught.value)) > 15
    assert not hasattr(estimator, "classes_")


@every_estimator
def test_other_columns_at_prediction_are_an_error(make):
    estimator, y = make()
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator.fit(frame, y)
    for bad in (frame.rename(columns={"a": "z"}), frame[["b", "a", "c", "d"]], frame[["a", "b"]]):
        with pytest.raises(ValueError, match=r"feature names|features"):
            estimator.predict(bad)


def read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


def unsorted(values):
    """Rows whose entries are in the reverse order, and doubled."""
    rows = sparse.csr_array(values)
    data = np.concatenate([np.repeat(row[::-1] / 2, 2) for row in values])
    indices = np.tile(np.repeat(np.arange(4)[::-1], 2), len(values))
    return sparse.csr_array((data, indices.astype(rows.indices.dtype), 8 * np.arange(len(values) + 1)), values.shape)


GOOD_X = {
    "objects": lambda X: X.astype(object),
    "big-endian": lambda X: X.astype(">f8"),
    "negative strides": lambda X: X[:, ::-1][:, ::-1],
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "list": lambda X: X.tolist(),
    "CSR": sparse.csr_array,
    "CSC": sparse.csc_array,
    "COO": sparse.coo_array,
    "CSR matrix": sparse.csr_matrix,
    "unsorted with repeated entries": unsorted,
    "64-bit indices": lambda X: sparse.csr_array(
        (X.ravel(), np.tile(np.arange(4, dtype=np.int64), len(X)), 4 * np.arange(len(X) + 1, dtype=np.int64)), X.shape
    ),
    "pandas": lambda X: pd.DataFrame(X, columns=list("abcd")),
    "polars": lambda X: pl.DataFrame(X, schema=list("abcd")),
}


@every_estimator
@pytest.mark.parametrize("form", GOOD_X.values(), ids=GOOD_X)
def test_an_X_of_any_form_gives_the_same_model(make, form):
    estimator, y = make()
    expected = make()[0].fit(X, y).predict_proba(X)
    given = form(X)
    before = given.copy() if hasattr(given, "copy") else None
    assert_allclose(estimator.fit(given, y).predict_proba(given), expected, rtol=1e-6, atol=1e-8)
    if sparse.issparse(given):
        assert_array_equal(given.data, before.data)
        name = "col" if given.format == "coo" else "indices"
        assert_array_equal(getattr(given, name), getattr(before, name))


SCALED_X = {
    "X * 1e10": X * 1e10,
    "one column * 1e10": X * [1, 1e10, 1, 1],
    "X + 1e8": X + 1e8,
    "one column * 1e-10": X * [1, 1, 1e-10, 1],
    "X * 1e-150": X * 1e-150,
    "constant and repeated columns": np.column_stack([X, X[:, 0], np.full(150, 3.0)]),
    "fewer rows than columns": np.hstack([X] * 60),
}


@pytest.mark.parametrize("values", SCALED_X.values(), ids=SCALED_X)
@pytest.mark.parametrize("make", [ESTIMATORS["softmax"], ESTIMATORS["labels"]], ids=["softmax", "labels"])
def test_features_of_any_scale_have_a_certified_optimum(make, values):
    estimator, y = make()
    estimator.fit(values, y)
    assert estimator.converged_
    assert estimator.optimality_gap_ <= 1e-6
    assert np.isfinite(estimator.coef_).all()


def test_features_beyond_any_scale_are_certified_or_warned_of():
    # The coefficients that separate a class cost next to nothing in these units.
    with pytest.warns(ConvergenceWarning, match="in the units of X the penalty is too weak"):
        model = SoftmaxRegression().fit(X * 1e150, Y)
    assert np.isfinite(model.coef_).all()
    assert np.abs(model.coef_).max() > 0
    assert not model.converged_


BAD_Y = {
    "one class": np.zeros(150),
    "continuous": np.linspace(0, 1, 150),
    "NaN": np.where(np.arange(150) == 3, np.nan, Y),
    "None": np.where(np.arange(150) == 3, None, Y),
    "mixed": np.where(np.arange(150) % 2, "a", Y.astype(object)),
    "bytes": np.array([b"a", b"b"], dtype=object)[Y % 2],
    "too short": Y[:-1],
    "ragged": [[1], *[[1, 2]] * 149],
    "2 in an indicator": 2 * np.eye(3)[Y],
    "-1 in an indicator": -np.eye(3)[Y],
}


@pytest.mark.parametrize("bad", BAD_Y.values(), ids=BAD_Y)
@pytest.mark.parametrize("kind", [SoftmaxRegression, SigmoidMultiLabel, TemperatureCalibrator])
def test_a_bad_y_is_an_error(kind, bad):
    estimator = kind()
    with pytest.raises((ValueError, TypeError)) as caught:
        estimator.fit(X, bad)
    assert len(str(caught.value)) > 15
    assert not hasattr(estimator, "classes_")


NAMES = np.array(["ant", "bee", "cow"])
GOOD_Y = {
    "strings": NAMES[Y],
    "objects": NAMES.astype(object)[Y],
    "bools": Y == 1,
    "categories, one unused": pd.Series(pd.Categorical(NAMES[Y], categories=["ant", "bee", "cow", "dog"])),
    "Int64": pd.Series(Y, dtype="Int64"),
    "any index": pd.Series(Y, index=np.arange(150)[::-1] + 7),
    "1 to K": Y + 1,
    "-1 and 1": np.where(Y == 1, 1, -1),
    "floats": Y.astype(float),
    "large integers": Y.astype(np.int64) * 10**15,
    "days": np.datetime64("2020-01-01") + Y,
}


@pytest.mark.parametrize("y", GOOD_Y.values(), ids=GOOD_Y)
@pytest.mark.parametrize("kind", [SoftmaxRegression, TemperatureCalibrator])
def test_labels_of_any_kind_come_back(kind, y):
    model = kind().fit(X, y)
    assert set(np.asarray(model.predict(X)).tolist()) <= set(np.asarray(y).tolist())
    assert (np.asarray(model.predict(X)) == np.asarray(y)).mean() > 0.6
    codes = np.unique(np.asarray(y).astype(str), return_inverse=True)[1]
    assert_allclose(
        np.sort(model.predict_proba(X), axis=1), np.sort(kind().fit(X, codes).predict_proba(X), axis=1), atol=1e-9
    )


@pytest.mark.parametrize("kind", [SoftmaxRegression, SigmoidMultiLabel, TemperatureCalibrator])
@pytest.mark.filterwarnings("ignore:y holds 3 classes:UserWarning")
def test_a_column_of_labels_is_warned_of(kind):
    with pytest.warns(DataConversionWarning):
        kind().fit(X, NAMES[Y][:, np.newaxis])


BAD_WEIGHTS = {
    "negative": np.where(np.arange(150) == 3, -1.0, 1.0),
    "NaN": np.where(np.arange(150) == 3, np.nan, 1.0),
    "inf": np.where(np.arange(150) == 3, np.inf, 1.0),
    "strings": np.full(150, "a"),
    "zero": np.zeros(150),
    "length": np.ones(149),
}


@every_estimator
@pytest.mark.parametrize("bad", BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_bad_weights_are_an_error(make, bad):
    estimator, y = make()
    with pytest.raises((ValueError, TypeError), match=r"sample_weight|weight"):
        estimator.fit(X, y, sample_weight=bad)


@every_estimator
@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_weights_of_any_size_are_those_of_their_ratios(make, scale):
    (estimator, y), weights = make(), np.arange(150) % 3 + 1.0
    # C has the unit of the inverse weights.
    parameter = "estimator__C" if "cv" in estimator.get_params() else "C"
    expected = make()[0].fit(X, y, sample_weight=weights)
    estimator.set_params(**{parameter: 1 / scale}).fit(X, y, sample_weight=weights * scale)
    assert_allclose(estimator.predict_proba(X), expected.predict_proba(X), rtol=1e-6, atol=1e-9)


def test_with_next_to_no_C_the_intercepts_are_the_log_priors():
    model = SoftmaxRegression(C=1e-300).fit(X[:120], Y[:120])
    assert_allclose(np.exp(model.predict_log_proba(X)), np.tile([50 / 120, 50 / 120, 20 / 120], (150, 1)), rtol=1e-9)


def test_separable_data_without_a_penalty_are_warned_of_by_name():
    with pytest.warns(ConvergenceWarning, match="no finite optimum exists with C=inf.*'ant'"):
        SoftmaxRegression(C=np.inf).fit(X[Y < 2], NAMES[Y[Y < 2]])
