"""CaiT (Touvron et al. 2021, arXiv 2103.17239): the class token joins in the last two layers.

Blocks of talking-heads self-attention see patch tokens alone; two class-attention layers then read
them out. Positions are added to the patches before any is dropped; the class token has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.lazy import torch
from harness.models.architectures import Architecture
from harness.models.families import FAMILIES, Family, Macs, embedding_macs, mlp_macs
from harness.models.families.vit import embed_patches
from harness.models.interface import ForwardOutput, ForwardRequest, Saliency

CLASS_LAYERS = 2


@FAMILIES.register("cait")
class CaiT(Family):
    """timm's `Cait`. Saliency is the class token's attention in the class-attention layers."""

    architectures: ClassVar[Mapping[str, Architecture]] = {
        "cait_s24_224": Architecture(
            timm="cait_s24_224",
            image_size=224,
            patch_size=16,
            width=384,
            depth=24,
            heads=8,
            positioned_prefix=False,
            family="cait",
        )
    }
    queries: ClassVar[frozenset[str]] = frozenset({"cls"})
    gives_maps: ClassVar[bool] = False  # talking heads: a mixed map is no distribution

    def depth(self, shape: Architecture) -> int:
        """The class-attention layers: the class token is in no other."""
        return CLASS_LAYERS

    def macs(self, shape: Architecture, *, keep: int, classes: int, efficient: bool) -> Macs:
        """Talking heads add 2 n^2 h^2 to a block's attention; a class-attention layer has one
        query, and its MLP runs on the class token alone.
        """
        n, d, h = keep, shape.width, shape.heads
        seen = keep + 1
        return Macs(
            embedding=embedding_macs(shape, keep if efficient else shape.patches),
            attention=shape.depth * 2 * n * n * (d + h * h) + CLASS_LAYERS * 2 * seen * d,
            projections=shape.depth * 4 * n * d * d + CLASS_LAYERS * 2 * (seen + 1) * d * d,
            mlp=shape.depth * mlp_macs(shape, n) + CLASS_LAYERS * mlp_macs(shape, 1),
            head=d * classes,
        )

    def forward(
        self,
        vit: Any,
        images: torch.Tensor,
        *,
        keep: torch.Tensor | None,
        outputs: ForwardRequest,
        efficient: bool,
    ) -> ForwardOutput:
        assert not any((outputs.maps, outputs.heads))
        patches = vit.pos_drop(
            embed_patches(vit, images, vit.pos_embed, keep=keep, embed_all=not efficient)
        )
        tokens = []
        for block in vit.blocks:
            patches = block(patches)
            if outputs.tokens:
                tokens.append(patches)
        saliency = None
        cls = vit.cls_token.expand(len(images), -1, -1)
        for index, layer in enumerate(vit.blocks_token_only):
            if outputs.saliency is not None and index == outputs.saliency.index(CLASS_LAYERS):
                saliency = _scores(layer, patches, cls)
            cls = layer(patches, cls)
        # timm norms all tokens and reads the first
        logits = vit.forward_head(vit.norm(cls))
        return ForwardOutput(logits=logits, saliency=saliency, tokens=tuple(tokens))

    def saliency(self, vit: Any, images: torch.Tensor, saliency: Saliency) -> torch.Tensor:
        assert saliency.queries == "cls"
        patches = vit.pos_drop(embed_patches(vit, images, vit.pos_embed, keep=None))
        for block in vit.blocks:
            patches = block(patches)
        cls = vit.cls_token.expand(len(images), -1, -1)
        index = saliency.index(CLASS_LAYERS)
        for layer in vit.blocks_token_only[:index]:
            cls = layer(patches, cls)
        return _scores(vit.blocks_token_only[index], patches, cls)


def _scores(layer: Any, patches: torch.Tensor, cls: torch.Tensor) -> torch.Tensor:
    """The class token's attention to the patches, (B, K), mean over heads. No gradient."""
    with torch.no_grad():
        attn = layer.attn
        normed = layer.norm1(torch.cat([cls, patches], dim=1))
        heads = (attn.num_heads, normed.shape[-1] // attn.num_heads)
        query = attn.q(normed[:, :1]).unflatten(-1, heads).transpose(1, 2)
        key = attn.k(normed).unflatten(-1, heads).transpose(1, 2)
        scores = (query * attn.scale) @ key.transpose(-2, -1)
        mean: torch.Tensor = scores.float().softmax(dim=-1)[:, :, 0, 1:].mean(dim=1)
        return mean
