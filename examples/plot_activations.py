"""
=====================================
Sigmoid and softmax, with derivatives
=====================================

A model gives *logits*: numbers from minus to plus infinity. An activation makes probabilities of them. The sigmoid
answers one question with yes or no. Softmax answers the question which of several classes it is. This example shows
both, their derivatives, and what a temperature does.
"""

# %%
# The sigmoid is an S curve from 0 to 1. At the logit 0 it is 1/2: yes and no are equally probable. A threshold on the
# probability is a threshold on the logit: here "yes" from a probability of 0.8 on.
import matplotlib.pyplot as plt
import numpy as np

from skactivation.activations import sigmoid, sigmoid_derivative, softmax
from skactivation.displays import ActivationDisplay

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
threshold = 0.8
logit = np.log(threshold / (1 - threshold))
fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ActivationDisplay.from_name("sigmoid", derivative=False, color=BLUE, name="sigmoid", ax=ax)
ax.axhline(0.5, color="0.6", linewidth=0.8)
ax.axvline(0, color="0.6", linewidth=0.8)
ax.plot([logit, logit, -6], [0, threshold, threshold], ":", color=ORANGE, label=f"0.8 at the logit {logit:.2f}")
ax.set(ylabel="probability of yes", title="One question: the sigmoid", xlim=(-6, 6))
ax.legend(loc="upper left", fontsize="small")
fig.savefig("activations_sigmoid.png", dpi=120)

# %%
# Its derivative is at most 1/4, at the logit 0, and nearly 0 where the sigmoid is sure. In a network of several layers
# the gradient is a product of such factors: ten of them make it a million times smaller. The derivative of ReLU, max(z,
# 0), is 1 for all positive z, and ten factors of 1 are 1. So hidden layers use ReLU, and a sigmoid is at the end, where
# it gives a probability.
fig, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
ActivationDisplay.from_name("sigmoid", color=BLUE, name="sigmoid", ax=ax)
ActivationDisplay.from_name("relu", color=GREEN, name="ReLU", ax=ax)
ax.set(ylabel="value and derivative", title="Derivatives: small for sigmoids", ylim=(-0.05, 1.4), xlim=(-6, 6))
ax.legend(loc="upper left", fontsize="small")
fig.savefig("activations_derivatives.png", dpi=120)
print(f"largest derivative of the sigmoid: {sigmoid_derivative(0.0)}, of ReLU: 1")
print(
    f"ten factors: at most {0.25**10:.1e} for sigmoids, 1 for ReLU; at the logit 2, {sigmoid_derivative(2.0) ** 10:.1e}"
)

# %%
# Softmax gives each class exp(logit), divided by the sum. The classes exclude each other: the probabilities sum to one.
# Differences of logits become ratios of probabilities: one more in the logit makes a class 2.7 times as probable.
z = np.array([2.0, 1.0, 0.1])
p = softmax(z)
print(f"softmax of {z.tolist()}: {p.round(3)}, sum {p.sum():.3f}")
print(f"ratio of the first two: {p[0] / p[1]:.3f} = exp(2 - 1)")

# %%
# A temperature divides the logits first. A high one makes classes more equal, a low one makes the largest win. The
# order of the classes stays. Calibration chooses the temperature with the lowest log loss on held-out rows.
temperatures = [0.5, 1, 2, 5]
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for number, (temperature, color) in enumerate(zip(temperatures, ["#023858", BLUE, "#74A9CF", "#D0D1E6"], strict=True)):
    heights = softmax(z, temperature=temperature)
    bars = ax.bar(np.arange(3) + 0.2 * (number - 1.5), heights, 0.19, color=color, label=f"T = {temperature:g}")
    ax.bar_label(bars, [f"{height:.2f}" for height in heights], fontsize="x-small", padding=1)
ax.set(
    xticks=range(3),
    xticklabels=[f"logit {logit:g}" for logit in z],
    ylabel="probability",
    title="Softmax: low temperatures make it sure, high ones equal",
    ylim=(0, 1),
)
ax.legend(title="temperature", frameon=False)
fig.savefig("activations_softmax.png", dpi=120)

# %%
# Two exclusive classes need one logit only: softmax of two logits is the sigmoid of their difference.
a, b = np.linspace(-3, 3, 7), np.linspace(2, -1, 7)
difference = np.abs(softmax(np.column_stack([a, b]))[:, 1] - sigmoid(b - a)).max()
print(f"softmax of two logits and the sigmoid of their difference differ by at most {difference:.1e}")
print("Pictures: activations_sigmoid.png, activations_derivatives.png, activations_softmax.png")
plt.show()
