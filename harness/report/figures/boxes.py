"""Images with the boxes of their objects and those that were found: a line for each row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Rectangle

from harness.report.figures import FIGURES, RecordedPictures, content_of
from harness.report.pictures import checked_png, decoded, name_line, picture_grid

TRUE, RIGHT, WRONG = "white", "#35b779", "#ff7f0e"


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxedImage:
    """One image; a box is class, left, top, width and height, as shares of the picture."""

    png: str  # base64
    truth: tuple[tuple[float, ...], ...]
    found: tuple[tuple[float, ...], ...]  # with its probability at the end


@FIGURES.register("boxes")
class ImagesWithBoxes(RecordedPictures):
    """Objects dashed; what was found solid, with its class and probability: green where an object
    of that class overlaps it by half (IoU), else orange.
    """

    place: ClassVar[int] = 48
    most_rows: ClassVar[int] = 6
    most_pictures: ClassVar[int] = 6
    drawn_as: ClassVar[str] = (
        "With class and probability; green where an object of that class overlaps by half."
    )

    @classmethod
    def read(cls, path: Path) -> tuple[BoxedImage, ...]:
        """The pictures of one run."""
        content = content_of(path)
        return tuple(
            BoxedImage(
                png=checked_png(str(one["png"])),
                truth=tuple(_numbers(box, 5) for box in one["truth"]),
                found=tuple(_numbers(box, 6) for box in one["found"]),
            )
            for one in content["pictures"]
        )

    def draw(self) -> Drawing:
        """One line for each row."""
        by_row = self.select()
        across = max(len(pictures) for pictures in by_row.values())
        figure, grid = picture_grid(len(by_row), across, most=1.2)
        for line, (row, pictures) in zip(grid, by_row.items(), strict=True):
            for axes, picture in zip(line, pictures, strict=False):
                _draw(axes, picture)
            name_line(line[0], self.model.full_name(row))
        return figure


def _numbers(box: Any, count: int) -> tuple[float, ...]:
    numbers = tuple(map(float, box))
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"a box has not {count} finite numbers")
    return numbers


def _draw(axes: Axes, picture: BoxedImage) -> None:
    pixels = decoded(picture.png)
    tall, wide = pixels.shape[:2]
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, extent=(0, wide, tall, 0))
    for box in picture.truth:
        axes.add_patch(_rectangle(box, wide, tall, color=TRUE, style="--"))
    for box in picture.found:
        right = any(true[0] == box[0] and _iou(true, box) >= 0.5 for true in picture.truth)
        colour = RIGHT if right else WRONG
        axes.add_patch(_rectangle(box, wide, tall, color=colour, style="-"))
        axes.text(
            min(max(box[1], 0), 0.8) * wide,
            max(box[2], 0.1) * tall,
            f"{box[0]:.0f}: {box[5]:.2f}",
            color=colour,
            fontsize=5,
            va="bottom",
        )
    axes.set(xlim=(0, wide), ylim=(tall, 0))


def _rectangle(
    box: tuple[float, ...], wide: int, tall: int, *, color: str, style: str
) -> Rectangle:
    corner, sides = (box[1] * wide, box[2] * tall), (box[3] * wide, box[4] * tall)
    return Rectangle(corner, *sides, fill=False, color=color, linestyle=style, linewidth=0.9)


def _iou(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Of boxes whose numbers 1 to 4 are left, top, width and height."""
    wide = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    tall = min(one[2] + one[4], other[2] + other[4]) - max(one[2], other[2])
    inside = max(0.0, wide) * max(0.0, tall)
    union = one[3] * one[4] + other[3] * other[4] - inside
    return inside / union if union else 0.0
