"""`harness run`: computes what is missing of a table."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from typing import TYPE_CHECKING

from harness import api
from harness.cli import DONE, INTERRUPTED, SOME_FAILED, USER_ERROR
from harness.cli._table import (
    RESOURCES,
    add_resources,
    add_selection,
    add_table,
    as_words,
    resources,
    selection,
)
from harness.cli.plan import not_current, obstacles
from harness.errors import HarnessError
from harness.launch.local import RunSummary
from harness.launch.preflight import could_not
from harness.launch.slurm import SlurmExecutor
from harness.plan import Plan
from harness.text import count, duration

if TYPE_CHECKING:
    from harness.report.settle import SeedBatch

EXECUTORS = ("local", "slurm")


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = (
        "Computes the runs of a table that have no result. Ctrl-C leaves everything "
        "resumable: the same command goes on. What is finished is never computed again."
    )
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Which table, which part of it, and where it is computed."""
    add_table(parser)
    add_selection(parser)
    parser.add_argument("--executor", choices=EXECUTORS, default="local", help="default: local")
    parser.add_argument(
        "--cluster", metavar="FILE", help="for slurm: the file that describes the cluster"
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="for slurm: print the job scripts, submit nothing"
    )
    parser.add_argument(
        "--offline",
        action="store_true",
        help="download nothing (as $HARNESS_OFFLINE=1): data must be on this machine",
    )
    parser.add_argument(
        "--recompute",
        choices=("changed", "damaged"),
        help="compute finished runs again: those by other code than today's, or those whose files "
        "are not what they were; the former results are kept beside",
    )
    parser.add_argument(
        "--until-settled",
        action="store_true",
        help="3 seeds for all rows, then 6, then 12 for the rows of claims that are not settled",
    )
    add_resources(parser)
    parser.set_defaults(command=parser.prog)


def run(arguments: argparse.Namespace) -> int:
    """Compute, and say by the last line and the exit code what became of it."""
    code, verdict = compute(arguments)
    print(verdict, end="\n" if verdict else "")
    return code


def compute(arguments: argparse.Namespace) -> tuple[int, str]:
    """Compute what is missing; the exit code, and the sentence that explains it."""
    if arguments.offline:
        os.environ["HARNESS_OFFLINE"] = "1"  # for workers and jobs too
    if arguments.until_settled:
        return _until_settled(arguments)
    return _compute(arguments, arguments.profile, selection(arguments))


def _until_settled(arguments: argparse.Namespace) -> tuple[int, str]:
    """Stage after stage; ends with the worst exit code of all batches."""
    for name in ("rows", "seeds", "tasks"):
        if getattr(arguments, name) is not None:
            raise HarnessError(f"--until-settled chooses rows and seeds: leave --{name} out")
    if arguments.dry_run:
        raise HarnessError("--until-settled computes, and then judges: leave --dry-run out")
    table = api.load(arguments.table)
    profile = table.spec.profile(arguments.profile or table.spec.default_profile).name
    codes: list[int] = []
    last = ""

    def compute(batch: SeedBatch) -> bool:
        nonlocal last
        print(batch.why)
        code, last = _compute(arguments, profile, batch.part)
        codes.append(code)
        print(last)
        submitted = arguments.executor == "slurm" and not table.is_computed(profile, batch.part)
        if submitted:
            last += f"\nstage of {batch.stage} seeds: once its jobs have ended, the same command "
            last += "goes on"
        return code not in (INTERRUPTED, USER_ERROR) and not submitted

    told = table.settle(profile, compute)
    return max(codes, key=(DONE, SOME_FAILED, USER_ERROR, INTERRUPTED).index), told or last


