"""Which images a run got right, as its file keeps them: eight a byte."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np

from harness.evaluate.right import IMAGES, read_right
from harness.store.files import FileError, read_bytes

Bits: TypeAlias = tuple[bytes, int]
"""The bits, eight a byte, and of how many images."""


def read_bits(path: Path) -> dict[str, Bits]:
    """By metric, as `read_right`, but not unpacked: a report of many runs reads as many files.

    What is not as a run writes it, that one reads, and says what is wrong.
    """
    try:
        content = read_bytes(path)
    except FileError:
        content = b""
    begin = 8 + int.from_bytes(content[:8], "little")
    metrics, images = _layout(content[8:begin])
    size = -(-images // 8)
    if metrics and len(content) == begin + len(metrics) * size:
        begins = range(begin, len(content), size)
        bits = {name: content[at : at + size] for name, at in zip(metrics, begins, strict=True)}
        if not any(one[-1] & ((1 << -images % 8) - 1) for one in bits.values()):
            return {name: (one, images) for name, one in bits.items()}
    return {name: (np.packbits(one).tobytes(), len(one)) for name, one in read_right(path).items()}


@lru_cache(maxsize=64)
def _layout(header: bytes) -> tuple[tuple[str, ...], int]:
    """The metrics whose bits follow, one after the other, and of how many images; of no metric
    where it says anything else.
    """
    try:
        about = json.loads(header)
        images = int(about.pop("__metadata__")[IMAGES])
        size = -(-images // 8)
        as_written = {
            name: {"dtype": "U8", "shape": [size], "data_offsets": [at * size, (at + 1) * size]}
            for at, name in enumerate(about)
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return (), 0
    return (tuple(about), images) if about == as_written and images > 0 else ((), 0)
