"""Images without the patches that are hidden, a line a row, and how much of each object is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from numpy.typing import NDArray

from harness.models.architectures import PatchGrid
from harness.report.drawing import WIDTH, shades
from harness.report.figures import FIGURES, RecordedFigure, content_of
from harness.report.pictures import LEFT, bare_axes, checked_png, close_figure, decoded, name_line

UNDER = 1.9  # inches, for the histogram
TITLES = 0.2  # inches
MOST_ROWS, MOST_PICTURES = 6, 8
HIDDEN = (196, 205, 216)  # a colour that grey pictures do not have


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedImage:
    """One image, and which patches of it are kept."""

    png: str  # base64
    label: int
    kept: tuple[int, ...]  # in raster order


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskedImages:
    """What one run left: pictures, and how many images keep how much of their object, in equal bins
    from none of it to all.
    """

    patches: PatchGrid
    upward: bool  # whether the first row is the lowest, as of spectrograms
    pictures: tuple[MaskedImage, ...]
    shares: tuple[int, ...]  # none where objects are not known

    @property
    def across(self) -> int:
        """How many fit beside each other: wide ones fewer."""
        height, width = self.patches.size
        return max(2, min(MOST_PICTURES, round(MOST_PICTURES * height / width)))


@FIGURES.register("masked-images")
class ImagesAsShown(RecordedFigure):
    """Whole images in the first line, under them what each row keeps of them."""

    place: ClassVar[int] = 42

    @classmethod
    def read(cls, path: Path) -> MaskedImages:
        """The pictures of one run."""
        content = content_of(path)
        height, width = (int(pixels) for pixels in content["size"])
        patches = PatchGrid(
            size=(height, width), patch=int(content["patch"]), stride=int(content["stride"])
        )
        if not 0 < patches.stride <= patches.patch <= min(height, width):
            raise ValueError("its patches do not fit")
        rows, columns = patches.shape
        pictures = tuple(
            MaskedImage(
                png=checked_png(str(one["png"])),
                label=int(one["label"]),
                kept=tuple(int(patch) for patch in one["kept"]),
            )
            for one in content["pictures"]
        )
        for one in pictures:
            if not all(0 <= patch < rows * columns for patch in one.kept):
                raise ValueError("a patch is outside its image")
        shares = tuple(int(count) for count in content["shares"])
        if any(count < 0 for count in shares):
            raise ValueError("a number of images is negative")
        upward = bool(content["upward"])
        return MaskedImages(patches=patches, upward=upward, pictures=pictures, shares=shares)

    def select(self) -> dict[str, MaskedImages]:
        """What is shown, by row: of the images that most rows have. Seeds that are judged by other
        folds have others.
        """
        alike: dict[tuple[str, ...], dict[str, MaskedImages]] = {}
        for row, one in self._files():
            alike.setdefault(tuple(each.png for each in one.pictures), {}).setdefault(row, one)
        most = max(alike.values(), key=len, default={})
        shown = [row.id for row in self.model.rows if row.id in most][:MOST_ROWS]
        return {row: most[row] for row in shown}

    def _files(self) -> list[tuple[str, MaskedImages]]:
        """Rows, and what a run of theirs left; without a picture it has nothing to show."""
        source = self.declared.source
        found = [(run.row, run.files[source]) for run in self.model.runs if source in run.files]
        return [(row, one) for row, one in found if one.pictures]

    def caption(self) -> str:
        """As declared, what stands below, and what is left out."""
        shown, count = self.select(), len({row for row, _ in self._files()})
        first = next(iter(shown.values()))
        patch, stride = first.patches.patch, first.patches.stride
        parts = [self.declared.caption, "Hidden patches are blue-grey."]
        if stride < patch:
            parts.append(
                f"Patches of {patch} x {patch} overlap, each stands for its middle "
                f"{stride} x {stride}."
            )
        if first.upward:
            parts.append("Time from left to right, mel bins from below.")
        if any(one.shares for one in shown.values()):
            thing = "sound" if first.upward else "object"
            parts.append(f"Below: how much of the {thing} is kept, over all that judge.")
        if count > len(shown):
            parts.append(f"{len(shown)} of {count} rows.")
        return " ".join(parts)

    def draw(self) -> Drawing:
        """A line for each row, and the histogram."""
        by_row = self.select()
        first = next(iter(by_row.values()))
        rows, columns = first.patches.size
        lines, counted = len(by_row) + 1, any(one.shares for one in by_row.values())
        height = (WIDTH - LEFT) / first.across * rows / columns * lines + TITLES
        size = (WIDTH, height + (UNDER if counted else 0))
        figure = close_figure(size)
        parts: Any = [figure]
        if counted:
            parts = figure.subfigures(2, 1, height_ratios=[height, UNDER])
        grid = bare_axes(parts[0], lines, first.across)
        for axes, one in zip(grid[0], first.pictures, strict=False):
            axes.set_title(f"class {one.label}", loc="center", fontsize=7)
            _show(axes, decoded(one.png, "RGB"), first)
        names = ["all patches", *(self.model.full_name(row) for row in by_row)]
        for line, of_row in zip(grid[1:], by_row.values(), strict=True):
            for axes, one in zip(line, of_row.pictures, strict=False):
                _show(axes, masked(decoded(one.png, "RGB"), one.kept, of_row.patches), of_row)
        for line, name in zip(grid, names, strict=True):
            name_line(line[0], name)
        if counted:
            self._histogram(parts[1].subplots(), by_row)
        return figure

    def _histogram(self, axes: Axes, by_row: dict[str, MaskedImages]) -> None:
        colours = shades(self.model)
        for row, one in by_row.items():
            if sum(one.shares):
                counts = 100 * np.asarray(one.shares) / sum(one.shares)
                edges = np.linspace(0, 100, len(counts) + 1)
                name = self.model.full_name(row)
                axes.stairs(counts, edges, color=colours[row], lw=1.4, label=name)
        axes.set(xlabel="Part that is kept (%)", ylabel="Images (%)", xlim=(0, 100))
        axes.legend(frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(1.01, 1.0))


def masked(
    picture: NDArray[np.uint8], kept: tuple[int, ...], patches: PatchGrid
) -> NDArray[np.uint8]:
    """The picture (H, W, 3) with all patches but those in `kept` painted over. A pixel belongs to
    the patch whose middle is nearest: patches that overlap share their pixels so.
    """
    margin = (patches.patch - patches.stride) / 2
    row, column = (
        np.clip(((np.arange(here) + 0.5) * size / here - margin) // patches.stride, 0, count - 1)
        for here, size, count in zip(picture.shape, patches.size, patches.shape, strict=False)
    )
    shown = np.isin(row[:, None] * patches.shape[1] + column[None, :], kept)
    return np.where(shown[:, :, None], picture, np.asarray(HIDDEN, dtype=np.uint8))


def _show(axes: Axes, picture: NDArray[np.uint8], one: MaskedImages) -> None:
    origin: Literal["lower", "upper"] = "lower" if one.upward else "upper"
    axes.imshow(picture, origin=origin)
