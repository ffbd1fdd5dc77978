"""What happened during training, read from `metrics.jsonl`: curves, and how often each patch was
kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.report.model import Curve, KeptMap
from harness.report.outcomes import Outcomes
from harness.spec.expand import Expansion, ResolvedRow

LOSS = "loss/total"
MOST_POINTS = 60  # of a curve: more cannot be seen
MOST_MAPS = 5  # points in training that the heat map shows


def curves(found: Sequence[History], metrics: Sequence[str]) -> tuple[Curve, ...]:
    """The training loss and `metrics` over epochs, for every finished run; single points are no
    curve.
    """
    drawn = []
    for history in found:
        for name in (*metrics, LOSS):
            points = [
                (float(r["epoch"]), float(r[name]))
                for r in history.records
                if name in r and "epoch" in r
            ]
            if name == LOSS:
                points = _whole(points)
            if len(points) > 1:
                epochs, values = zip(*_thinned(points), strict=True)
                drawn.append(
                    Curve(
                        row=history.row,
                        seed=history.seed,
                        metric=name,
                        epochs=epochs,
                        values=values,
                    )
                )
    return tuple(drawn)


def kept_maps(found: Sequence[History]) -> tuple[KeptMap, ...]:
    """Shares of images in which each patch was kept, mean over seeds, at a few epochs spread over
    training.
    """
    by_row: dict[str, dict[float, list[list[float]]]] = {}
    for history in found:
        for record in history.records:
            if isinstance(record.get("kept"), list) and "epoch" in record:
                by_epoch = by_row.setdefault(history.row, {})
                by_epoch.setdefault(float(record["epoch"]), []).append(record["kept"])
    return tuple(
        KeptMap(row=row, epoch=epoch, shares=_mean(epochs[epoch]))
        for row, epochs in by_row.items()
        for epoch in _spread(sorted(epochs))
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """What one run recorded while it trained."""

    row: str
    seed: int
    records: tuple[Mapping[str, Any], ...]


def histories(expansion: Expansion, outcomes: Outcomes) -> tuple[list[History], tuple[str, ...]]:
    """Of every finished run of the table's rows, and one line for each that is damaged: what such a
    run recorded is left out whole.
    """
    found, unreadable = [], {}
    for resolved in expansion.rows:
        for identity, record in outcomes.done(_identities(resolved)).items():
            path = record.directory / "metrics.jsonl"
            try:
                records = tuple(read_metrics(path))
            except HarnessError as error:
                unreadable[path] = str(error)
                continue
            if records:
                seed = outcomes.seed(identity)
                found.append(History(row=resolved.row.id, seed=seed, records=records))
    return found, tuple(unreadable.values())


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
        numbers = value if name == "kept" and isinstance(value, list) else [value]
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


def _mean(maps: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Over seeds; those of another size than the first belong to other runs."""
    alike = [found for found in maps if len(found) == len(maps[0])]
    return tuple(sum(values) / len(values) for values in zip(*alike, strict=True))


def _spread(epochs: Sequence[float]) -> list[float]:
    """First, last and evenly spaced ones between."""
    if len(epochs) <= MOST_MAPS:
        return list(epochs)
    last = len(epochs) - 1
    return [epochs[round(step * last / (MOST_MAPS - 1))] for step in range(MOST_MAPS)]
