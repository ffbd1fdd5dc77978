"""How a batch is cut: into groups of images that a loss compares, processes and micro-batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from harness.batch_slice import BatchSlice, num_groups


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchPlan:
    """A batch, and by how many it is computed in what pieces.

    Whoever computes a piece of it has whole groups: a group that is torn apart would be compared
    with less than it should be.
    """

    batch: int  # images
    group_size: int = 1  # images that the loss compares with each other; 1: it compares none
    processes: int = 1
    micro_batch: int | None = None  # images that a process computes at once; None: all it has
    whole: bool = False  # whether a process must compute all it has at once
    pieces: int | None = None  # micro-batches of a process in a pipeline; None: by `micro_batch`

    @property
    def groups(self) -> int:
        """Into how many groups of compared images the batch falls."""
        return self.batch if self.group_size == 1 else num_groups(self.batch, self.group_size)

    @property
    def max_processes(self) -> int:
        """How many can compute it together: each has a group, or mixup's two partners."""
        return self.groups if self.group_size > 1 else max(1, self.batch // 2)

    def why_not_divisible(self) -> str | None:
        """Why so many processes cannot have whole groups, as many as the others; None if they can.

        More processes than groups are not used, except where a group is the whole batch.
        """
        if self.group_size == 1 or self.processes == 1:
            return None
        if self.groups == 1:
            return "its loss compares all images of a batch with each other"
        if self.groups % min(self.processes, self.groups):
            return (
                f"its loss compares images with each other within {self.groups} groups of a batch"
            )
        return None

    def why_not_computable(self) -> str | None:
        """Why a training cannot begin like this; None if it can."""
        most = 2 * -(-(self.batch // 2) // self.processes) + self.batch % 2  # a process's images
        if self.whole and self.micro_batch is not None and self.micro_batch < most:
            return (
                f"micro_batch is {self.micro_batch}: this method looks at the whole batch of "
                f"{self.batch} at once (batch norm); leave micro_batch out, or use more processes: "
                "each then has fewer images"
            )
        if self.group_size > 1 and self.groups % self.processes:
            return f"{self.processes} processes cannot share {self.groups} groups of images evenly"
        if self.pieces is not None:
            return self._why_not_cut(self.pieces)
        if self.group_size == 1:
            return None
        compared = min(self.group_size, self.batch)
        if self.micro_batch is not None and self.micro_batch < compared:
            return (
                f"micro_batch is {self.micro_batch}: this loss compares {compared} images of the "
                f"batch of {self.batch} with each other; give at least as many, or leave "
                "micro_batch out"
            )
        return None

    def _why_not_cut(self, pieces: int) -> str | None:
        if self.group_size > 1:
            most, what = self.groups // self.processes, "groups of images that its loss compares"
        elif self.processes == 1:
            most, what = self.batch, "images"
        else:
            most, what = self.batch // 2 // self.processes * 2, "images"
        if pieces <= most:
            return None
        whose = "a step" if self.processes == 1 else f"each of {self.processes} students"
        return f"`pipeline` is {pieces}, and {whose} has {most} {what}: give at most {most}"

    def micro_batches(self, batch_slice: BatchSlice, images: int) -> Iterator[Sequence[int]]:
        """What a process computes at once, as places among the `images` of its slice."""
        if self.pieces is not None:
            yield from self._cut(batch_slice, images, self.pieces)
            return
        size = min(images, self.micro_batch or images)
        if self.group_size == 1 or size == images:
            yield from (range(at, min(at + size, images)) for at in range(0, images, size))
            return
        groups = list(batch_slice.groups(images, self.group_size).values())
        together = max(1, size // self.group_size)
        for at in range(0, len(groups), together):
            yield [place for group in groups[at : at + together] for place in group]

    def _cut(self, batch_slice: BatchSlice, images: int, pieces: int) -> Iterator[Sequence[int]]:
        """As even as can be."""
        if self.group_size == 1 or pieces == 1:
            for at in range(pieces):
                yield range(images * at // pieces, images * (at + 1) // pieces)
            return
        groups = list(batch_slice.groups(images, self.group_size).values())
        for at in range(pieces):
            some = groups[len(groups) * at // pieces : len(groups) * (at + 1) // pieces]
            yield [place for group in some for place in group]

    def by(self, processes: int) -> BatchPlan:
        """The same by another number of processes."""
        return replace(self, processes=processes)
