"""Which image of a tree belongs to which split and class, and whether all are there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.data.dataset import Arrays, Files, Splits
from harness.data.tree import ImageTree
from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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

        flat = [name.encode() for group in names for name in group]
        labels = np.repeat(np.arange(len(names)), [len(group) for group in names])
        # one array, not a million strings: data loading processes would copy each of those
        return Files(
            tree=self.tree,
            names=np.array(flat, dtype=np.bytes_),
            labels=labels.astype(np.int64),
            channels=channels,
        )


def read_layout(tree: ImageTree) -> Layout:
    """The layout train/<class>/* and val/<class>/* (or test/); DataError if it is another."""
    groups = group_by_class(tree.names())
    train = groups.get("train", {})
    val = groups.get("val") or groups.get("test") or {}
    if not train:
        raise DataError(
            f"{tree.path}: no images in train/<class>/; expected train/<class>/* and "
            f"val/<class>/* (or test/<class>/*), found {_some(groups)}"
        )
    if val and (odd := sorted(set(val) ^ set(train))):
        raise DataError(
            f"{tree.path}: train holds {len(train)} classes and val {len(val)}; "
            f"{len(odd)} are in one of them only: {_some(odd)}"
        )
    classes = tuple(sorted(train))
    return Layout(
        tree=tree,
        classes=classes,
        train=tuple(tuple(train[name]) for name in classes),
        val=tuple(tuple(val.get(name, ())) for name in classes),
    )


def group_by_class(names: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Names of the form <split>/<class>/..., in order, by split and class; others are left out."""
    groups: dict[str, dict[str, list[str]]] = {}
    for name in names:
        parts = name.split("/", 2)
        if len(parts) == 3:
            groups.setdefault(parts[0], {}).setdefault(parts[1], []).append(name)
    return groups


def check_counts(layout: Layout, *, classes: int, train: int, val: int) -> None:
    """DataError unless the layout holds exactly these numbers of classes and images."""
    found = (
        ("classes", len(layout.classes), classes),
        ("training images", sum(map(len, layout.train)), train),
        ("validation images", sum(map(len, layout.val)), val),
    )
    for what, here, expected in found:
        if here != expected:
            raise DataError(
                f"{layout.tree.path}: found {here:,} {what}, expected {expected:,}; "
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
    return f"the smallest class is train/{name} with {fewest:,}; copy the set again"


def _some(names: Iterable[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) if shown else "no folders of images"
