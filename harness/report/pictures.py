"""What figures of small pictures share: PNGs in base64, and a grid of them with a row's name at the
left of each line.
"""

from __future__ import annotations

import base64
import json
import textwrap
from abc import abstractmethod
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

from harness.report.figures import RecordedFigure

LEFT = 1.5  # inches, for the names of rows
OnePicture = TypeVar("OnePicture")


class PicturesByRow(RecordedFigure, Generic[OnePicture]):
    """The first pictures of the first rows, from files with a list of `pictures`."""

    most_rows: ClassVar[int] = 6
    most_pictures: ClassVar[int] = 8

    @classmethod
    @abstractmethod
    def picture(cls, one: Mapping[str, Any]) -> OnePicture:
        """One of the list; ValueError or the like where it is damaged."""

    @classmethod
    def read(cls, path: Path) -> tuple[OnePicture, ...]:
        """The pictures of one run."""
        return tuple(map(cls.picture, json.loads(path.read_bytes().decode())["pictures"]))

    def select(self) -> dict[str, tuple[OnePicture, ...]]:
        """The pictures that are shown, by row."""
        by_row = self.by_row()
        return {row: by_row[row][: self.most_pictures] for row in list(by_row)[: self.most_rows]}

    def caption(self) -> str:
        """As declared, and what is left out."""
        return f"{self.declared.caption}{self.left_out(len(self.by_row()), self.most_rows)}"


def checked_png(png: str) -> str:
    """The same; ValueError unless it is a PNG in base64."""
    try:
        Image.open(BytesIO(base64.b64decode(png)), formats=["PNG"]).verify()
    except OSError:  # else it would be told as a file that cannot be opened
        raise ValueError("a picture is no PNG") from None
    return png


def decoded(png: str, mode: str | None = None) -> NDArray[np.uint8]:
    """Its pixels, (H, W) or (H, W, 3); in Pillow's `mode` where one is given."""
    with Image.open(BytesIO(base64.b64decode(png))) as image:
        return np.asarray(image if mode is None else image.convert(mode))


def close_figure(size: tuple[float, float]) -> Figure:
    """A figure of so many inches, whose axes lie close to each other."""
    dense = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.015, hspace=0, wspace=0)
    return Figure(figsize=size, layout=dense)


def bare_axes(figure: Any, lines: int, across: int) -> NDArray[Any]:
    """Axes (lines, across) for pictures alone."""
    grid: NDArray[Any] = figure.subplots(lines, across, squeeze=False)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return grid


def name_line(axes: Axes, name: str, *, lines: int = 3, below: str = "") -> None:
    """A row's name in so many lines at the left of its first picture, and a word `below` it."""
    text = textwrap.fill(name, 22, max_lines=lines, placeholder="…")
    axes.set_ylabel(f"{text}\n{below}".strip(), rotation=0, ha="right", va="center", labelpad=6)
