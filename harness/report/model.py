"""The table model: everything that a report says, as plain immutable data. Every format is rendered
from it alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, Literal

from harness.evidence import FigureOf
from harness.report.inert import inert, with_texts
from harness.report.statistics import Interval, Summary
from harness.spec.claims import Operator
from harness.spec.table import Claim, Column, Plot, Published, Row
from harness.train.config import TrainConfig

NOT_READ = frozenset({"node", "layers", "where", "config", "runs", "figures", "right"})
"""Fields that no reader sees: places in the spec, configurations, what runs recorded, bits."""


class Verdict(StrEnum):
    """What the evidence says of a cell, or (the last six) of a claim."""

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
    LEANING = "leaning"  # the interval excludes the margin, the adjusted one does not
    NOT_SETTLED = "not settled"
    OUT_OF_SCOPE = "out of scope"  # a precondition of the claim does not hold at the profile
    NOT_RUN = "not run"


ClaimSource = Literal["paper", "ours"]
"""Who says what a claim says: the paper, in words or by its printed numbers, or we alone."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the sentence that justifies it."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """A cell relative to its baseline; `baseline` is empty in that row itself."""

    baseline: str  # its id
    measured: float | None = None
    published: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What must be the same, besides configuration and seed, for a training to give the same bits.

    On another CPU the same seed is another draw: rounding differs, and training amplifies it.
    """

    cpu: str = ""
    instructions: str = ""  # of the CPU that torch uses: AVX2, AVX512
    threads: str = ""
    processes: str = ""
    device: str = ""  # cpu, or the name of the GPU
    torch: str = ""  # its version


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """One measured value, and where it comes from."""

    seed: int
    value: float
    run: str = ""  # the beginning of its run's identity
    commit: str = ""
    machine: Machine = Machine()
    ratio: float | None = None  # to the baseline, timed in turn with it
    look: int = 0  # how many values of its cell had been shown when a report first showed it
    images: int = 0  # that judged; 0: the run did not keep which it got right
    right: bytes = b""  # which of them, eight a byte


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One row in one column. `judgement` is None only where there is nothing to publish and nothing
    to measure.
    """

    column: str
    published: Published | None = None
    summary: Summary | None = None
    ratio: Ratio | None = None
    judgement: Judgement | None = None
    needs: tuple[str, ...] = ()  # what a missing cell waits for
    draws: tuple[Draw, ...] = ()
    failures: tuple[tuple[int, str, str], ...] = ()  # (seed, run, first line of its error)
    lost: tuple[tuple[int, str, int], ...] = ()  # (seed, run, look) of values shown and gone
    images: int = 0  # that judge each value; 0: not known
    se_images: float | None = None  # standard error of the mean over images, seeds as they are
    seedless: bool = False  # one value for every seed: it is computed, or nothing is drawn

    @property
    def values(self) -> tuple[tuple[int, float], ...]:
        """(seed, value); a value without a seed counts as seed 0."""
        return tuple((draw.seed, draw.value) for draw in self.draws)


@dataclass(frozen=True, kw_only=True, slots=True)
class RowResult:
    """A row of the spec with what was measured; `cells` in the order of the table's columns."""

    spec: Row
    name: str  # the label, understandable outside its table: `Logit +MaskedKD 50%`
    config: TrainConfig | None = None
    loss: str = ""  # what its training minimises, the same text for the same quantity
    collapsed: tuple[int, ...] = ()  # seeds whose network sees no difference between images
    cells: tuple[Cell, ...] = ()

    @property
    def id(self) -> str:
        """Its id in the spec."""
        return self.spec.id

    @property
    def label(self) -> str:
        """What the table calls it."""
        return self.spec.label

    @property
    def group(self) -> str:
        """The heading it stands under."""
        return self.spec.group

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
class Outcome:
    """What the runs say of a comparison."""

    quantity: str  # what `estimate` is, in words
    unit: str
    decimals: int
    margin: float
    n: int
    estimate: float | None
    ci: Interval | None  # of this comparison alone
    verdict: Verdict
    reason: str

    @property
    def is_point(self) -> bool:
        """Whether its interval is a point, for nothing in it scatters: it is computed."""
        return self.ci is not None and self.ci.low == self.ci.high


