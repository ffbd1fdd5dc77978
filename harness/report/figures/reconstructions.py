"""Images, what an encoder sees of them, and what a decoder guesses: a line of triples a row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from matplotlib.figure import Figure as Drawing

from harness.report.figures import FIGURES, RecordedPictures, content_of
from harness.report.pictures import checked_png, decoded, name_line, picture_grid

PARTS = ("original", "masked", "guess")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstruction:
    """Three images, PNG in base64."""

    original: str
    masked: str
    guess: str


@FIGURES.register("reconstructions")
class Reconstructions(RecordedPictures):
    """For each row three lines: the images, what is seen of each, and the guess."""

    place: ClassVar[int] = 45
    most_rows: ClassVar[int] = 4

    @classmethod
    def read(cls, path: Path) -> tuple[Reconstruction, ...]:
        """The pictures of one run."""
        content = content_of(path)
        return tuple(
            Reconstruction(**{part: checked_png(str(picture[part])) for part in PARTS})
            for picture in content["pictures"]
        )

    def draw(self) -> Drawing:
        """Three lines for each row."""
        by_row = self.select()
        across = max(len(pictures) for pictures in by_row.values())
        figure, grid = picture_grid(3 * len(by_row), across, most=0.95)
        for number, (row, pictures) in enumerate(by_row.items()):
            for line, part in enumerate(PARTS):
                for axes, picture in zip(grid[3 * number + line], pictures, strict=False):
                    axes.imshow(decoded(getattr(picture, part)), cmap="gray", vmin=0, vmax=255)
                name = self.model.full_name(row) if line == 0 else ""
                words = {"original": "images", "masked": "what is seen", "guess": "guess"}[part]
                name_line(grid[3 * number + line][0], name, lines=2, below=words)
        return figure
