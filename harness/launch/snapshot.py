"""The code as it was when jobs were submitted: editing the checkout changes no queued job."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path

import harness
from harness.errors import HarnessError
from harness.launch.commands import call
from harness.launch.environment import SNAPSHOT, code_facts
from harness.store.files import (
    beside,
    read_json_or_nothing,
    replacing,
    write_json,
    writing,
)

ALWAYS = (".py", ".yaml", ".yml")
"""Kinds of files that count as code outside of the package, and before git knows them."""
MANIFEST = "snapshot-files.json"
"""Holds the SHA-256 of every file of a copy: clusters delete what is old, file by file."""


def package_root() -> Path:
    """The folder that holds the package."""
    return Path(harness.__file__).resolve().parents[1]


def snapshot_name(root: Path) -> str:
    """What the snapshot of the code in `root` is called: a hash of paths and contents."""
    return _name({path: _hash(content) for path, content in _contents(root).items()})


def take_snapshot(root: Path, folder: Path) -> Path:
    """Copy the code in `root` into `folder`, unless the same is there; where it is now.

    What is missing of a copy is put back, for the jobs that wait to run it. Where that cannot be,
    another copy is made beside it.
    """
    contents = _contents(root)
    manifest = {path: _hash(content) for path, content in contents.items()}
    name = _name(manifest)
    for number in count(1):
        target = folder / (name if number == 1 else f"{name}-{number}")
        if not target.exists():
            _write(target, contents, manifest, root)
        if _mended(target, contents, manifest, root):
            return target
    raise AssertionError("there are always more names")


def lacking(snapshot: Path) -> list[str]:
    """What of a copy is missing or not what it was."""
    files = read_json_or_nothing(snapshot / MANIFEST).get("files")
    if not isinstance(files, dict):
        return [MANIFEST]
    return _differing(snapshot, files)


def _contents(root: Path) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in code_files(root)}


def _name(manifest: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for path, content in manifest.items():
        digest.update(f"{path}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _write(
    target: Path, contents: Mapping[str, bytes], manifest: Mapping[str, str], root: Path
) -> None:
    """A whole copy, or none."""
    temporary = beside(target)
    with writing(target):
        try:
            for path, content in contents.items():
                (temporary / path).parent.mkdir(parents=True, exist_ok=True)
                (temporary / path).write_bytes(content)  # as new: old files are what is deleted
            _write_notes(temporary, manifest, root)
            try:
                temporary.rename(target)
            except OSError:
                if not target.is_dir():  # else somebody was faster, with the same content
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _write_notes(folder: Path, manifest: Mapping[str, str], root: Path) -> None:
    for name, value in ((SNAPSHOT, code_facts(root)), (MANIFEST, {"files": dict(manifest)})):
        with replacing(folder / name) as temporary:
            write_json(temporary, value)


def _mended(
    target: Path, contents: Mapping[str, bytes], manifest: Mapping[str, str], root: Path
) -> bool:
    """Whether a copy is whole, after what is missing was put back."""
    try:
        for path in _differing(target, manifest):
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            with replacing(target / path) as temporary:
                temporary.write_bytes(contents[path])
        if lacking(target) or not (target / SNAPSHOT).is_file():
            _write_notes(target, manifest, root)
    except (OSError, HarnessError):  # the disk, or something else in a file's place
        return False
    for path in (*manifest, SNAPSHOT, MANIFEST):
        with suppress(OSError):
            os.utime(target / path)
    return not lacking(target)


def _differing(folder: Path, manifest: Mapping[str, str]) -> list[str]:
    differing = []
    for path, content in manifest.items():
        try:
            same = _hash((folder / path).read_bytes()) == content
        except OSError:
            same = False
        differing += [] if same else [path]
    return differing


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def code_files(root: Path) -> list[str]:
    """The package's files and all other code: as git knows them; without git, the package alone."""
    tracked = _git(root) if (root / ".git").exists() else None
    new = None if tracked is None else _git(root, "--others", "--exclude-standard")
    if tracked is None or new is None:  # no repository, no git, or one that it refuses to read
        package = (root / "harness").rglob("*")
        paths = {str(path.relative_to(root)) for path in package if path.suffix != ".pyc"}
    else:
        kept = (path for path in tracked if path.startswith("harness/") or _code(path))
        paths = {*kept, *(path for path in new if _code(path))}
    return sorted(path for path in paths if (root / path).is_file())


def _code(path: str) -> bool:
    return path.endswith(ALWAYS)


def _git(root: Path, *options: str) -> list[str] | None:
    listing = call("git", "-C", str(root), "ls-files", "-z", *options)
    return [path for path in listing.out.split("\0") if path] if listing.ok else None
