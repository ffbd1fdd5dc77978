"""The code as it was when jobs were submitted: editing the checkout changes no queued job."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import harness
from harness.launch.environment import SNAPSHOT, code_facts
from harness.store.files import beside, write_json, writing

ALWAYS = (".py", ".yaml", ".yml")
"""Kinds of files that count as code before git knows them."""


def package_root() -> Path:
    """The folder that holds the package."""
    return Path(harness.__file__).resolve().parents[1]


def snapshot_name(root: Path) -> str:
    """What the snapshot of the code in `root` is called: a hash of paths and contents."""
    digest = hashlib.sha256()
    for path in code_files(root):
        content = hashlib.sha256((root / path).read_bytes()).hexdigest()
        digest.update(f"{path}\0{content}\n".encode())
    return digest.hexdigest()[:16]


def take_snapshot(root: Path, folder: Path) -> Path:
    """Copy the code in `root` into `folder`, unless the same is there; where it is now."""
    target = folder / snapshot_name(root)
    if target.is_dir():
        return target
    temporary = beside(target)
    with writing(target):
        try:
            for path in code_files(root):
                (temporary / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / path, temporary / path)
            write_json(temporary / SNAPSHOT, code_facts(root))
            try:
                temporary.rename(target)
            except OSError:
                if not target.is_dir():  # else somebody was faster, with the same content
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def code_files(root: Path) -> list[str]:
    """What git tracks, and code that it neither tracks nor ignores; without git, the package."""
    if (root / ".git").exists():
        tracked = _git(root)
        new = [path for path in _git(root, "--others", "--exclude-standard") if _code(path)]
        found = {*tracked, *new}
    else:
        found = {
            str(path.relative_to(root)) for path in (root / "harness").rglob("*") if _code(path)
        }
    return sorted(path for path in found if (root / path).is_file())


def _code(path: str | Path) -> bool:
    return Path(path).suffix in ALWAYS


def _git(root: Path, *options: str) -> list[str]:
    listing = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", *options], capture_output=True, check=True
    )
    return [os.fsdecode(path) for path in listing.stdout.split(b"\0") if path]
