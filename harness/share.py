"""Which images of a batch are computed together, and draws that do not depend on it.

A batch is spread over processes and cut into micro-batches. Whoever draws for a part of it draws
for the whole batch and takes the rows of the part: so every image gets the draw that it would get
if one process computed the batch at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.lazy import torch


@dataclass(frozen=True, slots=True)
class Share:
    """Some images of a batch."""

    places: tuple[int, ...] | None = None  # in the batch; None: all of them, in order
    batch: int = 0  # images of the whole; counts where there are places

    def part(self, first: int, count: int, size: int) -> Share:
        """`count` of its `size` images, from `first` on."""
        if self.places is None and count >= size:
            return self
        places = range(size) if self.places is None else self.places
        whole = size if self.places is None else self.batch
        return Share(tuple(places[first : first + count]), whole)

    def total(self, rows: int) -> int:
        """Rows of the whole batch where this share has `rows`, some for each of its images."""
        if self.places is None:
            return rows
        return self.batch * -(-rows // len(self.places))

    def draw(
        self, rows: int, sample: Callable[[int], torch.Tensor], *, dim: int = 0
    ) -> torch.Tensor:
        """What `sample(n)` draws for n rows along `dim`, for `rows` of this share.

        Rows stand view by view: all images of the share once, all of them again, and so on.
        """
        if self.places is None:
            return sample(rows)
        total = self.total(rows)
        drawn = sample(total)
        views = torch.arange(total // self.batch)[:, None] * self.batch
        chosen = (views + torch.tensor(self.places)).flatten()[:rows]
        return drawn.index_select(dim, chosen.to(drawn.device))


WHOLE = Share()
"""All images of a batch."""
