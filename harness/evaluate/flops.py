"""Multiply-adds as torch's FLOP counter sees them."""

from __future__ import annotations

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.models.build import freeze
from harness.models.vit import VisionTransformer


def counted_macs(model: VisionTransformer, *, keep: int, efficient: bool) -> int:
    """Multiply-adds of one forward pass on one image; `model` is frozen, and may live on the meta
    device (shapes only).

    Attention is counted through its two matrix products: the fused CPU kernel has no formula in the
    counter.
    """
    vit = model.vit
    parameter = next(model.parameters())
    height, width = vit.patch_embed.img_size
    images = torch.empty(
        1, vit.in_chans, height, width, device=parameter.device, dtype=parameter.dtype
    )
    kept = (
        torch.arange(keep, device=parameter.device).unsqueeze(0) if keep < model.patches else None
    )
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        freeze(model)(images, keep=kept, efficient=efficient)
    return int(counter.get_total_flops()) // 2
