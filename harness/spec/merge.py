"""Layers of partial configurations, one over another; every value keeps its place in the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any

from harness.spec.fields import FieldInfo, discriminator, expand_shorthand, fields_of, is_tagged
from harness.spec.nodes import BadNode, MapNode, Node, ScalarNode


def merge_all(layers: Iterable[MapNode], hint: Any, *, under: MapNode) -> MapNode:
    """`layers` over the empty mapping at the place of `under`, later ones win."""
    merged = MapNode(under.where, {}, {})
    for layer in layers:
        merged = _merge_maps(merged, layer, hint, at=under)
    return merged


def merge(lower: Node, upper: Node, hint: Any) -> Node:
    """`upper` over `lower`, both describing a value of type `hint`.

    Mappings merge key by key, anything else is replaced. A layer that names another thing than the
    one below (another method, architecture, source of weights) starts afresh: the options of the
    old one mean nothing to it.
    """
    lower, upper = expand_shorthand(lower, hint), expand_shorthand(upper, hint)
    if isinstance(lower, BadNode) and isinstance(upper, MapNode):
        another = upper.replaces_lower or _named(upper, discriminator(hint))
        return upper if another else lower  # options of something that could not be read
    if not isinstance(lower, MapNode) or not isinstance(upper, MapNode):
        return upper
    if upper.replaces_lower or _names_another(lower, upper, discriminator(hint)):
        return upper
    return _merge_maps(lower, upper, hint, at=upper)


def _merge_maps(lower: MapNode, upper: MapNode, hint: Any, *, at: MapNode) -> MapNode:
    entries, keys = dict(lower.entries), {**lower.keys, **upper.keys}
    fields = _fields(lower, upper, hint)
    for key, node in upper.entries.items():
        below, field = entries.get(key), fields.get(key)
        hint_of_key = None if field is None else field.hint
        entries[key] = node if below is None else merge(below, node, hint_of_key)
    return MapNode(at.where, entries, keys)


def _names_another(lower: MapNode, upper: MapNode, choice: frozenset[str]) -> bool:
    before, after = _named(lower, choice), _named(upper, choice)
    return bool(before) and bool(after) and before != after


def _named(node: MapNode, choice: frozenset[str]) -> dict[str, object]:
    return {
        key: child.value
        for key in choice
        if isinstance(child := node.entries.get(key), ScalarNode) and child.value is not None
    }


def _fields(lower: MapNode, upper: MapNode, hint: Any) -> Mapping[str, FieldInfo]:
    """The fields of the class that a mapping describes, as far as it can be known."""
    if is_tagged(hint):
        name = upper.entries.get("name", lower.entries.get("name"))
        registered = isinstance(name, ScalarNode) and name.value in hint.registry
        hint = (
            hint.registry.get(name.value) if registered and isinstance(name, ScalarNode) else None
        )
    return fields_of(hint) if isinstance(hint, type) and is_dataclass(hint) else {}
