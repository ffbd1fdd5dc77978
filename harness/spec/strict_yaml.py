"""Strict YAML: scalars that surprise nobody, and a place for everything that is wrong.

YAML 1.1 reads `no` as false, `10:30` as 630 and `1e-4` as a text. Here numbers are what JSON and
Python call numbers, `true`, `false` and `null` are the only words with a meaning, the rest is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from harness.errors import Diagnostic, HarnessError, Location, SpecError
from harness.spec.nodes import BadNode, ListNode, MapNode, Node, ScalarNode, Value

DEEPEST = 50
"""Levels of nesting: far more than a spec needs, far less than a stack holds. Those of an alias
count as if they were written there."""
MOST_NODES = 20_000
"""Values and mappings of a file, with what aliases repeat: the largest table here has a tenth."""
MOST_BYTES = 1_000_000
LONGEST, LONGEST_KEY = 20_000, 200
"""Characters of one value, and of one key."""

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.?(?:inf|infinity|nan)", re.IGNORECASE)
_CURLY = re.compile("(?:^|[-:,\\[{])\\s*([“”„‘’‚])")  # where a value begins
_WORDS: Mapping[str, Value] = {"true": True, "false": False, "null": None}


def read_yaml(path: Path) -> tuple[Node, list[Diagnostic]]:
    """The tree of a file and what is wrong inside it; HarnessError if there is no tree."""
    name = display(path)
    try:
        if path.exists() and not path.is_file():
            raise HarnessError(f"cannot read {name}: is no ordinary file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise HarnessError(f"cannot read {name}: {error.strerror}") from None
    if len(content) > MOST_BYTES:
        what = f"is larger than {MOST_BYTES:,} bytes: a spec is one table"
        raise SpecError([Diagnostic(Location(name, 1, 1), what)])
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        where = Location(name, before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        what = "is not UTF-8 text" + (" but UTF-16: save it as UTF-8" if wide else "")
        raise SpecError([Diagnostic(where, what)]) from None
    return parse_yaml(text, name)


def display(path: Path) -> str:
    """`path` as messages show it: relative to the working directory where it lies below it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def parse_yaml(text: str, file: str) -> tuple[Node, list[Diagnostic]]:
    """The tree of `text` and what is wrong inside it; SpecError if it is no YAML at all."""
    node, problems = _parsed(text, file)
    return node, list(problems)


@lru_cache(maxsize=256)
def _parsed(text: str, file: str) -> tuple[Node, tuple[Diagnostic, ...]]:
    """Most tables name the same recipes and networks; trees never change."""
    reader = _Reader(yaml.parse(text, Loader=yaml.CBaseLoader), file)
    try:
        return reader.document(), tuple(reader.problems)
    except yaml.MarkedYAMLError as error:
        raise SpecError([*reader.problems, _syntax(error, text, file)]) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        where = Location(file, before.count("\n") + 1, error.position - before.rfind("\n"))
        what = f"not a character that YAML allows: {error.reason}"
        raise SpecError([*reader.problems, Diagnostic(where, what)]) from None


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> Diagnostic:
    mark, context = error.problem_mark or error.context_mark, error.context_mark
    assert mark is not None
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    rest, curly = line[mark.column :], _CURLY.search(line, 0, mark.column)
    what = error.problem or "is not YAML"
    if curly is not None:
        what = f"{curly[1]} is no quote in YAML: write \" or '"
        return Diagnostic(Location(file, mark.line + 1, curly.start(1) + 1), what)
    if rest.startswith("\t"):
        what = "a tab cannot indent YAML: use spaces"
    elif (begun := _quote_before(text.removeprefix("\ufeff")[: mark.index])) is not None:
        what = f"a quote that began at {begun} ends here: does it lack its closing quote?"
    elif "mapping values are not allowed" in what:
        what = "a ':' where no key can be: check the indentation, and quote a text that holds ': '"
    elif "cannot start any token" in what:
        what = f"a value cannot start with '{rest[:1]}': write it in quotes"
    elif context is not None and "did not find" in what and "block" in (error.context or ""):
        begun = f"{context.line + 1}:{context.column + 1}"
        what = f"does not fit to what begins at {begun}: check the indentation of both"
    elif context is not None and error.context and context.line != mark.line:
        what += f" {error.context} that begins at {context.line + 1}:{context.column + 1}"
    return Diagnostic(Location(file, mark.line + 1, mark.column + 1), what)


