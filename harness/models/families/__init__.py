"""Families of networks: what timm builds, run on any subset of its patches, with its cost.

A family is one file: the shapes it has, the closed-form cost of a forward pass, and the forward
pass itself, written over the network that timm builds (whose parameter names stay as they are).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, TypeAlias

from harness.bounds import Known
from harness.data.dataset import Labelling
from harness.errors import HarnessError
from harness.lazy import torch
from harness.models.architectures import Architecture
from harness.models.interface import ForwardOutput, ForwardRequest, Saliency
from harness.registry import Registry, unknown_component

FAMILIES: Registry[type[Family]] = Registry(
    "model family", "harness.models.families", base=lambda: Family
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Macs:
    """Multiply-adds of one image, by operation (the rows of arXiv 2302.10494, Table 10)."""

    embedding: int
    attention: int  # scores and mixing: 2 n^2 d a block
    projections: int  # q, k, v and out: 4 n d^2 a block
    mlp: int  # 8 n d^2 a block
    head: int

    @property
    def blocks(self) -> int:
        """All of it but the embedding and the head."""
        return self.attention + self.projections + self.mlp

    @property
    def total(self) -> int:
        return self.embedding + self.blocks + self.head


class Family(ABC):
    """Networks that share a forward pass. Holds no state: the network is always given."""

    architectures: ClassVar[Mapping[str, Architecture]]
    version: ClassVar[int] = 1  # raised when a change of code changes numbers
    maskable: ClassVar[bool] = True  # can run on a part of its patches
    labelling: ClassVar[Labelling] = "classes"  # what it learns to tell of an image
    queries: ClassVar[frozenset[str]] = frozenset({"cls", "patches"})  # see `Saliency`
    gives_tokens: ClassVar[bool] = True  # see `ForwardRequest`
    gives_maps: ClassVar[bool] = True
    gives_heads: ClassVar[bool] = False
    compilable: ClassVar[bool] = False  # its forward pass calls the network's blocks as they are
    one_stack: ClassVar[bool] = False  # its blocks stand one above the other, for `layer_decay`
    mergeable: ClassVar[bool] = False  # `harness.models.merging` can run it
    chooses_init: ClassVar[bool] = False  # timm's builder knows several ways to draw weights
    resizable: ClassVar[bool] = True  # specs may change width, depth and heads
    plain: ClassVar[bool] = False  # registers, LayerScale and SwiGLU can be added to it
    takes_spectrograms: ClassVar[bool] = False  # in place of pictures, in patches that may overlap

    def depth(self, shape: Architecture) -> int:
        """Blocks whose attention can be asked for."""
        return shape.depth

    def grid(self, shape: Architecture) -> tuple[int, int]:
        """Rows and columns of the patches that saliency is given for."""
        return shape.grid

    def timm_options(self, shape: Architecture) -> dict[str, Any]:
        """What timm's builder is told of `shape`."""
        return {
            "img_size": shape.image_size,
            "patch_size": shape.patch_size,
            "in_chans": shape.channels,
            "embed_dim": shape.width,
            "depth": shape.depth,
            "num_heads": shape.heads,
            "global_pool": shape.pooling,
        }

    def classifiers(self, vit: Any) -> tuple[torch.nn.Module, ...]:
        """What tells classes apart, which a network for another task has anew: two of them where
        there is a distillation token.
        """
        head = vit.get_classifier()
        return head if isinstance(head, tuple) else (head,)

    def head_names(self, vit: Any) -> set[str]:
        """What their parameters are called."""
        owned = {id(value) for part in self.classifiers(vit) for value in part.parameters()}
        return {name for name, value in vit.named_parameters() if id(value) in owned}

    def complete(self, vit: Any, shape: Architecture, *, fetched: bool) -> None:
        """Give what timm built, with `num_classes` classes, or `fetched` with its weights, whatever
        timm has no option for.
        """

    def reset_head(self, vit: Any, classes: int) -> None:
        """A new head, for so many classes."""
        vit.reset_classifier(classes)

    def released(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Weights of a file without what the authors' code saves and never uses."""
        return state

    def carried_over(
        self, state: dict[str, torch.Tensor], vit: Any, shape: Architecture
    ) -> dict[str, torch.Tensor]:
        """Weights of a file with the classifier of `vit`, and positions for its grid where that of
        the file is square.

        New are, too, where only `vit` has them: the norm after mean pooling, in place of the one
        before (MAE, as released), and the distillation token, whose position is 0 (G2SD, which has
        none).
        """
        from timm.layers.pos_embed import resample_abs_pos_embed

        fresh = vit.state_dict()
        new = self.head_names(vit)
        new |= {"fc_norm.weight", "fc_norm.bias", "dist_token"} & (fresh.keys() - state.keys())
        carried = {**state, **{key: fresh[key] for key in new}}
        if "fc_norm.weight" in new:
            carried = {key: value for key, value in carried.items() if not key.startswith("norm.")}
        after = fresh.get("pos_embed")
        before = None if after is None else positions_in(state, after.shape[2])
        if after is None or before is None:
            return carried
        if "dist_token" in new:
            absent = torch.zeros_like(before[:, :1])
            before = carried["pos_embed"] = torch.cat([before[:, :1], absent, before[:, 1:]], dim=1)
        rows, columns = self.grid(shape)
        prefix = after.shape[1] - rows * columns
        patches = before.shape[1] - prefix
        if before.shape != after.shape and patches > 0 and math.isqrt(patches) ** 2 == patches:
            carried["pos_embed"] = resample_abs_pos_embed(
                before, [rows, columns], num_prefix_tokens=prefix
            )
        return carried

    @abstractmethod
    def macs(self, shape: Architecture, *, keep: int, classes: int, efficient: bool) -> Macs:
        """Multiply-adds on `keep` patches, as the papers count or, `efficient`, as `forward`."""

    @abstractmethod
    def forward(
        self,
        vit: Any,
        images: torch.Tensor,
        *,
        keep: torch.Tensor | None,
        outputs: ForwardRequest,
        efficient: bool,
    ) -> ForwardOutput:
        """Run timm's `vit` on `images` (B, C, H, W), seeing only the patches `keep` (B, K)."""

    @abstractmethod
    def saliency(self, vit: Any, images: torch.Tensor, saliency: Saliency) -> torch.Tensor:
        """Scores (B, N) of all patches; computes no more of the network than they need."""


def positions_in(state: Mapping[str, torch.Tensor], width: int) -> torch.Tensor | None:
    """The position embeddings (1, n, `width`) of a file; None where it has none of that form, and
    is of another network.
    """
    found = state.get("pos_embed")
    if found is None or found.dim() != 3 or found.shape[::2] != (1, width) or not found.shape[1]:
        return None
    return found


def family_of(shape: Architecture) -> Family:
    """The family of `shape`."""
    return FAMILIES.get(shape.family)()


@cache
def known_architectures() -> dict[str, Architecture]:
    """Every architecture of every family, by the name that specs use."""
    architectures: dict[str, Architecture] = {}
    for name in FAMILIES.names():
        architectures |= FAMILIES.get(name).architectures
    return architectures


def _architecture(name: str) -> Architecture:
    known = known_architectures()
    if name not in known:
        raise HarnessError(unknown_component("architecture", name, list(known)))
    return known[name]


ArchitectureName: TypeAlias = Annotated[str, Known(look_up=_architecture)]
"""One of `known_architectures`."""


def embedding_macs(shape: Architecture, patches: int) -> int:
    """Of the patch projection."""
    return patches * shape.channels * shape.patch_size**2 * shape.width


def mlp_macs(shape: Architecture, tokens: int) -> int:
    """Of one block's MLP."""
    if shape.mlp == "swiglu":
        return 3 * tokens * shape.width * shape.gate_width
    return round(2 * shape.mlp_ratio * tokens * shape.width**2)
