"""How fast a training is, and what it waits for: beside the losses in `metrics.jsonl`.

Nothing of it is compared when a run is resumed or computed again: it is of the machine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch

KEY = "speed"
"""Of a record of `metrics.jsonl`: what no two computations of a run have in common."""


class Mark(Protocol):
    """A moment."""

    def until(self, later: Mark) -> float:
        """Seconds to a later one."""


@dataclass(frozen=True, slots=True)
class _HostMark:
    seconds: float

    def until(self, later: Mark) -> float:
        assert isinstance(later, _HostMark)
        return later.seconds - self.seconds


class _DeviceMark:
    """When a GPU gets there: the host is ahead of it."""

    def __init__(self) -> None:
        self._event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        self._event.record()

    def until(self, later: Mark) -> float:
        assert isinstance(later, _DeviceMark)
        later._event.synchronize()
        return float(self._event.elapsed_time(later._event)) / 1000


def mark(device: torch.device) -> Mark:
    """This moment of the device, which the host may be ahead of."""
    return _DeviceMark() if device.type == "cuda" else _HostMark(time.perf_counter())


Spans: TypeAlias = list[tuple[Mark, Mark]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeedSample:
    """Some steps, without what came between them."""

    images: int
    steps: Spans  # from where to where there were steps
    waits: Spans  # of these, when they waited for images
    memory: int | None  # bytes at the peak so far, of a GPU
    flops_per_image: float  # of the networks, forward and backward
    peak: float | None  # FLOP/s of all devices together, at most

    def record(self) -> dict[str, float]:
        """`images_per_second`, `data_wait` (share of the time), and where they are known
        `memory_bytes` and `mfu` (share of the peak rate that the networks' own work takes).
        """
        seconds = sum(first.until(last) for first, last in self.steps)
        if seconds <= 0 or self.images == 0:
            return {}
        waited = sum(first.until(last) for first, last in self.waits)
        rate = self.images / seconds
        found = {"images_per_second": round(rate, 1), "data_wait": round(waited / seconds, 4)}
        if self.memory is not None:
            found["memory_bytes"] = self.memory
        if self.peak is not None:
            found["mfu"] = round(rate * self.flops_per_image / self.peak, 4)
        return found


class Speedometer:
    """Of one process; it never waits for the device. `images` are those of a whole batch."""

    def __init__(
        self, device: torch.device, *, images: int, flops_per_image: float, peak: float | None
    ) -> None:
        self._device, self._images = device, images
        self._flops, self._peak = flops_per_image, peak
        self._restart()

    def _restart(self) -> None:
        self._count = 0
        self._steps: Spans = []
        self._waits: Spans = []
        self._since = mark(self._device)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what a step needs before it can begin."""
        first = mark(self._device)
        yield
        self._waits.append((first, mark(self._device)))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Around what is no step: evaluations and checkpoints."""
        self._steps.append((self._since, mark(self._device)))
        try:
            yield
        finally:
            self._since = mark(self._device)

    def step(self) -> None:
        """One more is done."""
        self._count += 1

    def take(self) -> SpeedSample:
        """What there was since the last time; a new interval begins."""
        self._steps.append((self._since, mark(self._device)))
        memory = None
        if self._device.type == "cuda":
            memory = int(torch.cuda.max_memory_allocated(self._device))
        interval = SpeedSample(
            images=self._count * self._images,
            steps=self._steps,
            waits=self._waits,
            memory=memory,
            flops_per_image=self._flops,
            peak=self._peak,
        )
        self._restart()
        return interval
