"""
======================================================
Infinity, NaN, lost digits: why losses start at logits
======================================================

A linear model or a neural network gives *logits*, any real numbers. The sigmoid makes a probability of one logit,
1 / (1 + exp(-z)), and softmax makes probabilities of several, exp(z) divided by the sum. The loss is the logarithm of a
probability. These formulas are exact on paper. In floating-point numbers they fail: exp(z) becomes infinite, and a
probability close to 1 rounds to 1. This example puts the naive formulas, typed as they are on paper, beside the
functions of skactivation, which compute the same quantities to nearly all digits of a float.
"""

# %%
# There is a largest float. exp(z) exceeds it from a moderate z on, which is called overflow: the result is infinity.
# Floats also have a fixed number of digits. The distance from 1 to the next larger float is called machine epsilon. A
# probability that is closer to 1 than a quarter of it rounds to 1, and 1 - p is then 0.
import warnings

import matplotlib.pyplot as plt
import mpmath
import numpy as np

from skactivation.activations import log_sigmoid, log_softmax, sigmoid, softmax
from skactivation.losses import sigmoid_cross_entropy, softmax_cross_entropy

for dtype in (np.float64, np.float32):
    limits = np.finfo(dtype)
    print(
        f"{dtype.__name__}: largest number {limits.max:.1e}, exp(z) overflows from z = {np.log(limits.max):.1f} on, "
        f"machine epsilon {limits.eps:.1e}"
    )


# %%
# The naive formulas. They fail on purpose here; `errstate` turns off NumPy's warnings about it.
@np.errstate(all="ignore")
def naive_sigmoid(z):
    return 1 / (1 + np.exp(-z))


@np.errstate(all="ignore")
def naive_softmax(z):
    exponentials = np.exp(z)
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


@np.errstate(divide="ignore")
def log(p):
    return np.log(p)


# %%
# Softmax of large logits: exp(1000) overflows, and infinity divided by infinity is not a number (NaN). Softmax depends
# only on the differences of the logits. One may subtract the largest logit from all of them: then no exponent is
# positive, and nothing overflows. `softmax` does so.
z = np.array([1000.0, 1001.0, 1002.0])
print(f"\nsoftmax of {z}\n  naive        {naive_softmax(z)}\n  skactivation {softmax(z).round(3)}")

# %%
# The sigmoid of a large negative logit: exp(-z) overflows with a warning, and the result is 0. At -1000 that is the
# best answer: the true value is about 5e-435, smaller than any positive float64. At -720 it is wrong: float64 has such
# small numbers. The same happens in float32 at -90. These errors are tiny. The damage is done by the logarithm.
print(f"\n{'sigmoid':20}{'naive':>10}{'skactivation':>16}  warning of the naive formula")
for z in (np.float64(-1000), np.float64(-720), np.float32(-90)):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = 1 / (1 + np.exp(-z))
    print(f"{z:6.0f} in {z.dtype!s:10}{value:10.1e}{sigmoid(z):16.1e}  {caught[0].message}")

# %%
# Logarithms of probabilities: a probability that has rounded to 0 has the logarithm minus infinity, one that has
# rounded to 1 has the logarithm 0. The true logarithms are -1000 and -4e-18 here. `log_softmax` computes them from the
# logits. (The true logarithm in the last row, -exp(-1000), is smaller than any float. There 0 is right.)
print(f"\n{'logits':16}{'log(softmax), naive':>24}{'log_softmax':>28}")
for z in ([0.0, -10.0], [0.0, -40.0], [0.0, -1000.0]):
    (a, b), (c, d) = log(naive_softmax(np.array(z))), log_softmax(z)
    print(f"{z!s:16}{a:12.4g}{b:12.4g}{c:16.4g}{d:12.4g}")

# %%
# The cross-entropy of a label "no" is -log(1 - p) for a model that gives "yes" the probability p. If the model is sure
# and wrong, p is close to 1. Then 1 - p loses its digits and at last becomes 0: the loss is infinite, and so is the
# mean loss of all rows. A common remedy is to clip p at machine epsilon, as scikit-learn's `log_loss` does. Then the
# loss is finite, and wrong: it is the same for all large logits. Its slope is 0 there. An optimiser that follows the
# slope would not correct the worst mistakes.
clip = np.finfo(np.float64).eps
print(f"\n{'label no':>8}{'-log(1 - p), naive':>30}{'clipped':>12}{'sigmoid_cross_entropy':>25}")
print(f"{'logit':>8}{'in float32':>18}{'in float64':>12}{'in float64':>12}{'in float64':>25}")
for z in (5.0, 12.0, 20.0, 35.0, 40.0, 1000.0):
    naive32, naive64 = -log(1 - naive_sigmoid(np.float32(z))), -log(1 - naive_sigmoid(z))
    clipped = -log(1 - np.clip(naive_sigmoid(z), clip, 1 - clip))
    print(f"{z:8.0f}{naive32:18.6g}{naive64:12.6g}{clipped:12.6g}{sigmoid_cross_entropy([z], [0]):25.6g}")

# %%
# Now all of it, for logits from -1000 to 1000, against the true values, which mpmath computes to 60 digits. The softmax
# has three classes with the logits z, 0, 0; the loss is that of the first. The relative error is
# abs(result - truth) / abs(truth). Below the smallest normal number floats have fewer digits; truths below it are
# replaced by it in the denominator. There are more logits around 90 and 720, where exp(z) overflows.
positive = np.concatenate([np.geomspace(0.01, 1000, 300), np.linspace(85, 106, 64), np.linspace(705, 750, 64)])
logits = np.sort(np.concatenate([-positive, positive]))


