"""A table's profile over the shared ones that it starts from (`experiments/profiles/`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.data.config import DataConfig
from harness.errors import Location
from harness.run import Resources
from harness.spec.build import Builder
from harness.spec.fields import expand_shorthand
from harness.spec.merge import merge, merge_all
from harness.spec.nodes import ListNode, MapNode, Node, ScalarNode
from harness.spec.pieces import NO_STAND_INS, Pieces, StandIns
from harness.spec.schema import PreconditionEntry, ProfileEntry
from harness.spec.table import Row
from harness.train.config import TrainConfig

_ALL = (ScalarNode(Location("", 1, 1), "*", "*"),)
"""All rows of the table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MergedProfile:
    """What the shared profiles and the table's say together."""

    starts_from: tuple[str, ...]  # the shared profiles, nearest first
    description: str
    seeds: tuple[int, ...] | None
    stand_ins: StandIns
    base: Sequence[MapNode]  # later ones win
    rows: Sequence[Node] | None  # None: all of the table's
    where_rows: Location | None
    claims: Sequence[ListNode | None]
    shared_preconditions: dict[str, PreconditionEntry]
    given: tuple[str, ...]
    where_given: Location | None
    resources: Resources


def merged_profile(entry: ProfileEntry, builder: Builder, pieces: Pieces) -> MergedProfile:
    """`entry` over the profiles that it starts from; problems go to `builder`."""
    shared = _shared(entry, builder, pieces)
    parts = [*shared, entry]
    also = [item for part in parts if part.also is not None for item in part.also.items]
    rows = next((part.rows for part in reversed(parts) if part.rows is not None), None)
    listed: Sequence[Node] | None = None if rows is None else rows.items
    if rows is not None and not rows.items:
        builder.problem(rows.where, "rows: a profile needs at least one")
    if also:
        listed = [*(_ALL if listed is None else listed), *also]
    seeds = [part.seeds for part in parts if part.seeds is not None]
    with_given = [part for part in parts if part.given is not None]
    stand_ins = NO_STAND_INS
    for part in parts:
        stand_ins = part.stand_ins.over(stand_ins)
        pieces.check_names(part.stand_ins)
    return MergedProfile(
        starts_from=tuple(part.start for part in reversed(parts) if part.start is not None),
        description=_description(shared, entry),
        seeds=seeds[-1] if seeds else None,
        stand_ins=stand_ins,
        base=[part.base for part in parts if part.base is not None],
        rows=listed,
        where_rows=None if rows is None else rows.where,
        claims=[part.claims for part in parts],
        shared_preconditions={
            name: precondition
            for part in shared
            for name, precondition in part.preconditions.items()
        },
        given=(with_given[-1].given or ()) if with_given else (),
        where_given=with_given[-1].node.find("given") if with_given else None,
        resources=_resources(parts, builder),
    )


def _shared(entry: ProfileEntry, builder: Builder, pieces: Pieces) -> list[ProfileEntry]:
    """The shared profiles behind a table's, each after the one that it starts from; none where one
    of them cannot be read.
    """
    parts: list[ProfileEntry] = []
    names: tuple[str, ...] = ()
    upper = entry
    while upper.start is not None:
        node = pieces.profile(upper.node.entries["from"], names)
        lower = builder.build(node, ProfileEntry)
        if not isinstance(lower, ProfileEntry):
            return []
        parts.append(lower)
        names, upper = (*names, upper.start), lower
    return parts[::-1]


def _description(shared: Sequence[ProfileEntry], entry: ProfileEntry) -> str:
    """What the nearest shared profile says that says anything, and what the table adds to it."""
    shared_text = [part.description for part in shared if part.description][-1:]
    return "; ".join(text.strip() for text in (*shared_text, entry.description) if text)


def _resources(parts: Sequence[ProfileEntry], builder: Builder) -> Resources:
    nodes = [part.resources for part in parts if part.resources is not None]
    if not nodes:
        return Resources()
    merged: Node = nodes[0]
    for node in nodes[1:]:
        merged = merge(merged, node, Resources)
    built = builder.build(merged, Resources)
    return built if isinstance(built, Resources) else Resources()


def replaced_paths(rows: Iterable[Row], profile: str) -> list[str]:
    """A line for each data set that the user names by a path and another file replaces, as a shared
    profile does, in these rows of a profile.
    """
    notes: dict[str, None] = {}
    for row in rows:
        given = [layer.entries.get("data") for layer in row.layers]
        paths = [node.entries.get("path") for node in given if isinstance(node, MapNode)]
        own = [path for path in paths if isinstance(path, ScalarNode)]
        if not own:
            continue
        data = merge_all(row.layers, TrainConfig, under=row.node).entries["data"]
        data = expand_shorthand(data, DataConfig)
        name = data.entries.get("name") if isinstance(data, MapNode) else None
        # who replaces it in the same file sees both
        if isinstance(name, ScalarNode) and name.where.file != own[-1].where.file:
            note = (
                f"{own[-1].where}: `path: {own[-1].text}` is replaced by {name.text} "
                f"({name.where}) at profile {profile}; to keep these images, repeat "
                "`base: {data: ...}` in the table's profile"
            )
            notes[note] = None
    return list(notes)
