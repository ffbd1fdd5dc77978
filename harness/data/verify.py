"""Reads a copy of a data set again, past every cache, and says what it holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.data.content import OF_A_COPY, hashes_of
from harness.data.dataset import Arrays, DataSet, Files, Split, Splits
from harness.data.naming import from_bytes, shown
from harness.data.pack import Pack
from harness.data.picture import remarks
from harness.data.targets import check_fit, says_nothing
from harness.errors import DataError
from harness.text import count

DECODED = 10_000  # images of a large set that are decoded unless all are asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What was found; reaching this means that what is used of the copy is right."""

    name: str
    where: str
    version: str
    classes: int
    train_images: int
    val_images: int
    decoded: int  # images that were really decoded; all, for sets in memory
    remarks: tuple[str, ...] = ()  # what was left out, and what a person may not expect of the rest


def verify(
    dataset: DataSet, *, path: Path | None, everything: bool, say: Callable[[str], None]
) -> Verified:
    """Check layout, counts and checksums of the copy at `path`, or of the first on this machine.

    Of images in files, evenly spread ones are decoded, or all with `everything`.
    Raises DataError for the first thing that is wrong.
    """
    where, version, splits = _read(dataset, path)
    say(f"{where}: layout and counts are right")
    if isinstance(splits.train, Files) and isinstance(splits.train.tree, Pack):
        say(f"{shown(splits.train.tree.path)}: a pack: {splits.train.tree.about['how']}")
    left_out = dataset.left_out(path)
    for line in left_out:
        say(line)
    odd = _Remarks()
    # of a set that nobody trains on, both are the images that judge
    halves = [splits.train] if splits.train is splits.val else [splits.train, splits.val]
    decoded = sum(_decode(dataset, split, everything, say, odd) for split in halves)
    found = [*odd.lines(), *_copies(splits, version)]
    for line in found:
        say(line)
    return Verified(
        name=dataset.name,
        where=where,
        version=version,
        classes=_classes(dataset, splits),
        train_images=0 if dataset.judges_only else len(splits.train.labels),
        val_images=len(splits.val.labels),
        decoded=decoded,
        remarks=(*left_out, *found),
    )


def _read(dataset: DataSet, path: Path | None) -> tuple[str, str, Splits]:
    if path is not None:
        splits = dataset.read(path)
        return shown(path), dataset.version_at(path), splits
    for origin in dataset.origins:
        if origin.here is not None and origin.here():
            return origin.label, dataset.version, origin.read()
    if dataset.cache_file is not None and os.path.isfile(dataset.cache_file):
        return str(dataset.cache_file), dataset.version, dataset.load()
    raise DataError(dataset.missing() or f"data set {dataset.name} is not on this machine")


def _classes(dataset: DataSet, splits: Splits) -> int:
    """Those that have an image; of boxes and masks, those of the set."""
    if dataset.labelling != "classes":
        return dataset.classes
    return len({*splits.train.labels.tolist(), *splits.val.labels.tolist()})


def _copies(splits: Splits, version: str) -> Iterator[str]:
    """That images judge which are learned from too, or are in two classes; where what is in them is
    known, as it is for the version of a user's own images and in a pack.
    """
    train, val = splits.train, splits.val
    if train is val or not (isinstance(train, Files) and isinstance(val, Files)):
        return
    if not version.startswith(OF_A_COPY) and train.tree.hashes() is None:
        return
    hashes = hashes_of(train.tree, train.tree.listing().images)
    first: dict[bytes, tuple[Files, int]] = {}
    learned, in_two = list[str](), list[str]()
    for split in (train, val):
        for index, name in enumerate(split.names):
            other, at = first.setdefault(hashes[from_bytes(bytes(name))], (split, index))
            if other is not split:
                learned.append(f"{split.path(index)} is {other.path(at)}")
            if other.labels[at] != split.labels[index]:
                in_two.append(f"{split.path(index)} is {other.path(at)}")
    if learned:
        what = f"{len(learned):,} of {count(len(val.labels), 'validation image')}"
        yield f"{what} are training images too, the first: {learned[0]}"
    if in_two:
        yield f"{count(len(in_two), 'image is', 'images are')} in another class too: {in_two[0]}"


class _Remarks:
    """Images of which not everything is used: for each reason how many, and one of them."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def look_at(self, split: Files, index: int) -> None:
        """Note what is odd about one image that can be decoded."""
        for what in remarks(split.content(index)):
            self.add(what, split, index)

    def add(self, what: str, split: Files, index: int) -> None:
        """Note that one image is so."""
        number, first = self._found.get(what, (0, split.path(index)))
        self._found[what] = (number + 1, first)

    def lines(self) -> list[str]:
        """One for each reason."""
        return [
            f"{count(number, 'image')} {what}: {first}{', ...' if number > 1 else ''}"
            for what, (number, first) in self._found.items()
        ]


def _decode(
    dataset: DataSet, split: Split, everything: bool, say: Callable[[str], None], odd: _Remarks
) -> int:
    images = len(split.labels)
    if isinstance(split, Arrays):
        return images
    stride = 1 if everything else max(1, images // (DECODED // 2))
    chosen = range(0, images, stride)
    for done, index in enumerate(chosen, 1):
        image = split.image(index)
        if split.targets is not None:
            target = split.targets[index]
            check_fit(split, index, image, target, classes=dataset.classes)
            if says_nothing(target):
                odd.add("with a mask that knows no pixel: nothing is learned there", split, index)
        odd.look_at(split, index)
        if done % 2000 == 0:
            say(f"decoded {done:,} of {len(chosen):,}")
    return len(chosen)
