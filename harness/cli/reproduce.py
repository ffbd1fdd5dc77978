"""`harness reproduce`: a table from nothing to its report, which is what `make table2` calls."""

from __future__ import annotations

import argparse

from harness.cli import INTERRUPTED, report
from harness.cli.run import add_options, compute


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = (
        "Downloads the data that is missing, computes the runs of a table that have no "
        "result, and writes its report. The last line says what became of it, the exit code too: 0 "
        "done, 1 a mistake or nothing could be trained, 2 some runs failed."
    )
    add_options(parser)
    report.add_format(parser)
    report.add_reference(parser)


def run(arguments: argparse.Namespace) -> int:
    """`harness run` and `harness report`, with the verdict of the first as the last line."""
    code, verdict = compute(arguments)
    try:
        if code != INTERRUPTED and not arguments.dry_run:
            report.run(arguments)
            print()
    finally:
        print(verdict, end="\n" if verdict else "", flush=True)
    return code
