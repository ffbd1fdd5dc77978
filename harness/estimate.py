"""How long runs will take, learned from those that are finished."""

from __future__ import annotations

import bisect
import heapq
import json
import socket
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

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
ALIKE = 10.0
"""Up to this factor sizes are alike; what much smaller runs took was mostly their start."""


Timings: TypeAlias = Mapping[str, list[tuple[float, float]]]
"""(Multiply-adds, seconds) of finished runs, sorted, by task or by what is alike in them."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What finished runs on one sort of device took: by task, and of those that are alike."""

    device: Device
    by_task: Timings
    by_workload: Timings = field(default_factory=dict)

    @classmethod
    def of(cls, records: Iterable[RunRecord], *, device: Device) -> Self:
        """Learn from a store: from the runs that this machine has done, if it has done any."""
        done = [
            record
            for record in records
            if record.state == DONE and record.device == device and record.seconds
        ]
        here = socket.gethostname()
        done_here = [record for record in done if record.environment.get("host") == here]
        by_task: dict[str, list[tuple[float, float]]] = {}
        by_workload: dict[str, list[tuple[float, float]]] = {}
        for record in done_here or done:
            pair = (record.macs, record.seconds or 0.0)
            by_task.setdefault(record.task, []).append(pair)
            by_workload.setdefault(workload(record.task, record.plain), []).append(pair)
        return cls(device, _sorted(by_task), _sorted(by_workload))

    def seconds(self, task: str, macs: float, plain: Mapping[str, Any] | None = None) -> float:
        """The estimate for one run: the median of the nearest finished ones, in proportion; of
        those with the same method and student, if there are any.
        """
        like = self.by_workload.get(workload(task, plain), []) if plain is not None else []
        of_task = self.by_task.get(task, [])
        if macs <= 0:
            return statistics.median([took for _, took in like or of_task] or [UNKNOWN_SECONDS])
        for pairs in (like, of_task):
            near = bisect.bisect(pairs, (macs, 0.0))
            first = max(0, min(near - NEAREST // 2, len(pairs) - NEAREST))
            rates = [
                took / size
                for size, took in pairs[first : first + NEAREST]
                if macs / ALIKE <= size <= macs * ALIKE
            ]
            if rates:
                return macs * statistics.median(rates)
        return UNKNOWN_START + macs * UNKNOWN_RATE[self.device] * self._slowdown()

    def _slowdown(self) -> float:
        """How much slower than supposed this machine is, by its runs of other tasks."""
        unknown = UNKNOWN_RATE[self.device]
        ratios = [
            (seconds - UNKNOWN_START) / (macs * unknown)
            for pairs in self.by_task.values()
            for macs, seconds in pairs
            # a run that is small, or was short, mostly started
            if macs * unknown > UNKNOWN_START and seconds > 2 * UNKNOWN_START
        ]
        return statistics.median(ratios) if ratios else 1.0


def workload(task: str, plain: Mapping[str, Any]) -> str:
    """What runs have in common that take the same time for a multiply-add: method, networks,
    images and precision.
    """
    row = plain.get("train", plain)
    row = row if isinstance(row, Mapping) else {}
    parts = {
        "method": _part(row.get("method"), "name"),
        "student": _shape(row.get("student")),
        "teacher": _shape(row.get("teacher")),
        "data": _part(row.get("data"), "name"),
        "precision": _part(row.get("recipe"), "precision"),
        "teacher_precision": _part(row.get("recipe"), "teacher_precision"),
    }
    return json.dumps([task, parts], sort_keys=True)


def _part(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, Mapping) else None


def _shape(model: object) -> object:
    if not isinstance(model, Mapping):
        return None
    return {key: part for key, part in model.items() if key != "weights"}


def _sorted(found: dict[str, list[tuple[float, float]]]) -> Timings:
    return {key: sorted(pairs) for key, pairs in found.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """One run to be scheduled: how long it takes, what must be finished before, whether alone."""

    identity: str
    seconds: float
    depends: tuple[str, ...]
    exclusive: bool


def makespan(loads: Iterable[Load], jobs: int) -> float:
    """Seconds until all are done with `jobs` at once; `loads` in an order of dependencies first.

    Starts them as the local queue does: the longest line of runs, then what must be alone.
    """
    by_identity = {load.identity: load for load in loads}
    left = {
        key: {one for one in load.depends if one in by_identity}
        for key, load in by_identity.items()
    }
    behind: dict[str, list[str]] = {key: [] for key in by_identity}
    for key, needed in left.items():
        for one in needed:
            behind[one].append(key)
    chain: dict[str, float] = {}
    for key in reversed(by_identity):
        chain[key] = by_identity[key].seconds + max(
            (chain[one] for one in behind[key]), default=0.0
        )
    ready: dict[bool, list[tuple[float, str]]] = {True: [], False: []}  # by whether they are alone
    for key in by_identity:
        if not left[key]:
            heapq.heappush(ready[by_identity[key].exclusive], (-chain[key], key))
    now, running = 0.0, list[tuple[float, str]]()
    while running or ready[True] or ready[False]:
        busy = any(by_identity[key].exclusive for _, key in running)
        alone = bool(ready[True]) and not ready[False]
        if not running if alone else ready[False] and len(running) < max(1, jobs) and not busy:
            key = heapq.heappop(ready[alone])[1]
            heapq.heappush(running, (now + by_identity[key].seconds, key))
            continue
        now, key = heapq.heappop(running)
        for other in behind[key]:
            left[other].discard(key)
            if not left[other]:
                heapq.heappush(ready[by_identity[other].exclusive], (-chain[other], other))
    return now
