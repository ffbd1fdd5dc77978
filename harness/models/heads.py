"""Where each head of a plain ViT's last block looks."""

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
    tokens = embed_tokens(vit, model.prepared(images), None, lean=True)
    for block in vit.blocks[:-1]:
        tokens = block(tokens)
    query, key, _ = query_key_value(vit.blocks[-1], tokens, 1)
    scores = (query * vit.blocks[-1].attn.scale) @ key.transpose(-2, -1)
    attention: Tensor = scores.float().softmax(dim=-1)[:, :, 0, model.prefix :]
    return attention
