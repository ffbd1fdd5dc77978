"""Swin (Liu et al. 2021, arXiv 2103.14030), as a student only.

It has no class token, and its windows cannot be thinned out. The attention of its last block is
global at the resolutions used here (7 x 7 tokens at 224 px, one window), so the mean over that
block's queries is a saliency map of 7 x 7, which is interpolated to the teacher's grid: `patches`
is the only kind of query, `last` the only layer. The paper (arXiv 2302.10494) doesn't say which
saliency its Swin students used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.lazy import torch
from harness.models.architectures import Architecture
from harness.models.families import FAMILIES, Family, Macs
from harness.models.interface import ForwardOutput, ForwardRequest, Saliency

DEPTHS, WINDOW = (2, 2, 6, 2), 7


@FAMILIES.register("swin")
class Swin(Family):
    """timm's `SwinTransformer` in the tiny shape."""

    architectures: ClassVar[Mapping[str, Architecture]] = {
        "swin_tiny_patch4_window7_224": Architecture(
            timm="swin_tiny_patch4_window7_224",
            image_size=224,
            patch_size=4,
            width=96,
            depth=sum(DEPTHS),
            heads=3,
            prefix_tokens=0,
            family="swin",
        )
    }
    maskable: ClassVar[bool] = False
    queries: ClassVar[frozenset[str]] = frozenset({"patches"})
    gives_tokens: ClassVar[bool] = False
    gives_maps: ClassVar[bool] = False
    resizable: ClassVar[bool] = False

    def depth(self, shape: Architecture) -> int:
        """Only the last block has global attention."""
        return 1

    def grid(self, shape: Architecture) -> tuple[int, int]:
        """Of the last stage."""
        side = shape.image_size // shape.patch_size // 2 ** (len(DEPTHS) - 1)
        return side, side

    def timm_options(self, shape: Architecture) -> dict[str, Any]:
        """What timm's builder is told: the rest is fixed by the name."""
        return {"img_size": shape.image_size, "in_chans": shape.channels}

    def macs(self, shape: Architecture, *, keep: int, classes: int, efficient: bool) -> Macs:
        """Stage by stage: n tokens in windows of 49, then merging 4 d -> 2 d."""
        n, d = shape.patches, shape.width
        embedding = n * shape.channels * shape.patch_size**2 * d
        attention = projections = mlp = 0
        for stage, blocks in enumerate(DEPTHS):
            if stage:
                n, d = n // 4, 2 * d
                embedding += n * 2 * d * d
            attention += blocks * 2 * n * WINDOW**2 * d
            projections += blocks * 4 * n * d * d
            mlp += blocks * round(2 * shape.mlp_ratio * n * d * d)
        return Macs(
            embedding=embedding,
            attention=attention,
            projections=projections,
            mlp=mlp,
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
        assert keep is None
        assert not any((outputs.tokens, outputs.maps, outputs.heads))
        tokens = _until_last_block(vit, images)
        last = vit.layers[-1].blocks[-1]
        saliency = None if outputs.saliency is None else _scores(last, tokens)
        logits = vit.forward_head(vit.norm(last(tokens)))
        return ForwardOutput(logits=logits, saliency=saliency)

    def saliency(self, vit: Any, images: torch.Tensor, saliency: Saliency) -> torch.Tensor:
        return _scores(vit.layers[-1].blocks[-1], _until_last_block(vit, images))


def _until_last_block(vit: Any, images: torch.Tensor) -> torch.Tensor:
    """What enters the last block: (B, 7, 7, D)."""
    tokens = vit.patch_embed(images)
    for stage in vit.layers[:-1]:
        tokens = stage(tokens)
    last = vit.layers[-1]
    tokens = last.downsample(tokens)
    for block in last.blocks[:-1]:
        tokens = block(tokens)
    return tokens  # type: ignore[no-any-return]


def _scores(block: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Attention that each token gets, (B, 49), mean over heads and queries. No gradient."""
    attn = block.attn
    assert tuple(tokens.shape[1:3]) == tuple(block.window_size), "attention is not global"
    with torch.no_grad():
        normed = block.norm1(tokens).flatten(1, 2)
        qkv = attn.qkv(normed).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (qkv[0] * attn.scale) @ qkv[1].transpose(-2, -1) + attn._get_rel_pos_bias()
        mean: torch.Tensor = scores.float().softmax(dim=-1).mean(dim=(1, 2))
        return mean
