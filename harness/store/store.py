"""All run directories of a results folder: the only truth about what happened."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import variables
from harness.paths import project_root
from harness.run import TASKS
from harness.spec.expand import Run, run_name
from harness.store.files import FileError, beside, leftovers, write_json, writing
from harness.store.record import DONE, RUN, SCHEMA, RunRecord, read_record


def default_root() -> Path:
    """$HARNESS_RESULTS, or `results` beside the specs."""
    named = variables.folder("HARNESS_RESULTS")
    return project_root() / "results" if named is None else named.resolve()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What lies in a store."""

    records: list[RunRecord]  # by name
    copies: tuple[str, ...]  # names of folders that are copies of run directories: not counted


class Store:
    """The runs under `root`. Reading never writes; a folder that is not there is an empty store."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = default_root() if root is None else root
        self.runs = self.root / "runs"
        self._names: dict[str, list[str]] = {}  # by the short hash at their end
        self._listed: int | None = None

    @classmethod
    def holding(cls, directory: Path) -> Store:
        """The store that a run directory belongs to."""
        return cls(directory.resolve().parents[1])

    def record(self, identity: str) -> RunRecord | None:
        """The run of that identity; None if it was never planned here."""
        self._list()
        read = [read_record(self.runs / name) for name in self._names.get(identity[:8], ())]
        records = [record for record in read if record is not None]
        exact = [record for record in records if record.identity == identity]
        broken = (record for record in records if not record.identity)
        return min(exact, key=_rank, default=None) or next(broken, None)

    def records(self) -> list[RunRecord]:
        """All runs, by name; damaged directories too."""
        return self.survey().records

    def survey(self) -> Survey:
        """All runs, and the folders that are copies of others."""
        self._list()
        by_identity: dict[str, list[RunRecord]] = {}
        for name in sorted(name for group in self._names.values() for name in group):
            record = read_record(self.runs / name)
            if record is not None:
                by_identity.setdefault(record.identity or name, []).append(record)
        runs, copies = [], []
        for records in by_identity.values():
            first = records[0] if len(records) == 1 else min(records, key=_rank)
            runs += [first] if _in_place(first) else []
            copies += [one.name for one in records if one is not first or not _in_place(one)]
        runs.sort(key=lambda record: record.name)
        return Survey(records=runs, copies=tuple(sorted(copies)))

    def create(self, run: Run) -> Path:
        """The directory of `run`, made if need be: it is never seen half-made."""
        record = self.record(run.identity)
        if record is not None and record.broken:
            raise FileError(record.error or "")
        if record is not None:
            return record.directory
        directory = self.runs / run.name
        content = {
            "schema": SCHEMA,
            "identity": run.identity,
            "kind": run.task,  # its key since before tasks were called so
            "version": TASKS.get(run.task).version,
            "title": asdict(run.title),
            "depends": list(run.depends),
            "macs": run.config.macs(),
            "config": run.plain,
        }
        temporary = beside(directory)
        with writing(directory):
            try:
                temporary.mkdir(parents=True)
                write_json(temporary / RUN, content, durable=True)
                _rename_new(temporary, directory)
            except FileNotFoundError:
                if not (directory / RUN).exists():  # else somebody was faster, and tidied up
                    raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        self._listed = None  # file systems with coarse times may not show that it changed
        for left in leftovers(self.runs).get(directory.name[:64], ()):  # by those that were killed
            shutil.rmtree(left, ignore_errors=True)
        return directory

    def _list(self) -> None:
        """Look which directories there are, unless none came or went since the last look."""
        try:
            changed = self.runs.stat().st_mtime_ns
            if changed == self._listed:
                return
            names_now = os.listdir(self.runs)
        except FileNotFoundError:
            if self.runs.is_symlink() or self.root.is_symlink():
                raise FileError(f"cannot read {self.runs}: it links to what is not there") from None
            self._names, self._listed = {}, None
            return
        except OSError as error:  # not an empty store: its runs would all be computed again
            raise FileError(f"cannot read {self.runs}: {error.strerror}") from error
        names: dict[str, list[str]] = {}
        for name in names_now:
            if not name.startswith("."):
                names.setdefault(name.rpartition("-")[2], []).append(name)
        self._names, self._listed = names, changed


def _rename_new(source: Path, target: Path) -> None:
    """Rename a directory unless the target exists: somebody was faster, with the same content."""
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _in_place(record: RunRecord) -> bool:
    """Whether a directory is where its run is looked for; those without identity tell that."""
    return not record.identity or record.name.rpartition("-")[2] == record.identity[:8]


def _rank(record: RunRecord) -> tuple[bool, bool, bool, str]:
    """Of several directories of one run, the first counts: under its own name, finished."""
    named = record.name == run_name(record.task, record.title, record.identity)
    return not _in_place(record), not named, record.state != DONE, record.name
