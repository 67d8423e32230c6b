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
    {"_arrays", "_callbacks", "_messages", "_onnx_graphs", "_package", "_threads"},
    {"_validation"},
    {"_activation_kernels"},
    {"activations", "_class_major_losses"},
    {"losses"},
    {"_data", "_optimize"},
    {"linear_model", "metrics"},
    {"calibration"},
    {"dask", "displays", "onnx"},
    {"__init__"},
]
FILES = sorted(PACKAGE.rglob("*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

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


@pytest.mark.parametrize("folder", ["_data", "_optimize", "linear_model", "calibration", "metrics", "dask", "displays"])
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
        (skactivation.SoftmaxRegressionCV, "linear_model.softmax_regression_cv"),
        (skactivation.SigmoidMultiLabelCV, "linear_model.sigmoid_multilabel_cv"),
        (skactivation.TemperatureCalibrator, "calibration.temperature_calibrator"),
        (skactivation.calibration.TemperatureFit, "calibration.temperature_fit"),
        (skactivation.metrics.ProbabilityScorer, "metrics.probability_scorer"),
        (skactivation.metrics.ReliabilityCurve, "metrics.reliability"),
        (skactivation.metrics.PrecisionRecall, "metrics.precision_recall"),
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
    assert ">>>" in skactivation.SoftmaxRegressionCV.__doc__
    assert ">>>" in skactivation.SigmoidMultiLabelCV.__doc__
    assert ">>>" in skactivation.TemperatureCalibrator.__doc__


def test_importing_skactivation_imports_no_optional_package():
    optional = {"matplotlib", "pandas", "polars", "mpmath", "hypothesis", "pytest"}
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


def markdown(path):
    return path.read_text(encoding="utf-8")


def links(page):
    """Targets of the links and pictures of a page that point to files of the repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", markdown(page))
    return [target.split("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]


def test_every_text_block_follows_a_python_block():
    for page in PAGES:
        n_followed = len(re.findall(r"```python\n[^`]*```\n\s*```text\n", markdown(page)))
        assert markdown(page).count("```text\n") == n_followed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_pictures_of_a_page_exist(page):
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", markdown(page))
    assert pictures or page.name != "README.md"
    assert all((page.parent / picture).stat().st_size > 10_000 for picture in pictures)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.stem)
def test_the_links_of_a_page_point_to_files(page):
    assert [target for target in links(page) if not (page.parent / target).is_file()] == []


def test_every_page_is_in_a_table_of_contents():
    listed = {path for path in PAGES[1:] if path.name == "index.md"} - {ROOT / "docs" / "index.md"}
    for page in PAGES[1:]:
        for tree in re.findall(r"```{toctree}\n(?::.*\n)*\n(.*?)```", markdown(page), re.DOTALL):
            listed |= {(page.parent / name).with_suffix(".md") for name in tree.split()}
    assert {*PAGES[1:]} - {ROOT / "docs" / "index.md"} <= listed


def test_the_reference_lists_every_public_name():
    reference = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8")
    for module in (*MODULES, skactivation.linear_model):
        for name in module.__all__:
            assert re.search(rf"\b{module.__name__.removeprefix('skactivation.')}\.{name}\b", reference), name


def test_the_gallery_has_an_order():
    order = re.findall(r'"(plot_\w+\.py)"', (ROOT / "docs" / "conf.py").read_text(encoding="utf-8"))
    assert sorted(order) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def test_the_readme_is_short():
    assert len(markdown(ROOT / "README.md").split()) < 1000


def test_contributing_names_files_and_functions_that_exist():
    text = markdown(ROOT / "CONTRIBUTING.md").split("## Words")[0]
    files = set(re.findall(r"`([\w/]+\.py)`", text))
    assert len(files) > 20
    assert [file for file in files if not (PACKAGE / file).is_file()] == []
    names = {name for call in re.findall(r"`([A-Za-z_]\w+(?:\.\w+)?)`", text) for name in call.split(".")}
    defined = {word for path in FILES for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    assert names - defined - {"SCIPY_ARRAY_API"} == set()
