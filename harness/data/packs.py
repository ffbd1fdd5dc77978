"""Where packs of a set lie, and that they hold what a run asks for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.data.image_tree import ImageTree
from harness.data.naming import shown, to_bytes, with_folders_above
from harness.data.pack import suffix
from harness.data.paths import cache_dir
from harness.data.tree import open_tree
from harness.errors import DataError


def pack_path(name: str, version: str, packed: int | None) -> Path:
    """Where the pack of a version of a set lies in the cache: other images have another place."""
    return cache_dir() / f"{name}-{version}{suffix(packed)}.pack"


def packs_of(name: str) -> list[Path]:
    """All that lie in the cache; those of sets whose names begin alike may be among them."""
    return sorted(cache_dir().glob(f"{name}-*.pack"))


Times = Mapping[str, Sequence[int]]
"""Of the folders of a copy, by their paths in it, or of the one file that it is, under ""."""


def times(path: Path, names: Iterable[str]) -> Times:
    """Those of the copy at `path` that holds the images `names`."""
    folders = with_folders_above(name.rpartition("/")[0] for name in names)
    return {folder: _time(path, folder) for folder in (folders if path.is_dir() else [""])}


def changed_since(times: Times, path: Path) -> str | None:
    """Where a file was added, taken away or replaced in the copy at `path` since it had `times`;
    None where none was. Looks at folders alone, so a file that was written over is not noticed.
    """
    changed = (folder for folder, before in times.items() if _time(path, folder) != [*before])
    return next((shown(path / folder) for folder in changed), None)


def _time(path: Path, folder: str) -> Sequence[int]:
    """When files of a folder last came or went; or of a file its size and when it was written."""
    try:
        about = os.stat(os.path.join(os.fsencode(path), to_bytes(folder)) if folder else path)
    except OSError:
        return []
    is_file = not stat.S_ISDIR(about.st_mode)
    return [*([about.st_size] if is_file else []), about.st_mtime_ns]


def tree_as(path: Path, packed: int | None) -> ImageTree:
    """The images at `path`; DataError unless they are as large as `packed` says."""
    tree = open_tree(path)
    if tree.shorter_side == packed:
        return tree
    if tree.shorter_side is None:
        raise DataError(
            f"{shown(path)}: holds images as they came, and `packed: {packed}` asks for a pack of "
            "smaller ones"
        )
    asked = "nothing" if packed is None else f"`packed: {packed}`"
    raise DataError(
        f"{shown(path)}: holds images with shorter sides of {tree.shorter_side} px, and the spec "
        f"says {asked}: say `packed: {tree.shorter_side}` in `data`"
    )


def how_to_pack(name: str, packed: int | None, path: object = None) -> str:
    """The command that makes a pack."""
    size = "" if packed is None else f" --size {packed}"
    return f"`harness data pack {name}{size}{'' if path is None else f' --path {path}'}`"
