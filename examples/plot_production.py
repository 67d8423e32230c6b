"""
=====================================================
From logits to a service: a temperature in production
=====================================================

A network gives ten logits for each picture, and they are saved as float16. Most of its answers are right, but it is
overconfident. This example goes the whole way to better probabilities. The logits of held-out pictures give a
*temperature* T, which divides all logits. T is stored as JSON and as an ONNX graph. A service in another process reads
the JSON and answers without skactivation. All ways should give the same probabilities, and we count the digits. At the
end, somebody fits T to probabilities instead of logits, and we see what that costs.
"""

# %%
# The network is scikit-learn's `MLPClassifier`, fitted to 300 noisy pictures of digits with almost no penalty. It
# learns them by heart, so that it is overconfident. The other pictures are new to it. `MLPClassifier` returns
# probabilities only: we compute its logits from its weights.
import json
import subprocess
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from skactivation import TemperatureFit, fit_temperature
from skactivation.activations import softmax
from skactivation.displays import ReliabilityDisplay
from skactivation.losses import softmax_cross_entropy
from skactivation.metrics import expected_calibration_error

X, y = load_digits(return_X_y=True)
X = (X + np.random.default_rng(0).normal(scale=5.0, size=X.shape)) / 16
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=300, stratify=y, random_state=0)
network = MLPClassifier(30, solver="lbfgs", alpha=0.01, max_iter=3000, random_state=0).fit(X_train, y_train)
print(f"accuracy of the network on its training pictures: {network.score(X_train, y_train):.3f}")


def logits_of(pictures):
    hidden = np.maximum(pictures @ network.coefs_[0] + network.intercepts_[0], 0)
    return hidden @ network.coefs_[1] + network.intercepts_[1]


# %%
# What production writes: a file of logits in float16, two bytes for each number.
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
exact = logits_of(X_rest)
np.save(folder / "logits.npy", exact.astype(np.float16))
size = (folder / "logits.npy").stat().st_size
print(f"logits.npy: {len(exact):,} rows of {exact.shape[1]} logits, {size:,} bytes")

