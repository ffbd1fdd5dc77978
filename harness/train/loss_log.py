"""The losses between two lines of `metrics.jsonl`, on the device until they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.train.speed import SpeedSample
from harness.transfer import HostCopy


@dataclass(slots=True)
class Meters:
    """Running sums of the losses since the last log line, kept on the device: no synchronisation
    per step.
    """

    sums: dict[str, Tensor]
    steps: int = 0

    def add(self, losses: dict[str, Tensor]) -> None:
        """Those of one more step."""
        for name, value in losses.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.clone()
        self.steps += 1

    def close(self, done: int, nan_flags: Sequence[Tensor], interval: SpeedSample) -> OpenLine:
        """The line of what there was until now; new sums begin."""
        line = OpenLine(
            done=done,
            names=tuple(self.sums),
            steps=self.steps,
            numbers=HostCopy(torch.stack([*self.sums.values(), *nan_flags])),
            interval=interval,
        )
        self.sums, self.steps = {}, 0
        return line

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {
            "sums": {name: value.cpu() for name, value in self.sums.items()},
            "steps": self.steps,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenLine:
    """A line whose numbers are on their way from the device."""

    done: int  # steps of the training
    names: tuple[str, ...]
    steps: int  # that the sums are of
    numbers: HostCopy  # the sum of each loss, then the NaN flags of the frozen networks
    interval: SpeedSample

    def read(self) -> tuple[dict[str, float], list[float]]:
        """The mean losses and the NaN flags; waits for them."""
        numbers = self.numbers.get().tolist()
        sums = zip(self.names, numbers, strict=False)
        means = {f"loss/{name}": value / self.steps for name, value in sums}
        return means, numbers[len(self.names) :]
