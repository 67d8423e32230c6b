"""Activations of blocks of logits, accurate to a few units in the last place (ULP).

Kernels work on *class-major* logits z (K, b): K classes by b rows of the data. They may overwrite z.
"""

from typing import Any

import numpy as np

from skactivation._typing import Array

# Number of logits per block: in timings, smaller blocks lost to call overhead, larger ones to memory traffic.
BLOCK_SIZE = 65536
# From this many classes on, numpy's pairwise sum along contiguous classes is as fast as a sum over the leading axis,
# and more accurate.
MANY_CLASSES = 32
# From this many rows on, comparing all rows' logits of two classes at a time is faster than `argmax` of each row.
_WORTH_COMPARISONS = 512


def compensated_exp_minus_max(z: Array, temperature: float = 1.0) -> tuple[Array, Array]:
    """Return (z - max) / T and its exponentials, within 2 ULP, for class-major logits z (K, b); overwrites z."""
    exponents, errors = _differences(z, temperature)
    np.exp(exponents, out=z)
    # exp(t + e) = exp(t) (1 + e) to first order; without e, the exponential would multiply the relative rounding by t.
    errors *= z
    z += errors
    return exponents, z


def sum_of_classes(z: Array) -> Array:
    """Sums (b,) of class-major numbers (K, b), whose rounding errors hardly grow with K."""
    total: Array
    if not z.flags.c_contiguous:
        # Along contiguous memory, numpy sums pairwise itself, except within blocks of about a hundred.
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
    """Sums (b,) of exponentials (K, b) without the largest, which is 1; within a few ULP even if they are small."""
    # The 1 is removed before summing, because adding it would round away small terms.
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
    """Index of the largest entry of each column; fast only if classes are contiguous in memory."""
    return z.argmax(axis=0), np.arange(z.shape[1])


