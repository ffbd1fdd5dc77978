"""Which patches of a view are hidden from a student that learns from views: DINO, iBOT, AttMask.

A mask is one file with one registered name. It draws ranks or positions on the CPU and counts there
too, so a step never waits for the device to learn how many patches are hidden.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from harness.batch_slice import FULL_BATCH, BatchSlice
from harness.bounds import Ends, Unit, check_bounds
from harness.lazy import torch
from harness.registry import Registry
from harness.transfer import to_device

MASK_SAMPLERS: Registry[type[MaskSampler]] = Registry(
    "view mask", "harness.masking.views", base=lambda: MaskSampler
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskInput:
    """What a mask may look at: V views of `rows` x `columns` patches, N in all."""

    views: int
    rows: int
    columns: int
    # (V, N), on the device: the teacher's CLS attention, where the mask `needs_attention`
    attention: torch.Tensor | None
    # two uniform draws in [0, 1) of this step, the same for all its micro-batches
    step_draws: tuple[float, float]
    generator: torch.Generator  # on the CPU, for what is drawn per view
    device: torch.device
    batch_slice: BatchSlice = FULL_BATCH  # which images of the step's batch the views are of

    @property
    def patches(self) -> int:
        """N."""
        return self.rows * self.columns

    def noise(self, columns: int) -> torch.Tensor:
        """(V, columns) uniform in [0, 1), on the CPU: a row for every view, the same for an image
        in whatever part of the batch it is.
        """
        return self.batch_slice.draw_for_slice(
            self.views, lambda rows: torch.rand(rows, columns, generator=self.generator)
        )

    def draws(self, *shape: int) -> torch.Tensor:
        """(*shape, V) in float64, otherwise as `noise`."""

        def sample(views: int) -> torch.Tensor:
            return torch.rand(*shape, views, generator=self.generator, dtype=torch.float64)

        return self.batch_slice.draw_for_slice(self.views, sample, dim=len(shape))


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchMask:
    """The hidden patches of V views of N patches, view by view."""

    indices: torch.Tensor  # (M,) int64 on the device: view * N + patch
    counts: torch.Tensor  # (V,) int64 on the CPU: how many in each view, M in all
    patches: int  # N

    def flags(self) -> torch.Tensor:
        """(V, N) booleans on the device, true where hidden."""
        views = len(self.counts)
        flags = torch.zeros(views * self.patches, dtype=torch.bool, device=self.indices.device)
        return flags.index_fill_(0, self.indices, True).view(views, self.patches)

    def weights(self) -> torch.Tensor:
        """(M,): one over the number hidden in the same view, times V: a mean of means over views,
        to which views without any contribute 0.
        """
        each = 1 / (self.counts.clamp(min=1) * len(self.counts))
        return to_device(each.repeat_interleave(self.counts), self.indices.device)


class MaskSampler(ABC):
    """Chooses the patches that are hidden."""

    registry: ClassVar[Registry[type[MaskSampler]]] = MASK_SAMPLERS
    version: ClassVar[int] = 1
    needs_attention: ClassVar[bool] = False  # whether it needs the teacher's attention

    @abstractmethod
    def sample(self, inputs: MaskInput) -> PatchMask:
        """The hidden patches of every view."""

    @property
    def hides_equally(self) -> bool:
        """Whether all views of a step lose the same number of patches."""
        return False

    def check(self, rows: int, columns: int) -> None:
        """Raise FieldError, of the field `mask`, where it could hide nothing of such a view."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RatioMask(MaskSampler):
    """A share of the patches, drawn from `ratio`, in the views that chance picks."""

    # fraction of the patches that is hidden, uniform between the two
    ratio: Annotated[tuple[float, float], Ends(least=0, below=1)] = (0.1, 0.5)
    probability: Unit = 0.5  # that a view is masked at all

    def __post_init__(self) -> None:
        check_bounds(self)

    def ratios(self, inputs: MaskInput, per: Literal["view", "batch"]) -> torch.Tensor:
        """(V,) on the CPU, float64: the ratio of every view, 0 in those that are left alone.

        As many draws are made whatever comes of them.
        """
        draws = inputs.draws(2)
        draw = draws[0] if per == "view" else torch.full_like(draws[0], inputs.step_draws[0])
        return torch.where(draws[1] < self.probability, self.between(draw), 0.0)

    def between(self, draw: torch.Tensor) -> torch.Tensor:
        """`draw` in [0, 1) as a ratio."""
        low, high = self.ratio
        return low + (high - low) * draw


def floor_count(ratios: torch.Tensor, patches: int) -> torch.Tensor:
    """Ratios (V,) as numbers of patches, rounded down as the released codes do.

    The small addition keeps 0.3 of 10 at 3, whatever floating point makes of the product.
    """
    return (ratios * patches + 1e-9).long()


def from_ranks(order: torch.Tensor, chosen: torch.Tensor) -> PatchMask:
    """Hidden patches by rank: `order` (V, N) on the device holds each view's patches by rank,
    `chosen` (V, N) on the CPU says which ranks are hidden.
    """
    patches = order.shape[1]
    view, rank = chosen.nonzero(as_tuple=True)
    flat, first = to_device(torch.stack([view * patches + rank, view * patches]), order.device)
    return PatchMask(
        indices=order.flatten()[flat] + first, counts=chosen.sum(dim=1), patches=patches
    )


def from_bool_mask(chosen: torch.Tensor, device: torch.device) -> PatchMask:
    """Hidden patches by place: `chosen` (V, N) on the CPU, in raster order."""
    at = to_device(chosen.flatten().nonzero()[:, 0], device)
    return PatchMask(indices=at, counts=chosen.sum(dim=1), patches=chosen.shape[1])
