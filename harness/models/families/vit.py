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
from dataclasses import replace
from typing import Any, ClassVar

from harness.lazy import torch
from harness.models.architectures import PLAIN, Architecture
from harness.models.families import FAMILIES, Family, Macs, embedding_macs, mlp_macs
from harness.models.interface import (
    LOGITS_ONLY,
    Features,
    ForwardOutput,
    ForwardRequest,
    Queries,
    Saliency,
)

QUERY, KEY = 0, 1  # places of their weights in timm's joint projection `qkv`
OFFSET = 0.1
"""DINO's released code adds it to the target grid before it interpolates position embeddings: the
sampling points, and so the values, depend on it."""


@FAMILIES.register("vit")
class PlainViT(Family):
    """timm's `VisionTransformer` whose class token, or the mean of whose patches, is classified."""

    architectures: ClassVar[Mapping[str, Architecture]] = PLAIN
    gives_heads: ClassVar[bool] = True
    chooses_init: ClassVar[bool] = True
    plain: ClassVar[bool] = True
    compilable: ClassVar[bool] = True
    one_stack: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    queries: ClassVar[frozenset[str]] = frozenset({"cls", "special", "patches"})

    def macs(self, shape: Architecture, *, keep: int, classes: int, efficient: bool) -> Macs:
        """Per block 12 n d^2 + 2 n^2 d with n = keep + prefix tokens (arXiv 2302.10494, section
        3.3); efficient: only kept patches are embedded, only what is pooled leaves the last block.
        """
        n, d, p = keep + shape.prefix_tokens, shape.width, shape.prefix_tokens
        full = shape.depth - 1
        last = p if efficient and shape.pooling == "token" else n
        heads = 2 if shape.distilled and self.gives_heads else 1
        return Macs(
            embedding=embedding_macs(shape, keep if efficient else shape.patches),
            attention=full * 2 * n * n * d + 2 * last * n * d,
            projections=full * 4 * n * d * d + 2 * n * d * d + 2 * last * d * d,
            mlp=full * mlp_macs(shape, n) + mlp_macs(shape, last),
            head=heads * d * classes,
        )

    def timm_options(self, shape: Architecture) -> dict[str, Any]:
        """Also what was added to a plain ViT (arXiv 2304.07193, 2309.16588)."""
        options = Family.timm_options(self, shape)
        if shape.registers:
            options |= {"reg_tokens": shape.registers, "no_embed_class": True}
        if shape.layer_scale is not None:
            options["init_values"] = shape.layer_scale
        if shape.mlp == "swiglu":
            from timm.layers.mlp import SwiGLUPacked

            # timm's ratio is that of gates and values together, and is rounded down
            ratio = (2 * shape.gate_width + 0.5) / shape.width
            options |= {"mlp_layer": SwiGLUPacked, "mlp_ratio": ratio, "act_layer": torch.nn.SiLU}
        return options

    def forward(
        self,
        vit: Any,
        images: torch.Tensor,
        *,
        keep: torch.Tensor | None,
        outputs: ForwardRequest,
        efficient: bool,
    ) -> ForwardOutput:
        if not efficient or vit.global_pool != "token":  # the classifier reads the patches too
            outputs = replace(outputs, patches=True)
        features = forward_features(
            vit, images, keep=keep, outputs=outputs, embed_all=not efficient
        )
        distilled = None
        if outputs.heads:
            logits = vit.head(features.normed[:, 0])
            distilled = vit.head_dist(features.normed[:, 1])
        else:
            logits = self.classified(vit, features.normed)
        return ForwardOutput(
            logits=logits,
            saliency=features.saliency,
            tokens=features.tokens,
            maps=features.maps,
            distilled=distilled,
        )

    def classified(self, vit: Any, normed: torch.Tensor) -> torch.Tensor:
        """Logits of what leaves the last norm, prefix tokens first."""
        logits: torch.Tensor = vit.forward_head(normed)
        return logits

    def saliency(self, vit: Any, images: torch.Tensor, saliency: Saliency) -> torch.Tensor:
        index = saliency.index(len(vit.blocks))
        prefix = vit.num_prefix_tokens
        attention = attention_in(
            vit, images, index, rows=_query_rows(saliency.queries, prefix).stop
        )
        return _scores(attention, prefix, saliency)


