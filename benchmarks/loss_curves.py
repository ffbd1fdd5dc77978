"""Losses of real trainings, step by step, beside those of the same written plainly.

    python benchmarks/loss_curves.py [--steps 300] [--csv FILE] [--plot FILE]

Rows of the `fashion-mnist` profiles: real images, crops, masks and teacher. From the same weights
and the same batches, `plain_masked.py` and `plain_selfdistillation.py` train on one side, this
package on the other, each with its own gradients and optimiser. So every saving of this package is
in the difference: what is not embedded, not computed in full, fused, or summed in another order.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from options import machine
from plain_masked import PlainMaskedKD
from plain_selfdistillation import PlainDino, PlainIbot
from torch import Tensor
from trainings import Bench

from harness.batch_slice import FULL_BATCH
from harness.methods import Batch
from harness.methods.distillation import Distillation
from harness.methods.ibot import Ibot
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.tasks.train import TrainRun
from harness.train.config import TrainConfig
from harness.train.loop import _Training

ROWS = {
    "MaskedKD, half of the patches": ("maskedkd/table2", "deit_ti.deit_s.logit.keep50"),
    "DINO": ("attmask/dino", "none"),
    "iBOT": ("attmask/strategies", "block"),
    "AttMask-High": ("attmask/strategies", "high"),
}


def training_of(table: str, row: str) -> TrainConfig:
    """Its first seed's, at the profile of the embedded data."""
    for run in expand(load_table(table), "fashion-mnist", rows=row).runs:
        if isinstance(run.config, TrainRun) and run.title.row == row:
            config = run.config.train
            return replace(config, student=replace(config.student, drop_path=0.0))
    raise AssertionError(f"{table} has no training {row}")


def pairs(config: TrainConfig, steps: int) -> Iterator[tuple[float, float]]:
    """The losses of each step: the plain one's, and this package's."""
    context: Any = Bench("cpu", torch.get_num_threads())
    training = _Training(config, context)
    plain = plain_step(training)
    for group in training.optimizer.param_groups:
        group["lr"] = config.recipe.peak_lr
    batches = training._batches(0)
    for index in range(steps):
        views, targets = next(batches)
        other = plain(views, targets, index)
        yield other, our_step(training, views, targets, index)


def our_step(training: _Training, views: tuple[Tensor, ...], targets: Tensor, index: int) -> float:
    """One update; the loss before it."""
    step = training._step(index, FULL_BATCH)
    batch = Batch(images=views[0], targets=targets, views=views)
    training.objective.before_losses(iter([(batch, step)]))
    loss = training.objective.losses(batch, step)["total"]
    loss.backward()  # type: ignore[no-untyped-call]
    training._update(step)
    training.objective.after_step(step)
    return float(loss.detach())


def plain_step(training: _Training) -> Callable[[tuple[Tensor, ...], Tensor, int], float]:
    """The plain side, from the weights of this one."""
    objective: Any = training.objective
    method, recipe = training.config.method, training.recipe
    if isinstance(method, Distillation):
        assert method.mask is not None
        student, teacher = (
            copy.deepcopy(network.vit)
            for network in (objective.modules["student"], training.frozen[0])
        )
        masked = PlainMaskedKD(
            student,
            teacher,
            method.mask.keep,
            lr=recipe.peak_lr,
            weight_decay=recipe.weight_decay,
        )
        return lambda views, targets, index: float(masked.step(views[0], targets))
    kind = PlainIbot if isinstance(method, Ibot) else PlainDino
    plain = kind(objective, recipe)
    return lambda views, targets, index: float(plain.step(views, training._step(index, FULL_BATCH)))


def draw(table: pd.DataFrame, path: Path) -> None:
    """A panel a method: both curves, and below how far they are apart."""
    figure = Figure(figsize=(3.2 * len(ROWS), 4.2))
    axes = figure.subplots(2, len(ROWS), sharex=True, height_ratios=[2, 1])
    for (name, found), (above, below) in zip(
        table.groupby("training", sort=False), axes.T, strict=True
    ):
        above.plot(found["step"], found["plain"], color="#b0b0b0", linewidth=3, label="plain")
        above.plot(found["step"], found["ours"], color="#1f4e79", linewidth=1, label="ours")
        above.set_title(name, fontsize=9)
        below.semilogy(found["step"], found["difference"].clip(lower=1e-8), color="#1f4e79")
        below.set_ylim(1e-8, 1)
        below.set_xlabel("step")
    axes[0][0].set_ylabel("loss")
    axes[0][0].legend(frameon=False, fontsize=8)
    axes[1][0].set_ylabel("difference,\nrelative")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print how far apart they are; keep the curves where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    lines = []
    for name, (table, row) in ROWS.items():
        for step, (plain, ours) in enumerate(pairs(training_of(table, row), options.steps), 1):
            difference = abs(ours - plain) / abs(plain)
            lines.append((name, step, plain, ours, difference))
    found = pd.DataFrame(lines, columns=["training", "step", "plain", "ours", "difference"])
    print(f"{machine()}, torch {torch.__version__}, {options.steps} steps\n")
    summary = found.groupby("training", sort=False).agg(
        first=("ours", "first"), last=("ours", "last"), most=("difference", "max")
    )
    print(summary.to_string(float_format="%.3g"))
    if options.csv:
        found.to_csv(options.csv, index=False, float_format="%.7g")
    if options.plot:
        draw(found, options.plot)


if __name__ == "__main__":
    main()
