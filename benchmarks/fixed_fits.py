"""A fixed set of fits of all kinds: save their results before a change, compare them bit by bit after it.

    python benchmarks/fixed_fits.py save before.pickle
    python benchmarks/fixed_fits.py compare before.pickle

The script uses only public names, so that it can compare two versions of the package. `compare` prints a line for each
fit: whether all numbers are the same bits, the largest difference of the coefficients relative to the largest
coefficient, and the numbers of evaluations before and after.
"""

import argparse
import pickle
import warnings
from pathlib import Path

import numpy as np
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.frozen import FrozenEstimator
from sklearn.naive_bayes import GaussianNB
from sklearn.preprocessing import StandardScaler

from skactivation import SigmoidMultiLabel, SoftmaxRegression, TemperatureCalibrator, fit_temperature
from skactivation.activations import softmax
from workloads import classification, labelled


def softmax_fits():
    """SoftmaxRegression: each kind of preconditioner, data and target."""
    rng = np.random.default_rng(0)
    iris, wine, cancer, digits = (
        load(return_X_y=True) for load in (load_iris, load_wine, load_breast_cancer, load_digits)
    )
    scaled = StandardScaler().fit_transform(digits[0])
    weights = rng.integers(0, 4, digits[1].size).astype(float)
    words = sparse.random_array((3_000, 20_000), density=0.002, rng=rng, format="csr")
    topics = np.asarray(words[:, :3].sum(axis=1)).ravel() > 0
    topics = topics + (rng.random(3_000) < 0.3)
    narrow, wide = sparse.csr_array(np.where(scaled > 1, scaled, 0)), rng.normal(size=(60, 500))
    correlated = rng.normal(size=(2_000, 5)) @ rng.normal(size=(5, 20)) + 0.01 * rng.normal(size=(2_000, 20))
    classes = np.argmax(correlated[:, :4] + rng.gumbel(size=(2_000, 4)), axis=1)
    teacher = softmax(scaled @ rng.normal(size=(64, 10)) / 4)
    rows, large = classification(60_000, 10, 4), classification(20_000, 60, 8)
    many, long = classification(6_000, 150, 40), classification(40_000, 100, 10)
    for name, data in {"iris": iris, "wine": wine, "breast_cancer": cancer, "digits": digits}.items():
        for C in (0.01, 1.0, 100.0):
            yield f"{name}, C={C:g}", SoftmaxRegression(C=C), data
    yield "iris, C=inf", SoftmaxRegression(C=np.inf), iris
    yield "iris, two classes, C=inf", SoftmaxRegression(C=np.inf), (iris[0][50:], iris[1][50:])
    yield "iris, separable, C=inf", SoftmaxRegression(C=np.inf), (iris[0][:100], iris[1][:100])
    yield "iris + 1e8", SoftmaxRegression(), (iris[0] + 1e8, iris[1])
    yield "iris * 1e200", SoftmaxRegression(), (iris[0] * 1e200, iris[1])
    yield "iris, tol=1e-12", SoftmaxRegression(tol=1e-12), iris
    yield "iris, max_iter=3", SoftmaxRegression(max_iter=3), iris
    yield "iris, smoothing", SoftmaxRegression(label_smoothing=0.1), iris
    yield "wine, no intercept", SoftmaxRegression(fit_intercept=False), wine
    yield "wine, float32", SoftmaxRegression(), (wine[0].astype(np.float32), wine[1])
    yield "digits, scaled", SoftmaxRegression(), (scaled, digits[1])
    yield "digits, scaled, tol=1e-10", SoftmaxRegression(tol=1e-10), (scaled, digits[1])
    yield "digits, weights", SoftmaxRegression(), (*digits, weights)
    yield "digits, weights 1e-300", SoftmaxRegression(), (*digits, weights * 1e-300)
    yield "digits, balanced", SoftmaxRegression(class_weight="balanced"), digits
    yield "digits, soft", SoftmaxRegression(), (scaled, teacher)
    yield "digits, soft, two", SoftmaxRegression(), (scaled, np.column_stack([teacher[:, 0], 1 - teacher[:, 0]]))
    yield "digits, CSR", SoftmaxRegression(), (narrow, digits[1])
    yield "digits, CSC", SoftmaxRegression(), (narrow.tocsc(), digits[1])
    yield "digits, two classes, CSR", SoftmaxRegression(C=np.inf), (narrow[:, 10:20], digits[1] < 5)
    yield "60 x 500", SoftmaxRegression(), (wide, np.arange(60) % 3)
    yield "60 x 500, weights", SoftmaxRegression(), (wide, np.arange(60) % 2, np.arange(60) % 4 + 0.5)
    yield "correlated", SoftmaxRegression(), (correlated, classes)
    yield "correlated, C=1e6", SoftmaxRegression(C=1e6), (correlated, classes)
    yield "3,000 x 20,000, sparse", SoftmaxRegression(), (words, topics.astype(int))
    yield "60,000 x 10, K=4", SoftmaxRegression(), rows
    yield "60,000 x 10, K=4, weights", SoftmaxRegression(), (*rows, rng.random(60_000))
    yield "60,000 x 10, two classes", SoftmaxRegression(), (rows[0], rows[1] % 2)
    yield "20,000 x 60, K=8", SoftmaxRegression(), large
    yield "20,000 x 60, K=8, float32", SoftmaxRegression(), (large[0].astype(np.float32), large[1])
    yield "6,000 x 150, K=40", SoftmaxRegression(), many
    yield "6,000 x 150, K=40, float32", SoftmaxRegression(), (many[0].astype(np.float32), many[1])
    yield "40,000 x 100, K=10", SoftmaxRegression(), long


