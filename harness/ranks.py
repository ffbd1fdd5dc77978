"""The processes that train one model together, each on its share of every batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.lazy import torch


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among them. One process alone is the first of one, and all sums are its own."""

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> Ranks:
        """As torch.distributed knows them."""
        group = torch.distributed
        if not (group.is_available() and group.is_initialized()):
            return cls()
        return cls(group.get_rank(), group.get_world_size())

    @property
    def key(self) -> tuple[int, ...]:
        """Tells their random streams apart; those of the first are those of one alone."""
        return (self.rank,) if self.rank else ()

    def positions(self, batch: int) -> list[int]:
        """This process's places in a batch: together with each the one opposite, its mixup partner.

        So the share, turned around, has the partners of the whole batch turned around.
        """
        half = batch // 2
        first = range(self.rank * half // self.size, (self.rank + 1) * half // self.size)
        middle = [half] * (batch % 2 if self.rank == self.size - 1 else 0)
        return [*first, *middle, *(batch - 1 - place for place in reversed(first))]

    def mine(self, batch: torch.Tensor) -> torch.Tensor:
        """This process's share of a batch (B, ...)."""
        return batch if self.size == 1 else batch[self.positions(len(batch))]

    def add(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each by its sum over all processes, in one message for each type."""
        if self.size == 1:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            group = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            torch.distributed.all_reduce(flat)
            first = 0
            for tensor in group:
                tensor.copy_(flat[first : first + tensor.numel()].view_as(tensor))
                first += tensor.numel()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether it is true in one of the processes: all of them learn the same."""
        if self.size == 1:
            return flag
        count = torch.tensor([float(flag)], device=device)
        self.add([count])
        return bool(count.item())


@contextmanager
def joined(ranks: Ranks, meeting: Path | None, device: torch.device) -> Iterator[None]:
    """Meet the other processes at the file `meeting`, which all of them see; alone, do nothing."""
    if ranks.size == 1:
        yield
        return
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{meeting}",
        rank=ranks.rank,
        world_size=ranks.size,
    )
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()
