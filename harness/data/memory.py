"""Memory of batches: quickly there, and not copied on the way from a loader process to the run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from harness.data.processes import cannot_deliver

CPU: Final = torch.device("cpu")
NUMPY: Final = {torch.uint8: np.uint8, torch.float32: np.float32}


def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device = CPU) -> Tensor:
    """`torch.empty`; in a loader process where the run's process can see it, elsewhere on a CPU in
    huge pages, for which NumPy asks: a batch of small ones is written half as fast.

    RunFailed if a loader process gets none.
    """
    if device.type != "cpu":
        return torch.empty(shape, dtype=dtype, device=device)
    if get_worker_info() is None:
        return torch.from_numpy(np.empty(tuple(shape), NUMPY[dtype]))
    size = dtype.itemsize * math.prod(shape)
    with _room_is_needed():  # as torch's own collation does
        storage = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
    return torch.empty(0, dtype=dtype).set_(storage).view(tuple(shape))


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """`torch.stack`, into what `empty` makes."""
    first = tensors[0]
    shape = len(tensors), *first.shape
    return torch.stack(list(tensors), out=empty(shape, first.dtype, first.device))


def handed_over(tensor: Tensor) -> Tensor:
    """In a loader process, the tensor where the run's process can see it; RunFailed if that cannot
    be.

    Handed over as it is, it would be put there in a thread whose errors nobody hears.
    """
    if get_worker_info() is not None:
        with _room_is_needed():
            tensor.share_memory_()  # type: ignore[no-untyped-call]
    return tensor


@contextmanager
def _room_is_needed() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, OSError) as error:
        raise cannot_deliver(str(error).splitlines()[0]) from error
