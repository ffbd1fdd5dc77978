"""How fast the trainings of a table are on this machine, by a few of their real steps.

    python benchmarks/trainings.py [TABLE] [--profile cifar10] [--rows GLOB] [--steps 150]
                                   [--device auto] [--at-once 1] [--compile none,blocks]
                                   [--csv FILE]

Real data, augmentation, networks and loop; frozen networks have drawn weights, which cost as much
as learned ones. `--at-once N` runs N trainings of a row in processes of their own at the same time:
what a machine with room for several gives. `hours` is what all seeds of a row's training take at
that rate, without evaluations and start-up.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from options import machine

from harness.data.prefetch import prefetched
from harness.distributed import DistContext
from harness.models.config import ModelConfig, Weights
from harness.precision import float32_products
from harness.run import Resources
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.tasks.train import TrainRun
from harness.train.config import TrainConfig
from harness.train.loop import _Training
from harness.train.narration import Narrator
from harness.train.networks import pick_device


class Bench:
    """The context of a run that is never finished."""

    def __init__(self, device: str, threads: int) -> None:
        self.resources = Resources(device=device, threads=threads)
        self.dependencies: dict[str, Path] = {}
        self.dist, self.rendezvous_store = DistContext(), None
        self.speeds: list[dict[str, float]] = []

    def metric(self, record: dict[str, Any]) -> None:
        """Only its speed is wanted."""
        self.speeds.append(record.get("speed", {}))

    def before_result(self, why_not: Callable[[], str | None]) -> None:
        """There is no result."""

    def should_stop(self) -> bool:
        """Never."""
        return False

    def log(self, message: str) -> None:
        """Nothing is said."""

    def progress(self, done: int, total: int, unit: str = "step") -> None:
        """Nor this."""


def trainings(options: argparse.Namespace) -> Iterator[tuple[str, TrainConfig, int]]:
    """Of each row its name, its training with drawn weights in frozen networks, and its seeds."""
    expansion = expand(load_table(options.table), options.profile, rows=options.rows)
    seeds: dict[str, int] = {}
    found: dict[str, TrainConfig] = {}
    for run in expansion.runs:
        if isinstance(run.config, TrainRun):
            seeds[run.title.row] = seeds.get(run.title.row, 0) + 1
            found.setdefault(run.title.row, run.config.train)
    for row, config in found.items():
        networks: dict[str, Any] = {
            name: replace(model, weights=Weights())
            for name in ("student", "teacher", "saliency_model")
            if isinstance(model := getattr(config, name), ModelConfig)
        }
        yield row, replace(config, **networks), seeds[row]


def speed(config: TrainConfig, options: argparse.Namespace) -> dict[str, float]:
    """The median over intervals of a tenth of the steps each, without the first fifth of them."""
    torch.set_num_threads(options.threads)
    context: Any = Bench(options.device, options.threads)
    with float32_products(config.recipe.precision, pick_device(options.device)):
        training = _Training(config, context)
        training.narrator = Narrator(
            context.log, start=0, total=training.total, per_epoch=training.per_epoch, batch=1
        )
        batches = prefetched(training._batches(0), training.device)
        for step in range(options.steps):
            training._train_step(step, batches)
            training._write_line()
            if (step + 1) % max(1, options.steps // 10) == 0:
                training._begin_line(step + 1)
        training._write_line()
    kept = context.speeds[len(context.speeds) // 5 :]
    found = {key: statistics.median(one[key] for one in kept) for key in kept[0]}
    return {**found, "images": training.total * training.plan.batch}


def _in_process(given: tuple[TrainConfig, argparse.Namespace]) -> dict[str, float]:
    return speed(*given)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", default="maskedkd/table2")
    parser.add_argument("--profile", default="cifar10")
    parser.add_argument("--rows")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--compile", default="none")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else machine()
    print(f"{options.table}, profile {options.profile}, on {card}, torch {torch.__version__}")
    lines = []
    for row, config, seeds in trainings(options):
        for how in options.compile.split(","):
            one = replace(config, recipe=replace(config.recipe, compile=how))
            with multiprocessing.get_context("spawn").Pool(options.at_once) as pool:
                found = pool.map(_in_process, [(one, options)] * options.at_once, chunksize=1)
            rate = sum(speed["images_per_second"] for speed in found)
            lines.append(
                {
                    "row": row,
                    "compile": how,
                    "at once": options.at_once,
                    "img/s": rate,
                    "data wait": statistics.median(speed["data_wait"] for speed in found),
                    "MFU": sum(speed.get("mfu", 0.0) for speed in found),
                    "hours": seeds * found[0]["images"] / rate / 3600,
                }
            )
            print(lines[-1], flush=True)
    table = pd.DataFrame(lines)
    print(table.to_string(index=False, float_format="%.3g"))
    if options.csv:
        table.assign(machine=card).to_csv(options.csv, index=False)


if __name__ == "__main__":
    main()
