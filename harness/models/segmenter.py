"""Segmenter's decoder: a mask transformer over an encoder's patch tokens (arXiv 2105.05633)."""

from __future__ import annotations

from typing import Final

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from harness.data.targets import UNKNOWN

BLOCKS: Final = 2
"""Of the decoder, as in all networks of the paper's that carry `Mask` in their names."""
STD: Final = 0.02  # of linear layers and class queries at first


class MaskTransformer(nn.Module):
    """One learned query a class goes through two blocks together with the patch tokens.

    Projected and of unit length, queries and patches are multiplied: a patch's score for a class.
    The scores of a patch are normed over the classes. Parameters have the released code's names
    (rstrudel/segmenter), so that its checkpoints can be read.
    """

    def __init__(self, inputs: int, *, heads: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.proj_dec = nn.Linear(inputs, inputs)
        self.cls_emb = nn.Parameter(torch.empty(1, classes, inputs))
        self.blocks = nn.ModuleList(
            Block(inputs, heads, qkv_bias=True, norm_layer=nn.LayerNorm) for _ in range(BLOCKS)
        )
        self.decoder_norm = nn.LayerNorm(inputs)
        self.proj_patch = nn.Parameter(inputs**-0.5 * torch.randn(inputs, inputs))
        self.proj_classes = nn.Parameter(inputs**-0.5 * torch.randn(inputs, inputs))
        self.mask_norm = nn.LayerNorm(classes)
        self.apply(_init)
        nn.init.trunc_normal_(self.cls_emb, std=STD)

    def forward(self, patches: Tensor) -> Tensor:
        """Scores (B, classes, K) of patch tokens (B, K, D)."""
        queries = self.cls_emb.expand(len(patches), -1, -1)
        tokens = torch.cat([self.proj_dec(patches), queries.to(patches.dtype)], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.decoder_norm(tokens)
        seen = patches.shape[1]
        of_patches = nn.functional.normalize(tokens[:, :seen] @ self.proj_patch, dim=2)
        of_classes = nn.functional.normalize(tokens[:, seen:] @ self.proj_classes, dim=2)
        scores: Tensor = self.mask_norm(of_patches @ of_classes.transpose(1, 2))
        return scores.transpose(1, 2)


def decoder_macs(*, tokens: int, width: int, classes: int) -> tuple[int, int, int, int]:
    """Multiply-adds for so many patch tokens: (attention, projections, mlp, all else)."""
    n, d = tokens + classes, width
    projected = tokens * d * d  # into the decoder
    scored = n * d * d + tokens * classes * d  # the last projections, and their products
    return (
        BLOCKS * 2 * n * n * d,
        BLOCKS * 4 * n * d * d,
        BLOCKS * 8 * n * d * d,
        projected + scored,
    )


def on_pixels(scores: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Scores (B, classes, N) of all patches as scores (B, classes, H, W) of pixels, bilinear."""
    maps = scores.float().reshape(*scores.shape[:2], *grid)
    return nn.functional.interpolate(maps, size, mode="bilinear", align_corners=False)


def mean_cross_entropy(scores: Tensor, masks: Tensor) -> Tensor:
    """(B,): of each image the mean over its pixels that have a class in `masks` (B, H, W).

    Not the mean over all pixels of a batch: no image's weight depends on the others, so that parts
    of a batch can be computed apart.
    """
    losses = nn.functional.cross_entropy(
        scores.float(), masks.long(), ignore_index=UNKNOWN, reduction="none"
    )
    known = (masks != UNKNOWN).sum(dim=(1, 2)).clamp(min=1)
    return losses.sum(dim=(1, 2)) / known


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=STD)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
