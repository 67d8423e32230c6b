r"""Sigmoid, softmax and their logarithms, accurate over the whole range of floats.

Conventions of every function here:

* logits are any array-like of real numbers; the caller's array is never written to;
* float32 in, float32 out; float16 is computed and returned in float32, everything else in float64;
* no floating-point warning is raised, whatever ``np.errstate`` is in force: the tables below say what special values
  give;
* ``temperature`` divides the logits. It is a positive number; ``np.inf`` stands for the limit, in which all finite
  logits count as equal. Infinite logits stay infinite at every temperature.

Special values, with x any finite number:

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

from __future__ import annotations  # signatures in help() then say ArrayLike, not what it stands for

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skactivation._validation import as_floats, check_real

__all__ = ["log_sigmoid", "log_softmax", "sigmoid", "sigmoid_derivative", "softmax"]

Array = NDArray[Any]

# Logits in a block, measured: smaller blocks pay for calls, larger ones for memory.
_BLOCK_SIZE = 65536
# From this many classes on, numpy's pairwise sum along contiguous classes is both more accurate than a sum over the
# leading axis and as fast.
_MANY_CLASSES = 32


def sigmoid(logits: ArrayLike, *, temperature: float = 1.0) -> Array:
    r"""Probability of "yes" from a logit, :math:`1 / (1 + e^{-x / T})`.

    Parameters
    ----------
    logits : array-like of any shape
        Log-odds, each on its own.
    temperature : float, default=1.0
        Positive number T that divides the logits.

    Returns
    -------
    ndarray of the same shape
        Probabilities in [0, 1], within 3 units in the last place (float32: 4; one more where T isn't 1).

    Raises
    ------
    TypeError
        Complex or sparse logits, or a temperature that is no number.
    ValueError
        Logits that are no numbers, or a temperature that isn't positive.

    Examples
    --------
    >>> from skactivation.activations import sigmoid
    >>> sigmoid([-745.0, 0.0, 2.0])
    array([4.94065646e-324, 5.00000000e-001, 8.80797078e-001])
    """
    return _map_elements(_sigmoid_block, logits, temperature)


def log_sigmoid(logits: ArrayLike, *, temperature: float = 1.0) -> Array:
    r"""Logarithm of the sigmoid, :math:`-\log(1 + e^{-x / T})`, without overflow or cancellation.

    Parameters
    ----------
    logits : array-like of any shape
        Log-odds, each on its own.
    temperature : float, default=1.0
        Positive number T that divides the logits.

    Returns
    -------
    ndarray of the same shape
        Log-probabilities, at most 0, within 3 units in the last place (float32: 4; one more where T isn't 1).

    Raises
    ------
    TypeError
        Complex or sparse logits, or a temperature that is no number.
    ValueError
        Logits that are no numbers, or a temperature that isn't positive.

    Examples
    --------
    >>> from skactivation.activations import log_sigmoid
    >>> log_sigmoid([-1000.0, 0.0, 40.0])
    array([-1.00000000e+03, -6.93147181e-01, -4.24835426e-18])
    """
    return _map_elements(_log_sigmoid_block, logits, temperature)


def sigmoid_derivative(logits: ArrayLike, *, temperature: float = 1.0) -> Array:
    r"""Derivative of :func:`sigmoid` with respect to the logits, :math:`p (1 - p) / T`.

    It is computed from the logits, so that nothing is lost where p rounds to 1.

    Parameters
    ----------
    logits : array-like of any shape
        Log-odds, each on its own.
    temperature : float, default=1.0
        Positive number T that divides the logits.

    Returns
    -------
    ndarray of the same shape
        Slopes in [0, 1 / (4 T)].

    Raises
    ------
    TypeError
        Complex or sparse logits, or a temperature that is no number.
    ValueError
        Logits that are no numbers, or a temperature that isn't positive.

    Examples
    --------
    >>> from skactivation.activations import sigmoid_derivative
    >>> sigmoid_derivative([0.0, 40.0])
    array([2.50000000e-01, 4.24835426e-18])
    """
    return _map_elements(_sigmoid_derivative_block, logits, temperature)


def softmax(logits: ArrayLike, *, axis: int = -1, temperature: float = 1.0) -> Array:
    r"""Probabilities of exclusive classes, :math:`e^{z_k / T} / \sum_l e^{z_l / T}`.

    Parameters
    ----------
    logits : array-like of any shape but ()
        Logits, defined up to a constant along `axis`.
    axis : int, default=-1
        The axis along which the classes lie.
    temperature : float, default=1.0
        Positive number T that divides the logits.

    Returns
    -------
    ndarray of the same shape
        Probabilities that sum to one along `axis`, within 8 units in the last place for up to 1,000 classes.

    Raises
    ------
    TypeError
        Complex or sparse logits, or a temperature that is no number.
    ValueError
        Logits that are no numbers, a temperature that isn't positive, or an axis that isn't there.

    Examples
    --------
    >>> from skactivation.activations import softmax
    >>> softmax([[1000.0, 1000.0, -1000.0]])
    array([[0.5, 0.5, 0. ]])
    >>> softmax([2.0, 1.0, 0.0], temperature=10.0).round(3)
    array([0.367, 0.332, 0.301])
    """
    return _map_rows(_softmax_block, logits, axis, temperature)


def log_softmax(logits: ArrayLike, *, axis: int = -1, temperature: float = 1.0) -> Array:
    r"""Logarithm of the softmax, :math:`z_k / T - \log \sum_l e^{z_l / T}`; no softmax is formed on the way.

    Parameters
    ----------
    logits : array-like of any shape but ()
        Logits, defined up to a constant along `axis`.
    axis : int, default=-1
        The axis along which the classes lie.
    temperature : float, default=1.0
        Positive number T that divides the logits.

    Returns
    -------
    ndarray of the same shape
        Log-probabilities, at most 0; accurate also where the probability rounds to 1.

    Raises
    ------
    TypeError
        Complex or sparse logits, or a temperature that is no number.
    ValueError
        Logits that are no numbers, a temperature that isn't positive, or an axis that isn't there.

    Examples
    --------
    >>> from skactivation.activations import log_softmax
    >>> log_softmax([0.0, -40.0])
    array([-4.24835426e-18, -4.00000000e+01])
    """
    return _map_rows(_log_softmax_block, logits, axis, temperature)


def exp_minus_max(z: Array) -> tuple[Array, Array]:
    """z - max and its exponentials, for class-major logits z (K, b), which are overwritten.

    Errors grow with the size of z: enough for logits that are themselves rounded sums.
    """
    z -= z.max(axis=0)
    return z, np.exp(z)


def compensated_exp_minus_max(z: Array, temperature: float = 1.0) -> tuple[Array, Array]:
    """(z - max) / T and its exponentials to within 2 ULP, for class-major logits z (K, b), which are overwritten."""
    exponents, errors = _differences(z, temperature)
    np.exp(exponents, out=z)
    # exp(t + e) = exp(t) (1 + e): without e the rounding of t would be magnified by t.
    errors *= z
    z += errors
    return exponents, z


def sum_of_classes(z: Array) -> Array:
    """Sums (b,) of class-major numbers (K, b), with errors that hardly grow with K."""
    total: Array
    if not z.flags.c_contiguous:
        # What lies along memory numpy itself sums in pairs, but for the last hundred or so.
        half = len(z) // 2
        if len(z) > 256:
            folded = z[:half] + z[half : 2 * half]
            folded[0] += z[-1] if len(z) % 2 else 0
            total = folded.sum(axis=0)
        else:
            total = z[:half].sum(axis=0) + z[half:].sum(axis=0)
        return total
    while len(z) > 1:
        half = len(z) // 2
        folded = z[:half] + z[half : 2 * half]
        if len(z) % 2:
            folded[0] += z[-1]
        z = folded
    total = z[0]
    return total


def sum_of_others(exponentials: Array) -> Array:
    """Sums (b,) of exponentials (K, b) without the largest, which is 1, to a few ULP also where they are small."""
    # The 1 is taken out before the sum, so that it doesn't swallow the small ones.
    if exponentials.flags.c_contiguous:
        ones = np.floor(exponentials)
        others: Array = sum_of_classes(exponentials - ones) + (ones.sum(axis=0) - 1)
        return others
    largest = _places_of_largest(exponentials)
    own = exponentials[largest]
    exponentials[largest] = 0
    others = sum_of_classes(exponentials)
    exponentials[largest] = own
    return others


def _places_of_largest(z: Array) -> tuple[Array, Array]:
    """Index of the largest entry of each column; quick along memory alone."""
    return z.argmax(axis=0), np.arange(z.shape[1])


def class_major_blocks(rows: Array) -> Any:
    """Yield (slice, logits (K, b)) over rows (n, K): copies that stay in cache and may be overwritten."""
    n_rows, n_classes = rows.shape
    # Reductions over a leading axis of few classes are ten times faster than over a short trailing one.
    order: Any = "C" if n_classes < _MANY_CLASSES else "F"
    step = max(1, _BLOCK_SIZE // max(1, n_classes))
    for start in range(0, n_rows, step):
        block = slice(start, min(start + step, n_rows))
        yield block, np.array(rows[block].T, order=order)


def _map_elements(kernel: Callable[[Array, float], Array], logits: ArrayLike, temperature: float) -> Array:
    """Apply a kernel to logits block by block."""
    temperature = check_real(temperature, "temperature", allow_low=False)
    x = as_floats(logits, "logits")
    result = np.empty(x.shape, dtype=x.dtype)
    flat_x, flat_result = np.ascontiguousarray(x).reshape(-1), result.reshape(-1)
    with np.errstate(all="ignore"):
        for start in range(0, flat_x.size, _BLOCK_SIZE):
            block = slice(start, start + _BLOCK_SIZE)
            flat_result[block] = kernel(flat_x[block], temperature)
    return result[()]


def _map_rows(kernel: Callable[[Array, float], None], logits: ArrayLike, axis: int, temperature: float) -> Array:
    """Apply a kernel that works in place on class-major blocks along an axis of the logits."""
    temperature = check_real(temperature, "temperature", allow_low=False)
    if not isinstance(axis, (int, np.integer)):
        raise TypeError(f"axis must be an integer, got {axis!r}")
    z = as_floats(logits, "logits")
    if z.ndim == 0:
        raise ValueError("logits must have an axis along which the classes lie, got a number; use sigmoid")
    # Where there is no such axis, moveaxis raises numpy's AxisError, a ValueError that says so.
    z = np.moveaxis(z, axis, -1)
    result = np.empty(z.shape, dtype=z.dtype)
    if z.size:
        rows, result_rows = z.reshape(-1, z.shape[-1]), result.reshape(-1, z.shape[-1])
        with np.errstate(all="ignore"):
            for block, values in class_major_blocks(rows):
                kernel(values, temperature)
                result_rows[block] = values.T
    return np.moveaxis(result, -1, axis)


def _softmax_block(z: Array, temperature: float) -> None:
    _, exponentials = compensated_exp_minus_max(z, temperature)
    np.divide(exponentials, sum_of_classes(exponentials), out=z)


def _log_softmax_block(z: Array, temperature: float) -> None:
    exponents, exponentials = compensated_exp_minus_max(z, temperature)
    np.subtract(exponents, np.log1p(sum_of_others(exponentials)), out=z)


def _sigmoid_block(x: Array, temperature: float) -> Array:
    quotient, error = _quotient(x, temperature)
    result = np.negative(quotient)
    np.exp(result, out=result)
    if error is not None:
        result -= result * error
    result += 1
    np.divide(1, result, out=result)
    # Where exp(-x) could overflow, the sigmoid is exp(x) to the last digit, down to the subnormal numbers.
    low = quotient < np.log(np.finfo(x.dtype).tiny) + 8
    if low.any():
        result[low] = np.exp(quotient[low])
        if error is not None:
            result[low] += result[low] * error[low]
    return result


def _log_sigmoid_block(x: Array, temperature: float) -> Array:
    quotient, error = _quotient(x, temperature)
    decay = _decay(quotient, None)
    logs = np.log1p(decay)
    if error is not None:
        # The quotient's error, to first order: in the logarithm, where correcting costs less than in the exponential.
        logs -= error * np.sign(quotient) * (decay / (1 + decay))
    return np.subtract(np.minimum(quotient, 0), logs, out=logs)


def _sigmoid_derivative_block(x: Array, temperature: float) -> Array:
    # The root of exp(-abs(x) / T) doesn't underflow before the division by T.
    root = _decay(*_quotient(x.astype(np.float64, copy=False), 2 * temperature))
    slope: Array = root / temperature * (root / np.square(1 + np.square(root)))
    return slope


def _decay(x: Array, error: Array | None) -> Array:
    """exp(-abs(x + error)) with the error to first order."""
    decay = np.abs(x)
    np.negative(decay, out=decay)
    np.exp(decay, out=decay)
    if error is not None:
        decay -= decay * error * np.sign(x)
    return decay


def _differences(z: Array, temperature: float) -> tuple[Array, Array]:
    """(z - max) / T as rounded, and what the rounding left over, for class-major z (K, b)."""
    if temperature > 1:
        # The difference of large logits then may overflow where its quotient doesn't.
        z, temperature = 0.5 * z, 0.5 * temperature
    maxima = z.max(axis=0) if z.flags.c_contiguous else z[_places_of_largest(z)]
    difference = z - maxima
    # Knuth's two-sum: z - max = difference + error exactly, whichever of the two is the larger.
    virtual = difference - z
    error = difference - virtual
    np.subtract(z, error, out=error)
    virtual += maxima
    error -= virtual
    if not np.isfinite(difference.sum()):
        # An infinite logit has no rounding error; alone at the top, it is at a distance of 0 from itself.
        error[~np.isfinite(error)] = 0
        difference[np.isposinf(z) & (np.count_nonzero(np.isposinf(z), axis=0) == 1)] = 0
    quotient, quotient_error = _quotient(difference, temperature)
    if temperature != 1:
        # In float64: a temperature may be 0 or infinite as a float32.
        error = np.divide(error, temperature, dtype=np.float64).astype(z.dtype, copy=False)
    if quotient_error is not None:
        error += quotient_error
    return quotient, error


def _quotient(x: Array, temperature: float) -> tuple[Array, Array | None]:
    """x / T as rounded, and what the rounding left over (None for nothing)."""
    if temperature == 1:
        return x, None
    if temperature == np.inf:
        return np.where(np.isfinite(x), x.dtype.type(0), x), None
    if x.dtype == np.float32:
        exact = x.astype(np.float64) / temperature
        quotient: Array = exact.astype(np.float32)
        error = (exact - quotient).astype(np.float32)
    else:
        quotient = x / temperature
        # Dekker's product: quotient * T = product + rest exactly.
        product = quotient * temperature
        high, low = _split(quotient)
        t_high, t_low = _split(np.float64(temperature))
        rest = ((high * t_high - product) + high * t_low + low * t_high) + low * t_low
        error = ((x - product) - rest) / temperature
    np.copyto(error, 0, where=~np.isfinite(error))
    return quotient, error


def _split(x: Any) -> tuple[Any, Any]:
    """Veltkamp's split of float64 into two halves of 26 bits, so that products of halves are exact."""
    scaled = 134217729.0 * x
    high = scaled - (scaled - x)
    return high, x - high
