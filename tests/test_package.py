"""The package as a whole: who imports whom, what is public, what comes along."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import skactivation

PACKAGE = Path(skactivation.__file__).parent
ROOT = PACKAGE.parent
# A folder or file at the top imports only from itself and from floors below its own.
FLOORS = [
    {"_typing"},
    {"_messages", "_threads", "_validation"},
    {"_activation_kernels"},
    {"activations", "_class_major_losses"},
    {"losses"},
    {"_data", "_optimize"},
    {"linear_model", "metrics"},
    {"calibration"},
    {"displays"},
    {"__init__"},
]
FILES = sorted(PACKAGE.rglob("*.py"))

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


def name_of(path):
    """The dotted name of a file below the package."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def ours(path):
    """The names below the package that a file imports from."""
    prefix = "skactivation."
    return {name.removeprefix(prefix) for name in imports(path) if name.startswith(prefix)}


def test_every_file_and_folder_has_a_floor():
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms == set().union(*FLOORS)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_import_runs_up(path):
    room = name_of(path).split(".")[0]
    (floor,) = (number for number, floor in enumerate(FLOORS) if room in floor)
    allowed = set().union(*FLOORS[:floor]) | {room}
    rooms = {name.split(".")[0] for name in ours(path)} & set().union(*FLOORS)
    assert rooms <= allowed


@pytest.mark.parametrize("folder", ["_data", "_optimize", "linear_model", "calibration", "metrics", "displays"])
def test_no_two_files_of_a_folder_import_each_other(folder):
    files = [path for path in (PACKAGE / folder).glob("*.py") if path.stem != "__init__"]
    graph = {name_of(path): ours(path) for path in files}
    graph = {name: {other for other in others if other in graph} for name, others in graph.items()}
    list(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_private_module_of_another_package_is_imported(path):
    others = [name for name in imports(path) if not name.startswith(("skactivation", "__future__"))]
    assert not [name for name in others if any(part.startswith("_") for part in name.split(".")[:-1])]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_all_names_what_exists(path):
    name = name_of(path)
    module = importlib.import_module("skactivation" if name == "__init__" else f"skactivation.{name}")
    assert all(isinstance(name, str) and hasattr(module, name) for name in getattr(module, "__all__", []))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (skactivation.SoftmaxRegression, "linear_model.softmax_regression"),
        (skactivation.SigmoidMultiLabel, "linear_model.sigmoid_multilabel"),
        (skactivation.TemperatureCalibrator, "calibration.temperature_calibrator"),
        (skactivation.calibration.TemperatureFit, "calibration.temperature_fit"),
        (skactivation.metrics.ProbabilityScorer, "metrics.probability_scorer"),
        (skactivation.metrics.ReliabilityCurve, "metrics.reliability"),
        (skactivation.metrics.CalibrationDecomposition, "metrics.decomposition"),
    ],
)
def test_pickles_name_public_modules(value, path):
    assert value.__module__ == f"skactivation.{path}"
    assert not any(part.startswith("_") for part in path.split("."))


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
    for path in FILES:
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
