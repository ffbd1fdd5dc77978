"""Plain vision transformers: ViT, DeiT, distilled DeiT, DeiT-III, CLIP's image tower, tuned MAE.

Two exact savings, each equal to the full computation up to rounding (tests/models):

- Masked patches are never embedded: the kept patches' pixels are gathered before the projection.
- Only prefix tokens (CLS, and DIST where there is one) leave the last block, because only they
  reach the head. Their attention row is a by-product, so no attention map is computed, and every
  other block uses fused attention.

Where the classifier reads the mean of the patches (`pooling`), all tokens leave the last block.

Asking for another layer's saliency adds its rows of scores; asking for tokens or maps of all
blocks runs the last block whole, and maps are written out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.lazy import torch
from harness.models.architectures import PLAIN, Architecture
from harness.models.families import FAMILIES, Family, Macs, embedding_macs, mlp_macs
from harness.models.interface import ForwardOutput, ForwardRequest, Saliency


@FAMILIES.register("vit")
class PlainViT(Family):
    """timm's `VisionTransformer` whose class token, or the mean of whose patches, is classified."""

    architectures: ClassVar[Mapping[str, Architecture]] = PLAIN
    gives_heads: ClassVar[bool] = True
    chooses_init: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    def macs(self, shape: Architecture, *, keep: int, classes: int, lean: bool) -> Macs:
        """Per block 12 n d^2 + 2 n^2 d with n = keep + prefix tokens (arXiv 2302.10494, section
        3.3); lean: only kept patches are embedded, only what is pooled leaves the last block.
        """
        n, d, p = keep + shape.prefix_tokens, shape.width, shape.prefix_tokens
        full = shape.depth - 1
        last = p if lean and shape.pooling == "token" else n
        heads = 2 if shape.prefix_tokens == 2 else 1  # the distillation token has its own
        return Macs(
            embedding=embedding_macs(shape, keep if lean else shape.patches),
            attention=full * 2 * n * n * d + 2 * last * n * d,
            projections=full * 4 * n * d * d + 2 * n * d * d + 2 * last * d * d,
            mlp=full * mlp_macs(shape, n) + mlp_macs(shape, last),
            head=heads * d * classes,
        )

    def forward(
        self,
        vit: Any,
        images: torch.Tensor,
        *,
        keep: torch.Tensor | None,
        want: ForwardRequest,
        lean: bool,
    ) -> ForwardOutput:
        """See `Family.forward`."""
        tokens = embed_tokens(vit, images, keep, lean=lean)
        trace = _Trace(vit, want, lean=lean)
        for index in range(len(vit.blocks)):
            tokens = trace.run(index, tokens)
        normed = vit.norm(tokens)
        distilled = None
        if want.heads:
            logits, distilled = vit.head(normed[:, 0]), vit.head_dist(normed[:, 1])
        else:
            logits = vit.forward_head(normed)
        return ForwardOutput(
            logits=logits,
            saliency=trace.saliency,
            tokens=tuple(trace.tokens),
            maps=tuple(trace.maps),
            distilled=distilled,
        )

    def saliency(self, vit: Any, images: torch.Tensor, saliency: Saliency) -> torch.Tensor:
        """See `Family.saliency`."""
        tokens = embed_tokens(vit, images, None, lean=True)
        index = saliency.index(len(vit.blocks))
        for block in vit.blocks[:index]:
            tokens = block(tokens)
        return _scores(vit.blocks[index], tokens, vit.num_prefix_tokens, saliency)


class _Trace:
    """Runs blocks one after the other and keeps what is wanted of them."""

    def __init__(self, vit: Any, want: ForwardRequest, *, lean: bool) -> None:
        self.vit, self.want = vit, want
        self.prefix: int = vit.num_prefix_tokens
        self.last = len(vit.blocks) - 1
        pooled = vit.global_pool == "token"  # the prefix tokens alone reach the head
        self.lean_last = lean and pooled and not want.tokens and not want.maps
        self.scored = None if want.saliency is None else want.saliency.index(len(vit.blocks))
        self.saliency: torch.Tensor | None = None
        self.tokens: list[torch.Tensor] = []
        self.maps: list[torch.Tensor] = []

    def run(self, index: int, tokens: torch.Tensor) -> torch.Tensor:
        """Block `index`; the tokens that leave it."""
        block, want = self.vit.blocks[index], self.want
        short = index == self.last and self.lean_last
        by_product = short and want.saliency is not None and want.saliency.queries == "cls"
        if index == self.scored and not by_product:
            assert want.saliency is not None
            self.saliency = _scores(block, tokens, self.prefix, want.saliency)
        if short:
            tokens, attention = block_rows(block, tokens, self.prefix)
            if index == self.scored and by_product:
                self.saliency = attention[:, :, 0, self.prefix :].detach().float().mean(dim=1)
        elif want.maps:
            tokens, attention = block_rows(block, tokens, tokens.shape[1])
            self.maps.append(_cls_and_patches(attention.mean(dim=1), self.prefix))
        else:
            tokens = block(tokens)
        if want.tokens:
            self.tokens.append(tokens[:, self.prefix :])
        return tokens


