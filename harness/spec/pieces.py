"""Pieces that specs share by name: recipes, networks, profiles.

`recipe: deit-300` stands for `experiments/recipes/deit-300.yaml`, `teacher: deit_s_in1k` for a
network of `experiments/networks.yaml`, and `profiles: {smoke: {from: smoke}}` starts from
`experiments/profiles/smoke.yaml`. `{from: NAME, KEY: VALUE}` is a piece with changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.bounds import KeptCount
from harness.errors import Diagnostic, HarnessError, Location, SpecError, unknown
from harness.methods import Method
from harness.models.config import ModelConfig
from harness.models.families import known_architectures
from harness.paths import experiments_root
from harness.registry import unknown_component
from harness.spec.fields import paths_to
from harness.spec.merge import merge
from harness.spec.nodes import BadNode, MapNode, Node, ScalarNode
from harness.spec.paths import FOLDERS, list_pieces, networks_path
from harness.spec.strict_yaml import read_yaml
from harness.train.config import Recipe

DEEPEST = 20
"""Pieces that are made from one another: far more than anybody follows."""
NETWORKS = ("student", "teacher", "saliency_model")
"""Keys of a configuration that hold a network."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StandIns:
    """What a scaled-down profile uses in place of what the table's own rows name."""

    # by the table's name: the name of another network, or a network
    networks: MapNode | None = None
    recipes: MapNode | None = None  # by the table's name: the name of another recipe, or a recipe
    keep: MapNode | None = None  # kept patches, by the table's number

    def of(self, kind: str) -> Mapping[str, Node]:
        """What stands in for names of a `kind` (network, recipe, keep)."""
        node = self.node(kind)
        return {} if node is None else node.entries

    def node(self, kind: str) -> MapNode | None:
        """Where they stand."""
        return {"network": self.networks, "recipe": self.recipes, "keep": self.keep}[kind]

    def none_for(self, kind: str, name: str, what: str) -> str:
        """That there is none for a name, where one could be given, which there are, what to do."""
        node = self.node(kind)
        assert node is not None
        there = (
            f"{one}: {child.text}" if isinstance(child, ScalarNode) else one
            for one, child in node.entries.items()
        )
        key = kind if kind == "keep" else f"{kind}s"
        return (
            f"no stand-in for {what} at {node.where} (there are: {', '.join(there)}); add "
            f"`stand_ins: {{{key}: {{{name}: ...}}}}` to the table's profile, or change the row "
            "there, `{id: ROW, set: {...}}`"
        )

    def over(self, lower: StandIns) -> StandIns:
        """These, and those of `lower` that they do not replace."""
        return StandIns(
            networks=_joined(lower.networks, self.networks),
            recipes=_joined(lower.recipes, self.recipes),
            keep=_joined(lower.keep, self.keep),
        )


NO_STAND_INS = StandIns()


