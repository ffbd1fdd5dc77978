"""Pascal VOC with masks: the class of every pixel, of the photographs that have one."""

from __future__ import annotations

from pathlib import Path

from harness.data import DATASETS
from harness.data.boxes import COPY_AGAIN
from harness.data.dataset import Files, Labelling, Splits
from harness.data.masks import paired
from harness.data.naming import shown
from harness.data.paths import cache_dir
from harness.data.sets.voc import VocDetection, listed_images
from harness.data.tree import Directory
from harness.errors import DataError

YEAR = "VOC2012"


class VocMasks(VocDetection):
    """1,464 + 1,449 photographs, 20 classes of objects and what is behind them (Everingham et al.
    2010): 2012's train and val. Edges of objects have no class.
    """

    name = "voc-masks"
    title = "Pascal VOC 2012 with masks, train and val"
    classes = 21
    train_images, val_images = 1_464, 1_449
    labelling: Labelling = "masks"
    version = "voc2012-masks"

    @property
    def _kept(self) -> Path:
        """What was downloaded for the boxes: it is one archive."""
        return cache_dir() / VocDetection.version

    def read(self, path: Path) -> Splits:
        """The copy at `path`, which holds VOC2012/; its lists are read and files counted."""
        devkit = self.devkit(path)
        train, val = (
            self._listed(devkit, half, count)
            for half, count in (("train", self.train_images), ("val", self.val_images))
        )
        return Splits(train=train, val=val)

    def _listed(self, devkit: Path, half: str, count: int) -> Files:
        path = devkit / YEAR / "ImageSets" / "Segmentation" / f"{half}.txt"
        names = listed_images(path)
        if len(names) != count:
            what = f"lists {len(names):,} images, expected {count:,}"
            raise DataError(f"{shown(path)}: {what}; {COPY_AGAIN}")
        pairs = [
            (f"{YEAR}/JPEGImages/{name}.jpg", f"{YEAR}/SegmentationClass/{name}.png")
            for name in names
        ]
        for pair, name in zip(pairs, names, strict=True):
            for one in pair:
                if not (devkit / one).is_file():
                    raise DataError(
                        f"{shown(devkit / one)}: is missing, and {half}.txt lists {shown(name)}; "
                        f"{COPY_AGAIN}"
                    )
        return paired(
            Directory(devkit), pairs, channels=self.channels, classes=self.classes, offset=0
        )


DATASETS.register("voc-masks")(VocMasks())
