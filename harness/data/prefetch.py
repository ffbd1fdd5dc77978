"""Batches that are copied, normalised and mixed beside the training step, not before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

T = TypeVar("T")


class SideWork:
    """Where batches are prepared: on a CPU in turn with the steps, there is nowhere else."""

    def running(self) -> AbstractContextManager[object]:
        """What is launched inside belongs to a batch, and waits for no step."""
        return nullcontext()

    def hand_over(self, tensors: list[Tensor]) -> None:
        """From here on, steps use `tensors`: they wait on the device until those are ready."""


class SideStream(SideWork):
    """On a GPU a stream of its own.

    The host is ahead of the device by almost a step: a batch is prepared while the step before it
    is computed, without being asked for early.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream(device))  # the images are there

    def running(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._stream)

    def hand_over(self, tensors: list[Tensor]) -> None:
        training = torch.cuda.current_stream(self._device)
        training.wait_stream(self._stream)
        for tensor in tensors:  # their memory is not given to a later batch while a step reads it
            if tensor.device.type == "cuda":
                tensor.record_stream(training)


class Prefetched(Generic[T]):
    """The same batches in the same order; each is any tree of tensors."""

    def __init__(self, batches: Iterator[T], side: SideWork) -> None:
        self._batches, self._side = batches, side

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._side.running():
            batch = next(self._batches)
        self._side.hand_over([leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)])
        return batch


def prefetched(batches: Iterator[T], device: torch.device) -> Iterator[T]:
    """`batches`, prepared beside the steps where the device can do both at once."""
    return Prefetched(batches, SideStream(device) if device.type == "cuda" else SideWork())
