"""Data for the benchmarks: small classic data sets, and simulations of the shapes that users meet."""

import numpy as np
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine, make_classification
from sklearn.preprocessing import StandardScaler

__all__ = ["MULTILABEL_WORKLOADS", "WORKLOADS", "classification", "labelled"]


def classification(n, d, n_classes, dtype=np.float64, seed=0):
    """Classes with some overlap in d features, two thirds of them informative."""
    X, y = make_classification(
        n,
        d,
        n_informative=max(2, 2 * d // 3),
        n_redundant=0,
        n_classes=n_classes,
        n_clusters_per_class=1,
        flip_y=0.05,
        random_state=seed,
    )
    return X.astype(dtype), y


def draw_labels(logits, rng):
    """Labels that follow softmax(logits), by the Gumbel trick."""
    return np.argmax(logits + rng.gumbel(size=logits.shape), axis=-1)


def digits_scaled():
    """Digits with columns of mean 0 and variance 1."""
    X, y = load_digits(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def glass():
    """A few measurements of 214 rows on scales of their own, 6 classes; like the glass data of the UCI repository."""
    rng = np.random.default_rng(8)
    y = rng.choice(6, size=214, p=[0.33, 0.36, 0.08, 0.06, 0.04, 0.13])
    X = 10.0 ** rng.integers(-2, 3, size=9) * (rng.normal(size=(214, 9)) + rng.normal(size=(6, 9))[y])
    return X + 5 * rng.normal(size=9), y


def vehicles():
    """18 correlated measurements of 846 rows, 4 classes; like the vehicle silhouettes of the UCI repository."""
    rng = np.random.default_rng(9)
    y = rng.integers(4, size=846)
    factors = rng.normal(size=(846, 6)) + rng.normal(size=(4, 6))[y]
    return factors @ rng.normal(size=(6, 18)) * 10.0 ** rng.uniform(0, 2, 18) + 0.5 * rng.normal(size=(846, 18)) + 50, y


def splices():
    """180 binary columns, three for each of 60 places, and 3 classes; like splice junctions of DNA."""
    rng = np.random.default_rng(10)
    y = rng.choice(3, size=3_186, p=[0.24, 0.24, 0.52])
    bases = draw_labels(rng.normal(size=(3, 60, 4))[y] * np.exp(-np.abs(np.arange(60) - 30) / 10)[:, np.newaxis], rng)
    return (bases[:, :, np.newaxis] == np.arange(3)).reshape(3_186, 180).astype(float), y


def letters():
    """Correlated columns on scales from 0.001 to 1,000, and 26 classes."""
    rng = np.random.default_rng(1)
    mixing = np.eye(16) + 0.6 * rng.normal(size=(16, 16))
    Z = rng.normal(size=(20_000, 16)) @ mixing
    y = draw_labels(Z @ rng.normal(size=(16, 26)) * 0.7 + rng.normal(size=26), rng)
    return Z * 10.0 ** rng.uniform(-3, 3, size=16) + rng.normal(size=16), y


def satellite():
    """36 columns around nine factors: the smallest singular values are thousands of times below the largest."""
    rng = np.random.default_rng(2)
    factors = rng.normal(size=(6_000, 9))
    X = 60 + 15 * (factors @ rng.normal(size=(9, 36))) + 0.5 * rng.normal(size=(6_000, 36))
    return X, draw_labels(1.5 * factors @ rng.normal(size=(9, 6)), rng)


def shuttle():
    """Seven classes, three of them with a few rows among 58,000."""
    rng = np.random.default_rng(3)
    y = rng.choice(7, size=58_000, p=[0.786, 0.1536, 0.057, 0.003, 0.0002, 0.0001, 0.0001])
    y[:28] = np.repeat(np.arange(7), 4)
    X = rng.normal(size=(58_000, 9)) + 1.5 * rng.normal(size=(7, 9))[y]
    return np.round(X * np.array([12, 80, 8, 40, 10, 200, 10, 25, 22]) + 50), y


def genes():
    """Many more columns than rows."""
    rng = np.random.default_rng(4)
    y = rng.integers(3, size=500)
    signal = np.zeros((3, 3_000))
    signal[:, :60] = rng.normal(size=(3, 60))
    return rng.normal(size=(500, 3_000)) + signal[y], y


def embeddings(n, d, n_classes):
    """float32 embeddings with a decaying spectrum, for a linear probe."""
    rng = np.random.default_rng(5)
    y = rng.integers(n_classes, size=n)
    spectrum = 1 / np.sqrt(1 + np.arange(d) / 20)
    X = (rng.normal(size=(n, d)) + 0.16 * rng.normal(size=(n_classes, d))[y]) * spectrum
    return X.astype(np.float32), y


def tf_idf(counts):
    """Rows of unit length from counts of words."""
    n, d = counts.shape
    counts.sum_duplicates()
    frequency = np.bincount(counts.indices, minlength=d)
    counts.data = (1 + np.log(counts.data)) * (1 + np.log((1 + n) / (1 + frequency)))[counts.indices]
    norms = np.sqrt(counts.multiply(counts).sum(axis=1))
    return sparse.csr_array(counts.multiply(1 / norms[:, np.newaxis]))


def documents():
    """Rows of unit length like TF-IDF: words follow Zipf's law, each topic prefers its own words."""
    rng = np.random.default_rng(6)
    n, d, n_classes, length = 20_000, 50_000, 20, 60
    popularity = 1 / (10 + np.arange(d)) ** 1.05
    y = rng.integers(n_classes, size=n)
    cumulative = np.cumsum(popularity) / popularity.sum()
    words = np.searchsorted(cumulative, rng.random((n, length)))
    # A fifth of the words come from the vocabulary of the topic.
    own = rng.random((n, length)) < 0.2
    words = np.where(own, (words * n_classes + y[:, np.newaxis]) % d, words)
    counts = sparse.csr_array((np.ones(words.size), words.ravel(), np.arange(0, words.size + 1, length)), shape=(n, d))
    return tf_idf(counts), y


WORKLOADS = {
    "digits": lambda: load_digits(return_X_y=True),
    "digits, scaled": digits_scaled,
    "iris": lambda: load_iris(return_X_y=True),
    "wine": lambda: load_wine(return_X_y=True),
    "breast_cancer": lambda: load_breast_cancer(return_X_y=True),
    "214 x 9, K=6, raw": glass,
    "846 x 18, K=4, raw, collinear": vehicles,
    "3,186 x 180, K=3, binary columns": splices,
    "20,000 x 100, K=10": lambda: classification(20_000, 100, 10),
    "200,000 x 50, K=2": lambda: classification(200_000, 50, 2),
    "20,000 x 16, K=26, correlated, scales": letters,
    "6,000 x 36, K=6, collinear": satellite,
    "58,000 x 9, K=7, rare classes": shuttle,
    "500 x 3,000, K=3": genes,
    "10,000 x 256, K=50, float32": lambda: embeddings(10_000, 256, 50),
    "20,000 x 512, K=100, float32": lambda: embeddings(20_000, 512, 100),
    "20,000 x 50,000, K=20, sparse": documents,
}


def labels_of(Z, n_labels, rng, *, rate=0.2, strength=1.5):
    """Labels that follow sigmoids of Z (n, d). A label is 1 in about `rate` of the rows, times a random factor."""
    signal = rng.normal(size=(Z.shape[1], n_labels)) * strength / np.sqrt(Z.shape[1])
    shares = np.clip(rate * np.exp(0.7 * rng.normal(size=n_labels)), 0.005, 0.9)
    logits = np.asarray(Z @ signal)
    # With this intercept a label has about its share; the factor allows for the spread of the logits.
    spread = np.sqrt(1 + np.var(logits, axis=0) / 3)
    return (rng.random(logits.shape) < 1 / (1 + np.exp(-logits - np.log(shares / (1 - shares)) * spread))).astype(
        np.int8
    )


def labelled(n, d, n_labels, *, rate=0.2, scales=0.0, dtype=np.float64, seed=0):
    """Correlated columns, and labels. `scales` is the largest power of ten between columns and unit scale."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(n, d)) @ (np.eye(d) + 0.5 * rng.normal(size=(d, d)) / np.sqrt(d))
    Y = labels_of(Z, n_labels, rng, rate=rate)
    return (Z * 10.0 ** rng.uniform(-scales, scales, size=d)).astype(dtype), Y


def digit_pairs():
    """Raw pixels of two digits side by side; a label for each of the ten digits says whether it is there."""
    digits, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    left, right = rng.integers(len(y), size=(2, 5_000))
    Y = np.zeros((5_000, 10), dtype=np.int8)
    Y[np.arange(5_000), y[left]] = Y[np.arange(5_000), y[right]] = 1
    return np.hstack([digits[left], digits[right]]), Y


def tagged_documents(n, d, n_labels, sparse_labels=False):
    """Documents as in `documents`, with tags; each tag has its own words, which its documents use more often."""
    rng = np.random.default_rng(7)
    length = 60
    popularity = 1 / (10 + np.arange(d)) ** 1.05
    cumulative = np.cumsum(popularity) / popularity.sum()
    words = np.searchsorted(cumulative, rng.random((n, length)))
    shares = np.clip(0.3 / (1 + np.arange(n_labels)) ** 0.6, 10 / n, None)
    Y = (rng.random((n, n_labels)) < shares).astype(np.int8)
    # If a document has tags, a third of its words belong to one of them.
    chosen = np.argmax(Y * rng.random(Y.shape), axis=1)
    own = (rng.random((n, length)) < 1 / 3) & Y.any(axis=1)[:, np.newaxis]
    words = np.where(own, (words * n_labels + chosen[:, np.newaxis]) % d, words)
    counts = sparse.csr_array((np.ones(words.size), words.ravel(), np.arange(0, words.size + 1, length)), shape=(n, d))
    return tf_idf(counts), sparse.csr_array(Y) if sparse_labels else Y


MULTILABEL_WORKLOADS = {
    "pairs of digits, 5,000 x 128, L=10": digit_pairs,
    "2,000 x 40, L=5": lambda: labelled(2_000, 40, 5),
    "20,000 x 60, L=5, scales": lambda: labelled(20_000, 60, 5, scales=2),
    "100,000 x 50, L=5": lambda: labelled(100_000, 50, 5),
    "2,400 x 100, L=20": lambda: labelled(2_400, 100, 20),
    "20,000 x 100, L=20, float32": lambda: labelled(20_000, 100, 20, dtype=np.float32),
    "100,000 x 50, L=20, scales": lambda: labelled(100_000, 50, 20, scales=2),
    "10,000 x 50, L=100": lambda: labelled(10_000, 50, 100, rate=0.05),
    "100,000 x 30, L=100": lambda: labelled(100_000, 30, 100, rate=0.05),
    "5,000 x 20, L=1,000": lambda: labelled(5_000, 20, 1_000, rate=0.05),
    "10,000 x 100, L=1,000": lambda: labelled(10_000, 100, 1_000, rate=0.05),
    "20,000 x 10,000, L=20, sparse": lambda: tagged_documents(20_000, 10_000, 20),
    "20,000 x 10,000, L=100, sparse": lambda: tagged_documents(20_000, 10_000, 100),
    "10,000 x 5,000, L=1,000, sparse": lambda: tagged_documents(10_000, 5_000, 1_000),
}