def class_major_blocks(rows: Array) -> Any:
    """Yield (slice, logits (K, b)) over rows (n, K): copies that fit in cache and may be overwritten."""
    n_rows, n_classes = rows.shape
    # With few classes, reductions are ten times faster over a leading axis than over a trailing one.
    order: Any = "C" if n_classes < MANY_CLASSES else "F"
    step = max(1, BLOCK_SIZE // max(1, n_classes))
    for start in range(0, n_rows, step):
        block = slice(start, min(start + step, n_rows))
        yield block, np.array(rows[block].T, order=order)


def softmax_block(z: Array, temperature: float) -> None:
    _, exponentials = compensated_exp_minus_max(z, temperature)
    np.divide(exponentials, sum_of_classes(exponentials), out=z)


def log_softmax_block(z: Array, temperature: float) -> None:
    exponents, exponentials = compensated_exp_minus_max(z, temperature)
    np.subtract(exponents, np.log1p(sum_of_others(exponentials)), out=z)


def sigmoid_block(x: Array, temperature: float) -> Array:
    quotient, error = _quotient(x, temperature)
    result = np.negative(quotient)
    np.exp(result, out=result)
    if error is not None:
        result -= result * error
    result += 1
    np.divide(1, result, out=result)
    # If exp(-x) could overflow, the sigmoid equals exp(x) to the last digit, down to the subnormal numbers.
    low = quotient < np.log(np.finfo(x.dtype).tiny) + 8
    if low.any():
        result[low] = np.exp(quotient[low])
        if error is not None:
            result[low] += result[low] * error[low]
    return result


def log_sigmoid_block(x: Array, temperature: float) -> Array:
    quotient, error = _quotient(x, temperature)
    decay = _decay(quotient, None)
    logs = np.log1p(decay)
    if error is not None:
        # First-order correction of the quotient's error, which is cheaper in the logarithm than in the exponential.
        logs -= error * np.sign(quotient) * (decay / (1 + decay))
    return np.subtract(np.minimum(quotient, 0), logs, out=logs)


def argmax_block(z: Array) -> Array:
    """The number (b,) of the largest of K logits in each column of z (K, b), the first of equal ones, as `argmax`."""
    if len(z) >= MANY_CLASSES or z.shape[1] < _WORTH_COMPARISONS:
        return np.asarray(z.T.argmax(axis=1))
    # Without branches, which `argmax` has, and which processors predict wrongly.
    largest, chosen = z[0].copy(), np.zeros(z.shape[1], np.uint8)
    for number in range(1, len(z)):
        is_larger = z[number] > largest
        np.maximum(chosen, is_larger.view(np.uint8) * np.uint8(number), out=chosen)
        np.maximum(largest, z[number], out=largest)
    # NaN has spread to the largest.
    return np.asarray(z.T.argmax(axis=1)) if np.isnan(largest).any() else chosen.astype(np.intp)


def both_sigmoids(z: Array) -> Array:
    """sigmoid(-z) and sigmoid(z), (2, b), of logits (b,): the probabilities of two classes."""
    both = np.empty((2, z.size), z.dtype)
    np.maximum(z, 0, out=both[0])
    np.negative(both[0], out=both[0])
    np.minimum(z, 0, out=both[1])
    # One of the two exponentials is 1, so that their sum is 1 + exp(-abs(z)).
    np.exp(both, out=both)
    both /= both[0] + both[1]
    return both


def both_log_sigmoids(z: Array) -> Array:
    """log(sigmoid(-z)) and log(sigmoid(z)), (2, b), of logits (b,)."""
    logs = np.log1p(np.exp(-np.abs(z)))
    return np.stack([np.minimum(-z, 0) - logs, np.minimum(z, 0) - logs])


def sigmoid_derivative_block(x: Array, temperature: float) -> Array:
    # The square root of exp(-abs(x) / T) does not underflow before the division by T.
    x = x.astype(np.float64, copy=False)
    # Of x / 2 and 2 T, take the one that is exact.
    root = _decay(*(_quotient(x, 2 * temperature) if temperature < 1 else _quotient(0.5 * x, temperature)))
    # Half of T's exponent goes to each factor, so that neither overflows before the product does.
    mantissa, exponent = np.frexp(temperature)
    half = exponent // 2
    slope: Array = np.ldexp(root, -half) / mantissa * np.ldexp(root / np.square(1 + np.square(root)), half - exponent)
    return slope


def _decay(x: Array, error: Array | None) -> Array:
    """exp(-abs(x + error)), to first order in the error."""
    decay = np.abs(x)
    np.negative(decay, out=decay)
    np.exp(decay, out=decay)
    if error is not None:
        decay -= decay * error * np.sign(x)
    return decay


def _differences(z: Array, temperature: float) -> tuple[Array, Array]:
    """(z - max) / T, rounded, and its rounding error, for class-major z (K, b)."""
    if temperature > 1:
        # Halving z and T avoids overflow of z - max if the quotient is finite.
        z, temperature = 0.5 * z, 0.5 * temperature
    maxima = z.max(axis=0) if z.flags.c_contiguous else z[_places_of_largest(z)]
    difference = z - maxima
    # Knuth's two-sum gives z - max = difference + error exactly.
    virtual = difference - z
    error = difference - virtual
    np.subtract(z, error, out=error)
    virtual += maxima
    error -= virtual
    if not np.isfinite(difference.sum()):
        # Infinite logits have no rounding error; a single +inf has difference 0 from the maximum, not NaN.
        error[~np.isfinite(error)] = 0
        difference[np.isposinf(z) & (np.count_nonzero(np.isposinf(z), axis=0) == 1)] = 0
    quotient, quotient_error = _quotient(difference, temperature)
    if temperature != 1:
        # In float32, the temperature could round to 0 or infinity.
        error = np.divide(error, temperature, dtype=np.float64).astype(z.dtype, copy=False)
        # Infinite where the quotient is, too.
        np.copyto(error, 0, where=~np.isfinite(error))
    if quotient_error is not None:
        error += quotient_error
    return quotient, error


def _quotient(x: Array, temperature: float) -> tuple[Array, Array | None]:
    """x / T, rounded, and its rounding error (None for 0)."""
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
        # Dekker's product gives quotient * T = product + rest exactly.
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
