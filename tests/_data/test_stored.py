"""X that is read by slices: HDF5 data sets, Zarr arrays and their like."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits, load_wine
from threadpoolctl import threadpool_limits

from skactivation import SigmoidMultiLabel, SigmoidMultiLabelCV, SoftmaxRegression, SoftmaxRegressionCV
from skactivation._data import stored
from skactivation._data.stored import StoredRows, is_stored

X, y = load_wine(return_X_y=True)
Y = np.eye(3, dtype=int)[y]


class Store:
    """Rows of an array, by slices only."""

    def __init__(self, array):
        self._array, self.shape, self.dtype = array, array.shape, array.dtype
        self.longest = 0

    def __getitem__(self, rows):
        part = self._array[rows]
        self.longest = max(self.longest, len(part))
        return part


@pytest.mark.parametrize("array", [X, X.astype(np.float32), np.round(X).astype(int)], ids=["float64", "float32", "int"])
@pytest.mark.parametrize(
    ("model", "targets"),
    [
        (SoftmaxRegression(), y),
        (SigmoidMultiLabel(), Y),
        (SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3), y),
        (SigmoidMultiLabelCV(Cs=[0.1, 1.0], cv=3), Y),
    ],
    ids=["softmax", "labels", "search", "search of labels"],
)
def test_fits_and_predictions_are_those_of_the_array(model, targets, array):
    from_store, in_memory = clone(model).fit(Store(array), targets), clone(model).fit(array, targets)
    assert_array_equal(from_store.coef_, in_memory.coef_)
    assert from_store.n_features_in_ == 13
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        assert_array_equal(getattr(from_store, method)(Store(array)), getattr(in_memory, method)(array))
    assert from_store.score(Store(array), targets) == in_memory.score(array, targets)


def test_a_sample_of_rows_and_few_rows_of_many_columns():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60_000, 8))
    labels = (rows[:, 0] + rng.logistic(size=60_000) > 0).astype(int)
    for array, targets in ((rows, labels), (rng.normal(size=(40, 300)), np.arange(40) % 3)):
        expected = SoftmaxRegression().fit(array, targets)
        assert_array_equal(SoftmaxRegression().fit(Store(array), targets).coef_, expected.coef_)


def test_the_same_bits_for_any_number_of_threads():
    digits, labels = load_digits(return_X_y=True)
    several = SoftmaxRegression().fit(Store(digits), labels)
    with threadpool_limits(1):
        assert_array_equal(SoftmaxRegression().fit(Store(digits), labels).coef_, several.coef_)


def test_hdf5():
    h5py = pytest.importorskip("h5py")
    with h5py.File("wine", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("X", data=X, chunks=(50, 13))
        model = SoftmaxRegression().fit(data, y)
        assert_array_equal(model.coef_, SoftmaxRegression().fit(X, y).coef_)
        assert_array_equal(model.predict(data), model.predict(X))
        search = SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3).fit(data, y)
        assert_array_equal(search.scores_, SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3).fit(X, y).scores_)


def test_zarr():
    zarr = pytest.importorskip("zarr")
    data = zarr.array(X, chunks=(50, 13))
    assert_array_equal(SoftmaxRegression().fit(data, y).coef_, SoftmaxRegression().fit(X, y).coef_)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_entries_that_are_not_finite_are_named(bad):
    wrong = X.copy()
    wrong[100, 3] = bad
    model = SoftmaxRegression()
    with pytest.raises(ValueError, match="Input X contains NaN or infinity, first in row 100"):
        model.fit(Store(wrong), y)
    assert not hasattr(model, "coef_")
    assert not hasattr(model, "n_features_in_")
    model.fit(X, y)
    with pytest.raises(ValueError, match="Input X contains NaN or infinity, first in row 100"):
        model.predict(Store(wrong))
    with pytest.raises(ValueError, match="first in row 100"):
        model.sparsify().predict(Store(wrong))


def test_the_number_of_features_is_checked():
    model = SoftmaxRegression().fit(X, y)
    with pytest.raises(ValueError, match="X has 5 features, but SoftmaxRegression is expecting 13"):
        model.predict(Store(X[:, :5]))
    with pytest.raises(ValueError, match="X and y must have the same number of rows, got 100 and 178"):
        model.fit(Store(X[:100]), y)


def test_leave_one_out_takes_arrays_in_memory():
    with pytest.raises(TypeError, match="cv='loo' takes X in memory"):
        SoftmaxRegressionCV(cv="loo").fit(Store(X), y)


def test_dask_collections_are_refused():
    class Collection(Store):
        def __dask_graph__(self):
            return {}

    for name, arguments in (
        ("X", (Collection(X), y)),
        ("y", (X, Collection(Y))),
        ("sample_weight", (X, y, Collection(Y))),
    ):
        with pytest.raises(TypeError, match=f"{name} must be in memory, got a Dask collection.* skactivation.dask"):
            SoftmaxRegression().fit(*arguments)


def test_what_is_stored():
    assert is_stored(Store(X))
    assert not any(map(is_stored, (X, X.tolist(), Store(X[:, 0]), Store(X.astype(str)), np.asfortranarray(X))))


@pytest.mark.parametrize("size", [1, 100, 2**20])
def test_rows_by_numbers_in_any_order(size, monkeypatch):
    monkeypatch.setattr(stored, "_READ_SIZE", size)
    rows = StoredRows(Store(X))
    numbers = np.array([170, 3, 3, 0, 177, 90])
    assert_array_equal(rows[numbers], X[numbers])
    assert_array_equal(rows[10:20], X[10:20])
    assert_array_equal(rows[:, 2:4], X[:, 2:4])
    assert rows[np.zeros(0, dtype=int)].shape == (0, 13)


class Random:
    """Rows that are made when they are read: more than fit into the memory that is allowed."""

    dtype = np.dtype(np.float32)

    def __init__(self, n_rows, n_features):
        self.shape = n_rows, n_features
        self._pool = np.random.default_rng(0).normal(size=(1000, n_features)).astype(np.float32)

    def __getitem__(self, rows):
        numbers = np.arange(self.shape[0])[rows]
        return self._pool[numbers % 1000] + (numbers % 7)[:, np.newaxis].astype(np.float32)


def test_memory_does_not_grow_with_the_rows_of_x(monkeypatch):
    monkeypatch.setattr("skactivation.linear_model._initial_guess._MOST_ENTRIES", 2**19)
    peaks = []
    for n_rows in (200_000, 400_000):
        data = Random(n_rows, 100)
        targets = (np.arange(n_rows) * 7919 % 13 < 5).astype(np.int8)
        model = SoftmaxRegression(tol=1e-3)
        tracemalloc.start()
        try:
            with threadpool_limits(1):
                model.fit(data, targets)
                model.predict(data)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert model.converged_
    # X grows from 80 to 160 MB. What may grow is y and what belongs to each row: some numbers of 8 bytes.
    assert peaks[1] - peaks[0] < 60 * 200_000
    assert peaks[1] < 60e6