@dataclass(frozen=True, kw_only=True, slots=True)
class PreconditionResult(Outcome):
    """What must hold for a claim to mean at a profile what it means in the paper, and whether it
    does.
    """

    text: str
    operator: Operator = ">="  # the side of the margin that it asks for


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimResult(Outcome):
    """A claim of the spec and what the runs say of it."""

    claim: Claim
    seeds_needed: str = ""  # "7", "> 100", or empty
    adjusted: Interval | None = None  # with the adjustment for all claims of the table
    p: float | None = None  # two-sided, that the true value is at the margin
    p_adjusted: float | None = None  # Holm's, over the distinct comparisons of the table
    std: float | None = None  # of these seeds
    std_moderated: float | None = None  # with what the other rows of the table say
    preconditions: tuple[PreconditionResult, ...] = ()
    failed_seeds: tuple[int, ...] = ()  # whose runs ended in an error on either side
    seeds_needed_range: str = ""  # "4 to 31": what the interval of the spread allows
    family: int = 0  # distinct trained comparisons of the table that the adjustment counts
    looks: tuple[int, ...] = ()  # how many seeds there were at each look at the results
    look_seeds: tuple[tuple[int, ...], ...] = ()  # which they were
    # on several machines: the name of each, and the deciding quantity of its seeds
    machines: tuple[tuple[str, tuple[float, ...]], ...] = ()
    images: int = 0  # that judge each value; 0: not known
    se_images: float | None = None  # standard error of `estimate` over images, seeds as they are

    @property
    def source(self) -> ClaimSource:
        """Who says it."""
        return "ours" if self.claim.added_by_us else "paper"


@dataclass(frozen=True, kw_only=True, slots=True)
class Untested:
    """A claim of the table that the profile asks in no form."""

    claim: Claim
    missing_rows: tuple[str, ...] = ()  # that the profile lacks; none: it leaves the claim out


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedRun:
    """What one run of a row left behind."""

    row: str
    seed: int
    metrics: Mapping[str, float] = field(default_factory=dict)  # of its end
    # of `metrics.jsonl`: those with a metric of a column, or with a key that a figure shows
    records: tuple[Mapping[str, Any], ...] = ()
    files: Mapping[str, Any] = field(default_factory=dict)  # by name, as a figure has read them


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A metric over training, for one row and seed."""

    row: str
    seed: int
    metric: str
    epochs: tuple[float, ...]
    values: tuple[float, ...]


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
    profile_difference: str = ""  # from the paper, in words
    seeds: tuple[int, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: tuple[RowResult, ...] = ()
    claims: tuple[ClaimResult, ...] = ()
    untested: tuple[Untested, ...] = ()
    curves: tuple[Curve, ...] = ()
    runs: tuple[FinishedRun, ...] = ()  # of its rows, with what they recorded
    figures: tuple[FigureOf, ...] = ()  # that its tasks and methods declare
    plots: tuple[Plot, ...] = ()  # that the spec declares
    provenance: Provenance = Provenance()
    gpu_hours: str = ""  # of all training that is missing
    unreadable: tuple[str, ...] = ()  # files of runs that are damaged, and what is left out for it
    looks_unknown: str = ""  # why it is not known how often claims were judged before
    short: str = ""  # what the paper is called in a heading
    data: str = ""  # what is trained and judged on; empty: not known
    paper_data: str = ""  # the same at the paper's own recipe
    reference: bool = False  # whether there are results to hold one's own against

    def __post_init__(self) -> None:
        """Every text is `inert`, wherever it comes from."""
        for one in fields(self):
            if one.name in NOT_READ:
                continue
            value = getattr(self, one.name)
            object.__setattr__(self, one.name, with_texts(value, inert, but=NOT_READ))

    @property
    def as_published(self) -> bool:
        """Whether this is the paper's own recipe, so that its numbers may be held against the
        printed ones.
        """
        return self.profile == "paper"

    @property
    def trained_cells(self) -> list[Cell]:
        """Those that seeds decide."""
        trained = {column.id for column in self.columns if column.evidence == "seeds"}
        return [cell for row in self.rows for cell in row.cells if cell.column in trained]

    @property
    def finished_seeds(self) -> tuple[int, ...]:
        """The seeds that have a value in any trained cell."""
        return tuple(sorted({seed for cell in self.trained_cells for seed, _ in cell.values}))

    def is_trained(self, claim: ClaimResult) -> bool:
        """Whether repeated training decides it; the others are computed or timed."""
        columns = {cell.column for cell in claim.claim.holds.cells}
        return any(c.evidence == "seeds" and c.id in columns for c in self.columns)

    def claims_by(self, source: ClaimSource) -> tuple[ClaimResult, ...]:
        """The claims of the paper, or our own checks."""
        return tuple(claim for claim in self.claims if claim.source == source)

    def row(self, row: str) -> RowResult:
        """The row called `row`."""
        return next(one for one in self.rows if one.id == row)

    def groups(self) -> list[tuple[str, list[RowResult]]]:
        """Rows under their headings, both in order of first appearance."""
        groups: dict[str, list[RowResult]] = {}
        for row in self.rows:
            groups.setdefault(row.group, []).append(row)
        return list(groups.items())

    def full_name(self, row: str) -> str:
        """A row with its group, for lists across groups."""
        one = self.row(row)
        return f"{one.group}: {one.name}" if one.group else one.name
