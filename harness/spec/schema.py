"""The shape of a spec file, key by key; `load` makes a TableSpec of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from harness.run import Resources
from harness.spec.fields import ITS_NODE, REQUIRED
from harness.spec.nodes import ListNode, MapNode
from harness.spec.table import Column, PaperRef, Published


@dataclass(frozen=True, kw_only=True, slots=True)
class RowEntry:
    """An item of `rows`."""

    id: str
    label: str | None = None
    group: str | None = None
    note: str | None = None
    set: MapNode | None = None
    grid: Mapping[str, ListNode] = field(default_factory=dict)
    published: Mapping[str, Published | None] = field(default_factory=dict)
    node: MapNode = field(metadata=ITS_NODE)

    LENIENT: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfileEntry:
    """A value of `profiles`."""

    says: str = ""
    seeds: tuple[int, ...] | None = None
    base: MapNode | None = None
    rows: ListNode | None = None  # of ids and globs (texts) and RowEntry mappings
    claims: ListNode | None = None
    resources: Resources = field(default_factory=Resources)
    node: MapNode = field(metadata=ITS_NODE)

    LENIENT: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True, slots=True)
class TableEntry:
    """A whole file."""

    paper: PaperRef | None = field(default=None, metadata=REQUIRED)
    note: str = ""
    columns: Mapping[str, Column] = field(default_factory=dict, metadata=REQUIRED)
    seeds: tuple[int, ...] = (0,)
    base: MapNode | None = None
    rows: ListNode | None = field(default=None, metadata=REQUIRED)  # of RowEntry
    claims: ListNode | None = None  # of Claim
    plots: ListNode | None = None  # of Plot
    profiles: Mapping[str, ProfileEntry] = field(default_factory=dict, metadata=REQUIRED)
    node: MapNode = field(metadata=ITS_NODE)

    LENIENT: ClassVar[bool] = True
