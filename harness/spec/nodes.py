"""The tree of a file: values that know where they stand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from harness.errors import Location

Value: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True, slots=True, eq=False)
class ScalarNode:
    """A single value, with the text it was written as."""

    where: Location
    value: Value
    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ListNode:
    """A sequence."""

    where: Location
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class MapNode:
    """A mapping with text keys, in the order of the file."""

    where: Location
    entries: Mapping[str, Node]
    keys: Mapping[str, Location]  # where each key stands
    # as a layer, it replaces what lies below instead of merging into it
    replaces_lower: bool = False

    def find(self, *path: str) -> Location:
        """Where the value at `path` stands, or the nearest thing around it that is there."""
        node: Node = self
        for key in path:
            if not isinstance(node, MapNode) or key not in node.entries:
                break
            node = node.entries[key]
        return node.where

    def __iter__(self) -> Iterator[tuple[str, Location, Node]]:
        return ((key, self.keys[key], node) for key, node in self.entries.items())


@dataclass(frozen=True, slots=True, eq=False)
class BadNode:
    """Something that cannot be used. Nothing more is said about it, or, where no layer above
    replaces it, `what` is.
    """

    where: Location
    what: str | None = None  # None: it is told already


Node: TypeAlias = ScalarNode | ListNode | MapNode | BadNode
