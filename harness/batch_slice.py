"""Which images of a batch are computed together, and draws that do not depend on it.

A batch is spread over processes and cut into micro-batches. Whoever draws for a part of it draws
for the whole batch and takes the rows of the part: so every image gets the draw that it would get
if one process computed the batch at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.lazy import torch
from harness.transfer import to_device


@dataclass(frozen=True, slots=True)
class BatchSlice:
    """Some images of a batch."""

    indices: tuple[int, ...] | None = None  # in the batch; None: all of them, in order
    batch: int = 0  # images of the whole; counts where there are `indices`

    def subset(self, chosen: Sequence[int], size: int) -> BatchSlice:
        """Those of its `size` images that stand at `chosen` in it."""
        if self.indices is None and len(chosen) >= size:
            return self
        places, whole = self._whole(size)
        return BatchSlice(tuple(places[index] for index in chosen), whole)

    def groups(self, size: int, most: int) -> dict[int, list[int]]:
        """Where in this slice of `size` images those of each of the batch's groups stand.

        The batch is cut into the fewest groups of at most `most` images (the middle one of an odd
        batch comes on top), as even as can be; they do not depend on the slice. Mixup's partners,
        which stand opposite each other, are in one group: so the slices of processes have whole
        groups where the number of processes divides that of the groups.
        """
        places, whole = self._whole(size)
        count, half = num_groups(whole, most), whole // 2
        members: dict[int, list[int]] = {}
        for index, place in enumerate(places):
            pair = min(place, whole - 1 - place)
            number = count - 1 if pair == half else ((pair + 1) * count - 1) // half
            members.setdefault(number, []).append(index)
        return members

    def _whole(self, size: int) -> tuple[Sequence[int], int]:
        """Its places in the batch, and the images of that."""
        return (range(size), size) if self.indices is None else (self.indices, self.batch)

    def total(self, rows: int) -> int:
        """Rows of the whole batch where this slice has `rows`, some for each of its images."""
        if self.indices is None:
            return rows
        return self.batch * -(-rows // len(self.indices))

    def draw_for_slice(
        self, rows: int, sample: Callable[[int], torch.Tensor], *, dim: int = 0
    ) -> torch.Tensor:
        """What `sample(n)` draws for n rows along `dim`, for `rows` of this slice.

        Rows stand view by view: all images of the slice once, all of them again, and so on.
        """
        if self.indices is None:
            return sample(rows)
        total = self.total(rows)
        drawn = sample(total)
        views = torch.arange(total // self.batch)[:, None] * self.batch
        chosen = (views + torch.tensor(self.indices)).flatten()[:rows]
        return drawn.index_select(dim, to_device(chosen, drawn.device))


def num_groups(batch: int, most: int) -> int:
    """How many groups of at most `most` images, at least 2, a batch is cut into."""
    return 1 if batch <= most else math.ceil(math.ceil(batch / 2) / (most // 2))


FULL_BATCH = BatchSlice()
"""All images of a batch."""
