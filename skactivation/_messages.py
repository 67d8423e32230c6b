"""Helpers for messages and for what results look like."""

from collections.abc import Sequence
from html import escape
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


def rounded(value: Any) -> str:
    """A number with four digits, a bool, or an array of them."""
    if np.ndim(value):
        return f"[{', '.join(map(rounded, value[:_NAMED]))}{', ...' if len(value) > _NAMED else ''}]"
    return f"{value:.4g}" if isinstance(value, (float, np.floating)) else str(value)


def html_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table in HTML, of names and numbers."""
    lines = ["<tr>" + "".join(f"<th>{escape(name)}</th>" for name in header) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(rounded(cell))}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"
