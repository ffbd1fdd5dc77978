"""Numbers on their way between host and device, without one waiting for the other.

Launching work on a GPU takes less time than doing it, as long as the host never waits: it is then a
step ahead. What it must never do within a training step is to be found in `tests/train/waiting.py`.
"""

from __future__ import annotations

from harness.lazy import torch


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`values` on the device.

    A GPU copies from pinned memory whenever it gets there; from any other, the host would first
    wait until everything before is done. The memory is kept until the copy is made.
    """
    if device.type == "cuda" and values.device.type == "cpu" and not values.is_pinned():
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


class HostCopy:
    """Some numbers of the device, on their way to the host since this was made."""

    def __init__(self, values: torch.Tensor) -> None:
        self._arrived: torch.cuda.Event | None = None
        self._values = values.detach()
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values.detach(), non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    @property
    def immediate(self) -> bool:
        """Whether nothing is to be waited for: the device is the host."""
        return self._arrived is None

    def get(self) -> torch.Tensor:
        """On the host; waits for the work that was there when this was made, and no later one."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._values
