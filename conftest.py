"""What the tests of the package's examples have in common: those in docstrings, in the README and on the site's pages.

A Python block of a page needs nothing from those above it. The text block that directly follows is what it prints.
"""

import ast
import io
import re
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec

import pytest
from sybil import Region, Sybil

# Modules that a block may need and that may be missing.
OPTIONAL = {
    "dask.dataframe",
    "distributed",
    "onnxruntime",
    "skl2onnx",
    "sklearn.callback",
    "statsmodels",
    "torch",
}
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\s*^```text\n(.*?)^```)?", re.DOTALL | re.MULTILINE)

collect_ignore = ["docs/conf.py", "docs/_build", "docs/api", "docs/gallery"]
collect_ignore += [] if find_spec("skl2onnx") else ["skactivation/onnx.py", "skactivation/_onnx_graphs.py"]
collect_ignore += [] if find_spec("distributed") else ["skactivation/dask", "tests/dask"]


def blocks(document):
    """The Python blocks of a page, each with what it prints."""
    for block in BLOCK.finditer(document.text):
        yield Region(block.start(), block.end(), block.groups(), check)


def check(example):
    """Run a block, and compare what it prints."""
    code, expected = example.parsed
    for module in (*_modules(code), *(["sklearn.callback"] if "set_callbacks" in code else [])):
        for optional in OPTIONAL:
            if f"{module}.".startswith(f"{optional}."):
                # Newer versions may refuse to work with older ones of others.
                pytest.importorskip(optional, exc_type=ImportError)
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, example.path, "exec"), {"__name__": "__main__"})
    if expected is not None:
        # The number of evaluations may differ between machines.
        ours, theirs = (
            re.sub(r"after \d+ evaluations", "after N evaluations", text) for text in (printed.getvalue(), expected)
        )
        assert ours == theirs


def _modules(code):
    """Modules that a block imports from."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


@pytest.fixture
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Blocks may write files and draw pictures."""
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("matplotlib").use("agg")
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")


pytest_collect_file = Sybil(
    parsers=[blocks], patterns=["README.md", "docs/**/*.md"], fixtures=["in_a_folder_of_its_own"]
).pytest()
