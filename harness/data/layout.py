"""Which image of a tree belongs to which split and class, whether all are there, and what lies in
the folder that is no part of the set: silence about that would mislead.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

from harness.data.dataset import Arrays, Files, Splits
from harness.data.naming import SPLITS, Listing, nearest_split, shown, to_bytes
from harness.data.picture import looks_like_image
from harness.data.tree import ImageTree
from harness.errors import DataError
from harness.text import count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LOOKED_INTO = 1000  # files that are not named as images
_HEAD = 16  # bytes of each


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The images of a classification set: names in order, grouped by class."""

    tree: ImageTree
    classes: tuple[str, ...]
    train: tuple[tuple[str, ...], ...]  # names per class
    val: tuple[tuple[str, ...], ...]

    def splits(self, *, channels: int) -> Splits:
        """Both splits, nothing decoded yet."""
        return Splits(train=self._files(self.train, channels), val=self._files(self.val, channels))

    def _files(self, names: Sequence[Sequence[str]], channels: int) -> Files:
        import numpy as np

        flat = [to_bytes(name) for group in names for name in group]
        labels = np.repeat(np.arange(len(names)), [len(group) for group in names])
        # one array, not a million strings: data loading processes would copy each of those
        return Files(
            tree=self.tree,
            names=np.array(flat, dtype=np.bytes_),
            labels=labels.astype(np.int64),
            channels=channels,
        )


def read_layout(tree: ImageTree, *, val: Literal["wanted", "optional", "unused"]) -> Layout:
    """The layout train/<class>/* and val/<class>/* (or test/); DataError if it is another.

    Classes count in order of their names as texts, as in torchvision's ImageFolder. Validation
    images are judged by if they are there: whether they must be, and may be, says `val`.
    """
    listing = tree.listing()
    groups = group_by_class(listing.images, prefix=listing.prefix)
    where = shown(tree.path)
    train = groups.get("train", {})
    judging = {} if val == "unused" else groups.get("val") or groups.get("test") or {}
    if not train:
        raise DataError(
            f"{where}: no images in train/<class>/; expected train/<class>/* and "
            f"val/<class>/* (or test/<class>/*), found {_found(listing, groups)}"
        )
    _check_splits(where, groups)
    judge = "val" if groups.get("val") else "test"
    for split, held in (("train", train), (judge, judging)):
        _check_doubled(where, split, held, prefix=listing.prefix)
    if not judging and val == "wanted":
        raise DataError(f"{where}: {_without_val(listing)}")
    if judging and (odd := sorted(set(judging) ^ set(train))):
        raise DataError(
            f"{where}: train holds {len(train)} classes and val {len(judging)}; "
            f"{len(odd)} are in one of them only: {_folders(odd)}"
            f"{_why_odd(train, judging, odd) or _without_images(listing, odd)}"
        )
    classes = tuple(sorted(train))
    return Layout(
        tree=tree,
        classes=classes,
        train=tuple(tuple(train[name]) for name in classes),
        val=tuple(tuple(judging.get(name, ())) for name in classes),
    )


