"""Accuracy on part of the patches of every image."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from harness.evaluate.classification import accuracy
from harness.models.vit import VisionTransformer

SEED = 0  # of the draws, so that every network is shown the same patches


def random_patches_accuracy(
    model: VisionTransformer,
    batches: Iterable[tuple[Tensor, Tensor]],
    patches: int,
    *,
    keep: int | None = None,
) -> float:
    """Top-1 in percent where every image (B, C, H, W) shows `keep` of its `patches`, drawn for each
    image; all of them without `keep`.
    """
    generator = torch.Generator().manual_seed(SEED)

    def predict(images: Tensor) -> Tensor:
        logits: Tensor = model(images, keep=draw(len(images))).logits
        return logits

    def draw(images: int) -> Tensor | None:
        if keep is None:
            return None
        order = torch.rand(images, patches, generator=generator).argsort(1)
        kept = order[:, :keep].sort(1).values
        return kept.to(next(model.parameters()).device)

    return accuracy(predict, batches).metrics["top1"]
