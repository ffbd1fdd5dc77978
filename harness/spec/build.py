"""From nodes to frozen config objects, guided by type hints; all that is wrong is collected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args, get_origin

from harness.bounds import Bound, bound_of
from harness.errors import Diagnostic, FieldError, HarnessError, Location, unknown
from harness.spec.fields import (
    FieldInfo,
    discriminator,
    expand_shorthand,
    fields_of,
    is_tagged,
    node_field,
    without_none,
)
from harness.spec.nodes import BadNode, ListNode, MapNode, Node, ScalarNode


class _Nothing:
    """No value: what is wrong with it is noted elsewhere."""


FAILED: Final = _Nothing()
_DEFAULT: Final = _Nothing()  # null where there is a default to go back to

LONGEST = 2_000
"""Characters of a message: a text that is quoted in one can be long."""

_LEAVES: Mapping[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
}


_KINDS: Mapping[type, str] = {MapNode: "a mapping", ListNode: "a list"}


class Builder:
    """Builds objects and keeps the `problems` that it meets.

    Objects are remembered by the node they come from, so that what many rows share is built once.
    With `versioned`, mappings are in plain form: registered classes come with their version. With
    `partial`, nothing is built: what one layer of a configuration says is checked value by value,
    whether or not a layer above it replaces the value.

    A class may say how it is built: `DISCRIMINATOR` has the keys that tell which thing a mapping
    describes, `RENAMED` the new names of old keys, `ELSEWHERE` the names of what other programs
    call differently, and with `LENIENT` a wrong value falls back to the field's default, so that
    checking the rest of a file can go on.
    """

    def __init__(self, *, versioned: bool = False, partial: bool = False) -> None:
        self.problems: list[Diagnostic] = []
        self._versioned, self._partial = versioned, partial
        self._built: dict[tuple[Node, Any], tuple[Any, Sequence[Diagnostic]]] = {}

    def build(self, node: Node, hint: Any, label: str = "") -> Any:
        """The value of type `hint` that `node` describes, or FAILED."""
        if isinstance(node, BadNode):
            told = node.what is None or self._partial
            return FAILED if told else self.problem(node.where, str(node.what))
        hint, nullable = without_none(hint)
        hint, bound = bound_of(hint)
        if bound is not None:
            return self._bounded(self.build(node, hint, label), bound, node, label)
        if nullable and isinstance(node, ScalarNode) and node.value is None:
            return None
        if hint in _LEAVES:
            return self._leaf(node, hint, label)
        if get_origin(hint) is Literal:
            return self._word(node, get_args(hint), label)
        if get_origin(hint) is tuple:
            return self._tuple(node, get_args(hint), label)
        if isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Mapping):
            return self._mapping(node, get_args(hint)[1], label)
        if hint in (MapNode, ListNode):
            return node if isinstance(node, hint) else self._wrong(node, _KINDS[hint], label)
        return self._remembered(node, hint, label)

    def problem(self, where: Location, what: str) -> _Nothing:
        """Note a problem; returns FAILED."""
        if len(what) > LONGEST:
            what = f"{what[: LONGEST // 2]} ... {what[-LONGEST // 2 :]}"
        self.problems.append(Diagnostic(where, what))
        return FAILED

    def _wrong(self, node: Node, wanted: str, label: str) -> _Nothing:
        if isinstance(node, BadNode):
            return FAILED
        got = _shown(node)
        if wanted == "a list" and isinstance(node, ScalarNode):
            got += f"; write it in brackets: [{node.text}]"
        elif isinstance(node, ScalarNode) and isinstance(node.value, str):
            got += _why_text(node)
        return self.problem(node.where, f"{_prefix(label)}must be {wanted}, got {got}")

    def _remembered(self, node: Node, hint: Any, label: str) -> Any:
        if (node, hint) in self._built:
            value, problems = self._built[node, hint]
            self.problems += problems
            return value
        before = len(self.problems)
        value = self._described(node, hint, label)
        self._built[node, hint] = (value, self.problems[before:])
        return value

    def _described(self, node: Node, hint: Any, label: str) -> Any:
        if isinstance(node, ScalarNode) and hasattr(hint, "from_scalar"):
            return self._parsed(node, hint, label)
        node = expand_shorthand(node, hint)
        if not isinstance(node, MapNode):
            return self._wrong(node, _bare(hint) + "a mapping", label)
        return self._tagged(node, hint) if is_tagged(hint) else self._object(node, hint)

    def _leaf(self, node: Node, hint: type, label: str) -> Any:
        value = node.value if isinstance(node, ScalarNode) else FAILED
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if hint is str and number and isinstance(node, ScalarNode):
            return node.text  # `arxiv: 2302.10494` means what it looks like
        if hint is float and number:
            return float(value)  # type: ignore[arg-type]
        if type(value) is hint:
            return value
        return self._wrong(node, _LEAVES[hint], label)

    def _bounded(self, value: Any, bound: Bound, node: Node, label: str) -> Any:
        if isinstance(value, _Nothing) or value is None:
            return value
        wrong = bound.wrong(value)
        return value if wrong is None else self.problem(node.where, f"{_prefix(label)}{wrong}")

    def _word(self, node: Node, words: tuple[Any, ...], label: str) -> Any:
        if isinstance(node, ScalarNode) and node.value in words:
            return node.value
        if isinstance(node, ScalarNode) and isinstance(node.value, str):
            return self.problem(node.where, unknown(label or "word", node.text, words))
        return self._wrong(node, "one of " + ", ".join(words), label)

    def _tuple(self, node: Node, hints: tuple[Any, ...], label: str) -> Any:
        if not isinstance(node, ListNode):
            return self._wrong(node, "a list", label)
        if hints[-1] is Ellipsis:
            hints = hints[:1] * len(node.items)
        if len(hints) != len(node.items):
            return self.problem(
                node.where, f"{_prefix(label)}must have {len(hints)} items, got {len(node.items)}"
            )
        values = [
            self.build(item, hint, f"{label}[{index}]")
            for index, (item, hint) in enumerate(zip(node.items, hints, strict=True))
        ]
        return FAILED if FAILED in values else tuple(values)

    def _mapping(self, node: Node, hint: Any, label: str) -> Any:
        if not isinstance(node, MapNode):
            return self._wrong(node, "a mapping", label)
        built = {key: self.build(child, hint, key) for key, child in node.entries.items()}
        return {key: value for key, value in built.items() if not isinstance(value, _Nothing)}

    def _parsed(self, node: ScalarNode, hint: Any, label: str) -> Any:
        try:
            return hint.from_scalar(node)
        except ValueError as error:
            return self.problem(node.where, f"{_prefix(label)}{error}")

    def _tagged(self, node: MapNode, base: Any) -> Any:
        registry = base.registry
        name = node.entries.get("name")
        if name is None and self._partial:
            return FAILED  # options of what another layer names
        if name is None:
            return self.problem(
                node.where,
                f"'name' is missing: which {registry.kind} (valid: {', '.join(registry.names())})",
            )
        if not isinstance(name, ScalarNode) or not isinstance(name.value, str):
            return self._wrong(name, f"the name of a {registry.kind}", "name")
        try:
            cls = registry.get(name.value)
        except HarnessError as error:
            return self.problem(name.where, str(error))
        if not issubclass(cls, base):  # an option that takes one component alone
            valid = [one for one in registry.names() if issubclass(registry.get(one), base)]
            what = f"{registry.kind} '{name.value}' does not go here (valid: {', '.join(valid)})"
            return self.problem(name.where, what)
        return self._object(self._options(node, cls), cls)

    def _options(self, node: MapNode, cls: Any) -> MapNode:
        entries = {key: child for key, child in node.entries.items() if key != "name"}
        version = entries.pop("version", None) if self._versioned else None
        if isinstance(version, ScalarNode) and version.value != cls.version:
            self.problem(
                version.where,
                f"{cls.__name__} was version {version.value}, now it is {cls.version}",
            )
        return MapNode(node.where, entries, node.keys)

    def _object(self, node: MapNode, cls: Any) -> Any:
        infos = fields_of(cls)
        values: dict[str, Any] = {}
        incomplete = self._partial or self._lacks_value(node, infos)
        for key, where, child in node:
            if key not in infos:
                self.problem(where, _no_key(cls, key, list(infos)))
                continue
            if self._partial and isinstance(child, ScalarNode) and child.value is None:
                continue  # takes back what lies below
            value = self._field(child, infos[key], key)
            if not isinstance(value, _Nothing):
                values[infos[key].name] = value
            elif not infos[key].default or (value is FAILED and not getattr(cls, "LENIENT", False)):
                incomplete = True
        if incomplete:
            return FAILED
        where_node = node_field(cls)
        if where_node is not None:
            values[where_node] = node
        return self._checked(node, cls, values)

    def _lacks_value(self, node: MapNode, infos: Mapping[str, FieldInfo]) -> bool:
        """Whether a key without default is missing; every missing key is a problem."""
        missing = [key for key, info in infos.items() if info.required and key not in node.entries]
        if node.entries.keys() <= infos.keys():  # else a misspelt key is likely the missing one
            for key in missing:
                self.problem(node.where, f"'{key}' is missing")
        return any(not infos[key].default for key in missing)

    def _field(self, child: Node, info: FieldInfo, key: str) -> Any:
        if not (isinstance(child, ScalarNode) and child.value is None):
            value = self.build(child, info.hint, key)
            return value if info.bound is None else self._bounded(value, info.bound, child, key)
        needed = info.required and info.default  # a default that is there to go on with
        if info.nullable and not needed:
            return None
        if info.default and not needed:
            return _DEFAULT
        return self.problem(child.where, f"{key}: must be given, it has no default to reset to")

    def _checked(self, node: MapNode, cls: Any, values: dict[str, Any]) -> Any:
        try:
            return cls(**values)
        except FieldError as error:
            path = error.field.split(".")
            return self.problem(node.find(*path), f"{path[-1]}: {error.what}")


def _prefix(label: str) -> str:
    return f"{label}: " if label else ""


def _bare(hint: Any) -> str:
    choice = discriminator(hint)
    return f"a bare {next(iter(choice))} or " if len(choice) == 1 else ""


def _no_key(cls: Any, key: str, valid: Sequence[str]) -> str:
    new = getattr(cls, "RENAMED", {}).get(key)
    ours = getattr(cls, "ELSEWHERE", {}).get(key)
    if new is not None:
        return f"key '{key}' is now {_called(new)}"
    return unknown("key", key, valid) if ours is None else f"key '{key}' is {_called(ours)} here"


def _called(new: str) -> str:
    """A key's new name, or its new form, `key: value`."""
    return f"written as `{new}`" if ": " in new else f"called '{new}'"


def _shown(node: Node) -> str:
    if isinstance(node, MapNode):
        return "a mapping"
    if isinstance(node, ListNode):
        return "a list"
    assert isinstance(node, ScalarNode)
    text = node.text if len(node.text) <= 60 else f"{node.text[:57]}..."
    return f"'{text}'" if isinstance(node.value, str) else text


def _why_text(node: ScalarNode) -> str:
    """Why what looks like a number is none."""
    if node.quoted:
        return " (in quotes, so a text)" if _numeric(node.text) else ""
    digits = node.text.replace("_", "").replace(",", "").replace(" ", "")
    if digits != node.text and _numeric(digits):
        return f"; write it without separators: {digits}"
    if re.fullmatch(r"[-+]?0\d+", node.text):
        return "; write it without leading zeros"
    return ""


def _numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
