"""`harness report`: what the results say, as a table, in every format."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from harness.cli._table import add_table

if TYPE_CHECKING:
    from harness.report.publish import Format, Written

FORMATS = ("md", "csv", "html", "tex", "pdf")
DEFAULT = ("md", "csv", "html", "pdf")


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    parser = subparsers.add_parser(
        "report",
        description="Reads the runs of a table and writes its report: CSV into the results folder, "
        "the rest into `reports` beside it. Runs nothing.",
    )
    add_table(parser)
    parser.add_argument(
        "--profile", metavar="P", help="the scale (default: fashion-mnist where there is one)"
    )
    add_format(parser)
    parser.set_defaults(run=run)


def add_format(parser: argparse.ArgumentParser) -> None:
    """What the report is written as."""
    parser.add_argument(
        "--format",
        metavar="F,F",
        type=_formats,
        default=DEFAULT,
        help=f"of {', '.join(FORMATS)} (default: {','.join(DEFAULT)})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the files and print what they say."""
    # here and not above: `harness list` and the others need none of this
    from harness.report.collect import collect_finished
    from harness.report.publish import Folders, publish
    from harness.report.terminal import overview, terminal_width
    from harness.spec.load import load_table
    from harness.store import Store

    table = load_table(arguments.table)
    store = Store()
    model = collect_finished(table, arguments.profile or table.default_profile, store)
    written = publish(model, arguments.format, Folders.beside(store.root))
    print(overview(model, terminal_width()))
    print()
    print("\n".join(_files(written)))
    for damage in model.unreadable:
        print(f"error: {damage}; left out", file=sys.stderr)
    return 1 if model.unreadable else 0


def _files(written: Written) -> list[str]:
    note = "" if written.changed else " (already up to date)"
    main = [path for path in written.files if path.suffix != ".png"]
    return [f"{path}{note}" for path in main]


def _formats(text: str) -> tuple[Format, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        wrong = unknown[0] if unknown else text
        raise argparse.ArgumentTypeError(f"'{wrong}' is none of {', '.join(FORMATS)}")
    return names  # type: ignore[return-value]
