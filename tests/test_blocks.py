"""Rows of X in blocks: dense and sparse give the same logits, gradients, squares and columns."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skactivation import _blocks
from skactivation._blocks import rows_of, sum_over_blocks

FORMS = [np.ascontiguousarray, np.asfortranarray, sparse.csr_array, sparse.csc_array]


def example(rng=None, n_rows=300, n_features=6):
    rng = np.random.default_rng(0) if rng is None else rng
    X = rng.normal(size=(n_rows, n_features)) + np.arange(n_features)
    return X * (rng.random(X.shape) < 0.6)


@pytest.fixture(params=[64, 10_000], ids=["many blocks", "one block"])
def small_blocks(request, monkeypatch):
    monkeypatch.setattr(_blocks, "_DENSE_BLOCK_SIZE", request.param)
    monkeypatch.setattr(_blocks, "_SPARSE_BLOCK_ROWS", request.param)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.usefixtures("small_blocks")
def test_products_are_those_of_the_centred_columns(form, fit_intercept):
    X = example()
    rng = np.random.default_rng(1)
    weights = rng.random(len(X))
    rows = rows_of(form(X), 3, weights, fit_intercept=fit_intercept)
    center = np.average(X, axis=0, weights=weights) if fit_intercept else np.zeros(X.shape[1])
    assert_allclose(rows.center, center, rtol=1e-12)
    columns = np.hstack([X - center, np.ones((len(X), 1))]) if fit_intercept else X
    theta, z = rng.normal(size=(3, columns.shape[1])), rng.normal(size=(3, len(X)))
    logits, gradient, squares, total = np.empty_like(z), 0, 0, 0
    for block_rows, block in rows.blocks():
        logits[:, block_rows] = block.logits(np.asfortranarray(theta))
        gradient = gradient + block.gradient(z[:, block_rows])
        squares = squares + block.squares(np.square(z[:, block_rows]))
        assert_allclose(block.columns(), columns[block_rows], rtol=1e-12, atol=1e-12)
        total += block_rows.stop - block_rows.start
    assert total == len(X)
    assert_allclose(logits, theta @ columns.T, rtol=1e-10, atol=1e-12)
    assert_allclose(gradient, z @ columns, rtol=1e-10, atol=1e-10)
    assert_allclose(squares, np.square(z) @ np.square(columns), rtol=1e-10, atol=1e-10)


def test_squares_add_up_entries_stored_in_parts_first():
    X = sparse.csr_array((np.array([1.0, 2.0, 4.0]), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 2))
    before = X.data.copy(), X.indices.copy()
    rows = rows_of(X, 1, None, fit_intercept=False)
    (squares,) = sum_over_blocks(rows, lambda block_rows, block: (block.squares(np.ones((1, 2))),))
    assert_allclose(squares, [[9, 16]])
    assert_array_equal(X.data, before[0])
    assert_array_equal(X.indices, before[1])


def test_a_constant_column_is_centred_to_exact_zeros():
    X = np.full((1000, 1), 0.1) + 1e8
    rows = rows_of(X, 2, np.random.default_rng(0).random(1000), fit_intercept=True)
    assert rows.center[0] == X[0, 0]
    assert rows.largest[0] == 0


def test_sums_come_in_the_order_of_the_rows(monkeypatch):
    monkeypatch.setattr(_blocks, "_DENSE_BLOCK_SIZE", 1)
    rows = rows_of(example(n_rows=1000), 2, None, fit_intercept=True)
    starts = []
    sum_over_blocks(rows, lambda block_rows, block: (starts.append(block_rows.start) or 0,))
    assert starts == sorted(starts)
    assert len(starts) == 8
