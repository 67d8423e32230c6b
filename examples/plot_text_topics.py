"""
======================================================
What is this text about? Topics and tags from sparse X
======================================================

Python's standard library holds thousands of short English texts: the docstrings of its functions. This example reads
them from the source files. *Topics* exclude each other: a docstring belongs to one package, and softmax gives each
package a probability. *Tags* do not exclude each other: the code of a function may raise an error, have a loop and use
a file. Each tag has a sigmoid, which gives the tag's probability, given the docstring.

The features are words, and X is sparse. Some tags are unknown, as often happens where people tag texts by hand.
`SigmoidMultiLabel` takes NaN for "not known" and uses the other tags of the row.
"""

# %%
# Data: `ast` parses the source files and runs nothing. Each docstring is a text, and its package is the topic. The tags
# come from the arguments and from the code, which the models never see.
import ast
import sysconfig
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import KFold, train_test_split

from skactivation import SigmoidMultiLabel, SigmoidMultiLabelCV, SoftmaxRegression, SoftmaxRegressionCV
from skactivation.metrics import multilabel_log_loss

LIBRARY = Path(sysconfig.get_path("stdlib"))
PACKAGES = [
    *("asyncio", "datetime", "decimal", "email", "http", "importlib", "inspect", "ipaddress", "logging", "mailbox"),
    *("multiprocessing", "pathlib", "statistics", "tarfile", "unittest", "urllib", "xml", "zipfile"),
]
NAMES = {  # a tag, and the names that count as its signs
    "uses a file": {"open", "path", "file", "filename", "fp", "fileobj"},
    "uses a time": {"time", "timeout", "date", "datetime", "timedelta", "delay", "tzinfo"},
    "uses an encoding": {"encode", "decode", "encoding", "charset", "bytes", "bytearray"},
    "uses a network": {"socket", "sock", "host", "port", "addr", "url", "transport"},
}
TAGS = ["raises an error", "has a loop", "returns a value", "has default values", *NAMES]


def functions_of(package):
    """Syntax trees of the functions of a package, in an order that is the same everywhere."""
    patterns = [f"{prefix}{package}{end}" for prefix in ("", "_py") for end in (".py", "/**/*.py")]
    for path in sorted({path for pattern in patterns for path in LIBRARY.glob(pattern)}):
        if {"test", "tests"}.isdisjoint(path.relative_to(LIBRARY).parts):
            try:
                tree = ast.parse(path.read_bytes())
            except (OSError, SyntaxError, ValueError):
                continue  # a file that this Python cannot read
            yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def tags_of(function):
    """Which tags a function has, by its arguments and its code. The docstring holds no names."""
    nodes = list(ast.walk(function))
    names = {getattr(node, field, None) for node in nodes for field in ("id", "attr", "arg")} - {None}
    parts = {part for name in names for part in name.lower().split("_")}
    return [
        any(isinstance(node, ast.Raise) for node in nodes),
        any(isinstance(node, ast.For | ast.AsyncFor | ast.While) for node in nodes),
        any(isinstance(node, ast.Return) and node.value is not None for node in nodes),
        bool(function.args.defaults) or any(function.args.kw_defaults),
        *(not parts.isdisjoint(signs) for signs in NAMES.values()),
    ]


rows = {}
for package in PACKAGES:
    functions = {ast.get_docstring(function) or "": function for function in functions_of(package)}
    functions = {text: function for text, function in functions.items() if len(text.split()) >= 5 and text not in rows}
    if len(functions) >= 30:
        rows |= {text: (package, tags_of(function)) for text, function in functions.items()}
if not rows:
    raise SystemExit(f"This example needs the source files of the standard library, and {LIBRARY} does not hold them.")
texts = np.array(list(rows), dtype=object)
topics = np.array([topic for topic, _ in rows.values()])
tags = np.array([tag for _, tag in rows.values()], dtype=float)

# %%
# TF-IDF makes features of the words: a word counts more if few texts have it. Three tenths of the texts are held out.
# Both parts have functions of the same files, so that the results hold for new functions of these packages, not for
# any text.
train, test = train_test_split(np.arange(len(texts)), test_size=0.3, stratify=topics, random_state=0)
vectorizer = TfidfVectorizer(token_pattern=r"[a-z]{2,}", sublinear_tf=True, min_df=2)
X, X_test = vectorizer.fit_transform(texts[train]), vectorizer.transform(texts[test])
words = vectorizer.get_feature_names_out()
print(f"{len(texts):,} docstrings of {len(set(topics))} packages, {len(test):,} of them held out")
print(f"X of the fits: {X.shape[0]:,} rows, {X.shape[1]:,} words, {X.nnz / (X.shape[0] * X.shape[1]):.1%} not zero")

