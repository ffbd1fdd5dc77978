"""When student and teacher compute within a step: a panel for each way to order it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import Patch

from harness.report.drawing import INK, SOFT, WIDTH, colour, shortened
from harness.report.figures import FIGURES, RecordedFigure, content_of

LANE = 0.62  # height of a bar, where a lane has 1
STEP_HEIGHT, ROW_HEIGHT = 0.52, 0.75  # inches: of a step's two lanes; of a row's title and axis
LANES = ("student", "teacher")
PARTS = {"student forward": 0, "teacher forward": 1, "student backward": 2}
"""In the order of the legend, with their colours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedSpan:
    """What a device does with one micro-batch; seconds since the step began."""

    part: str
    micro_batch: int
    start: float
    end: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedSteps:
    """Of one run: a step of each variant."""

    bound: float  # seconds
    seconds: dict[str, float]
    spans: dict[str, tuple[TimedSpan, ...]]

    @property
    def shown(self) -> list[str]:
        """Plain, naive, and of those in micro-batches the one with the shortest step."""
        cut = [name for name in self.spans if name.startswith("pipelined")]
        whole = [name for name in self.spans if name not in cut]
        return [*whole, *sorted(cut, key=lambda name: self.seconds[name])[:1]]


@FIGURES.register("timeline")
class StepTimelines(RecordedFigure):
    """For each row the plain step, the naive one and the shortest of those in micro-batches, on one
    scale of time.
    """

    place: ClassVar[int] = 5
    most_rows: ClassVar[int] = 4

    @classmethod
    def read(cls, path: Path) -> TimedSteps:
        """The steps of one run."""
        content = content_of(path)
        spans = {
            str(name): tuple(
                TimedSpan(part=str(part), micro_batch=int(number), start=float(a), end=float(b))
                for part, number, a, b in step["spans"]
            )
            for name, step in content["steps"].items()
        }
        seconds = {str(name): float(step["seconds"]) for name, step in content["steps"].items()}
        bound = float(content["bound"])
        every = [one for some in spans.values() for one in some]
        times = [bound, *seconds.values(), *(t for one in every for t in (one.start, one.end))]
        if not every or not all(map(math.isfinite, times)):
            raise ValueError("its times are no finite numbers")
        if not {one.part for one in every} <= PARTS.keys():
            raise ValueError("it has parts of a step that are not known")
        return TimedSteps(bound=bound, seconds=seconds, spans=spans)

    def select(self) -> dict[str, TimedSteps]:
        """By row."""
        return dict(list(self.by_row().items())[: self.most_rows])

    def draw(self) -> Drawing:
        """Rows above each other, each with a scale of its own."""
        by_row = self.select()
        heights = [STEP_HEIGHT * len(steps.shown) + ROW_HEIGHT for steps in by_row.values()]
        figure = Drawing(figsize=(WIDTH, sum(heights) + 0.3), layout="constrained")
        panels = figure.subplots(len(by_row), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (row, steps) in zip(panels, by_row.items(), strict=True):
            axes.set_title(shortened(self.model.full_name(row), 80))
            _draw(axes, steps)
        figure.legend(
            [Patch(color=colour(index)) for index in PARTS.values()],
            list(PARTS),
            loc="outside lower center",
            ncols=len(PARTS),
            frameon=False,
        )
        return figure


def _draw(axes: Axes, steps: TimedSteps) -> None:
    """Two lanes a step, and a gap after them; micro-batches are parted by white lines."""
    places, names = [], []
    for order, name in enumerate(steps.shown):
        for lane, device in enumerate(LANES):
            y = -(order * (len(LANES) + 0.7) + lane)
            places.append(y)
            names.append(device)
            for span in steps.spans[name]:
                if span.part.startswith(device):
                    _bar(axes, span, y)
        middle = -(order * (len(LANES) + 0.7) + (len(LANES) - 1) / 2)
        axes.annotate(
            _words(name),
            (-0.105, middle),
            xycoords=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            annotation_clip=False,
        )
        end = 1000 * steps.seconds[name]
        text = f" {end:,.0f} ms" if end >= 100 else f" {end:.1f} ms"
        axes.annotate(text, (end, middle), va="center", color=INK, fontsize=8)
    axes.axvline(1000 * steps.bound, color=SOFT, ls="--", lw=1, zorder=1)
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlim(0, 1150 * max(steps.seconds[name] for name in steps.shown))
    axes.set_ylim(min(places) - 0.6, 0.6)
    axes.set_xlabel("ms")


def _bar(axes: Axes, span: TimedSpan, y: float) -> None:
    width = 1000 * (span.end - span.start)
    axes.barh(
        y,
        width,
        left=1000 * span.start,
        height=LANE,
        color=colour(PARTS[span.part]),
        edgecolor="white",
        linewidth=0.6,
        zorder=3,
    )


def _words(name: str) -> str:
    if name == "plain":
        return "plain KD"
    if name == "naive":
        return "MaskedKD,\nnaive"
    return f"MaskedKD, {name.removeprefix('pipelined')}\nmicro-batches"
