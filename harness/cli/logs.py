"""`harness logs`: what a run printed."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from harness.errors import HarnessError, unknown
from harness.process import draw
from harness.store import QUEUED, RUNNING, RunRecord, Store
from harness.store.record import LOG

POLL = 0.5


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = (
        "Prints the log of a run; before a cluster's job begins its run, the output of the job."
    )
    parser.add_argument(
        "name",
        metavar="RUN",
        help="the name of a run directory, or its beginning; `harness status TABLE` lists them",
    )
    parser.add_argument("--follow", action="store_true", help="print new lines until the run ends")


def run(arguments: argparse.Namespace) -> int:
    """Print the log, and what is added to it."""
    store = Store()
    record = find_run(store, arguments.name)
    position = 0
    source = _source(record)
    while True:
        over = not arguments.follow or not _going_on(store, record)
        if source != _source(record):  # what the job printed before the run began, then the run
            source, position = _source(record), 0
        position = _print_from(source, position)
        if over and not position:
            raise HarnessError(_nothing(record, source))
        if over:
            return 0
        time.sleep(POLL)


def _nothing(record: RunRecord, source: Path) -> str:
    """Why there is nothing to print."""
    what = "is empty" if source.exists() else "is not there"
    error = f"; its last error: {record.error}" if record.error else ""
    return f"{record.name} ({record.state}) has printed nothing: {source} {what}{error}"


def find_run(store: Store, name: str) -> RunRecord:
    """The run of that name or beginning; HarnessError names the nearest."""
    if not name:
        raise HarnessError("the name of the run is empty: `harness status TABLE` lists them")
    records = store.records()
    matches = [record for record in records if record.name == name]
    matches = matches or [record for record in records if record.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        shown = ", ".join(record.name for record in matches[:5])
        raise HarnessError(f"'{name}' is the beginning of {len(matches)} runs: {shown}; give more")
    raise HarnessError(unknown("run", name, [record.name for record in records]))


def _source(record: RunRecord) -> Path:
    """The run's own log; before there is one, what its job printed."""
    log = record.directory / LOG
    if not log.exists() and record.note is not None and record.note.job is not None:
        return Path(record.note.folder) / f"{record.note.job}_0_log.out"
    return log


def _going_on(store: Store, record: RunRecord) -> bool:
    now = store.record(record.identity)
    return now is not None and now.state in (RUNNING, QUEUED)


def _print_from(path: Path, position: int) -> int:
    if not path.exists():
        return position
    with path.open("rb") as file:
        file.seek(position)
        draw(sys.stdout, file.read().decode(errors="replace"))  # colours and all
        sys.stdout.flush()
        return file.tell()
