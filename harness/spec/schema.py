"""The shape of a spec file, key by key; `load` makes a TableSpec of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from harness.spec.fields import ITS_NODE, REQUIRED
from harness.spec.nodes import ListNode, MapNode
from harness.spec.pieces import NO_STAND_INS, StandIns
from harness.spec.table import Column, Confidence, PaperRef, Published


@dataclass(frozen=True, kw_only=True, slots=True)
class RowEntry:
    """An item of `rows`: one row, or one for every point of its grid."""

    id: str
    label: str | None = None
    group: str | None = None
    note: str | None = None
    start: str | None = field(default=None, metadata={"key": "from"})  # a row that it changes
    set: MapNode | None = None
    grid: Mapping[str, ListNode] = field(default_factory=dict)
    published: Mapping[str, Published | None] = field(default_factory=dict)
    node: MapNode = field(metadata=ITS_NODE)

    LENIENT: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupEntry:
    """An item of `rows` that holds rows: what they share is written once."""

    group: str = ""  # the heading
    note: str | None = None  # of each row that has none of its own
    set: MapNode | None = None
    confidence: Confidence | None = None  # of its rows' published cells
    rows: ListNode | None = field(default=None, metadata=REQUIRED)  # of RowEntry
    node: MapNode = field(metadata=ITS_NODE)

    LENIENT: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimEntry:
    """An item of `claims`: one claim, or one for every point of its grid."""

    id: str
    text: str
    holds: str  # a Comparison
    added_by_us: bool = False
    scaled_down_version_of: tuple[str, ...] = ()
    grid: Mapping[str, ListNode] = field(default_factory=dict)
    node: MapNode = field(metadata=ITS_NODE)

    RENAMED: ClassVar[Mapping[str, str]] = {
        "says": "text",
        "check": "holds",
        "source": "added_by_us: true",
        "stands_for": "scaled_down_version_of",
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileEntry:
    """A value of `profiles`, or a file of `experiments/profiles/`."""

    start: str | None = field(default=None, metadata={"key": "from"})  # a shared profile
    description: str = ""
    seeds: tuple[int, ...] | None = None
    stand_ins: StandIns = NO_STAND_INS
    base: MapNode | None = None
    rows: ListNode | None = None  # of ids and globs (texts), RowEntry and GroupEntry mappings
    also: ListNode | None = None  # rows beside those: shared by all tables with this profile
    claims: ListNode | None = None
    resources: MapNode | None = None  # of Resources
    node: MapNode = field(metadata=ITS_NODE)

    LENIENT: ClassVar[bool] = True
    RENAMED: ClassVar[Mapping[str, str]] = {"says": "description"}


@dataclass(frozen=True, kw_only=True, slots=True)
class TableEntry:
    """A whole file."""

    paper: PaperRef | None = field(default=None, metadata=REQUIRED)
    note: str = ""
    columns: Mapping[str, Column] = field(default_factory=dict, metadata=REQUIRED)
    seeds: tuple[int, ...] = (0,)
    base: MapNode | None = None
    rows: ListNode | None = field(default=None, metadata=REQUIRED)  # of RowEntry and GroupEntry
    claims: ListNode | None = None  # of ClaimEntry
    plots: ListNode | None = None  # of Plot
    profiles: Mapping[str, ProfileEntry] = field(default_factory=dict, metadata=REQUIRED)
    node: MapNode = field(metadata=ITS_NODE)

    LENIENT: ClassVar[bool] = True
