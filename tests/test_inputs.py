"""Unusual input to SoftmaxRegression gives correct results, invalid input clear errors; no input is modified."""

import datetime
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.exceptions import DataConversionWarning

from skactivation import SigmoidMultiLabel, SoftmaxRegression
from skactivation._optimize import strategy
from skactivation.activations import softmax

IRIS, SPECIES = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
BASE = SoftmaxRegression().fit(IRIS, SPECIES)


def memory_map(X, path, order="C"):
    saved = np.lib.format.open_memmap(path, mode="w+", dtype=X.dtype, shape=X.shape, fortran_order=order == "F")
    saved[:] = X
    saved.flush()
    return np.load(path, mmap_mode="r")


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def split_entries(X):
    """A CSR array whose entries are unsorted and stored in two parts each."""
    rows, columns = np.indices(X.shape).reshape(2, -1)
    data = np.concatenate([X.ravel() - 1, np.ones(X.size)])
    order = np.random.default_rng(0).permutation(data.size)
    order = order[np.argsort(np.tile(rows, 2)[order], kind="stable")]
    indptr = np.arange(0, data.size + 1, 2 * X.shape[1])
    return sparse.csr_array((data[order], np.tile(columns, 2)[order], indptr), shape=X.shape)


@pytest.mark.parametrize(
    "form",
    [
        np.asfortranarray,
        read_only,
        lambda X: X.astype(object),
        lambda X: X.astype(">f8"),
        lambda X: X[::-1][::-1],
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
        lambda X: X.tolist(),
        pd.DataFrame,
        pl.DataFrame,
        sparse.csr_array,
        sparse.csc_array,
        sparse.csr_matrix,
        sparse.csc_matrix,
        sparse.coo_array,
        split_entries,
        lambda X: sparse.csr_array((X.ravel(), np.tile(np.arange(4), 150), np.arange(0, 601, 4).astype(np.int64))),
    ],
    ids=["F", "read-only", "object", "big-endian", "reversed", "strided", "lists", "pandas", "polars", "csr_array",
         "csc_array", "csr_matrix", "csc_matrix", "coo_array", "split entries", "int64 indices"],
)  # fmt: skip
def test_any_form_of_X_gives_the_same_model_and_stays_as_it_was(form):
    X = form(IRIS)
    before = X.copy() if hasattr(X, "copy") else X.clone()
    model = SoftmaxRegression().fit(X, SPECIES)
    assert_allclose(model.coef_, BASE.coef_, rtol=1e-9)
    assert_allclose(model.predict_proba(X), BASE.predict_proba(IRIS), rtol=1e-9, atol=1e-15)
    if sparse.issparse(X):
        assert_array_equal(X.data, before.data)
        if hasattr(X, "indices"):
            assert_array_equal(X.indices, before.indices)
    else:
        assert_array_equal(np.asarray(X), np.asarray(before))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_memory_map_is_fitted_as_it_is(order, dtype, tmp_path):
    X = memory_map(IRIS.astype(dtype), tmp_path / "X.npy", order)
    model = SoftmaxRegression().fit(X, SPECIES)
    assert model.coef_.dtype == dtype
    assert_allclose(model.coef_, BASE.coef_, rtol=1e-5 if dtype == np.float32 else 1e-9)


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint16, np.float16, bool])
def test_other_numbers_are_taken_as_float64(dtype):
    X = np.round(IRIS).astype(dtype)
    model = SoftmaxRegression().fit(X, SPECIES)
    assert model.coef_.dtype == np.float64
    assert_allclose(model.coef_, SoftmaxRegression().fit(X.astype(float), SPECIES).coef_, rtol=1e-12)


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_array])
def test_spare_entries_of_a_sparse_array_stay_where_they_are(form):
    X = form(IRIS)
    X.data, X.indices = np.append(X.data, [7.0, 7.0]), np.append(X.indices, [0, 0]).astype(X.indices.dtype)
    data, indices = X.data, X.indices
    model = SoftmaxRegression().fit(X, SPECIES)
    model.predict(X)
    assert X.data is data
    assert X.indices is indices
    assert_allclose(model.coef_, BASE.coef_, rtol=1e-9)


