"""Work on several images at once in one process: reading, hashing and decoding let others run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Final, TypeVar

from harness.device import cores

In = TypeVar("In")
Out = TypeVar("Out")

_TOGETHER: Final = 512  # items that are handed to the threads at once: results wait in memory


def in_threads(work: Callable[[In], Out], items: Iterable[In]) -> Iterator[Out]:
    """What `work` makes of each item, in their order."""
    rest = iter(items)
    with ThreadPoolExecutor(min(16, 2 * cores())) as pool:
        while some := list(islice(rest, _TOGETHER)):
            yield from pool.map(work, some)