# %%
# Calibration: half of the rows are for T. The other half is the test and calibrates nothing. `fit_temperature` takes
# float16 as it is, and T is almost that of the logits before they were rounded. T does not change which logit is the
# largest, so it changes no answer. The log loss is computed from logits: a probability that has been rounded to 0 has
# no useful logarithm.
logits = np.load(folder / "logits.npy")
held_out, test = slice(0, len(logits) // 2), slice(len(logits) // 2, None)
fit = fit_temperature(logits[held_out], y_rest[held_out])
T_exact = fit_temperature(exact[held_out], y_rest[held_out]).temperature
before, after = softmax(logits[test]), fit.predict_proba(logits[test])
print(f"T = {fit.temperature:.4f} from logits of {logits.dtype}, {T_exact:.4f} from those of {exact.dtype}")
print(f"\n{'test rows':12}{'log loss':>10}{'ECE':>8}{'mean confidence':>17}{'accuracy':>10}")
for name, z, p in (("before", logits[test], before), ("after", fit.transform(logits[test]), after)):
    loss = softmax_cross_entropy(z, y_rest[test])
    error = expected_calibration_error(y_rest[test], p, n_bins=5)
    accuracy = np.mean(p.argmax(axis=1) == y_rest[test])
    print(f"{name:12}{loss:10.3f}{error:8.3f}{p.max(axis=1).mean():17.3f}{accuracy:10.3f}")

# %%
# Storing: the JSON text holds T and how good the fit was. It does not hold the names of the classes: the reader has to
# know the order of the columns, here 0 to 9. The ONNX graph goes from logits to calibrated probabilities. It needs the
# packages skl2onnx and onnx here, and onnxruntime where it runs.
(folder / "temperature.json").write_text(fit.to_json(), encoding="utf-8")
print("\ntemperature.json:")
print(json.dumps(json.loads(fit.to_json()), indent=2))
try:
    import onnxruntime

    from skactivation.onnx import temperature_to_onnx
except ImportError as missing:
    has_onnx = False
    print(f"No ONNX graph, because a package is missing: {missing}")
else:
    has_onnx = True
    for dtype in ("float32", "float64"):
        graph = temperature_to_onnx(fit, logits.shape[1], dtype=dtype).SerializeToString()
        (folder / f"{dtype}.onnx").write_bytes(graph)
        print(f"{dtype}.onnx: {len(graph)} bytes")

# %%
# Serving: this program knows the JSON text, NumPy and the formula softmax(z / T). It subtracts the largest logit first,
# so that nothing overflows. `float` also reads "inf": that is how JSON holds an infinite T.
SERVICE = """
import json
import sys

import numpy as np

with open("temperature.json", encoding="utf-8") as file:
    temperature = float(json.load(file)["temperature"])
z = np.load("logits.npy").astype(sys.argv[1]) / temperature
p = np.exp(z - z.max(axis=1, keepdims=True))
np.save("answers.npy", p / p.sum(axis=1, keepdims=True))
print("with" if "skactivation" in sys.modules else "without", "skactivation")
"""
(folder / "service.py").write_text(SERVICE, encoding="utf-8")


def served(dtype):
    """Probabilities from another process, and what it prints."""
    command = [sys.executable, "service.py", dtype]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return np.load(folder / "answers.npy"), ran.stdout.strip()


# %%
# Three ways to the probabilities of all rows: a `TemperatureFit` that was read from the JSON, the service, the graph. A
# graph takes float32 or float64; float16 numbers turn into either without rounding. The table shows the largest
# difference from `fit.predict_proba`: 0 or a few roundings. The rounding of the logits to float16 costs much more.
print(f"\n{'largest difference of a probability':40}{'float32':>10}{'float64':>10}")
restored = TemperatureFit.from_json((folder / "temperature.json").read_text(encoding="utf-8"))
differences = {"TemperatureFit from the JSON": [], "NumPy and the JSON in another process": [], "ONNX graph": []}
same_answers = True
for dtype in ("float32", "float64"):
    z = logits.astype(dtype)
    from_service, remark = served(dtype)
    ways = [restored.predict_proba(z), from_service]
    if has_onnx:
        session = onnxruntime.InferenceSession(str(folder / f"{dtype}.onnx"), providers=["CPUExecutionProvider"])
        ways += session.run(None, {"logits": z})
    for found, p in zip(differences.values(), ways, strict=False):
        found.append(np.abs(p - fit.predict_proba(z)).max())
        same_answers &= np.array_equal(p.argmax(axis=1), logits.argmax(axis=1))
temporary.cleanup()
for way, found in differences.items():
    print(f"{way:40}" + ("".join(f"{difference:10.0e}" for difference in found) or f"{'not tried':>20}"))
rounding = np.abs(fit.predict_proba(exact) - fit.predict_proba(logits)).max()
print(f"{'logits that were not rounded to float16':40}{rounding:20.0e}")
print(f"same answers everywhere: {same_answers}; the other process ran {remark}")
agreement = [max(found[column] for found in differences.values() if found) for column in (0, 1)]
digits = [int(-np.log10(2 * max(difference, 1e-17))) for difference in agreement]
print(f"all ways agree to {digits[0]} decimals in float32 and to {digits[1]} in float64")

# %%
# What goes wrong: many networks end with a softmax, and somebody passes its output to `fit_temperature`. A warning says
# so. That T is wrong for logits: their log loss becomes worse than without T. Where only probabilities are left, fit T
# to their logarithms, and divide logarithms in the service, too.
probabilities = softmax(logits)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    wrong = fit_temperature(probabilities[held_out], y_rest[held_out])
print("\n" + textwrap.fill(f"{caught[0].category.__name__}: {caught[0].message}", 110))
logarithms = np.log(np.maximum(probabilities, np.finfo(probabilities.dtype).eps))
mended = fit_temperature(logarithms[held_out], y_rest[held_out])
print(f"\n{'T is fitted to':16}{'and divides':16}{'T':>6}{'log loss of test rows':>24}")
for fitted_to, divided, T, z in (
    ("nothing", "logits", 1.0, logits),
    ("probabilities", "logits", wrong.temperature, logits),
    ("probabilities", "probabilities", wrong.temperature, probabilities),
    ("logarithms", "logarithms", mended.temperature, logarithms),
    ("logits", "logits", fit.temperature, logits),
):
    loss = softmax_cross_entropy(z[test].astype(float) / T, y_rest[test])
    print(f"{fitted_to:16}{divided:16}{T:6.2f}{loss:24.3f}")

# %%
# How often is the network right when it says that it is 90 % sure? Points below the diagonal are overconfident. All
# points of "before" are below it, and those of "after" are near it. Vertical lines are intervals of 95 %. The bars
# below count the rows of each point.
fig, ax = plt.subplots(figsize=(6.4, 6), layout="constrained")
for name, p, color in (("before", before, "#D55E00"), ("after", after, "#0072B2")):
    ReliabilityDisplay.from_predictions(y_rest[test], p, n_bins=5, name=name, ax=ax, color=color)
ax.set_title(f"{len(before)} test rows before and after the division by T = {fit.temperature:.2f}")
ax.legend(loc="upper left", frameon=False)
fig.savefig("production_reliability.png", dpi=120)
print("\nPictures: production_reliability.png")
plt.show()
