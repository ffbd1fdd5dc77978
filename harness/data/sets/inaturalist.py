"""iNaturalist 2018 and 2019, from the user's own copy: photographs of plants and animals."""

from __future__ import annotations

from pathlib import Path

from harness.data import DATASETS
from harness.data.layout import Layout, check_counts, read_layout
from harness.data.pack import suffix
from harness.data.sets.imagenet import OwnImages


class INaturalist(OwnImages):
    """One year's competition (arXiv 1707.06642; visipedia/inat_comp): classes are species."""

    licence = "terms of the iNaturalist competition (research, not commercial)"

    def __init__(self, year: int, *, classes: int, train: int, val: int) -> None:
        self.name = f"inaturalist-{year}"
        self.title = f"iNaturalist {year}"
        self.classes = classes
        self.train_images, self.val_images = train, val
        folders = f"{classes:,} folders each, sorted by the lists of the competition"
        self.layout_says = f"train/<species>/*.jpg and val/<species>/*.jpg, {folders}"

    @property
    def version(self) -> str:
        """That of the competition: it has not changed since."""
        return f"{self.name}{suffix(self.packed)}"

    def class_counts(self) -> tuple[int, ...]:
        """Counted in the user's copy: some species have a few images, others hundreds."""
        return tuple(map(len, self.own().train))

    def layout(self, path: Path) -> Layout:
        """The usual folders, all images there."""
        layout = read_layout(self.tree(path), val="wanted")
        check_counts(layout, classes=self.classes, train=self.train_images, val=self.val_images)
        return layout


DATASETS.register("inaturalist-2018")(INaturalist(2018, classes=8142, train=437_513, val=24_426))
DATASETS.register("inaturalist-2019")(INaturalist(2019, classes=1010, train=265_213, val=3_030))