def forward_features(
    vit: Any,
    images: torch.Tensor,
    *,
    keep: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    mask_token: torch.Tensor | None = None,
    outputs: ForwardRequest = LOGITS_ONLY,
    embed_all: bool = False,
) -> Features:
    """The one pass of a plain ViT: `images` (B, C, H, W) through embedding, blocks and last norm.

    `keep` (B, K), raster indices, drops all other patches after positions are added. `mask` (B, N),
    boolean, puts `mask_token` (1, D) in the place of patch embeddings before positions are added
    (BEiT, iBOT). H and W are multiples of the patch size; positions follow them. `embed_all` also
    embeds the patches that are dropped.
    """
    tokens = embed_tokens(
        vit, images, keep=keep, mask=mask, mask_token=mask_token, embed_all=embed_all
    )
    prefix, depth = vit.num_prefix_tokens, len(vit.blocks)
    request = outputs.saliency
    scored = None if request is None else request.index(depth)
    whole = outputs.patches or outputs.tokens or outputs.maps
    saliency: torch.Tensor | None = None
    cls: list[torch.Tensor] = []
    patches: list[torch.Tensor] = []
    maps: list[torch.Tensor] = []
    for index, block in enumerate(vit.blocks):
        short = index == depth - 1 and not whole  # nothing reads the patches that would leave it
        by_product = short and request is not None and request.queries != "patches"
        if request is not None and index == scored and not by_product:
            saliency = _saliency(block, tokens, prefix, request)
        if short:
            tokens, attention = block_rows(block, tokens, prefix)
            if request is not None and index == scored and by_product:
                saliency = _scores(attention.detach().float(), prefix, request)
        elif outputs.maps:
            tokens, attention = block_rows(block, tokens, tokens.shape[1])
            maps.append(_cls_and_patches(attention.mean(dim=1), prefix))
        else:
            tokens = block(tokens)  # fused attention
        if outputs.tokens:
            patches.append(tokens[:, prefix:])
        if index >= depth - outputs.cls_blocks:
            cls.append(vit.norm(tokens[:, 0]))
    return Features(
        normed=vit.norm(tokens),
        prefix=prefix,
        saliency=saliency,
        cls_blocks=tuple(cls),
        tokens=tuple(patches),
        maps=tuple(maps),
    )


def attention_in(vit: Any, images: torch.Tensor, index: int, *, rows: int | None) -> torch.Tensor:
    """Attention (B, heads, rows, P + N) in block `index` alone, of the first `rows` tokens or all.

    No later block is run. No gradient.
    """
    with torch.no_grad():
        tokens = embed_tokens(vit, images)
        for block in vit.blocks[:index]:
            tokens = block(tokens)
        return attention_rows(vit.blocks[index], tokens, rows or tokens.shape[1])


def _cls_and_patches(attention: torch.Tensor, prefix: int) -> torch.Tensor:
    """Rows and columns of CLS and the patches of (B, n, n): without DIST."""
    if prefix == 1:
        return attention
    rows = torch.cat([attention[:, :1], attention[:, prefix:]], dim=1)
    return torch.cat([rows[:, :, :1], rows[:, :, prefix:]], dim=2)


def embed_tokens(
    vit: Any,
    images: torch.Tensor,
    *,
    keep: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    mask_token: torch.Tensor | None = None,
    embed_all: bool = False,
) -> torch.Tensor:
    """Prefix and patch tokens (B, P + K, D), as `forward_features` describes them."""
    positioned = 0 if vit.no_embed_class else vit.num_prefix_tokens
    patches = embed_patches(
        vit,
        images,
        vit.pos_embed[:, positioned:],
        keep=keep,
        mask=mask,
        mask_token=mask_token,
        embed_all=embed_all,
    )
    prefix = _prefix_tokens(vit)
    if positioned:
        prefix = prefix + vit.pos_embed[:, :positioned]
    tokens = torch.cat([prefix.expand(len(images), -1, -1).to(patches.dtype), patches], dim=1)
    embedded: torch.Tensor = vit.norm_pre(vit.pos_drop(tokens))
    return embedded


def embed_patches(
    vit: Any,
    images: torch.Tensor,
    positions: torch.Tensor,
    *,
    keep: torch.Tensor | None,
    mask: torch.Tensor | None = None,
    mask_token: torch.Tensor | None = None,
    embed_all: bool = False,
) -> torch.Tensor:
    """Positioned patch tokens (B, K, D); `positions` (1, N, D) are of the network's own grid."""
    patch_size, projection = vit.patch_embed.patch_size, vit.patch_embed.proj
    rows, columns = (
        (images.shape[2 + axis] - patch_size[axis]) // projection.stride[axis] + 1
        for axis in (0, 1)
    )
    if (rows, columns) != tuple(vit.patch_embed.grid_size):
        positions = resize_positions(positions, rows, columns)
    if keep is not None and mask is None and not embed_all:
        pixels = gather_patches(images, keep, patch_size, projection.stride)
        patches: torch.Tensor = vit.patch_embed.norm(
            torch.nn.functional.linear(pixels, projection.weight.flatten(1), projection.bias)
        )
        return patches + positions[0][keep]
    patches = vit.patch_embed.norm(projection(images).flatten(2).transpose(1, 2))
    if mask is not None:
        assert mask_token is not None
        patches = torch.where(mask.unsqueeze(2), mask_token.to(patches.dtype), patches)
    patches = patches + positions
    if keep is not None:
        patches = patches.gather(1, keep.unsqueeze(-1).expand(-1, -1, patches.shape[-1]))
    return patches


