"""The shape of a spec file, key by key; `load` makes a TableSpec of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from harness.errors import FieldError
from harness.spec.fields import ITS_NODE, REQUIRED
from harness.spec.nodes import ListNode, MapNode
from harness.spec.pieces import NO_STAND_INS, StandIns
from harness.spec.table import Column, Confidence, PaperRef, Published


@dataclass(frozen=True, kw_only=True, slots=True)
class RowEntry:
    """An item of `rows`: one row, or one for every point of its grid."""

    id: str  # its name in claims and commands; `{keep}` stands for a value of the grid
    label: str | None = None  # its name in reports; the id if none is given
    group: str | None = None  # the heading it stands under
    note: str | None = None  # what the report says of this row
    # the id of a row that it changes
    start: str | None = field(default=None, metadata={"key": "from"})
    set: MapNode | None = None  # its configuration, over `base` and its group's
    # values by dotted path, `{method.mask.keep: [196, 98]}`: a row for every combination
    grid: Mapping[str, ListNode] = field(default_factory=dict)
    # printed numbers by column; null: the paper prints none
    published: Mapping[str, Published | None] = field(default_factory=dict)
    node: MapNode = field(metadata=ITS_NODE)

    LENIENT: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupEntry:
    """An item of `rows` that holds rows: what they share is written once."""

    group: str = ""  # the heading
    note: str | None = None  # of each row that has none of its own
    set: MapNode | None = None  # configuration that its rows share
    confidence: Confidence | None = None  # of its rows' published cells
    rows: ListNode | None = field(default=None, metadata=REQUIRED)  # the rows
    node: MapNode = field(metadata=ITS_NODE)

    LENIENT: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimEntry:
    """An item of `claims`: one claim, or one for every point of its grid."""

    id: str  # its name; `{keep}` stands for a value of the grid
    text: str  # the sentence, as the report prints it
    # the comparison that is true if the claim holds: `acc[a] >= acc[b] - 0.3`; the grammar is in
    # specs.md
    holds: str
    added_by_us: bool = False  # the paper says it neither in words nor by its printed numbers
    # ids of claims of the table that this one asks at its profile's scale
    scaled_down_version_of: tuple[str, ...] = ()
    # ids of `preconditions`, in place of those that its profile gives to all claims; [] for none
    given: tuple[str, ...] | None = None
    # of a claim that something costs nothing: the gain that it must not eat up, `acc[a] > acc[b]`;
    # the margin is then at most half of the lower bound of this gain
    assay: str | None = None
    # values by name: a claim for every combination
    grid: Mapping[str, ListNode] = field(default_factory=dict)
    node: MapNode = field(metadata=ITS_NODE)

    RENAMED: ClassVar[Mapping[str, str]] = {
        "says": "text",
        "check": "holds",
        "source": "added_by_us: true",
        "stands_for": "scaled_down_version_of",
    }

    def __post_init__(self) -> None:
        for key in ("id", "text"):
            if not getattr(self, key).strip():
                raise FieldError(key, "must not be empty")


@dataclass(frozen=True, kw_only=True, slots=True)
class PreconditionEntry:
    """A value of `preconditions`: what must hold at a profile for claims to mean there what the
    paper means. Where it does not, their verdict is *out of scope*.
    """

    text: str  # the sentence, as the report prints it
    # a comparison, as in a claim; {column} is the claim's, {left} and {right} are the rows that it
    # compares, so that one precondition fits many claims
    holds: str
    source: str  # where the paper shows that it holds there, with its numbers
    node: MapNode = field(metadata=ITS_NODE)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileEntry:
    """A value of `profiles`, or a file of `experiments/profiles/`."""

    # a file of `experiments/profiles/` that it starts from; that one may start from another
    start: str | None = field(default=None, metadata={"key": "from"})
    # how it differs from the paper's own runs; reports print it. A table's is appended to the
    # shared one; of shared ones the nearest counts
    description: str = ""
    seeds: tuple[int, ...] | None = None  # in place of the table's
    # what takes the place of the paper's networks, recipes and numbers of kept patches
    stand_ins: StandIns = NO_STAND_INS
    base: MapNode | None = None  # configuration of every row, over the row's own
    # the rows it has: ids and globs of the table's, and rows and groups of its own; all if not
    # given
    rows: ListNode | None = None
    also: ListNode | None = None  # rows beside those: shared by all tables with this profile
    claims: ListNode | None = None  # claims beside the table's
    # by id, beside the table's; claims name them in `given`
    preconditions: Mapping[str, PreconditionEntry] = field(default_factory=dict)
    given: tuple[str, ...] | None = None  # preconditions of all trained claims that name none
    resources: MapNode | None = None  # where and with what it runs
    node: MapNode = field(metadata=ITS_NODE)

    LENIENT: ClassVar[bool] = True
    RENAMED: ClassVar[Mapping[str, str]] = {"says": "description"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TableEntry:
    """A whole file."""

    # where the published numbers stand
    paper: PaperRef | None = field(default=None, metadata=REQUIRED)
    note: str = ""  # text for the report, in Markdown: where the numbers come from, what is assumed
    # by id, in the order they are shown
    columns: Mapping[str, Column] = field(default_factory=dict, metadata=REQUIRED)
    seeds: tuple[int, ...] = (0,)  # of every training run; a profile may have its own
    base: MapNode | None = None  # configuration that all rows share
    # rows and groups of rows, in the order they are shown
    rows: ListNode | None = field(default=None, metadata=REQUIRED)
    # sentences of the paper, each with the comparison that stands for it
    claims: ListNode | None = None
    # by id: what must hold for claims to mean at a profile what the paper means; claims and
    # profiles name them in `given`
    preconditions: Mapping[str, PreconditionEntry] = field(default_factory=dict)
    plots: ListNode | None = None  # curves that the report draws
    # by name: the scales that the table can be run at; `paper` is the published one
    profiles: Mapping[str, ProfileEntry] = field(default_factory=dict, metadata=REQUIRED)
    node: MapNode = field(metadata=ITS_NODE)

    LENIENT: ClassVar[bool] = True
