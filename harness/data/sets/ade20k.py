"""ADE20k for scene parsing, from the user's own copy: the class of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from harness.data import DATASETS
from harness.data.dataset import Files, Labelling, Splits
from harness.data.layout import Layout
from harness.data.masks import in_two_folders, paired
from harness.data.naming import shown
from harness.data.sets.imagenet import OwnImages
from harness.data.tree import ImageTree
from harness.errors import DataError


class Ade20k(OwnImages):
    """20,210 + 2,000 photographs, 150 classes (arXiv 1608.05442): ADEChallengeData2016.

    In its masks 0 is what belongs to no class, and nobody is judged there. Images are scaled by 0.5
    and 0.5, as Segmenter does for encoders of timm's ViT.
    """

    name = "ade20k"
    title = "ADE20k, scene parsing"
    licence = "ADE20k terms of use (research and education)"
    classes = 150
    mean = std = (0.5, 0.5, 0.5)
    train_images, val_images = 20_210, 2_000
    version = "challenge2016"
    labelling: Labelling = "masks"
    layout_says = (
        "images/training/*.jpg and images/validation/*.jpg with annotations/training/*.png and "
        "annotations/validation/*.png, as ADEChallengeData2016.zip holds them"
    )
    offset: ClassVar[int] = 1  # the label of the first class
    top: ClassVar[str] = "ADEChallengeData2016/"  # folder that the archive has around all others

    def read(self, path: Path) -> Splits:
        """Images with their masks, counted; nothing decoded yet."""
        tree = self.tree(path)
        names = tree.names()
        top = self.top if any(name.startswith(self.top) for name in names) else ""
        train, val = (
            self._half(tree, names, top, folder, count)
            for folder, count in (("training", self.train_images), ("validation", self.val_images))
        )
        return Splits(train=train, val=val)

    def _half(
        self, tree: ImageTree, names: Sequence[str], top: str, folder: str, count: int
    ) -> Files:
        folders = (f"{top}images/{folder}", f"{top}annotations/{folder}")
        pairs = in_two_folders(tree, names, folders)
        if len(pairs) != count:
            raise DataError(
                f"{shown(tree.path / folders[0])}: holds {len(pairs):,} images, expected "
                f"{count:,}; the layout is {self.layout_says}"
            )
        return paired(tree, pairs, channels=self.channels, classes=self.classes, offset=self.offset)

    def left_out(self, path: Path | None) -> list[str]:
        """Nothing is told of other files."""
        return []

    def layout(self, path: Path) -> Layout:
        """There are no folders of classes."""
        raise DataError(f"{shown(path)}: {self.name} has masks, no classes of images")


DATASETS.register("ade20k")(Ade20k())
