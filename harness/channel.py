"""Tensors between two processes, each with a device of its own: a student's and a teacher's."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from queue import SimpleQueue
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


@dataclass(frozen=True, slots=True)
class Way:
    """A connection in one direction."""

    words: Any  # gloo
    data: Any  # the same, or nccl where tensors are on GPUs


class Channel:
    """One side of the two. Messages arrive in the order in which they were sent.

    Each has a few numbers on the CPU, by gloo: which of the layouts known so far (names, types,
    shapes) it has. Its tensors follow: on CPUs as one piece by gloo; on GPUs each by nccl. A thread
    takes what comes while this process computes: a core that is busy answers gloo only
    milliseconds later, and then nothing would be there when it is wanted.
    """

    def __init__(self, other: int, device: torch.device, outward: Way, inward: Way) -> None:
        self._other, self._device = other, device
        self._outward, self._inward = outward, inward
        self._known: list[str] = []  # layouts that were sent
        self._sending: list[tuple[Any, torch.Tensor]] = []
        self._arrived: SimpleQueue[Received | Exception | None] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, tensors: Tensors, *, flag: bool = False) -> None:
        """Begin to send; `settle` once the other side has it."""
        packed = {name: [one.contiguous() for one in some] for name, some in tensors.items()}
        layout = json.dumps(
            {
                name: [[str(one.dtype).removeprefix("torch."), list(one.shape)] for one in some]
                for name, some in packed.items()
            }
        )
        if layout in self._known:
            self._say(MESSAGE, flag, self._known.index(layout))
        else:
            self._known.append(layout)
            text = torch.frombuffer(bytearray(layout.encode()), dtype=torch.uint8)
            self._say(NEW_LAYOUT, flag, len(text))
            self._send(self._outward.words, text)
        every = _filled(packed)
        if self._device.type == "cpu":
            every = [_joined(every)] if every else []
        for one in every:
            self._send(self._outward.data, one)

    def settle(self) -> None:
        """Wait until all that was sent is there."""
        for work, _ in self._sending:
            work.wait()
        self._sending.clear()

    def receive(self) -> Received | None:
        """The next message; None at the end. RuntimeError where the other side is gone."""
        message = self._arrived.get()
        if isinstance(message, Exception):
            raise message
        if message is not None and self._device.type != "cpu":
            for one in _filled(message.tensors):
                self._inward.data.recv([one], self._other, 0).wait()
        return message

    def close(self) -> None:
        """Tell the other side that nothing more will come, and wait until it says so too."""
        with suppress(RuntimeError):  # it is gone
            self._say(END, False, 0)
            self.settle()
        self._reader.join()

    def _say(self, *words: int) -> None:
        self._send(self._outward.words, torch.tensor(words, dtype=torch.int64))

    def _send(self, group: Any, tensor: torch.Tensor) -> None:
        self._sending.append((group.send([tensor], self._other, 0), tensor))

    def _read(self) -> None:
        layouts: list[Any] = []
        try:
            while (message := self._next(layouts)) is not None:
                self._arrived.put(message)
            self._arrived.put(None)
        except Exception as error:  # for whoever waits
            self._arrived.put(error)

    def _next(self, layouts: list[Any]) -> Received | None:
        group = self._inward.words
        words = torch.zeros(3, dtype=torch.int64)
        group.recv([words], self._other, 0).wait()
        kind, flag, number = words.tolist()
        if kind == END:
            return None
        if kind == NEW_LAYOUT:
            text = torch.empty(number, dtype=torch.uint8)
            group.recv([text], self._other, 0).wait()
            layouts.append(json.loads(bytes(text.tolist())))
            number = len(layouts) - 1
        tensors = {
            name: [
                torch.empty(shape, dtype=getattr(torch, dtype), device=self._device)
                for dtype, shape in some
            ]
            for name, some in layouts[number].items()
        }
        every = _filled(tensors)
        if self._device.type == "cpu" and every:
            joined = torch.empty(sum(map(_room, every)), dtype=torch.uint8)
            group.recv([joined], self._other, 0).wait()
            parts = torch.split(joined, [_room(one) for one in every])
            for one, part in zip(every, parts, strict=True):
                one.view(-1).view(torch.uint8).copy_(part)
        return Received(tensors, bool(flag))


def _filled(tensors: Tensors) -> list[torch.Tensor]:
    """Those with any element: nothing else is sent."""
    return [one for some in tensors.values() for one in some if one.numel()]


def _room(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _joined(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Their bytes."""
    return torch.cat([one.reshape(-1).view(torch.uint8) for one in tensors])


@contextmanager
def open_channel(store: Store, name: str, side: int, device: torch.device) -> Iterator[Channel]:
    """Side 0 or 1 of the channel that both call `name`; each learns when the other one leaves."""
    group: Any = torch.distributed

    def gloo(first: int) -> Any:
        place = group.PrefixStore(f"{name}/words-{first}", store)
        return group.ProcessGroupGloo(place, side, 2, TIMEOUT)

    def nccl(first: int) -> Any:
        options = group.ProcessGroupNCCL.Options()
        options._timeout = TIMEOUT
        place = group.PrefixStore(f"{name}/data-{first}", store)
        return group.ProcessGroupNCCL(place, side, 2, options)

    ways = []
    for first in (0, 1):  # a connection for either direction: no message is behind another's wait
        words = gloo(first)
        ways.append(Way(words, nccl(first) if device.type == "cuda" else words))
    channel = Channel(1 - side, device, ways[side], ways[1 - side])
    try:
        yield channel
    finally:
        channel.close()