def test_entries_stored_in_parts_are_added_up_with_the_diagonal_preconditioner(monkeypatch):
    monkeypatch.setattr(strategy, "_WHOLE_HESSIAN", 0)
    whole, parts = sparse.csr_array(IRIS), split_entries(IRIS)
    assert_allclose(
        SoftmaxRegression().fit(parts, SPECIES).n_iter_, SoftmaxRegression().fit(whole, SPECIES).n_iter_, atol=2
    )


with warnings.catch_warnings():
    warnings.simplefilter("ignore", PendingDeprecationWarning)
    MATRIX = np.asmatrix(IRIS)


def out_of_range():
    X = sparse.csr_array(IRIS)
    X.indices = X.indices.copy()
    X.indices[7] = 4
    return X


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.where(IRIS == 3.0, np.nan, IRIS), ValueError, "Input X contains NaN"),
        (np.where(IRIS == 3.0, np.inf, IRIS), ValueError, "Input X contains infinity"),
        (IRIS[:, 0], ValueError, "Expected 2D array"),
        (IRIS[:, :, np.newaxis], ValueError, "dim 3"),
        (np.empty((0, 4)), ValueError, "0 sample"),
        (np.empty((150, 0)), ValueError, "0 feature"),
        (IRIS + 0j, ValueError, "Complex data"),
        (np.full((150, 4), "red"), ValueError, "red"),
        ([[1, 2], [3]] * 75, ValueError, "inhomogeneous"),
        (MATRIX, TypeError, "np.matrix"),
        (np.ma.masked_array(IRIS, mask=IRIS > 5), TypeError, "X must not be a masked array"),
        (out_of_range(), ValueError, "X is not a valid sparse array.*4"),
        (sparse.csr_array(np.where(IRIS == 3.0, np.nan, IRIS)), ValueError, "Input X contains NaN"),
        (IRIS[:100], ValueError, "must have the same number of rows"),
    ],
    ids=["NaN", "inf", "1-D", "3-D", "no rows", "no columns", "complex", "strings", "ragged", "matrix", "masked",
         "index", "sparse NaN", "length"],
)  # fmt: skip
def test_bad_X_is_an_error_that_leaves_the_estimator_unfitted(X, error, message):
    model = SoftmaxRegression()
    with warnings.catch_warnings():
        # np.matrix raises a PendingDeprecationWarning.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        with pytest.raises(error, match=message):
            model.fit(X, SPECIES)
    assert vars(model) == vars(SoftmaxRegression())


def test_other_columns_at_prediction_are_an_error():
    frame = pd.DataFrame(IRIS, columns=list("abcd"))
    model = SoftmaxRegression().fit(frame, SPECIES)
    assert_array_equal(model.feature_names_in_, list("abcd"))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("abdc")])
    model = SoftmaxRegression().fit(IRIS, SPECIES)
    with pytest.raises(ValueError, match="3 features"):
        model.predict(IRIS[:, :3])
    with pytest.raises(TypeError, match="masked"):
        model.predict(np.ma.masked_array(IRIS))
    with pytest.raises(ValueError, match="valid sparse"):
        model.predict(out_of_range())


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (NAMES[SPECIES], NAMES),
        (NAMES[SPECIES].astype(object), NAMES),
        (NAMES[SPECIES].tolist(), NAMES),
        (SPECIES + 1, [1, 2, 3]),
        (SPECIES - 1, [-1, 0, 1]),
        (SPECIES.astype(float), [0.0, 1.0, 2.0]),
        (SPECIES.astype(object), [0, 1, 2]),
        (SPECIES.astype(np.uint8), [0, 1, 2]),
        (20260100 + SPECIES, [20260100, 20260101, 20260102]),
        (pd.Series(SPECIES, index=np.arange(150, 0, -1)), [0, 1, 2]),
        (pd.Series(SPECIES, dtype="Int64"), [0, 1, 2]),
        (pd.Series(NAMES[SPECIES]), NAMES),
        (pd.Categorical(NAMES[SPECIES], categories=["none", *NAMES]), NAMES),
        (pd.Series(pd.Categorical(NAMES[SPECIES], categories=["none", *NAMES])), NAMES),
        (pl.Series(NAMES[SPECIES].tolist()), NAMES),
    ],
    ids=["strings", "objects", "list", "1..K", "-1..1", "floats", "object ints", "uint8", "dates", "pandas index",
         "Int64", "pandas strings", "categorical", "categorical series", "polars"],
)  # fmt: skip
def test_labels_of_any_kind_give_the_same_model(y, classes):
    model = SoftmaxRegression().fit(IRIS, y)
    assert_array_equal(model.classes_, classes)
    assert np.asarray(model.classes_.tolist()).dtype == np.asarray(classes).dtype
    assert_allclose(model.coef_, BASE.coef_, rtol=1e-10)
    assert_array_equal(model.predict(IRIS), np.asarray(classes)[BASE.predict(IRIS)])
    assert model.score(IRIS, y) == BASE.score(IRIS, SPECIES)


