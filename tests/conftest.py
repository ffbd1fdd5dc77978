"""Fixtures that all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, settings

from harness.data import DATASETS
from harness.data.dataset import Splits
from harness.data.paths import own_copy
from harness.errors import DataError

# tiny networks: more threads than one only get into each other's way
os.environ.setdefault("OMP_NUM_THREADS", "1")
# a slow moment of the machine is no failure
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
# a job in the background of a script ignores Ctrl-C, and so would commands that tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TINY_VIT = "arch: vit, image_size: 28, patch_size: 7, width: 16, depth: 2, heads: 2"
"""A model of 16 patches, for flow mappings in the text of a spec."""

LIGHT_RECIPE = """
    epochs: 1
    batch_size: 64
    lr: 1e-3
"""


OF_THE_USER = ("HARNESS_", "PIP_", "SBATCH_", "SQUEUE_", "SACCT_", "HF_", "XDG_", "MAKE")
"""Variables of the environment, by how they begin, that no test may depend on."""


@pytest.fixture(scope="session", autouse=True)
def machine_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests see nothing of the user who runs them: no home, no cache, no settings.

    Fashion-MNIST is downloaded by the first test that wants it, and is there for the others; where
    $HARNESS_DATA has it, no test needs the internet for it. What else computes on this machine does
    not keep a test's commands from starting.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        if any(path.exists() for path in own_copy("fashion-mnist")[:1]):
            with suppress(DataError):  # the test that wants it says what is wrong
                DATASETS.get("fashion-mnist").load()
        for name in [name for name in os.environ if name.startswith(OF_THE_USER)]:
            if name != "HARNESS_CACHE":
                patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("HARNESS_LOCKS", str(tmp_path_factory.mktemp("machine")))
        yield


@pytest.fixture(scope="session")
def fashion_mnist(machine_of_its_own: None) -> Splits:
    """The real Fashion-MNIST, in the cache of the tests from now on."""
    return DATASETS.get("fashion-mnist").load()


@dataclass(frozen=True, slots=True)
class Experiments:
    """A project of its own in a temporary folder: specs, recipes, results."""

    root: Path

    def table(self, name: str, text: str) -> str:
        """Write the spec `name` (folder/table) and give its name back."""
        return self._write(self.root / "experiments" / f"{name}.yaml", text, name)

    def recipe(self, name: str, text: str) -> str:
        """Write a shared recipe and give its name back."""
        return self._write(self.root / "experiments" / "recipes" / f"{name}.yaml", text, name)

    def _write(self, path: Path, text: str, name: str) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text), encoding="utf-8")
        return name


@pytest.fixture
def experiments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiments:
    """An empty project with the recipe `light`; the working directory, and where results go."""
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    monkeypatch.delenv("HARNESS_RESULTS", raising=False)
    monkeypatch.chdir(tmp_path)
    project = Experiments(tmp_path)
    project.recipe("light", LIGHT_RECIPE)
    return project
