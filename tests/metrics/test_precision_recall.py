"""Precision and recall with unknown labels, beside scikit-learn's on the rows where a label is known."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.metrics import precision_recall_fscore_support

from skactivation.metrics import multilabel_precision_recall

RNG = np.random.default_rng(0)
TRUTH = RNG.integers(2, size=(200, 4)).astype(float)
UNKNOWN = np.where(RNG.random((200, 4)) < 0.3, np.nan, TRUTH)
CHOSEN = np.where(RNG.random((200, 4)) < 0.7, TRUTH, 1 - TRUTH).astype(int)


@pytest.mark.parametrize(
    "weights", [None, RNG.random(200), RNG.random((200, 4)) * 1e300], ids=["none", "rows", "entries"]
)
@pytest.mark.parametrize("truth", [TRUTH, UNKNOWN], ids=["known", "unknown"])
def test_each_label_is_judged_on_the_rows_where_it_is_known(truth, weights):
    ours = multilabel_precision_recall(truth, CHOSEN, sample_weight=weights)
    for label in range(4):
        known = ~np.isnan(truth[:, label])
        of_label = None if weights is None else weights.reshape(200, -1)[known][:, label if weights.ndim == 2 else 0]
        scaled = None if of_label is None else of_label / of_label.max()
        theirs = precision_recall_fscore_support(
            truth[known, label], CHOSEN[known, label], average="binary", sample_weight=scaled
        )
        assert_allclose([ours.precision[label], ours.recall[label], ours.f1[label]], theirs[:3], rtol=1e-12)
        counted = np.ones(known.sum()) if of_label is None else of_label
        assert_allclose(ours.support[label], counted[truth[known, label] == 1].sum(), rtol=1e-12)


def test_sparse_arrays_and_data_frames():
    expected = multilabel_precision_recall(TRUTH, CHOSEN)
    assert_allclose(multilabel_precision_recall(sparse.csr_array(TRUTH), sparse.csr_array(CHOSEN)), expected)
    frames = (pd.DataFrame(each, columns=list("abcd")) for each in (TRUTH, CHOSEN))
    assert_allclose(multilabel_precision_recall(*frames), expected)


def test_what_is_not_defined_is_nan():
    result = multilabel_precision_recall([[0, 1, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 0]])
    assert_allclose(result.precision, [0, np.nan, np.nan])
    assert_allclose(result.recall, [np.nan, 0, np.nan])
    assert_allclose(result.f1, [0, 0, np.nan])


@pytest.mark.parametrize(
    ("truth", "chosen", "message"),
    [
        (TRUTH, CHOSEN[:100], "the same shape"),
        (TRUTH * 0.5, CHOSEN, "soft labels; use multilabel_log_loss"),
        (TRUTH, CHOSEN * 0.3, "compare probabilities with thresholds first"),
        (TRUTH, UNKNOWN, "must hold only 0 and 1"),
        (pd.DataFrame(TRUTH, columns=list("abcd")), pd.DataFrame(CHOSEN, columns=list("abdc")), "the same order"),
    ],
)
def test_errors(truth, chosen, message):
    with pytest.raises(ValueError, match=message):
        multilabel_precision_recall(truth, chosen)
