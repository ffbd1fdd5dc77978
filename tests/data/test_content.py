"""The version of a user's own images: content counts, and each file is read once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from harness.data import content
from harness.data.content import files_version, fingerprint
from harness.data.tree import Directory, open_tree
from tests.data.conftest import write_images


def aged(root: Path) -> None:
    """Times of long ago count as settled; those of a change of now do not."""
    for path in root.rglob("*"):
        os.utime(path, (1e9, 1e9))


def test_names_and_contents_make_the_version(folder: Path) -> None:
    found = [files_version(folder)]
    image = folder / "train/cat/000.png"
    image.write_bytes(image.read_bytes() + b"\0")
    found.append(files_version(folder))
    image.rename(folder / "train/cat/zzz.png")
    found.append(files_version(folder))
    (folder / "train/cat/zzz.png").unlink()
    found.append(files_version(folder))
    assert len(set(found)) == 4
    (folder / "train/cat/.DS_Store").touch()
    (folder / "train/notes.txt").touch()
    assert files_version(folder) == found[-1]


def test_other_images_of_the_same_names_and_sizes_are_another_version(tmp_path: Path) -> None:
    """Relabelled, times and all put back: still another set."""
    root = tmp_path / "set"
    write_images(root, {"train/a": 2, "train/b": 2}, suffix="bmp")
    aged(root)
    before = files_version(root)
    one, other = root / "train/a/000.bmp", root / "train/b/000.bmp"
    assert one.stat().st_size == other.stat().st_size
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1])
    other.write_bytes(contents[0])
    aged(root)
    assert files_version(root) != before


def test_an_image_is_read_once_until_it_changes(
    folder: Path, zipped: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "_SETTLED", -(10**12))  # all times are old enough
    read: list[str] = []
    whole = Directory.head

    def head(self: Directory, name: str, length: int) -> bytes:
        read.append(name)
        return whole(self, name, length)

    monkeypatch.setattr(Directory, "head", head)
    first = files_version(folder)
    assert len(read) == 30
    assert files_version(folder) == first == files_version(zipped(folder))
    assert len(read) == 30
    Image.new("RGB", (20, 16)).save(folder / "val/dog/001.png")
    assert files_version(folder) != first
    assert read[30:] == ["val/dog/001.png"]


def test_a_fresh_file_is_read_again(folder: Path) -> None:
    """Its next change may fall into the same tick of the clock."""
    fingerprint(open_tree(folder))
    assert not list(Path(os.environ["HARNESS_CACHE"]).rglob("*.txt"))


@pytest.mark.parametrize("damage", [b"", b"harness image hashes 1\nx 1 a\n", b"\xff" * 99])
def test_a_damaged_memory_is_not_believed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    monkeypatch.setattr(content, "_SETTLED", -(10**12))
    before = files_version(folder)
    (memory,) = Path(os.environ["HARNESS_CACHE"]).rglob("*.txt")
    whole = memory.read_bytes()
    memory.write_bytes(damage)
    assert files_version(folder) == before
    memory.write_bytes(whole.replace(b"a", b"b"))
    assert files_version(folder) == before


def test_without_a_place_for_it_images_are_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_version(folder)
    monkeypatch.setenv("HARNESS_CACHE", "/proc/harness")
    assert files_version(folder) == before
