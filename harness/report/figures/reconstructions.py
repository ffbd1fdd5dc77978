"""Images, what an encoder sees of them, and what a decoder guesses: a line of triples a row."""

from __future__ import annotations

import base64
import json
import textwrap
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar

import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

from harness.report.drawing import WIDTH
from harness.report.figures import FIGURES, RecordedFigure

LEFT = 1.5  # inches, for the names of rows
MOST_ROWS, MOST_PICTURES = 4, 8
PARTS = ("original", "masked", "guess")


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconstruction:
    """Three images, PNG in base64."""

    original: str
    masked: str
    guess: str


@FIGURES.register("reconstructions")
class Reconstructions(RecordedFigure):
    """For each row three lines: the images, what is seen of each, and the guess."""

    place: ClassVar[int] = 45

    @classmethod
    def read(cls, path: Path) -> tuple[Reconstruction, ...]:
        """The pictures of one run."""
        content = json.loads(path.read_bytes().decode())
        found = [
            Reconstruction(**{part: str(picture[part]) for part in PARTS})
            for picture in content["pictures"]
        ]
        for one in found:
            for part in PARTS:
                try:
                    content = base64.b64decode(getattr(one, part))
                    Image.open(BytesIO(content), formats=["PNG"]).verify()
                except OSError:  # else it would be told as a file that cannot be opened
                    raise ValueError("a picture is no PNG") from None
        return tuple(found)

    def select(self) -> dict[str, tuple[Reconstruction, ...]]:
        """The pictures that are shown, by row."""
        by_row = self._by_row()
        return {row: by_row[row][:MOST_PICTURES] for row in list(by_row)[:MOST_ROWS]}

    def _by_row(self) -> dict[str, tuple[Reconstruction, ...]]:
        source = self.declared.source
        found = {run.row: run.files[source] for run in self.model.runs if source in run.files}
        return {row.id: found[row.id] for row in self.model.rows if found.get(row.id)}

    def caption(self) -> str:
        """As declared, and what is left out."""
        count = len(self._by_row())
        rest = f" The first {MOST_ROWS} of {count} rows." if count > MOST_ROWS else ""
        return f"{self.declared.caption}{rest}"

    def draw(self) -> Drawing:
        """Three lines for each row."""
        by_row = self.select()
        across = max(len(pictures) for pictures in by_row.values())
        side = min(0.95, (WIDTH - LEFT) / across)
        size = (LEFT + side * across, side * 3 * len(by_row) + 0.1)
        dense = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, hspace=0, wspace=0)
        figure = Drawing(figsize=size, layout=dense)
        grid = figure.subplots(3 * len(by_row), across, squeeze=False)
        for axes in grid.flat:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(visible=False)
            for spine in axes.spines.values():
                spine.set_visible(False)
        for number, (row, pictures) in enumerate(by_row.items()):
            for line, part in enumerate(PARTS):
                for axes, picture in zip(grid[3 * number + line], pictures, strict=False):
                    axes.imshow(_decoded(getattr(picture, part)), cmap="gray", vmin=0, vmax=255)
                name = self.model.full_name(row) if line == 0 else ""
                words = {"original": "images", "masked": "what is seen", "guess": "guess"}[part]
                text = textwrap.fill(name, 22, max_lines=2, placeholder="…")
                grid[3 * number + line][0].set_ylabel(
                    f"{text}\n{words}".strip(), rotation=0, ha="right", va="center", labelpad=6
                )
        return figure


def _decoded(png: str) -> NDArray[np.uint8]:
    with Image.open(BytesIO(base64.b64decode(png))) as image:
        return np.asarray(image)
