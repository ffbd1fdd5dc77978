"""What all figures share: fonts, colours that colour-blind readers can tell apart, one for each row
of a report, labels that do not overlap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from harness.report.plain_matplotlib import defaults  # before what reads matplotlib's settings

# isort: split
import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from harness.report.model import RowResult, TableModel
from harness.report.plot_data import drawn_rows, told_by_group

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#555555")
"""Okabe and Ito's, without their yellow, which is too light for lines on white."""
INK, SOFT = "#222222", "#8a8a8a"
WIDTH = 7.2  # inches: the text of an A4 page
BESIDE = 4  # points, between a name and the mark of another point
UNDER_MARKERS = 3.5  # above lines, 2 or 3; marks are at 4 and above
LIGHTEST = 0.55  # how far towards white the last row of a group goes
LIGHTEST_WORDS = 1.05 / 4.5 - 0.05  # relative luminance of words on white
MOST_OF_A_PANEL = 0.6  # of its width that a name may take

_STYLE: Any = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "text.parse_math": False,  # a label may hold a dollar sign
    "svg.hashsalt": "harness",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # TrueType: conferences refuse Type 3
}


@contextmanager
def styled(families: Sequence[str] = ()) -> Iterator[None]:
    """The style of the reports, for the length of a block, and no setting of the user's own; the
    `families` are for what the usual font lacks.
    """
    with defaults(), mpl.rc_context(_STYLE):
        mpl.rcParams["font.family"] = ["DejaVu Sans", *(f for f in families if f != "DejaVu Sans")]
        yield


def colour(index: int) -> str:
    """The colour of the `index`-th thing."""
    return COLOURS[index % len(COLOURS)]


def legible(shade: str) -> str:
    """A shade for words: as dark as it must be to be read on white (WCAG 2: 4.5 to 1)."""
    colour_of = to_rgb(shade)
    while _luminance(colour_of) > LIGHTEST_WORDS:
        red, green, blue = (0.95 * part for part in colour_of)
        colour_of = (red, green, blue)
    return to_hex(colour_of)


