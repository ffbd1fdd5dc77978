"""A table that is right, or everything that is wrong with it at once."""

from __future__ import annotations

from pathlib import Path

from harness.errors import SpecError
from harness.spec.expand import configuration_problems
from harness.spec.paths import list_tables
from harness.spec.read import read_with_loose
from harness.spec.table import TableSpec

__all__ = ["list_tables", "load_table"]


def load_table(name_or_path: str | Path) -> TableSpec:
    """The table of that name or file; HarnessError if there is none, SpecError if it is wrong."""
    table, problems, loose = read_with_loose(name_or_path)
    if problems or loose:
        configured = configuration_problems(table)
        already_told = {problem.where for problem in configured}
        unused = [problem for problem in loose if problem.where not in already_told]
        if problems or unused:
            raise SpecError([*problems, *configured, *unused])
    return table
