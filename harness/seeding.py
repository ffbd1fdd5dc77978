"""All randomness of a run is a function of its seed, a name and a counter, so a resumed run needs
no generator state.
"""

from __future__ import annotations

import hashlib

from harness.lazy import torch


def stream(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the stream of draws called `names`: the same on every machine, unrelated
    between names.

    A method that draws more never shifts the draws of another: each has its own name.
    """
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator at the start of the stream called `names`."""
    return torch.Generator().manual_seed(stream(seed, *names))


def seed_unnamed(seed: int, device: torch.device) -> None:
    """Seed the draws that take no generator, on the CPU and on `device`.

    The same as `torch.manual_seed`, which in a process without a GPU writes down three stack traces
    at every call, for the case that one is used later.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)
