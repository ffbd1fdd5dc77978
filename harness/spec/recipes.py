"""Shared recipes: `recipe: deit-300`, or `recipe: {from: deit-300, epochs: 100}`."""

from __future__ import annotations

from dataclasses import replace

from harness.errors import HarnessError, Problem, SpecError, Where, unknown
from harness.spec.locate import list_recipes, recipe_path
from harness.spec.merge import merge
from harness.spec.nodes import BadNode, MapNode, Node, ScalarNode
from harness.spec.strict_yaml import read_yaml
from harness.train.config import Recipe

DEEPEST = 20
"""Recipes that are made from one another: far more than anybody follows."""


class Recipes:
    """Reads each recipe file once; notes what is wrong with files and references."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._read: dict[str, MapNode | BadNode] = {}

    def in_layer(self, layer: MapNode) -> MapNode:
        """`layer` with its recipe, if it names one, replaced by what the name stands for."""
        recipe = layer.entries.get("recipe")
        if recipe is None:
            return layer
        return replace(layer, entries={**layer.entries, "recipe": self._resolve(recipe, ())})

    def _resolve(self, node: Node, inside: tuple[str, ...]) -> Node:
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            return self._named(node, inside)
        if not isinstance(node, MapNode) or "from" not in node.entries:
            return node
        base, changes = self._named(node.entries["from"], inside), _without(node, "from")
        if not isinstance(base, MapNode):
            return base
        merged = merge(base, changes, Recipe)
        assert isinstance(merged, MapNode)
        return replace(merged, fresh=True)

    def _named(self, name: Node, inside: tuple[str, ...]) -> MapNode | BadNode:
        if not isinstance(name, ScalarNode) or not isinstance(name.value, str):
            return self._problem(name.where, "from: must be the name of a recipe")
        if name.value in inside:
            return self._problem(
                name.where,
                f"recipe '{name.value}' is made from itself: {' -> '.join((*inside, name.value))}",
            )
        if len(inside) >= DEEPEST:
            what = f"is the {DEEPEST + 1}th recipe of a chain that are made from one another"
            return self._problem(name.where, f"from: '{name.value}' {what}: {DEEPEST} at most")
        if name.value not in list_recipes():
            return self._problem(name.where, unknown("recipe", name.value, list_recipes()))
        if name.value not in self._read:
            self._read[name.value] = self._file(name.value, (*inside, name.value))
        return self._read[name.value]

    def _file(self, name: str, inside: tuple[str, ...]) -> MapNode | BadNode:
        try:
            root, problems = read_yaml(recipe_path(name))
        except SpecError as error:
            self.problems += error.problems
            return BadNode(error.problems[0].where)
        except HarnessError as error:
            return self._problem(Where(str(recipe_path(name)), 1, 1), str(error))
        self.problems += problems
        if not isinstance(root, MapNode):
            return self._problem(root.where, "a recipe must be a mapping")
        resolved = self._resolve(_without(root, "note"), inside)
        return (
            replace(resolved, fresh=True) if isinstance(resolved, MapNode) else BadNode(root.where)
        )

    def _problem(self, where: Where, what: str) -> BadNode:
        self.problems.append(Problem(where, what))
        return BadNode(where)


def _without(node: MapNode, key: str) -> MapNode:
    return replace(
        node, entries={name: child for name, child in node.entries.items() if name != key}
    )
