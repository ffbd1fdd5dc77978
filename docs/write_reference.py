"""Writes docs/reference.md, every key of a spec and of cluster.yaml, from the code: `make docs`.

Type, bounds and default of a key come from the configuration class that reads it; its meaning is
the comment beside the field; the text under a heading is the class's docstring.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from harness.bounds import MANY, Bound, bound_of
from harness.launch.cluster import Cluster
from harness.registry import Registry
from harness.run import Resources
from harness.spec.fields import FieldInfo, discriminator, fields_of, is_tagged, without_none
from harness.spec.nodes import ListNode, MapNode
from harness.spec.schema import (
    ClaimEntry,
    GroupEntry,
    PreconditionEntry,
    ProfileEntry,
    RowEntry,
    TableEntry,
)
from harness.spec.table import Plot
from harness.train.config import TrainConfig

PAGE = Path(__file__).with_name("reference.md")
ROOT = PAGE.parents[1]

Place = tuple[str, str]  # where a mapping stands: the heading it belongs to, and its key

HEAD = """\
# Every key

This page is made from the code by `make docs`. A test fails when it is out of date.
[specs.md](specs.md) explains how the keys work together, [metrics.md](metrics.md) has the tasks and
metrics of `columns`. A default of "none" means that the key may be left out.
"""

SPEC: tuple[tuple[str, type], ...] = (
    ("A table: `experiments/PAPER/TABLE.yaml`", TableEntry),
    ("A row: an item of `rows`", RowEntry),
    ("A group: an item of `rows` that has `rows`", GroupEntry),
    ("A claim: an item of `claims`", ClaimEntry),
    ("A precondition: a value of `preconditions`", PreconditionEntry),
    ("A plot: an item of `plots`", Plot),
    ("A profile: a value of `profiles`, or a file of `experiments/profiles/`", ProfileEntry),
    ("`resources` of a profile", Resources),
    ("A configuration: `set` of a row or group, `base` of a table or profile", TrainConfig),
)
SECTION = "\0"  # around the name of a class until the title of its section is known
FILLED_IN = {("TrainConfig", "seed"), ("DataConfig", "version"), ("Weights", "sha256")}
"""Keys that the harness fills in when it expands a spec."""


class Page:
    """Sections in reading order; a mapping inside another gets a section of its own."""

    def __init__(self) -> None:
        self.lines: list[str] = [HEAD]
        self.undescribed: list[str] = []
        self._titles: dict[type, str] = {}
        self._later: dict[type, list[Place]] = {}
        self._registries: dict[str, Any] = {}

    def chapter(self, title: str) -> None:
        """A heading of the first level."""
        self.lines += [f"## {title}", ""]

    def section(self, title: str, cls: type, places: str = "") -> None:
        """Every key of `cls`."""
        self._titles[cls] = title
        self.lines += [f"### {title}", ""]
        if places:
            self.lines += [places, ""]
        documented = _documentation(cls)
        if documented:
            self.lines += [documented, ""]
        self._keys(title, cls)
        self._source(cls)
        self._renamed(cls)

    def inner(self) -> None:
        """The sections of mappings that came up in others, and in those."""
        while waiting := {cls: at for cls, at in self._later.items() if cls not in self._titles}:
            for cls, places in waiting.items():
                key = places[0][1]
                inside = dict.fromkeys(title for title, _ in places)
                keys = ", ".join(dict.fromkeys(f"`{key}`" for _, key in places))
                only = f" of {_subject(places[0][0])}" if len(inside) == 1 else ""
                also = "" if len(inside) == 1 else f"In {', '.join(map(_subject, inside))}."
                self.section(f"{keys}{only}" if key else keys, cls, also)

    def registered(self, title: str, base: Any) -> None:
        """Every component of this package that a registry has."""
        registry: Registry[Any] = base.registry
        self.chapter(title)
        for name in registry.names():
            cls = registry.get(name)
            if cls.__module__.startswith("harness."):
                self.section(f"`{name}`", cls)

    def text(self) -> str:
        """The page, with links to the sections of mappings."""
        titles = {cls.__name__: title for cls, title in self._titles.items()}
        text = "\n".join(self.lines).rstrip() + "\n"
        return re.sub(
            f"{SECTION}(.*?){SECTION}",
            lambda match: f"[mapping](#{_anchor(titles[match[1]])})",
            text,
        )

    def _keys(self, title: str, cls: type) -> None:
        infos = {
            key: info
            for key, info in fields_of(cls).items()
            if (cls.__name__, key) not in FILLED_IN
        }
        if not infos:
            self.lines += ["No options.", ""]
            return
        comments = _comments(cls)
        self.lines += ["| key | type | default | meaning |", "| --- | --- | --- | --- |"]
        for key, info in infos.items():
            self._collect(title, key, info.hint)
            meaning = comments.get(info.name, "")
            if not meaning:
                self.undescribed.append(f"{cls.__name__}.{info.name}")
            if info.name in getattr(cls, "NOT_IDENTITY", ()):
                meaning += " (not part of a run's identity)"
            cells = (f"`{key}`", _type(info), _default(cls, info), meaning)
            self.lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        self.lines.append("")

    def _collect(self, title: str, key: str, hint: Any) -> None:
        """Remember the mappings that a key holds, for a section of their own."""
        for inner in _parts(hint):
            if _is_section(inner):
                self._later.setdefault(inner, []).append((title, key))

    def _source(self, cls: type) -> None:
        path = Path(inspect.getfile(cls)).relative_to(ROOT)
        self.lines += [f"Source: [{path}](../{path}).", ""]

    def _renamed(self, cls: type) -> None:
        renamed: Mapping[str, str] = getattr(cls, "RENAMED", {})
        if renamed:
            told = ", ".join(f"`{old}` is now `{new}`" for old, new in renamed.items())
            self.lines += [f"Old keys, each an error that names the new one: {told}.", ""]


def reference() -> tuple[str, list[str]]:
    """The page, and the keys whose meaning is written nowhere."""
    page = Page()
    page.chapter("The spec of a table")
    for title, cls in SPEC:
        page.section(title, cls)
    page.inner()
    bases = {base.registry: base for base in reversed(list(_bases(TrainConfig)))}
    for base in reversed(bases.values()):
        page.registered(_plural(base.registry.kind), base)
        page.inner()
    page.chapter("The cluster: `cluster.yaml`")
    page.section("The file", Cluster)
    page.inner()
    return page.text(), page.undescribed


def _bases(cls: type, seen: set[type] | None = None) -> Iterator[Any]:
    """The bases of registered classes that a configuration may name, outermost first."""
    seen = set() if seen is None else seen
    if cls in seen:
        return
    seen.add(cls)
    inner = [part for info in fields_of(cls).values() for part in _parts(info.hint)]
    for part in inner:
        if is_tagged(part):
            yield part
            for name in part.registry.names():
                yield from _bases(part.registry.get(name), seen)
        elif _is_section(part):
            yield from _bases(part, seen)


def _parts(hint: Any) -> Iterator[Any]:
    """A hint, or what its lists and mappings hold."""
    hint, _ = bound_of(without_none(bound_of(hint)[0])[0])
    if get_origin(hint) in (tuple,) or _is_mapping(hint):
        for part in get_args(hint):
            yield from _parts(part)
    elif isinstance(hint, type):
        yield hint


def _is_mapping(hint: Any) -> bool:
    origin = get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _is_section(hint: Any) -> bool:
    """Whether it is a mapping with keys of its own."""
    plain = hint in (MapNode, ListNode) or is_tagged(hint) or hasattr(hint, "from_scalar")
    return dataclasses.is_dataclass(hint) and not plain


def _type(info: FieldInfo) -> str:
    text = _of_hint(info.hint)
    if info.bound is not None:
        text = f"{text}, {_bound(info.bound)}" if _bound(info.bound) else text
    return text


def _of_hint(hint: Any) -> str:
    hint, nullable = without_none(hint)
    hint, bound = bound_of(hint)
    if bound is not None:
        return f"{_of_hint(hint)}, {_bound(bound)}" if _bound(bound) else _of_hint(hint)
    if nullable:
        return f"{_of_hint(hint)} or null"
    if get_origin(hint) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(hint))
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        if parts[-1] is Ellipsis:
            return f"list: {_of_hint(parts[0])}"
        return "[" + "; ".join(_of_hint(part) for part in parts) + "]"
    if _is_mapping(hint):
        return f"mapping: {_of_hint(get_args(hint)[1])}"
    if is_tagged(hint):
        name = f"[{hint.registry.kind}](#{_anchor(_plural(hint.registry.kind))})"
        return f"{name}: its name alone, or with options"
    names = {str: "text", bool: "true or false", int: "whole number", float: "number"}
    names |= {MapNode: "mapping", ListNode: "list"}
    if hint in names:
        return names[hint]
    if hasattr(hint, "from_scalar"):
        return {"Tolerance": "number or percentage", "Printed": "number as printed"}.get(
            hint.__name__, _words(hint.__name__)
        )
    bare = discriminator(hint)
    alone = f", or its `{next(iter(bare))}` alone" if len(bare) == 1 else ""
    return f"{SECTION}{hint.__name__}{SECTION}{alone}"


def _bound(bound: Bound) -> str:
    """The interval in words; limits that only catch slips of the keyboard (`MANY`) are left out."""
    low = f"above {_number(bound.above)}" if bound.above > -MANY else ""
    if bound.least > -MANY:
        low = f"{_number(bound.least)} or more"
    if bound.below < MANY:
        return f"{low}, below {_number(bound.below)}"
    if bound.most >= MANY:
        return low
    if bound.least > -MANY:
        return f"{_number(bound.least)} to {_number(bound.most)}"
    return f"{low}, at most {_number(bound.most)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:g}"


def _default(cls: Any, info: FieldInfo) -> str:
    if info.required:
        return "required"
    field = next(field for field in dataclasses.fields(cls) if field.name == info.name)
    factory: Any = field.default_factory
    value = field.default if field.default is not dataclasses.MISSING else factory()
    return _value(value)


def _value(value: Any) -> str:
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[" + ", ".join(f"{one:.4g}" for one in value) + "]`"
    if isinstance(value, float):
        return f"`{value:.6g}`"
    if is_tagged(type(value)):
        return f"`{value.registry.name_of(type(value))}`"
    if dataclasses.is_dataclass(value):
        return "its defaults"
    return f"`{value}`"


def _documentation(cls: type) -> str:
    """The docstring; lists and paragraphs as they are."""
    text = cls.__dict__.get("__doc__") or ""
    if text.startswith(f"{cls.__name__}("):  # made by `dataclass`
        return ""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in paragraphs).replace("|", "\\|")


def _comments(cls: type) -> dict[str, str]:
    """The comment beside or above each field, those of its bases too."""
    return {
        name: text
        for owner in reversed(cls.__mro__)
        if dataclasses.is_dataclass(owner)
        for name, text in _comments_of(owner).items()
    }


@cache
def _comments_of(cls: type) -> Mapping[str, str]:
    source = inspect.getsource(cls)
    comments, whole = {}, set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith(("# type:", "# noqa")):
            comments[token.start[0]] = token.string.lstrip("# ").strip()
            if token.line.strip().startswith("#"):
                whole.add(token.start[0])
    (definition,) = ast.parse(source).body
    assert isinstance(definition, ast.ClassDef)
    described = {}
    for item in definition.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            first = item.lineno
            while first - 1 in whole:
                first -= 1
            assert item.end_lineno is not None
            lines = range(first, item.end_lineno + 1)
            described[item.target.id] = " ".join(comments[at] for at in lines if at in comments)
    return described


def _subject(title: str) -> str:
    """`A claim: an item of ...` is `a claim` in a sentence."""
    short = title.partition(":")[0]
    return short if short.startswith("`") else short[:1].lower() + short[1:]


def _plural(kind: str) -> str:
    if kind.endswith("criterion"):
        words = kind.removesuffix("criterion") + "criteria"
    elif kind.endswith("loss"):
        words = kind + "es"
    else:
        words = kind + "s"
    return words[:1].upper() + words[1:]


def _words(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r" \1", name).lower()


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


if __name__ == "__main__":
    text, undescribed = reference()
    if undescribed:
        what = ["without a comment that says what it means:", *undescribed]
        raise SystemExit("\n  ".join(what))
    PAGE.write_text(text, encoding="utf-8")
