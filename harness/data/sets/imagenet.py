"""ImageNet-1k, from the user's own copy: nobody may hand it on."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from pathlib import Path
from typing import Self

from harness.data import DATASETS
from harness.data.content import OF_A_COPY
from harness.data.dataset import IMAGENET_MEAN, IMAGENET_STD, DataSet, Source, Splits
from harness.data.layout import Layout, check_counts, left_out, read_layout
from harness.data.naming import shown
from harness.data.pack import about_pack, suffix
from harness.data.packs import changed_since, how_to_pack, pack_path, packs_of, tree_as
from harness.data.paths import cannot_read, is_folder, is_there, own_copy
from harness.data.tree import ImageTree, open_tree
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
    packed: int | None = None  # of `DataConfig`

    @property
    def copy_name(self) -> str:
        """What the copy is called in $HARNESS_DATA."""
        return self.name

    @property
    def pack_name(self) -> str:
        """That of the copy."""
        return self.copy_name

    def packed_at(self, shorter_side: int | None) -> Self:
        """The same set, of which a pack holds smaller images."""
        if shorter_side == self.packed:
            return self
        if self.labelling != "classes":
            super().packed_at(shorter_side)  # which says why not
        other = copy(self)
        other.packed = shorter_side
        return other

    @property
    def next_step(self) -> str:  # type: ignore[override]
        """Where to put the copy, and how it must look."""
        if self.packed is not None:
            place = f"$HARNESS_DATA/{self.copy_name}{suffix(self.packed)}.pack"
            command = how_to_pack(self.name, self.packed)
            pack = self._in_cache()
            changed = None if pack is None else self._changed_since(pack)
            why = "" if changed is None else f"{shown(pack)} was made before {changed} changed. "
            return (
                f"{why}{command} makes a pack of your copy; one from elsewhere belongs at {place}."
            )
        return (
            f"Put your copy, a directory or a zip, at $HARNESS_DATA/{self.copy_name}(.zip): "
            f"{self.layout_says}; "
            f"then `harness data verify {self.name}`."
        )

    @property
    def origins(self) -> tuple[Source, ...]:
        """A pack in the cache, and the user's copy."""
        kept, own = self._kept(), f"$HARNESS_DATA/{self.copy_name}{suffix(self.packed)}"
        return (
            Source(
                label=own if kept is None else str(kept),
                read=lambda: self.read(self.found()),
                here=lambda: self._path() is not None,
            ),
        )

    def _path(self) -> Path | None:
        """What is read: a pack in the cache, else the user's copy."""
        return self._kept() or self._copy()

    def _copy(self) -> Path | None:
        return next((place for place in self._places() if is_there(place)), None)

    def _places(self) -> list[Path]:
        name = f"{self.copy_name}{suffix(self.packed)}"
        endings = ("", ".zip", ".pack") if self.packed is None else (".pack",)
        return [
            path.with_name(f"{name}{ending}")
            for path in own_copy(self.copy_name)[:1]
            for ending in endings
        ]

    def _kept(self) -> Path | None:
        """The pack in the cache that was made of the images which the copy holds now."""
        path = self._in_cache()
        return path if path is not None and self._changed_since(path) is None else None

    def _in_cache(self) -> Path | None:
        if not packs_of(self.copy_name):
            return None
        path = pack_path(self.copy_name, self.packed_at(None).version, self.packed)
        return path if path.exists() else None

    def _changed_since(self, pack: Path) -> str | None:
        """What of the copy has changed since it was packed; None: nothing, or there is no copy."""
        copy = self.unpacked
        if copy is None or f"-{OF_A_COPY}" in pack.name:  # which is of the contents, and tells
            return None
        return changed_since(about_pack(pack).get("times", {}), copy)

    @property
    def unpacked(self) -> Path | None:
        """Of images as they came."""
        return self.packed_at(None)._copy()

    def own(self) -> Layout:
        """The user's copy, checked; DataError where there is none."""
        return self.layout(self.found())

    def found(self) -> Path:
        """Where the user's copy lies; DataError where there is none."""
        path = self._path()
        if path is None and self.packed is not None:
            raise DataError(f"there is no pack of {self.packed} px")
        if path is None:
            looked = " and ".join(map(str, self._places()[:2]))
            raise DataError(f"{looked} do not exist" if looked else "HARNESS_DATA is not set")
        return path

    def read(self, path: Path) -> Splits:
        """The copy at `path`, its layout and counts checked."""
        return self.layout(path).splits(channels=self.channels)

    def left_out(self, path: Path | None) -> list[str]:
        """Files and folders that are no images of a class."""
        path = path or self._path()
        return [] if path is None else left_out(open_tree(path), structured=self.structured)

    def tree(self, path: Path) -> ImageTree:
        """The images at `path`; DataError unless they are as large as `packed` says."""
        return tree_as(path, self.packed)

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
    smallest_class = 732
    layout_says = "train/<synset>/*.JPEG and val/<synset>/*.JPEG, 1,000 folders each"

    @property
    def version(self) -> str:
        """Of the competition; counts are checked, not contents."""
        return f"ilsvrc2012{suffix(self.packed)}"

    def missing(self) -> str | None:
        """Also notices missing class folders: a copy cut short is common, and this is quick."""
        path = self._path()
        if path is None or not is_folder(path):
            return super().missing()
        for split in (path / "train", path / "val"):
            try:
                folders = sum(map(Path.is_dir, split.iterdir())) if is_folder(split) else 0
            except OSError as error:
                raise cannot_read(split, error) from error
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
        layout = read_layout(self.tree(path), val="optional")
        if not any(layout.val):
            raise DataError(
                f"{shown(path)}: no images in val/<synset>/; "
                f"sort the {self.val_images:,} validation images into one folder per synset"
            )
        check_counts(layout, classes=self.classes, train=self.train_images, val=self.val_images)
        return layout


DATASETS.register("imagenet-1k")(ImageNet())
