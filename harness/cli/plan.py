"""`harness plan`: what a table would run, what is there, what blocks it, what it would cost."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from harness import api
from harness.cli import USER_ERROR
from harness.cli._table import add_resources, add_selection, add_table, resources, selection
from harness.plan import STATUSES, Plan, PlannedRun, Stale, gpu_hours
from harness.text import count, duration

MOST_CHANGES = 4
"""Changed keys of a stale run that are printed; `--json` has all."""


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = (
        "Holds a table against the results that are there. Runs and changes nothing."
    )
    add_table(parser)
    add_selection(parser)
    add_resources(parser)
    parser.add_argument("--json", action="store_true", help="machine-readable; see docs/json.md")


def run(arguments: argparse.Namespace) -> int:
    """Print the plan."""
    table = api.load(arguments.table)
    plan = table.plan(
        arguments.profile, jobs=arguments.jobs, **selection(arguments), **resources(arguments)
    )
    print(json.dumps(as_json(plan), indent=2) if arguments.json else "\n".join(_text(plan)))
    return USER_ERROR if any(one.record and one.record.broken for one in plan.runs) else 0


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values; the format is documented in docs/json.md."""
    return {
        "schema": 1,
        "table": plan.expansion.table.name,
        "profile": plan.expansion.profile.name,
        "device": plan.device,
        "jobs": plan.jobs,
        "counts": plan.counts,
        "estimate": {"seconds": round(plan.seconds, 1), "work_seconds": round(plan.work, 1)},
        "runs": [_run_json(planned) for planned in plan.runs],
    }


def _run_json(planned: PlannedRun) -> dict[str, Any]:
    run = planned.run
    return {
        "identity": run.identity,
        "name": run.name,
        "kind": run.task,
        "table": run.title.table,
        "profile": run.title.profile,
        "row": run.title.row,
        "seed": run.title.seed,
        "depends": list(run.depends),
        "status": planned.status,
        "reasons": list(map(str, planned.reasons)),
        "estimate_seconds": round(planned.seconds, 1),
        "directory": None if planned.record is None else str(planned.record.directory),
        "stale": None if planned.stale is None else _stale_json(planned.stale),
        "other_code": None if planned.other_code is None else list(planned.other_code),
        "damage": planned.damage,
        "again": planned.again,
    }


def _stale_json(stale: Stale) -> dict[str, Any]:
    return {
        "identity": stale.record.identity,
        "directory": str(stale.record.directory),
        "changes": [
            {"key": change.key, "old": change.old, "new": change.new} for change in stale.changes
        ],
    }


def _text(plan: Plan) -> Iterator[str]:
    yield plan.headline
    yield from _rows(plan)
    yield from _stale(plan)
    yield from not_current(plan)
    yield from obstacles(plan)


def not_current(plan: Plan) -> Iterator[str]:
    """Finished runs whose code is not today's, by what changed, and those with damaged files."""
    target = f"{plan.expansion.table.name} --profile {plan.expansion.profile.name}"
    causes: dict[str, list[PlannedRun]] = {}
    for planned in plan.runs:
        if planned.other_code:
            causes.setdefault(other_code(planned.other_code), []).append(planned)
    if causes:
        again = all(planned.again for runs in causes.values() for planned in runs)
        what = "computed again" if again else "counted all the same"
        how = "" if again else f"; `harness run {target} --recompute changed` computes them again"
        yield f"Computed by other code, {what}{how}:"
    for text, runs in causes.items():
        yield f"  {runs[0].run.name if len(runs) == 1 else count(len(runs), 'run')}: {text}"
    unknown = sum(planned.other_code is None for planned in plan.runs)
    if unknown:
        yield f"{count(unknown, 'finished run')} without a note of the code that computed them"
    damaged = [planned for planned in plan.runs if planned.damage is not None]
    if damaged:
        yield "Files of finished runs that are not what they were:"
    for planned in damaged:
        yield f"  {planned.run.name}: {planned.damage}"


def other_code(names: Sequence[str], most: int = MOST_CHANGES) -> str:
    """What has changed since a run was computed, in few words."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def _rows(plan: Plan) -> Iterator[str]:
    """A line for each row and task, in the order of the plan."""
    groups: dict[tuple[str, str, str], list[PlannedRun]] = {}
    for planned in plan.runs:
        title = planned.run.title
        table = "" if title.table == plan.expansion.table.name else f"{title.table}#"
        groups.setdefault((table, title.row, planned.run.task), []).append(planned)
    width = max((len(table + row) for table, row, _ in groups), default=0)
    tasks = max((len(task) for _, _, task in groups), default=0)
    for (table, row, task), runs in groups.items():
        yield f"  {table + row:<{width}}  {task:<{tasks}}  {_states(runs)}"


def _states(runs: Sequence[PlannedRun]) -> str:
    counts = Counter(planned.status for planned in runs)
    parts = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
    text = runs[0].status if len(runs) == 1 else ", ".join(parts)
    left = sum(planned.seconds for planned in runs if planned.status not in ("cached", "blocked"))
    return text + (f", {duration(left)}" if left else "")


def _stale(plan: Plan) -> Iterator[str]:
    """Runs that were computed with another configuration: by what changed."""
    causes: dict[str, int] = {}
    for planned in plan.runs:
        if planned.stale is not None:
            text = _changes(planned.stale)
            causes[text] = causes.get(text, 0) + 1
    if causes:
        yield "Computed before with another configuration:"
    for text, number in causes.items():
        yield f"  {count(number, 'run')}: {text}"


def _changes(stale: Stale) -> str:
    shown = [
        f"{change.key}: {value_text(change.old)} -> {value_text(change.new)}"
        for change in stale.changes[:MOST_CHANGES]
    ]
    more = len(stale.changes) - MOST_CHANGES
    return "; ".join(shown + ([f"and {more} more"] if more > 0 else [])) or "another format"


def value_text(value: Any) -> str:
    """A value of a configuration, cut off where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else text[:37] + "..."


def obstacles(plan: Plan) -> Iterator[str]:
    """What blocks runs, each cause once, and what failed the last time."""
    blocked = Counter(
        reason for planned in plan.runs if planned.status == "blocked" for reason in planned.reasons
    )
    if blocked:
        yield "Blocked:"
    for reason, number in blocked.items():
        yield f"  {count(number, 'run')}: {reason}"
    effort = gpu_hours(planned for planned in plan.runs if planned.status == "blocked")
    if effort:
        yield f"  once nothing is missing they take {effort}"
    failed = [planned for planned in plan.runs if planned.status == "failed"]
    if failed:
        yield "Failed before, tried again by `harness run`:"
    causes: dict[str, list[str]] = {}
    for planned in failed:
        causes.setdefault(str(planned.reasons[0]), []).append(planned.run.name)
    for cause, names in causes.items():
        yield f"  {names[0] if len(names) == 1 else count(len(names), 'run')}: {cause}"
