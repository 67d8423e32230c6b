"""Two ways to say the same thing give the same model: random problems of small size, drawn by Hypothesis."""

from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from threadpoolctl import threadpool_limits

from skactivation import SigmoidMultiLabel, SoftmaxRegression, fit_temperature
from skactivation._data import blocks, dense

# A fixed seed; deadlines would make the tests depend on the machine.
SETTINGS = settings(derandomize=True, max_examples=25, deadline=None)


@dataclass
class Problem:
    model: Any
    X: Any
    y: Any
    weights: Any
    seed: int

    def fit(self, X=None, y=None, weights=None, **parameters):
        """Probabilities of rows that are not part of the data, after a fit of other data."""
        model = type(self.model)(**{**self.model.get_params(), **parameters})
        model.fit(self.X if X is None else X, self.y if y is None else y, weights)
        return model


@st.composite
def problems(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    n_rows, n_features = draw(st.integers(12, 60)), draw(st.integers(1, 5))
    X = rng.normal(size=(n_rows, n_features)) * 10.0 ** rng.integers(-3, 4, size=n_features) + rng.integers(-5, 5)
    options = {
        "C": draw(st.sampled_from([1e-3, 1.0, 1e3])),
        "fit_intercept": draw(st.booleans()),
        "label_smoothing": draw(st.sampled_from([0.0, 0.1])),
        "tol": 1e-11,
    }
    kind = draw(st.sampled_from(["two", "four", "soft", "labels"]))
    if kind == "labels":
        y = rng.integers(2, size=(n_rows, 3)).astype(float)
        y[:2] = [[0, 0, 0], [1, 1, 1]]
        y[2:][rng.random((n_rows - 2, 3)) < 0.2] = np.nan
        model = SigmoidMultiLabel(**options)
    else:
        n_classes = 2 if kind == "two" else 4
        y = np.arange(n_rows) % n_classes if kind != "soft" else rng.dirichlet(np.ones(4), size=n_rows)
        model = SoftmaxRegression(**options)
    return Problem(model, X, y, rng.integers(1, 4, size=n_rows).astype(float), seed)


def assert_same(one, other, X, rtol=1e-6):
    assert one.converged_
    assert other.converged_
    assert_allclose(one.predict_proba(X), other.predict_proba(X), rtol=rtol, atol=rtol)


@SETTINGS
@given(problems())
def test_whole_weights_are_repeats(problem):
    counts = problem.weights.astype(int)
    weighted = problem.fit(weights=problem.weights)
    repeated = problem.fit(np.repeat(problem.X, counts, axis=0), np.repeat(problem.y, counts, axis=0))
    assert_same(weighted, repeated, problem.X)
    assert_allclose(weighted.loss_, repeated.loss_, rtol=1e-9)


@SETTINGS
@given(problems(), st.sampled_from([1e-300, 1e-5, 1e7, 1e300]))
def test_the_scale_of_the_weights_is_the_inverse_of_that_of_C(problem, scale):
    plain = problem.fit(weights=problem.weights)
    scaled = problem.fit(weights=problem.weights * scale, C=problem.model.C / scale)
    assert_same(plain, scaled, problem.X)


@SETTINGS
@given(problems())
def test_a_weight_of_zero_is_removal(problem):
    rng = np.random.default_rng(problem.seed)
    junk = rng.normal(size=(5, problem.X.shape[1])) * 1e6
    weights = np.concatenate([problem.weights, np.zeros(5)])
    extended = problem.fit(np.vstack([problem.X, junk]), np.concatenate([problem.y, problem.y[:5]]), weights)
    assert_same(extended, problem.fit(weights=problem.weights), problem.X)


@SETTINGS
@given(problems())
def test_the_order_of_rows_and_columns_does_not_matter(problem):
    rng = np.random.default_rng(problem.seed)
    rows, columns = rng.permutation(len(problem.X)), rng.permutation(problem.X.shape[1])
    permuted = problem.fit(problem.X[rows][:, columns], problem.y[rows], problem.weights[rows])
    plain = problem.fit(weights=problem.weights)
    assert_allclose(permuted.predict_proba(problem.X[:, columns]), plain.predict_proba(problem.X), rtol=1e-6, atol=1e-6)


@SETTINGS
@given(problems(), st.sampled_from(["csr", "csc", "coo", "fortran", "float32"]))
def test_the_container_does_not_matter(problem, form):
    X, rtol = problem.X.astype(np.float32).astype(float), 1e-6
    plain = problem.fit(X)
    if form == "float32":
        other, rtol = problem.fit(X.astype(np.float32), tol=1e-5), 1e-2
        assert other.coef_.dtype == np.float32
    else:
        other = problem.fit(np.asfortranarray(X) if form == "fortran" else sparse.csr_array(X).asformat(form))
    assert_same(plain, other, X, rtol)


@SETTINGS
@given(problems(), st.sampled_from([1e-100, 2.0**-20, 1e3, 1e100]))
def test_the_unit_of_X_is_that_of_the_root_of_C(problem, unit):
    if not 1e-290 < problem.model.C / unit**2 < 1e290:
        return
    plain, scaled = problem.fit(), problem.fit(problem.X * unit, C=problem.model.C / unit**2)
    assert_allclose(scaled.predict_proba(problem.X * unit), plain.predict_proba(problem.X), rtol=1e-6, atol=1e-6)


@SETTINGS
@given(problems(), st.sampled_from([64, 200, 1000]))
def test_the_size_of_blocks_does_not_matter(problem, size):
    plain = problem.fit(weights=problem.weights)
    with (
        patch.object(dense, "_BLOCK_SIZE", size),
        patch.object(dense, "_LEAST_BLOCK_ROWS", 4),
        patch.object(dense, "_LEAST_BLOCK_SIZE", 16),
        patch.object(blocks, "_WORTH_THREADS", 0),
    ):
        in_blocks = [problem.fit(weights=problem.weights) for _ in range(2)]
        with threadpool_limits(1, user_api="blas"):
            in_blocks.append(problem.fit(weights=problem.weights))
    assert_same(plain, in_blocks[0], problem.X)
    for other in in_blocks[1:]:
        assert_array_equal(other.coef_, in_blocks[0].coef_)


@pytest.mark.filterwarnings("ignore:.*the logits contradict:UserWarning")
@SETTINGS
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-200, 1e-3, 1e3, 1e200]), st.booleans())
def test_temperatures_have_the_unit_of_the_logits_and_weights_are_repeats(seed, unit, multilabel):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(40, 3))
    labels = rng.integers(3, size=40)
    y = np.eye(3)[labels] if multilabel else labels
    counts = rng.integers(0, 4, size=40)
    options = {"multilabel": True} if multilabel else {"classes": [0, 1, 2]}
    repeated = fit_temperature(np.repeat(logits, counts, axis=0), np.repeat(y, counts, axis=0), **options)
    weighted = fit_temperature(logits * unit, y, sample_weight=counts, **options)
    finite = ~np.atleast_1d(repeated.at_limit)
    one, other = np.atleast_1d(repeated.temperature)[finite], np.atleast_1d(weighted.temperature)[finite]
    assert_allclose(other / unit, one, rtol=1e-9)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
def test_a_row_alone_is_the_same_row_in_a_batch(form):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(200, 30)), rng.integers(4, size=200)
    model = SoftmaxRegression().fit(form(X), y)
    alone = np.vstack([model.predict_proba(form(row[np.newaxis])) for row in X])
    assert_allclose(alone, model.predict_proba(form(X)), rtol=1e-12)
