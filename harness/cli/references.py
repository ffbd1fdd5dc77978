"""`harness references`: every table of a reference run again and published, in one command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

from harness.cli import INTERRUPTED, USER_ERROR
from harness.cli._table import RESOURCES, add_resources, as_words, in_short
from harness.cli.report import folder_name
from harness.errors import HarnessError
from harness.text import count


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = (
        "For each table and profile that results/reference/NAME has: `harness "
        "reproduce` with --reference NAME (at `paper` the costs alone), and the page of all claims "
        "at the end. What is finished is not computed again."
    )
    parser.add_argument("name", metavar="NAME", type=folder_name, help="of the folder")
    parser.add_argument(
        "--like",
        metavar="NAME",
        type=folder_name,
        help="the tables of this reference, for a new one",
    )
    parser.add_argument("--profile", metavar="P", help="only this scale")
    parser.add_argument("--until-settled", action="store_true", help="as of `harness run`")
    add_resources(parser)


def run(arguments: argparse.Namespace) -> int:
    """One table after the other; the worst exit code of all."""
    from harness.cli import main

    tables, broken = of_reference(arguments.like or arguments.name, arguments.profile)
    codes = [USER_ERROR] * len(broken)
    for index, (table, profile) in enumerate(tables, start=1):
        print(f"{index} of {len(tables)}: {table}, profile {profile}")
        words = ["reproduce", table, "--profile", profile, "--format", "md,csv,pdf"]
        words += ["--reference", arguments.name]
        words += ["--tasks", "cost"] if profile == "paper" else []
        words += ["--until-settled"] * (arguments.until_settled and profile != "paper")
        words += as_words(arguments, RESOURCES)
        codes.append(main(words))
        if codes[-1] == INTERRUPTED:
            return codes[-1]
    for profile in dict.fromkeys(profile for _, profile in tables if profile != "paper"):
        codes.append(main(["claims", "--profile", profile, "--reference", arguments.name]))
    failed = sum(map(bool, codes))
    print(f"{count(len(tables), 'table')} of {arguments.name}, {failed} with a problem")
    return max(codes)


def of_reference(name: str, profile: str | None) -> tuple[list[tuple[str, str]], Mapping[str, str]]:
    """The tables and profiles that a reference has results of, and what is wrong with those whose
    specs cannot be read. HarnessError where it has none.
    """
    from harness.report.publish import file_name, reference_folder
    from harness.spec.load import load_table
    from harness.spec.paths import list_tables

    folder = reference_folder() / name
    published: list[tuple[str, str]] = []
    broken: dict[str, str] = {}
    for table in list_tables(broken):
        try:
            profiles = load_table(table).profiles
        except HarnessError as error:
            broken[table] = in_short(error, table)
            continue
        published += [
            (table, at)
            for at in profiles
            if profile in (None, at) and (folder / f"{file_name(table, at)}.csv").is_file()
        ]
    for table, why in broken.items():
        print(f"error: {table} is left out: {why}", file=sys.stderr)
    if not published:
        at = "" if profile is None else f" at profile '{profile}'"
        raise HarnessError(
            f"{folder} has no results{at}: `harness report TABLE --reference {name}` publishes some"
        )
    return published, broken