def results(z):
    """Naive result, ours, and the formula in mpmath, of each quantity."""
    p, rows = naive_sigmoid(z), np.column_stack([z, np.zeros_like(z), np.zeros_like(z)])
    no, first = np.zeros_like(z), np.zeros(len(z), dtype=int)
    return {
        "sigmoid": (p, sigmoid(z), lambda z: 1 / (1 + mpmath.exp(-z))),
        "log of the sigmoid": (log(p), log_sigmoid(z), lambda z: -mpmath.log1p(mpmath.exp(-z))),
        'cross-entropy, label "no"': (
            -log(1 - p),
            sigmoid_cross_entropy(z, no, reduction="none"),
            lambda z: mpmath.log1p(mpmath.exp(z)),
        ),
        "cross-entropy, softmax": (
            -log(naive_softmax(rows)[:, 0]),
            softmax_cross_entropy(rows, first, reduction="none"),
            lambda z: mpmath.log1p(2 * mpmath.exp(-z)),
        ),
    }


def relative_errors(values, truths):
    """Infinite where a value is infinite or NaN."""
    tiny = np.finfo(values.dtype).tiny
    return np.array(
        [
            float(abs(mpmath.mpf(float(value)) - truth) / max(abs(truth), tiny)) if np.isfinite(value) else np.inf
            for value, truth in zip(values, truths, strict=True)
        ]
    )


errors = {}
with mpmath.workdps(60):
    for dtype in (np.float64, np.float32):
        z = logits.astype(dtype)
        for quantity, (naive, ours, formula) in results(z).items():
            truths = [formula(mpmath.mpf(float(logit))) for logit in z]
            errors[dtype, quantity] = relative_errors(naive, truths), relative_errors(ours, truths)

# %%
# The errors against the logit. The blue line stays at about machine epsilon. The naive losses lose more and more
# digits as the logit moves away from 0, on one side or on both. Errors below machine epsilon are drawn at machine
# epsilon. Not all errors are equally bad: a loss of 0 instead of 4e-18 hardly changes a mean, but an infinite loss
# makes it infinite.
NOT_FINITE = 1e4
fig, axes = plt.subplots(2, 4, figsize=(13, 6.2), layout="constrained", sharex=True, sharey="row")
for ax, ((dtype, quantity), (naive, ours)) in zip(axes.flat, errors.items(), strict=True):
    eps = np.finfo(dtype).eps
    for error, color, width, name in ((naive, "#D55E00", 5, "naive formula"), (ours, "#0072B2", 2.5, "skactivation")):
        drawn = np.where(np.isfinite(error), np.maximum(error, eps), NOT_FINITE)
        ax.plot(logits, drawn, color=color, linewidth=width, label=name)
    ax.axhline(eps, color="black", linewidth=0.8, linestyle="--", label="machine epsilon")
    ax.set(title=f"{quantity}\n{dtype.__name__}", yscale="log", ylim=(eps / 20, 20 * NOT_FINITE))
    ax.set_xscale("symlog", linthresh=1, linscale=0.5)
    ax.set_xticks(ticks := [-100, -10, 0, 10, 100], [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.grid(color="0.9")
for ax, ticks in zip(axes[:, 0], ([1e-16, 1e-12, 1e-8, 1e-4], [1e-6, 1e-4, 1e-2]), strict=True):
    powers = [f"$10^{{{np.log10(tick):.0f}}}$" for tick in ticks]
    ax.set_yticks([*ticks, 1, NOT_FINITE], [*powers, "no digit right: 1", "infinite or NaN"])
    ax.set_ylabel("relative error")
for ax in axes[1]:
    ax.set_xlabel("logit z, from -1000 to 1000")
fig.suptitle("Naive formulas lose digits, then give 0, infinity or NaN; skactivation stays at about machine epsilon")
fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
fig.savefig("numerical_stability_errors.png", dpi=120)

# %%
# In numbers: the largest error of each, ours in units of machine epsilon, and the smallest size of a logit at which the
# naive formula has lost half its digits, which is an error above the square root of machine epsilon.
print(f"\n{'':37}{'largest relative error':>32}{'naive: half the digits':>26}")
print(f"{'':37}{'naive':>10}{'skactivation':>22}{'are lost at |logit|':>26}")
lost = {}
for (dtype, quantity), (naive, ours) in errors.items():
    eps = np.finfo(dtype).eps
    lost[dtype, quantity] = np.abs(logits[naive > np.sqrt(eps)]).min()
    print(
        f"{dtype.__name__}: {quantity:28}{naive.max():10.2g}{ours.max() / eps:14.1f} epsilon"
        f"{lost[dtype, quantity]:26.1f}"
    )
from_64, from_32 = (lost[dtype, "cross-entropy, softmax"] for dtype in (np.float64, np.float32))
print(f"The naive softmax loss has lost half its digits at a logit of {from_64:.0f}, in float32 at {from_32:.0f}.")
print("Compute losses and log-probabilities from logits. Compute probabilities to show them or to decide with them.")
print("Pictures: numerical_stability_errors.png")
plt.show()
