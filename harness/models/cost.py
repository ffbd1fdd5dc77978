"""What a forward pass costs, in closed form (no torch).

One multiply-add counts once, as in the papers. Norms, softmax, activations and biases are not
counted.
"""

from __future__ import annotations

from harness.models.architectures import Architecture
from harness.models.families import Macs, family_of

__all__ = ["Macs", "efficient_macs", "published_macs"]


def published_macs(arch: Architecture, *, keep: int, classes: int) -> Macs:
    """As the papers count: every patch is embedded, then all blocks run on the class token and
    `keep` patches.
    """
    return family_of(arch).macs(arch, keep=keep, classes=classes, efficient=False)


def efficient_macs(arch: Architecture, *, keep: int, classes: int) -> Macs:
    """As this package computes logits: only kept patches are embedded, and only the tokens that are
    pooled leave the last block.
    """
    return family_of(arch).macs(arch, keep=keep, classes=classes, efficient=True)
