"""Trainings by several processes of this machine, without workers and leases."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from harness.distributed import DistContext
from harness.train.config import TrainConfig
from harness.train.loop import train
from tests.train.test_loop import Context

CENTERS = ("center", "patch_center")


class Watched(Context):
    """Keeps the centres after every step: a checkpoint is due each time."""

    def __init__(
        self,
        directory: Path,
        ranks: DistContext,
        meeting: Any,
        begun: Path | None = None,
        pipeline: int | None = None,
    ) -> None:
        super().__init__(directory)
        self.begun = begun
        self.resources = replace(
            self.resources, checkpoint_seconds=0.0, processes=ranks.size, pipeline=pipeline
        )
        self.dist, self.rendezvous_store = ranks, meeting
        self.centers: list[dict[str, torch.Tensor]] = []

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        """In the first process."""
        if self.dist.rank:
            return
        super().save_checkpoint(write)
        found = torch.load(self.directory / "checkpoint.pt", weights_only=True)["objective"]
        self.centers.append({name: found[name] for name in CENTERS if name in found})

    def restore_checkpoint(self) -> Path | None:
        """What another training has left; without one, everything starts anew."""
        if self.begun is None:
            return None
        self.metrics = json.loads((self.begun / "metrics.json").read_text())
        return self.begun / "checkpoint.pt"


def outcome(
    config: TrainConfig,
    folder: Path,
    ranks: DistContext,
    meeting: Any = None,
    begun: Path | None = None,
    pipeline: int | None = None,
) -> dict[str, Any]:
    """Result, metrics and centres of a training, as this process sees it."""
    context = Watched(folder, ranks, meeting, begun, pipeline)
    result = train(config, context)
    return {"result": result, "metrics": context.metrics, "centers": context.centers}


Training = tuple[TrainConfig, Path | None]  # and what it goes on from


def train_together(
    configs: Sequence[Training],
    folder: Path,
    size: int,
    pipelines: Sequence[int | None] | None = None,
    prepare: Callable[[], None] | None = None,
) -> list[dict[str, Any]]:
    """What the first of `size` processes saw of each training, one after the other. Each process
    calls `prepare` first.
    """
    pipelines = pipelines or [None] * len(configs)
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([__name__])  # PyTorch is loaded once, not by every process
    processes = [
        forking.Process(target=_one, args=(rank, size, configs, folder, pipelines, prepare))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(600)
            assert process.exitcode == 0
    finally:
        for process in processes:  # one that has failed leaves the others waiting for it
            process.kill()
    return [torch.load(folder / f"{at}.pt", weights_only=True) for at in range(len(configs))]


def _one(
    rank: int,
    size: int,
    configs: Sequence[Training],
    folder: Path,
    pipelines: Sequence[int | None],
    prepare: Callable[[], None] | None,
) -> None:
    torch.set_num_threads(1)
    if prepare is not None:
        prepare()
    for at, (config, begun) in enumerate(configs):
        store = torch.distributed.FileStore(str(folder / f"meeting-{at}"), size)  # type: ignore[attr-defined]
        found = outcome(
            config, folder / f"{at}-{rank}", DistContext(rank, size), store, begun, pipelines[at]
        )
        if rank == 0:
            torch.save(found, folder / f"{at}.pt")