def label_fits():
    """SigmoidMultiLabel: a few labels and many, unknown and soft ones, weights, sparse data."""
    rng = np.random.default_rng(1)
    X, Y = labelled(2_000, 40, 5)
    unknown = np.where(rng.random(Y.shape) < 0.2, np.nan, Y)
    constant = Y.copy()
    constant[:, 2] = 0
    thin = sparse.csr_array(np.where(np.abs(X) > 1, X, 0))
    iris = load_iris(return_X_y=True)
    yield "2,000 x 40, L=5", SigmoidMultiLabel(), (X, Y)
    yield "2,000 x 40, L=5, C=inf", SigmoidMultiLabel(C=np.inf), (X, Y)
    yield "2,000 x 40, L=5, float32", SigmoidMultiLabel(), (X.astype(np.float32), Y)
    yield "unknown labels", SigmoidMultiLabel(), (X, unknown)
    yield "soft labels", SigmoidMultiLabel(), (X, 0.1 + 0.8 * Y)
    yield "smoothing", SigmoidMultiLabel(label_smoothing=0.1), (X, Y)
    yield "pos_weight", SigmoidMultiLabel(pos_weight="balanced"), (X, unknown)
    yield "weights of rows", SigmoidMultiLabel(), (X, Y, rng.integers(0, 3, 2_000).astype(float))
    yield "weights of entries", SigmoidMultiLabel(), (X, Y, rng.random(Y.shape) * [1, 1e3, 1e-3, 1, 1])
    yield "constant label", SigmoidMultiLabel(), (X, constant)
    yield "sparse X", SigmoidMultiLabel(), (thin, Y)
    yield "sparse Y", SigmoidMultiLabel(), (X, sparse.csr_array(Y))
    yield "no intercept", SigmoidMultiLabel(fit_intercept=False), (X, Y)
    yield "two classes", SigmoidMultiLabel(), (iris[0][50:], iris[1][50:])
    yield "three classes", SigmoidMultiLabel(), iris
    yield "10,000 x 50, L=100", SigmoidMultiLabel(), labelled(10_000, 50, 100, rate=0.05)
    yield "20,000 x 60, L=5, scales", SigmoidMultiLabel(), labelled(20_000, 60, 5, scales=2)
    yield "60,000 x 30, L=20", SigmoidMultiLabel(), labelled(60_000, 30, 20)
    yield "20,000 x 100, L=20, float32", SigmoidMultiLabel(), labelled(20_000, 100, 20, dtype=np.float32)


