"""How long runs will take, learned from those that are finished."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from harness.device import Device
from harness.store import DONE, RunRecord

UNKNOWN_RATE: Mapping[Device, float] = {"cpu": 1 / 2e10, "cuda": 1 / 2e13}
"""Seconds per multiply-add of one process before anything was measured: an order of magnitude."""
UNKNOWN_START = 4.0
"""Seconds that a process needs before its first step, before anything was measured."""
UNKNOWN_SECONDS = 1.0
"""For runs that count no multiply-adds, before any was measured."""
NEAREST = 5
"""From so many finished runs of about the same size an estimate is taken."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What finished runs on one kind of device took: by kind, (multiply-adds, seconds), sorted."""

    device: Device
    measured: Mapping[str, list[tuple[float, float]]]

    @classmethod
    def of(cls, records: Iterable[RunRecord], *, device: Device) -> Self:
        """Learn from a store."""
        measured: dict[str, list[tuple[float, float]]] = {}
        for record in records:
            if record.state == DONE and record.device == device and record.seconds:
                measured.setdefault(record.kind, []).append((record.macs, record.seconds))
        return cls(device, {kind: sorted(pairs) for kind, pairs in measured.items()})

    def seconds(self, kind: str, macs: float) -> float:
        """The estimate for one run: the median of the nearest finished ones, in proportion."""
        pairs = self.measured.get(kind, [])
        if macs <= 0:
            return statistics.median([seconds for _, seconds in pairs] or [UNKNOWN_SECONDS])
        near = bisect.bisect(pairs, (macs, 0.0))
        first = max(0, min(near - NEAREST // 2, len(pairs) - NEAREST))
        rates = [seconds / size for size, seconds in pairs[first : first + NEAREST] if size > 0]
        if not rates:
            return UNKNOWN_START + macs * UNKNOWN_RATE[self.device]
        return macs * statistics.median(rates)


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """One run to be scheduled: how long it takes, what must be finished before, whether alone."""

    identity: str
    seconds: float
    depends: tuple[str, ...]
    exclusive: bool


def makespan(loads: Iterable[Load], jobs: int) -> float:
    """Seconds until all are done with `jobs` at once; `loads` in an order of dependencies first."""
    chain: dict[str, float] = {}
    alone = shared = 0.0
    for load in loads:
        before = max((chain.get(identity, 0.0) for identity in load.depends), default=0.0)
        chain[load.identity] = before + load.seconds
        alone += load.seconds if load.exclusive else 0.0
        shared += 0.0 if load.exclusive else load.seconds
    return max(alone + shared / max(1, jobs), *chain.values(), 0.0)
