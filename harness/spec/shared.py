"""What is wrong with the files that specs share, whether or not a spec uses them yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.errors import Diagnostic, Location
from harness.spec.build import Builder
from harness.spec.nodes import MapNode, Node, ScalarNode
from harness.spec.paths import list_pieces, networks_path
from harness.spec.pieces import Pieces
from harness.spec.profiles import merged_profile
from harness.spec.rows import RowReader
from harness.spec.schema import ClaimEntry, ProfileEntry
from harness.spec.strict_yaml import display
from harness.train.config import TrainConfig


def shared_problems() -> list[Diagnostic]:
    """Of every recipe, network and profile, value by value: what one lacks, a spec may add.

    HarnessError where a folder of them cannot be read.
    """
    builder, single = Builder(), Builder(partial=True)
    pieces = Pieces(builder.problems)
    layers = [_naming("student", name, networks_path()) for name in pieces.networks.entries]
    layers += [_naming("recipe", name, path) for name, path in list_pieces("recipe").items()]
    for name, path in list_pieces("profile").items():
        entry = builder.build(_naming("from", name, path), ProfileEntry)
        layers += _layers(entry, builder, pieces)
    for layer in layers:
        single.build(pieces.in_layer(layer), TrainConfig)
    return sorted({*builder.problems, *single.problems})


def _layers(entry: ProfileEntry, builder: Builder, pieces: Pieces) -> Iterator[MapNode]:
    """The partial configurations of a profile; what is wrong around them goes to `builder`."""
    merged = merged_profile(entry, builder, pieces)
    yield from merged.base
    for key, kind in (("student", "network"), ("recipe", "recipe")):
        for stand_in in merged.stand_ins.of(kind).values():
            yield _layer(key, stand_in)
    rows = [row for row in merged.rows or () if not isinstance(row, ScalarNode)]
    for group, row in RowReader(builder, {}, pieces).entries(rows):
        yield from (layer for layer in (group.set, row.set) if layer is not None)
    for claim in (claim for listed in merged.claims if listed for claim in listed.items):
        builder.build(claim, ClaimEntry)


def _naming(key: str, name: str, path: Path) -> MapNode:
    """The layer `KEY: NAME` of a spec that uses what lies at `path`."""
    return _layer(key, ScalarNode(Location(display(path), 1, 1), name, name))


def _layer(key: str, value: Node) -> MapNode:
    return MapNode(value.where, {key: value}, {key: value.where})