def temperature_fits():
    """Keyword arguments of fit_temperature."""
    rng = np.random.default_rng(2)
    y = rng.integers(5, size=2_000)
    logits = 3 * (rng.normal(size=(2_000, 5)) + 2 * np.eye(5)[y])
    weights = rng.integers(0, 4, 2_000)
    infinite = logits.copy()
    infinite[np.arange(2_000), (y + 1) % 5] = -np.inf
    labels = (logits + 4 * rng.normal(size=logits.shape) > 2).astype(float)
    rows = rng.integers(10, size=200_000)
    yield "temperature", {"logits": logits, "y": y}
    yield "temperature, weights", {"logits": logits, "y": y, "sample_weight": weights}
    yield "temperature, float32", {"logits": logits.astype(np.float32), "y": y}
    yield "temperature, * 1e200", {"logits": logits * 1e200, "y": y}
    yield "temperature, -inf", {"logits": infinite, "y": y}
    yield "temperature, soft", {"logits": logits, "y": softmax(logits, temperature=2.5)}
    yield "temperature, two classes", {"logits": logits[:, 0] - 3, "y": y == 0}
    yield "temperature, labels", {"logits": logits, "y": labels, "multilabel": True}
    yield "temperature, separable", {"logits": 10 * np.eye(5)[y] + 0.1 * logits, "y": y}
    yield "temperature, 200,000 x 10", {"logits": 2 * rng.normal(size=(200_000, 10)) + 5 * np.eye(10)[rows], "y": rows}


def calibrator_fits():
    """TemperatureCalibrator: each scaling, frozen classifiers, ensembles, several labels."""
    X, y = load_digits(return_X_y=True)
    labels = np.column_stack([y % 2, y > 4, y < 3]).astype(int)
    frozen = FrozenEstimator(GaussianNB().fit(X[:900], y[:900]))
    logits = GaussianNB().fit(X[:900], y[:900]).predict_joint_log_proba(X[900:])
    for scaling in ("temperature", "bias_corrected", "vector"):
        yield f"GaussianNB, {scaling}", TemperatureCalibrator(GaussianNB(), scaling=scaling), (X, y)
        yield f"GaussianNB, two classes, {scaling}", TemperatureCalibrator(GaussianNB(), scaling=scaling), (X, y < 5)
    yield "frozen", TemperatureCalibrator(frozen), (X[900:], y[900:])
    yield "ensemble", TemperatureCalibrator(GaussianNB(), ensemble=True), (X, y)
    yield "logits", TemperatureCalibrator("logits"), (logits, y[900:])
    yield "labels, bias_corrected", TemperatureCalibrator(SigmoidMultiLabel(), scaling="bias_corrected"), (X, labels)


def results():
    """Results of each fit, by name."""
    found = {}
    for fits in (softmax_fits(), label_fits()):
        for name, model, data in fits:
            model.fit(*data)
            found[name] = {
                "coef": model.coef_,
                "intercept": model.intercept_,
                "loss": model.loss_,
                "gap": model.optimality_gap_,
                "iterations": int(np.max(model.n_iter_)),
                "evaluations": model.n_evaluations_,
                "passes": model.n_passes_,
            }
    for name, arguments in temperature_fits():
        fit = fit_temperature(**arguments)
        found[name] = {
            "coef": fit.temperature,
            "loss": fit.loss_after,
            "gap": fit.optimality_gap,
            "passes": fit.n_passes,
        }
    for name, model, data in calibrator_fits():
        model.fit(*data)
        found[name] = {"coef": model.slope_, "intercept": model.bias_, "loss": model.loss_after_}
        found[name]["gap"] = model.optimality_gap_
    return found


def compare(before, after):
    """Print a line for each fit; return how many differ."""
    n_different = 0
    for name, old in before.items():
        new = after[name]
        different = [key for key in old if not np.array_equal(old[key], new[key])]
        n_different += bool(different)
        size = np.max(np.abs(old["coef"]))
        moved = np.max(np.abs(np.asarray(new["coef"]) - old["coef"])) / size
        evaluations = (
            f"{old.get('evaluations', '')} -> {new.get('evaluations', '')}" if "evaluations" in different else ""
        )
        words = f"coefficients {moved:.0e}, gap {np.max(old['gap']):.0e} -> {np.max(new['gap']):.0e} {evaluations}"
        print(f"{name:32s} {'same bits' if not different else words + ' ' + ' '.join(different)}")
    print(f"{len(before)} fits, {n_different} of them different")
    return n_different


def main():
    """Save the results, or compare them with saved results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["save", "compare"])
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.action == "save":
        arguments.file.write_bytes(pickle.dumps(results()))
    else:
        compare(pickle.loads(arguments.file.read_bytes()), results())


if __name__ == "__main__":
    main()
