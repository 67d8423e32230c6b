"""Logits of a linear model and activations of them, block by block.

An activation is a function of *class-major* logits z (K, b), which it may overwrite; it returns (L, b) or (b,).
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
from scipy import sparse

from skactivation._activation_kernels import (
    MANY_CLASSES,
    both_log_sigmoids,
    both_sigmoids,
    log_sigmoid_block,
    log_softmax_block,
    softmax_block,
)
from skactivation._data.dense import dense_slices
from skactivation._threads import in_threads, single_threaded_blas
from skactivation._typing import Array

# BLAS uses no threads for products of up to so many multiplications: with a matrix, and with a vector.
_SMALL_PRODUCT, _SMALL_PRODUCT_WITH_VECTOR = 2**17, 2**13


def linear_logits(X: Any, coef: Any, intercept: Array) -> Array:
    """Logits X coef^T + intercept (n, K): of checked X (n, d), coefficients (K, d) and intercepts (K,)."""
    if sparse.issparse(X) or sparse.issparse(coef):
        logits = np.ascontiguousarray(_sparse_product(X, coef))
        logits += intercept
        return logits
    return activated_logits(X, coef, intercept, lambda z: z, by_class=False)


def activated_logits(
    X: Any, coef: Any, intercept: Array, activation: Callable[[Array], Array], *, by_class: bool
) -> Array:
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
    ndarray of shape (n, L) or (n,)
        The activations.
    """
    n_classes, column = coef.shape[0], np.asarray(intercept).reshape(-1, 1)
    order: Any = "C" if by_class and n_classes < MANY_CLASSES else "F"
    # SciPy takes longer to slice sparse rows than to multiply them.
    products = _sparse_product(X, coef) if sparse.issparse(X) or sparse.issparse(coef) else None

    def activations(rows: slice) -> Array:
        if products is not None:
            z = np.array(products[rows].T, order=order)
        else:
            z = coef @ X[rows].T if order == "C" else (X[rows] @ coef.T).T
        z += column
        return activation(z).T

    slices = dense_slices(X.shape[0], X.shape[1] + n_classes, coef.dtype)
    smallest = _SMALL_PRODUCT if n_classes > 1 else _SMALL_PRODUCT_WITH_VECTOR
    is_small = len(slices) == 1 and X.shape[0] * X.shape[1] * n_classes <= smallest
    with nullcontext() if is_small else single_threaded_blas, np.errstate(all="ignore"):
        first = activations(slices[0])
        if len(slices) == 1:
            return np.ascontiguousarray(first)
        result = np.empty((X.shape[0], *first.shape[1:]), first.dtype)
        result[slices[0]] = first

        def fill(block: int) -> None:
            result[slices[block + 1]] = activations(slices[block + 1])

        in_threads(fill, len(slices) - 1)
    return result


def _sparse_product(X: Any, coef: Any) -> Array:
    products = X @ coef.T
    array: Array = products.toarray() if sparse.issparse(products) else products
    return array


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
    return np.asarray(z[0] > 0 if len(z) == 1 else z.T.argmax(axis=1))
