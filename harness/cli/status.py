"""`harness status`: the state of every run. Reads only."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from harness import api
from harness.cli import USER_ERROR
from harness.cli._speed import in_words, newest_speed
from harness.cli._table import add_selection, selection
from harness.cli._unused import in_mb, unused_runs
from harness.cli.plan import other_code
from harness.code import Sources
from harness.errors import HarnessError, unknown
from harness.launch.reconcile import jobs_of, with_scheduler_state
from harness.launch.scheduler import Answer, JobInfo, Scheduler
from harness.process import draw
from harness.spec.expand import Expansion, Run, run_name
from harness.spec.paths import find_table, list_tables
from harness.spec.table import Column
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
from harness.text import count, duration, enough_decimals, number

WATCH_SECONDS = 2.0
MOST_LINES = 40
"""Runs listed of each state, of all tables or while watching; `--json` has all."""
MOST_METRICS = 3
"""Metrics listed of a run that fills no column of the table."""
_LISTED = (RUNNING, QUEUED, INTERRUPTED, FAILED, UNREADABLE, PLANNED)


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = (
        "The state of all runs of the results folder; of a table, or by name, each run with its "
        "metrics."
    )
    parser.add_argument(
        "table",
        metavar="TABLE|RUN",
        nargs="?",
        help="the runs of this table, whichever table had them computed; or those whose name "
        "begins so",
    )
    add_selection(parser)
    parser.add_argument(
        "--unused",
        action="store_true",
        help="only runs that no table wants now, and their size; deletes nothing",
    )
    parser.add_argument("--watch", action="store_true", help="again every 2 s, until Ctrl-C")
    parser.add_argument("--json", action="store_true", help="machine-readable; see docs/json.md")


def run(arguments: argparse.Namespace) -> int:
    """Print the state, once or again and again."""
    part = selection(arguments)
    store, scheduler = Store(), Scheduler()
    of_table = arguments.table is not None and not _names_runs(arguments.table, store)
    if any([arguments.profile, *part.values()]) and not of_table:
        raise HarnessError(
            "--profile, --rows, --seeds and --tasks choose among a table's runs: name a TABLE"
        )
    if arguments.unused:
        if arguments.table is not None or arguments.watch:
            raise HarnessError("--unused is about all tables, once: leave TABLE and --watch out")
        unused = unused_runs(store.records())
        look = Look(entries=unused, jobs={}, copies=(), sources=Sources())
        lines = [json.dumps(as_json(store, look), indent=2)] if arguments.json else in_mb(unused)
        print("\n".join(lines))
        return 0
    wanted: Expansion | str | None = arguments.table
    if of_table:
        wanted = api.load(arguments.table).expand(arguments.profile, **part)
    most = MOST_LINES if arguments.watch or wanted is None else sys.maxsize
    while True:
        look = _look(store, wanted, scheduler)
        if arguments.watch and sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
            draw(sys.stdout, "\x1b[H\x1b[2J")
        if arguments.json:
            print(json.dumps(as_json(store, look), indent=None if arguments.watch else 2))
        else:
            print("\n".join(_text(store, look, most)))
        if not arguments.watch:
            broken = any(isinstance(one, RunRecord) and one.broken for one in look.entries)
            return USER_ERROR if broken else 0
        sys.stdout.flush()
        time.sleep(WATCH_SECONDS)


def _names_runs(name: str, store: Store) -> bool:
    """Whether it is the beginning of a run's name, no table; HarnessError where it is neither."""
    if "/" in name or name.endswith((".yaml", ".yml")) or find_table(name) is not None:
        return False
    names = [record.name for record in store.records()]
    if not any(one.startswith(name) for one in names):
        raise HarnessError(unknown("table or run", name, [*list_tables({}), *names]))
    return True


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What is there at one moment."""

    entries: Sequence[RunRecord | Run]  # runs that have no directory yet are a `Run`
    jobs: Mapping[str, JobInfo]  # what SLURM says of those in its hands, by identity
    copies: Sequence[str]  # folders that are copies of run directories
    sources: Sources  # code as it is now
    each: bool = False  # whether finished runs are listed too
    # by the identity of a run: the columns that it fills
    columns: Mapping[str, Sequence[Column]] = field(default_factory=dict)

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


def _look(store: Store, wanted: Expansion | str | None, scheduler: Scheduler) -> Look:
    """The records, and the runs that have none yet; what SLURM says of those in its hands."""
    survey = store.survey()
    records = survey.records
    noted = [record for record in records if record.note is not None]
    answer = scheduler.ask(jobs_of(noted)) if noted else Answer()
    records, jobs = with_scheduler_state(records, answer)
    entries: list[RunRecord | Run] = list(records)
    columns: dict[str, list[Column]] = {}
    if isinstance(wanted, str):
        entries = [record for record in records if record.name.startswith(wanted)]
    elif wanted is not None:
        entries = _of_table(wanted, records)
        for row in wanted.rows:
            for column, identities in row.runs.items():
                for identity in identities:
                    columns.setdefault(identity, []).append(wanted.table.columns[column])
    return Look(
        entries=entries,
        jobs=jobs,
        copies=survey.copies,
        sources=Sources(),
        each=wanted is not None,
        columns=columns,
    )


def _of_table(wanted: Expansion, records: Sequence[RunRecord]) -> list[RunRecord | Run]:
    """All runs of a table, as its rows and seeds: another table may have had them computed."""
    by_identity = {record.identity: record for record in records}
    broken = {one.name: one for one in records if not one.identity}  # of the same name, then
    entries: list[RunRecord | Run] = []
    for run in wanted.runs:
        record = by_identity.get(run.identity)
        named = replace(record, title=run.title) if record is not None else broken.get(run.name)
        entries.append(named or run)
    return entries


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


def _text(store: Store, look: Look, most: int) -> Iterator[str]:
    entries, jobs = look.entries, look.jobs
    counts = _counts(entries)
    shown = ", ".join(f"{number} {state}" for state, number in counts.items() if number)
    yield f"{store.runs}: {count(len(entries), 'run')}" + (f" ({shown})" if shown else "")
    yield from _tables(entries)
    for state in _LISTED:
        listed = [entry for entry in entries if _state(entry) == state]
        if state == PLANNED and not look.each:  # those that have something to say
            listed = [one for one in listed if isinstance(one, RunRecord) and one.error]
        for entry in listed[:most]:
            detail = _detail(entry, jobs.get(entry.identity))
            yield f"  {state:<11}  {entry.name}{detail}"
        if len(listed) > most:
            yield f"  {state:<11}  and {len(listed) - most} more"
    yield from _finished(look, most) if look.each else _not_current(look)
    unknown_code = sum(one.code is None for one in _done(look))
    if unknown_code:
        yield f"{count(unknown_code, 'finished run')} without a note of the code that computed them"
    if look.copies:
        yield f"copies of run directories, not counted: {', '.join(look.copies)}"


def _done(look: Look) -> list[RunRecord]:
    return [one for one in look.entries if isinstance(one, RunRecord) and one.state == DONE]


def _finished(look: Look, most: int) -> Iterator[str]:
    """Each finished run: name, metrics, how long it took, when it ended, what is to be known."""
    done = _done(look)
    lines = [
        (
            record.name,
            _metrics(record, look.columns.get(record.identity, ())),
            duration(record.seconds or 0.0),
            ""
            if record.updated is None
            else f"{datetime.fromtimestamp(record.updated, UTC):%Y-%m-%d %H:%M} UTC",
        )
        for record in done[:most]
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for record, line in zip(done, lines, strict=False):
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        yield "  ".join([f"  {DONE:<11}", *cells, *_remarks(record, look)]).rstrip()
    if len(done) > most:
        yield f"  {DONE:<11}  and {len(done) - most} more"


def _metrics(record: RunRecord, columns: Sequence[Column]) -> str:
    """Those that the columns show; where there are none, the first few."""
    result = record.result or {}
    texts = {
        column.id: f"{_rounded(result[column.metric], column.decimals + 1)} {column.unit}".rstrip()
        for column in columns
        if column.metric in result
    } or {name: _rounded(value, 2) for name, value in list(result.items())[:MOST_METRICS]}
    return ", ".join(f"{name} {text}" for name, text in texts.items())


def _rounded(value: float, decimals: int) -> str:
    return number(value, enough_decimals(value, decimals))


def _remarks(record: RunRecord, look: Look) -> Iterator[str]:
    title = record.title
    if record.name != run_name(record.task, title, record.identity):
        yield f"here row {title.row}" + ("" if title.seed is None else f", seed {title.seed}")
    if changed := look.other_code(record):
        yield f"by other code: {other_code(changed, most=1)}"


def _not_current(look: Look) -> Iterator[str]:
    """Finished runs by other code than today's."""
    changed = [(one.name, names) for one in _done(look) if (names := look.other_code(one))]
    for name, names in changed[:MOST_LINES]:
        yield f"  {DONE:<11}  {name}  computed by other code: {other_code(names)}"
    if len(changed) > MOST_LINES:
        yield f"  {DONE:<11}  and {len(changed) - MOST_LINES} more by other code"


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


def _detail(record: RunRecord | Run, job: JobInfo | None) -> str:
    if isinstance(record, Run):
        return ""
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
