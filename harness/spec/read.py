"""From a spec file to a TableSpec, as far as the file can be read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import Diagnostic, HarnessError, SpecError, unknown
from harness.run import TASKS, BankTask
from harness.spec.build import Builder
from harness.spec.claim_reader import ClaimReader, Scope
from harness.spec.nodes import MapNode
from harness.spec.paths import table_name, table_path
from harness.spec.pieces import Pieces
from harness.spec.plots import PlotReader, with_x_values
from harness.spec.profiles import merged_profile
from harness.spec.rows import Draft, RowReader
from harness.spec.schema import ProfileEntry, TableEntry
from harness.spec.strict_yaml import read_yaml
from harness.spec.table import (
    MOVED_PROFILES,
    Claim,
    Column,
    PaperRef,
    Plot,
    Profile,
    TableSpec,
)

MOST_SEEDS, LARGEST_SEED = 1_000, 2**31 - 1
MOST_PROFILES, MOST_PROFILE_ROWS = 50, 20_000

_WORD = re.compile(r"[A-Za-z0-9_]+")
_PROFILE = re.compile(r"[A-Za-z0-9_-]+")


def read_table(name_or_path: str | Path) -> tuple[TableSpec, list[Diagnostic]]:
    """As much of a table as can be read, and what is wrong with its structure.

    SpecError if nothing can be read.
    """
    table, problems, _ = read_with_loose(name_or_path)
    return table, problems


def read_with_loose(
    name_or_path: str | Path,
) -> tuple[TableSpec, list[Diagnostic], list[Diagnostic]]:
    """The same, and what is wrong with values that no row may use."""
    path = table_path(name_or_path)
    root, problems = read_yaml(path)
    if not isinstance(root, MapNode):
        what = "a spec must be a mapping with paper, columns, rows and profiles"
        raise SpecError(problems or [Diagnostic(root.where, what)])
    loader = _Loader(root)
    table = loader.table(path)
    return table, [*problems, *loader.problems], loader.loose


class _Loader:
    """Reads one file; goes on after a problem as far as it makes sense."""

    def __init__(self, root: MapNode) -> None:
        self._builder = Builder()
        self._entry: TableEntry = self._builder.build(root, TableEntry)
        self._columns = self._read_columns()
        self._seeds = self._checked(self._entry.seeds, root)
        self._pieces = Pieces(self._builder.problems)
        columns = {key: self._columns.get(key) for key in root_keys(root, "columns")}
        self._rows = RowReader(self._builder, columns, self._pieces)
        self._claims = ClaimReader(self._builder, self._columns)

    @property
    def problems(self) -> list[Diagnostic]:
        """What is wrong so far."""
        return self._builder.problems

    @property
    def loose(self) -> list[Diagnostic]:
        """What is wrong with values that a row may replace."""
        return self._rows.loose

    def table(self, path: Path) -> TableSpec:
        """The table, checked."""
        entry = self._entry
        drafts = self._rows.table_rows(entry.rows.items if entry.rows else (), entry.base)
        rows = self._rows.finished(drafts)
        if entry.rows is not None and not entry.rows.items:
            self._builder.problem(entry.rows.where, "rows: a table needs at least one")
        columns = root_keys(entry.node, "columns")
        claims = self._claims.read([entry.claims], rows, (), columns)
        profiles = self._with_untested(claims, self._read_profiles(drafts, claims))
        plots = PlotReader(self._builder, columns)
        drawn = plots.read(entry.plots, [rows, *(profile.rows for profile in profiles.values())])
        return TableSpec(
            name=table_name(path),
            path=path,
            paper=entry.paper or PaperRef(title=""),
            note=entry.note,
            columns=self._columns,
            rows=rows,
            claims=claims,
            profiles={
                name: replace(
                    profile, plots=with_x_values(self._shown_plots(drawn, name), profile.rows)
                )
                for name, profile in profiles.items()
            },
        )

    def _read_columns(self) -> dict[str, Column]:
        node = self._entry.node
        for key in root_keys(node, "columns"):
            if not _WORD.fullmatch(key):
                what = f"column '{key}' must be made of letters, digits and _"
                self._builder.problem(node.find("columns", key), what)
        columns = {}
        for key, column in self._entry.columns.items():
            try:
                task = TASKS.get(column.task.name)
            except HarnessError as error:
                self._builder.problem(node.find("columns", key, "from"), f"from: {error}")
                continue
            if column.task.bank != "all" and not issubclass(task, BankTask):
                what = f"bank: the task '{column.task.name}' has none"
                self._builder.problem(node.find("columns", key, "from", "bank"), what)
            metrics = task.metrics()
            if metrics and column.metric not in metrics:
                kind = f"metric of the task '{column.task.name}'"
                what = f"metric: {unknown(kind, column.metric, sorted(metrics))}"
                self._builder.problem(node.find("columns", key, "metric"), what)
            self._check_profiles(key, column)
            columns[key] = replace(column, id=key, label=column.label or key)
        return columns

    def _check_profiles(self, key: str, column: Column) -> None:
        node = self._entry.node
        names = root_keys(node, "profiles")
        for name in column.profiles:
            if name not in names:
                what = f"profiles: {unknown('profile', name, names)}"
                self._builder.problem(node.find("columns", key, "profiles"), what)

    def _shown(self, profile: str) -> list[str]:
        """The columns of a profile; those that could not be read count as shown."""
        keys = root_keys(self._entry.node, "columns")
        columns = self._columns
        return [key for key in keys if key not in columns or columns[key].shown_at(profile)]

    def _shown_plots(self, plots: Sequence[Plot], profile: str) -> list[Plot]:
        shown = {"", *self._shown(profile)}
        return [plot for plot in plots if {plot.x.column, *plot.y} <= shown]

    def _with_untested(
        self, claims: Sequence[Claim], profiles: Mapping[str, Profile]
    ) -> dict[str, Profile]:
        """Profiles that know which claims of the table they ask in no form: those of the spec
        itself, and those that it asks at `paper` alone.
        """
        table = {claim.id: claim for claim in claims}
        table |= (
            {claim.id: claim for claim in profiles["paper"].claims} if "paper" in profiles else {}
        )
        with_untested = {}
        for name, profile in profiles.items():
            for claim in profile.claims:
                for other in claim.scaled_down_version_of:
                    if other not in table:
                        where = claim.node.find("scaled_down_version_of")
                        what = f"scaled_down_version_of: {unknown('claim', other, list(table))}"
                        self._builder.problem(where, what)
            asked = {claim.id for claim in profile.claims}
            asked |= {other for claim in profile.claims for other in claim.scaled_down_version_of}
            untested = tuple(claim for claim in table.values() if claim.id not in asked)
            with_untested[name] = replace(profile, untested=untested)
        return with_untested

    def _read_profiles(
        self, drafts: Mapping[str, Draft], claims: Sequence[Claim]
    ) -> dict[str, Profile]:
        node, entries = self._entry.node, self._entry.profiles
        published = self._entry.paper is not None and self._entry.paper.arxiv is not None
        names = root_keys(node, "profiles")
        if "profiles" in node.entries and (not names or (published and "paper" not in names)):
            what = "profiles: 'paper' is missing, the published recipe: `paper: {}`"
            self._builder.problem(node.find("profiles"), what)
        if len(entries) > MOST_PROFILES or len(entries) * len(drafts) > MOST_PROFILE_ROWS:
            what = (
                f"profiles: {len(entries)} of {len(drafts):,} rows each: {MOST_PROFILES} profiles "
                f"and {MOST_PROFILE_ROWS:,} rows in all of them at most"
            )
            self._builder.problem(node.find("profiles"), what)
            return {}
        read: dict[str, Profile] = {}
        for name, entry in entries.items():
            read[name] = self._read_profile(name, entry, drafts, claims)
            if sum(len(profile.rows) for profile in read.values()) > MOST_PROFILE_ROWS:
                what = f"profiles: more than {MOST_PROFILE_ROWS:,} rows in all of them"
                self._builder.problem(node.find("profiles", name), what)
                break
        return read

    def _read_profile(
        self, name: str, entry: ProfileEntry, drafts: Mapping[str, Draft], table: Sequence[Claim]
    ) -> Profile:
        where = self._entry.node.find("profiles", name)
        if not _PROFILE.fullmatch(name):
            self._builder.problem(
                where, f"profile '{name}' must be made of letters, digits, _ and -"
            )
        if name in MOVED_PROFILES:
            new = " or ".join(MOVED_PROFILES[name])
            self._builder.problem(where, f"profile '{name}' is now called '{new}'")
        before = len(self._builder.problems)
        merged = merged_profile(entry, self._builder, self._pieces)
        unread = entry.start is not None and len(self._builder.problems) > before
        renamed = "says" in entry.node.entries  # told where it stands
        if name != "paper" and not (merged.description or unread or renamed):
            self._builder.problem(
                where, f"'description' is missing: how profile '{name}' differs from the paper"
            )
        chosen = self._rows.profile_rows(merged.rows, drafts, self._entry.base, merged.base)
        rows = self._rows.finished(chosen, merged.stand_ins)
        ids, shown = {row.id for row in rows}, self._shown(name)
        of_table = [
            claim
            for claim in table
            if all(cell.row in ids and cell.column in shown for cell in claim.holds.cells)
        ]
        of_profile = self._claims.read(merged.claims, rows, table, shown)
        scope = Scope(
            profile=name,
            rows=rows,
            columns=shown,
            preconditions=merged.shared_preconditions
            | dict(self._entry.preconditions)
            | dict(entry.preconditions),
            given=merged.given,
            where_given=merged.where_given,
        )
        return Profile(
            name=name,
            starts_from=merged.starts_from,
            description=merged.description,
            seeds=self._seeds if merged.seeds is None else self._checked(merged.seeds, entry.node),
            rows=rows,
            where_rows=merged.where_rows,
            claims=self._claims.in_scope((*of_table, *of_profile), scope),
            resources=merged.resources,
        )

    def _checked(self, seeds: tuple[int, ...], node: MapNode) -> tuple[int, ...]:
        what = wrong_seeds(seeds)
        if what is None:
            return seeds
        self._builder.problem(node.find("seeds"), f"seeds: {what}")
        return (0,)  # to go on with


def wrong_seeds(seeds: Sequence[int]) -> str | None:
    """What is wrong with these seeds, of a spec or of who asks for runs; None if nothing is."""
    if len(seeds) > MOST_SEEDS or any(seed > LARGEST_SEED for seed in seeds):
        return f"{MOST_SEEDS:,} at most, each at most {LARGEST_SEED:,}"
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        return "must be different whole numbers from 0 up, at least one"
    return None


def root_keys(node: MapNode, key: str) -> list[str]:
    """The keys of the mapping at `key`, whatever is wrong with their values."""
    child = node.entries.get(key)
    return list(child.entries) if isinstance(child, MapNode) else []
