"""How far and how evenly each block looks, and the singular values of features: a line a row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from harness.report.drawing import WIDTH, shades, shortened
from harness.report.figures import FIGURES, RecordedFigure, content_of

HEIGHT = 2.6  # inches


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerCurves:
    """Of one network."""

    distance: tuple[tuple[float, ...], ...]  # by block and head, in patches
    entropy: tuple[tuple[float, ...], ...]  # likewise, in nats
    spectrum: tuple[float, ...]  # over the largest, which is first


@FIGURES.register("layers")
class Layers(RecordedFigure):
    """Three panels side by side."""

    place: ClassVar[int] = 48

    @classmethod
    def read(cls, path: Path) -> LayerCurves:
        """The curves of one run."""
        content = content_of(path)
        by_block = [
            tuple(tuple(map(float, heads)) for heads in content[name])
            for name in ("distance", "entropy")
        ]
        spectrum = tuple(map(float, content["spectrum"]))
        every = [value for blocks in by_block for heads in blocks for value in heads]
        if not spectrum or not all(map(math.isfinite, [*every, *spectrum])):
            raise ValueError("its values are no finite numbers")
        heads = {len(heads) for blocks in by_block for heads in blocks}
        if len(heads) != 1 or not min(heads) or len({len(blocks) for blocks in by_block}) != 1:
            raise ValueError("its blocks have not one value for every head")
        return LayerCurves(distance=by_block[0], entropy=by_block[1], spectrum=spectrum)

    def select(self) -> dict[str, list[LayerCurves]]:
        """The curves of every row: one for each seed."""
        source = self.declared.source
        found: dict[str, list[LayerCurves]] = {}
        for run in self.model.runs:
            if source in run.files:
                found.setdefault(run.row, []).append(run.files[source])
        return {row.id: found[row.id] for row in self.model.rows if row.id in found}

    def draw(self) -> Drawing:
        """Distance, entropy, spectrum; the rows under them."""
        figure = Drawing(figsize=(WIDTH, HEIGHT + 0.5), layout="constrained")
        panels = figure.subplots(1, 3)
        colours = shades(self.model)
        for row, curves in list(self.select().items())[: self.most_rows]:
            name = shortened(self.model.full_name(row), 40)
            _by_block(panels[0], [one.distance for one in curves], colours[row], name)
            _by_block(panels[1], [one.entropy for one in curves], colours[row], name)
            _spectrum(panels[2], [one.spectrum for one in curves], colours[row])
        titles = (
            ("Distance (patches)", "Block"),
            ("Entropy (nats)", "Block"),
            ("Singular values", "Number"),
        )
        for axes, (title, label) in zip(panels, titles, strict=True):
            axes.set_title(title)
            axes.set_xlabel(label)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[2].set_yscale("log")
        panels[2].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panels[2].yaxis.set_minor_formatter(NullFormatter())
        lines, names = panels[0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside lower center", ncols=2, frameon=False)
        return figure


def _by_block(
    axes: Axes, curves: list[tuple[tuple[float, ...], ...]], shade: str, name: str
) -> None:
    """The mean over seeds and heads, and the band of heads; networks of one depth and width."""
    alike = [one for one in curves if np.shape(one) == np.shape(curves[0])]
    heads = np.mean(np.asarray(alike), axis=0)  # (blocks, heads)
    block = np.arange(1, len(heads) + 1)
    axes.plot(block, heads.mean(axis=1), color=shade, lw=1.4, marker="o", ms=3, label=name)
    axes.fill_between(block, heads.min(axis=1), heads.max(axis=1), color=shade, alpha=0.12, lw=0)


def _spectrum(axes: Axes, curves: list[tuple[float, ...]], shade: str) -> None:
    alike = [one for one in curves if len(one) == len(curves[0])]
    mean = np.mean(np.asarray(alike), axis=0)
    seen = mean > 1e-6  # what is rounding would flatten all that is not
    axes.plot(np.arange(1, len(mean) + 1)[seen], mean[seen], color=shade, lw=1.4)
