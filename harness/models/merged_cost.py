"""What a plain vision transformer that merges tokens costs, in closed form (no torch)."""

from __future__ import annotations

from harness.models.architectures import Architecture
from harness.models.families import Macs, embedding_macs, mlp_macs


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
