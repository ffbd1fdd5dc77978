"""How many images of a batch are computed on together: on a CPU as many as its cache holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from torch import Tensor

IN_CACHE: Final = 2**18
"""Values, of 4 bytes: a core's own cache holds them and what is computed of them."""


def chunk_size(images: Tensor) -> int:
    """Images (B, ...) that one operation after the other is applied to, before the next ones.

    On a CPU a pass over a whole batch waits for memory at every operation. No value depends on it.
    """
    if images.device.type != "cpu" or len(images) == 0:
        return max(len(images), 1)
    return max(1, IN_CACHE // max(1, images[0].numel()))


def chunks(images: Tensor) -> Iterator[slice]:
    """The batch cut into such parts."""
    size = chunk_size(images)
    for start in range(0, len(images), size):
        yield slice(start, min(start + size, len(images)))
