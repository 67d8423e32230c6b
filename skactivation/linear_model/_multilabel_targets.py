"""Special cases of multilabel targets: exclusive classes as an indicator, and labels that are constant."""

from typing import Any

import numpy as np

from skactivation._data.indicators import Indicator
from skactivation._data.labels import encode_labels
from skactivation._messages import listed
from skactivation._typing import Array
from skactivation._validation import check_two_classes


def indicator_of_classes(y: Any, estimator: str) -> tuple[Indicator, Array, list[str]]:
    """Return exclusive classes y (n,) as an indicator with one column per sigmoid, the sorted classes, and messages."""
    try:
        codes, classes = encode_labels(y, None)
    except ValueError as error:
        hint = "for unknown or soft values of a single label pass a column: y.reshape(-1, 1), or frame[['name']]"
        raise ValueError(f"{error} ({hint})") from error
    check_two_classes(classes, estimator)
    messages = []
    if classes.size > 2:
        messages = [
            f"y holds {classes.size} classes that exclude each other, but {estimator} fits an independent sigmoid for "
            "each; use SoftmaxRegression, or give y one column per label if labels may occur together"
        ]
    # One sigmoid serves two classes.
    indicator = Indicator(codes[:, np.newaxis] == np.arange(1 if classes.size == 2 else 0, classes.size))
    return indicator, classes, messages


def constant_intercepts(yes: Array, no: Array, names: Array, *, have_optimum: bool) -> tuple[Array | None, list[str]]:
    """Return intercepts (L,) of constant labels, NaN for the others (None if all are fitted), and messages.

    Parameters
    ----------
    yes, no : ndarray of shape (L,)
        Total weights of the entries 1 and 0 of each label.
    names : ndarray of shape (L,)
        Names of the labels.
    have_optimum : bool
        Whether constant labels have a finite optimum: without an intercept, or with label smoothing.
    """
    constant = (yes == 0) | (no == 0)
    if not constant.any():
        return None, []
    which = " and ".join(
        f"always {value} for {listed(names[other == 0], 'label', 'labels')}"
        for value, other in ((0, yes), (1, no))
        if not other.all()
    )
    if have_optimum:
        return None, [f"Y is {which}: add rows with the other value, or drop these columns"]
    message = (
        f"Y is {which}: coefficients of a constant label are 0, and every row gets the same probability (small for 0, "
        "large for 1); add rows with the other value, or drop these columns"
    )
    return np.where(constant, np.log(yes + 0.5) - np.log(no + 0.5), np.nan), [message]
