"""Rows of X in blocks: dense and sparse give the same logits, gradients, squares and columns."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from threadpoolctl import threadpool_limits

from skactivation import SoftmaxRegression
from skactivation._data import dense
from skactivation._data import sparse as sparse_rows
from skactivation._data.rows import rows_of
from skactivation._data.targets import BinaryTargets, ClassTargets

FORMS = [np.ascontiguousarray, np.asfortranarray, sparse.csr_array, sparse.csc_array]


def targets(n_rows, n_classes):
    return ClassTargets(np.arange(n_rows) % n_classes, n_classes)


def example(rng=None, n_rows=300, n_features=6):
    rng = np.random.default_rng(0) if rng is None else rng
    X = rng.normal(size=(n_rows, n_features)) + np.arange(n_features)
    return X * (rng.random(X.shape) < 0.6)


@pytest.fixture(params=[64, 10_000], ids=["many blocks", "one block"])
def small_blocks(request, monkeypatch):
    monkeypatch.setattr(dense, "_BLOCK_SIZE", 10 * request.param)
    monkeypatch.setattr(sparse_rows, "_BLOCK_ROWS", request.param)
    monkeypatch.setattr(sparse_rows, "_DENSE_SIZE", request.param)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.usefixtures("small_blocks")
def test_products_are_those_of_the_centred_columns(form, fit_intercept):
    X = example()
    rng = np.random.default_rng(1)
    weights = rng.random(len(X))
    rows = rows_of(form(X), targets(len(X), 3), weights, fit_intercept=fit_intercept)
    center = np.average(X, axis=0, weights=weights) if fit_intercept else np.zeros(X.shape[1])
    assert_allclose(rows.columns.center, center, rtol=1e-12)
    columns = np.hstack([X - center, np.ones((len(X), 1))]) if fit_intercept else X
    theta, z = rng.normal(size=(3, columns.shape[1])), rng.normal(size=(3, len(X)))
    logits, gradient, squares, total = np.empty_like(z), 0, 0, 0
    form_of_squares = np.cov(rng.normal(size=(columns.shape[1], 20)))
    grams = 0
    for block in rows.blocks(rows.slices, np.float64):
        block_rows = block.rows
        logits[:, block_rows] = block.logits(np.asfortranarray(theta))
        gradient = gradient + block.gradient(z[:, block_rows])
        squares = squares + block.squares(np.square(z[:, block_rows]))
        grams = grams + block.grams(np.square(z[:, block_rows]))
        x = columns[block_rows]
        assert_allclose(np.vstack(list(block.columns())), x, rtol=1e-12, atol=1e-12)
        assert_allclose(block.quadratic_forms(form_of_squares), (x @ form_of_squares * x).sum(axis=1), rtol=1e-10)
        total += block_rows.stop - block_rows.start
    assert total == len(X)
    assert_allclose(logits, theta @ columns.T, rtol=1e-10, atol=1e-12)
    assert_allclose(gradient, z @ columns, rtol=1e-10, atol=1e-10)
    assert_allclose(squares, np.square(z) @ np.square(columns), rtol=1e-10, atol=1e-10)
    expected = np.einsum("kn,ni,nj->kij", np.square(z), columns, columns)
    assert_allclose(grams, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


def test_squares_add_up_entries_stored_in_parts_first():
    X = sparse.csr_array((np.array([1.0, 2.0, 4.0]), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 2))
    before = X.data.copy(), X.indices.copy()
    rows = rows_of(X, BinaryTargets(np.array([0, 1])), None, fit_intercept=False)
    (squares,) = rows.sum(lambda block: (block.squares(np.ones((1, 2))),), size=2)
    assert_allclose(squares, [[9, 16]])
    assert_array_equal(X.data, before[0])
    assert_array_equal(X.indices, before[1])


def test_a_constant_column_is_centred_to_exact_zeros():
    X = np.full((1000, 1), 0.1) + 1e8
    rows = rows_of(X, targets(1000, 2), np.random.default_rng(0).random(1000), fit_intercept=True)
    assert rows.columns.center[0] == X[0, 0]
    assert rows.columns.largest[0] == 0


def test_sums_come_in_the_order_of_the_rows(monkeypatch):
    monkeypatch.setattr(dense, "_BLOCK_SIZE", 1)
    rows = rows_of(example(n_rows=1000), targets(1000, 2), None, fit_intercept=True)
    starts = []
    with threadpool_limits(1):
        rows.sum(lambda block: (starts.append(block.rows.start) or 0,), size=1)
    assert starts == sorted(starts)
    assert len(starts) == 16


@pytest.mark.parametrize("form", FORMS)
def test_values_are_the_same_for_any_size_of_blocks(form, monkeypatch):
    X = example(n_rows=2000)
    z = np.random.default_rng(1).random((3, 2000))
    found = []
    for size in (100, 1000, 10**6):
        monkeypatch.setattr(dense, "_BLOCK_SIZE", size)
        monkeypatch.setattr(sparse_rows, "_BLOCK_ROWS", size)
        rows = rows_of(form(X), targets(2000, 3), None, fit_intercept=True)
        (total,) = rows.sum(lambda block: (block.gradient(z[:, block.rows]),), size=21)
        found.append(total)
    assert_allclose(found[1], found[0], rtol=1e-12, atol=1e-10)
    assert_allclose(found[2], found[0], rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_some_rows_have_the_same_columns_as_all(form, dtype):
    X = example().astype(dtype)
    rows = rows_of(form(X), targets(len(X), 3), None, fit_intercept=True)
    chosen = np.array([3, 3, 17, 200])
    part = rows.take(chosen, np.array([1.0, 2.0, 0.0, 1.0]))
    all_rows, some = (next(each.blocks(each.slices, np.float64)) for each in (rows, part))
    expected = np.vstack(list(all_rows.columns()))[chosen]
    expected[2] = 0  # a row of weight 0 isn't there
    assert_allclose(np.vstack(list(some.columns())), expected, rtol=1e-12)


def test_products_of_rows_are_those_of_the_centred_rows(monkeypatch):
    monkeypatch.setattr(dense, "_BLOCK_SIZE", 1000)
    X = example(n_rows=50, n_features=300)
    weights = np.ones(50)
    weights[7] = 0
    centred = X - np.delete(X, 7, axis=0).mean(axis=0)
    centred[7] = 0
    rows = rows_of(X, targets(50, 2), weights, fit_intercept=True)
    assert_allclose(rows.row_products(), centred @ centred.T, rtol=1e-11, atol=1e-11)


def test_numbers_whose_squares_leave_the_range_of_floats_are_brought_back():
    X = example() * [1e200, 1.0, 1e-200, 1e100, 1.0, 1.0]
    for form in FORMS:
        rows = rows_of(form(X), targets(len(X), 2), None, fit_intercept=True)
        block = next(rows.blocks(rows.slices, np.float64))
        grams = block.grams(np.ones((1, len(X))))
        assert np.isfinite(grams).all()
        assert np.all(np.einsum("kjj->kj", grams) > 1e-3)
        assert set(np.frexp(rows.columns.units)[0]) == {0.5}


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_array])
def test_only_a_proof_without_a_penalty_makes_sparse_rows_dense(form, monkeypatch):
    rng = np.random.default_rng(0)
    X = sparse.csr_array(rng.normal(size=(300, 20)) * (rng.random((300, 20)) < 0.2))
    y = (X @ rng.normal(size=20) + rng.normal(size=300) > 0).astype(int)
    monkeypatch.setattr(sparse_rows.SparseBlock, "columns", None)
    assert SoftmaxRegression().fit(form(X), y).converged_
    with pytest.raises(TypeError):
        SoftmaxRegression(C=np.inf).fit(form(X), y)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("size", [1e-100, 1e-30, 1e5, 1e30, 1e120])
def test_samples_of_columns_of_any_size_have_the_same_numbers(size, form):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2)) * [1.0, size]
    data = rows_of(form(X), ClassTargets(rng.integers(3, size=500), 3), None, fit_intercept=True)
    chosen = np.arange(0, 500, 7)
    sample = data.take(chosen, np.ones(chosen.size))
    coefficients = rng.normal(size=(3, data.n_columns))
    logits, of_sample = (
        np.hstack([block.logits(coefficients).copy() for block in rows.blocks(rows.slices, rows.dtype)])
        for rows in (data, sample)
    )
    # Columns whose squares single precision cannot hold have units of their own, or stay in double precision.
    assert sample.dtype == (np.float64 if size in (1e-30, 1e30) else np.float32)
    assert_allclose(of_sample, logits[:, chosen], rtol=1e-5, atol=1e-5 * np.abs(logits).max())
