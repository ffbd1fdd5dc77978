"""Token merging (ToMe, Bolya et al. 2023, arXiv 2210.09461) inside a plain vision transformer, and
what it costs in closed form.
"""

from __future__ import annotations

from typing import Any

from harness.lazy import torch
from harness.models.architectures import Architecture
from harness.models.families import Macs, embedding_macs, mlp_macs
from harness.models.families.vit import embed_tokens, query_key_value


def merged_logits(vit: Any, images: torch.Tensor, merge: int) -> torch.Tensor:
    """Logits (B, classes) of timm's `vit` when every block merges away up to `merge` tokens.

    Between attention and MLP, tokens at even and odd places are matched by the cosine of their
    keys (mean over heads); the `merge` even ones that are most like an odd one are averaged into
    it, weighted by how many patches either stands for. Attention is proportional: log size is
    added to the scores. The class token, the first, is never merged away. No gradient.
    """
    with torch.no_grad():
        tokens = embed_tokens(vit, images)
        size = torch.ones_like(tokens[..., :1])
        for block in vit.blocks:
            tokens, metric = _attend(block, tokens, size)
            tokens, size = merge_tokens(tokens, size, metric, merge)
            tokens = tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))
        logits: torch.Tensor = vit.forward_head(vit.norm(tokens))
    return logits


def _attend(
    block: Any, tokens: torch.Tensor, size: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (B, n, D) after proportional attention, and their keys (B, n, D / heads)."""
    attn = block.attn
    query, key, value = query_key_value(block, tokens, tokens.shape[1])
    bias = size.log().transpose(1, 2).unsqueeze(1).to(query.dtype)  # (B, 1, 1, n)
    attend = torch.nn.functional.scaled_dot_product_attention
    mixed = attend(query, key, value, attn_mask=bias, scale=attn.scale)
    mixed = mixed.transpose(1, 2).flatten(2)
    out = block.drop_path1(block.ls1(attn.proj_drop(attn.proj(attn.norm(mixed)))))
    return tokens + out, key.mean(dim=1)


def merge_tokens(
    tokens: torch.Tensor, size: torch.Tensor, metric: torch.Tensor, merge: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """One round: tokens (B, n - merged, D) and sizes (B, n - merged, 1), the class token first."""
    away = merged_away(tokens.shape[1], merge)
    if away == 0:
        return tokens, size
    unit = torch.nn.functional.normalize(metric.float(), dim=-1)
    alike = unit[:, ::2] @ unit[:, 1::2].transpose(1, 2)
    alike[:, 0] = -torch.inf  # the class token
    best, partner = alike.max(dim=2)
    order = best.argsort(dim=1, descending=True)
    gone, stay = order[:, :away, None], order[:, away:].sort(dim=1).values[..., None]
    target = partner[..., None].gather(1, gone)
    parts = torch.cat([tokens * size, size], dim=-1)  # sums of patches, and how many
    even, odd = parts[:, ::2], parts[:, 1::2]
    width = parts.shape[-1]
    moved = even.gather(1, gone.expand(-1, -1, width))
    odd = odd.scatter_add(1, target.expand(-1, -1, width), moved)
    parts = torch.cat([even.gather(1, stay.expand(-1, -1, width)), odd], dim=1)
    return parts[..., :-1] / parts[..., -1:], parts[..., -1:]


def merged_away(tokens: int, merge: int) -> int:
    """How many of `tokens` (the class token among them) a block merges away, at most half."""
    return min(merge, (tokens - 1) // 2)


def merged_macs(shape: Architecture, *, merge: int, classes: int) -> Macs:
    """Multiply-adds of one image: a block's attention runs before merging, its MLP after.

    Matching (|even| x |odd| x d / heads a block, 0.1 % of DeiT-S) is left out: without it, 13 to
    17, 20, 27, 34 and 64 tokens a block come within 0.7 % of the GFLOPs read off the plots of
    arXiv 2302.10494, Figure 6.
    """
    n, d = shape.patches + shape.prefix_tokens, shape.width
    attention = projections = mlp = 0
    for _ in range(shape.depth):
        attention += 2 * n * n * d
        projections += 4 * n * d * d
        n -= merged_away(n, merge)
        mlp += mlp_macs(shape, n)
    return Macs(
        embedding=embedding_macs(shape, shape.patches),
        attention=attention,
        projections=projections,
        mlp=mlp,
        head=d * classes,
    )
