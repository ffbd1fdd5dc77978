"""Images, the true class of every pixel, and below them what each row's network tells."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from harness.data.targets import UNKNOWN
from harness.report.figures import FIGURES, RecordedPictures, content_of
from harness.report.pictures import checked_png, decoded, name_line, picture_grid

PARTS = ("image", "truth", "guess")
TURN = 0.381966  # of the colour wheel, from one class to the next: the golden angle


@dataclass(frozen=True, kw_only=True, slots=True)
class Masked:
    """An image and two masks in grey, a value a class; PNG in base64."""

    image: str
    truth: str
    guess: str


@FIGURES.register("masks")
class Masks(RecordedPictures):
    """The first images of the first row, which all rows show; their true masks, and a line of masks
    a row.
    """

    place: ClassVar[int] = 40
    most_rows: ClassVar[int] = 6

    @classmethod
    def read(cls, path: Path) -> tuple[Masked, ...]:
        """The pictures of one run."""
        content = content_of(path)
        return tuple(
            Masked(**{part: checked_png(str(one[part])) for part in PARTS})
            for one in content["pictures"]
        )

    def draw(self) -> Drawing:
        """Two lines, and one for each row."""
        by_row = self.select()
        first = next(iter(by_row.values()))
        lines = [
            ("images", [decoded(one.image) for one in first]),
            ("truth", [coloured(decoded(one.truth)) for one in first]),
        ]
        for row, pictures in by_row.items():
            lines.append(
                (self.model.full_name(row), [coloured(decoded(one.guess)) for one in pictures])
            )
        figure, grid = picture_grid(len(lines), len(first), most=0.95)
        for line, (name, drawn) in zip(grid, lines, strict=True):
            for axes, picture in zip(line, drawn, strict=False):
                axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            name_line(line[0], name)
        return figure


def colour(of_class: int) -> tuple[float, float, float]:
    """Red, green and blue in 0..1; neighbouring numbers get colours far apart, 0 is dark."""
    if of_class == 0:
        return 0.13, 0.13, 0.13
    lighter = of_class % 3
    hue = of_class * TURN % 1.0
    return colorsys.hsv_to_rgb(hue, (0.85, 0.55, 0.7)[lighter], (0.95, 0.95, 0.65)[lighter])


def coloured(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask (H, W) as a picture (H, W, 3)."""
    table = np.array([colour(number) for number in range(UNKNOWN)] + [(1.0, 1.0, 1.0)])
    picture: NDArray[np.uint8] = (255 * table).round().astype(np.uint8)[mask]
    return picture
