"""The table model: everything that a report says, as plain immutable data. Every format is rendered
from it alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Literal

from harness.report.inert import inert, with_texts
from harness.report.statistics import Interval, Summary
from harness.spec.claims import Operator
from harness.spec.table import Published, Tolerance

PICTURES = frozenset({"png"})
"""Fields that hold no words."""


class Verdict(StrEnum):
    """What the evidence says of a cell, or (the last four) of a claim."""

    REPRODUCED = "reproduced"
    MISPRINT = "misprint"
    INDICATIVE = "indicative"
    ABOVE = "above"
    BELOW = "below"
    NOT_COMPARABLE = "not comparable"
    MISSING = "missing"
    FAILED = "failed"
    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"
    NOT_RUN = "not run"


Source = Literal["paper", "ours"]
"""Who says what a claim says: the paper, in words or by its printed numbers, or we alone."""

Evidence = Literal["seeds", "exact", "timing"]
"""What a value rests on: repeated training, a computation, or the median of timings on one machine.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One measured quantity."""

    id: str
    label: str
    metric: str
    unit: str = ""
    decimals: int = 1
    better: Literal["higher", "lower"] | None = None
    tolerance: Tolerance | None = None
    ratio: bool = False  # judged by its ratio to the unmasked teacher, never by itself
    evidence: Evidence = "seeds"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """A verdict and the sentence that justifies it."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """A cell relative to the unmasked row of its group; `baseline` is empty in that row itself."""

    baseline: str  # its id
    measured: float | None = None
    published: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One row in one column. `judgement` is None only where there is nothing to publish and nothing
    to measure.
    """

    column: str
    published: Published | None = None
    values: tuple[
        tuple[int, float], ...
    ] = ()  # (seed, value); a value without a seed counts as seed 0
    summary: Summary | None = None
    ratio: Ratio | None = None
    judgement: Judgement | None = None
    needs: tuple[str, ...] = ()  # what a missing cell waits for


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row; `cells` in the order of the table's columns."""

    id: str
    label: str
    name: str  # the label, understandable outside its table: `Logit +MaskedKD 50%`
    group: str = ""
    student: str = ""  # the same text for the same student network; empty: not known
    keep: int | None = None  # patches that the teacher sees; None: all of them, or no teacher
    patches: int | None = None  # of the teacher's grid; None: no teacher, or not known
    loss: str = ""  # what its training minimises, the same text for the same quantity
    note: str = ""
    collapsed: tuple[int, ...] = ()  # seeds whose network sees no difference between images
    cells: tuple[Cell, ...] = ()

    @property
    def base(self) -> str:
        """The name without what the label adds to it: `Logit` of `Logit +MaskedKD 50%`."""
        return self.name.removesuffix(self.label).strip() or self.name

    @property
    def in_group(self) -> str:
        """The label without the name of the group in front, for where that stands above it:
        `10 patches` of `MaskedKD, 10 patches`.
        """
        return self.label.removeprefix(f"{self.group}, ")

    def has_collapsed(self, column: Column) -> bool:
        """Whether the cell in `column` rests on a collapsed network."""
        seeds = {seed for seed, _ in self.cell(column.id).values}
        return column.evidence == "seeds" and bool(seeds & set(self.collapsed))

    def cell(self, column: str) -> Cell:
        """The cell in `column`."""
        return next(cell for cell in self.cells if cell.column == column)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A sentence of the paper, or a check of our own, and what the runs say of it."""

    id: str
    says: str
    check: str  # as written in the spec
    operator: Operator
    quantity: str  # what `estimate` is, in words
    unit: str
    decimals: int
    margin: float
    n: int
    estimate: float | None
    ci: Interval | None
    judgement: Judgement
    seeds_needed: str = ""  # "7", "> 100", or empty
    source: Source = "paper"


@dataclass(frozen=True, kw_only=True, slots=True)
class Untested:
    """A claim of the table that the profile asks in no form."""

    id: str
    says: str
    lacks: tuple[str, ...] = ()  # rows that the profile does not have; none: it leaves it out


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A metric over training, for one row and seed."""

    row: str
    seed: int
    metric: str
    epochs: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptMap:
    """How often each patch was kept in one epoch: shares in raster order, mean over seeds."""

    row: str
    epoch: float
    shares: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionMap:
    """One image and how much attention each head of a row's network gives its patches."""

    row: str
    png: str  # the image, base64
    grid: tuple[int, int]  # patches: rows, columns
    heads: tuple[tuple[float, ...], ...]  # in raster order


