"""A GPU computes what a CPU computes, in every method: the same draws, and losses to rounding."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from harness.data.prefetch import prefetched
from harness.precision import float32_products
from harness.train import loop
from harness.train.config import TrainConfig
from tests.train.test_loop import Context
from tests.train.test_waiting import TRAININGS

STEPS = 3


def losses(training: TrainConfig, device: str, directory: Path) -> list[float]:
    """Of the first steps, each the sum of what it adds."""
    context = Context(directory)
    context.resources = replace(context.resources, device=device)
    with float32_products("fp32", torch.device(device)):
        begun = loop._Training(training, context)
        batches = prefetched(begun._batches(0), begun.device)
        sums = [0.0]
        for step in range(STEPS):
            begun._train_step(step, batches)
            sums.append(float(begun.meters.sums["total"]))
    return [after - before for before, after in pairwise(sums)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")
@pytest.mark.parametrize("name", TRAININGS)
def test_a_gpu_gives_the_losses_of_a_cpu(name: str, tmp_path: Path) -> None:
    """Stochastic depth is off: it is drawn on the device, from a generator of its own kind."""
    training = TRAININGS[name]
    training = replace(training, student=replace(training.student, drop_path=0.0))
    cpu, gpu = (losses(training, device, tmp_path / device) for device in ("cpu", "cuda"))
    assert gpu == pytest.approx(cpu, rel=2e-5)


def test_the_same_losses_are_found_twice(tmp_path: Path) -> None:
    """What the comparison itself rests on, where there is no GPU."""
    training = TRAININGS["dinov2"]
    first, second = (losses(training, "cpu", tmp_path / name) for name in ("a", "b"))
    assert first == second
    assert len(set(first)) == STEPS
