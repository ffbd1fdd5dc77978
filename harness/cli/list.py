"""`harness list`: which tables there are, and how much of each is done."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence, Set

from harness.cli._table import in_short
from harness.errors import HarnessError
from harness.spec.expand import SharedParts, expand
from harness.spec.load import load_table
from harness.spec.paths import list_tables, no_specs

HEADER = ("TABLE", "PROFILE", "ROWS", "RUNS", "DONE")


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = "Tables and profiles, their rows and runs, and how many runs are done."


def run(arguments: argparse.Namespace) -> int:
    """Print one line for each profile of each table; 1 if a table is wrong."""
    from harness.store import DONE, Store

    broken: dict[str, str] = {}
    names = list_tables(broken)
    if not names and not broken:
        raise no_specs()
    done = {record.identity for record in Store().records() if record.state == DONE}
    shared = SharedParts()
    lines = [line for name in names for line in _lines(name, done, shared)]
    lines += broken.items()
    print(_aligned([HEADER, *lines]))
    return int(any(len(line) < len(HEADER) for line in lines))


def _lines(name: str, done: Set[str], shared: SharedParts) -> Iterator[tuple[str, ...]]:
    try:
        table = load_table(name)
        for profile in table.profiles:
            expansion = expand(table, profile, shared=shared)
            finished = sum(run.identity in done for run in expansion.runs)
            counts = (len(expansion.rows), len(expansion.runs), finished)
            yield (name, profile, *(str(count) for count in counts))
    except HarnessError as error:
        yield (name, in_short(error, name))


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    full = [line for line in lines if len(line) == len(HEADER)]
    widths = [max(len(cell) for cell in column) for column in zip(*full, strict=True)]
    shown = [
        "  ".join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=False))
        )
        for line in lines
    ]
    return "\n".join(line.rstrip() for line in shown)