@dataclass(frozen=True, kw_only=True, slots=True)
class PlotPoint:
    """Where a row stands in a plot; its heights are those of its cells."""

    row: str
    x: float | None  # None: not known yet
    published: float | None = None  # x as printed, where it is a column's


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A plot that the spec declares: a panel a column, a series a group."""

    id: str
    caption: str
    x: str  # what its x axis shows
    y: tuple[str, ...]  # column ids
    log2: bool = False
    ticks: tuple[str, ...] = ()  # labels of rows at x 0, 1, 2 ..., where x is no number
    points: tuple[PlotPoint, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What the teacher of a row computes."""

    row: str
    macs_per_image: float | None  # GMACs
    training: float | None  # PMACs


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """Where some of the runs were made."""

    runs: int
    facts: tuple[tuple[str, str], ...]  # (what, value), in the order to show


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where the numbers come from."""

    environments: tuple[Environment, ...] = ()
    finished: int = 0
    failed: int = 0
    unfinished: int = 0
    seconds: float = 0.0  # summed over finished runs
    latest: str = ""  # when the last run finished
    notes: tuple[str, ...] = ()  # runs by other code than today's, or that cannot be read


@dataclass(frozen=True, kw_only=True, slots=True)
class TableModel:
    """A table at a profile: what the paper prints, what was measured, and what follows."""

    table: str  # maskedkd/table2
    profile: str
    title: str
    arxiv: str = ""
    number: str = ""  # of the table in the paper
    caption: str = ""
    note: str = ""
    says: str = ""  # how the profile differs from the paper
    seeds: tuple[int, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    claims: tuple[Claim, ...] = ()
    untested: tuple[Untested, ...] = ()
    curves: tuple[Curve, ...] = ()
    kept: tuple[KeptMap, ...] = ()
    attention: tuple[AttentionMap, ...] = ()
    costs: tuple[Cost, ...] = ()
    plots: tuple[Plot, ...] = ()
    provenance: Provenance = Provenance()
    effort: str = ""  # of all training that is missing
    unreadable: tuple[str, ...] = ()  # files of runs that are damaged, and what is left out for it
    data: str = ""  # what is trained and judged on; empty: not known
    paper_data: str = ""  # the same at the paper's own recipe
    reference: bool = False  # whether there are results to hold one's own against

    def __post_init__(self) -> None:
        """Every text is `inert`, wherever it comes from."""
        for field in fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, with_texts(value, inert, but=PICTURES))

    @property
    def as_published(self) -> bool:
        """Whether this is the paper's own recipe, so that its numbers may be held against the
        printed ones.
        """
        return self.profile == "paper"

    def claims_by(self, source: Source) -> tuple[Claim, ...]:
        """The claims of the paper, or our own checks."""
        return tuple(claim for claim in self.claims if claim.source == source)

    def row(self, row: str) -> Row:
        """The row called `row`."""
        return next(known for known in self.rows if known.id == row)

    def groups(self) -> list[tuple[str, list[Row]]]:
        """Rows under their headings, both in order of first appearance."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            groups.setdefault(row.group, []).append(row)
        return list(groups.items())

    def full_name(self, row: str) -> str:
        """A row with its group, for lists across groups."""
        found = self.row(row)
        return f"{found.group}: {found.name}" if found.group else found.name

    def fingerprint(self) -> str:
        """SHA-256 of everything in the model: two models with the same one render to the same
        files.
        """
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
