"""ConViT (d'Ascoli et al. 2021, arXiv 2103.10697): attention that starts as a convolution.

All blocks but the last two are gated positional self-attention over patch tokens alone: each head
mixes content attention with attention by relative position, by a learned gate. The class token
joins for the last two, plain ones. Positions are added to the patches before any is dropped.
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


def _convit(name: str, heads: int) -> Architecture:
    return Architecture(
        timm=name,
        image_size=224,
        patch_size=16,
        width=48 * heads,
        depth=12,
        heads=heads,
        positioned_prefix=False,
        family="convit",
    )


@FAMILIES.register("convit")
class ConViT(Family):
    """timm's `ConVit`. Saliency is the class token's attention in the last two blocks."""

    architectures: ClassVar[Mapping[str, Architecture]] = {
        "convit_tiny": _convit("convit_tiny", 4),
        "convit_small": _convit("convit_small", 9),
        "convit_base": _convit("convit_base", 16),
    }
    one_stack: ClassVar[bool] = True
    queries: ClassVar[frozenset[str]] = frozenset({"cls"})
    gives_maps: ClassVar[bool] = False  # the two kinds of blocks have maps of different sizes

    def depth(self, shape: Architecture) -> int:
        """The blocks that the class token is in."""
        return CLASS_LAYERS

    def timm_options(self, shape: Architecture) -> dict[str, Any]:
        """timm's `embed_dim` is a head's."""
        return {
            **super().timm_options(shape),
            "embed_dim": shape.width // shape.heads,
            "local_up_to_layer": shape.depth - CLASS_LAYERS,
        }

    def macs(self, shape: Architecture, *, keep: int, classes: int, efficient: bool) -> Macs:
        """Scores by position cost 3 h for each pair of patches of the whole grid: they are made
        once for all images and then gathered, so a batch of one pays most. They count as attention.
        """
        d, seen = shape.width, keep + 1
        gated = shape.depth - CLASS_LAYERS
        return Macs(
            embedding=embedding_macs(shape, keep if efficient else shape.patches),
            attention=gated * (2 * keep * keep * d + 3 * shape.heads * shape.patches**2)
            + CLASS_LAYERS * 2 * seen * seen * d,
            projections=(gated * keep + CLASS_LAYERS * seen) * 4 * d * d,
            mlp=gated * mlp_macs(shape, keep) + CLASS_LAYERS * mlp_macs(shape, seen),
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
        x = _embed(vit, images, keep, efficient=efficient)
        tokens, saliency = [], None
        offsets = _offsets(vit)
        for block in vit.blocks[:-CLASS_LAYERS]:
            x = _gated_block(block, x, keep, offsets)
            if outputs.tokens:
                tokens.append(x)
        x = _with_class(vit, x)
        for index, block in enumerate(vit.blocks[-CLASS_LAYERS:]):
            if outputs.saliency is not None and index == outputs.saliency.index(CLASS_LAYERS):
                saliency = _scores(block, x)
            x = _plain_block(block, x)
            if outputs.tokens:
                tokens.append(x[:, 1:])
        return ForwardOutput(
            logits=vit.forward_head(vit.norm(x)), saliency=saliency, tokens=tuple(tokens)
        )

    def saliency(self, vit: Any, images: torch.Tensor, saliency: Saliency) -> torch.Tensor:
        assert saliency.queries == "cls"
        x = _embed(vit, images, None, efficient=True)
        offsets = _offsets(vit)
        for block in vit.blocks[:-CLASS_LAYERS]:
            x = _gated_block(block, x, None, offsets)
        x = _with_class(vit, x)
        plain = vit.blocks[-CLASS_LAYERS:]
        index = saliency.index(CLASS_LAYERS)
        for block in plain[:index]:
            x = _plain_block(block, x)
        return _scores(plain[index], x)


def _embed(
    vit: Any, images: torch.Tensor, keep: torch.Tensor | None, *, efficient: bool
) -> torch.Tensor:
    patches: torch.Tensor = vit.pos_drop(
        embed_patches(vit, images, vit.pos_embed, keep=keep, embed_all=not efficient)
    )
    return patches


def _with_class(vit: Any, patches: torch.Tensor) -> torch.Tensor:
    return torch.cat([vit.cls_token.expand(len(patches), -1, -1), patches], dim=1)


def _gated_block(
    block: Any, x: torch.Tensor, keep: torch.Tensor | None, offsets: torch.Tensor
) -> torch.Tensor:
    """A block of gated positional self-attention on the patches `keep` of the grid, (B, K, D)."""
    attn = block.attn
    normed = block.norm1(x)
    query, key = _heads(attn.qk(normed), 2, attn.num_heads)
    (value,) = _heads(attn.v(normed), 1, attn.num_heads)
    content = ((query * attn.scale) @ key.transpose(-2, -1)).softmax(dim=-1)
    position = _position_scores(attn, keep, offsets).softmax(dim=-1)
    # both have rows that sum to one, and so has the mixture: timm divides by a sum of one
    mixture = content.lerp(position, torch.sigmoid(attn.gating_param).view(-1, 1, 1))
    return _rest(block, x, (attn.attn_drop(mixture) @ value).transpose(1, 2).flatten(2))


def _plain_block(block: Any, x: torch.Tensor) -> torch.Tensor:
    attn = block.attn
    query, key, value = _heads(attn.qkv(block.norm1(x)), 3, attn.num_heads)
    drop = attn.attn_drop.p if attn.training else 0.0
    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, dropout_p=drop)
    return _rest(block, x, mixed.transpose(1, 2).flatten(2))


def _rest(block: Any, x: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
    """What follows the attention."""
    x = x + block.drop_path(block.attn.proj_drop(block.attn.proj(mixed)))
    done: torch.Tensor = x + block.drop_path(block.mlp(block.norm2(x)))
    return done


def _heads(x: torch.Tensor, parts: int, heads: int) -> tuple[torch.Tensor, ...]:
    """(B, n, parts * D) as `parts` tensors (B, heads, n, D / heads)."""
    batch, count, _ = x.shape
    return x.view(batch, count, parts, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


def _offsets(vit: Any) -> torch.Tensor:
    """(N, N, 3): (dx, dy, dx^2 + dy^2) from patch i to patch j, in patches."""
    rows, columns = vit.patch_embed.grid_size
    index = torch.arange(rows * columns, device=vit.pos_embed.device)
    x, y = index % columns, index // columns
    dx, dy = x[None, :] - x[:, None], y[None, :] - y[:, None]
    return torch.stack([dx, dy, dx**2 + dy**2], dim=-1).to(vit.pos_embed.dtype)


def _position_scores(attn: Any, keep: torch.Tensor | None, offsets: torch.Tensor) -> torch.Tensor:
    """Each head's score of patch j for patch i from where they are: (B, heads, K, K), or
    (heads, N, N) without `keep`. Linear in the offsets (arXiv 2103.10697, equation 5).
    """
    scores: torch.Tensor = attn.pos_proj(offsets)
    if keep is not None:
        scores = scores[keep.unsqueeze(2), keep.unsqueeze(1)]
    return scores.movedim(-1, -3)


def _scores(block: Any, x: torch.Tensor) -> torch.Tensor:
    """The class token's attention to the patches, (B, K), mean over heads. No gradient."""
    with torch.no_grad():
        attn = block.attn
        query, key, _ = _heads(attn.qkv(block.norm1(x)), 3, attn.num_heads)
        scores = (query[:, :, :1] * attn.scale) @ key.transpose(-2, -1)
        mean: torch.Tensor = scores.float().softmax(dim=-1)[:, :, 0, 1:].mean(dim=1)
        return mean
