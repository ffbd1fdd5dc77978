"""The plots of a report, drawn by matplotlib from the table model."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import harness.report.plain_matplotlib  # noqa: F401 (before all that draws)
from harness.report.figures import declared_name
from harness.report.fonts import face, family
from harness.report.inert import with_texts
from harness.report.model import TableModel
from harness.report.plots.accuracy_cost import accuracy_cost
from harness.report.plots.attention import attention
from harness.report.plots.curves import training_curves
from harness.report.plots.declared import declared
from harness.report.plots.deviation import deviation
from harness.report.plots.kept import kept
from harness.report.plots.style import shortened, styled
from harness.report.render.unset import numbered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLOTS: dict[str, Callable[[TableModel], Figure]] = {
    "accuracy-cost": accuracy_cost,
    "curves": training_curves,
    "kept": kept,
    "attention": attention,
    "deviation": deviation,
}
"""By the name that `document.Figure` carries; the others are declared in specs."""

DPI = 200
LONGEST = 60  # characters of a name in a plot
IDS = frozenset({"id", "row", "column", "metric", "baseline", "y", "png", "table", "profile"})
"""Fields of the model that are looked up, not read."""


def draw(name: str, model: TableModel, *, format: Literal["png", "svg"]) -> bytes:  # noqa: A002
    """The plot as a file; the same model gives the same bytes."""
    stream = BytesIO()
    nameless = {"Software": None} if format == "png" else {"Date": None, "Creator": None}
    model = with_texts(model, _drawable, but=IDS)
    with styled(_families(model)):
        made(name, model).savefig(stream, format=format, dpi=DPI, metadata=nameless)
    return stream.getvalue()


def made(name: str, model: TableModel) -> Figure:
    """The plot of this name."""
    if name in PLOTS:
        return PLOTS[name](model)
    plot = next(plot for plot in model.plots if declared_name(plot) == name)
    return declared(model, plot)


def _drawable(text: str) -> str:
    return shortened(numbered(text, lambda character: face(character) is not None), LONGEST)


def _families(model: TableModel) -> list[str]:
    """The fonts that the texts of `model` need beside the usual one."""
    found: dict[str, None] = {}

    def note(text: str) -> str:
        if not text.isascii():
            found.update(dict.fromkeys(filter(None, map(family, text))))
        return text

    with_texts(model, note, but=IDS)
    return list(found)
