"""Few pictures, canvases with boxes and with masks, and sounds, made in a moment: in the place of
the sets of these names.
"""

from __future__ import annotations

import numpy as np
import pytest

from harness.data import DATASETS, module
from harness.data.dataset import Arrays, DataSet, Splits
from harness.data.sets.canvases import Canvases, CanvasMasks
from harness.data.sets.fashion_mnist import FashionMnist
from harness.data.sets.fsdd import Fsdd
from harness.data.telling import Telling
from harness.evaluate import segmentation

TRAIN, VAL = 36, 20
SQUARE, LABEL = 20, 3


class FewGarments(FashionMnist):
    """Rectangles of noise on black, a class a size."""

    train_images, val_images, smallest_class = TRAIN, VAL, TRAIN // 10

    def load(self, tell: Telling | None = None) -> Splits:
        return Splits(train=_garments(0, TRAIN), val=_garments(1, VAL))


def _garments(seed: int, count: int) -> Arrays:
    draws = np.random.default_rng(seed)
    images = np.zeros((count, 1, 28, 28), np.uint8)
    labels = np.arange(count) % 10
    for image, label in zip(images[:, 0], labels, strict=True):
        image[4 : 14 + label, 3 : 22 - label] = draws.integers(1, 256, (10 + label, 19 - label))
    return Arrays(images=images, labels=labels.astype(np.int64))


class FewSquares(FewGarments):
    """Of one class, and as large: a network that always guesses the same is right now and then."""

    def load(self, tell: Telling | None = None) -> Splits:
        images = np.zeros((1, 1, 28, 28), np.uint8)
        images[:, :, :SQUARE, :SQUARE] = 200
        one = Arrays(images=images, labels=np.full(1, LABEL))
        return Splits(train=one, val=one)


class FewCanvases(Canvases):
    """Of such squares."""

    train_images, val_images = TRAIN, VAL
    garments = FewSquares()


class FewMasks(CanvasMasks):
    """Of such rectangles."""

    train_images, val_images = TRAIN, VAL
    garments = FewGarments()


class FewSounds(Fsdd):
    """Noise in place of the log energies of two digits."""

    classes = 2
    train_images, val_images, smallest_class = TRAIN, VAL, TRAIN // 2

    def load(self, tell: Telling | None = None) -> Splits:
        return Splits(train=self._noise(0, TRAIN), val=self._noise(1, VAL))

    def _noise(self, seed: int, count: int) -> Arrays:
        values = np.random.default_rng(seed).normal(-4, 4, (count, 1, 64, 70)).astype(np.float32)
        return Arrays(images=values, labels=(np.arange(count) % 2).astype(np.int64))


def sets() -> dict[str, DataSet]:
    """By the names that specs give them."""
    return {one.name: one for one in (FewGarments(), FewCanvases(), FewMasks(), FewSounds())}


def install(patch: pytest.MonkeyPatch | None = None) -> None:
    """They are the sets of these names from now on, and evaluations look at three images at once,
    so that processes share them; without `patch` for good, in a process of its own.
    """
    patch = patch or pytest.MonkeyPatch()
    DATASETS.names()
    for name, one in sets().items():
        patch.setitem(DATASETS._items, name, one)
    patch.setattr(module, "EVAL_BATCH", 3)
    patch.setattr(segmentation, "MOST_SCORES", 3 * 11 * 56**2)
