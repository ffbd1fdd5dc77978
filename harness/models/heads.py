"""What the last blocks of a plain ViT hold: where each head looks, and features for a probe."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harness.models.families.vit import embed_tokens, query_key_value
from harness.models.vit import VisionTransformer


@torch.no_grad()
def cls_attention_by_head(model: VisionTransformer, images: Tensor) -> Tensor:
    """The class token's attention in the last block, (B, heads, N), for `images` (B, C, H, W).

    Softmax is over all tokens, so that a row sums to less than 1 by what other prefix tokens get.
    """
    vit: Any = model.vit
    tokens = embed_tokens(vit, model.preprocess(images), None, lean=True)
    for block in vit.blocks[:-1]:
        tokens = block(tokens)
    query, key, _ = query_key_value(vit.blocks[-1], tokens, 1)
    scores = (query * vit.blocks[-1].attn.scale) @ key.transpose(-2, -1)
    attention: Tensor = scores.float().softmax(dim=-1)[:, :, 0, model.prefix :]
    return attention


@torch.no_grad()
def probed_features(
    model: VisionTransformer, images: Tensor, *, blocks: int, average: bool
) -> Tensor:
    """Class tokens of the last `blocks` blocks, each after the last norm, (B, blocks * D).

    `average` appends the mean of the last block's normed patch tokens: (B, blocks * D + D)
    (arXiv 2104.14294, appendix F.2).
    """
    vit: Any = model.vit
    tokens = embed_tokens(vit, model.preprocess(images), None, lean=True)
    first = len(vit.blocks) - blocks
    found: list[Tensor] = []
    for index, block in enumerate(vit.blocks):
        tokens = block(tokens)
        if index >= first:
            found.append(vit.norm(tokens[:, 0]))
    if average:
        found.append(vit.norm(tokens)[:, model.prefix :].mean(dim=1))
    return torch.cat(found, dim=1).float()