def _quote_before(text: str) -> str | None:
    """Where the quoted text of several lines begins that `text` ends with; None if with none."""
    scalar: Any = None
    try:
        for token in yaml.scan(text, Loader=yaml.CBaseLoader):
            scalar = token if isinstance(token, yaml.ScalarToken) else scalar
    except yaml.YAMLError:
        return None
    if scalar is None or scalar.style not in ('"', "'"):
        return None
    start, end = scalar.start_mark, scalar.end_mark
    if start.line == end.line or text[end.index :].strip(" "):
        return None
    return f"{start.line + 1}:{start.column + 1}"


class _Reader:
    """Builds the tree from YAML's events and collects what strictness forbids.

    An alias is the node of its anchor once more: both stand at the anchor's place.
    """

    def __init__(self, events: Iterator[Any], file: str) -> None:
        self._events, self._file = events, file
        self._anchors: dict[str, Node | None] = {}  # None: begun, not finished
        self._depth = self._deepest = 0
        self._nodes = 0  # so far, with what aliases repeat
        self._extent: dict[Node, tuple[int, int]] = {}  # nodes and levels of what has an anchor
        self.problems: list[Diagnostic] = []

    def document(self) -> Node:
        """The only document of the file."""
        next(self._events)  # the stream begins
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            raise SpecError([Diagnostic(Location(self._file, 1, 1), "is empty")])
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
        before, outer = self._nodes, self._deepest
        self._depth += 1
        self._deepest = self._depth
        self._count(1, 0, where)
        node = self._content(event, where)
        extent = (self._nodes - before, self._deepest - self._depth)
        self._depth -= 1
        self._deepest = max(outer, self._deepest)
        if event.tag is not None:
            node = self._bad(
                where, "tags are not part of this format: values are what they look like"
            )
        if event.anchor is not None:
            self._anchors[event.anchor] = node
            self._extent[node] = extent
        return node

    def _count(self, nodes: int, levels: int, where: Location) -> None:
        """So many more nodes stand here, and so many levels below this one."""
        self._nodes += nodes
        self._deepest = max(self._deepest, self._depth + levels)
        if self._depth + levels > DEEPEST:
            what = f"is nested too deeply: {DEEPEST} levels at most, those of aliases counted"
            raise SpecError([*self.problems, Diagnostic(where, what)])
        if self._nodes > MOST_NODES:
            what = f"has more than {MOST_NODES:,} values here, those that aliases repeat counted"
            raise SpecError([*self.problems, Diagnostic(where, what)])

    def _alias(self, name: str, where: Location) -> Node:
        if name not in self._anchors:
            return self._bad(where, f"there is no anchor &{name} above")
        node = self._anchors[name]
        if node is None:
            return self._bad(where, f"&{name} cannot hold its own alias")
        nodes, levels = self._extent[node]
        self._count(nodes, levels + 1, where)
        return node

    def _content(self, event: Any, where: Location) -> Node:
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(where)
        if isinstance(event, yaml.SequenceStartEvent):
            items = []
            while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
                items.append(self._node(item))
            return ListNode(where, tuple(items))
        return self._scalar(event, where)

    def _mapping(self, where: Location) -> MapNode:
        entries: dict[str, Node] = {}
        keys: dict[str, Location] = {}
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
            if len(event.value) > LONGEST_KEY:
                self._bad(self._where(event), f"a key has at most {LONGEST_KEY} characters")
                return None
            if event.value != "<<":
                return str(event.value)
            self._bad(self._where(event), "merge keys are not part of this format")
            return None
        self._node(event)
        self._bad(self._where(event), "a key must be a plain word")
        return None

    def _scalar(self, event: Any, where: Location) -> Node:
        text: str = event.value
        if len(text) > LONGEST:
            return self._bad(where, f"is longer than {LONGEST:,} characters")
        if event.style:
            return ScalarNode(where, text, text, quoted=True)
        if text in _WORDS:
            return ScalarNode(where, _WORDS[text], text)
        if not text and event.tag is None:
            return self._bad(where, "has no value: write null to reset a key, {} or [] for nothing")
        if _INTEGER.fullmatch(text):
            return ScalarNode(where, int(text), text)
        number = float(text) if _NUMBER.fullmatch(text) else None
        if _NOT_FINITE.fullmatch(text) or (number is not None and not math.isfinite(number)):
            shown = text if len(text) <= 40 else f"{text[:37]}..."
            return self._bad(where, f"'{shown}' is not a finite number (a text needs quotes)")
        return ScalarNode(where, text if number is None else number, text)

    def _where(self, event: Any) -> Location:
        mark = event.start_mark
        return Location(self._file, mark.line + 1, mark.column + 1)

    def _bad(self, where: Location, what: str) -> BadNode:
        self.problems.append(Diagnostic(where, what))
        return BadNode(where)
