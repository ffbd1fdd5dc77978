"""The plain form of a config, there and back, and a run's identity: the hash of all of it that can
change a number.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias

from harness.errors import HarnessError, Location
from harness.run import TASKS, Task
from harness.spec.build import Builder
from harness.spec.fields import is_tagged
from harness.spec.nodes import ListNode, MapNode, Node, ScalarNode

SCHEMA = 1
"""Raised when the plain form itself changes; part of every identity."""

_HERE = Location("run.json", 1, 1)


Forms: TypeAlias = dict[tuple[int, bool], tuple[object, dict[str, Any]]]
"""Plain forms that were made already, by the id of their config, which lives as long. Rows and
seeds share most parts of their configs.
"""


def to_dict(config: object, forms: Forms | None = None) -> dict[str, Any]:
    """A config as JSON values: all fields, defaults too; registered classes with name and version.
    Parts that are in `forms` are taken from there, others are added.

    It is what stands in `run.json`.
    """
    return _object(config, {} if forms is None else forms, everything=True)


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
    return _object(config, {}, everything=False)


def identity(task: str, config: Task, forms: Forms | None = None) -> str:
    """64 hex digits; equal for two runs exactly when they must give the same numbers. `forms` as of
    `to_dict`.
    """
    form = {
        "schema": SCHEMA,
        "kind": task,
        "version": TASKS.get(task).version,
        "config": _object(config, {} if forms is None else forms, everything=False),
    }
    return hashlib.sha256(canonical_json(form).encode()).hexdigest()


def canonical_json(value: object) -> str:
    """One text for one value: sorted keys, no spaces; NaN and infinity are refused."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


_ALONE: Final = (str, int, float, type(None))


def _value(value: Any, forms: Forms, *, everything: bool) -> Any:
    if isinstance(value, _ALONE):
        # `epochs: 3` and `epochs: 3.0` are one number
        return int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(value, tuple):
        return [_value(item, forms, everything=everything) for item in value]
    return _object(value, forms, everything=everything)


def _object(config: object, forms: Forms, *, everything: bool) -> dict[str, Any]:
    known = forms.get((id(config), everything))
    if known is None:
        form = _new_object(config, forms, everything=everything)
        known = forms[id(config), everything] = (config, form)
    return known[1]


def _new_object(config: object, forms: Forms, *, everything: bool) -> dict[str, Any]:
    cls: Any = type(config)
    kind = _kind(cls, everything)
    form: dict[str, Any] = dict(kind.tag)
    for name, default in kind.fields:
        value = getattr(config, name)
        if default is _ALWAYS or value != default:
            form[name] = _value(value, forms, everything=everything)
    if kind.more is not None:
        form |= kind.more(config)
    return form


_ALWAYS: Final = object()


class _Kind(NamedTuple):
    """What the forms of all configs of a class have in common."""

    tag: tuple[tuple[str, Any], ...]
    # those that stand in the form, and at which value they do not. A field that came after runs of
    # the class existed is left out at its default, so that those runs keep their identity
    fields: tuple[tuple[str, Any], ...]
    more: Callable[[Any], Mapping[str, Any]] | None


@cache
def _kind(cls: Any, everything: bool) -> _Kind:
    assert dataclasses.is_dataclass(cls), f"a config cannot hold a {cls}"
    own = dataclasses.fields(cls)
    if everything:
        return _Kind(_tag(cls), tuple((field.name, _ALWAYS) for field in own), None)
    left_out, later = getattr(cls, "NOT_IDENTITY", ()), getattr(cls, "ADDED_LATER", ())
    names = tuple(
        (field.name, field.default if field.name in later else _ALWAYS)
        for field in own
        if field.name not in left_out
    )
    return _Kind(_tag(cls), names, getattr(cls, "identity_more", None))


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
