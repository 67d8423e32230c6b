"""The examples run without a display and without a warning, and draw the pictures that they name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_draws_its_pictures(path, tmp_path):
    if "distributed" in path.read_text(encoding="utf-8"):
        pytest.importorskip("distributed")
    environment = {**os.environ, "MPLBACKEND": "agg"}
    command = [sys.executable, "-W", "error", "-W", "ignore:FigureCanvasAgg:UserWarning", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert ran.returncode == 0, ran.stderr
    pictures = ran.stdout.split("Pictures: ")[1].split("\n")[0].split(", ")
    assert pictures
    assert all((tmp_path / picture).stat().st_size > 10_000 for picture in pictures)