@pytest.mark.parametrize("labels", [[False, True], [-1, 1], ["no", "yes"], [1, 2]])
def test_two_labels_of_any_kind_give_the_same_model(labels):
    keep = SPECIES > 0
    base = SoftmaxRegression().fit(IRIS[keep], SPECIES[keep] - 1)
    model = SoftmaxRegression().fit(IRIS[keep], np.array(labels)[SPECIES[keep] - 1])
    assert_array_equal(model.classes_, labels)
    assert model.coef_.shape == (1, 4)
    assert_allclose(model.coef_, base.coef_, rtol=1e-12)


def test_a_column_vector_is_taken_as_labels_with_a_warning():
    with pytest.warns(DataConversionWarning):
        model = SoftmaxRegression().fit(IRIS, SPECIES[:, np.newaxis])
    assert_allclose(model.coef_, BASE.coef_, rtol=1e-12)


def with_entry(y, value):
    y = np.asarray(y, dtype=object).copy()
    y[3] = value
    return y


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (np.zeros(150), ValueError, r"at least two classes, but y holds one class.*\[0"),
        (np.linspace(0, 1, 150), ValueError, "Unknown label type: continuous"),
        (with_entry(SPECIES, None), ValueError, "contains NaN or None: row 3"),
        (with_entry(NAMES[SPECIES], np.nan), ValueError, "contains NaN or None: row 3"),
        (np.where(SPECIES == 0, np.nan, SPECIES), ValueError, "Input y contains NaN"),
        (with_entry(SPECIES, "a"), TypeError, "one kind, got integer and string"),
        (NAMES[SPECIES].astype("S"), TypeError, "bytes"),
        (SPECIES[:149], ValueError, "must have the same number of rows"),
        (None, ValueError, "requires y to be passed"),
        (np.eye(3)[SPECIES][:, :, np.newaxis], ValueError, "shape"),
        (np.array([[1, 1, 0]] * 150), ValueError, "row 0 sums to 2 .*SigmoidMultiLabel"),
        (np.array([[0, 0, 0]] * 150), ValueError, "row 0 sums to 0 .*SigmoidMultiLabel"),
        (np.array([[2, -1, 0]] * 150), ValueError, "entries from 0 to 1, got -1 in row 0, column 1"),
        (np.array([[0.5, np.nan]] * 150), ValueError, "Input y contains NaN"),
        ([[0, 1], [1]] * 75, ValueError, "y must be an array"),
        (sparse.csr_array(np.eye(3)[SPECIES]), TypeError, "y must be dense"),
        (np.array(["2026-01-01", "NaT"] * 75, dtype="datetime64[D]"), ValueError, "NaT: row 1"),
        (pd.Series(["a", pd.NA, "b"] * 50, dtype="string"), ValueError, "contains NaN or None: row 1"),
        (np.ma.masked_array(SPECIES), TypeError, "y must not be a masked array"),
        (np.eye(3)[SPECIES[:149]], ValueError, "must have the same number of rows"),
    ],
    ids=["one class", "continuous", "None", "NaN in objects", "NaN", "mixed", "bytes", "length", "no y", "3-D",
         "two labels", "no label", "2 and -1", "NaN target", "ragged", "sparse", "NaT", "pandas NA",
         "masked", "target length"],
)  # fmt: skip
def test_bad_y_is_an_error_that_leaves_the_estimator_unfitted(y, error, message):
    model = SoftmaxRegression()
    with pytest.raises(error, match=message):
        model.fit(IRIS, y)
    assert vars(model) == vars(SoftmaxRegression())


