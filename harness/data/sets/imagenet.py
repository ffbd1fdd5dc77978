"""ImageNet-1k, from the user's own copy: nobody may hand it on."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path

from harness.data import DATASETS
from harness.data.dataset import IMAGENET_MEAN, IMAGENET_STD, DataSet, Source, Splits
from harness.data.layout import Layout, check_counts, left_out, read_layout
from harness.data.naming import shown
from harness.data.paths import own_copy
from harness.data.tree import open_tree
from harness.errors import DataError


class OwnImages(DataSet):
    """Photographs in class folders that only the user can supply."""

    licence = "ImageNet terms of access (research only)"
    channels = 3
    mean = IMAGENET_MEAN
    std = IMAGENET_STD
    size = None
    in_memory = False
    layout_says: str
    structured = True  # train/<class>/* and val/<class>/*; False: classes lie anywhere

    @property
    def copy_name(self) -> str:
        """What the copy is called in $HARNESS_DATA."""
        return self.name

    @property
    def next_step(self) -> str:  # type: ignore[override]
        """Where to put the copy, and how it must look."""
        return (
            f"Put your copy, a directory or a zip, at $HARNESS_DATA/{self.copy_name}(.zip): "
            f"{self.layout_says}; "
            f"then `harness data verify {self.name}`."
        )

    @property
    def origins(self) -> tuple[Source, ...]:
        """The user's copy."""
        return (
            Source(
                label=f"$HARNESS_DATA/{self.copy_name}",
                read=lambda: self.own().splits(channels=self.channels),
                here=lambda: self._path() is not None,
            ),
        )

    def _path(self) -> Path | None:
        return next((place for place in self._places() if os.path.exists(place)), None)

    def _places(self) -> list[Path]:
        return [
            place
            for path in own_copy(self.copy_name)[:1]
            for place in (path, path.with_name(f"{path.name}.zip"))
        ]

    def own(self) -> Layout:
        """The user's copy, checked; DataError where there is none."""
        return self.layout(self.found())

    def found(self) -> Path:
        """Where the user's copy lies; DataError where there is none."""
        path = self._path()
        if path is None:
            looked = " and ".join(map(str, self._places()))
            raise DataError(f"{looked} do not exist" if looked else "HARNESS_DATA is not set")
        return path

    def read(self, path: Path) -> Splits:
        """The copy at `path`, its layout and counts checked."""
        return self.layout(path).splits(channels=self.channels)

    def left_out(self, path: Path | None) -> list[str]:
        """Files and folders that are no images of a class."""
        path = path or self._path()
        return [] if path is None else left_out(open_tree(path), structured=self.structured)

    @abstractmethod
    def layout(self, path: Path) -> Layout:
        """Which image is what; DataError unless all of them are there."""


class ImageNet(OwnImages):
    """1,281,167 + 50,000 photographs, 1,000 classes (arXiv:1409.0575)."""

    name = "imagenet-1k"
    title = "ImageNet-1k (ILSVRC 2012)"
    classes = 1000
    train_images = 1_281_167
    val_images = 50_000
    version = "ilsvrc2012"
    smallest_class = 732
    layout_says = "train/<synset>/*.JPEG and val/<synset>/*.JPEG, 1,000 folders each"

    def missing(self) -> str | None:
        """Also notices missing class folders: a copy cut short is common, and this is quick."""
        path = self._path()
        if path is None or not path.is_dir():
            return super().missing()
        for split in (path / "train", path / "val"):
            try:
                folders = sum(entry.is_dir() for entry in split.iterdir()) if split.is_dir() else 0
            except OSError as error:
                return f"data set {self.name}: {shown(split)} cannot be read: {error.strerror}"
            if folders != self.classes:
                return (
                    f"data set {self.name}: {split} holds {folders:,} class folders, "
                    f"expected {self.classes:,}; copy the set again"
                )
        return None

    def class_counts(self) -> tuple[int, ...]:
        """Counted in the user's copy: classes have 732 to 1,300 training images."""
        return tuple(map(len, self.own().train))

    def layout(self, path: Path) -> Layout:
        """The usual folders; the validation images must have been sorted into theirs."""
        tree = open_tree(path)
        layout = read_layout(tree, val="optional")
        if not any(layout.val):
            raise DataError(
                f"{shown(path)}: no images in val/<synset>/; "
                f"sort the {self.val_images:,} validation images into one folder per synset"
            )
        check_counts(layout, classes=self.classes, train=self.train_images, val=self.val_images)
        return layout


DATASETS.register("imagenet-1k")(ImageNet())