def group_by_class(names: Iterable[str], *, prefix: str) -> dict[str, dict[str, list[str]]]:
    """Names of the form <prefix><split>/<class>/..., in order, by split and class; others are left
    out.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for name in names:
        parts = name[len(prefix) :].split("/", 2)
        if name.startswith(prefix) and len(parts) == 3:
            groups.setdefault(parts[0], {}).setdefault(parts[1], []).append(name)
    return groups


def _check_splits(where: str, groups: Mapping[str, object]) -> None:
    """DataError for a folder of classes that is no split: its images would silently be left out."""
    for folder in sorted(set(groups) - set(SPLITS)):
        near = nearest_split(folder)
        free = near is not None and near not in groups
        advice = f"rename it to '{near}'" if free else "move it elsewhere"
        raise DataError(
            f"{where}: unknown split folder '{shown(folder)}'; the folders are train and val (or "
            f"test): {advice}"
        )


def _check_doubled(
    where: str, split: str, classes: Mapping[str, Sequence[str]], *, prefix: str
) -> None:
    """DataError for a split in a split, as an archive leaves it that was unpacked once too often:
    its classes would count as one. A class may be called `train`, and have folders in it.
    """
    for inner in sorted(classes.keys() & set(SPLITS)):
        start = len(f"{prefix}{split}/{inner}/")
        below = {folder for name in classes[inner] for folder in name[start:].split("/")[:-1][:1]}
        if below and (classes.keys() <= set(SPLITS) or below & classes.keys()):
            raise DataError(
                f"{where}: {split}/{inner}/ holds folders of images ({_folders(below)}), which "
                f"would count as one class '{inner}'; move them up, to {inner}/"
            )


def _found(listing: Listing, groups: Collection[str]) -> str:
    """What stands where train/<class>/ should, and what to do with it."""
    near = [shown(folder) for folder in sorted(groups) if nearest_split(folder) == "train"]
    if groups:
        return _folders(groups) + (f"; rename '{near[0]}' to 'train'" if near else "")
    parts = [name[len(listing.prefix) :].split("/") for name in listing.images]
    classes = {folders[0] for folders in parts if len(folders) == 2}
    if classes - set(SPLITS):
        return (
            f"folders of images that are in no split: {_folders(classes)}; put them into a folder "
            "'train', and use `evaluate_on: holdout` if there are no others to judge by"
        )
    if parts:
        return "images that are in no folder of a class; sort them into one for each class"
    return "no images"


def _without_images(listing: Listing, classes: Iterable[str]) -> str:
    """That the folder of such a class is there, and what it holds instead of images."""
    for name in classes:
        for split in SPLITS:
            if f"{listing.prefix}{split}/{name}" in listing.empty:
                inside = [other for other in listing.others if f"{split}/{name}/" in other]
                example = f" but files such as {shown(inside[0])}" if inside else ""
                return f"; {split}/{shown(name)} holds no images{example}"
    return ""


def _without_val(listing: Listing) -> str:
    """That no images judge, where those that could be meant are, and what to do."""
    unsorted = sum(
        name[len(listing.prefix) :].split("/")[0] in ("val", "test") for name in listing.images
    )
    there = f" ({count(unsorted, 'image lies', 'images lie')} in no folder of a class)"
    return (
        f"no images in val/<class>/ or test/<class>/{there if unsorted else ''}; add them, or use "
        "`evaluate_on: holdout`, which keeps a tenth of the training images for judging"
    )


def _why_odd(train: Iterable[str], judging: Collection[str], odd: Sequence[str]) -> str:
    """What may be behind classes that are not in both halves."""
    alike = {unicodedata.normalize("NFC", name) for name in odd}
    if len(alike) < len(odd):
        return "; names that look alike are written with other Unicode characters: rename one"
    if len(judging) == 1 and not set(judging) & set(train):
        return (
            "; the validation images are not sorted into a folder for each class: sort them, or "
            "use `evaluate_on: holdout`"
        )
    return ""


def check_counts(layout: Layout, *, classes: int, train: int, val: int) -> None:
    """DataError unless the layout holds exactly these numbers of classes and images."""
    counts = (
        ("classes", len(layout.classes), classes),
        ("training images", sum(map(len, layout.train)), train),
        ("validation images", sum(map(len, layout.val)), val),
    )
    for what, here, expected in counts:
        if here != expected:
            raise DataError(
                f"{shown(layout.tree.path)}: found {here:,} {what}, expected {expected:,}; "
                f"{_smallest(layout)}"
            )


def decoded(layout: Layout, *, channels: int, size: int) -> Splits:
    """All images decoded into memory; DataError if one is not of `size` pixels square."""
    splits = layout.splits(channels=channels)
    return Splits(train=_decoded(splits.train, size), val=_decoded(splits.val, size))


def _decoded(files: object, size: int) -> Arrays:
    import numpy as np

    assert isinstance(files, Files)
    images: NDArray[np.uint8] = np.empty((len(files.labels), files.channels, size, size), np.uint8)
    for index in range(len(images)):
        image = files.image(index)
        if image.size != (size, size):
            raise DataError(
                f"{files.path(index)}: {image.width} x {image.height} pixels, "
                f"expected {size} x {size}"
            )
        pixels = np.asarray(image)
        images[index] = pixels.transpose(2, 0, 1) if files.channels == 3 else pixels
    return Arrays(images=images, labels=files.labels)


def _smallest(layout: Layout) -> str:
    fewest, name = min(
        (len(group), name) for name, group in zip(layout.classes, layout.train, strict=True)
    )
    return f"the smallest class is train/{shown(name)} with {fewest:,}; copy the set again"


def _folders(names: Iterable[str]) -> str:
    return ", ".join(shown(name) for name in sorted(names)[:3])


def left_out(tree: ImageTree, *, structured: bool = True) -> list[str]:
    """A line for each kind of thing that was left out, with its number and an example.

    `structured`: the images belong into train/<class>/ and val/<class>/.
    """
    listing = tree.listing()
    lines = list(_unnamed(tree, listing.others))
    if structured:
        lines += _outside(listing)
        classes = group_by_class(listing.images, prefix=listing.prefix).get("train", {})
        if len(classes) == 1:
            lines.append(f"all images are of one class, '{shown(*classes)}': no label can be wrong")
        order = textual_order(sorted(classes))
        lines += [] if order is None else [order]
    if listing.empty:
        what = count(len(listing.empty), "folder holds", "folders hold")
        lines.append(
            f"{what} no image and {_is(listing.empty)} no class: {_examples(listing.empty)}"
        )
    return lines


def textual_order(classes: Sequence[str]) -> str | None:
    """How classes that are named by numbers count, where it is not in the order of the numbers."""
    if not all(name.isascii() and name.isdigit() for name in classes):
        return None
    if list(classes) == sorted(classes, key=int):
        return None
    return (
        f"classes count in order of their names as texts ({', '.join(classes[:4])}, ...): "
        "a classifier trained elsewhere may count numbered classes in another order"
    )


def _unnamed(tree: ImageTree, others: Sequence[str]) -> Iterator[str]:
    """Files without an image's suffix; told apart are those that are images all the same."""
    looked = list(islice(others, _LOOKED_INTO))
    pictures = [name for name in looked if looks_like_image(tree.head(name, _HEAD))]
    if pictures:
        what = count(len(pictures), "image has", "images have")
        yield f"{what} no suffix of images and {_is(pictures)} left out: {_examples(pictures)}"
    rest = [name for name in others if name not in set(pictures)]
    if rest:
        what = count(len(rest), "file")
        yield f"{what} not named as {_an_image(rest)} {_is(rest)} left out: {_examples(rest)}"


def _outside(listing: Listing) -> Iterator[str]:
    """Images that lie in no folder of a class, or in a split that is not used."""
    groups = group_by_class(listing.images, prefix=listing.prefix)
    inside = {
        name for split in SPLITS for names in groups.get(split, {}).values() for name in names
    }
    stray = [name for name in listing.images if name not in inside]
    if stray:
        what = count(len(stray), "image lies", "images lie")
        yield f"{what} in no folder of a class and {_is(stray)} left out: {_examples(stray)}"
    if groups.get("val") and groups.get("test"):
        test = [name for names in groups["test"].values() for name in names]
        yield f"{count(len(test), 'image')} in test/ {_is(test)} left out: val/ judges"
    if "train" in groups and not groups.keys() & {"val", "test"}:
        yield "no images judge, there is no val/ or test/: use `evaluate_on: holdout`"


def _examples(names: Sequence[str]) -> str:
    return ", ".join([*map(shown, names[:3]), *(["..."] if len(names) > 3 else [])])


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _an_image(names: Sequence[str]) -> str:
    return "an image" if len(names) == 1 else "images"
