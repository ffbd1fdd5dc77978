"""Boxes of many images, and what is said of a wrong one: for sets that read annotations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.data.dataset import Files
from harness.data.naming import shown, to_bytes
from harness.data.tree import ImageTree
from harness.errors import DataError
from harness.text import count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BoxRow = tuple[float, float, float, float, float, float]  # see `harness.data.dense`
COPY_AGAIN = "get the set again"
MOST_EDGE = 1e9  # pixels; NaN and infinity are no place either


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxTable:
    """The boxes of each image, in two arrays: loader processes share them."""

    rows: NDArray[np.float32]  # (R, 6), image after image
    starts: NDArray[np.int64]  # (N + 1,)

    def __getitem__(self, index: int, /) -> NDArray[np.float32]:
        return self.rows[self.starts[index] : self.starts[index + 1]]


def boxed_files(tree: ImageTree, names: Sequence[str], boxes: Iterable[Sequence[BoxRow]]) -> Files:
    """A split of images in colour with their boxes."""
    import numpy as np

    listed = list(boxes)
    rows = np.array([row for one in listed for row in one], np.float32).reshape(-1, 6)
    lengths = np.array([0, *map(len, listed)], np.int64)
    return Files(
        tree=tree,
        names=np.array([to_bytes(name) for name in names], dtype=np.bytes_),
        labels=np.zeros(len(names), np.int64),
        channels=3,
        targets=BoxTable(rows=rows, starts=lengths.cumsum()),
    )


def box_row(label: int, edges: Sequence[float], *, crowd: bool, where: str) -> BoxRow:
    """A box from its left, top, right and bottom; DataError, with `where` it stands, unless it is
    one.
    """
    left, top, right, bottom = edges
    if not all(abs(edge) < MOST_EDGE for edge in edges) or right < left or bottom < top:
        numbers = ", ".join(f"{edge:g}" for edge in edges)
        raise DataError(
            f"{where}: left, top, right and bottom are {numbers}, which is no box; {COPY_AGAIN}"
        )
    return float(label), left, top, right, bottom, float(crowd)


def check_split(
    files: Files, *, where: object, half: str, images: int, objects: int, crowds: bool
) -> None:
    """DataError unless a half holds so many images and objects, with or without `crowds`."""
    table = files.targets
    assert isinstance(table, BoxTable)
    here = len(files.labels), int((crowds | (table.rows[:, 5] == 0)).sum())
    if here != (images, objects):
        raise DataError(
            f"{shown(where)}: {half} holds {count(here[0], 'image')} with "
            f"{count(here[1], 'object')}, expected {images:,} with {objects:,}; {COPY_AGAIN}"
        )
