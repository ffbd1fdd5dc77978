"""`harness check`: are the specs right?"""

from __future__ import annotations

import argparse
import sys

from harness.cli import DONE, USER_ERROR, told
from harness.errors import HarnessError, SpecError
from harness.spec.expand import SharedParts, expand
from harness.spec.load import load_table
from harness.spec.paths import list_tables, no_specs, stray_specs
from harness.spec.profiles import replaced_paths
from harness.spec.shared import shared_problems
from harness.spec.strict_yaml import display
from harness.text import count


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = "Validates specs: every problem with file, line and column."
    parser.add_argument(
        "specs", nargs="*", metavar="SPEC", help="a table (maskedkd/table2) or a file; default: all"
    )


def run(arguments: argparse.Namespace) -> int:
    """Check each spec, or all and what they share; 1 if any is wrong."""
    broken: dict[str, str] = {}
    names: list[str] = arguments.specs or list_tables(broken)
    if not names and not broken:
        raise no_specs()
    strays = [] if arguments.specs else stray_specs()
    for path in strays:
        what = "is not read: a spec is experiments/FOLDER/NAME.yaml, two levels and that ending"
        print(f"{display(path)}:1:1: {what}", file=sys.stderr)
    for why in broken.values():
        print(f"error: {why}", file=sys.stderr)
    shared = SharedParts()
    errors = [error for name in names if (error := _check(name, shared)) is not None]
    specs = [error for error in errors if isinstance(error, SpecError)]
    already_told = {problem.where for error in specs for problem in error.problems}
    unused = [] if arguments.specs else shared_problems()
    for problem in unused:
        if problem.where not in already_told:
            print(problem, file=sys.stderr)
    return USER_ERROR if errors or unused or strays or broken else DONE


def _check(name: str, shared: SharedParts) -> HarnessError | None:
    """What is wrong with a spec, which is printed; None if nothing is."""
    try:
        table = load_table(name)
        for profile in table.profiles.values():
            for note in replaced_paths(profile.rows, profile.name):
                print(f"note: {note}", file=sys.stderr)
        expansions = [expand(table, profile, shared=shared) for profile in table.profiles]
    except HarnessError as error:
        print(told(error), file=sys.stderr)
        return error
    counts = (
        count(len(table.rows), "row"),
        count(len(table.profiles), "profile"),
        count(len({run.identity for one in expansions for run in one.runs}), "run"),
    )
    print(f"ok {table.name}: {', '.join(counts)}")
    return None
