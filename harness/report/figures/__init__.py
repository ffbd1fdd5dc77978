"""The figures of a report: one file here is one figure, found by itself.

A figure says what of a table it shows (`select`), what stands under it (`caption`) and how it is
drawn (`draw`). Another distribution adds its own through an entry point in the group
`harness.figure`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Collection
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias

import harness.report.plain_matplotlib  # noqa: F401 (before all that draws)
from harness.evidence import FigureOf, Section
from harness.registry import Registry
from harness.report.drawing import shortened, styled
from harness.report.fonts import face, family
from harness.report.inert import with_texts
from harness.report.model import NOT_READ, RowResult, TableModel
from harness.report.render.unset import numbered

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

FIGURES: Registry[type[Figure]] = Registry("figure", "harness.report.figures", base=lambda: Figure)

DPI = 200
LONGEST = 60  # characters of a name in a figure
PictureFormat: TypeAlias = Literal["png", "svg", "pdf"]
NAMELESS: dict[PictureFormat, Any] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
"""No date and no version in a file: the same table gives the same bytes."""
LOOKED_UP = frozenset(
    {"id", "row", "column", "metric", "task", "baseline", "y", "table", "profile", "draws"}
)
"""Fields of the model that are looked up, not read; where single values come from, none tells."""


def content_of(path: Path) -> Any:
    """Of a file in JSON; ValueError where it is damaged."""
    return json.loads(path.read_bytes().decode())


class Figure(ABC):
    """A figure of one table, named `name`: what of it is shown, its words, its drawing."""

    section: ClassVar[Section] = "plots"  # of the report
    place: ClassVar[int] = 100  # in its section: lower ones come first
    longest: ClassVar[int] = LONGEST  # characters of a text in it
    # keys of `metrics.jsonl` that it reads, beside the metrics of columns and what is declared
    records: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, model: TableModel, name: str) -> None:
        self.model = model
        self.name = name  # of its file

    @classmethod
    def all_of(cls, model: TableModel, name: str) -> list[Self]:
        """The figures of this kind that a report may have; `name` is the registered one."""
        return [cls(model, name)]

    @classmethod
    def read(cls, path: Path) -> object:
        """The file that runs leave for this figure; ValueError or the like where it is damaged."""
        return content_of(path)

    @abstractmethod
    def select(self) -> Any:
        """What it shows; nothing (None, or what is empty) where the table has no data for it."""

    @abstractmethod
    def caption(self) -> str:
        """What stands under it."""

    @abstractmethod
    def alt(self) -> str:
        """What it is, for who does not see it."""

    @abstractmethod
    def draw(self) -> Drawing:
        """The drawing, in the style of the report."""


class RecordedFigure(Figure):
    """A figure of what runs record, as a task or a method declares it in `declared`."""

    most_rows: ClassVar[int] = 8  # that are shown
    drawn_as: ClassVar[str] = ""  # a sentence of the caption: what its colours mean

    def __init__(self, model: TableModel, declared: FigureOf) -> None:
        super().__init__(model, declared.id)
        self.declared = declared

    @classmethod
    def all_of(cls, model: TableModel, name: str) -> list[Self]:
        """One for each declaration that asks for it."""
        return [cls(model, declared) for declared in model.figures if declared.figure == name]

    def caption(self) -> str:
        """As declared, how it is drawn, and what is left out."""
        rows, most = len(self.rows()), self.most_rows
        left_out = f"The first {most} of {rows} rows." if rows > most else ""
        return " ".join(filter(None, (self.declared.caption, self.drawn_as, left_out)))

    def alt(self) -> str:
        """As declared."""
        return self.declared.alt

    def rows(self) -> Collection[str]:
        """Those with something to show."""
        return self.by_row()

    def extent(self, row: RowResult) -> tuple[int, int] | None:
        """How much the row sees, of how much, as declared; None where that is not known."""
        declared = self.declared.extent
        return None if declared is None or row.config is None else declared(row.config)

    def by_row(self) -> dict[str, Any]:
        """What a run of each row left in the file that is declared, where that is anything."""
        source = self.declared.source
        found = {run.row: run.files[source] for run in self.model.runs if source in run.files}
        return {row.id: found[row.id] for row in self.model.rows if found.get(row.id)}


class RecordedPictures(RecordedFigure):
    """A figure of pictures that runs leave: the first of each row."""

    most_pictures: ClassVar[int] = 8  # of a row

    def select(self) -> dict[str, Any]:
        """The pictures that are shown, by row."""
        by_row = self.by_row()
        return {row: by_row[row][: self.most_pictures] for row in list(by_row)[: self.most_rows]}


def figures(model: TableModel) -> list[Figure]:
    """Those that this table has data for, in the order of the report."""
    return [figure for figure in _possible(model) if figure.select()]


def find(name: str, model: TableModel) -> Figure:
    """The figure of this name."""
    return next(one for one in _possible(model) if one.name == name and one.select())


def _possible(model: TableModel) -> list[Figure]:
    classes = [(FIGURES.get(name), name) for name in FIGURES.names()]
    every = [one for cls, name in classes for one in cls.all_of(model, name)]
    return sorted(every, key=lambda one: one.place)


def draw(name: str, model: TableModel, *, format: PictureFormat) -> bytes:  # noqa: A002
    """A figure as a file; the same table gives the same bytes."""
    stream = BytesIO()
    most = find(name, model).longest
    model = with_texts(model, partial(_drawable, most=most), but=NOT_READ | LOOKED_UP)
    with styled(_families(model)):
        drawing = find(name, model).draw()
        drawing.savefig(stream, format=format, dpi=DPI, metadata=NAMELESS[format])
    return stream.getvalue()


def _drawable(text: str, most: int) -> str:
    return shortened(numbered(text, lambda character: face(character) is not None), most)


def _families(model: TableModel) -> list[str]:
    """The fonts that the texts of `model` need beside the usual one."""
    families: dict[str, None] = {}

    def note(text: str) -> str:
        if not text.isascii():
            families.update(dict.fromkeys(filter(None, map(family, text))))
        return text

    with_texts(model, note, but=NOT_READ | LOOKED_UP)
    return list(families)
