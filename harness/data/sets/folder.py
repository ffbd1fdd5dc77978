"""Any folder of images: the user's own set, as a directory or inside one zip."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

from harness.data import DATASETS
from harness.data.config import DataConfig
from harness.data.content import files_version
from harness.data.dataset import IMAGENET_MEAN, IMAGENET_STD, DataSet, Source, Splits
from harness.data.layout import Layout, left_out, read_layout, textual_order
from harness.data.naming import shown
from harness.data.pack import is_pack
from harness.data.packs import how_to_pack, pack_path, packs_of, tree_as
from harness.data.paths import is_there
from harness.data.tree import open_tree
from harness.errors import DataError
from harness.paths import project_root
from harness.variables import user_path


class Folder(DataSet):
    """The images at `data.path`: train/<class>/* and val/<class>/* (or test/<class>/*)."""

    name = "folder"
    title = "a folder of images"
    licence = "the user's own"
    channels = 3
    mean = IMAGENET_MEAN
    std = IMAGENET_STD
    size = None
    in_memory = False
    next_step = (
        "Give `data: {name: folder, path: ...}`: "
        "a directory, a zip or a pack with train/<class>/* and val/<class>/*."
    )
    pack_name = name

    def __init__(
        self,
        path: Path | None = None,
        *,
        val: Literal["wanted", "optional", "unused"] = "wanted",
        packed: int | None = None,
    ) -> None:
        self.path = path
        self.packed = packed
        self._val = val

    def of(self, config: DataConfig) -> Folder:
        """The folder at `config.path`, relative to the project or absolute."""
        if config.path is None:
            raise DataError(f"data set folder: data.path is missing. {self.next_step}")
        path = project_root() / user_path(config.path, "path")
        val: Literal["wanted", "unused"] = "wanted" if config.evaluate_on == "val" else "unused"
        return Folder(path, val=val, packed=config.packed)

    def packed_at(self, shorter_side: int | None) -> Folder:
        """The same folder, of which a pack holds smaller images."""
        return Folder(self.path, val=self._val, packed=shorter_side)

    @cached_property
    def _layout(self) -> Layout:
        if self.path is None:
            raise DataError(f"data set folder: its facts depend on data.path. {self.next_step}")
        return read_layout(tree_as(self._kept or self.path, self.packed), val=self._val)

    @cached_property
    def _kept(self) -> Path | None:
        """The pack in the cache that was made of the images which the folder holds now."""
        if self.path is None or is_pack(self.path):
            return None
        path = None
        if packs_of(self.pack_name):
            path = pack_path(self.pack_name, files_version(self.path), self.packed)
        if path is not None and path.exists():
            return path
        if self.packed is not None:
            raise DataError(
                f"{shown(self.path)}: there is no pack of {self.packed} px; "
                f"{how_to_pack(self.name, self.packed, shown(self.path))} makes one"
            )
        return None

    @property
    def classes(self) -> int:  # type: ignore[override]
        """Folders in train/."""
        return len(self._layout.classes)

    @property
    def train_images(self) -> int:  # type: ignore[override]
        """Images in train/."""
        return sum(self.class_counts())

    @property
    def val_images(self) -> int:  # type: ignore[override]
        """Images in val/ or test/."""
        return sum(map(len, self._layout.val))

    @property
    def version(self) -> str:
        """A fingerprint of the names and contents of all images."""
        if self.path is None:
            return "of data.path"
        _ = self._layout
        return files_version(self._kept or self.path)

    def version_at(self, path: Path) -> str:
        """A fingerprint of the names and contents of the images at `path`."""
        return files_version(Folder(path, packed=self.packed)._kept or path)

    @property
    def origins(self) -> tuple[Source, ...]:
        """The path in the spec."""
        return (
            Source(
                label="data.path of the spec" if self.path is None else str(self.path),
                read=self._read_own,
                here=lambda: self.path is not None and is_there(self.path),
            ),
        )

    def missing(self) -> str | None:
        """Also notices that a pack is missing."""
        lack = super().missing()
        if lack is None:
            _ = self._kept
        return lack

    def class_order(self) -> str | None:
        """Of numbered classes: textual, as torchvision's; timm's is numeric."""
        return textual_order(self._layout.classes)

    def class_counts(self) -> tuple[int, ...]:
        """Training images per class, counted."""
        return tuple(map(len, self._layout.train))

    def read(self, path: Path) -> Splits:
        """The images at `path`, whatever their number."""
        return Folder(path, val="optional", packed=self.packed)._read_own()

    def left_out(self, path: Path | None) -> list[str]:
        """What is no image of a class, and what else a person may not expect."""
        path = path or self.path
        assert path is not None
        return left_out(open_tree(path))

    def _read_own(self) -> Splits:
        return self._layout.splits(channels=self.channels)


DATASETS.register("folder")(Folder())