@pytest.mark.parametrize("estimator", [SoftmaxRegression(), SigmoidMultiLabel()])
@pytest.mark.parametrize("y", [[1], [[1, 0]]], ids=["labels", "columns"])
def test_one_row_is_an_error(estimator, y):
    with pytest.raises(ValueError, match=r"1 sample.* while a minimum of 2 is required"):
        estimator.fit(IRIS[:1], y)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_columns_of_soft_targets_become_the_classes(frame):
    targets = frame(dict(zip(NAMES, np.eye(3)[SPECIES].T, strict=True)))
    model = SoftmaxRegression().fit(IRIS, targets)
    assert_array_equal(model.classes_, NAMES)
    assert_allclose(model.coef_, BASE.coef_, rtol=1e-9)
    assert model.predict(IRIS[:1]).tolist() == ["setosa"]
    assert_allclose(model.score(IRIS, targets), BASE.score(IRIS, SPECIES), rtol=1e-14)
    with pytest.raises(ValueError, match="columns classes_"):
        model.score(IRIS, targets[["virginica", "setosa", "versicolor"]])
    # The columns of an array, which have no names, are in the order of classes_.
    assert_allclose(model.score(IRIS, np.eye(3)[SPECIES]), BASE.score(IRIS, SPECIES), rtol=1e-14)
    with pytest.raises(ValueError, match="y must have 3 columns"):
        model.score(IRIS, np.eye(4)[SPECIES])


def test_columns_of_the_same_name_are_an_error():
    targets = pd.DataFrame(np.eye(3)[SPECIES], columns=["a", "b", "a"])
    with pytest.raises(ValueError, match="columns of the same name"):
        SoftmaxRegression().fit(IRIS, targets)


def test_float32_soft_targets_are_accepted_and_reproduced():
    targets = BASE.predict_proba(IRIS).astype(np.float32)
    student = SoftmaxRegression(C=1e4).fit(IRIS, targets)
    assert student.converged_
    assert_allclose(student.predict_proba(IRIS), targets, atol=2e-3)


WEIGHTS = np.ones(150)


@pytest.mark.parametrize(
    ("sample_weight", "error", "message"),
    [
        (np.where(SPECIES == 0, -1.0, 1.0), ValueError, "sample_weight must not be negative.*row 0"),
        (np.where(SPECIES == 0, np.nan, 1.0), ValueError, "sample_weight contains NaN"),
        (np.where(SPECIES == 0, np.inf, 1.0), ValueError, "sample_weight contains infinity"),
        (["heavy"] * 150, ValueError, "sample_weight must be an array of real numbers"),
        (np.zeros(150), ValueError, "sample_weight is zero for every row"),
        (WEIGHTS[:149], ValueError, r"sample_weight has the shape \(149,\)"),
        (np.ones((150, 3)), ValueError, r"sample_weight has the shape \(150, 3\)"),
        (np.ma.masked_array(WEIGHTS), TypeError, "sample_weight must not be a masked array"),
    ],
    ids=["negative", "NaN", "inf", "strings", "zero", "length", "2-D", "masked"],
)
def test_bad_weights_are_an_error_that_leaves_the_estimator_unfitted(sample_weight, error, message):
    model = SoftmaxRegression()
    with pytest.raises(error, match=message):
        model.fit(IRIS, SPECIES, sample_weight)
    assert vars(model) == vars(SoftmaxRegression())


