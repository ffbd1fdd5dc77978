"""Segmenter: a plain ViT whose patch tokens a mask transformer turns into a class for every pixel
(arXiv 2105.05633).

The encoder's special tokens never reach the decoder. On a part of the patches the decoder sees, and
scores, those alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from harness.data.dataset import Labelling
from harness.lazy import torch
from harness.models.architectures import Architecture
from harness.models.families import FAMILIES, Macs, embedding_macs, mlp_macs
from harness.models.families.vit import PlainViT, forward_features
from harness.models.interface import ForwardOutput, ForwardRequest

DECODER = "decoder"  # under which name the mask transformer stands in timm's network


def _architecture(timm: str, width: int, depth: int, heads: int, patch: int = 16) -> Architecture:
    return Architecture(
        timm=timm,
        image_size=384 if width else 0,
        patch_size=patch,
        width=width,
        depth=depth,
        heads=heads,
        family="segmenter",
    )


@FAMILIES.register("segmenter")
class Segmenter(PlainViT):
    """Its logits are scores of the patches seen, in raster order: (B, classes, K)."""

    architectures: ClassVar[Mapping[str, Architecture]] = {
        # small images: every dimension is given by the spec
        "segmenter": _architecture("vit_tiny_patch16_384", 0, 0, 0, patch=0),
        # Seg-T-Mask/16 and Seg-S-Mask/16, of the size that their encoders were pre-trained at
        "segmenter_tiny_patch16_384": _architecture("vit_tiny_patch16_384", 192, 12, 3),
        "segmenter_small_patch16_384": _architecture("vit_small_patch16_384", 384, 12, 6),
    }
    labelling: ClassVar[Labelling] = "masks"
    gives_heads: ClassVar[bool] = False
    plain: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False

    def complete(self, vit: Any, shape: Architecture, *, fetched: bool) -> None:
        """A decoder in the place of the classifier."""
        self.reset_head(vit, vit.num_classes)

    def reset_head(self, vit: Any, classes: int) -> None:
        """A new decoder. It has as many attention heads as a block of the encoder."""
        from harness.models.segmenter import MaskTransformer  # it imports torch

        vit.reset_classifier(0)
        vit.num_classes = classes
        heads, device = vit.blocks[0].attn.num_heads, vit.pos_embed.device
        decoder = MaskTransformer(vit.embed_dim, heads=heads, classes=classes)
        setattr(vit, DECODER, decoder.to(device))

    def released(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Without the classifier of the encoder's pre-training, which a file may keep."""
        return {name: value for name, value in state.items() if not name.startswith("head.")}

    def carried_over(
        self, state: dict[str, torch.Tensor], vit: Any, shape: Architecture
    ) -> dict[str, torch.Tensor]:
        """As of plain ViTs, without that classifier."""
        return PlainViT.carried_over(self, self.released(state), vit, shape)

    def classifiers(self, vit: Any) -> tuple[torch.nn.Module, ...]:
        """The decoder."""
        return (getattr(vit, DECODER),)

    def macs(self, shape: Architecture, *, keep: int, classes: int, efficient: bool) -> Macs:
        """Of the encoder, all of whose tokens leave its last block, and the decoder on `keep`
        patches and a query a class.
        """
        from harness.models.segmenter import decoder_macs

        n, d = keep + shape.prefix_tokens, shape.width
        attention, projections, mlp, rest = decoder_macs(tokens=keep, width=d, classes=classes)
        return Macs(
            embedding=embedding_macs(shape, keep if efficient else shape.patches),
            attention=shape.depth * 2 * n * n * d,
            projections=shape.depth * 4 * n * d * d,
            mlp=shape.depth * mlp_macs(shape, n),
            head=attention + projections + mlp + rest,
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
        features = forward_features(
            vit,
            images,
            keep=keep,
            outputs=replace(outputs, patches=True),
            embed_all=not efficient,
        )
        return ForwardOutput(
            logits=getattr(vit, DECODER)(features.patches),
            saliency=features.saliency,
            tokens=features.tokens,
            maps=features.maps,
        )
