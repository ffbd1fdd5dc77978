"""What is in a user's own images: a version of all of them, each read once until it changes."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from harness.data.cache import kept_at
from harness.data.naming import from_bytes, shown, to_bytes
from harness.data.pack import suffix
from harness.data.paths import cache_dir
from harness.data.threads import in_threads
from harness.data.tree import ImageTree, open_tree

Stamp = tuple[int, ...]

_HEADER: Final = b"harness image hashes 1\n"
OF_A_COPY: Final = "files-"
"""How a version begins that is known by the files of a copy, not by the publisher's checksum."""
_SETTLED: Final = 2 * 10**9
"""Nanoseconds after which another change of a file shows in its times, on any file system."""
_MANY: Final = 20_000  # images whose reading is worth a word


def files_version(path: Path) -> str:
    """The version of a user's own images: their fingerprint, and what a pack made of them."""
    tree = open_tree(path)
    return f"{OF_A_COPY}{fingerprint(tree)}{suffix(tree.shorter_side)}"


def fingerprint(tree: ImageTree) -> str:
    """Of the names and contents of all images as they came; a directory, a zip and a pack of it
    have the same.

    What a file held is remembered in the cache by its path, inode, size and times.
    """
    listing = tree.listing()
    return names_version(tree, listing.images, listing.prefix)[:12]


def names_version(tree: ImageTree, names: Sequence[str], prefix: str) -> str:
    """The fingerprint of the files `names`, whole, without `prefix` in their names."""
    hashes = hashes_of(tree, names)
    digest = hashlib.sha256()
    for name in names:
        digest.update(to_bytes(name.removeprefix(prefix)) + b"\0" + hashes[name])
    return digest.hexdigest()


def hashes_of(tree: ImageTree, names: Sequence[str]) -> Mapping[str, bytes]:
    """The SHA-256 of each of all the images `names`; of a pack it is known, and files are read
    unless they are remembered.
    """
    return tree.hashes() or _hashes(tree, names)


def _hashes(tree: ImageTree, names: Sequence[str]) -> dict[str, bytes]:
    memory = _Memory(tree.path)
    remembered = memory.read()
    now = time.time_ns()
    stamps = {name: tree.stamp(name) for name in names}
    hashes: dict[str, bytes] = {}
    for name, stamp in stamps.items():
        before = remembered.get(name)
        if before is not None and before[0] == stamp:
            hashes[name] = before[1]
    new = [name for name in names if name not in hashes]
    if len(new) >= _MANY:
        where = shown(tree.path)
        print(f"reading {len(new):,} images of {where} for their version, once", file=sys.stderr)
    read = in_threads(lambda name: hashlib.sha256(tree.read(name)).digest(), new)
    hashes.update(zip(new, read, strict=True))
    if new or len(remembered) != len(names):
        settled = {
            name: (stamp, hashes[name]) for name, stamp in stamps.items() if _settled(stamp, now)
        }
        if settled:
            memory.write(settled)
    return hashes


def _settled(stamp: Stamp, now: int) -> bool:
    """Whether the times in a stamp lie so far back that the next change is another stamp."""
    return max(stamp[2:4]) < now - _SETTLED


class _Memory:
    """The hashes of one root in a file of the cache. Without it everything is read again."""

    def __init__(self, root: Path) -> None:
        key = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]
        self._path = cache_dir() / "hashes" / f"{key}.txt"

    def read(self) -> Mapping[str, tuple[Stamp, bytes]]:
        try:
            content = self._path.read_bytes()
        except OSError:
            return {}
        body, _, check = content.removeprefix(_HEADER).rpartition(b"\n")
        if not content.startswith(_HEADER) or check != _check(body):
            return {}
        remembered = {}
        for line in body.split(b"\0"):
            if line:
                hashed, stamp, name = line.split(b" ", 2)
                numbers = tuple(map(int, stamp.split(b",")))
                remembered[from_bytes(name)] = (numbers, bytes.fromhex(hashed.decode()))
        return remembered

    def write(self, hashes: Mapping[str, tuple[Stamp, bytes]]) -> None:
        lines = (
            b"%s %s %s"
            % (hashed.hex().encode(), ",".join(map(str, stamp)).encode(), to_bytes(name))
            for name, (stamp, hashed) in hashes.items()
        )
        body = b"\0".join(lines)
        with suppress(OSError), kept_at(self._path) as partial:
            partial.write_bytes(_HEADER + body + b"\n" + _check(body))


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode()
