"""What figures of small pictures share: PNGs in base64, and a grid of them with a row's name at the
left of each line.
"""

from __future__ import annotations

import base64
import textwrap
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

from harness.report.drawing import WIDTH

LEFT = 1.5  # inches, for the names of rows


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


def picture_grid(
    lines: int, across: int, *, most: float, room: float = 0.1
) -> tuple[Figure, NDArray[Any]]:
    """A figure, and its axes (lines, across) for square pictures of at most `most` inches; `room`
    is left over them.
    """
    side = min(most, (WIDTH - LEFT) / across)
    figure = close_figure((LEFT + side * across, side * lines + room))
    return figure, bare_axes(figure, lines, across)


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
