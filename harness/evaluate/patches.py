"""What is in the patches of an image: their mean colours, and how much of them is an object."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from harness.models.architectures import PatchGrid


def patch_means(values: Tensor, patches: PatchGrid) -> Tensor:
    """Mean of each of N patches, (B, C, N), of `values` (B, C, H, W); a teacher of another size
    sees them resized.
    """
    if values.shape[-2:] != patches.size:
        values = functional.adaptive_avg_pool2d(values, patches.size)
    return functional.avg_pool2d(values, patches.patch, patches.stride).flatten(2)


def foreground_shares(
    values: Tensor, patches: PatchGrid, *, background: int, exact: bool
) -> Tensor:
    """Share of each patch, (B, N), that is not `background`, of `values` (B, C, H, W).

    A pixel is background when all channels are; `exact`: to the last bit, as what pads a clip is,
    not to the next whole number.
    """
    differs = (values if exact else values.round()) != background
    return patch_means(differs.any(dim=1, keepdim=True).float(), patches).flatten(1)
