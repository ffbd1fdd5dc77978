"""`harness status`: the state of every run. Reads only."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import api
from harness.cli import USER_ERROR
from harness.cli._speed import in_words, newest_speed
from harness.cli._table import add_selection, selection
from harness.cli.plan import other_code
from harness.code import Sources
from harness.errors import HarnessError
from harness.launch.reconcile import jobs_of, with_scheduler_state
from harness.launch.scheduler import Answer, JobInfo, Scheduler
from harness.process import draw
from harness.spec.expand import Run
from harness.store import (
    DONE,
    FAILED,
    INTERRUPTED,
    PLANNED,
    QUEUED,
    RUNNING,
    STATES,
    UNREADABLE,
    RunRecord,
    Store,
)
from harness.text import count, duration

WATCH_SECONDS = 2.0
MOST_LINES = 40
"""Runs listed of each state; `--json` has all."""
_LISTED = (RUNNING, QUEUED, INTERRUPTED, FAILED, UNREADABLE, PLANNED)


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = "The state of all runs of the results folder, or of those of one table."
    parser.add_argument("table", metavar="TABLE", nargs="?", help="only the runs of this table")
    add_selection(parser)
    parser.add_argument("--watch", action="store_true", help="again every 2 s, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="machine-readable; see docs/json.md")


def run(arguments: argparse.Namespace) -> int:
    """Print the state, once or again and again."""
    part = selection(arguments)
    if arguments.table is None and any([arguments.profile, *part.values()]):
        raise HarnessError(
            "--profile, --rows, --seeds and --tasks choose among a table's runs: name a TABLE"
        )
    wanted = None
    if arguments.table is not None:
        wanted = api.load(arguments.table).expand(arguments.profile, **part).runs
    store, scheduler = Store(), Scheduler()
    while True:
        look = _look(store, wanted, scheduler)
        if arguments.watch and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            draw(sys.stdout, "\x1b[H\x1b[2J")
        if arguments.json:
            print(json.dumps(as_json(store, look), indent=None if arguments.watch else 2))
        else:
            print("\n".join(_text(store, look)))
        if not arguments.watch:
            broken = any(isinstance(one, RunRecord) and one.broken for one in look.entries)
            return USER_ERROR if broken else 0
        sys.stdout.flush()
        time.sleep(WATCH_SECONDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What is there at one moment."""

    entries: Sequence[RunRecord | Run]  # runs that have no directory yet are a `Run`
    jobs: Mapping[str, JobInfo]  # what SLURM says of those in its hands, by identity
    copies: Sequence[str]  # folders that are copies of run directories
    sources: Sources  # code as it is now

    def other_code(self, entry: RunRecord | Run) -> tuple[str, ...] | None:
        """What of a finished run's code has changed; None where it does not say what it was."""
        if not isinstance(entry, RunRecord) or entry.code is None:
            return None
        return entry.code.changed(self.sources)


def as_json(store: Store, look: Look) -> dict[str, Any]:
    """The state as JSON values; the format is documented in docs/json.md."""
    return {
        "schema": 1,
        "results": str(store.root),
        "counts": dict(_counts(look.entries)),
        "runs": [_entry_json(entry, look.other_code(entry)) for entry in look.entries],
        "copies": list(look.copies),
    }


def _look(store: Store, wanted: Sequence[Run] | None, scheduler: Scheduler) -> Look:
    """The records, and the runs that have none yet; what SLURM says of those in its hands."""
    survey = store.survey()
    records = survey.records
    noted = [record for record in records if record.note is not None]
    answer = scheduler.ask(jobs_of(noted)) if noted else Answer()
    records, jobs = with_scheduler_state(records, answer)
    entries: list[RunRecord | Run] = list(records)
    if wanted is not None:
        by_identity = {record.identity: record for record in records}
        broken = {one.name: one for one in records if not one.identity}  # of the same name, then
        entries = [by_identity.get(run.identity) or broken.get(run.name) or run for run in wanted]
    return Look(entries=entries, jobs=jobs, copies=survey.copies, sources=Sources())


def _counts(entries: Sequence[RunRecord | Run]) -> Counter[str]:
    counts = Counter(_state(entry) for entry in entries)
    return Counter({state: counts[state] for state in STATES})


def _state(entry: RunRecord | Run) -> str:
    return entry.state if isinstance(entry, RunRecord) else PLANNED


