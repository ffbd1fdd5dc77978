"""`harness diff`: your results against reference results; exit code 2 when something drifted."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli._table import add_profile, add_table
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.compare import Difference

SAME, DRIFTED = 0, 2


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = (
        "Compares the CSV files that `harness report` wrote, cell by cell. Exit code "
        "2: a computed cell differs, the same machine gave other bits, or trained cells differ by "
        "more than seeds explain (adjusted p < 0.01)."
    )
    add_table(parser)
    add_profile(parser)
    parser.add_argument(
        "--reference",
        metavar="DIR",
        type=Path,
        help="a results folder to compare with (default: the one under results/reference/)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every cell with its verdict."""
    from harness.report.compare import compare_cells, compare_claims
    from harness.report.publish import file_name
    from harness.spec.load import load_table
    from harness.store import Store

    table = load_table(arguments.table)
    profile = table.profile(arguments.profile or table.default_profile).name
    name = file_name(table.name, profile)
    results = Store().root
    if not (results / f"{name}.csv").is_file():
        raise HarnessError(
            f"{results / name}.csv does not exist: "
            f"`harness report {table.name} --profile {profile}` writes it"
        )
    reference = _reference(arguments.reference, table.name, profile)
    cells, notes = compare_cells(results / f"{name}.csv", reference / f"{name}.csv", table.columns)
    claims = compare_claims(results / f"{name}.claims.csv", reference / f"{name}.claims.csv")
    if all(one.status in ("new", "missing") for one in cells):
        raise HarnessError(f"{results / name}.csv and {reference / name}.csv share no value")
    print("\n".join([f"{name}: {results} against {reference}", *notes, ""]))
    print(_table([*cells, *claims]))
    print(f"\n{_conclusion([*cells, *claims])}")
    return DRIFTED if any(one.status == "drifted" for one in [*cells, *claims]) else SAME


def _reference(folder: Path | None, table: str, profile: str) -> Path:
    from harness.report.compare import references
    from harness.report.publish import file_name, reference_folder

    name = file_name(table, profile)
    if folder is not None:
        if not (folder / f"{name}.csv").is_file():
            raise HarnessError(f"--reference {folder}: there is no {name}.csv in it")
        return folder
    folders = references(table, profile)
    if not folders:
        raise HarnessError(
            f"no reference for {name} under {reference_folder()}: "
            "give a results folder with --reference DIR"
        )
    if len(folders) > 1:
        names = ", ".join(str(path) for path in folders)
        raise HarnessError(f"several references: say --reference DIR with one of {names}")
    return folders[0]


def _table(differences: Sequence[Difference]) -> str:
    from harness.report.document import TableColumn
    from harness.report.terminal import columns_in, terminal_width

    rows = [
        (
            *difference.what,
            difference.reference,
            difference.result,
            difference.status,
            difference.why,
        )
        for difference in differences
    ]
    titles = ("row", "column", "reference", "mine", "status", "held against")
    columns = [
        TableColumn(title=title, align="right" if title in ("reference", "mine") else "left")
        for title in titles
    ]
    heads = [("", title) for title in titles]
    return columns_in(heads, rows, columns, terminal_width())


def _conclusion(differences: Sequence[Difference]) -> str:
    counts = Counter(difference.status for difference in differences)
    return ", ".join(f"{number} {status}" for status, number in counts.items())
