"""Gradients of several processes, added up while the backward pass still goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import torch
from torch import Tensor, nn

from harness.distributed import DistContext

BUCKET_BYTES: Final = 25 * 2**20
"""Of a message: enough for a network's full rate, little enough that the first leaves early."""
FEWEST_BUCKETS: Final = 4


@dataclass(eq=False, slots=True)
class _Bucket:
    """Parameters whose gradients travel in one message, or what has become of it."""

    parameters: list[nn.Parameter]
    missing: int = 0  # gradients that this backward pass has yet to give
    flat: Tensor | None = None
    work: Any = None
    sums: list[Tensor] = field(default_factory=list)  # that `flat` replaces, in order


class GradientSum:
    """Adds up the gradients of all processes' slices of a batch.

    The last layers' gradients are there first: parameters are cut into buckets from the last to the
    first, and each is sent as soon as it and those before it are complete. All processes send in
    the same order, whatever order their gradients come in. The sum of two numbers does not depend
    on how they are sent; of more than two it is rounded as the library orders them in a message.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], dist: DistContext, *, overlap: bool = True
    ) -> None:
        self._dist = dist
        self._buckets = [_Bucket(part) for part in cut(parameters)] if dist.size > 1 else []
        self._sent = 0  # buckets of this step
        self._listening = False
        self._handles: list[Any] = []
        self._bucket_of = {id(p): bucket for bucket in self._buckets for p in bucket.parameters}
        if overlap:
            for bucket in self._buckets:
                for parameter in bucket.parameters:
                    listen: Any = parameter.register_post_accumulate_grad_hook
                    self._handles.append(listen(self._arrived))

    def close(self) -> None:
        """The parameters forget it: nothing else would free either of them."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @contextmanager
    def last_backward(self) -> Iterator[None]:
        """Around the backward pass after which gradients are whole."""
        for bucket in self._buckets:
            bucket.missing = len(bucket.parameters)
        self._listening = True
        try:
            yield
        finally:
            self._listening = False

    def _arrived(self, parameter: Tensor) -> None:
        if not self._listening:
            return
        self._bucket_of[id(parameter)].missing -= 1
        # the last one waits for what else is to be added up
        while self._sent < len(self._buckets) - 1 and self._buckets[self._sent].missing == 0:
            self._send(self._buckets[self._sent])

    def _send(self, bucket: _Bucket, more: Sequence[Tensor] = ()) -> None:
        self._sent += 1
        gradients = [p.grad for p in bucket.parameters if p.grad is not None]
        bucket.sums = [*gradients, *more]
        if bucket.sums:
            bucket.flat = torch.cat([tensor.reshape(-1) for tensor in bucket.sums])
            bucket.work = torch.distributed.all_reduce(bucket.flat, async_op=True)

    def finish(self, more: Sequence[Tensor] = ()) -> None:
        """Replace all gradients, and `more` (of their type and on their device), by the sums."""
        if not self._buckets:
            return
        for bucket in self._buckets[self._sent : -1]:  # of parameters that had no part in the loss
            self._send(bucket)
        self._send(self._buckets[-1], more)
        for bucket in self._buckets:
            if bucket.work is None or bucket.flat is None:
                continue
            bucket.work.wait()
            parts = torch.split(bucket.flat, [tensor.numel() for tensor in bucket.sums])
            for tensor, part in zip(bucket.sums, parts, strict=True):
                tensor.copy_(part.view_as(tensor))
            bucket.work, bucket.flat, bucket.sums = None, None, []
        self._sent = 0


def cut(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """From the last to the first, in parts of about `BUCKET_BYTES`, or fewer for small networks."""
    most = min(BUCKET_BYTES, sum(map(_size, parameters)) / FEWEST_BUCKETS)
    parts: list[list[nn.Parameter]] = []
    size = 0.0
    for parameter in reversed(parameters):
        if not parts or size >= most:
            parts.append([])
            size = 0.0
        parts[-1].append(parameter)
        size += _size(parameter)
    return parts


def _size(parameter: nn.Parameter) -> int:
    return parameter.numel() * parameter.element_size()
