"""Peak memory against sums that can be done by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.evaluate.memory import peak_bytes, saved_bytes
from harness.models.config import ModelConfig
from harness.tasks.cost import CostRun
from tests.tasks.test_published_costs import Nothing

CPU = torch.device("cpu")
MIB = 2**20


def test_what_lives_at_once_counts_and_what_is_freed_does_not() -> None:
    def run() -> None:
        first = torch.ones(MIB // 4)  # 1 MiB
        second = first + 1  # 2 MiB alive
        del first
        third = second * 2  # 2 MiB alive
        del second, third
        torch.ones(MIB // 4)  # 1 MiB

    assert peak_bytes(run, CPU) == 2 * MIB


def test_views_and_what_was_there_before_cost_nothing() -> None:
    before = torch.ones(MIB)

    def run() -> object:
        return before.view(2, -1).t()[:3].add_(1)

    assert peak_bytes(run, CPU) == 0


def test_a_chain_needs_two_links() -> None:
    def run() -> torch.Tensor:
        value = torch.ones(MIB // 4)
        for _ in range(10):
            value = value.sin()
        return value

    assert peak_bytes(run, CPU) == 2 * MIB


def test_training_keeps_its_activations() -> None:
    weight = torch.ones(MIB // 4, requires_grad=True)

    def run() -> object:
        value = weight
        for _ in range(8):
            value = value.exp()  # every result is saved for the backward pass
        return value

    assert peak_bytes(run, CPU) == 8 * MIB


def test_what_a_backward_pass_needs_is_counted_once_and_without_weights() -> None:
    model = nn.Sequential(nn.Linear(8, 4, bias=False), nn.GELU(), nn.Linear(4, 2, bias=False))
    images = torch.randn(3, 8)
    # each linear layer keeps its input, the GELU its own: 3 rows of 8, 4 and 4 numbers of 4 bytes
    assert saved_bytes(lambda: model(images), model) == 3 * (8 + 4 + 4) * 4


def teacher_bytes(depth: int, keep: int) -> float:
    config = ModelConfig(arch="deit_base_patch16_224", channels=3, depth=depth)
    run = CostRun(
        student=config,
        teacher=config,
        keep=keep,
        classes=10,
        train_images=1,
        epochs=1,
        batch_size=2,
    )
    return run.execute(Nothing())["teacher/activation_mb"] * 1e6  # type: ignore[arg-type]


@pytest.mark.parametrize("keep", [196, 98])
def test_activations_of_a_block_are_those_of_a_sum_by_hand(keep: int) -> None:
    n, d, heads = keep + 1, 768, 12
    # inputs of both norms (2), of qkv, proj and fc1 (3), of GELU and fc2 (8); scaled q and k, v (3)
    tokens = 16 * n * d
    statistics = 4 * n  # mean and deviation of both norms
    maps = heads * n * n
    found = teacher_bytes(3, keep) - teacher_bytes(2, keep)
    assert found == pytest.approx(2 * 4 * (tokens + statistics + maps))
