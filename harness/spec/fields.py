"""What the type hints of a config class say about the mappings it is built from."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from harness.bounds import Bound, bound_of
from harness.spec.nodes import MapNode, Node, ScalarNode

NOT_IN_FILE: Mapping[str, Any] = {"key": None}
"""Metadata of a field that the program fills in."""
ITS_NODE: Mapping[str, Any] = {"key": None, "node": True}
"""Metadata of a field that holds the node its object was built from."""
REQUIRED: Mapping[str, Any] = {"required": True}
"""Metadata of a field that has a default only so that checking can go on without it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldInfo:
    """One field of a config class as a spec sees it."""

    name: str
    hint: Any  # without `| None` and bounds
    bound: Bound | None
    nullable: bool
    default: bool  # whether it has one
    required: bool


@cache
def fields_of(cls: type) -> Mapping[str, FieldInfo]:
    """The fields of a dataclass that a file can give, by the key it uses for them."""
    assert dataclasses.is_dataclass(cls), f"a spec cannot describe {cls}"
    hints = get_type_hints(cls, include_extras=True)
    infos = {}
    for field in dataclasses.fields(cls):
        key = field.metadata.get("key", field.name)
        if key is None:
            continue
        hint, nullable = without_none(hints[field.name])
        hint, bound = bound_of(hint)
        default = field.default is not MISSING or field.default_factory is not MISSING
        required = not default or field.metadata.get("required", False)
        infos[key] = FieldInfo(
            name=field.name,
            hint=hint,
            bound=bound,
            nullable=nullable,
            default=default,
            required=required,
        )
    return infos


@cache
def paths_to(hint: Any, kind: type[Bound]) -> frozenset[tuple[str, ...]]:
    """Where in a mapping for `hint` an option may stand whose bound is of this kind, in whatever
    component is registered.
    """
    return frozenset(_paths_to(hint, kind, ()))


def _paths_to(hint: Any, kind: type[Bound], inside: tuple[Any, ...]) -> Iterator[tuple[str, ...]]:
    if hint in inside or not isinstance(hint, type):
        return  # a component that holds another of its own kind
    registry = getattr(hint, "registry", None)
    components = [hint] if registry is None else map(registry.get, registry.names())
    for cls in components:
        if not dataclasses.is_dataclass(cls):
            continue
        for key, info in fields_of(cls).items():
            if isinstance(info.bound, kind):
                yield (key,)
            yield from ((key, *path) for path in _paths_to(info.hint, kind, (*inside, hint)))


@cache
def node_field(cls: type) -> str | None:
    """The field of a dataclass that wants the node its object is built from."""
    fields = dataclasses.fields(cls)
    return next((field.name for field in fields if field.metadata.get("node")), None)


def without_none(hint: Any) -> tuple[Any, bool]:
    """`X | None` as X and True; any other hint as itself and False."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    rest = tuple(part for part in get_args(hint) if part is not type(None))
    return Union[rest], len(rest) < len(get_args(hint))  # noqa: UP007


def is_tagged(hint: Any) -> bool:
    """Whether `hint` is the base of a family of registered classes: `{name: ..., options}`."""
    return isinstance(hint, type) and hasattr(hint, "registry")


def discriminator(hint: Any) -> frozenset[str]:
    """The keys that say which thing a mapping describes; options belong to that thing."""
    if is_tagged(hint):
        return frozenset({"name"})
    return getattr(hint, "DISCRIMINATOR", frozenset())


def expand_shorthand(node: Node, hint: Any) -> Node:
    """A bare `distillation` as the mapping `{name: distillation}` that it stands for."""
    choice = discriminator(hint)
    if not isinstance(node, ScalarNode) or node.value is None or len(choice) != 1:
        return node
    (key,) = choice
    return MapNode(node.where, {key: node}, {key: node.where})
