"""Logits of a linear model and activations of them, block by block.

An activation is a function of *class-major* logits z (K, b), which it may overwrite; it returns (L, b) or (b,).
"""

from collections.abc import Callable
from contextlib import nullcontext
from math import isfinite
from typing import Any, TypeVar

import numpy as np
from scipy import sparse

from skactivation._activation_kernels import (
    MANY_CLASSES,
    argmax_block,
    both_log_sigmoids,
    both_sigmoids,
    log_sigmoid_block,
    log_softmax_block,
    softmax_block,
)
from skactivation._data.dense import dense_slices
from skactivation._data.sparse import csr_slice
from skactivation._threads import in_threads, single_threaded_blas
from skactivation._typing import Array

T = TypeVar("T")

# Numbers in X and in the logits together from which threads pay.
_WORTH_THREADS = 2**20
# BLAS multiplies matrices without copying them first, which is up to twice as fast, if they need up to so many
# multiplications (OpenBLAS with AVX-512). Larger ones are multiplied in parts, unless these have too few rows.
_DIRECT_PRODUCT, _LEAST_PART_ROWS = 10**6, 256
# With so many features, einsum multiplies by one vector faster than BLAS, which reads ahead too little.
_MANY_FEATURES = 64
# Up to so many columns are copied one by one: NumPy copies a transposed array in rows, which are short then.
_FEW_COLUMNS = 5
# BLAS uses no threads for products of up to so many multiplications: with a matrix, and with a vector.
_SMALL_PRODUCT, _SMALL_PRODUCT_WITH_VECTOR = 2**17, 2**13


def linear_logits(X: Any, coef: Any, intercept: Array) -> tuple[Array, bool]:
    """Logits X coef^T + intercept of all rows, and whether they are finite: see `activated_logits`."""
    if sparse.issparse(X):
        logits = np.ascontiguousarray(_dense(X @ coef.T))
        with np.errstate(all="ignore"):
            logits += intercept
            return logits, isfinite(logits.sum())
    logits = np.empty((X.shape[0], coef.shape[0]), np.result_type(X.dtype, coef.dtype))

    def fill(rows: slice) -> bool:
        _multiply(coef, X, rows, out=logits[rows].T)
        logits[rows] += intercept
        return isfinite(logits[rows].sum())

    return logits, all(_over_slices(fill, _slices(X, coef), X, coef))


def activated_logits(
    X: Any, coef: Any, intercept: Array, activation: Callable[[Array], Array], *, by_class: bool
) -> tuple[Array, bool]:
    """Activations of the logits of all rows; of dense X, without holding all logits.

    Parameters
    ----------
    X : {ndarray, sparse array} of shape (n, d)
        Rows, checked.
    coef : {ndarray, sparse matrix} of shape (K, d)
        Coefficients.
    intercept : ndarray of shape (K,)
        Intercepts.
    activation : callable
        Function of class-major logits.
    by_class : bool
        Whether the logits of a class should lie next to each other, because the activation reduces over the classes.

    Returns
    -------
    activations : ndarray of shape (n, L) or (n,)
        The activations.
    are_finite : bool
        Whether the sums of the logits are finite. Then all logits are; and all of X, if the coefficients are dense.
    """
    n_classes, column = coef.shape[0], np.asarray(intercept).reshape(-1, 1)
    order: Any = "C" if by_class and n_classes < MANY_CLASSES else "F"
    dtype = np.result_type(X.dtype, coef.dtype)

    def activations(rows: slice) -> tuple[Array, bool]:
        z = np.empty((n_classes, rows.stop - rows.start), dtype, order)
        _multiply(coef, X, rows, out=z)
        z += column
        are_finite = isfinite(z.sum())
        return activation(z).T, are_finite

    slices = _slices(X, coef)
    if len(slices) == 1:
        activated, are_finite = _over_slices(activations, slices, X, coef)[0]
        return np.ascontiguousarray(activated), are_finite
    # Activations of no rows have the dtype and the number of columns of all.
    of_none = activation(np.empty((n_classes, 0), dtype, order)).T
    result = np.empty((X.shape[0], *of_none.shape[1:]), of_none.dtype)

    def fill(rows: slice) -> bool:
        activated, are_finite = activations(rows)
        if activated.ndim == 2 and activated.shape[1] <= _FEW_COLUMNS:
            for column, values in enumerate(activated.T):
                result[rows, column] = values
        else:
            result[rows] = activated
        return are_finite

    return result, all(_over_slices(fill, slices, X, coef))


def _multiply(coef: Any, X: Any, rows: slice, *, out: Array) -> None:
    """Write coef X^T for a slice of the rows of X into an array (K, b)."""
    if sparse.issparse(X):
        part = X if out.shape[1] == X.shape[0] else csr_slice(X, rows)
        out[...] = _dense(part @ coef.T).T
        return
    if sparse.issparse(coef):
        out[...] = (X[rows] @ coef.T).T
        return
    x = X[rows].astype(out.dtype, copy=False)
    if len(coef) == 1 and coef.size >= _MANY_FEATURES and x.size > _SMALL_PRODUCT_WITH_VECTOR:
        np.einsum("ij,j->i", x, coef[0], out=out[0])
        return
    step = _DIRECT_PRODUCT // coef.size
    step = step if step >= _LEAST_PART_ROWS else len(x)
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        np.matmul(coef, x[part].T, out=out[:, part])


def _dense(products: Any) -> Array:
    array: Array = products.toarray() if sparse.issparse(products) else products
    return array


def _slices(X: Any, coef: Any) -> list[slice]:
    """Slices of the rows of X that leave room for their logits in cache."""
    return dense_slices(X.shape[0], _n_entries(X) // X.shape[0] + coef.shape[0], coef.dtype)


def _over_slices(task: Callable[[slice], T], slices: list[slice], X: Any, coef: Any) -> list[T]:
    """The results of a task for slices of the rows, in order, with the threads that so much work is worth."""
    n_classes, n_entries = coef.shape[0], _n_entries(X)
    smallest = _SMALL_PRODUCT if n_classes > 1 else _SMALL_PRODUCT_WITH_VECTOR
    is_small = len(slices) == 1 and n_entries * n_classes <= smallest
    with nullcontext() if is_small else single_threaded_blas, np.errstate(all="ignore"):
        if n_entries + X.shape[0] * n_classes < _WORTH_THREADS:
            return [task(rows) for rows in slices]
        return in_threads(lambda number: task(slices[number]), len(slices))


def _n_entries(X: Any) -> int:
    return int(X.nnz if sparse.issparse(X) else X.size)


def class_probabilities(z: Array) -> Array:
    """Probabilities of exclusive classes from their logits; of both classes from the logit of the second."""
    if len(z) == 1:
        return both_sigmoids(z[0])
    softmax_block(z, 1.0)
    return z


def class_log_probabilities(z: Array) -> Array:
    """Logarithms of `class_probabilities`."""
    if len(z) == 1:
        return both_log_sigmoids(z[0])
    log_softmax_block(z, 1.0)
    return z


def normalized_probabilities(z: Array) -> Array:
    """Sigmoids that are divided by their sums, from the logits of classes that each have their own."""
    return class_probabilities(log_sigmoid_block(z, 1.0))


def normalized_log_probabilities(z: Array) -> Array:
    """Logarithms of `normalized_probabilities`."""
    return class_log_probabilities(log_sigmoid_block(z, 1.0))


def most_probable(z: Array) -> Array:
    """The number (b,) of the class with the largest logit; 1 for a positive logit of the second of two classes."""
    return np.asarray(z[0] > 0) if len(z) == 1 else argmax_block(z)
