"""Which files of a folder are images, by their names: one rule for directories and for zips.

A name is relative to the root, with `/` between its parts. Bytes that are not UTF-8 are kept as
surrogates, as Python does it, in every locale.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif", ".jif")
_ANYMAP = (".ppm", ".pgm", ".pbm", ".pnm")
SUFFIXES = frozenset({*_JPEG, *_ANYMAP, ".png", ".apng", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
SPLITS = ("train", "val", "test")
# what systems leave in folders; as everything that begins with a dot, it is never looked at
JUNK = frozenset({"__MACOSX", "@eaDir", "lost+found", "Thumbs.db", "ehthumbs.db", "desktop.ini"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """What lies below a root. Hidden files and folders do not count as there."""

    images: Sequence[str]  # sorted
    others: Sequence[str]  # files that are not named as images, sorted
    empty: Sequence[str]  # folders without an image in them, sorted
    prefix: str  # of folders around everything, which are looked through: "", or "pets/"


def listed(files: Iterable[str], folders: Iterable[str]) -> Listing:
    """The images among `files`, and what is left."""
    images: list[str] = []
    others: list[str] = []
    for name in files:
        (images if is_image(name) else others).append(name)
    full = with_folders_above(name.rpartition("/")[0] for name in images)
    empty = sorted(set(folders) - full)
    images.sort()
    return Listing(images=images, others=sorted(others), empty=empty, prefix=_around(images))


def with_folders_above(folders: Iterable[str]) -> set[str]:
    """The folders and all that they lie in."""
    above = {""}
    for folder in folders:
        while folder not in above:
            above.add(folder)
            folder = folder.rpartition("/")[0]
    return above


def is_image(name: str) -> bool:
    """Whether the last part of `name` ends as images do."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return bool(stem) and f"{dot}{suffix}".lower() in SUFFIXES


def is_file_name(name: str) -> bool:
    """Whether a file in a folder can be called so."""
    try:
        to_bytes(name)
    except UnicodeEncodeError:  # half of a character, which JSON can hold
        return False
    return name not in ("", ".", "..") and not {"/", "\0"}.intersection(name)


def hidden(name: str) -> bool:
    """Whether any part of `name` is hidden, or left there by a system."""
    return any(part.startswith(".") or part in JUNK for part in name.split("/"))


def nearest_split(folder: str) -> str | None:
    """The split that `folder` may be meant as: val for valid, validation, Val or eval."""
    low = folder.lower()
    for split in SPLITS:
        if low.startswith(split):
            return split
    close = get_close_matches(low, SPLITS, n=1)
    return close[0] if close else None


def to_bytes(name: str) -> bytes:
    """A name as the disk has it."""
    return name.encode("utf-8", "surrogateescape")


def from_bytes(name: bytes) -> str:
    """The reverse of `to_bytes`."""
    return name.decode("utf-8", "surrogateescape")


def shown(name: object) -> str:
    """A name or path for messages: one line, whatever is in it."""
    text = to_bytes(str(name)).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _around(images: Sequence[str]) -> str:
    """The folders around all images: single ones that are no split and hold folders of images."""
    prefix = ""
    while True:
        inside = [name[len(prefix) :].split("/", 2) for name in images if name.startswith(prefix)]
        tops = {parts[0] for parts in inside if len(parts) > 1}
        if len(tops) != 1 or not any(len(parts) > 2 for parts in inside):
            return prefix
        top = tops.pop()
        if nearest_split(top) is not None:
            return prefix
        prefix += f"{top}/"