@pytest.mark.parametrize("absent", [[0], [1], [2], [0, 2], [1, 2]])
@pytest.mark.parametrize("parameters", [{}, {"class_weight": "balanced"}, {"label_smoothing": 0.1}])
def test_a_class_without_weight_stays_in_classes_and_the_others_are_fitted_without_it(absent, parameters):
    y = np.where(np.arange(150) % 10 == 0, 3, SPECIES)  # four classes, so that three may be left
    present = ~np.isin(y, absent)
    with pytest.warns(UserWarning, match="no row of positive weight for the classes"):
        model = SoftmaxRegression(**parameters).fit(IRIS, y, present.astype(float))
    assert_array_equal(model.classes_, [0, 1, 2, 3])
    p = model.predict_proba(IRIS)
    assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert p[:, absent].max() <= 0.5 / (present.sum() + 0.5)
    removed = SoftmaxRegression(**parameters).fit(IRIS[present], y[present])
    others = np.delete(p, absent, axis=1)
    assert_allclose(others / others.sum(axis=1, keepdims=True), removed.predict_proba(IRIS), rtol=1e-6, atol=1e-9)
    assert_allclose(model.loss_, removed.loss_, rtol=1e-9)
    assert model.optimality_gap_ <= 1e-6


@pytest.mark.parametrize("classes", [["a", "b"], ["a", "b", "c"]])
def test_one_class_with_weight_gets_nearly_all_probability(classes):
    y = np.array(classes)[np.arange(150) % len(classes)]
    with pytest.warns(UserWarning, match="no row of positive weight"):
        model = SoftmaxRegression().fit(IRIS, y, (y == "b").astype(float))
    assert_array_equal(model.classes_, classes)
    assert (model.predict(IRIS) == "b").all()
    n_rows = (y == "b").sum()
    assert_allclose(model.predict_proba(IRIS)[:, 0], 0.5 / (n_rows + 0.5 + 0.5 * (len(classes) - 1)), rtol=1e-12)
    assert model.converged_
    with pytest.warns(UserWarning, match="always 1"):
        labels = SigmoidMultiLabel().fit(IRIS, np.arange(150) % 2, (np.arange(150) % 2).astype(float))
    assert_array_equal(labels.classes_, [0, 1])


def test_a_class_weight_of_zero_takes_the_class_out():
    with pytest.warns(UserWarning, match=r"no row of positive weight for the classes \[1\]"):
        model = SoftmaxRegression(class_weight={1: 0}).fit(IRIS, SPECIES)
    assert_array_equal(model.classes_, [0, 1, 2])
    assert (model.predict(IRIS) != 1).all()
    with pytest.raises(ValueError, match="0 in every row"):
        SoftmaxRegression(class_weight={0: 0, 1: 0, 2: 0}).fit(IRIS, SPECIES)


