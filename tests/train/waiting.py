"""What makes the host wait for a GPU, found on a machine without one.

The device is `meta`: networks, images and losses have shapes there and no numbers, while what is
drawn on the host is as real as ever. Whoever asks the device for a number gets an error, and what
goes the other way is seen.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from harness.transfer import to_device

WAITING = {
    # the host asks for a number of the device
    "_local_scalar_dense",
    "is_nonzero",
    "equal",
    "allclose",
    # the length of the result depends on numbers of the device
    "nonzero",
    "masked_select",
    "bincount",
    "histc",
    "unique_dim",
    "unique_consecutive",
    "_unique",
    "_unique2",
    # the kernel asks for a number
    "multinomial",
    "linalg_lstsq",
    "_linalg_check_errors",
}
"""Operators of which no one may see a tensor of the device within a training step."""

ALLOWED = {to_device: "copies from pinned memory, when the device gets there"}
"""What goes from host to device within a step, and why nobody waits for it. Nothing comes back:
losses, flags and summaries are read between steps, from `harness.transfer.HostCopy` a step late, or
once an epoch."""


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Raises where the host would wait for the device within."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        """Look at an operator, then run it."""
        given = dict(kwargs or {})
        name = func.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, given)) if isinstance(leaf, Tensor)]
        of_device = [tensor for tensor in tensors if tensor.device.type == "meta"]
        of_host = [tensor for tensor in tensors if tensor.device.type == "cpu" and tensor.ndim > 0]
        why = _why(name, args, given, of_device, of_host)
        if why is not None:
            raise AssertionError(f"the host waits for the device: {func}: {why}")
        return func(*args, **given)


def _why(
    name: str,
    args: Sequence[Any],
    given: Mapping[str, Any],
    of_device: Sequence[Tensor],
    of_host: Sequence[Tensor],
) -> str | None:
    if name in WAITING and of_device:
        return "it needs a number of the device"
    if name == "lift_fresh" and of_device:
        return "torch.tensor(..., device=) or a list as an index"
    target = given.get("device")
    if name == "_to_copy" and target is not None:
        if target.type == "cpu" and of_device:
            return "a copy to the host"
        if target.type == "meta" and not of_device and not _is_allowed():
            return "a copy from memory that is not pinned"
    if name == "copy_" and of_device and of_host and not _is_allowed():
        return "a copy between host and device"
    if name in ("index", "index_put", "index_put_") and of_device:
        indices = [one for one in args[1] if one is not None]
        if any(one.dtype in (torch.bool, torch.uint8) for one in indices):
            return "a mask as an index"
        if any(one.device.type == "cpu" and one.ndim > 0 for one in indices):
            return "an index on the host"
    if name == "repeat_interleave" and of_device and given.get("output_size") is None:
        return "without output_size its length is asked for"
    return None


def _is_allowed() -> bool:
    codes = {function.__code__ for function in ALLOWED}
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code in codes:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
