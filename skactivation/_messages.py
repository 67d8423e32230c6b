"""Helpers for error and warning messages."""

from typing import Any

import numpy as np

# A message names at most this many labels, so that it stays readable.
_NAMED = 8


def abridged(labels: Any) -> str:
    """The first labels in brackets, with the total number if there are more."""
    labels = list(np.asarray(labels).tolist())
    more = f", ... ({len(labels)} of them)" if len(labels) > _NAMED else ""
    return f"[{', '.join(map(repr, labels[:_NAMED]))}{more}]"


def listed(labels: Any, noun: str, plural: str) -> str:
    """A noun with the names of the first labels, and the number of further ones."""
    labels = np.asarray(labels).tolist()
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return f"{plural if len(labels) > 1 else noun} {', '.join(map(repr, labels[:_NAMED]))}{more}"
