"""Tensors between two processes, each with a device of its own: a student's and a teacher's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from harness.lazy import torch

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

TIMEOUT = timedelta(days=7)
"""An evaluation may take hours. A process that dies ends the wait at once: its connection does."""

Tensors: TypeAlias = Mapping[str, Sequence["torch.Tensor"]]
"""What one message carries, by name."""

END, MESSAGE, NEW_LAYOUT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Received:
    """A message. On a GPU its tensors may still be on their way: whatever reads them waits."""

    tensors: Mapping[str, list[torch.Tensor]]
    flag: bool  # what the sender added


@dataclass(slots=True)
class Channel:
    """One side of the two. Messages arrive in the order in which they were sent.

    Each has a few numbers on the CPU, by gloo: which of the layouts known so far (names, types,
    shapes) it has. Its tensors follow, by gloo or, on GPUs, by nccl, with a connection for either
    direction: what one side sends is never behind what it waits for.
    """

    _other: int  # rank of the other side
    _device: torch.device
    _words: Any  # gloo
    _outward: Any
    _inward: Any
    _known: list[str] = field(default_factory=list)  # layouts that were sent
    _told: list[list[Any]] = field(default_factory=list)  # layouts that were received
    _sending: list[tuple[Any, torch.Tensor]] = field(default_factory=list)

    def send(self, tensors: Tensors, *, flag: bool = False) -> None:
        """Begin to send; `settle` once the other side has it."""
        packed = {name: [one.contiguous() for one in some] for name, some in tensors.items()}
        layout = json.dumps(
            [[name, [[_name(one.dtype), list(one.shape)] for one in some]]
             for name, some in packed.items()]
        )  # fmt: skip
        if layout in self._known:
            self._say(MESSAGE, flag, self._known.index(layout))
        else:
            self._known.append(layout)
            text = torch.frombuffer(bytearray(layout.encode()), dtype=torch.uint8)
            self._say(NEW_LAYOUT, flag, len(text))
            self._send(self._words, text)
        for some in packed.values():
            for one in some:
                if one.numel():
                    self._send(self._outward, one)

    def end(self) -> None:
        """Tell the other side that nothing more will come, and wait until it knows."""
        with suppress(RuntimeError):  # it is gone
            self._say(END, False, 0)
            self.settle()

    def settle(self) -> None:
        """Wait until all that was sent is there."""
        for work, _ in self._sending:
            work.wait()
        self._sending.clear()

    def receive(self) -> Received | None:
        """The next message; None at the end."""
        words = torch.zeros(3, dtype=torch.int64)
        self._words.recv([words], self._other, 0).wait()
        kind, flag, number = words.tolist()
        if kind == END:
            return None
        if kind == NEW_LAYOUT:
            text = torch.empty(number, dtype=torch.uint8)
            self._words.recv([text], self._other, 0).wait()
            self._told.append(json.loads(bytes(text.tolist())))
            number = len(self._told) - 1
        tensors = {
            name: [self._receive(dtype, shape) for dtype, shape in some]
            for name, some in self._told[number]
        }
        return Received(tensors, bool(flag))

    def _say(self, *words: int) -> None:
        self._send(self._words, torch.tensor(words, dtype=torch.int64))

    def _send(self, group: Any, tensor: torch.Tensor) -> None:
        self._sending.append((group.send([tensor], self._other, 0), tensor))

    def _receive(self, dtype: str, shape: Sequence[int]) -> torch.Tensor:
        tensor = torch.empty(tuple(shape), dtype=getattr(torch, dtype), device=self._device)
        if tensor.numel():
            self._inward.recv([tensor], self._other, 0).wait()
        return tensor


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def open_channel(store: Store, name: str, side: int, device: torch.device) -> Iterator[Channel]:
    """Side 0 or 1 of the channel that both call `name`; side 1 is told when side 0 leaves."""
    group: Any = torch.distributed

    def gloo() -> Any:
        place = group.PrefixStore(f"{name}/words", store)
        return group.ProcessGroupGloo(place, side, 2, TIMEOUT)

    def nccl(first: int) -> Any:
        options = group.ProcessGroupNCCL.Options()
        options._timeout = TIMEOUT
        place = group.PrefixStore(f"{name}/from-{first}", store)
        return group.ProcessGroupNCCL(place, side, 2, options)

    words = gloo()
    ways = (nccl(0), nccl(1)) if device.type == "cuda" else (words, words)
    channel = Channel(1 - side, device, words, ways[side], ways[1 - side])
    try:
        yield channel
    finally:
        if side == 0:
            channel.end()
