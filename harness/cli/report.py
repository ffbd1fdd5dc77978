"""`harness report`: what the results say, as a table, in every format."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.api import FORMATS
from harness.cli._table import add_profile, add_table
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.report.publish import Format, Written

EVERY_FORMAT = ("md", "csv", "html", "tex", "pdf")


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = (
        "Reads the runs of a table and writes its report: CSV into the results folder, "
        "the rest into `reports` beside it. Runs nothing."
    )
    add_table(parser)
    add_profile(parser)
    add_format(parser)
    add_reference(parser)
    add_pool(parser)


def add_format(parser: argparse.ArgumentParser) -> None:
    """What the report is written as."""
    parser.add_argument(
        "--format",
        metavar="F,F",
        type=_formats,
        default=FORMATS,
        help=f"of {', '.join(EVERY_FORMAT)} (default: {','.join(FORMATS)})",
    )


def add_reference(parser: argparse.ArgumentParser) -> None:
    """Where it is published too."""
    parser.add_argument(
        "--reference",
        metavar="NAME",
        type=folder_name,
        help="publish it too, with its per-seed values, under results/reference/NAME and "
        "reports/reference/NAME: what others compare with",
    )


def add_pool(parser: argparse.ArgumentParser) -> None:
    """The same table on other machines."""
    parser.add_argument(
        "--pool",
        metavar="DIR",
        type=Path,
        action="append",
        default=[],
        help="a results folder of another machine, whose per-seed values are set beside these in "
        "the claims; may be given several times",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the files and print what they say."""
    # here and not above: `harness list` and the others need none of this
    from harness.report.collect import collect_finished
    from harness.report.publish import Folders, publish, publish_reference
    from harness.report.terminal import overview, terminal_width
    from harness.spec.load import load_table
    from harness.store import Store

    table = load_table(arguments.table)
    store = Store()
    pools = getattr(arguments, "pool", [])
    if pools and arguments.reference is not None:
        raise HarnessError("--reference publishes the values of one machine: leave --pool out")
    profile = arguments.profile or table.default_profile
    formats = arguments.format
    if arguments.reference is not None and "csv" not in formats:
        formats = (*formats, "csv")  # the looks are noted there
    drawn = set(formats) != {"csv"}
    model = collect_finished(table, profile, store, pools=pools, drawn=drawn)
    written = [publish(model, formats, Folders.beside(store.root))]
    if arguments.reference is not None:
        written.append(publish_reference(model, formats, arguments.reference))
    print(overview(model, terminal_width()))
    print()
    print("\n".join(line for one in written for line in _files(one)))
    for damage in model.unreadable:
        print(f"error: {damage}; left out", file=sys.stderr)
    return 1 if model.unreadable else 0


def _files(written: Written) -> list[str]:
    note = "" if written.changed else " (already up to date)"
    figures = {path.with_suffix("") for path in written.files}  # their folder, beside the report
    main = [path for path in written.files if path.suffix == ".tex" or path.parent not in figures]
    return [f"{path}{note}" for path in main]


def folder_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", text):
        what = f"give a name of letters, digits, '.', '_' and '-'; got '{text[:80]}'"
        raise argparse.ArgumentTypeError(what)
    return text


def _formats(text: str) -> tuple[Format, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in EVERY_FORMAT]
    if unknown or not names:
        wrong = unknown[0] if unknown else text
        raise argparse.ArgumentTypeError(f"'{wrong}' is none of {', '.join(EVERY_FORMAT)}")
    return names  # type: ignore[return-value]
