"""What finished runs left behind: metrics, what they recorded during training, files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.evidence import FigureOf
from harness.report.measure import Side
from harness.report.model import Curve, FinishedRun, RowResult
from harness.report.results import RunResults
from harness.spec.claims import CellRef
from harness.spec.expand import Expansion, ResolvedRow
from harness.spec.table import Column

METRICS = "metrics.jsonl"
LOSS = "loss/total"
MOST_POINTS = 60  # of a curve: more cannot be seen


def curves(runs: Sequence[FinishedRun], metrics: Sequence[str]) -> tuple[Curve, ...]:
    """The training loss and `metrics` over epochs, for every run; single points are no curve."""
    drawn = []
    for run in runs:
        for name in (*metrics, LOSS):
            points = [
                (float(r["epoch"]), float(r[name]))
                for r in run.records
                if name in r and "epoch" in r and not isinstance(r[name], list)
            ]
            if name == LOSS:
                points = _whole(points)
            if len(points) > 1:
                epochs, values = zip(*_thinned(points), strict=True)
                drawn.append(
                    Curve(row=run.row, seed=run.seed, metric=name, epochs=epochs, values=values)
                )
    return tuple(drawn)


def finished_runs(
    expansion: Expansion,
    results: RunResults,
    figures: Sequence[FigureOf],
    read: Callable[[FigureOf, Path], object],
) -> tuple[tuple[FinishedRun, ...], tuple[str, ...]]:
    """Every finished run of the table's rows, and one line for each file that is damaged: what such
    a file holds is left out whole. Of the files that `figures` draw, which `read` reads, a row has
    that of its first run where it can be read.
    """
    runs: list[FinishedRun] = []
    damaged: dict[Path, str] = {}
    for resolved in expansion.rows:
        open_files = {figure.source: figure for figure in figures}
        for identity, record in results.done(_identities(resolved)).items():
            records: tuple[Mapping[str, Any], ...] = ()
            path = record.directory / METRICS
            try:
                records = tuple(read_metrics(path))
            except HarnessError as error:
                damaged[path] = str(error)
            files: dict[str, Any] = {}
            for name in list(open_files):
                path = record.directory / name
                if path.is_file():
                    try:
                        files[name] = whole_file(open_files[name], path, read)
                        del open_files[name]
                    except HarnessError as error:
                        damaged[path] = str(error)
            runs.append(
                FinishedRun(
                    row=resolved.row.id,
                    seed=results.seed(identity),
                    metrics=_numbers(record.result or {}),
                    records=records,
                    files=files,
                )
            )
    return tuple(runs), tuple(damaged.values())


def at_epochs(
    sides: Sequence[Side],
    cells: Sequence[CellRef],
    columns: Sequence[Column],
    rows: Sequence[RowResult],
    runs: Sequence[FinishedRun],
) -> list[Side]:
    """Cells at an epoch have the values that their trainings recorded there; none where they were
    not evaluated just then, for what lies between two evaluations is not known.
    """
    metrics = {column.id: column.metric for column in columns}
    epochs = {row.id: row.config.recipe.epochs for row in rows if row.config is not None}
    found = []
    for side, cell in zip(sides, cells, strict=True):
        length = epochs.get(cell.row)
        if cell.at is None or length is None or not side.values:
            found.append(side)
            continue
        curves_of_row = {
            run.seed: recorded(run, metrics[cell.column]) for run in runs if run.row == cell.row
        }
        wanted = cell.at.of(length)
        values = {
            seed: curve[epoch]
            for seed, curve in curves_of_row.items()
            for epoch in curve
            if math.isclose(epoch, wanted, rel_tol=1e-6) and seed in side.values
        }
        there = sorted({round(epoch, 3) for curve in curves_of_row.values() for epoch in curve})
        reason = f"not evaluated after {wanted:g} of {length:g} epochs, but after {_some(there)}"
        label = f"{side.label} after {wanted:g} {'epoch' if wanted == 1 else 'epochs'}"
        found.append(
            replace(side, label=label, values=values, missing_reason="" if values else reason)
        )
    return found


def recorded(run: FinishedRun, metric: str) -> dict[float, float]:
    """A metric by epoch, where the run was evaluated."""
    return {
        float(record["epoch"]): float(record[metric])
        for record in run.records
        if metric in record and "epoch" in record and not isinstance(record[metric], list)
    }


def _some(epochs: Sequence[float]) -> str:
    if not epochs:
        return "none"
    shown = [f"{epoch:g}" for epoch in epochs]
    return ", ".join(shown if len(shown) <= 6 else [*shown[:3], "...", *shown[-2:]])


def whole_file(figure: FigureOf, path: Path, read: Callable[[FigureOf, Path], object]) -> object:
    """The file as its figure reads it; HarnessError, one line, where it is damaged."""
    try:
        return read(figure, path)
    except OSError as error:
        raise HarnessError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise HarnessError(f"{path}: damaged ({type(error).__name__}: {error})") from None


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items() if _is_number(value)}


def _identities(resolved: ResolvedRow) -> tuple[str, ...]:
    return tuple(dict.fromkeys(identity for runs in resolved.runs.values() for identity in runs))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics file; none if there is no file, and a last line cut short is left
    out. HarnessError, one line, where it holds anything else.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise HarnessError(f"{path} cannot be read: {error.strerror}") from None
    lines = content.split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(_record(line))
        except ValueError as error:
            if number == len(lines):  # without a line end: its writer was stopped
                break
            raise HarnessError(f"{path}:{number}: {error}") from None
    return records


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line.decode())
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    if not isinstance(record, dict):
        raise ValueError("no record of metrics")
    for name, value in record.items():
        numbers = value if isinstance(value, list) else [value]
        if not numbers or not all(map(_is_number, numbers)):
            raise ValueError(f"{name} is no finite number")
    return record


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _whole(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Without a last mean over so few steps that its noise would look like a turn of the curve."""
    if len(points) < 3:
        return points
    before, rest = points[-2][0] - points[-3][0], points[-1][0] - points[-2][0]
    return points if rest >= before / 2 else points[:-1]


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MOST_POINTS points, each the mean of its neighbours; the last one stays as it is."""
    size = -(-len(points) // MOST_POINTS)
    if size == 1:
        return list(points)
    chunks = [points[first : first + size] for first in range(0, len(points) - 1, size)]
    means = [
        tuple(sum(values) / len(chunk) for values in zip(*chunk, strict=True)) for chunk in chunks
    ]
    return [*((epoch, value) for epoch, value in means), points[-1]]
