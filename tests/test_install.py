"""The installation: it follows a moved checkout, and only the user's package indexes matter."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.makefile import ROOT

LISTS = ("pyproject.toml", "constraints.txt")


@pytest.fixture(scope="module")
def install() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("install", ROOT / "install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def installed(root: Path, **more: Any) -> Path:
    """A checkout whose `.venv` holds a package `harness` that prints where it lies."""
    (root / "harness").mkdir(parents=True)
    (root / "harness/__init__.py").touch()
    (root / "harness/__main__.py").write_text("print(__file__)\n")
    for name in ("install.py", *LISTS):
        shutil.copy(ROOT / name, root)
    venv = root / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    # with the pip of this Python
    (packages / "others.pth").write_text("\n".join(p for p in sys.path if "-packages" in p))
    (packages / "__editable__.harness-0.1.0.pth").write_text(f"{root}\n")
    script = venv / "bin/harness"
    script.write_text(f"#!{venv}/bin/python\nimport runpy\nrunpy.run_module('harness')\n")
    script.chmod(0o755)
    needs = hashlib.sha256(b"\0".join((root / name).read_bytes() for name in LISTS)).hexdigest()
    stamp = {"place": str(root), "needs": needs, "dev": True, "cpu": False, **more}
    (venv / ".installed").write_text(json.dumps(stamp))
    return root


def call(root: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "install.py", *words],
        cwd=root,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_installed_is_left_alone(tmp_path: Path) -> None:
    root = installed(tmp_path / "here")
    for words in ([], ["--dev"]):
        done = call(root, *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["there", "here too", "here/below", "long" * 40])
def test_a_moved_checkout_takes_its_environment_along(tmp_path: Path, name: str) -> None:
    old = installed(tmp_path / "here")
    new = tmp_path / "new" / name
    new.parent.mkdir(parents=True)
    old.rename(new)
    done = call(new)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"moved here from {old}" in done.stdout
    said = subprocess.run([new / ".venv/bin/harness"], capture_output=True, text=True, check=True)
    assert said.stdout == f"{new}/harness/__main__.py\n"
    activate = (new / ".venv/bin/activate").read_text()
    assert f"{new}/.venv" in activate
    assert call(new).stdout == ""  # nothing more to do


def test_a_copy_leaves_the_original_as_it_is(tmp_path: Path) -> None:
    old = installed(tmp_path / "here")
    shutil.copytree(old, tmp_path / "copy", symlinks=True)
    assert call(tmp_path / "copy").returncode == 0
    for root in (old, tmp_path / "copy"):
        said = subprocess.run([root / ".venv/bin/harness"], capture_output=True, text=True)
        assert said.stdout == f"{root}/harness/__main__.py\n"


def test_settings_of_pip_say_where_packages_come_from_and_no_more(
    tmp_path: Path, install: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://mirror.example/simple\nuser = true\n"
        "require-virtualenv = true\ntimeout = 20\n"
        "[install]\ntarget = /elsewhere\nprefix = /usr\nextra-index-url =\n"
        "    https://one.example/simple\n    https://two.example/simple\nconstraint = other.txt\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    for name, value in {"PIP_USER": "1", "PIP_TIMEOUT": "30", "PYTHONPATH": "/elsewhere"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(install, "PYTHON", Path(sys.executable))
    environment = install.Pip()._environment
    found = {name: value for name, value in environment.items() if name.startswith("PIP_")}
    extra = found.pop("PIP_EXTRA_INDEX_URL")
    assert extra.split()[-2:] == ["https://one.example/simple", "https://two.example/simple"]
    assert found["PIP_INDEX_URL"] == "https://mirror.example/simple"
    assert found["PIP_TIMEOUT"] == "30"
    assert found["PIP_CONFIG_FILE"] == os.devnull
    unwanted = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_CONSTRAINT", "PIP_REQUIRE_VIRTUALENV")
    assert not {*unwanted, "PYTHONPATH"} & environment.keys()
    shown = subprocess.run(
        [sys.executable, "-I", "-m", "pip", "config", "debug"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "elsewhere" not in shown.stdout


def test_a_wrong_build_of_torch_is_told(tmp_path: Path) -> None:
    root = installed(tmp_path / "here")
    done = call(root, "--torch=gpu")
    assert done.returncode == 1
    assert done.stderr == "error: TORCH must be cpu or left out, got 'gpu'\n"


@pytest.mark.skipif(sys.platform != "linux", reason="builds with CUDA are Linux's")
def test_where_no_index_has_builds_without_cuda_a_sentence_says_so(tmp_path: Path) -> None:
    root = installed(tmp_path / "here")
    bare = tmp_path / "simple"
    bare.mkdir()
    done = call(root, "--torch=cpu", f"--torch-index=file://{bare}", PIP_NO_INDEX="1")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: no package index here has torch==")
    assert last.endswith("or take the builds with CUDA, about 6 GB: make install")


def wheel(folder: Path, name: str, version: str) -> None:
    """A package without content."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.skipif(sys.platform != "linux", reason="builds with CUDA are Linux's")
def test_builds_without_cuda_satisfy_the_versions_that_are_pinned(tmp_path: Path) -> None:
    root = installed(tmp_path / "here", needs="older")
    (root / "constraints.txt").write_text("torch==2.15.0\ntorchvision==0.29.2\nnvidia-x==1\n")
    (root / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    # a build of the project in place of setuptools, which no index here has
    (root / "backend.py").write_text(
        "import shutil\n"
        "def build_editable(folder, settings=None, metadata=None):\n"
        "    return shutil.copy('links/project-1-py3-none-any.whl', folder).split('/')[-1]\n"
    )
    links = root / "links"
    links.mkdir()
    for name, version in (("torch", "2.15.0+cpu"), ("torchvision", "0.29.2+cpu"), ("project", "1")):
        wheel(links, name, version)
    shutil.rmtree(root / "harness")
    done = call(root, "--torch=cpu", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(links))
    assert done.returncode == 0, done.stderr
    assert list(root.glob(".venv/lib/python*/site-packages/torch-2.15.0+cpu.dist-info"))
    assert json.loads((root / ".venv/.installed").read_text())["cpu"]
    for words in ([], ["--torch=cpu"]):
        assert call(root, *words).stdout == ""  # it stays that build