def _cls_and_patches(attention: torch.Tensor, prefix: int) -> torch.Tensor:
    """Rows and columns of CLS and the patches of (B, n, n): without DIST."""
    if prefix == 1:
        return attention
    wanted = [0, *range(prefix, attention.shape[-1])]
    return attention[:, wanted][:, :, wanted]


def embed_tokens(
    vit: Any, images: torch.Tensor, keep: torch.Tensor | None, *, lean: bool
) -> torch.Tensor:
    """Prefix and patch tokens (B, P + K, D), positions added before any patch is dropped."""
    positioned = 0 if vit.no_embed_class else vit.num_prefix_tokens
    patches = embed_patches(vit, images, keep, vit.pos_embed[:, positioned:], lean=lean)
    prefix = _prefix_tokens(vit)
    if positioned:
        prefix = prefix + vit.pos_embed[:, :positioned]
    tokens = torch.cat([prefix.expand(len(images), -1, -1).to(patches.dtype), patches], dim=1)
    embedded: torch.Tensor = vit.norm_pre(vit.pos_drop(tokens))
    return embedded


def embed_patches(
    vit: Any,
    images: torch.Tensor,
    keep: torch.Tensor | None,
    positions: torch.Tensor,
    *,
    lean: bool,
) -> torch.Tensor:
    """Positioned patch tokens (B, K, D); `positions` is (1, N, D)."""
    if keep is not None and lean:
        pixels = gather_patches(images, keep, vit.patch_embed.patch_size)
        projection = vit.patch_embed.proj
        patches: torch.Tensor = vit.patch_embed.norm(
            torch.nn.functional.linear(pixels, projection.weight.flatten(1), projection.bias)
        )
        return patches + positions[0][keep]
    patches = vit.patch_embed(images) + positions
    if keep is not None:
        patches = patches.gather(1, keep.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
    return patches


def _prefix_tokens(vit: Any) -> torch.Tensor:
    """CLS, then DIST or registers where there are any: (1, P, D)."""
    tokens = [vit.cls_token]
    for name in ("dist_token", "reg_token"):
        token = getattr(vit, name, None)
        if token is not None:
            tokens.append(token)
    return torch.cat(tokens, dim=1)


def gather_patches(
    images: torch.Tensor, keep: torch.Tensor, patch_size: tuple[int, int]
) -> torch.Tensor:
    """Pixels (B, K, C*p*p) of the patches `keep` (B, K) of `images` (B, C, H, W).

    They stand in the order in which a patch projection reads them.
    """
    batch, channels, height, width = images.shape
    rows, columns = height // patch_size[0], width // patch_size[1]
    grid = images.reshape(batch, channels, rows, patch_size[0], columns, patch_size[1])
    grid = grid.permute(0, 2, 4, 1, 3, 5)
    image = torch.arange(batch, device=images.device).unsqueeze(1)
    return grid[image, keep // columns, keep % columns].flatten(2)


def block_rows(block: Any, tokens: torch.Tensor, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A block's output for its first `rows` tokens alone, (B, rows, D), and their attention.

    The attention is (B, heads, rows, n) over all n tokens.
    """
    attn = block.attn
    query, key, value = query_key_value(block, tokens, rows)
    scores = (query * attn.scale) @ key.transpose(-2, -1)
    attention = scores.float().softmax(dim=-1)
    mixed = (attn.attn_drop(attention).to(value.dtype) @ value).transpose(1, 2).flatten(2)
    out = tokens[:, :rows] + block.drop_path1(
        block.ls1(attn.proj_drop(attn.proj(attn.norm(mixed))))
    )
    return out + block.drop_path2(block.ls2(block.mlp(block.norm2(out)))), attention


def query_key_value(
    block: Any, tokens: torch.Tensor, rows: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries of the first `rows` tokens (B, heads, rows, d); keys and values of all of them."""
    attn, linear = block.attn, torch.nn.functional.linear
    normed = block.norm1(tokens)
    width = attn.num_heads * attn.head_dim
    weight, bias = attn.qkv.weight, attn.qkv.bias
    query = linear(normed[:, :rows], weight[:width], None if bias is None else bias[:width])
    key_value = linear(normed, weight[width:], None if bias is None else bias[width:])
    batch, heads, size = len(tokens), attn.num_heads, attn.head_dim
    query = attn.q_norm(query.reshape(batch, rows, heads, size).transpose(1, 2))
    key, value = key_value.reshape(batch, -1, 2, heads, size).permute(2, 0, 3, 1, 4)
    return query, attn.k_norm(key), value


def _scores(block: Any, tokens: torch.Tensor, prefix: int, saliency: Saliency) -> torch.Tensor:
    """Attention that patches get in `block`, (B, K): of CLS alone, or mean over patch queries.

    Softmax is over all tokens; the mean is over heads too. No gradient.
    """
    with torch.no_grad():
        rows = 1 if saliency.queries == "cls" else tokens.shape[1]
        attn = block.attn
        query, key, _ = query_key_value(block, tokens, rows)
        attention = ((query * attn.scale) @ key.transpose(-2, -1)).float().softmax(dim=-1)
        first = 0 if saliency.queries == "cls" else prefix
        scores: torch.Tensor = attention[:, :, first:, prefix:].mean(dim=(1, 2))
        return scores
