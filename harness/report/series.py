"""What happened during training, read from `metrics.jsonl`: curves, and how often each patch was
kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.report.model import Curve, KeptMap
from harness.report.outcomes import Outcomes
from harness.spec.expand import Expansion, ResolvedRow
from harness.store import FileError
from harness.store.files import number_in, parsed, read_bytes

LOSS = "loss/total"
MOST_POINTS = 60  # of a curve: more cannot be seen
MOST_MAPS = 5  # points in training that the heat map shows


def curves(expansion: Expansion, outcomes: Outcomes, metrics: Sequence[str]) -> tuple[Curve, ...]:
    """The training loss and `metrics` over epochs, for every finished run; single points are no
    curve.
    """
    found = []
    for row, seed, records in _histories(expansion, outcomes):
        for name in (*metrics, LOSS):
            points = [
                (float(r["epoch"]), float(r[name])) for r in records if name in r and "epoch" in r
            ]
            if name == LOSS:
                points = _whole(points)
            if len(points) > 1:
                epochs, values = zip(*_thinned(points), strict=True)
                found.append(Curve(row=row, seed=seed, metric=name, epochs=epochs, values=values))
    return tuple(found)


def kept_maps(expansion: Expansion, outcomes: Outcomes) -> tuple[KeptMap, ...]:
    """Shares of images in which each patch was kept, mean over seeds, at a few epochs spread over
    training.
    """
    by_row: dict[str, dict[float, list[list[float]]]] = {}
    for row, _, records in _histories(expansion, outcomes):
        for record in records:
            if "kept" in record:
                maps = by_row.setdefault(row, {}).setdefault(float(record["epoch"]), [])
                if not maps or len(maps[0]) == len(record["kept"]):
                    maps.append(record["kept"])
    return tuple(
        KeptMap(row=row, epoch=epoch, shares=_mean(epochs[epoch]))
        for row, epochs in by_row.items()
        for epoch in _spread(sorted(epochs))
    )


def _histories(
    expansion: Expansion, outcomes: Outcomes
) -> Iterator[tuple[str, int, list[dict[str, Any]]]]:
    for resolved in expansion.rows:
        for identity, record in outcomes.done(_identities(resolved)).items():
            records = read_metrics(record.directory / "metrics.jsonl")
            if records:
                yield resolved.row.id, outcomes.seed(identity), records


def _identities(resolved: ResolvedRow) -> tuple[str, ...]:
    return tuple(dict.fromkeys(identity for runs in resolved.runs.values() for identity in runs))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics file up to the first that is damaged or cut short; none if there is
    no file, or it cannot be read.
    """
    try:
        lines = read_bytes(path).split(b"\n")
    except (FileNotFoundError, FileError):  # the run's result is there all the same
        return []
    records: list[dict[str, Any]] = []
    for line in lines:
        try:
            record = parsed(line, finite=False)
        except ValueError:
            break
        if not isinstance(record, dict) or not _whole_record(record):
            break
        records.append(record)
    return records


def _whole_record(record: Mapping[str, Any]) -> bool:
    """Whether what curves and maps are drawn from are numbers."""
    kept = record.get("kept", [])
    numbers = [record[name] for name in ("epoch", "step", LOSS) if name in record]
    numbers += [value for name, value in record.items() if name.startswith("val/")]
    if not isinstance(kept, list) or ("kept" in record and "epoch" not in record):
        return False
    return all(number_in(value) is not None for value in (*numbers, *kept))


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
    return tuple(sum(values) / len(values) for values in zip(*maps, strict=True))


def _spread(epochs: Sequence[float]) -> list[float]:
    """First, last and evenly spaced ones between."""
    if len(epochs) <= MOST_MAPS:
        return list(epochs)
    last = len(epochs) - 1
    return [epochs[round(step * last / (MOST_MAPS - 1))] for step in range(MOST_MAPS)]