def _compute(
    arguments: argparse.Namespace, profile: str | None, part: api.Selection
) -> tuple[int, str]:
    executor = api.load(arguments.table).prepare(
        profile,
        **part,
        executor=arguments.executor,
        cluster=arguments.cluster,
        dry_run=arguments.dry_run,
        recompute=arguments.recompute,
        jobs=arguments.jobs,
        **resources(arguments),
    )
    plan = executor.plan
    if isinstance(executor, SlurmExecutor):
        if arguments.dry_run:
            print("\n".join(executor.preview()))
            print("\n".join([plan.headline, *obstacles(plan)]), file=sys.stderr)
            return DONE, ""
        _announce(plan)
        return _submit(arguments, executor)
    _announce(plan)
    if not plan.to_run and not plan.counts["running"]:
        code, verdict = _nothing(plan)
        return _or_broken(plan, code), verdict
    return _conclude(arguments, plan, executor.run())


def _announce(plan: Plan) -> None:
    print(plan.headline)
    for line in (*not_current(plan), *obstacles(plan)):
        print(line)


def _submit(arguments: argparse.Namespace, executor: SlurmExecutor) -> tuple[int, str]:
    """Submit what is missing and has no job, and return."""
    plan = executor.plan
    if not plan.to_run:
        queued = plan.counts["running"]
        return (DONE, f"{count(queued, 'run')} submitted before.") if queued else _nothing(plan)
    submission = executor.run()
    for array in submission.arrays:
        print(f"  job {array.job}: {count(array.jobs, 'task')}, {count(array.runs, 'run')}")
    for name, why in submission.left_out.items():
        print(f"  not submitted  {name}: {why}", file=sys.stderr)
    submitted = f"{count(submission.runs, 'run')} submitted"
    if (why_not := could_not(plan)) is not None:
        return USER_ERROR, f"{submitted}\n{why_not}"
    return DONE, f"{submitted}; harness status {arguments.table} --watch"


def _nothing(plan: Plan) -> tuple[int, str]:
    if (why := could_not(plan)) is not None:
        return USER_ERROR, why
    if plan.counts["blocked"]:
        return DONE, "Nothing can run here until the above is there."
    if plan.runs:
        return DONE, "Everything is computed already."
    columns = plan.expansion.table.columns_at(plan.expansion.profile.name).values()
    tasks = ", ".join(sorted({column.task.name for column in columns}))
    return DONE, f"Nothing to run: the columns of {plan.expansion.table.name} ask for {tasks}."


def _conclude(arguments: argparse.Namespace, plan: Plan, summary: RunSummary) -> tuple[int, str]:
    for name, reason in summary.blocked.items():
        if reason.needs is not None:  # its own cause was told at the start
            print(f"  blocked  {name}: {reason}", file=sys.stderr)
    parts = [f"{count(len(summary.computed), 'run')} done in {duration(summary.seconds)}"]
    parts += [f"{plan.counts['cached']} before"] * bool(plan.counts["cached"])
    parts += [f"{len(summary.failed)} failed"] * bool(summary.failed)
    parts += [f"{len(summary.blocked)} blocked"] * bool(summary.blocked)
    done = ", ".join(parts)
    if summary.stopped:
        left = f"stopped with {count(summary.open, 'run')} left; to go on: {_again(arguments)}"
        return INTERRUPTED, f"{done}\n{left}"
    if summary.failed:
        return SOME_FAILED, f"{done} (why: harness status {shlex.quote(arguments.table)})"
    why_not = could_not(plan)
    if why_not is not None:
        return USER_ERROR, f"{done}\n{why_not}"
    return _or_broken(plan, DONE), done


def _or_broken(plan: Plan, code: int) -> int:
    """The exit code, if no run directory is such that its user has to act."""
    broken = any(one.record is not None and one.record.broken for one in plan.runs)
    return USER_ERROR if broken and code == DONE else code


def _again(arguments: argparse.Namespace) -> str:
    """The command line that goes on where this one stopped."""
    names = ("profile", "rows", *RESOURCES, "seeds", "tasks", "recompute")
    words = [arguments.table, *as_words(arguments, names)]
    words += ["--until-settled"] * arguments.until_settled
    words += ["--offline"] * arguments.offline
    return f"{arguments.command} {shlex.join(words)}"
