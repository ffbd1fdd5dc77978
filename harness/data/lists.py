"""File lists that cut one data set out of another: mini-ImageNet out of ImageNet-1k."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.data.naming import hidden, shown
from harness.data.regular import open_regular
from harness.errors import DataError

LISTS = ("train.csv", "val.csv", "test.csv")
NAME = re.compile(r"(n[0-9]{8})([0-9]{8})\.\w+")
MOST_BYTES = 64 * 2**20  # of one list; the few-shot split's have 1 MB


def lists_alone(folder: Path) -> bool:
    """Whether `folder` holds the three lists and nothing else: images of its own come first."""
    if not folder.is_dir():
        return False
    try:
        found = {entry.name for entry in folder.iterdir() if not hidden(entry.name)}
    except OSError as error:
        raise DataError(f"{shown(folder)}: cannot be read: {error.strerror}") from error
    return "train.csv" in found and all(name.endswith(".csv") for name in found)


def read_lists(folder: Path) -> dict[str, list[int]]:
    """The numbers of the listed images by synset, in order of the lists' names.

    The lists of the few-shot split (Ravi and Larochelle, ICLR 2017) have two columns, filename and
    label. A name, n0153282900000005.jpg, is a synset and a number: the place, from 1, among the
    training images of that class in order of their own numbers, as the public scripts that cut the
    set read it. Raises DataError with file and line.
    """
    found: dict[str, list[int]] = {}
    for path in (folder / name for name in LISTS):
        for line, row in _rows(path):
            match = NAME.fullmatch(row[0]) if len(row) == 2 else None
            if match is None or match[1] != row[1] or int(match[2]) < 1:
                raise DataError(
                    f"{shown(path)}:{line}: '{shown(','.join(row))[:80]}' is not a synset and a "
                    "number from 1, then the synset, with a comma between them: "
                    "`n0153282900000005.jpg,n01532829`; get the lists of the few-shot split again"
                )
            found.setdefault(match[1], []).append(int(match[2]))
    for synset, numbers in found.items():
        if len(set(numbers)) < len(numbers):
            raise DataError(f"{folder}: the lists name an image of {synset} twice; get them again")
    return {synset: sorted(numbers) for synset, numbers in found.items()}


def lists_version(lists: Mapping[str, Sequence[int]]) -> str:
    """Of what the lists choose, whatever their lines' order."""
    digest = hashlib.sha256()
    for synset in sorted(lists):
        digest.update(f"{synset}\0{','.join(map(str, lists[synset]))}\n".encode())
    return digest.hexdigest()[:12]


def chosen(names: Sequence[str], numbers: Sequence[int], *, where: str) -> tuple[str, ...]:
    """The images at the places `numbers`, from 1, of `names` in order of the numbers they end with.

    `where` says whose images they are, for the DataError where there are too few.
    """
    ordered = sorted(names, key=_own_number)
    if numbers and numbers[-1] > len(ordered):
        raise DataError(
            f"{where}: the lists want image {numbers[-1]} of the class, there are {len(ordered)}; "
            "the copy of ImageNet-1k is not complete, or the lists are of another set"
        )
    return tuple(ordered[number - 1] for number in numbers)


def _own_number(name: str) -> int:
    """7 of `train/n01532829/n01532829_7.JPEG`."""
    found = re.search(r"_(\d+)\.\w+$", name)
    if found is None:
        raise DataError(
            f"{shown(name)}: an image of ImageNet-1k is called <synset>_<number>.JPEG; the "
            "lists count images by that number, so the original names are needed"
        )
    return int(found[1])


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows and their lines, without empty ones and the heading; with what programs for tables
    make of them: a byte order mark, quotes, ends of lines, spaces.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise OSError(f"larger than {MOST_BYTES // 2**20} MiB")
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{shown(path)}: cannot be read ({error}); the lists are {', '.join(LISTS)} of the "
            "few-shot split, all three in one folder"
        ) from error
    rows = [(line, row) for line, row in rows if any(row)]
    return rows[1:] if rows and rows[0][1][0].lower() == "filename" else rows
