"""`harness cancel`: takes the jobs of a table or a run back from SLURM."""

from __future__ import annotations

import argparse

from harness import api
from harness.cli._table import add_selection, selection
from harness.cli.logs import find_run
from harness.errors import HarnessError
from harness.launch.reconcile import broken_off, jobs_of
from harness.launch.scheduler import cancel_jobs
from harness.spec.paths import find_table
from harness.store import RunRecord, Store, drop_job
from harness.text import count


def add(parser: argparse.ArgumentParser) -> None:
    """The command and its options."""
    parser.description = (
        "Cancels jobs. A run that is being computed saves its checkpoint; "
        "`harness run` goes on from there."
    )
    parser.add_argument("table", metavar="TABLE|RUN", help="a table, or the name of a run")
    add_selection(parser)
    parser.add_argument(
        "--forget",
        action="store_true",
        help="take the runs back without asking SLURM, where it cannot be asked: their jobs, if "
        "there are any, find the work done or wait for it",
    )


def run(arguments: argparse.Namespace) -> int:
    """Cancel, and note in the run directories that no job is responsible any more."""
    store = Store()
    records = _chosen(arguments, store)
    jobs = set(jobs_of(records))
    # a job may compute several runs: all of them lose it
    lost = [r for r in store.records() if r.note is not None and r.note.job in jobs]
    # of a submission that is going on or broke off
    lost += [r for r in records if r.note is not None and r.note.job is None]
    if not lost:
        raise HarnessError(f"{arguments.table} has no jobs; a local `harness run` ends by Ctrl-C")
    if not arguments.forget:
        for record in lost:
            if record.note is not None and record.note.job is None and not broken_off(record.note):
                raise HarnessError(f"{record.name} is being submitted now: try again in a minute")
        cancel_jobs(sorted(jobs))
    for record in lost:
        assert record.note is not None, "chosen above"
        drop_job(record.directory, record.note.submission)
    what = "forgot" if arguments.forget else "cancelled"
    print(f"{what} {count(len(jobs), 'job')} of {count(len(lost), 'run')}")
    return 0


def _chosen(arguments: argparse.Namespace, store: Store) -> list[RunRecord]:
    name = arguments.table
    if find_table(name) is None and not name.endswith((".yaml", ".yml")):
        return [find_run(store, name)]
    runs = api.load(name).expand(arguments.profile, **selection(arguments)).runs
    records = (store.record(run.identity) for run in runs)
    return [record for record in records if record is not None]
