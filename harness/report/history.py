"""What finished runs left behind: metrics, what they recorded during training, files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import HarnessError
from harness.evidence import FigureOf
from harness.report.measure import Side
from harness.report.metrics_file import MetricsFile, Points, is_number, points
from harness.report.model import Curve, FinishedRun, RowResult
from harness.report.results import RunResults
from harness.spec.claims import CellRef
from harness.spec.expand import Expansion, ResolvedRow
from harness.spec.table import Column
from harness.store.record import METRICS
from harness.store.result import Artifact

LOSS = "loss/total"
MOST_POINTS = 60  # of a curve: more cannot be seen
JUST_THEN = 0.002
"""Of a training: so far from an epoch its evaluation may be, for a part of an epoch ends within a
step.
"""
MOST_TOGETHER = 8
"""Rows whose curves are drawn in one panel. More get a panel for each group, and no loss where
there is another metric.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What the finished runs of a table have recorded."""

    runs: tuple[FinishedRun, ...]
    curves: tuple[Curve, ...]
    damaged: tuple[str, ...]  # a line for each file: what such a file holds is left out whole


def finished_runs(
    expansion: Expansion,
    results: RunResults,
    figures: Sequence[FigureOf],
    read: Callable[[FigureOf, Path], object],
    *,
    names: Collection[str],
    followed: Sequence[str],
    every_loss: bool = True,
) -> Recorded:
    """Every finished run of the table's rows, with the records that hold a metric of `names`, and
    the curves of the metrics `followed`, which are of `names`, and of the loss, which is followed
    where anything is: unless `every_loss`, where it may be drawn. Of the files that `figures` draw,
    which `read` reads, a row has that of its first run where it can be read.
    """
    runs: list[FinishedRun] = []
    curves: list[Curve] = []
    rows: set[str] = set()  # that have curves
    damaged: dict[Path, str] = {}
    for resolved in expansion.rows:
        row, open_files = resolved.row.id, {figure.source: figure for figure in figures}
        for identity, record in results.done(_identities(resolved)).items():
            records: tuple[Mapping[str, Any], ...] = ()
            path, seed = record.directory / METRICS, results.seed(identity)
            try:
                metrics = MetricsFile.read(path)
                records = tuple(metrics.records(names))
                found = list(_curves(row, seed, records, followed))
                if followed and (every_loss or not found or len(rows | {row}) <= MOST_TOGETHER):
                    found += _loss_curve(row, seed, metrics)
                _check(metrics, (record.artifacts or {}).get(METRICS))
            except HarnessError as error:
                damaged[path] = str(error)
                records, found = (), []
            curves += found
            rows |= {row} if found else set()
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
                    row=row,
                    seed=seed,
                    metrics=_numbers(record.result or {}),
                    records=records,
                    files=files,
                )
            )
    return Recorded(runs=tuple(runs), curves=tuple(curves), damaged=tuple(damaged.values()))


def _check(metrics: MetricsFile, noted: Artifact | None) -> None:
    """HarnessError where the file is not the one that the run wrote, if that is `noted`."""
    content = metrics.content
    now = Artifact(hashlib.sha256(content).hexdigest(), len(content))
    if noted is not None and now != noted:
        raise HarnessError(f"{metrics.path} is missing, or is not what the run wrote")


def _curves(
    row: str, seed: int, records: Sequence[Mapping[str, Any]], metrics: Sequence[str]
) -> Iterator[Curve]:
    """Metrics over epochs; single points are no curve."""
    for name in metrics:
        epochs, values = points(records, name)
        if len(epochs) > 1:
            yield _curve(row, seed, name, epochs, values)


def _loss_curve(row: str, seed: int, metrics: MetricsFile) -> Iterator[Curve]:
    """The training loss over epochs."""
    epochs, values = _whole(*metrics.points(LOSS))
    if len(epochs) > 1:
        yield _curve(row, seed, LOSS, epochs, values)


def _curve(row: str, seed: int, metric: str, epochs: list[float], values: list[float]) -> Curve:
    return Curve(
        row=row, seed=seed, metric=metric, epochs=_thinned(epochs), values=_thinned(values)
    )


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
        curves_of_row = {  # evaluations of what was trained record nothing over epochs
            run.seed: curve
            for run in runs
            if run.row == cell.row
            and (curve := dict(zip(*points(run.records, metrics[cell.column]), strict=True)))
        }
        wanted = cell.at.of(length)
        values = {
            seed: curve[epoch]
            for seed, curve in curves_of_row.items()
            for epoch in curve
            if abs(epoch - wanted) <= JUST_THEN * length and seed in side.values
        }
        there = sorted({round(epoch, 3) for curve in curves_of_row.values() for epoch in curve})
        reason = f"not evaluated after {wanted:g} of {length:g} epochs, but after {_some(there)}"
        label = f"{side.label} after {wanted:g} {'epoch' if wanted == 1 else 'epochs'}"
        found.append(
            replace(side, label=label, values=values, missing_reason="" if values else reason)
        )
    return found


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
    return {name: float(value) for name, value in metrics.items() if is_number(value)}


def _identities(resolved: ResolvedRow) -> tuple[str, ...]:
    return tuple(dict.fromkeys(identity for runs in resolved.runs.values() for identity in runs))


def _whole(epochs: list[float], values: list[float]) -> Points:
    """Without a last mean over so few steps that its noise would look like a turn of the curve."""
    if len(epochs) < 3:
        return epochs, values
    before, rest = epochs[-2] - epochs[-3], epochs[-1] - epochs[-2]
    return (epochs, values) if rest >= before / 2 else (epochs[:-1], values[:-1])


def _thinned(values: list[float]) -> tuple[float, ...]:
    """At most MOST_POINTS values, each the mean of its neighbours; the last one stays as it is."""
    size = -(-len(values) // MOST_POINTS)
    if size == 1:
        return tuple(values)
    firsts = range(0, len(values) - 1, size)
    whole = len(values) // size
    sums = np.array(values[: whole * size]).reshape(whole, size).cumsum(axis=1)[:, -1]
    means = (sums / size).tolist()[: len(firsts)]
    if len(means) < len(firsts):  # the last neighbours are fewer
        rest = values[firsts[-1] :]
        means.append(sum(rest) / len(rest))
    return (*means, values[-1])