def _luminance(of: tuple[float, float, float]) -> float:
    """Relative to white, of an sRGB colour."""
    red, green, blue = (x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in of)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def shortened(text: str, most: int) -> str:
    """At most `most` characters, with an ellipsis where there were more."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def shades(model: TableModel) -> dict[str, str]:
    """By row. Where a declared plot tells groups apart by colour, the rows of a group are shades of
    its colour; few rows have a colour each; of many, those of a group.
    """
    groups = model.groups()
    if told_by_group(model):
        return {
            row.id: _lighter(colour(index), place, len(rows))
            for index, (_, rows) in enumerate(groups)
            for place, row in enumerate(rows)
        }
    shown = drawn_rows(model)
    if len(shown) <= len(COLOURS):
        first = {row: colour(index) for index, row in enumerate(shown)}
        rest = {row.id: colour(len(shown) + i) for i, row in enumerate(_others(model, shown))}
        return {**first, **rest}
    return {row.id: colour(place) for _, rows in groups for place, row in enumerate(rows)}


def group_shade(model: TableModel, group: str) -> str:
    """The colour of a line through the rows of a group: that of its first one."""
    rows = next(rows for name, rows in model.groups() if name == group)
    return shades(model)[rows[0].id]


def _others(model: TableModel, shown: Sequence[str]) -> list[RowResult]:
    return [row for row in model.rows if row.id not in shown]


def _lighter(base: str, place: int, of: int) -> str:
    white = LIGHTEST * place / max(1, of - 1) if of > 1 else 0.0
    red, green, blue = (part + (1 - part) * white for part in to_rgb(base))
    return to_hex((red, green, blue))


@dataclass(frozen=True, kw_only=True, slots=True)
class Label:
    """A name beside a point, in data coordinates."""

    x: float
    y: float
    text: str
    colour: str = INK


def place_labels(
    figure: Figure, labels: Mapping[Axes, Sequence[Label]], *, size: float = 7.5
) -> None:
    """Names to the right of their points, in every panel, or to the left where another point is in
    the way there; pushed apart where they would overlap.

    The last thing to do to a figure: distances are those on paper.
    """
    figure.draw_without_rendering()
    scale = 72 / figure.dpi
    fitting = {axes: _fitting(axes, those, scale, size) for axes, those in labels.items()}
    for axes, those in fitting.items():
        _make_room(axes, those, scale, size)
    figure.draw_without_rendering()
    for axes, those in fitting.items():
        _annotate(axes, those, scale, size)


def _width(text: str, size: float) -> float:
    return 0.62 * size * len(text)


def _fitting(axes: Axes, labels: Sequence[Label], scale: float, size: float) -> list[Label]:
    """The same names, cut where they would leave too little of the panel to what it shows."""
    width = axes.get_window_extent().width * scale
    most = max(1, int((MOST_OF_A_PANEL * width - 8) / _width(" ", size)))
    return [replace(label, text=shortened(label.text, most)) for label in labels]


def _make_room(axes: Axes, labels: Sequence[Label], scale: float, size: float) -> None:
    """Widen the x axis so that the names stay inside."""
    low, high = axes.get_xlim()
    width = axes.get_window_extent().width * scale
    needed = high
    for label in labels:
        part = (8 + _width(label.text, size)) / width
        # x + part * (needed - low) <= needed
        needed = max(needed, (label.x - part * low) / (1 - part))
    ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    axes.set_xticks(ticks)  # none in the room for names, where there is no data
    axes.set_xlim(low, needed)


def _annotate(axes: Axes, labels: Sequence[Label], scale: float, size: float) -> None:
    box = axes.get_window_extent()
    bounds = box.y0 * scale + 0.6 * size, box.y1 * scale - 0.6 * size
    points = [
        tuple(float(value) * scale for value in axes.transData.transform((label.x, label.y)))
        for label in labels
    ]
    places = []
    for label, (x, y) in zip(labels, points, strict=True):
        near = [other for other, at in points if other != x and abs(at - y) < size]
        reach = 6 + _width(label.text, size)
        in_the_way = any(x < other < x + reach + BESIDE for other in near)
        free = x - reach > box.x0 * scale and not any(x - reach - BESIDE < o < x for o in near)
        left = in_the_way and free
        begin, end = (x - reach, x) if left else (x, x + reach)
        places.append(_PlacedLabel(label=label, left=begin, right=end, y=y, before=left))
    for cluster in _clusters(places):
        targets = spread([place.y for place in cluster], 1.25 * size, *bounds)
        for place, target in zip(cluster, targets, strict=True):
            _write(axes, place, target - place.y, size)


@dataclass(frozen=True, kw_only=True, slots=True)
class _PlacedLabel:
    """A label on paper, in points."""

    label: Label
    left: float
    right: float
    y: float
    before: bool = False  # to the left of its point


def _clusters(places: Sequence[_PlacedLabel]) -> list[list[_PlacedLabel]]:
    """Labels that share some width, from bottom to top: only those can overlap."""
    clusters: list[list[_PlacedLabel]] = []
    edge = float("-inf")
    for place in sorted(places, key=lambda place: place.left):
        if place.left > edge:
            clusters.append([])
        clusters[-1].append(place)
        edge = max(edge, place.right)
    return [sorted(cluster, key=lambda place: place.y) for cluster in clusters]


def spread(wanted: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Positions at least `distance` apart, as close as can be to the sorted `wanted`, within
    bounds.

    Least squares by pooling neighbours that collide around their common centre.
    """
    pools: list[tuple[float, int]] = []  # centre of the pool's first position, size
    for index, position in enumerate(wanted):
        centre, size = position - index * distance, 1
        while pools and pools[-1][0] > centre:
            other, members = pools.pop()
            centre = (other * members + centre * size) / (members + size)
            size += members
        pools.append((centre, size))
    firsts = [centre for centre, size in pools for _ in range(size)]
    top = high - (len(wanted) - 1) * distance
    return [max(low, min(first, top)) + index * distance for index, first in enumerate(firsts)]


def _write(axes: Axes, place: _PlacedLabel, up: float, size: float) -> None:
    label = place.label
    relpos = (1, 0.5) if place.before else (0, 0.5)
    line = {"arrowstyle": "-", "color": label.colour, "lw": 0.4, "relpos": relpos}
    text = axes.annotate(
        label.text,
        (label.x, label.y),
        xytext=(-7 if place.before else 7, up),
        textcoords="offset points",
        va="center",
        ha="right" if place.before else "left",
        fontsize=size,
        color=legible(label.colour),
        annotation_clip=False,
        arrowprops={**line, "shrinkA": 0, "shrinkB": 2} if abs(up) > 0.6 * size else None,
    )
    text.set_path_effects([withStroke(linewidth=2, foreground="white")])
    text.set_zorder(UNDER_MARKERS)  # over lines, and no mark is hidden by its white edge
    text.set_in_layout(False)  # the layout is made, and room for it too
