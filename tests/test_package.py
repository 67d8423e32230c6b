"""The package as a whole: who imports whom, what is public, what comes along."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import skactivation

PACKAGE = Path(skactivation.__file__).parent
ROOT = PACKAGE.parent
# A file imports only from floors below its own.
FLOORS = [
    {"_threads"},
    {"_validation"},
    {"activations"},
    {"losses", "_labels"},
    {"_class_columns", "_responses"},
    {"_outcomes", "_probability_scorer"},
    {"_reliability", "_decomposition"},
    {"metrics"},
    {"_pyplot"},
    {"_reliability_axes"},
    {"_reliability_display"},
    {"_blocks"},
    {"_indicators", "_logits"},
    {"_objective"},
    {"_linear_objective", "_temperature_objective", "_affine_objective"},
    {"_metric"},
    {"_problem"},
    {"_certificate"},
    {"_solver"},
    {"_head_start", "_scaling"},
    {"_linear", "_labelled_logits", "_held_out", "_temperature_fit"},
    {"_softmax_regression", "_sigmoid_multilabel"},
    {"_temperature_calibrator", "_temperature_display"},
    {"calibration"},
    {"displays"},
    {"__init__"},
]

MODULES = (
    skactivation.activations,
    skactivation.calibration,
    skactivation.displays,
    skactivation.losses,
    skactivation.metrics,
)


def imports(path):
    return imports_of(ast.parse(path.read_text(encoding="utf-8")))


def imports_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_every_file_has_a_floor():
    assert {path.stem for path in PACKAGE.glob("*.py")} == set().union(*FLOORS)


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_a_file_imports_only_from_floors_below(path):
    (floor,) = (number for number, floor in enumerate(FLOORS) if path.stem in floor)
    below = set().union(*FLOORS[:floor])
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("skactivation.")}
    assert {name for name in ours if (PACKAGE / f"{name}.py").exists()} <= below


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_no_private_module_of_another_package_is_imported(path):
    others = [name for name in imports(path) if not name.startswith(("skactivation", "__future__"))]
    assert not [name for name in others if any(part.startswith("_") for part in name.split(".")[:-1])]


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_all_names_what_exists(path):
    module = importlib.import_module("skactivation" if path.stem == "__init__" else f"skactivation.{path.stem}")
    assert all(isinstance(name, str) and hasattr(module, name) for name in module.__all__)


def test_every_public_name_has_a_docstring_with_an_example():
    for module in MODULES:
        for name in module.__all__:
            value = getattr(module, name)
            if callable(getattr(value, "set_score_request", None)) and not isinstance(value, type):
                continue  # a scorer, made of a metric
            assert ">>>" in value.__doc__
    assert ">>>" in skactivation.SoftmaxRegression.__doc__
    assert ">>>" in skactivation.SigmoidMultiLabel.__doc__
    assert ">>>" in skactivation.TemperatureCalibrator.__doc__


def test_importing_skactivation_imports_no_optional_package():
    optional = {"matplotlib", "pandas", "polars", "mpmath", "pytest"}
    for path in PACKAGE.glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # What functions import is imported where it is needed.
        top = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        names = {name.split(".")[0] for name in imports_of(ast.Module(top, []))}
        assert names.isdisjoint(optional)
        assert path.stem == "_pyplot" or {name.split(".")[0] for name in imports(path)}.isdisjoint(optional)
    # scikit-learn may import some of them for itself.
    code = (
        "import sys, sklearn.base, sklearn.utils.validation, scipy.optimize; before = set(sys.modules); "
        "import skactivation; print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(found.stdout.split()).isdisjoint(optional)


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert skactivation.__version__ == project["version"]


def test_the_changelog_names_the_version():
    assert re.search(rf"^## {re.escape(skactivation.__version__)}", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_the_readmes_pictures_exist():
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert pictures
    assert all((ROOT / picture).stat().st_size > 10_000 for picture in pictures)


def test_the_readmes_examples_run(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    printed = re.findall(r"```text\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    outputs = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", block], capture_output=True, text=True, check=True, cwd=tmp_path
        ).stdout
        for block in blocks
    ]
    assert len(blocks) == 5
    # The number of evaluations may differ between machines.
    without_counts = [re.sub(r"after \d+", "", text) for text in (outputs[0], printed[0])]
    assert without_counts[0] == without_counts[1]
