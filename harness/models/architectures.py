"""Shapes of architectures, without importing torch: plain ViTs here, others in their family.

The shapes are timm's (a test compares every one with the model that timm builds); the closed-form
cost and the number of patches that a spec may keep are computed from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchGrid:
    """Where the square patches of an image lie. They are whole: what is left at the edges is
    unseen.
    """

    size: tuple[int, int]  # of the image, in pixels: height, width
    patch: int  # pixels of a side
    stride: int  # pixels from one patch to the next; below `patch` they overlap

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.size
        return (height - self.patch) // self.stride + 1, (width - self.patch) // self.stride + 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Architecture:
    """A vision transformer over square patches of an image."""

    timm: str  # the name timm builds it by
    image_size: int  # pixels
    patch_size: int  # pixels
    width: int
    depth: int
    heads: int
    channels: int = 3
    image_width: int = 0  # pixels, of images that are no squares; 0: as many as `image_size`
    stride: int = 0  # pixels from one patch to the next where they overlap; 0: `patch_size`
    mlp_ratio: float = 4.0
    prefix_tokens: int = 1  # CLS, and DIST or registers where there are any
    registers: int = 0  # learned tokens beside CLS, without positions (arXiv 2309.16588)
    detection_tokens: int = 0  # learned tokens beside CLS, with positions (arXiv 2106.00666)
    # of a block: an MLP of `mlp_ratio`, or a gated one that costs as much (arXiv 2002.05202)
    mlp: Literal["gelu", "swiglu"] = "gelu"
    layer_scale: float | None = None  # its first value; none: as timm builds the architecture
    positioned_prefix: bool = True  # False: position embeddings for patches only (DeiT-III)
    # what the classifier reads. avg: the mean of the patch tokens that are seen, then normed
    pooling: Literal["token", "avg"] = "token"
    family: str = "vit"  # whose forward pass and cost it has: a file of harness/models/families

    @property
    def image_shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.image_size, self.image_width or self.image_size

    @property
    def patch_grid(self) -> PatchGrid:
        """Where the patches lie."""
        stride = self.stride or self.patch_size
        return PatchGrid(size=self.image_shape, patch=self.patch_size, stride=stride)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the patches."""
        return self.patch_grid.shape

    @property
    def patches(self) -> int:
        """Patch tokens of a full image, N."""
        rows, columns = self.grid
        return rows * columns

    @property
    def distilled(self) -> bool:
        """Whether there is a distillation token, with a classifier of its own."""
        return self.prefix_tokens - self.registers - self.detection_tokens == 2

    @property
    def gate_width(self) -> int:
        """Hidden units of a gated MLP: two thirds of `mlp_ratio`, the next multiple of 8."""
        return (int(self.mlp_ratio * self.width * 2 / 3) + 7) // 8 * 8


def _vit(
    timm: str, width: int, depth: int, heads: int, patch: int = 16, size: int = 224, **more: object
) -> Architecture:
    return Architecture(
        timm=timm,
        image_size=size,
        patch_size=patch,
        width=width,
        depth=depth,
        heads=heads,
        **more,  # type: ignore[arg-type]
    )


_S, _B, _L, _H = (384, 12, 6), (768, 12, 12), (1024, 24, 16), (1280, 32, 16)
PLAIN: dict[str, Architecture] = {
    # small images: every dimension is given by the spec
    "vit": _vit("vit_tiny_patch16_224", 0, 0, 0, patch=0, size=0),
    # ViT (Dosovitskiy et al. 2021) and DeiT (Touvron et al. 2021)
    "vit_tiny_patch16_224": _vit("vit_tiny_patch16_224", 192, 12, 3),
    "vit_small_patch16_224": _vit("vit_small_patch16_224", *_S),
    "vit_base_patch16_224": _vit("vit_base_patch16_224", *_B),
    "vit_large_patch16_224": _vit("vit_large_patch16_224", *_L),
    "vit_huge_patch14_224": _vit("vit_huge_patch14_224", *_H, patch=14),
    "deit_tiny_patch16_224": _vit("deit_tiny_patch16_224", 192, 12, 3),
    "deit_small_patch16_224": _vit("deit_small_patch16_224", *_S),
    "deit_base_patch16_224": _vit("deit_base_patch16_224", *_B),
    "deit_small_distilled_patch16_224": _vit(
        "deit_small_distilled_patch16_224", *_S, prefix_tokens=2
    ),
    # DeiT-III (Touvron et al. 2022): LayerScale, no position for CLS
    "deit3_small_patch16_224": _vit("deit3_small_patch16_224", *_S, positioned_prefix=False),
    "deit3_small_patch16_384": _vit(
        "deit3_small_patch16_384", *_S, size=384, positioned_prefix=False
    ),
    "deit3_base_patch16_224": _vit("deit3_base_patch16_224", *_B, positioned_prefix=False),
    "deit3_large_patch16_224": _vit("deit3_large_patch16_224", *_L, positioned_prefix=False),
    "deit3_huge_patch14_224": _vit(
        "deit3_huge_patch14_224", *_H, patch=14, positioned_prefix=False
    ),
    # ViT as MAE is fine-tuned (He et al. 2022, arXiv 2111.06377, as released): mean pooling
    "mae_small_patch16_224": _vit("vit_small_patch16_224", *_S, pooling="avg"),
    "mae_base_patch16_224": _vit("vit_base_patch16_224", *_B, pooling="avg"),
    "mae_large_patch16_224": _vit("vit_large_patch16_224", *_L, pooling="avg"),
    "mae_huge_patch14_224": _vit("vit_huge_patch14_224", *_H, patch=14, pooling="avg"),
    # CLIP's image tower (Radford et al. 2021): a norm before the blocks, its own mean and std
    "vit_base_patch16_clip_224": _vit("vit_base_patch16_clip_224", *_B),
}
