"""Images that judge networks of ImageNet-1k and differ from what they learned from, from the user's
own copies: ImageNet-A, -R, -Sketch and -V2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Self

from harness.data import DATASETS
from harness.data.dataset import Splits
from harness.data.layout import Layout
from harness.data.naming import shown
from harness.data.pack import suffix
from harness.data.sets.imagenet import OwnImages
from harness.errors import DataError

CLASSES = 1000  # of ImageNet-1k; the sets have images of all, or of some of them


class ShiftedImageNet(OwnImages):
    """Images of ImageNet-1k's classes that nobody trains on: both halves are those that judge.

    Labels count as ImageNet-1k's, 0 to 999 in order of the synsets' names, whatever classes are
    there.
    """

    classes = CLASSES
    structured = False
    judges_only = True

    def __init__(
        self,
        name: str,
        title: str,
        *,
        images: int,
        present: int,
        folders: str,
        licence: str,
        each: int | None = None,  # images of every class, where they are as many
        others: Sequence[str] = (),  # what folders of other sets with the same counts are called
    ) -> None:
        self.name, self.title = name, title
        self.train_images = self.val_images = images
        self.licence = licence
        self._present, self._each, self._others = present, each, others
        self.layout_says = f"{folders}, {images:,} images in {present:,} folders"

    @property
    def version(self) -> str:
        """As released: counts are checked, not contents."""
        return f"{self.name}{suffix(self.packed)}"

    def packed_at(self, shorter_side: int | None) -> Self:
        """As they came: columns judge by nothing else."""
        if shorter_side is not None:
            raise DataError(
                f"data set {self.name}: networks are judged by its images as they came, so nothing "
                "reads a pack of smaller ones: pack it without a size"
            )
        return self

    def class_counts(self) -> tuple[int, ...]:
        """Counted in the user's copy; 0 for classes that are not there."""
        return tuple(map(len, self.own().val))

    def read(self, path: Path) -> Splits:
        """The copy at `path`, its counts checked: one half, twice."""
        images = self.layout(path).splits(channels=self.channels).val
        return Splits(train=images, val=images)

    def layout(self, path: Path) -> Layout:
        """Every image is of the class that its folder is named for: a synset, or a label."""
        tree = self.tree(path)
        listing = tree.listing()
        within = f"{path.resolve().name}/{listing.prefix}"
        for other in self._others:
            if other in within:
                raise DataError(
                    f"{shown(path)}: holds '{shown(within)}', which is another set: {self.name} is "
                    f"{self.title}"
                )
        of_class: dict[int, list[str]] = {}
        for name in listing.images:
            folder = name.rpartition("/")[0].rpartition("/")[2]
            label = _label(folder)
            if label is None:
                what = f"folder '{shown(folder)}' is no class of ImageNet-1k"
                what = what if folder else "lies in no folder of a class"
                raise DataError(f"{tree.where(name)}: {what}; the layout is {self.layout_says}")
            of_class.setdefault(label, []).append(name)
        self._check(path, of_class)
        images = tuple(tuple(of_class.get(label, ())) for label in range(CLASSES))
        return Layout(tree=tree, classes=synsets(), train=images, val=images)

    def _check(self, path: Path, of_class: Mapping[int, Sequence[str]]) -> None:
        for what, here, expected in (
            ("classes", len(of_class), self._present),
            ("images", sum(map(len, of_class.values())), self.val_images),
        ):
            if here != expected:
                raise DataError(
                    f"{shown(path)}: found {here:,} {what}, expected {expected:,}: copy it again"
                )
        for label, names in sorted(of_class.items()):
            if self._each is not None and len(names) != self._each:
                raise DataError(
                    f"{shown(path)}: found {len(names):,} images of class {label}, expected "
                    f"{self._each:,} of every class: copy it again"
                )


@cache
def synsets() -> tuple[str, ...]:
    """Those of ImageNet-1k in the order of its labels, as timm's classifiers count them."""
    from timm.data.imagenet_info import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names())  # type: ignore[no-untyped-call]


@cache
def _labels() -> dict[str, int]:
    return {name: label for label, name in enumerate(synsets())}


def _label(folder: str) -> int | None:
    """Of a folder that is named for a synset or, as in ImageNet-V2, for the label itself."""
    if folder.isascii() and folder.isdigit():
        return int(folder) if int(folder) < CLASSES else None
    return _labels().get(folder)


DATASETS.register("imagenet-a")(
    ShiftedImageNet(
        "imagenet-a",
        "ImageNet-A: photographs that a ResNet-50 gets wrong (arXiv 1907.07174)",
        images=7_500,
        present=200,
        folders="<synset>/*.jpg as in imagenet-a.tar",
        licence="MIT",
    )
)
DATASETS.register("imagenet-r")(
    ShiftedImageNet(
        "imagenet-r",
        "ImageNet-R: paintings, toys, tattoos and other renditions (arXiv 2006.16241)",
        images=30_000,
        present=200,
        folders="<synset>/*.jpg as in imagenet-r.tar",
        licence="MIT",
    )
)
DATASETS.register("imagenet-sketch")(
    ShiftedImageNet(
        "imagenet-sketch",
        "ImageNet-Sketch: drawings in black and white (arXiv 1905.13549)",
        images=50_889,
        present=CLASSES,
        folders="sketch/<synset>/*.JPEG as in the authors' archive",
        licence="not stated by the authors",
    )
)
DATASETS.register("imagenet-v2")(
    ShiftedImageNet(
        "imagenet-v2",
        "ImageNet-V2, matched frequency: a second test set (arXiv 1902.10811)",
        images=10_000,
        present=CLASSES,
        folders="<label>/*.jpeg, 0 to 999, as in imagenetv2-matched-frequency.tar.gz",
        licence="MIT",
        each=10,
        others=("threshold0.7", "threshold-0.7", "top-images", "topimages"),
    )
)
