"""timm's plain vision transformers on any subset of their patch tokens, giving CLS attention.

Two exact savings, each equal to the full computation up to rounding (tests/models):

- Masked patches are never embedded: the kept patches' pixels are gathered before the projection.
- Only prefix tokens (CLS, and DIST where there is one) leave the last block, because only they
  reach the head. Their attention row is a by-product, so no attention map is computed anywhere,
  and every other block uses fused attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What a forward pass gives."""

    logits: Tensor  # (B, classes)
    # (B, K): CLS row of the last block over the patches it saw, mean over heads, detached
    cls_attention: Tensor | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalisation:
    """How a network expects its input scaled, per channel, when pixels are in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class VisionTransformer(nn.Module):
    """A timm `VisionTransformer` that can run on any subset of its patches.

    Handles a class token with and without a position (DeiT-III), several prefix tokens (distilled
    DeiT), LayerScale, and a norm before the blocks (CLIP). `vit` keeps timm's parameter names, so
    weights are exchanged with timm as they are.
    """

    def __init__(self, vit: Any) -> None:
        super().__init__()
        if vit.cls_token is None or vit.global_pool != "token":
            raise ValueError("needs a model whose class token is pooled (global_pool='token')")
        self.vit = vit
        self.prefix: int = vit.num_prefix_tokens
        self.patches: int = vit.patch_embed.num_patches
        self.rescale: tuple[Tensor, Tensor] | None = None

    def expect(self, own: Normalisation, given: Normalisation) -> None:
        """Convert images normalised as `given` into what this network was trained on, `own`."""
        if own == given:
            return
        own_std, given_std = torch.tensor(own.std), torch.tensor(given.std)
        factor = given_std / own_std
        shift = (torch.tensor(given.mean) - torch.tensor(own.mean)) / own_std
        self.rescale = (factor.view(-1, 1, 1), shift.view(-1, 1, 1))

    def forward(
        self,
        images: Tensor,
        *,
        keep: Tensor | None = None,
        cls_attention: bool = False,
        lean: bool = True,
    ) -> Output:
        """Logits for `images` (B, C, H, W), seeing only the patches `keep` (B, K), raster indices.

        `lean=False` embeds every patch and runs the whole last block, as the papers count cost; the
        result is the same.
        """
        if self.rescale is not None:
            factor, shift = (part.to(images) for part in self.rescale)
            images = images * factor + shift
        tokens = self._embed(images, keep, lean=lean)
        for block in self.vit.blocks[:-1]:
            tokens = block(tokens)
        last = self.vit.blocks[-1]
        attention: Tensor | None = None
        if lean or cls_attention:
            prefix, attention = _prefix_block(last, tokens, self.prefix)
        if not lean:
            prefix = last(tokens)
        logits = self.vit.forward_head(self.vit.norm(prefix))
        if not cls_attention or attention is None:
            return Output(logits=logits, cls_attention=None)
        saliency = attention[:, :, 0, self.prefix :].detach().float().mean(dim=1)
        return Output(logits=logits, cls_attention=saliency)

    def _embed(self, images: Tensor, keep: Tensor | None, *, lean: bool) -> Tensor:
        """Prefix and patch tokens (B, P + K, D), positions added before any patch is dropped."""
        vit = self.vit
        positioned = 0 if vit.no_embed_class else self.prefix
        patch_positions = vit.pos_embed[:, positioned:]
        if keep is not None and lean:
            patches = functional.linear(
                gather_patches(images, keep, vit.patch_embed.patch_size),
                vit.patch_embed.proj.weight.flatten(1),
                vit.patch_embed.proj.bias,
            )
            patches = vit.patch_embed.norm(patches) + patch_positions[0][keep]
        else:
            patches = vit.patch_embed(images) + patch_positions
            if keep is not None:
                patches = patches.gather(1, keep.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
        prefix = self._prefix_tokens()
        if positioned:
            prefix = prefix + vit.pos_embed[:, :positioned]
        tokens = torch.cat([prefix.expand(len(images), -1, -1).to(patches.dtype), patches], dim=1)
        embedded: Tensor = vit.norm_pre(vit.pos_drop(tokens))
        return embedded

    def _prefix_tokens(self) -> Tensor:
        """CLS, then DIST or registers where there are any: (1, P, D)."""
        tokens = [self.vit.cls_token]
        for name in ("dist_token", "reg_token"):
            token = getattr(self.vit, name, None)
            if token is not None:
                tokens.append(token)
        return torch.cat(tokens, dim=1)


def gather_patches(images: Tensor, keep: Tensor, patch_size: tuple[int, int]) -> Tensor:
    """Pixels (B, K, C*p*p) of the patches `keep` (B, K) of `images` (B, C, H, W).

    They stand in the order in which a patch projection reads them.
    """
    batch, channels, height, width = images.shape
    rows, columns = height // patch_size[0], width // patch_size[1]
    grid = images.reshape(batch, channels, rows, patch_size[0], columns, patch_size[1])
    grid = grid.permute(0, 2, 4, 1, 3, 5)
    image = torch.arange(batch, device=images.device).unsqueeze(1)
    return grid[image, keep // columns, keep % columns].flatten(2)


def _prefix_block(block: Any, tokens: Tensor, prefix: int) -> tuple[Tensor, Tensor]:
    """A block's output for its first P = `prefix` tokens alone, (B, P, D), and their attention.

    The attention is (B, heads, P, n) over all n tokens.
    """
    attn = block.attn
    normed = block.norm1(tokens)
    width = attn.num_heads * attn.head_dim
    weight, bias = attn.qkv.weight, attn.qkv.bias
    query = functional.linear(
        normed[:, :prefix], weight[:width], None if bias is None else bias[:width]
    )
    key_value = functional.linear(normed, weight[width:], None if bias is None else bias[width:])
    batch, heads, size = len(tokens), attn.num_heads, attn.head_dim
    query = attn.q_norm(query.reshape(batch, prefix, heads, size).transpose(1, 2))
    key, value = key_value.reshape(batch, -1, 2, heads, size).permute(2, 0, 3, 1, 4)
    scores = (query * attn.scale) @ attn.k_norm(key).transpose(-2, -1)
    attention = scores.float().softmax(dim=-1)
    mixed = (attn.attn_drop(attention).to(value.dtype) @ value).transpose(1, 2).flatten(2)
    out = tokens[:, :prefix] + block.drop_path1(
        block.ls1(attn.proj_drop(attn.proj(attn.norm(mixed))))
    )
    return out + block.drop_path2(block.ls2(block.mlp(block.norm2(out)))), attention