class Pieces:
    """Reads each shared file once; adds to `problems` what is wrong with files and references."""

    def __init__(self, problems: list[Diagnostic]) -> None:
        self._problems = problems
        self._pieces: dict[tuple[str, str], MapNode | BadNode] = {}
        self._listed: dict[str, Mapping[str, Path]] = {}

    def in_layer(self, layer: MapNode, stand_ins: StandIns = NO_STAND_INS) -> MapNode:
        """`layer` with every name of a recipe or network replaced by what it stands for.

        `stand_ins` are used for the names that they list, and for numbers of kept patches.
        """
        entries = dict(layer.entries)
        if "recipe" in entries:
            entries["recipe"] = self._resolve(entries["recipe"], "recipe", stand_ins, ())
        tuning = entries.get("finetune")
        if isinstance(tuning, MapNode) and "recipe" in tuning.entries:
            recipe = self._resolve(tuning.entries["recipe"], "recipe", stand_ins, ())
            entries["finetune"] = replace(tuning, entries={**tuning.entries, "recipe": recipe})
        for key in NETWORKS:
            if key in entries:
                entries[key] = self._resolve(entries[key], "network", stand_ins, ())
        resolved = replace(layer, entries=entries)
        if stand_ins.keep is not None:
            for path in paths_to(Method, KeptCount):
                resolved = self._keep(resolved, ("method", *path), stand_ins)
        return resolved

    def check_names(self, stand_ins: StandIns) -> None:
        """Note every stand-in for something that does not exist: a slip would be no stand-in."""
        for kind in ("network", "recipe"):
            node = stand_ins.node(kind)
            for name, where, _ in [] if node is None else node:
                valid = self._valid(kind)
                if name not in valid and not (kind == "network" and self._networks_broken):
                    self._problem(where, unknown(kind, name, valid))
        for number, where, _ in [] if stand_ins.keep is None else stand_ins.keep:
            if not number.isdecimal():
                self._problem(where, f"keep: must be a whole number of patches, got '{number}'")

    def _keep(self, node: MapNode, path: tuple[str, ...], stand_ins: StandIns) -> MapNode:
        """`node` with the kept patches at `path` replaced by those of the profile."""
        child, chosen = node.entries.get(path[0]), stand_ins.of("keep")
        new = child
        if len(path) > 1:
            if isinstance(child, MapNode):
                new = self._keep(child, path[1:], stand_ins)
        elif isinstance(child, ScalarNode) and isinstance(child.value, int) and chosen:
            if child.text not in chosen:
                what = f"{child.text} kept patches"
                new = BadNode(child.where, stand_ins.none_for("keep", child.text, what))
            else:
                new = chosen[child.text]
        if new is None or new is child:
            return node
        return replace(node, entries={**node.entries, path[0]: new})

    def profile(self, name: Node, inside: tuple[str, ...] = ()) -> MapNode | BadNode:
        """The file of a shared profile, that those of the names `inside` start from."""
        return self._named(name, "profile", NO_STAND_INS, inside)

    def _resolve(self, node: Node, kind: str, stand_ins: StandIns, inside: tuple[str, ...]) -> Node:
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            if kind == "network" and node.text not in self.networks.entries:
                if node.text in known_architectures():
                    return node  # the bare name of an architecture
                stand_ins = NO_STAND_INS
            return self._named(node, kind, stand_ins, inside)
        if not isinstance(node, MapNode) or "from" not in node.entries:
            return node
        base = self._named(node.entries["from"], kind, stand_ins, inside)
        if not isinstance(base, MapNode):
            return base
        hint: Any = Recipe if kind == "recipe" else ModelConfig
        merged = merge(base, _without(node, "from"), hint)
        assert isinstance(merged, MapNode)
        return replace(merged, replaces_lower=True)

    def _named(
        self, name: Node, kind: str, stand_ins: StandIns, inside: tuple[str, ...]
    ) -> MapNode | BadNode:
        if not isinstance(name, ScalarNode) or not isinstance(name.value, str):
            return self._problem(name.where, f"from: must be the name of a {kind}")
        chosen = {} if kind == "profile" else stand_ins.of(kind)
        if not inside and chosen and name.value not in chosen:
            what = stand_ins.none_for(kind, name.value, f"the {kind} '{name.value}'")
            return BadNode(name.where, what)
        if not inside and name.value in chosen:
            # what stands in is named by the profile itself, so it has no stand-in in its turn
            stand_in = self._resolve(chosen[name.value], kind, NO_STAND_INS, ())
            return stand_in if isinstance(stand_in, MapNode) else BadNode(name.where)
        if len(inside) >= DEEPEST:
            what = f"is the {DEEPEST + 1}th {kind} of a chain that are made from one another"
            return self._problem(name.where, f"from: '{name.value}' {what}: {DEEPEST} at most")
        if name.value in inside:
            circle = " -> ".join((*inside, name.value))
            return self._problem(name.where, f"{kind} '{name.value}' is made from itself: {circle}")
        return self._read(name, kind, (*inside, name.value))

    def _read(self, name: ScalarNode, kind: str, inside: tuple[str, ...]) -> MapNode | BadNode:
        if (kind, name.text) not in self._pieces:
            piece = self._network(name) if kind == "network" else self._file(name, kind)
            if isinstance(piece, MapNode) and kind != "profile":
                resolved = self._resolve(piece, kind, NO_STAND_INS, inside)
                assert isinstance(resolved, MapNode | BadNode)
                piece = resolved
            if isinstance(piece, MapNode):
                piece = replace(piece, replaces_lower=True)
            self._pieces[kind, name.text] = piece
        return self._pieces[kind, name.text]

    def _network(self, name: ScalarNode) -> MapNode | BadNode:
        networks = self.networks.entries
        network = networks.get(name.text)
        if isinstance(network, MapNode | BadNode):
            return network
        if network is not None:
            forms = "{arch: ARCHITECTURE} or {from: NETWORK}"
            what = f"network '{name.text}' must be a mapping, {forms}"
            return self._problem(network.where, what)
        if self._networks_broken:
            return BadNode(name.where)
        what = unknown_component("network", name.text, self._valid("network"))
        if not networks_path().exists():
            what += _copy_from_harness("networks.yaml")
        return self._problem(name.where, what)

    @cached_property
    def networks(self) -> MapNode:
        """The shared networks by name."""
        root = self._networks_root
        path = str(networks_path())
        return root if isinstance(root, MapNode) else MapNode(Location(path, 1, 1), {}, {})

    @property
    def _networks_broken(self) -> bool:
        """Whether their file has none, which is told once, and not for each name."""
        return self._networks_root is not None and not isinstance(self._networks_root, MapNode)

    @cached_property
    def _networks_root(self) -> MapNode | BadNode | None:
        path = networks_path()
        return self._root(path) if path.exists() else None

    def _file(self, name: ScalarNode, kind: str) -> MapNode | BadNode:
        files = self._files(kind)
        if name.text not in files:
            what = unknown(kind, name.text, list(files))
            if not files:
                what += _copy_from_harness(f"{FOLDERS[kind]}/")
            return self._problem(name.where, what)
        root = self._root(files[name.text])
        return _without(root, "note") if isinstance(root, MapNode) else root

    def _files(self, kind: str) -> Mapping[str, Path]:
        """The recipes or profiles that there are."""
        if kind not in self._listed:
            self._listed[kind] = list_pieces(kind)
        return self._listed[kind]

    def _valid(self, kind: str) -> list[str]:
        """The names that a spec can give."""
        if kind == "network":
            return [*self.networks.entries, *known_architectures()]
        return list(self._files(kind))

    def _root(self, path: Path) -> MapNode | BadNode:
        try:
            root, problems = read_yaml(path)
        except SpecError as error:
            self._problems += error.problems
            return BadNode(error.problems[0].where)
        except HarnessError as error:
            return self._problem(Location(str(path), 1, 1), str(error))
        self._problems += problems
        if not isinstance(root, MapNode):
            return self._problem(root.where, "must be a mapping")
        return root

    def _problem(self, where: Location, what: str) -> BadNode:
        self._problems.append(Diagnostic(where, what))
        return BadNode(where)


def _copy_from_harness(piece: str) -> str:
    """What to do in a folder of one's own that lacks what specs share."""
    where = experiments_root()
    return f"; {where} has no {piece}: copy it from the harness's own experiments/"


def _joined(lower: MapNode | None, upper: MapNode | None) -> MapNode | None:
    if lower is None or upper is None:
        return upper or lower
    entries = {**lower.entries, **upper.entries}
    return replace(upper, entries=entries, keys={**lower.keys, **upper.keys})


def _without(node: MapNode, key: str) -> MapNode:
    return replace(
        node, entries={name: child for name, child in node.entries.items() if name != key}
    )
