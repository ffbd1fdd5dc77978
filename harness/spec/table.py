"""One table of one paper as data: columns, rows with published cells, claims, and profiles."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import ClassVar, Literal, Self

from harness.errors import FieldError, HarnessError, Location, unknown
from harness.evidence import Evidence
from harness.run import TASKS, Bank, Resources
from harness.spec.claims import Comparison
from harness.spec.fields import ITS_NODE, NOT_IN_FILE
from harness.spec.nodes import MapNode, ScalarNode

MOVED_PROFILES: Mapping[str, tuple[str, ...]] = {"cpu": ("fashion-mnist",), "gpu1": ("cifar10",)}
"""Names of profiles before they said data set and size in place of hardware."""

_PERCENT = re.compile(
    r".*[/_](top\d+|ap|ap50|ap75|miou|pixel_accuracy|likeness|foreground(_best|_even)?)"
)
"""Metrics that are accuracies or other shares of a whole, in percent."""
MOST_DIGITS = 30
"""Of a printed number, before and after the point: a slip of the keyboard has more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperRef:
    """Where the published numbers stand."""

    title: str  # of the paper
    short: str = ""  # what the paper is called in a heading, by its method: MaskedKD
    arxiv: str | None = None  # its number there, in quotes: 2302.10494
    table: str | None = None  # its number in the paper
    caption: str = ""  # what the table shows, in a line


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How far a measured value may lie from a published one."""

    value: float
    relative: bool = False  # True: a share of the published value

    @classmethod
    def from_scalar(cls, scalar: ScalarNode) -> Self:
        """`0.3` is absolute, in the column's unit; `0.5%` is relative."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+)\s*(%?)", scalar.text)
        if match is None:
            raise ValueError(f"must be a number (0.3) or a percentage (0.5%), got '{scalar.text}'")
        percent = match[2] == "%"
        return cls(value=float(match[1]) / (100 if percent else 1), relative=percent)

    def of(self, published: float) -> float:
        """The tolerance around `published`, in the column's unit."""
        return abs(published) * self.value if self.relative else self.value


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskChoice:
    """The task whose runs fill a column, `from: cost`, and of which bank of images: see `Bank`."""

    name: str  # a registered task
    # images that the neighbours, or the classifier, come from: the whole training set, or the
    # subset that was trained on
    bank: Bank = "all"

    DISCRIMINATOR: ClassVar[frozenset[str]] = frozenset({"name"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column: which metric of which task's runs it shows, and how it is judged."""

    id: str = field(default="", metadata=NOT_IN_FILE)  # its key under `columns`
    label: str = ""  # its heading; the id if none is given
    task: TaskChoice = field(metadata={"key": "from"})  # the task whose runs give its values
    metric: str  # its name in the task's results
    unit: str = ""  # of the numbers, for people: `%`, `PFLOPs`
    decimals: int = 1  # of measured values, 0 to 12
    # which way is better, an arrow in the heading of HTML reports; none: not said
    better: Literal["higher", "lower"] | None = None
    # how near a value must be to count as reproduced: absolute (`0.3`) or relative (`0.5%`); never
    # tighter than half of the last printed digit
    tolerance: Tolerance | None = None
    # ratio: machines differ, so the ratio to the group's unmasked row is judged
    compare: Literal["value", "ratio"] = "value"
    profiles: tuple[str, ...] = ()  # those that show it; all if not given
    node: MapNode | None = field(default=None, repr=False, compare=False, metadata=ITS_NODE)

    def __post_init__(self) -> None:
        if not 0 <= self.decimals <= 12:
            raise FieldError("decimals", f"must be from 0 to 12, got {self.decimals}")

    @property
    def where(self) -> Location | None:
        """Where its metric stands."""
        return None if self.node is None else self.node.find("metric")

    @property
    def evidence(self) -> Evidence:
        """What its values rest on, as their task says."""
        return TASKS.get(self.task.name).evidence

    @property
    def is_ratio(self) -> bool:
        """Whether a value is judged by its ratio to the baseline, never by itself."""
        return self.compare == "ratio"

    def misprinted(self, value: float) -> str | None:
        """Why no paper can mean this value; None if one can."""
        if 0 <= value <= 100 or not _PERCENT.fullmatch(self.metric):
            return None
        return f"'{self.metric}' is from 0 to 100 %, got {value:g}"

    def shown_at(self, profile: str) -> bool:
        """Whether a profile has this column, and the runs behind it."""
        return not self.profiles or profile in self.profiles


@dataclass(frozen=True, kw_only=True, slots=True)
class Printed:
    """A number with as many decimals as it was printed with: 72.0 has one."""

    value: float
    decimals: int

    @classmethod
    def from_scalar(cls, scalar: ScalarNode) -> Self:
        """Read value and decimals from the text of the number."""
        if isinstance(scalar.value, bool) or not isinstance(scalar.value, int | float):
            raise ValueError(f"must be a number as the paper prints it, got '{scalar.text}'")
        mantissa, _, exponent = scalar.text.lower().partition("e")
        decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
        if decimals > MOST_DIGITS or abs(scalar.value) >= 10**MOST_DIGITS:
            raise ValueError(
                f"has more than {MOST_DIGITS} digits before or after the point, got '{scalar.text}'"
            )
        return cls(value=float(scalar.value), decimals=max(0, decimals))


Confidence = Literal["exact", "uncertain", "reconstructed"]
"""How sure the number is: as printed, hard to read, or read off a plot or worked out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """A cell as the paper prints it."""

    # the number; decimals are read from how it is written
    number: Printed = field(metadata={"key": "value"})
    # of a misprint: the number that the paper's own arithmetic gives
    corrected: Printed | None = None
    ratio: Printed | None = None  # to the unmasked teacher, where that one's own number is missing
    source: str = ""  # where the number stands, if not in the table itself
    confidence: Confidence = "exact"  # as printed; hard to read; read off a plot or worked out
    note: str = ""  # what there is to know about it
    sd: float | None = None  # of single runs, where the paper prints it
    n: int = 1  # runs that the number is the mean of, as far as the paper says

    DISCRIMINATOR: ClassVar[frozenset[str]] = frozenset(
        {"value"}
    )  # may be written bare, `acc: 72.0`
    RENAMED: ClassVar[Mapping[str, str]] = {"meant": "corrected"}

    def __post_init__(self) -> None:
        if self.sd is not None and not self.sd > 0:
            raise FieldError("sd", f"must be above 0, got {self.sd:g}")
        if self.n < 1:
            raise FieldError("n", f"must be at least 1, got {self.n}")

    @property
    def value(self) -> float:
        """The printed number."""
        return self.number.value

    @property
    def decimals(self) -> int:
        """Its printed decimals."""
        return self.number.decimals

    @property
    def intended(self) -> Printed:
        """The number that a measured value is held against."""
        return self.corrected or self.number

    def __str__(self) -> str:
        return f"{self.value:.{self.decimals}f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row; `layers` are the partial configurations it is made of, later ones win."""

    id: str
    label: str
    group: str = ""  # rows are shown under group headings
    note: str = ""
    published: Mapping[str, Published] = field(default_factory=dict)  # by column id
    layers: tuple[MapNode, ...] = field(default=(), repr=False, compare=False)
    node: MapNode = field(repr=False, compare=False)  # where it stands in the file


def is_smoke_test(profile: str) -> bool:
    """Whether a profile of this name runs for tests alone, so that its numbers mean nothing:
    `smoke`, `smoke-...`.
    """
    return profile.partition("-")[0] == "smoke"


def full_names(rows: Sequence[Row]) -> dict[str, str]:
    """By id, each row's label as it is understood outside its table: one such as `+MaskedKD 50%`
    behind the label of its group that it adds to, `Logit +MaskedKD 50%`.
    """
    bases, names = dict[str, str](), dict[str, str]()
    for row in rows:
        if row.label.startswith("+") and row.group in bases:
            names[row.id] = f"{bases[row.group]} {row.label}"
        else:
            names[row.id] = bases[row.group] = row.label
    return names


@dataclass(frozen=True, kw_only=True, slots=True)
class Precondition:
    """What must hold at a profile for the comparison of a claim to mean there what the paper means;
    taken from the paper's own figures.
    """

    id: str
    text: str
    holds: Comparison
    source: str  # where the paper shows that it holds there, with its numbers
    node: MapNode = field(repr=False, compare=False)  # where it stands in the file


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A sentence of the paper, or a check of our own, and the comparison that stands for it."""

    id: str
    text: str
    holds: Comparison  # the claim holds if this is true
    added_by_us: bool = False  # the paper says it neither in words nor by its printed numbers
    # claims of the table that this one asks at its profile's scale
    scaled_down_version_of: tuple[str, ...] = ()
    given: tuple[Precondition, ...] = ()  # without them it says nothing of the paper
    # of a claim that something costs nothing: the gain that the margin is half of at most
    assay: Comparison | None = None
    node: MapNode = field(repr=False, compare=False)  # where it stands in the file


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """What a plot's x axis shows of a row: a column's value, a number of its configuration, or its
    label.
    """

    column: str = ""  # the column that is x
    setting: tuple[str, ...] = ()  # dotted paths as in a grid; the first that a row gives is its x
    rows: bool = False  # a place for every row's label, in the order of the table
    label: str = ""  # of the axis; the column's if not given
    scale: Literal["linear", "log2"] = "linear"  # of the axis

    DISCRIMINATOR: ClassVar[frozenset[str]] = frozenset(
        {"column"}
    )  # may be written bare, `x: gflops`
    RENAMED: ClassVar[Mapping[str, str]] = {"set": "setting"}

    def __post_init__(self) -> None:
        if bool(self.column) + bool(self.setting) + self.rows != 1:
            key = "setting" if self.setting else "column"
            raise FieldError(key, "give a column, `setting`, or `rows: true`, one of them")
        if self.rows and self.scale != "linear":
            raise FieldError("scale", "labels of rows have no scale")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A curve over the rows of every group: a panel for each column of `y`, sharing `x`."""

    id: str  # the picture is called `plot-ID`
    caption: str = ""  # the sentence under it
    x: Axis  # what its x axis shows
    y: tuple[str, ...]  # columns, a panel each
    groups: tuple[str, ...] = ()  # groups of rows, a line each; all if not given
    at: Mapping[str, float] = field(
        default_factory=dict, metadata=NOT_IN_FILE
    )  # x by row, of settings
    node: MapNode = field(repr=False, compare=False, metadata=ITS_NODE)

    RENAMED: ClassVar[Mapping[str, str]] = {"says": "caption"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """The scale a table is run at: rows, their configurations, seeds, claims it can judge."""

    name: str
    starts_from: tuple[str, ...] = ()  # the shared profiles behind it, nearest first
    description: str = ""  # how it differs from the paper; empty for `paper` itself
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    where_rows: Location | None = None  # the list of its rows; None: all of the table's
    claims: tuple[Claim, ...] = ()
    untested: tuple[Claim, ...] = ()  # claims of the table that it asks in no form
    plots: tuple[Plot, ...] = ()
    resources: Resources = field(default_factory=Resources)


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSpec:
    """A table, checked: ids are unique, cells and claims name rows and columns that exist."""

    name: str  # maskedkd/table2
    path: Path
    paper: PaperRef
    note: str = ""
    columns: Mapping[str, Column]  # in the order they are shown
    rows: tuple[Row, ...]  # grids are expanded; `layers` without any profile's
    claims: tuple[Claim, ...] = ()
    profiles: Mapping[str, Profile]

    def columns_at(self, profile: str) -> dict[str, Column]:
        """The columns that a profile shows, in their order."""
        return {key: column for key, column in self.columns.items() if column.shown_at(profile)}

    def profile(self, name: str) -> Profile:
        """The profile called `name`; HarnessError names the nearest valid one."""
        if name not in self.profiles:
            moved = [new for new in MOVED_PROFILES.get(name, ()) if new in self.profiles]
            what = unknown("profile", name, list(self.profiles))
            if moved:
                what = f"profile '{name}' is now called '{moved[0]}'"
            raise HarnessError(f"{self.name}: {what}")
        return self.profiles[name]

    def no_row(self, profile: Profile, row: str) -> str:
        """What is told where `profile` has no row of that id, or that matches that glob."""
        if profile.where_rows is None or not _has(self.rows, row):
            return unknown("row", row, [one.id for one in profile.rows])
        others = [name for name, other in self.profiles.items() if _has(other.rows, row)]
        return (
            f"row '{row}' is in the table, but this profile lists its rows ({profile.where_rows}): "
            f"add it there{', or take profile ' * bool(others)}{' or '.join(others)}"
        )

    @property
    def default_profile(self) -> str:
        """What is run if no profile is asked for: `fashion-mnist`, or `paper`, or the first."""
        first = ("fashion-mnist", "paper", *self.profiles)
        return next(name for name in first if name in self.profiles)


def _has(rows: Sequence[Row], glob: str) -> bool:
    return any(fnmatchcase(row.id, glob) for row in rows)
