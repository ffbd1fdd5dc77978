"""A training step by two processes of one thread each, next to one process with one thread.

    python benchmarks/two_processes.py [--batch 16] [--steps 5] [--turns 3] [--csv FILE]

DeiT-S teaches DeiT-Ti on 98 patches, fp32, random images on the CPU; each of two processes has half
of the batch, and gradients go through gloo: in one message after the backward pass, in buckets
after it, and in buckets while it goes on. The ways are timed in turn, so a drifting machine slows
all of them alike. A machine with two free cores is needed: it says how many there are.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from harness.device import cores
from harness.distributed import DistContext, process_group
from harness.methods import Batch, Networks, Step
from harness.methods.distillation import Distillation, Mask
from harness.models.build import build_model, freeze
from harness.models.config import ModelConfig
from harness.models.vit import Normalisation, VisionTransformer
from harness.train.config import Recipe
from harness.train.gradients import GradientSum
from harness.train.optimizer import build_optimizer

STUDENT, TEACHER, KEEP = "deit_tiny_patch16_224", "deit_small_patch16_224", 98
WAYS = ("one message", "buckets", "buckets, overlapping")
SEEN = Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3)


def network(arch: str) -> VisionTransformer:
    """With random weights, the same in every process."""
    torch.manual_seed(0)
    config = ModelConfig(arch=arch)
    return build_model(config, classes=1000, channels=3, input_norm=SEEN, dependencies={})


class Trainer:
    """One process's part of a step."""

    def __init__(self, batch: int, ranks: DistContext) -> None:
        self.ranks = ranks
        student = network(STUDENT).train()
        self.objective = Distillation(mask=Mask(keep=KEEP)).build(
            Networks(student=student, teacher=freeze(network(TEACHER)))
        )
        recipe = Recipe(epochs=1, batch_size=batch, lr=1e-4)
        self.optimizer = build_optimizer(self.objective.modules, recipe)
        self.parameters = [p for p in student.parameters() if p.requires_grad]
        part = batch // ranks.size
        self.data = Batch(
            images=torch.randn(part, 3, 224, 224), targets=torch.rand(part, 1000).softmax(dim=1)
        )

    def seconds(self, way: str, steps: int) -> float:
        """Of a step, the mean of `steps` after one that is not counted."""
        summed = GradientSum(self.parameters, self.ranks, overlap=way == WAYS[2])
        begun = 0.0
        for number in range(steps + 1):
            if number == 1:
                begun = time.perf_counter()
            step = Step(index=number, total=steps + 1, generator=torch.Generator())
            loss = self.objective.losses(self.data, step)["total"] / self.ranks.size
            with summed.last_backward():
                loss.backward()  # type: ignore[no-untyped-call]
            if way == WAYS[0]:
                self.ranks.all_reduce_sum_([p.grad for p in self.parameters if p.grad is not None])
            else:
                summed.finish()
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        summed.close()
        return (time.perf_counter() - begun) / steps


def together(rank: int, batch: int, steps: int, folder: Path, way: str, out: Any) -> None:
    """One of two processes; the first one puts what it measured into `out`."""
    torch.set_num_threads(1)
    ranks = DistContext(rank, 2)
    store = torch.distributed.FileStore(str(folder / "meeting"), 2)  # type: ignore[attr-defined]
    with process_group(ranks, store, torch.device("cpu")):
        taken = Trainer(batch, ranks).seconds(way, steps)
    if rank == 0:
        out.put(taken)


def two(batch: int, steps: int, way: str) -> float:
    """Seconds of a step by two processes."""
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            context.Process(target=together, args=(rank, batch, steps, Path(folder), way, out))
            for rank in range(2)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            if process.exitcode != 0:
                raise SystemExit("a process ended with an error, above")
    return float(out.get())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    alone = Trainer(options.batch, DistContext())
    taken: dict[str, list[float]] = {name: [] for name in ("one process", *WAYS)}
    for _ in range(options.turns):
        taken["one process"].append(alone.seconds(WAYS[1], options.steps))
        for way in WAYS:
            taken[way].append(two(options.batch, options.steps, way))
    lines = []
    for name, seconds in taken.items():
        ratios = [one / other for one, other in zip(taken["one process"], seconds, strict=True)]
        lines.append(
            {
                "step": name,
                "s, median": statistics.median(seconds),
                "min": min(seconds),
                "max": max(seconds),
                "as fast as one": statistics.median(ratios),
            }
        )
    table = pd.DataFrame(lines)
    print(
        f"{platform.processor() or platform.machine()}, {cores()} cores, torch {torch.__version__}"
    )
    print(table.to_string(index=False, float_format="%.3f"))
    if options.csv:
        table.to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
