r"""Sigmoid, softmax and their logarithms, accurate over the whole range of floats.

Conventions of all functions:

* logits are any array-like of real numbers, which is never modified;
* float32 and float16 give float32; all other types give float64;
* no function raises a floating-point warning, for any ``np.errstate``;
* ``temperature``, a positive number, divides the logits. ``np.inf`` is the limit in which all finite logits are equal;
  infinite logits stay infinite at every temperature.

Special values, for any finite number x:

============================ ====================== ================
logits                       softmax                log_softmax
============================ ====================== ================
``[inf, x]``                 ``[1, 0]``             ``[0, -inf]``
``[-inf, x]``                ``[0, 1]``             ``[-inf, 0]``
two or more ``inf``          all NaN                all NaN
all ``-inf``                 all NaN                all NaN
a NaN                        all NaN                all NaN
============================ ====================== ================

============ ======= =========== ==================
logit        sigmoid log_sigmoid sigmoid_derivative
============ ======= =========== ==================
``inf``      1       0           0
``-inf``     0       ``-inf``    0
NaN          NaN     NaN         NaN
============ ======= =========== ==================
"""

from __future__ import annotations  # help() then shows ArrayLike instead of its long definition

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from skactivation._activation_kernels import (
    BLOCK_SIZE,
    class_major_blocks,
    log_sigmoid_block,
    log_softmax_block,
    sigmoid_block,
    sigmoid_derivative_block,
    softmax_block,
)
from skactivation._typing import Array
from skactivation._validation import as_floats, check_real

__all__ = ["log_sigmoid", "log_softmax", "sigmoid", "sigmoid_derivative", "softmax"]


def sigmoid(logits: ArrayLike, *, temperature: float = 1.0) -> Array:
    r"""Logistic sigmoid, the probability of the positive class, :math:`1 / (1 + e^{-x / T})`.

    Parameters
    ----------
    logits : array-like of any shape
        Log-odds.
    temperature : float, default=1.0
        Positive number T that divides the logits.

    Returns
    -------
    ndarray of the same shape
        Probabilities in [0, 1], within 3 units in the last place (float32: 4; one more if T is not 1).

    Raises
    ------
    TypeError
        If logits are complex or sparse, or the temperature is not a number.
    ValueError
        If logits are not numbers, or the temperature is not positive.

    Examples
    --------
    >>> from skactivation.activations import sigmoid
    >>> sigmoid([-745.0, 0.0, 2.0])
    array([4.94065646e-324, 5.00000000e-001, 8.80797078e-001])
    """
    return _map_elements(sigmoid_block, logits, temperature)


def log_sigmoid(logits: ArrayLike, *, temperature: float = 1.0) -> Array:
    r"""Logarithm of the sigmoid, :math:`-\log(1 + e^{-x / T})`, without overflow or cancellation.

    Parameters
    ----------
    logits : array-like of any shape
        Log-odds.
    temperature : float, default=1.0
        Positive number T that divides the logits.

    Returns
    -------
    ndarray of the same shape
        Log-probabilities, at most 0, within 3 units in the last place (float32: 4; one more if T is not 1).

    Raises
    ------
    TypeError
        If logits are complex or sparse, or the temperature is not a number.
    ValueError
        If logits are not numbers, or the temperature is not positive.

    Examples
    --------
    >>> from skactivation.activations import log_sigmoid
    >>> log_sigmoid([-1000.0, 0.0, 40.0])
    array([-1.00000000e+03, -6.93147181e-01, -4.24835426e-18])
    """
    return _map_elements(log_sigmoid_block, logits, temperature)


def sigmoid_derivative(logits: ArrayLike, *, temperature: float = 1.0) -> Array:
    r"""Derivative of :func:`sigmoid` with respect to the logits, :math:`p (1 - p) / T`.

    It is computed from the logits and stays accurate if p rounds to 1.

    Parameters
    ----------
    logits : array-like of any shape
        Log-odds.
    temperature : float, default=1.0
        Positive number T that divides the logits.

    Returns
    -------
    ndarray of the same shape
        Derivatives in [0, 1 / (4 T)].

    Raises
    ------
    TypeError
        If logits are complex or sparse, or the temperature is not a number.
    ValueError
        If logits are not numbers, or the temperature is not positive.

    Examples
    --------
    >>> from skactivation.activations import sigmoid_derivative
    >>> sigmoid_derivative([0.0, 40.0])
    array([2.50000000e-01, 4.24835426e-18])
    """
    return _map_elements(sigmoid_derivative_block, logits, temperature)


