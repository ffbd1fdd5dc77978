"""Batches beside the steps: the same ones, each handed over before a step may use it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from harness.data.prefetch import Prefetched, SideWork, prefetched


class Told(SideWork):
    """A CPU's, that says what it is asked for."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around a batch."""
        self.events.append("begin")
        yield
        self.events.append("end")

    def hand_over(self, tensors: list[Tensor]) -> None:
        """Which tensors."""
        self.events.append(f"over {[int(tensor) for tensor in tensors]}")


def batches(told: Told, count: int) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
    for number in range(count):
        told.events.append(f"make {number}")
        yield (torch.tensor(number), torch.tensor(10 + number)), torch.tensor(100 + number)


def test_each_batch_is_made_inside_and_handed_over_before_it_is_given() -> None:
    told = Told()
    ahead = Prefetched(batches(told, 2), told)
    for number, ((first, second), labels) in enumerate(ahead):
        assert [int(first), int(second), int(labels)] == [number, 10 + number, 100 + number]
        told.events.append(f"step {number}")
    assert told.events == [
        *["begin", "make 0", "end", "over [0, 10, 100]", "step 0"],
        *["begin", "make 1", "end", "over [1, 11, 101]", "step 1"],
        "begin",  # and there are no more
    ]


def test_a_cpu_makes_them_as_they_are_asked_for() -> None:
    made = []

    def numbers() -> Iterator[Tensor]:
        for number in range(3):
            made.append(number)
            yield torch.tensor(number)

    ahead = prefetched(numbers(), torch.device("cpu"))
    assert made == []
    assert int(next(ahead)) == 0
    assert made == [0]
    assert [int(number) for number in ahead] == [1, 2]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine")
def test_a_gpu_gives_the_same_batches() -> None:
    device = torch.device("cuda")
    images = torch.randn(64, 3, 224, 224).pin_memory()

    def moved() -> Iterator[Tensor]:
        for _ in range(8):
            yield images.to(device, non_blocking=True).mul(2).add(1)

    expected = images * 2 + 1
    for batch in prefetched(moved(), device):
        torch.testing.assert_close(batch.cpu(), expected)