# %%
# Topics: cross-validation chooses the penalty by log loss. The chosen model is then fitted once more, to see how long
# that takes. `optimality_gap_` is a certificate: the objective is at most this fraction above its minimum. The first
# line of the table is for comparison: it uses no word, only how frequent each package is.
C = SoftmaxRegressionCV(Cs=[30, 100, 300, 1_000]).fit(X, topics[train]).C_
start = time.perf_counter()
softmax = SoftmaxRegression(C=C).fit(X, topics[train])
seconds = time.perf_counter() - start
frequencies = np.array([np.mean(topics[train] == topic) for topic in softmax.classes_])
print(f"\n{'topics of held-out docstrings':36}{'accuracy':>9}{'log loss':>10}")
for name, p in (
    ("no words, frequencies of packages", np.tile(frequencies, (len(test), 1))),
    (f"softmax of words, C = {C:g}", softmax.predict_proba(X_test)),
):
    accuracy = accuracy_score(topics[test], softmax.classes_[p.argmax(axis=1)])
    print(f"{name:36}{accuracy:9.3f}{log_loss(topics[test], p):10.3f}")
print(f"fit of {softmax.coef_.size:,} coefficients: {seconds:.2f} s, certified gap {softmax.optimality_gap_:.0e}")

# %%
# Tags: all sigmoids are fitted together. The table has the log loss of each tag on held-out docstrings, without words
# (from the frequency of the tag) and with them, and the words with the largest coefficients. The words lower the loss
# of every tag, of some much more than of others.
folds, Cs = KFold(5, shuffle=True, random_state=0), [1, 2, 4, 8]
C = SigmoidMultiLabelCV(Cs=Cs, cv=folds).fit(X, tags[train]).C_
start = time.perf_counter()
sigmoids = SigmoidMultiLabel(C=C).fit(X, tags[train])
seconds = time.perf_counter() - start
p_words = sigmoids.predict_proba(X_test)
p_frequencies = np.tile(tags[train].mean(axis=0), (len(test), 1))
print(f"\n{'tags of held-out docstrings':28}{'yes':>5}{'no words':>10}{'words':>8}   words that speak for the tag")
for tag, name in enumerate(TAGS):
    without, with_words = (multilabel_log_loss(tags[test][:, [tag]], p[:, [tag]]) for p in (p_frequencies, p_words))
    best = words[np.argsort(-sigmoids.coef_[tag])[:4]]
    print(f"{name:28}{tags[test, tag].mean():5.0%}{without:10.3f}{with_words:8.3f}   {', '.join(best)}")
without, with_words = (multilabel_log_loss(tags[test], p) for p in (p_frequencies, p_words))
print(f"{'mean':28}{tags[test].mean():5.0%}{without:10.3f}{with_words:8.3f}")
print(f"fit of {sigmoids.coef_.size:,} coefficients: {seconds:.2f} s, certified gap {sigmoids.optimality_gap_:.0e}")

# %%
# Unknown tags: some entries, drawn at random, become NaN. `SigmoidMultiLabel` fits each tag to all rows where that tag
# is known. Two other ways are common. One drops each row that has an unknown tag, and only the complete rows remain.
# The other takes NaN for "no", and the probabilities become too small. Cross-validation chooses a penalty for each way.
# The tags of the held-out docstrings are all known.
rng = np.random.default_rng(0)
print(f"\n{'log loss of all tags':24}{'complete rows':>14}{'NaN: not known':>16}{'rows dropped':>14}{'NaN: no':>10}")
print(f"{'all tags known':24}{len(train):14,}{with_words:16.3f}{with_words:14.3f}{with_words:10.3f}")
for share in (0.05, 0.1, 0.2):
    partly = np.where(rng.random(tags[train].shape) < share, np.nan, tags[train])
    complete = ~np.isnan(partly).any(axis=1)
    ways = ((X, partly), (X[complete], partly[complete]), (X, np.nan_to_num(partly)))
    answers = [SigmoidMultiLabelCV(Cs=Cs, cv=folds).fit(*way).predict_proba(X_test) for way in ways]
    losses = [multilabel_log_loss(tags[test], p) for p in answers]
    print(f"{f'{share:.0%} unknown':24}{complete.sum():14,}{losses[0]:16.3f}{losses[1]:14.3f}{losses[2]:10.3f}")
means = [p.mean() for p in answers]
print(f"{'mean probability at 20%':38}{means[0]:16.3f}{means[1]:14.3f}{means[2]:10.3f}")
print(f"{'frequency of yes':38}{tags[test].mean():16.3f}")

# %%
# The words that are most typical of eight packages: those with the largest coefficients. The coefficients of a word sum
# to zero over all packages, so that a large one tells the package from the others.
chosen = ("asyncio", "datetime", "email", "http", "logging", "unittest", "xml", "zipfile")
fig, axes = plt.subplots(2, 4, figsize=(12, 5.8), layout="constrained", sharex=True)
for topic, ax in zip(chosen, axes.flat, strict=True):
    if topic not in softmax.classes_:
        ax.set_axis_off()
        continue
    coefficients = softmax.coef_[np.flatnonzero(softmax.classes_ == topic)[0]]
    best = np.argsort(coefficients)[-7:]
    ax.barh(words[best], coefficients[best], color="#0072B2")
    ax.set_title(topic, fontweight="bold")
    ax.tick_params(axis="y", labelsize=11, length=0)
    ax.tick_params(axis="x", labelbottom=True)
    ax.locator_params(axis="x", nbins=3)
    ax.spines[["top", "right"]].set_visible(False)
fig.supxlabel("coefficient of the word in the logit of the package")
fig.suptitle("Words in a docstring that speak most for a package of the standard library", fontsize=14)
fig.savefig("text_topics_words.png", dpi=120)
print("\nPictures: text_topics_words.png")
plt.show()
