"""The processes that train one model together, each on its slice of every batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from harness.batch_slice import FULL_BATCH, BatchSlice
from harness.errors import HarnessError, Interrupted, StoppedAlone
from harness.lazy import torch

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store, TCPStore

COLLECTIVE_TIMEOUT_MINUTES = 30
"""How long one process waits for the others: saving a checkpoint may take that long."""


@dataclass(frozen=True, slots=True)
class DistContext:
    """This process among them. One process alone is the first of one, and all sums are its own."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> DistContext:
        """As torch.distributed knows them."""
        group = torch.distributed
        if not (group.is_available() and group.is_initialized()):
            return cls()
        return cls(group.get_rank(), group.get_world_size())

    def shard_indices(self, batch: int) -> list[int]:
        """This process's places in a batch: together with each the one opposite, its mixup partner.

        So the slice, turned around, has the partners of the whole batch turned around.
        """
        half = batch // 2
        first = range(self.rank * half // self.size, (self.rank + 1) * half // self.size)
        middle = [half] * (batch % 2 if self.rank == self.size - 1 else 0)
        return [*first, *middle, *(batch - 1 - place for place in reversed(first))]

    def batch_slice(self, batch: int) -> BatchSlice:
        """The same, for draws."""
        if self.size == 1:
            return FULL_BATCH
        return BatchSlice(tuple(self.shard_indices(batch)), batch)

    def all_reduce_sum_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace each by its sum over all processes, in one message for each type and device."""
        if self.size == 1:
            return
        for alike in dict.fromkeys((tensor.dtype, tensor.device) for tensor in tensors):
            group = [tensor for tensor in tensors if (tensor.dtype, tensor.device) == alike]
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            torch.distributed.all_reduce(flat)
            first = 0
            for tensor in group:
                tensor.copy_(flat[first : first + tensor.numel()].view_as(tensor))
                first += tensor.numel()

    def any_rank(self, *flags: bool) -> list[bool]:
        """Which of them are true in one of the processes: all of them learn the same.

        On the CPU: the GPU is not waited for.
        """
        if self.size == 1:
            return list(flags)
        counts = torch.tensor(flags, dtype=torch.int32)
        self.all_reduce_sum_([counts])
        return [bool(count) for count in counts.tolist()]

    def all_gather(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows (N, D) of all processes, one process after the other."""
        if self.size == 1:
            return rows
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(rows)
        self.all_reduce_sum_([counts])
        padded = rows.new_zeros(int(counts.max()), *rows.shape[1:])
        padded[: len(rows)] = rows
        gathered = [torch.empty_like(padded) for _ in range(self.size)]
        torch.distributed.all_gather(gathered, padded)
        return torch.cat(
            [part[:count] for part, count in zip(gathered, counts.tolist(), strict=True)]
        )


def open_tcp_store(host: str, port: int, *, first: bool) -> TCPStore:
    """Through which processes find each other; the first one holds it, at a free port for 0."""
    store: TCPStore = torch.distributed.TCPStore(  # type: ignore[attr-defined]
        host, port, is_master=first, wait_for_workers=False
    )
    return store


@contextmanager
def process_group(dist: DistContext, store: Store | None, device: torch.device) -> Iterator[None]:
    """Form a group with the other processes, which know the same `store`; alone, do nothing.

    Tensors on GPUs are exchanged by nccl, those on the CPU by gloo.
    """
    if dist.size == 1:
        yield
        return
    torch.distributed.init_process_group(
        "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=dist.rank,
        world_size=dist.size,
        timeout=timedelta(minutes=COLLECTIVE_TIMEOUT_MINUTES),
    )
    try:
        yield
    except StoppedAlone:  # the others may be in a sum with this one
        raise
    except Interrupted:  # all stop together
        torch.distributed.destroy_process_group()
        raise
    except HarnessError:
        if device.type == "cpu":  # nccl might wait for the others, whom it does not happen to
            torch.distributed.destroy_process_group()
        raise
    # after any other error the group may be broken, and leaving it would wait for the others
    torch.distributed.destroy_process_group()
