"""`harness show`: the complete configuration of a row, and where each value comes from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.cli._table import add_profile, add_table
from harness.errors import HarnessError
from harness.spec.expand import expand
from harness.spec.fields import discriminator, fields_of, is_tagged
from harness.spec.identity import to_dict
from harness.spec.load import load_table
from harness.spec.nodes import ListNode, MapNode, Node, ScalarNode
from harness.spec.plots import merged
from harness.spec.table import Profile, Row, TableSpec
from harness.text import count
from harness.train.config import TrainConfig

DEFAULT = "default"  # of the class: no file says it
COMPUTED = "computed"  # from files: what the run was planned with


@dataclass(frozen=True, slots=True)
class _Value:
    """A value of a configuration, and the file and line that say it."""

    path: tuple[str, ...]
    value: Any
    where: str


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = "Prints what a row trains, value by value, and where each is written."
    add_table(parser)
    parser.add_argument(
        "row", metavar="ROW", nargs="?", help="the id of a row; else all are listed"
    )
    add_profile(parser)
    parser.add_argument("--json", action="store_true", help="as JSON (docs/json.md)")


def run(arguments: argparse.Namespace) -> int:
    """Print the configuration as YAML, with a comment behind each value."""
    table = load_table(arguments.table)
    profile = table.profile(arguments.profile or table.default_profile)
    if arguments.row is None:
        if arguments.json:
            raise HarnessError("--json shows one row: name it, `harness show TABLE ROW --json`")
        print("\n".join(_listed(table, profile)))
        return 0
    row = next((row for row in profile.rows if row.id == arguments.row), None)
    if row is None:
        what = table.no_row(profile, arguments.row)
        raise HarnessError(f"{table.name} at profile '{profile.name}': {what}")
    config = to_dict(expand(table, profile, rows=row.id).rows[0].config)
    values = list(_values(config, merged(row), TrainConfig, ()))
    if arguments.json:
        print(json.dumps(_as_json(table, profile, row, config, values), indent=2))
        return 0
    print("\n".join([*_heading(table, profile, row), *_lines(values)]))
    return 0


def _as_json(
    table: TableSpec,
    profile: Profile,
    row: Row,
    config: Mapping[str, Any],
    values: Sequence[_Value],
) -> dict[str, Any]:
    """What is shown as JSON values; the format is documented in docs/json.md."""
    return {
        "schema": 1,
        "table": table.name,
        "profile": profile.name,
        "row": row.id,
        "label": row.label,
        "group": row.group,
        "seeds": list(profile.seeds),
        "published": {column: cell.value for column, cell in row.published.items()},
        "config": config,
        "where": {".".join(value.path): value.where for value in values},
    }


def _listed(table: TableSpec, profile: Profile) -> Iterator[str]:
    yield f"# {table.name}, profile {profile.name}: {count(len(profile.rows), 'row')}"
    width = max(len(row.id) for row in profile.rows)
    for row in profile.rows:
        yield f"{row.id:<{width}}  {_title(row)}"


def _title(row: Row) -> str:
    return f"{row.group}: {row.label}" if row.group else row.label


def _heading(table: TableSpec, profile: Profile, row: Row) -> Iterator[str]:
    yield f"# {table.name}, row {row.id} ({_title(row)})"
    seeds = ", ".join(str(seed) for seed in profile.seeds)
    yield f"# profile {profile.name}, {'seeds' if len(profile.seeds) > 1 else 'seed'} {seeds}"
    if row.published:
        cells = (f"{column} {cell}" for column, cell in row.published.items())
        yield f"# published: {', '.join(cells)}"


def _lines(values: Sequence[_Value]) -> Iterator[str]:
    """The values as nested YAML; where each is written stands in a column of its own."""
    texts: list[tuple[str, str]] = []
    above: tuple[str, ...] = ()
    for value in values:
        *outer, key = value.path
        for depth, name in enumerate(outer):
            if above[: depth + 1] != tuple(outer[: depth + 1]):
                texts.append((f"{'  ' * depth}{name}:", ""))
        texts.append((f"{'  ' * len(outer)}{key}: {_text(value.value)}", value.where))
        above = tuple(outer)
    width = min(60, max(len(text) for text, _ in texts))
    for text, where in texts:
        yield f"{text:<{width}}  # {where}" if where else text


def _values(
    config: Mapping[str, Any], node: Node | None, hint: Any, above: tuple[str, ...]
) -> Iterator[_Value]:
    """Every value with where it is written; defaults and what follows from others say so."""
    infos = _fields(config, hint)
    for name, value in config.items():
        key, inner = infos.get(name, (name, None))
        child = node.entries.get(key) if isinstance(node, MapNode) else None
        if isinstance(node, ScalarNode) and key in discriminator(hint):
            child = node  # `method: supervised` says the name alone
        if isinstance(value, Mapping) and value:
            yield from _values(value, child, inner, (*above, key))
        else:
            yield _Value((*above, key), value, _where(key, value, child))


def _fields(values: Mapping[str, Any], hint: Any) -> dict[str, tuple[str, Any]]:
    """By the name of a field: its key in a spec, and its type."""
    if is_tagged(hint):
        hint = hint.registry.get(values["name"])
    if not isinstance(hint, type):
        return {}
    return {info.name: (key, info.hint) for key, info in fields_of(hint).items()}


def _where(key: str, value: Any, node: Node | None) -> str:
    if isinstance(node, ScalarNode | ListNode | MapNode):
        return f"{node.where.file}:{node.where.line}"
    return COMPUTED if key in ("version", "sha256") and value is not None else DEFAULT


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
