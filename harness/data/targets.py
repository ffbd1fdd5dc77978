"""Whether the boxes or the mask of an image, as a set holds them, fit it: `harness.data.dense` says
how they look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from harness.data.dataset import Files, Split
from harness.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

UNKNOWN: Final = 255
"""The class of a pixel where nobody knows it, in files as in batches."""
APART: Final = "they do not belong together"
ROUNDING: Final = 1.5  # pixels that annotated boxes may reach beyond their image


def check_fit(
    split: Split, index: int, image: Image, target: NDArray[Any], *, classes: int
) -> None:
    """DataError unless a mask has as many pixels as its image, boxes lie within theirs, and both
    are of the set's classes.
    """
    wrong = _misfit(image, target) or _unknown_class(target, classes)
    if wrong is not None:
        where = split.path(index) if isinstance(split, Files) else f"image {index}"
        raise DataError(f"{where}: {wrong}; get the set again")


def is_mask(target: NDArray[Any]) -> bool:
    """Whether it is a mask, bytes (H, W); what else a set has of an image are boxes (M, 6)."""
    return target.dtype.name == "uint8"


def says_nothing(target: NDArray[Any]) -> bool:
    """Whether it is a mask in which no pixel has a class."""
    return is_mask(target) and bool((target == UNKNOWN).all())


def _misfit(image: Image, target: NDArray[Any]) -> str | None:
    size = f"{image.width} x {image.height}"
    if is_mask(target):
        tall, wide = target.shape
        fits = (wide, tall) == image.size
        said = f"the image has {size} pixels and its mask {wide} x {tall}: {APART}"
        return None if fits else said
    edges = target[target[:, 0] >= 0, 1:5]
    if not len(edges):
        return None
    low, high = edges[:, :2].min(axis=0).tolist(), edges[:, 2:].max(axis=0).tolist()
    room = image.width + ROUNDING, image.height + ROUNDING
    if min(low) >= -ROUNDING and high[0] <= room[0] and high[1] <= room[1]:
        return None
    reach = f"{low[0]:g}, {low[1]:g} to {high[0]:g}, {high[1]:g}"
    return f"its boxes reach from {reach}, the image has {size} pixels: {APART}"


def _unknown_class(target: NDArray[Any], classes: int) -> str | None:
    mask = is_mask(target)
    labels = target[target != UNKNOWN] if mask else target[target[:, 0] >= 0, 0]
    if not len(labels) or labels.max() < classes:
        return None
    what = "its mask" if mask else "one of its boxes"
    return f"{what} has the class {labels.max():g}, and they count from 0 to {classes - 1}"