def _entry_json(entry: RunRecord | Run, changed: Sequence[str] | None) -> dict[str, Any]:
    record = entry if isinstance(entry, RunRecord) else None
    progress = record.progress if record else None
    return {
        "identity": entry.identity,
        "name": entry.name,
        "kind": entry.task,
        "table": entry.title.table,
        "profile": entry.title.profile,
        "row": entry.title.row,
        "seed": entry.title.seed,
        "state": _state(entry),
        "attempt": record.attempt if record else 0,
        "updated": record.updated if record else None,
        "host": record.host or None if record else None,
        "pid": record.pid if record else None,
        "job": record.job if record else None,
        "progress": None
        if progress is None
        else {"done": progress.done, "total": progress.total, "unit": progress.unit},
        "eta_seconds": record.eta if record else None,
        "seconds": record.seconds if record else None,
        "speed": newest_speed(record.directory) or None if record else None,
        "error": record.error if record else None,
        "result": dict(record.result) if record and record.result is not None else None,
        "directory": str(record.directory) if record else None,
        "other_code": None if changed is None else list(changed),
    }


def _text(store: Store, look: Look) -> Iterator[str]:
    entries, jobs = look.entries, look.jobs
    counts = _counts(entries)
    shown = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    yield f"{store.runs}: {count(len(entries), 'run')}" + (f" ({shown})" if shown else "")
    yield from _tables(entries)
    for state in _LISTED:
        listed = [
            entry for entry in entries if isinstance(entry, RunRecord) and entry.state == state
        ]
        if state == PLANNED:  # those that have something to say
            listed = [record for record in listed if record.error]
        for record in listed[:MOST_LINES]:
            yield f"  {state:<11}  {record.name}{_detail(record, jobs.get(record.identity))}"
        if len(listed) > MOST_LINES:
            yield f"  {state:<11}  and {len(listed) - MOST_LINES} more"
    yield from _not_current(look)
    if look.copies:
        yield f"copies of run directories, not counted: {', '.join(look.copies)}"


def _not_current(look: Look) -> Iterator[str]:
    """Finished runs by other code than today's, and how many do not say by which."""
    done = [one for one in look.entries if isinstance(one, RunRecord) and one.state == DONE]
    changed = [(one.name, names) for one in done if (names := look.other_code(one))]
    for name, names in changed[:MOST_LINES]:
        yield f"  {DONE:<11}  {name}  computed by other code: {other_code(names)}"
    if len(changed) > MOST_LINES:
        yield f"  {DONE:<11}  and {len(changed) - MOST_LINES} more by other code"
    unknown = sum(one.code is None for one in done)
    if unknown:
        yield f"{count(unknown, 'finished run')} without a note of the code that computed them"


def _tables(entries: Sequence[RunRecord | Run]) -> Iterator[str]:
    """A line for each table and profile."""
    groups: dict[tuple[str, str], Counter[str]] = {}
    for entry in entries:
        if entry.title.table:
            key = (entry.title.table, entry.title.profile)
            groups.setdefault(key, Counter())[_state(entry)] += 1
    width = max((len(f"{table} {profile}") for table, profile in groups), default=0)
    for (table, profile), counts in sorted(groups.items()):
        done = f"{counts[DONE]}/{counts.total()} done"
        others = [f"{counts[state]} {state}" for state in STATES if state != DONE and counts[state]]
        yield f"  {f'{table} {profile}':<{width}}  " + ", ".join([done, *others])


def _detail(record: RunRecord, job: JobInfo | None) -> str:
    parts = []
    if record.progress is not None:
        progress = record.progress
        parts.append(f"{progress.unit} {progress.done}/{progress.total}")
    if record.eta is not None:
        parts.append(f"{duration(record.eta)} left")
    if record.state == RUNNING and record.directory:
        parts += in_words(newest_speed(record.directory))
    if record.state == RUNNING and record.host:
        parts.append(f"on {record.host}, process {record.pid}")
    if record.job is not None and record.state in (RUNNING, QUEUED):
        state = f" {job.state.lower()}" if job is not None else ""
        why = f" ({job.reason})" if job is not None and job.reason else ""
        parts.append(f"job {record.job}{state}{why}")
    if record.attempt > 1:
        parts.append(f"attempt {record.attempt}")
    if record.error:
        parts.append(record.error)
    return "  " + ", ".join(parts) if parts else ""
