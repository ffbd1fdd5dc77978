"""`harness run`: computes what is missing of a table."""

from __future__ import annotations

import argparse
import sys

from harness.cli import DONE, INTERRUPTED, SOME_FAILED
from harness.cli._table import (
    add_resources,
    add_selection,
    expansion_of,
    plan_of,
    resources_of,
)
from harness.cli.plan import headline, obstacles
from harness.launch.local import LocalExecutor, Summary
from harness.plan import Plan
from harness.store import Store
from harness.text import count, duration

EXECUTORS = ("local",)


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command and its options."""
    parser = subparsers.add_parser(
        "run",
        help="run what is missing, with live progress",
        description="Computes the runs of a table that have no result. Ctrl-C leaves everything "
        "resumable; what is finished is never computed again.",
    )
    parser.add_argument("table", metavar="TABLE", help="maskedkd/table2, or the path of a spec")
    add_selection(parser)
    parser.add_argument("--executor", choices=EXECUTORS, default="local", help="default: local")
    add_resources(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compute, report, and say by the exit code whether runs failed."""
    expansion = expansion_of(arguments)
    resources = resources_of(arguments, expansion)
    store = Store()
    plan = plan_of(arguments, expansion, store, resources)
    print(headline(plan))
    for waiting in plan.waiting:
        print(f"  row {waiting.row} waits for {waiting.reason}")
    for line in obstacles(plan):
        print(line)
    if not plan.to_run and not plan.counts["running"]:
        print(_nothing(plan))
        return DONE
    summary = LocalExecutor(plan, store, resources=resources).run()
    return _conclude(arguments, plan, summary)


def _nothing(plan: Plan) -> str:
    if plan.counts["blocked"]:
        return "Nothing can run here until the above is there."
    if not plan.runs:
        return "Nothing to run."
    return "Everything is computed already."


def _conclude(arguments: argparse.Namespace, plan: Plan, summary: Summary) -> int:
    parts = [f"{count(len(summary.computed), 'run')} done in {duration(summary.seconds)}"]
    parts += [f"{plan.counts['cached']} before"] * bool(plan.counts["cached"])
    parts += [f"{len(summary.failed)} failed"] * bool(summary.failed)
    parts += [f"{len(summary.blocked)} blocked"] * bool(summary.blocked)
    print(", ".join(parts))
    for name, why in summary.failed.items():
        print(f"  failed   {name}: {why}", file=sys.stderr)
    for name, why in summary.blocked.items():
        if why.startswith("needs run"):  # the other causes were told at the start
            print(f"  blocked  {name}: {why}", file=sys.stderr)
    if summary.stopped:
        print(f"stopped with {count(summary.open, 'run')} left; to go on: {_again(arguments)}")
        return INTERRUPTED
    return SOME_FAILED if summary.failed else DONE


def _again(arguments: argparse.Namespace) -> str:
    """The command line that goes on where this one stopped."""
    words = ["harness run", arguments.table]
    for name in ("profile", "rows", "jobs", "device"):
        value = getattr(arguments, name)
        words += [f"--{name} {value}"] if value is not None else []
    if arguments.seeds is not None:
        words.append("--seeds " + ",".join(map(str, arguments.seeds)))
    return " ".join(words)
