"""What a forward pass costs, in closed form (no torch).

One multiply-add counts once, as in the papers. Norms, softmax, activations and biases are not
counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.models.architectures import Architecture


@dataclass(frozen=True, kw_only=True, slots=True)
class Macs:
    """Multiply-adds of one image, by operation (the rows of arXiv 2302.10494, Table 10)."""

    embedding: int
    attention: int  # scores and mixing: 2 n^2 d a block
    projections: int  # q, k, v and out: 4 n d^2 a block
    mlp: int  # 8 n d^2 a block
    head: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.embedding + self.attention + self.projections + self.mlp + self.head


def paper_macs(arch: Architecture, *, keep: int, classes: int) -> Macs:
    """As the papers count: every patch is embedded, then all blocks run on the CLS token and `keep`
    patches.

    Per block 12 n d^2 + 2 n^2 d with n = keep + prefix tokens (arXiv 2302.10494, section 3.3).
    """
    n, d = keep + arch.prefix_tokens, arch.width
    return Macs(
        embedding=_embedding(arch, arch.patches),
        attention=arch.depth * 2 * n * n * d,
        projections=arch.depth * 4 * n * d * d,
        mlp=arch.depth * _mlp(arch, n),
        head=_head(arch, classes),
    )


def lean_macs(arch: Architecture, *, keep: int, classes: int) -> Macs:
    """As this package computes: only kept patches are embedded, and only prefix tokens leave the
    last block.
    """
    n, d, p = keep + arch.prefix_tokens, arch.width, arch.prefix_tokens
    full = arch.depth - 1
    return Macs(
        embedding=_embedding(arch, keep),
        attention=full * 2 * n * n * d + 2 * p * n * d,
        projections=full * 4 * n * d * d + 2 * n * d * d + 2 * p * d * d,
        mlp=full * _mlp(arch, n) + _mlp(arch, p),
        head=_head(arch, classes),
    )


def _embedding(arch: Architecture, patches: int) -> int:
    return patches * arch.channels * arch.patch_size**2 * arch.width


def _mlp(arch: Architecture, tokens: int) -> int:
    return round(2 * arch.mlp_ratio * tokens * arch.width**2)


def _head(arch: Architecture, classes: int) -> int:
    # the distillation token has a classifier of its own
    heads = 2 if arch.prefix_tokens == 2 else 1
    return heads * arch.width * classes
