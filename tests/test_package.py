"""An installed package brings its specs along, and works in any folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.cli import main
from tests.conftest import Experiments
from tests.makefile import ROOT
from tests.spec.specs import GOOD

SHIPPED_TEACHER = "experiments/teachers/fashion-mnist/model.safetensors"
FACTS = f"""
import json
import harness
from harness.paths import project_file
from harness.store import Store
runs = harness.load("maskedkd/table2").expand("fashion-mnist").runs
print(json.dumps({{
    "package": harness.__file__,
    "results": str(Store().root),
    "teacher": str(project_file("{SHIPPED_TEACHER}")),
    "identities": [run.identity for run in runs],
}}))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the wheel, as an installation has it; built without a network."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("harness", "experiments"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    words = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [sys.executable, "-m", "pip", *words, "-w", str(built), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(built / "site")
    return built / "site"


def python(site: Path, folder: Path, *words: str) -> str:
    """What a Python with the installed package prints in `folder`."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HARNESS_")}
    env |= {"PYTHONPATH": str(site)}
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_an_installed_harness_lists_its_tables_in_an_empty_folder(
    site: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = python(site, tmp_path, "-m", "harness", "list")
    assert "maskedkd/table2" in listed
    assert list(tmp_path.iterdir()) == []

    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HARNESS_RESULTS", str(tmp_path / "none"))
    assert main(["list"]) == 0
    assert listed == capsys.readouterr().out


def test_runs_are_the_same_wherever_the_specs_lie(site: Path, tmp_path: Path) -> None:
    installed = json.loads(python(site, tmp_path, "-c", FACTS))
    checkout = json.loads(python(ROOT, ROOT, "-c", FACTS))
    assert installed["package"] == str(site / "harness" / "__init__.py")
    assert installed["results"] == str(tmp_path / "results")
    assert installed["teacher"] == str(site / "harness" / SHIPPED_TEACHER)
    assert checkout["results"] == str(ROOT / "results")
    assert installed["identities"] == checkout["identities"]


def test_specs_of_the_users_own_come_first(site: Path, experiments: Experiments) -> None:
    experiments.table("paper/good", GOOD)
    below = experiments.root / "notebooks"
    below.mkdir()
    listed = python(site, below, "-m", "harness", "list")
    assert "paper/good" in listed
    assert "maskedkd" not in listed