def softmax(logits: ArrayLike, *, axis: int = -1, temperature: float = 1.0) -> Array:
    r"""Probabilities of exclusive classes, :math:`e^{z_k / T} / \sum_l e^{z_l / T}`.

    Parameters
    ----------
    logits : array-like with at least one dimension
        Logits; adding a constant along `axis` does not change the result.
    axis : int, default=-1
        Axis of the classes.
    temperature : float, default=1.0
        Positive number T that divides the logits.

    Returns
    -------
    ndarray of the same shape
        Probabilities that sum to one along `axis`, within 8 units in the last place for up to 1,000 classes.

    Raises
    ------
    TypeError
        If logits are complex or sparse, or the temperature is not a number.
    ValueError
        If logits are not numbers, the temperature is not positive, or the axis does not exist.

    Examples
    --------
    >>> from skactivation.activations import softmax
    >>> softmax([[1000.0, 1000.0, -1000.0]])
    array([[0.5, 0.5, 0. ]])
    >>> softmax([2.0, 1.0, 0.0], temperature=10.0).round(3)
    array([0.367, 0.332, 0.301])
    """
    return _map_rows(softmax_block, logits, axis, temperature)


def log_softmax(logits: ArrayLike, *, axis: int = -1, temperature: float = 1.0) -> Array:
    r"""Logarithm of the softmax, :math:`z_k / T - \log \sum_l e^{z_l / T}`.

    Parameters
    ----------
    logits : array-like with at least one dimension
        Logits; adding a constant along `axis` does not change the result.
    axis : int, default=-1
        Axis of the classes.
    temperature : float, default=1.0
        Positive number T that divides the logits.

    Returns
    -------
    ndarray of the same shape
        Log-probabilities, at most 0; accurate even if a probability rounds to 0 or 1.

    Raises
    ------
    TypeError
        If logits are complex or sparse, or the temperature is not a number.
    ValueError
        If logits are not numbers, the temperature is not positive, or the axis does not exist.

    Examples
    --------
    >>> from skactivation.activations import log_softmax
    >>> log_softmax([0.0, -40.0])
    array([-4.24835426e-18, -4.00000000e+01])
    """
    return _map_rows(log_softmax_block, logits, axis, temperature)


def _map_elements(kernel: Callable[[Array, float], Array], logits: ArrayLike, temperature: float) -> Array:
    """Apply a kernel to logits block by block."""
    temperature = check_real(temperature, "temperature", allow_low=False)
    x = as_floats(logits, "logits")
    result = np.empty(x.shape, dtype=x.dtype)
    flat_x, flat_result = np.ascontiguousarray(x).reshape(-1), result.reshape(-1)
    with np.errstate(all="ignore"):
        for start in range(0, flat_x.size, BLOCK_SIZE):
            block = slice(start, start + BLOCK_SIZE)
            flat_result[block] = kernel(flat_x[block], temperature)
    return result[()]


def _map_rows(kernel: Callable[[Array, float], None], logits: ArrayLike, axis: int, temperature: float) -> Array:
    """Apply an in-place kernel to class-major blocks along an axis of the logits."""
    temperature = check_real(temperature, "temperature", allow_low=False)
    if not isinstance(axis, (int, np.integer)):
        raise TypeError(f"axis must be an integer, got {axis!r} of type {type(axis).__name__}")
    z = as_floats(logits, "logits")
    if z.ndim == 0:
        raise ValueError("logits must have at least one dimension, an axis of classes, got a number; use sigmoid")
    # For an invalid axis, moveaxis raises numpy's AxisError, a ValueError that names the axis.
    z = np.moveaxis(z, axis, -1)
    result = np.empty(z.shape, dtype=z.dtype)
    if z.size:
        rows, result_rows = z.reshape(-1, z.shape[-1]), result.reshape(-1, z.shape[-1])
        with np.errstate(all="ignore"):
            for block, values in class_major_blocks(rows):
                kernel(values, temperature)
                result_rows[block] = values.T
    return np.moveaxis(result, -1, axis)
