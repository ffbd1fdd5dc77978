"""How much memory a computation takes at its peak, and how much it keeps for a backward pass."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """Bytes that `run` needs at its peak beyond what was allocated before.

    On a GPU the allocator's own count. On a CPU the bytes of all tensors alive at once, without
    what a kernel uses inside; compare CPU figures with CPU figures only.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    live = _LiveTensors()
    with live:
        run()
    return live.peak


def saved_bytes(run: Callable[[], object], model: nn.Module) -> int:
    """Bytes of what autograd saves in `run` for a backward pass, without the weights of `model`.

    Several views of one storage count once.
    """
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    saved: dict[int, torch.UntypedStorage] = {}  # kept alive, or an address could serve twice

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            saved[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        kept = run()
    del kept
    return sum(storage.nbytes() for storage in saved.values())


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums the storages that operations create, until each is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        """Run the operation; count what it returns that its arguments do not share."""
        of_arguments = {
            leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if _is(leaf)
        }
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if _is(leaf) and leaf.untyped_storage()._cdata not in of_arguments:
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._seen:
            return
        self._seen.add(key)
        size = storage.nbytes()
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self._now -= size


def _is(leaf: object) -> bool:
    return isinstance(leaf, Tensor)
