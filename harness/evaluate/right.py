"""Which images a network got right: the bits that its accuracy counts, kept with the result.

Two rows judge the same images, so what the images share cancels in their difference; only the bits
of both tell how much is left. 10,000 images are 1.25 kB.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError

RIGHT: Final = "right.safetensors"
"""The artifact: by metric, eight images a byte, the first one highest."""
IMAGES: Final = "images"

Right: TypeAlias = NDArray[np.bool_]
"""(N,), in the order of the images that judge."""


def write_right(path: Path, right: Mapping[str, Any]) -> None:
    """Write the bits (N,) of each metric, all over the same images."""
    from safetensors.numpy import save_file

    bits = {metric: np.asarray(values, dtype=bool) for metric, values in right.items()}
    counts = {len(values) for values in bits.values()}
    assert len(counts) == 1, f"bits over {counts} images"
    packed = {metric: np.packbits(values) for metric, values in bits.items()}
    save_file(packed, path, metadata={IMAGES: str(counts.pop())})


def read_right(path: Path) -> dict[str, Right]:
    """The bits of each metric. FileNotFoundError where an older run kept none, HarnessError, one
    line, where the file is damaged or cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            about = file.metadata() or {}
            packed = {metric: file.get_tensor(metric) for metric in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError) as error:
        raise HarnessError(f"{path}: damaged ({error})") from None
    count = about.get(IMAGES, "")
    if not count.isdecimal():
        raise HarnessError(f"{path}: damaged (it does not say of how many images)")
    return {metric: unpacked(path, bits, int(count)) for metric, bits in packed.items()}


def unpacked(path: Path, packed: NDArray[Any], count: int) -> Right:
    """`count` bits; HarnessError that names `path` where they are more or fewer."""
    if packed.dtype != np.uint8 or packed.shape != (-(-count // 8),):
        raise HarnessError(f"{path}: damaged ({packed.size} bytes are not {count} bits)")
    return np.unpackbits(packed, count=count).astype(bool)
