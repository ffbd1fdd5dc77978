"""A table as its per-seed values tell it, without the runs: `<table>.<profile>.seeds.csv`.

So a reference is made again from what is kept of it, and a test can hold the one against the other.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import HarnessError
from harness.plan import PlannedRun, gpu_hours
from harness.report.cell_values import CellValues
from harness.report.collect import judged
from harness.report.looks import Looks, looks_of
from harness.report.model import Draw, FinishedRun, Provenance, TableModel
from harness.report.publish import file_name
from harness.report.read_csv import Line, machine_of, read_lines, require_table
from harness.report.render.csv import IMAGES, SEEDS, plain
from harness.report.results import SHORT
from harness.spec.expand import ResolvedRow, expand
from harness.spec.table import Column, TableSpec

NEEDED = ("table", "profile", "row", "column", "state", "seed", "value", "run")


def read_seeds_file(table: TableSpec, profile: str, folder: Path) -> TableModel:
    """The table judged from the per-seed values in a results folder; without curves, pictures and
    environments, which runs alone have. HarnessError where they are none of this table.
    """
    kept = SeedsFile.read(table, profile, folder)
    usual = table.profile(profile).seeds
    extra = sorted(kept.seeds - set(usual))
    expansion = expand(table, profile, seeds=[*usual, *extra])
    metrics = {column.id: column.metric for column in table.columns_at(profile).values()}
    model = judged(expansion, kept, looks=kept.looks, runs=kept.runs(metrics))
    there = {line["run"] for line in kept.lines if line["state"] == "done"}
    missing = [run for run in expansion.runs if run.identity[:SHORT] not in there]
    failed = {(line["row"], line["run"]) for line in kept.lines if line["state"] == "failed"}
    return replace(
        model,
        provenance=Provenance(failed=len(failed)),
        gpu_hours=gpu_hours(PlannedRun(run=run, status="todo") for run in missing),
    )


@dataclass(frozen=True, slots=True)
class SeedsFile:
    """Per-seed values as a source of cells."""

    table: str
    profile: str
    lines: tuple[Line, ...]
    of_cells: dict[tuple[str, str], list[Line]]  # the same by row and column
    bits: dict[tuple[str, str, str], tuple[int, bytes]]  # by row, column, seed as written

    @classmethod
    def read(cls, table: TableSpec, profile: str, folder: Path) -> SeedsFile:
        """The two files of a table at a profile; the bits may be missing."""
        name = file_name(table.name, profile)
        path, images = folder / f"{name}.seeds.csv", folder / f"{name}.images.csv"
        lines = read_lines(path, SEEDS, NEEDED)
        require_table(lines, table.name, profile)
        of_cells: dict[tuple[str, str], list[Line]] = {}
        for line in lines:
            of_cells.setdefault((line["row"], line["column"]), []).append(line)
        bits = read_lines(images, IMAGES, IMAGES) if images.is_file() else []
        return cls(
            table.name,
            profile,
            tuple(lines),
            of_cells,
            {(one["row"], one["column"], one["seed"]): _bits(one) for one in bits},
        )

    @property
    def seeds(self) -> set[int]:
        """Those with a trained value."""
        done = (line for line in self.lines if line["state"] == "done" and line.get("look"))
        return {line.whole("seed") for line in done}

    @property
    def looks(self) -> Looks:
        """As noted with the values."""
        return looks_of(self.lines, self.table, self.profile)

    def runs(self, metrics: Mapping[str, str]) -> tuple[FinishedRun, ...]:
        """What the trainings recorded after some of their epochs; `metrics` by column, which
        several columns may share.
        """
        values: dict[tuple[str, int], dict[tuple[float, str], float]] = {}
        for line in self.lines:
            if line["state"] == "epoch" and line["column"] in metrics:
                of_run = values.setdefault((line["row"], line.whole("seed")), {})
                of_run[line.number("epoch"), metrics[line["column"]]] = line.number("value")
        return tuple(
            FinishedRun(
                row=row,
                seed=seed,
                records=tuple(
                    {"epoch": epoch, metric: value} for (epoch, metric), value in of_run.items()
                ),
            )
            for (row, seed), of_run in values.items()
        )

    def cell_values(self, row: ResolvedRow, column: Column) -> CellValues:
        """What the lines of a cell say."""
        lines = self.of_cells.get((row.row.id, column.id), [])
        by_state: dict[str, list[Line]] = {}
        for line in lines:
            by_state.setdefault(line["state"], []).append(line)
        return CellValues(
            draws=tuple(self._draw(line) for line in by_state.get("done", [])),
            failures=tuple(
                (line.whole("seed"), line["run"], plain(line["why"]))
                for line in by_state.get("failed", [])
            ),
            missing_reason="; ".join(plain(line["why"]) for line in by_state.get("open", [])),
            needs=tuple(plain(line["why"]) for line in by_state.get("needs", [])),
            silent=not lines,
        )

    def collapsed_seeds(self, row: ResolvedRow) -> tuple[int, ...]:
        """Seeds that the lines of a row call so."""
        lines = (line for line in self.lines if line["row"] == row.row.id)
        return tuple(sorted({line.whole("seed") for line in lines if line.get("collapsed")}))

    def _draw(self, line: Line) -> Draw:
        count, bits = self.bits.get((line["row"], line["column"], line["seed"] or "0"), (0, b""))
        return Draw(
            seed=line.whole("seed"),
            value=line.number("value"),
            run=line["run"],
            commit=line.get("commit", ""),
            machine=machine_of(line),
            ratio=line.number("ratio") if line.get("ratio") else None,
            images=count,
            right=bits,
        )


def _bits(line: Line) -> tuple[int, bytes]:
    count = line.whole("images")
    try:
        right = base64.b64decode(line["right"], validate=True)
    except binascii.Error:
        right = b""
    if len(right) != -(-count // 8):
        raise HarnessError(f"{line.place}: right: not {count} bits in base64")
    return count, right
