"""Peak memory against sums that can be done by hand."""

from __future__ import annotations

import torch

from harness.evaluate.memory import peak_bytes

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
