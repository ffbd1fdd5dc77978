"""All run directories of a results folder: the only truth about what happened."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path

from harness import variables
from harness.errors import HarnessError
from harness.paths import project_root
from harness.run import KINDS
from harness.spec.expand import Run
from harness.store.files import beside, write_json, writing
from harness.store.record import RUN, SCHEMA, RunRecord, read_record


def default_root() -> Path:
    """$HARNESS_RESULTS, or `results` beside the specs."""
    given = variables.folder("HARNESS_RESULTS")
    return project_root() / "results" if given is None else given.resolve()


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
        found = [read_record(self.runs / name) for name in self._names.get(identity[:8], ())]
        records = [record for record in found if record is not None]
        exact = [record for record in records if record.identity == identity]
        return next(iter([*exact, *(record for record in records if record.broken)]), None)

    def records(self) -> list[RunRecord]:
        """All runs, by name; damaged directories too."""
        self._list()
        names = sorted(name for group in self._names.values() for name in group)
        found = (read_record(self.runs / name) for name in names)
        return [record for record in found if record is not None]

    def create(self, run: Run) -> Path:
        """The directory of `run`, made if need be: it is never seen half-made."""
        known = self.record(run.identity)
        if known is not None and known.broken:
            raise HarnessError(known.error or "")
        if known is not None:
            return known.directory
        directory = self.runs / run.name
        content = {
            "schema": SCHEMA,
            "identity": run.identity,
            "kind": run.kind,
            "version": KINDS.get(run.kind).version,
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
                self._listed = None  # file systems with coarse times may not show that it changed
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
        return directory

    def _list(self) -> None:
        """Look which directories there are, unless none came or went since the last look."""
        try:
            changed = self.runs.stat().st_mtime_ns
        except OSError:
            self._names, self._listed = {}, None
            return
        if changed == self._listed:
            return
        names: dict[str, list[str]] = {}
        for name in os.listdir(self.runs):
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
