"""`harness show`: the complete configuration of a row, and where each value comes from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from harness.errors import HarnessError, unknown
from harness.spec.expand import expand
from harness.spec.fields import choice_of, fields_of, is_tagged
from harness.spec.identity import to_dict
from harness.spec.load import load_table
from harness.spec.nodes import ListNode, MapNode, Node, ScalarNode
from harness.spec.plots import merged
from harness.train.config import TrainConfig

DEFAULT = "default"


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    parser = subparsers.add_parser(
        "show",
        help="a row's configuration, with the file and line of each value",
        description="Prints what a row trains, value by value, and where each is written.",
    )
    parser.add_argument("table", metavar="TABLE", help="maskedkd/table2, or the path of a spec")
    parser.add_argument("row", metavar="ROW", help="the id of a row")
    parser.add_argument("--profile", metavar="P", help="the scale (default: the table's)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the configuration as YAML, with a comment behind each value."""
    table = load_table(arguments.table)
    profile = table.profile(arguments.profile or table.default_profile)
    row = next((row for row in profile.rows if row.id == arguments.row), None)
    if row is None:
        ids = [row.id for row in profile.rows]
        what = unknown("row", arguments.row, ids)
        raise HarnessError(f"{table.name} at profile '{profile.name}': {what}")
    config = expand(table, profile, rows=row.id).rows[0].config
    print(f"# {table.name}, row {row.id}, profile {profile.name}")
    lines = list(_lines(to_dict(config), merged(row), TrainConfig, ""))
    width = min(60, max(len(text) for text, _ in lines))
    for text, where in lines:
        print(f"{text:<{width}}  # {where}" if where else text)
    return 0


def _lines(
    values: Mapping[str, Any], node: Node | None, hint: Any, indent: str
) -> Iterator[tuple[str, str]]:
    """Every value with where it is written; defaults and what follows from others say so."""
    infos = _fields(values, hint)
    for name, value in values.items():
        key, inner = infos.get(name, (name, None))
        child = node.entries.get(key) if isinstance(node, MapNode) else None
        if isinstance(node, ScalarNode) and key in choice_of(hint):
            child = node  # `method: supervised` says the name alone
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:", ""
            yield from _lines(value, child, inner, indent + "  ")
        else:
            yield f"{indent}{key}: {_text(value)}", _where(key, value, child)


def _fields(values: Mapping[str, Any], hint: Any) -> dict[str, tuple[str, Any]]:
    """By the name of a field: its key in a spec, and its type."""
    if is_tagged(hint):
        hint = hint.registry.get(values["name"])
    if not isinstance(hint, type):
        return {}
    return {info.name: (key, info.hint) for key, info in fields_of(hint).items()}


def _where(key: str, value: Any, node: Node | None) -> str:
    if isinstance(node, ScalarNode | ListNode | MapNode):
        return str(node.where)
    if key in ("version", "sha256") and value is not None:
        return "computed"
    return DEFAULT


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{}"
    return str(value)
