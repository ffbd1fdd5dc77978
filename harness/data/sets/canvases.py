"""Canvases of garments: a small real set with boxes and masks, drawn from Fashion-MNIST."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from harness.data import DATASETS
from harness.data.dataset import Arrays, DataSet, Source, Splits
from harness.data.sets.fashion_mnist import FashionMnist
from harness.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SIDE: Final = 56  # pixels of a canvas
MOST: Final = 3  # garments on a canvas; at least 1
TRIES: Final = 50  # places that are tried for a garment; it is left out if none is free
DRAWN_AS: Final = "1"  # part of the version: raise it when canvases are drawn in another way
HALVES: Final = ("train", "val")  # the seeds are their places here
BACKGROUND: Final = 0  # class of a mask; garments count from 1 there

Edges: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom; the last two exclusive


class Canvases(DataSet):
    """1 to 3 garments of Fashion-MNIST at their own size on a black canvas, none over another.

    Each half draws from its own half of Fashion-MNIST: how many garments, which, and where. The
    draws have a fixed seed, so canvas number i is always the same. A garment is what of its picture
    is not black. Its box is tight around those pixels, and boxes do not overlap.
    """

    name = "canvases"
    title = "Canvases of garments, with boxes"
    licence = "MIT"
    classes = 10
    channels = 1
    mean = (0.1222,)
    std = (0.2708,)
    train_images, val_images = 10_000, 1_000
    size = SIDE
    in_memory = True
    background = 0
    labelling: Literal["boxes", "masks"] = "boxes"
    garments: DataSet = FashionMnist()

    @property
    def next_step(self) -> str:  # type: ignore[override]
        """Of the garments."""
        return self.garments.next_step

    @property
    def version(self) -> str:
        """Of the garments, and of how they are drawn."""
        text = f"{DRAWN_AS} {SIDE} {MOST} {TRIES} {self.garments.version}"
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def origins(self) -> tuple[Source, ...]:
        """Fashion-MNIST, from wherever that comes."""
        return (Source(label="drawn from fashion-mnist", read=self._drawn, here=self._here),)

    @property
    def download(self) -> int | None:
        """Of the garments."""
        return self.garments.download

    def missing(self) -> str | None:
        """The garments."""
        return self.garments.missing()

    def read(self, path: Path) -> Splits:
        """From a copy of Fashion-MNIST."""
        return self._of(self.garments.read(path))

    def _here(self) -> bool:
        return self.garments.missing() is None

    def _drawn(self) -> Splits:
        return self._of(self.garments.load())

    def _of(self, garments: Splits) -> Splits:
        train, val = garments.train, garments.val
        assert isinstance(train, Arrays)
        assert isinstance(val, Arrays)
        return Splits(
            train=self._half(train, self.train_images, "train"),
            val=self._half(val, self.val_images, "val"),
        )

    def _half(self, garments: Arrays, count: int, half: Literal["train", "val"]) -> Arrays:
        import numpy as np

        # a generator for each: the first canvases do not depend on how many follow
        numbers, which, where = (
            np.random.default_rng([HALVES.index(half), what]) for what in range(3)
        )
        wanted = numbers.integers(1, MOST + 1, count)
        chosen = which.integers(len(garments.labels), size=(count, MOST))
        places = where.random((count, MOST, TRIES, 2))
        images = np.zeros((count, 1, SIDE, SIDE), np.uint8)
        masks = np.full((count, SIDE, SIDE), BACKGROUND, np.uint8)
        boxes = np.full((count, MOST, 6), -1, np.float32)
        tight = tight_boxes(garments.images[:, 0].astype(np.uint8, copy=False))
        for index in range(count):
            placed: list[Edges] = []
            for number, tried in zip(chosen[index, : wanted[index]], places[index], strict=False):
                edges = tight[number]
                box = _free(placed, edges[2:] - edges[:2], tried)
                if box is None:
                    continue
                left, top, right, bottom = edges
                part = garments.images[number, 0, top:bottom, left:right]
                label = garments.labels[number]
                area = slice(box[1], box[3]), slice(box[0], box[2])
                images[index, 0][area] = part
                masks[index][area][part > 0] = label + 1
                boxes[index, len(placed)] = (label, *box, 0)
                placed.append(box)
        targets = boxes if self.labelling == "boxes" else masks
        return Arrays(images=images, labels=np.zeros(count, np.int64), targets=targets)


class CanvasMasks(Canvases):
    """The same canvases with the class of every pixel: 0 is black, 1 to 10 are the garments."""

    name = "canvases-masks"
    title = "Canvases of garments, with masks"
    classes = 11
    labelling: Literal["boxes", "masks"] = "masks"


def tight_boxes(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(N, 4): left, top, right and bottom, the last two exclusive, of what is not black in images
    (N, H, W); DataError where one is black all over.
    """
    import numpy as np

    edges = []
    for axis in (1, 2):  # columns, then rows
        some: NDArray[np.bool_] = np.any(images, axis=axis)
        if not some.any(axis=1).all():
            raise DataError("a garment of fashion-mnist is black all over: get the set again")
        edges.append((some.argmax(axis=1), some.shape[1] - some[:, ::-1].argmax(axis=1)))
    (left, right), (top, bottom) = edges
    return np.stack([left, top, right, bottom], axis=1)


def _free(
    placed: Sequence[Edges], sides: NDArray[np.int64], tried: NDArray[np.float64]
) -> Edges | None:
    """The first of the places `tried`, shares of the room (T, 2), where nothing is, or None."""
    wide, tall = sides.tolist()
    for x, y in tried.tolist():
        left, top = int(x * (SIDE - wide + 1)), int(y * (SIDE - tall + 1))
        box = left, top, left + wide, top + tall
        if not any(_overlap(box, other) for other in placed):
            return box
    return None


def _overlap(one: Edges, other: Edges) -> bool:
    apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    return not apart


DATASETS.register("canvases")(Canvases())
DATASETS.register("canvases-masks")(CanvasMasks())
