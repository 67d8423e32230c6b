"""Find the class of each column of logits or probabilities: from `classes`, a data frame's columns, or y."""

from numbers import Integral
from typing import Any

import numpy as np

from skactivation._arrays import column_names
from skactivation._data.labels import as_labels, encode_labels, recode_labels, shape_of
from skactivation._messages import abridged
from skactivation._typing import Array


def given_classes(classes: Any, n_columns: int, name: str = "classes") -> Array:
    """Check the labels (K,) that a user gives for the columns."""
    given = as_labels(classes, name)
    if given.size != n_columns:
        raise ValueError(f"{name} must name each of {n_columns} columns, got {given.size}: {abridged(given)}")
    if len(set(given.tolist())) < given.size:
        raise ValueError(f"{name} must be different from each other, got {abridged(given)}")
    return given


def named_columns(columns: Any, y: Any, sample_weight: Array | None, name: str = "y") -> Array | None:
    """A data frame's column names (K,) if they name the classes, else None.

    They do if they are all strings or all integers and include every label in rows of positive weight. The integers 0
    to K - 1 in order don't: they are pandas' default names.
    """
    names, shape = column_names(columns, "the data frame") or [], shape_of(y)
    are_names = any(all(isinstance(each, kind) for each in names) for kind in (str, Integral))
    if not are_names or len(names) < 2 or names == list(range(len(names))) or (len(shape) == 2 and shape[1] > 1):
        return None
    labels = set(encode_labels(y, sample_weight, name)[1].tolist())
    if labels.isdisjoint(names):
        return None
    if not labels <= set(names):
        others = abridged(sorted(labels - set(names)))
        raise ValueError(
            f"{name} holds {others}, which are no columns of the data frame, but its other labels are: name all "
            "columns after classes, or none"
        )
    return given_classes(np.array(names, dtype=object), len(names), "the columns of a data frame")


def encode_columns(
    y: Any, n_columns: int, sample_weight: Array | None, *, classes: Array | None, advice: str, name: str = "y"
) -> tuple[Array, Array]:
    """The column number of each label (n,), and the classes (K,) of the columns.

    Without `classes`, they follow from y. If they are not clear, the error ends with `advice`.
    """
    codes, found = encode_labels(y, sample_weight, name)
    classes = classes_found(found, n_columns, advice, name) if classes is None else classes
    return recode_labels(codes, found, classes, name), classes


def classes_found(found: Array, n_columns: int, advice: str, name: str = "y") -> Array:
    """The classes (K,) of the columns, given the sorted labels that y holds."""
    if found.size == n_columns:
        return found
    if found.dtype.kind in "biuf":
        if n_columns == 2 and np.isin(found, (0, 1)).all():
            return np.array([0, 1]).astype(found.dtype)
        # Integers, also as floats, are column numbers if they count from 0.
        if found[0] == 0 and found[-1] < n_columns and np.array_equal(found, np.floor(found)):
            return np.arange(n_columns).astype(found.dtype)
    raise ValueError(
        f"{name} holds {found.size} different labels, {abridged(found)}, for {n_columns} columns: which label belongs "
        f"to which column isn't clear. {advice}"
    )
