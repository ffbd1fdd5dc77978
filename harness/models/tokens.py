"""Features of a plain ViT on images of any size: CLS, patch tokens, the CLS token's attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from harness.models.families.vit import block_rows
from harness.models.vit import VisionTransformer

OFFSET = 0.1
"""DINO's released code adds it to the target grid before it interpolates position embeddings: the
sampling points, and so the values, depend on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedTokens:
    """What a forward pass gives."""

    cls: Tensor  # (B, D), after the last norm
    patches: Tensor | None  # (B, K, D), after the last norm
    attention: Tensor | None  # (B, K): CLS row of the last block, mean over heads, detached


def encode(
    model: VisionTransformer,
    images: Tensor,
    *,
    keep: Tensor | None = None,
    masked: Tensor | None = None,
    mask_token: Tensor | None = None,
    patches: bool = False,
    attention: bool = False,
) -> EncodedTokens:
    """Features of `images` (B, C, H, W), H and W multiples of the patch size.

    They are rescaled to the normalisation that the weights of `model` want, and not resized.

    `keep` (B, K) drops all other patches after positions are added; `masked` (B, N), boolean,
    replaces patch embeddings by `mask_token` (1, D) before positions are added (BEiT, iBOT). Only
    the CLS token leaves the last block unless `patches` are wanted.
    """
    vit: Any = model.vit
    tokens = _embed(model, images, keep, masked, mask_token)
    for block in vit.blocks[:-1]:
        tokens = block(tokens)
    last = vit.blocks[-1]
    if patches:
        found = _attention(last, tokens) if attention else None
        normed = vit.norm(last(tokens))
        return EncodedTokens(
            cls=normed[:, 0], patches=normed[:, model.prefix :], attention=_row(found)
        )
    prefix, found = block_rows(last, tokens, 1)
    return EncodedTokens(
        cls=vit.norm(prefix)[:, 0], patches=None, attention=_row(found) if attention else None
    )


def _row(attention: Tensor | None) -> Tensor | None:
    """(B, K) from attention (B, heads, 1, 1 + K)."""
    return None if attention is None else attention[:, :, 0, 1:].detach().float().mean(dim=1)


def _attention(block: Any, tokens: Tensor) -> Tensor:
    """The attention of the CLS token in `block`, (B, heads, 1, n): two of its projections again."""
    attn = block.attn
    with torch.no_grad():
        normed = block.norm1(tokens)
        width, size = attn.num_heads * attn.head_dim, attn.head_dim
        weight, bias = attn.qkv.weight, attn.qkv.bias
        parts = [(normed[:, :1], slice(width)), (normed, slice(width, 2 * width))]
        query, key = (
            functional.linear(part, weight[at], None if bias is None else bias[at])
            .view(len(part), -1, attn.num_heads, size)
            .transpose(1, 2)
            for part, at in parts
        )
        scores = (attn.q_norm(query) * attn.scale) @ attn.k_norm(key).transpose(-2, -1)
        attention: Tensor = scores.float().softmax(dim=-1)
        return attention


def _embed(
    model: VisionTransformer,
    images: Tensor,
    keep: Tensor | None,
    masked: Tensor | None,
    mask_token: Tensor | None,
) -> Tensor:
    vit: Any = model.vit
    if model.prefix != 1 or vit.no_embed_class:
        raise ValueError("self-distillation needs a plain ViT: one CLS token, with a position")
    grid = vit.patch_embed.proj(model.renormalise(images))
    rows, columns = grid.shape[2:]
    patches = grid.flatten(2).transpose(1, 2)
    if masked is not None:
        assert mask_token is not None
        patches = torch.where(masked.unsqueeze(2), mask_token.to(patches.dtype), patches)
    patches = patches + positions(vit.pos_embed[:, 1:], rows, columns)
    if keep is not None:
        patches = patches.gather(1, keep.unsqueeze(2).expand(-1, -1, patches.shape[2]))
    cls = (vit.cls_token + vit.pos_embed[:, :1]).expand(len(images), -1, -1)
    embedded: Tensor = vit.norm_pre(vit.pos_drop(torch.cat([cls.to(patches.dtype), patches], 1)))
    return embedded


def positions(embedding: Tensor, rows: int, columns: int) -> Tensor:
    """Position embeddings (1, N, D) of a square grid, bicubically resized to rows x columns."""
    side = round(embedding.shape[1] ** 0.5)
    if (rows, columns) == (side, side):
        return embedding
    grid = embedding.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = [(rows + OFFSET) / side, (columns + OFFSET) / side]
    resized = functional.interpolate(
        grid.float(), scale_factor=scale, mode="bicubic", align_corners=False
    )
    assert resized.shape[2:] == (rows, columns)
    return resized.to(embedding.dtype).flatten(2).transpose(1, 2)
