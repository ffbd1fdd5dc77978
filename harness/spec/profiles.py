"""A table's profile over the shared one that it starts from (`experiments/profiles/`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import Location
from harness.run import Resources
from harness.spec.build import Builder
from harness.spec.merge import merge
from harness.spec.nodes import ListNode, MapNode, Node, ScalarNode
from harness.spec.pieces import Pieces, StandIns
from harness.spec.schema import PreconditionEntry, ProfileEntry

_ALL = (ScalarNode(Location("", 1, 1), "*", "*"),)
"""All rows of the table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MergedProfile:
    """What the shared profile and the table's say together."""

    description: str
    seeds: tuple[int, ...] | None
    stand_ins: StandIns
    base: Sequence[MapNode]  # later ones win
    rows: Sequence[Node] | None  # None: all of the table's
    claims: Sequence[ListNode | None]
    shared_preconditions: dict[str, PreconditionEntry]
    given: tuple[str, ...]
    where_given: Location | None
    resources: Resources


def merged_profile(entry: ProfileEntry, builder: Builder, pieces: Pieces) -> MergedProfile:
    """`entry` over the profile that it starts from; problems go to `builder`."""
    shared = _shared(entry, builder, pieces)
    descriptions = [part.description for part in (shared, entry) if part is not None]
    parts = [entry] if shared is None else [shared, entry]
    also = [item for part in parts if part.also is not None for item in part.also.items]
    rows = next((part.rows for part in reversed(parts) if part.rows is not None), None)
    listed: Sequence[Node] | None = None if rows is None else rows.items
    if rows is not None and not rows.items:
        builder.problem(rows.where, "rows: a profile needs at least one")
    if also:
        listed = [*(_ALL if listed is None else listed), *also]
    seeds = [part.seeds for part in parts if part.seeds is not None]
    given = [part for part in parts if part.given is not None]
    for part in parts:
        pieces.check_names(part.stand_ins)
    builder.problems += pieces.problems
    pieces.problems.clear()
    return MergedProfile(
        description="; ".join(text.strip() for text in descriptions if text),
        seeds=seeds[-1] if seeds else None,
        stand_ins=entry.stand_ins if shared is None else entry.stand_ins.over(shared.stand_ins),
        base=[part.base for part in parts if part.base is not None],
        rows=listed,
        claims=[part.claims for part in parts],
        shared_preconditions={} if shared is None else dict(shared.preconditions),
        given=(given[-1].given or ()) if given else (),
        where_given=given[-1].node.find("given") if given else None,
        resources=_resources(parts, builder),
    )


def _shared(entry: ProfileEntry, builder: Builder, pieces: Pieces) -> ProfileEntry | None:
    if entry.start is None:
        return None
    node = pieces.profile(entry.node.entries["from"])
    builder.problems += pieces.problems
    pieces.problems.clear()
    shared = builder.build(node, ProfileEntry)
    if not isinstance(shared, ProfileEntry):
        return None
    if shared.start is not None:
        builder.problem(shared.node.keys["from"], "from: a shared profile starts from no other")
    return shared


def _resources(parts: Sequence[ProfileEntry], builder: Builder) -> Resources:
    nodes = [part.resources for part in parts if part.resources is not None]
    if not nodes:
        return Resources()
    merged: Node = nodes[0]
    for node in nodes[1:]:
        merged = merge(merged, node, Resources)
    built = builder.build(merged, Resources)
    return built if isinstance(built, Resources) else Resources()
