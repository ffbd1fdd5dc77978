"""The values of one cell with where they come from, or what became of its runs.

Read from the run directories, or from the per-seed values that a report keeps: the verdicts are the
same, so a reference can be made again from its values alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.report.model import Draw
from harness.spec.expand import ResolvedRow
from harness.spec.table import Column


@dataclass(frozen=True, kw_only=True, slots=True)
class CellValues:
    """What the runs behind a cell gave, or why they gave nothing."""

    draws: tuple[Draw, ...] = ()  # by seed
    failures: tuple[tuple[int, str, str], ...] = ()  # (seed, run, error)
    missing_reason: str = ""
    needs: tuple[str, ...] = ()
    silent: bool = False  # nothing was asked, or nothing can be had

    @property
    def values(self) -> dict[int, float]:
        """By seed."""
        return {draw.seed: draw.value for draw in self.draws}


class CellSource(Protocol):
    """Where the values of a table come from."""

    def cell_values(self, row: ResolvedRow, column: Column) -> CellValues:
        """What is known of a cell."""

    def collapsed_seeds(self, row: ResolvedRow) -> tuple[int, ...]:
        """Seeds whose network no longer tells images apart."""


def images_of(draws: Sequence[Draw]) -> int:
    """How many images judge each of them; 0 where that is not known, or not the same."""
    counts = {draw.images for draw in draws}
    return counts.pop() if len(counts) == 1 else 0


def right_of(draws: Sequence[Draw]) -> dict[int, NDArray[np.uint8]]:
    """By seed, 1 for each image that was right and 0 for the others, where runs have kept it."""
    return {
        draw.seed: np.unpackbits(np.frombuffer(draw.right, np.uint8), count=draw.images)
        for draw in draws
        if draw.images
    }


def se_over_images(
    left: Mapping[int, NDArray[np.uint8]],
    right: Mapping[int, NDArray[np.uint8]] | None = None,
) -> float | None:
    """The standard error, in percent, of the mean over seeds of left - right, if other
    images of the same kind had judged the same networks: each image is one observation, its seeds
    averaged.

    None where bits are not kept for every seed, or of other numbers of images.
    """
    seeds = sorted(left if right is None else left.keys() & right.keys())
    if not seeds:
        return None
    parts = [left[seed] for seed in seeds]
    others = [] if right is None else [right[seed] for seed in seeds]
    if len({len(part) for part in (*parts, *others)}) > 1 or len(parts[0]) < 2:
        return None
    each = _share(parts) - (_share(others) if others else 0.0)
    return float(each.std(ddof=1) / math.sqrt(len(each)))


def _share(bits: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Of each image, over seeds, in percent."""
    right: NDArray[np.int64] = np.sum(bits, axis=0, dtype=np.int64)
    return 100.0 * right / len(bits)
