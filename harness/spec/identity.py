"""The plain form of a config, there and back, and a run's identity: the hash of all of it that can
change a number.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple

from harness.errors import HarnessError, Location
from harness.run import TASKS, Task
from harness.spec.build import Builder
from harness.spec.fields import is_tagged
from harness.spec.nodes import ListNode, MapNode, Node, ScalarNode

SCHEMA = 1
"""Raised when the plain form itself changes; part of every identity."""

_HERE = Location("run.json", 1, 1)


class Forms:
    """Forms that were made already, by the id of their config, which lives as long. Rows and seeds
    share most parts of their configs.
    """

    def __init__(self) -> None:
        self.plain: dict[int, tuple[object, dict[str, Any]]] = {}
        self.texts: dict[int, tuple[object, str]] = {}  # of what is the identity


def to_dict(config: object, forms: Forms | None = None) -> dict[str, Any]:
    """A config as JSON values: all fields, defaults too; registered classes with name and version.
    Parts that are in `forms` are taken from there, others are added.

    It is what stands in `run.json`.
    """
    return _plain(config, Forms() if forms is None else forms)


def from_dict(task: str, plain: Mapping[str, Any]) -> Task:
    """The config of a run of `task` that a worker executes, from its plain form; HarnessError if a
    version with other options wrote it.
    """
    builder = Builder(versioned=True)
    config = builder.build(_node(plain), TASKS.get(task))
    if isinstance(config, Task) and not builder.problems:
        return config
    what = "; ".join(problem.what for problem in builder.problems)
    raise HarnessError(
        f"this run was planned by another version of harness ({what}): plan it again"
    )


def identity_form(config: object) -> dict[str, Any]:
    """The plain form without the fields that cannot change a number."""
    form: dict[str, Any] = json.loads(_text(config, Forms()))
    return form


def identity(task: str, config: Task, forms: Forms | None = None) -> str:
    """64 hex digits; equal for two runs exactly when they must give the same numbers. `forms` as of
    `to_dict`.
    """
    members = [
        _member("schema", _text_alone(SCHEMA)),
        _member("kind", _text_alone(task)),
        _member("version", _text_alone(TASKS.get(task).version)),
        _member("config", _text(config, Forms() if forms is None else forms)),
    ]
    return hashlib.sha256(_joined(members).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """One text for one value: sorted keys, no spaces; NaN and infinity are refused."""
    return _CANONICAL.encode(value)


_CANONICAL: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
_ALONE: Final = (str, int, float, type(None))


def _one_number(value: Any) -> Any:
    """`epochs: 3` and `epochs: 3.0` are one number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(config: object, forms: Forms) -> dict[str, Any]:
    known = forms.plain.get(id(config))
    if known is None:
        cls: Any = type(config)
        kind = _kind(cls)
        form = {name: _plain_value(getattr(config, name), forms) for name in kind.names}
        known = forms.plain[id(config)] = (config, dict(kind.tag) | form)
    return known[1]


def _plain_value(value: Any, forms: Forms) -> Any:
    if isinstance(value, _ALONE):
        return _one_number(value)
    if isinstance(value, tuple):
        return [_plain_value(item, forms) for item in value]
    return _plain(value, forms)


def _text(config: object, forms: Forms) -> str:
    """The canonical JSON of what is the identity of a config, put together from that of its parts:
    those that runs share are written once.
    """
    known = forms.texts.get(id(config))
    if known is None:
        cls: Any = type(config)
        kind = _kind(cls)
        members = [_member(name, _text_alone(value)) for name, value in kind.tag]
        for name, member, default in kind.of_identity:
            value = getattr(config, name)
            if default is _ALWAYS or value != default:
                members.append(member + _text_of_value(value, forms))
        more = {} if kind.more is None else kind.more(config)
        members += [_member(name, canonical_json(value)) for name, value in more.items()]
        known = forms.texts[id(config)] = (config, _joined(members))
    return known[1]


def _text_of_value(value: Any, forms: Forms) -> str:
    if isinstance(value, _ALONE):
        return _text_alone(value)
    if isinstance(value, tuple):
        return f"[{','.join(_text_of_value(item, forms) for item in value)}]"
    return _text(value, forms)


@lru_cache(maxsize=4096, typed=True)
def _text_alone(value: str | float | None) -> str:
    return canonical_json(_one_number(value))


def _member(name: str, text: str) -> str:
    """`name` is a word of Python's."""
    return f'"{name}":{text}'


def _joined(members: Iterable[str]) -> str:
    """An object of members; those of words are in order where their names are."""
    return f"{{{','.join(sorted(members))}}}"


_ALWAYS: Final = object()


class _Kind(NamedTuple):
    """What the forms of all configs of a class have in common."""

    tag: tuple[tuple[str, Any], ...]
    names: tuple[str, ...]  # of the fields
    # those that stand in the identity, what stands there before the value, and at which value they
    # do not. A field that came after runs of the class existed is left out at its default, so that
    # those runs keep their identity
    of_identity: tuple[tuple[str, str, Any], ...]
    more: Callable[[Any], Mapping[str, Any]] | None


@cache
def _kind(cls: Any) -> _Kind:
    assert dataclasses.is_dataclass(cls), f"a config cannot hold a {cls}"
    left_out, later = getattr(cls, "NOT_IDENTITY", ()), getattr(cls, "ADDED_LATER", ())
    own = dataclasses.fields(cls)
    of_identity = tuple(
        (field.name, _member(field.name, ""), field.default if field.name in later else _ALWAYS)
        for field in own
        if field.name not in left_out
    )
    names = tuple(field.name for field in own)
    return _Kind(_tag(cls), names, of_identity, getattr(cls, "identity_more", None))


def _tag(cls: Any) -> tuple[tuple[str, Any], ...]:
    if not is_tagged(cls):
        return ()
    return (("name", cls.registry.name_of(cls)), ("version", cls.version))


def _node(value: Any) -> Node:
    if isinstance(value, Mapping):
        entries = {key: _node(child) for key, child in value.items()}
        return MapNode(_HERE, entries, dict.fromkeys(entries, _HERE))
    if isinstance(value, list | tuple):
        return ListNode(_HERE, tuple(_node(item) for item in value))
    return ScalarNode(_HERE, value, "null" if value is None else str(value))