def test_class_weights_may_name_classes_that_a_fold_lacks():
    y = np.array(["cat", "dog"])[SPECIES[:100]]
    model = SoftmaxRegression(class_weight={"cat": 1, "dog": 2, "emu": 9}).fit(IRIS[:100], y)
    expected = SoftmaxRegression(class_weight={"cat": 1, "dog": 2}).fit(IRIS[:100], y)
    assert_array_equal(model.coef_, expected.coef_)
    with pytest.raises(ValueError, match="no weight for the class 'cat' of y, but one for 'emu'"):
        SoftmaxRegression(class_weight={"emu": 9, "dog": 2}).fit(IRIS[:100], y)


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"C": 0}, ValueError),
        ({"C": -1.0}, ValueError),
        ({"C": np.nan}, ValueError),
        ({"C": "1"}, TypeError),
        ({"C": True}, TypeError),
        ({"C": None}, TypeError),
        ({"tol": 0}, ValueError),
        ({"tol": np.nan}, ValueError),
        ({"max_iter": 0}, ValueError),
        ({"max_iter": 10.0}, TypeError),
        ({"fit_intercept": "yes"}, TypeError),
        ({"warm_start": 1}, TypeError),
        ({"label_smoothing": 1.0}, ValueError),
        ({"label_smoothing": -0.1}, ValueError),
        ({"class_weight": "equal"}, ValueError),
        ({"class_weight": [1, 2, 3]}, ValueError),
        ({"class_weight": {0: -1.0}}, ValueError),
        ({"class_weight": {0: np.nan}}, ValueError),
        ({"class_weight": {0: "heavy"}}, TypeError),
        ({"class_weight": {3: 1.0}}, ValueError),
    ],
    ids=str,
)
def test_bad_parameters_are_an_error_that_names_them(parameters, error):
    (name,) = parameters
    model = SoftmaxRegression(**parameters)
    with pytest.raises(error, match=name):
        model.fit(IRIS, SPECIES)
    assert not hasattr(model, "n_features_in_")


def test_class_weights_with_soft_targets_are_an_error():
    with pytest.raises(ValueError, match="class_weight can't be given with soft targets; use sample_weight instead"):
        SoftmaxRegression(class_weight="balanced").fit(IRIS, np.eye(3)[SPECIES])


def test_dates_themselves_are_labels():
    days = np.array([datetime.date(2026, 1, day) for day in (1, 2, 3)], dtype="datetime64[D]")
    model = SoftmaxRegression().fit(IRIS, days[SPECIES])
    assert_array_equal(model.classes_, days)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_memory_above_X_is_at_most_64_bytes_a_row_and_a_constant(dtype, n_classes):
    rng = np.random.default_rng(0)
    peaks = []
    for n_rows in (100_000, 300_000):
        X = rng.normal(size=(n_rows, 8)).astype(dtype)
        y = rng.integers(n_classes, size=n_rows)
        tracemalloc.start()
        SoftmaxRegression().fit(X, y)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] <= 64 * 200_000
    assert peaks[0] <= 64 * 100_000 + 64e6


def test_missing_entries_and_doubled_names_are_reported_as_such():
    frame = pd.DataFrame({"a": pd.array([1, 2, None] * 50, dtype="Int64"), "b": IRIS[:, 0]})
    with pytest.raises(ValueError, match="contains NaN"):
        SoftmaxRegression().fit(frame, SPECIES)
    doubled = pd.DataFrame(np.where(IRIS == 3.0, np.nan, IRIS)[:, :2], columns=["a", "a"])
    with pytest.raises(Exception, match=r".") as raised:  # of scikit-learn or narwhals
        SoftmaxRegression().fit(doubled, SPECIES)
    assert "strings" not in str(raised.value)
    with pytest.raises(ValueError, match=r"column 'b' holds \[1, 2\]"):
        SoftmaxRegression().fit(pd.DataFrame({"a": IRIS[:, 0], "b": [[1, 2]] * 150}), SPECIES)


def test_predictions_take_attributes_that_were_set_by_hand():
    model = SoftmaxRegression().fit(IRIS, SPECIES)
    expected = model.decision_function(IRIS)
    model.intercept_ = model.intercept_.tolist()
    for X in (IRIS, sparse.csr_array(IRIS)):
        logits = model.decision_function(X)
        assert_allclose(logits, expected, rtol=1e-12)
        assert_allclose(model.predict_proba(X), softmax(expected), rtol=1e-12)
    logits = model.sparsify().decision_function(IRIS)
    assert logits.flags.c_contiguous


def test_entries_without_an_index_are_an_error():
    X = sparse.csr_array(IRIS)
    X.data = np.append(X.data, 1.0)
    with pytest.raises(ValueError, match="X is not a valid sparse array"):
        SoftmaxRegression().fit(X, SPECIES)
