"""ViT-G/14 (Zhai et al. 2022, arXiv 2106.04560), a plain ViT whose MLP is 64/13 as wide.

Nothing here trains it: the largest network that a claim about costs names (arXiv 2302.10494,
section 3.2). A file of its own, for what stands in `architectures.py` is code of every training.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from harness.models.architectures import Architecture
from harness.models.families import FAMILIES
from harness.models.families.vit import PlainViT


@FAMILIES.register("vit_g")
class GiganticViT(PlainViT):
    """The plain ViT's passes over this shape."""

    architectures: ClassVar[Mapping[str, Architecture]] = {
        "vit_gigantic_patch14_224": Architecture(
            timm="vit_gigantic_patch14_224",
            image_size=224,
            patch_size=14,
            width=1664,
            depth=48,
            heads=16,
            mlp_ratio=64 / 13,
            family="vit_g",
        )
    }
