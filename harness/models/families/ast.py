"""AST, the audio spectrogram transformer (Gong et al. 2021, arXiv 2104.01778, as released): a
distilled DeiT over overlapping patches of a spectrogram.

Its one channel is the mel bins by the windows. The mean of class and distillation token goes
through a norm and one linear layer of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.lazy import torch
from harness.models.architectures import Architecture
from harness.models.families import FAMILIES, positions_in
from harness.models.families.vit import PlainViT

PREFIX = 2  # class and distillation token
IDLE = frozenset(
    {f"{head}.{part}" for head in ("head", "head_dist") for part in ("weight", "bias")}
)
PROJECTION, POSITIONS = "patch_embed.proj.weight", "pos_embed"


def _ast(timm: str, width: int, heads: int) -> Architecture:
    """128 mel bins by 512 windows in 12 x 50 patches of 16 x 16, 10 apart: for ESC-50."""
    return Architecture(
        timm=timm,
        image_size=128,
        image_width=512,
        patch_size=16,
        stride=10,
        channels=1,
        width=width,
        depth=12,
        heads=heads,
        prefix_tokens=PREFIX,
        family="ast",
    )


@FAMILIES.register("ast")
class SpectrogramTransformer(PlainViT):
    """The plain ViT's forward pass; its own embedding and classifier."""

    architectures: ClassVar[Mapping[str, Architecture]] = {
        "ast_tiny": _ast("deit_tiny_distilled_patch16_224", 192, 3),
        "ast_small": _ast("deit_small_distilled_patch16_224", 384, 6),
        "ast_base": _ast("deit_base_distilled_patch16_384", 768, 12),
    }
    gives_heads: ClassVar[bool] = False  # one classifier reads both tokens
    plain: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False
    takes_spectrograms: ClassVar[bool] = True

    def timm_options(self, shape: Architecture) -> dict[str, Any]:
        """A DeiT for photographs: `complete` makes it one for spectrograms."""
        return {"embed_dim": shape.width, "depth": shape.depth, "num_heads": shape.heads}

    def complete(self, vit: Any, shape: Architecture, *, fetched: bool) -> None:
        """With AST's embedding and classifier."""
        photographs = vit.state_dict()
        step = shape.stride or shape.patch_size
        size = (shape.patch_size, shape.patch_size)
        vit.patch_embed.proj = torch.nn.Conv2d(
            shape.channels, shape.width, size, stride=(step, step)
        )
        vit.patch_embed.img_size, vit.patch_embed.patch_size = shape.image_shape, size
        vit.patch_embed.grid_size, vit.patch_embed.num_patches = shape.grid, shape.patches
        vit.in_chans = shape.channels
        positions = torch.empty(1, PREFIX + shape.patches, shape.width)
        vit.pos_embed = torch.nn.Parameter(torch.nn.init.trunc_normal_(positions, std=0.02))
        vit.head_dist = torch.nn.Identity()
        norm = torch.nn.LayerNorm(vit.embed_dim)
        classes = vit.num_classes
        last = torch.nn.Linear(vit.embed_dim, classes) if classes else torch.nn.Identity()
        vit.head = torch.nn.Sequential(norm, last)
        if fetched:
            vit.load_state_dict(self.carried_over(photographs, vit, shape))

    def released(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Without the classifiers of photographs, which lie idle in the authors' network."""
        return {name: value for name, value in state.items() if name not in IDLE}

    def carried_over(
        self, state: dict[str, torch.Tensor], vit: Any, shape: Architecture
    ) -> dict[str, torch.Tensor]:
        """From a DeiT on photographs (colours of the projection summed), or an AST on clips of
        another length; positions are cut from the middle where there are more, and interpolated
        where there are fewer, first along the windows.
        """
        carried = {name: value for name, value in state.items() if not name.startswith("head")}
        fresh = vit.state_dict().items()
        carried |= {name: value for name, value in fresh if name.startswith("head")}
        projection, positions = carried.get(PROJECTION), positions_in(state, shape.width)
        colours = projection is not None and projection.dim() == 4 and projection.shape[1] == 3
        if projection is not None and colours and shape.channels == 1:
            carried[PROJECTION] = projection.sum(dim=1, keepdim=True)
        if positions is not None and positions.shape[1] > PREFIX:
            carried[POSITIONS] = fitted_positions(positions, shape, photographs=colours)
        return carried

    def classified(self, vit: Any, normed: torch.Tensor) -> torch.Tensor:
        """Of the mean of both tokens."""
        logits: torch.Tensor = vit.head(normed[:, :PREFIX].mean(dim=1))
        return logits


def fitted_positions(
    positions: torch.Tensor, shape: Architecture, *, photographs: bool = False
) -> torch.Tensor:
    """Position embeddings (1, 2 + n, D) of class token, distillation token and patches for the grid
    of `shape`; as they are where no grid of theirs is known.
    """
    rows, columns = shape.grid
    grid = _grid_of(positions.shape[1] - PREFIX, rows, photographs=photographs)
    if grid is None or grid == (rows, columns):
        return positions
    prefix, patches = positions[:, :PREFIX], positions[:, PREFIX:]
    image = patches.transpose(1, 2).reshape(1, -1, *grid)
    image = _fitted(image, 3, columns)
    image = _fitted(image, 2, rows)
    return torch.cat([prefix, image.flatten(2).transpose(1, 2)], dim=1)


def _grid_of(patches: int, rows: int, *, photographs: bool) -> tuple[int, int] | None:
    """A square of photographs, or as many rows as here: spectrograms differ in their length."""
    if patches % rows == 0 and not photographs:
        return rows, patches // rows
    side = math.isqrt(patches)
    return (side, side) if side * side == patches else None


def _fitted(image: torch.Tensor, axis: int, wanted: int) -> torch.Tensor:
    """`image` (1, D, h, w) with `wanted` places along `axis`."""
    here = image.shape[axis]
    if wanted <= here:
        return image.narrow(axis, here // 2 - wanted // 2, wanted)
    size = [*image.shape[2:]]
    size[axis - 2] = wanted
    resized = torch.nn.functional.interpolate(image.float(), size, mode="bilinear")
    return resized.to(image.dtype)
