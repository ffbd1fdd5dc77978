"""Strict YAML: scalars that surprise nobody, and a place for everything that is wrong.

YAML 1.1 reads `no` as false, `10:30` as 630 and `1e-4` as a text. Here numbers are what JSON and
Python call numbers, `true`, `false` and `null` are the only words with a meaning, the rest is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from harness.errors import HarnessError, Problem, SpecError, Where
from harness.spec.nodes import BadNode, ListNode, MapNode, Node, ScalarNode, Value

DEEPEST = 50
"""Levels of nesting: far more than a spec needs, far less than a stack holds."""

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.?(?:inf|infinity|nan)", re.IGNORECASE)
_WORDS: Mapping[str, Value] = {"true": True, "false": False, "null": None}


def read_yaml(path: Path) -> tuple[Node, list[Problem]]:
    """The tree of a file and what is wrong inside it; HarnessError if there is no tree."""
    name = display(path)
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        where = Where(name, before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        raise SpecError([Problem(where, "is not UTF-8 text")]) from None
    except OSError as error:
        raise HarnessError(f"cannot read {name}: {error.strerror}") from None
    return parse_yaml(text, name)


def display(path: Path) -> str:
    """`path` as messages show it: relative to the working directory where it lies below it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def parse_yaml(text: str, file: str) -> tuple[Node, list[Problem]]:
    """The tree of `text` and what is wrong inside it; SpecError if it is no YAML at all."""
    reader = _Reader(yaml.parse(text, Loader=yaml.CBaseLoader), file)
    try:
        return reader.document(), reader.problems
    except yaml.MarkedYAMLError as error:
        raise SpecError([*reader.problems, _syntax(error, text, file)]) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        where = Where(file, before.count("\n") + 1, error.position - before.rfind("\n"))
        what = f"not a character that YAML allows: {error.reason}"
        raise SpecError([*reader.problems, Problem(where, what)]) from None


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark, context = error.problem_mark or error.context_mark, error.context_mark
    assert mark is not None
    lines = text.splitlines()
    rest = lines[mark.line][mark.column :] if mark.line < len(lines) else ""
    what = error.problem or "is not YAML"
    if rest.startswith("\t"):
        what = "a tab cannot indent YAML: use spaces"
    elif "mapping values are not allowed" in what:
        what = "a ':' where no key can be: check the indentation, and quote a text that holds ': '"
    elif context is not None and error.context and context.line != mark.line:
        what += f" {error.context} that begins at {context.line + 1}:{context.column + 1}"
    return Problem(Where(file, mark.line + 1, mark.column + 1), what)


class _Reader:
    """Builds the tree from YAML's events and collects what strictness forbids.

    An alias is the node of its anchor once more: both stand at the anchor's place.
    """

    def __init__(self, events: Iterator[Any], file: str) -> None:
        self._events, self._file = events, file
        self._anchors: dict[str, Node | None] = {}  # None: begun, not finished
        self._depth = 0
        self.problems: list[Problem] = []

    def document(self) -> Node:
        """The only document of the file."""
        next(self._events)  # the stream begins
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            raise SpecError([Problem(Where(self._file, 1, 1), "is empty")])
        node = self._node(next(self._events))
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._bad(self._where(after), "a second document begins: a spec is one")
        return node

    def _node(self, event: Any) -> Node:
        where = self._where(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), where)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._depth += 1
        if self._depth > DEEPEST:
            raise SpecError([*self.problems, Problem(where, "is nested too deeply")])
        node = self._content(event, where)
        self._depth -= 1
        if event.tag is not None:
            node = self._bad(
                where, "tags are not part of this format: values are what they look like"
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, name: str, where: Where) -> Node:
        if name not in self._anchors:
            return self._bad(where, f"there is no anchor &{name} above")
        return self._anchors[name] or self._bad(where, f"&{name} cannot hold its own alias")

    def _content(self, event: Any, where: Where) -> Node:
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(where)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(item))
            return ListNode(where, tuple(items))
        return self._scalar(event, where)

    def _mapping(self, where: Where) -> MapNode:
        entries: dict[str, Node] = {}
        keys: dict[str, Where] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            at, key = self._where(event), self._key(event)
            value = self._node(next(self._events))
            if key in keys:
                first = f"{keys[key].line}:{keys[key].column}"
                self._bad(at, f"key '{key}' is given twice (first at {first})")
            elif key is not None:
                entries[key], keys[key] = value, at
        return MapNode(where, entries, keys)

    def _key(self, event: Any) -> str | None:
        if isinstance(event, yaml.ScalarEvent) and event.tag is None and event.anchor is None:
            if event.value != "<<":
                return str(event.value)
            self._bad(self._where(event), "merge keys are not part of this format")
            return None
        self._node(event)
        self._bad(self._where(event), "a key must be a plain word")
        return None

    def _scalar(self, event: Any, where: Where) -> Node:
        text: str = event.value
        if event.style:
            return ScalarNode(where, text, text)
        if text in _WORDS:
            return ScalarNode(where, _WORDS[text], text)
        if not text and event.tag is None:
            return self._bad(where, "has no value: write null to reset a key, {} or [] for nothing")
        if _INTEGER.fullmatch(text):
            return ScalarNode(where, int(text), text)
        number = float(text) if _NUMBER.fullmatch(text) else None
        if _NOT_FINITE.fullmatch(text) or (number is not None and not math.isfinite(number)):
            return self._bad(where, f"'{text}' is not a finite number (a text needs quotes)")
        return ScalarNode(where, text if number is None else number, text)

    def _where(self, event: Any) -> Where:
        mark = event.start_mark
        return Where(self._file, mark.line + 1, mark.column + 1)

    def _bad(self, where: Where, what: str) -> BadNode:
        self.problems.append(Problem(where, what))
        return BadNode(where)