def resize_positions(embedding: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Position embeddings (1, N, D) of a square grid, bicubically resized to rows x columns."""
    side = round(embedding.shape[1] ** 0.5)
    if (rows, columns) == (side, side):
        return embedding
    grid = embedding.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = [(rows + OFFSET) / side, (columns + OFFSET) / side]
    resized = torch.nn.functional.interpolate(
        grid.float(), scale_factor=scale, mode="bicubic", align_corners=False
    )
    assert resized.shape[2:] == (rows, columns)
    return resized.to(embedding.dtype).flatten(2).transpose(1, 2)


def _prefix_tokens(vit: Any) -> torch.Tensor:
    """CLS, then DIST or registers where there are any: (1, P, D)."""
    tokens = [vit.cls_token]
    for name in ("dist_token", "reg_token"):
        token = getattr(vit, name, None)
        if token is not None:
            tokens.append(token)
    return torch.cat(tokens, dim=1)


def gather_patches(
    images: torch.Tensor,
    keep: torch.Tensor,
    patch_size: tuple[int, int],
    stride: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Pixels (B, K, C*p*p) of the patches `keep` (B, K) of `images` (B, C, H, W).

    They stand in the order in which a patch projection reads them. `stride` is from one patch to
    the next, where they overlap.
    """
    down, right = stride or patch_size
    grid = images.unfold(2, patch_size[0], down).unfold(3, patch_size[1], right)
    grid = grid.permute(0, 2, 3, 1, 4, 5)  # (B, rows, columns, C, p, p), a view
    columns = grid.shape[2]
    image = torch.arange(len(images), device=images.device).unsqueeze(1)
    return grid[image, keep // columns, keep % columns].flatten(2)


def block_rows(block: Any, tokens: torch.Tensor, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A block's output for its first `rows` tokens alone, (B, rows, D), and their attention.

    The attention is (B, heads, rows, n) over all n tokens.
    """
    attn = block.attn
    query, key, value = query_key_value(block, tokens, rows)
    attention = _softmaxed(attn, query, key)
    mixed = (attn.attn_drop(attention).to(value.dtype) @ value).transpose(1, 2).flatten(2)
    out = tokens[:, :rows] + block.drop_path1(
        block.ls1(attn.proj_drop(attn.proj(attn.norm(mixed))))
    )
    return out + block.drop_path2(block.ls2(block.mlp(block.norm2(out)))), attention


def attention_rows(block: Any, tokens: torch.Tensor, rows: int) -> torch.Tensor:
    """Attention (B, heads, rows, n) of a block's first `rows` tokens over all n, softmaxed."""
    attn, normed = block.attn, block.norm1(tokens)
    (query,) = _project(attn, normed[:, :rows], QUERY, 1)
    (key,) = _project(attn, normed, KEY, 1)
    return _softmaxed(attn, attn.q_norm(query), attn.k_norm(key))


def query_key_value(
    block: Any, tokens: torch.Tensor, rows: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries of the first `rows` tokens (B, heads, rows, d); keys and values of all of them."""
    attn, normed = block.attn, block.norm1(tokens)
    (query,) = _project(attn, normed[:, :rows], QUERY, 1)
    key, value = _project(attn, normed, KEY, 2)
    return attn.q_norm(query), attn.k_norm(key), value


def _project(attn: Any, tokens: torch.Tensor, first: int, count: int) -> tuple[torch.Tensor, ...]:
    """`count` of query, key and value from the `first` on, each (B, heads, n, d)."""
    width, bias = attn.num_heads * attn.head_dim, attn.qkv.bias
    part = slice(first * width, (first + count) * width)
    projected = torch.nn.functional.linear(
        tokens, attn.qkv.weight[part], None if bias is None else bias[part]
    )
    heads = projected.view(*projected.shape[:2], count, attn.num_heads, attn.head_dim)
    return heads.permute(2, 0, 3, 1, 4).unbind(0)


def _softmaxed(attn: Any, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    scores = (query * attn.scale) @ key.transpose(-2, -1)
    attention: torch.Tensor = scores.float().softmax(dim=-1)
    return attention


def _saliency(block: Any, tokens: torch.Tensor, prefix: int, saliency: Saliency) -> torch.Tensor:
    with torch.no_grad():
        rows = _query_rows(saliency.queries, prefix).stop or tokens.shape[1]
        return _scores(attention_rows(block, tokens, rows), prefix, saliency)


def _scores(attention: torch.Tensor, prefix: int, saliency: Saliency) -> torch.Tensor:
    """Attention that patches get, (B, K): from CLS alone, or the mean over other queries.

    Softmax is over all tokens; the mean is over heads too.
    """
    queries = _query_rows(saliency.queries, prefix)
    if saliency.queries == "cls":  # one row is not averaged
        cls: torch.Tensor = attention[:, :, 0, prefix:].mean(dim=1)
        return cls
    scores: torch.Tensor = attention[:, :, queries, prefix:].mean(dim=(1, 2))
    return scores


def _query_rows(queries: Queries, prefix: int) -> slice:
    """Where these queries stand among the tokens; detection tokens follow the class token."""
    places = {
        "cls": slice(0, 1),
        "special": slice(0, prefix),
        "detections": slice(1, prefix),
        "patches": slice(prefix, None),
    }
    return places[queries]
