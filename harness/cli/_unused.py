"""Runs that no table wants, and how much room they take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.cli._table import in_short
from harness.errors import HarnessError
from harness.paths import experiments_root
from harness.spec.expand import SharedParts, expand
from harness.spec.load import load_table
from harness.spec.paths import list_tables, no_specs
from harness.store import QUEUED, RUNNING, RunRecord
from harness.text import count


def unused_runs(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Those that no profile of any table asks for, at its seeds or any that a run here has.

    HarnessError where a table cannot be read: what it wants would be listed.
    """
    names = list_tables()
    if not names:
        raise no_specs()
    seen = {record.title.seed for record in records if record.title.seed is not None}
    shared, wanted = SharedParts(), set[str]()
    for name in names:
        try:
            table = load_table(name)
            for profile in table.profiles.values():
                expansion = expand(
                    table, profile, seeds=sorted(seen.union(profile.seeds)), shared=shared
                )
                wanted.update(run.identity for run in expansion.runs)
        except HarnessError as error:
            what = f"what {name} wants is not known: {in_short(error, name)}"
            raise HarnessError(what) from error
    idle = (one for one in records if one.identity and one.state not in (RUNNING, QUEUED))
    return [record for record in idle if record.identity not in wanted]


def in_mb(records: Sequence[RunRecord]) -> Iterator[str]:
    """The largest first, with the sum."""
    sizes = {record.name: _bytes(record.directory) for record in records}
    where = f"no table in {experiments_root()} wants now, at any profile or seed"
    total = f", {sum(sizes.values()) / 1e6:,.1f} MB" if records else ""
    yield f"{count(len(records), 'run')} that {where}{total}"
    width = max(map(len, sizes), default=0)
    for record in sorted(records, key=lambda record: -sizes[record.name]):
        size = f"{sizes[record.name] / 1e6:,.1f} MB"
        of = f"{record.title.table} {record.title.profile}"
        yield f"  {size:>12}  {record.state:<11}  {record.name:<{width}}  {of}"


def _bytes(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if not path.is_dir())
