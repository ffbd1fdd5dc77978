"""YOLOS: a plain vision transformer that finds objects (Fang et al. 2021, arXiv 2106.00666).

Its tokens are the class token, learned detection tokens with positions of their own, and the
patches. After the last norm every detection token tells one box and its class, or that it found
nothing. The class token stays among the tokens; nothing reads it.

timm has no such network. Its plain ViT gets the detection tokens where timm keeps registers, so the
forward pass is that of plain ViTs. (The authors put them behind the patches: a transformer does not
see that order.) The released S and B add position embeddings between their blocks too; not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from harness.data.dataset import Labelling
from harness.lazy import torch
from harness.models.architectures import Architecture
from harness.models.families import FAMILIES, Macs, positions_in
from harness.models.families.vit import PlainViT, forward_features
from harness.models.interface import ForwardOutput, ForwardRequest

TOKENS = 100  # as released
COORDINATES = 4
CLASSIFIER = frozenset({"head.weight", "head.bias"})  # of a plain ViT


def _yolos(timm: str, width: int, depth: int, heads: int, size: int = 512) -> Architecture:
    return Architecture(
        timm=timm,
        image_size=size,
        patch_size=16 if size else 0,
        width=width,
        depth=depth,
        heads=heads,
        prefix_tokens=1 + TOKENS,
        detection_tokens=TOKENS,
        family="yolos",
    )


@FAMILIES.register("yolos")
class Yolos(PlainViT):
    """A plain ViT with detection tokens."""

    labelling: ClassVar[Labelling] = "boxes"
    architectures: ClassVar[Mapping[str, Architecture]] = {
        "yolos": _yolos("vit_tiny_patch16_224", 0, 0, 0, size=0),  # all dimensions given by a spec
        "yolos_tiny": _yolos("deit_tiny_patch16_224", 192, 12, 3),
        "yolos_small": _yolos("deit_small_patch16_224", 384, 12, 6),
        "yolos_base": _yolos("deit_base_patch16_224", 768, 12, 12),
    }
    queries: ClassVar[frozenset[str]] = frozenset({"cls", "patches", "detections"})
    gives_heads: ClassVar[bool] = False
    gives_maps: ClassVar[bool] = False
    chooses_init: ClassVar[bool] = False
    plain: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False

    def complete(self, vit: Any, shape: Architecture, *, fetched: bool) -> None:
        """Detection tokens and their positions, normal 0.02, and the heads."""
        count, width = shape.detection_tokens, shape.width
        positions = vit.pos_embed.data
        tokens = torch.nn.init.trunc_normal_(positions.new_empty(1, count, width), std=0.02)
        places = torch.nn.init.trunc_normal_(positions.new_empty(1, count, width), std=0.02)
        vit.reg_token = torch.nn.Parameter(tokens)
        vit.num_reg_tokens, vit.num_prefix_tokens = count, 1 + count
        joined = torch.cat([positions[:, :1], places, positions[:, 1:]], dim=1)
        vit.pos_embed = torch.nn.Parameter(joined)
        self.reset_head(vit, vit.num_classes)

    def reset_head(self, vit: Any, classes: int) -> None:
        """Two new heads, for so many classes and none of them."""
        width, device = vit.embed_dim, vit.pos_embed.device
        vit.num_classes = classes
        vit.head = torch.nn.ModuleDict(
            {
                "classes": _three_layers(width, classes + 1),
                "boxes": _three_layers(width, COORDINATES),
            }
        ).to(device)

    def carried_over(
        self, state: dict[str, torch.Tensor], vit: Any, shape: Architecture
    ) -> dict[str, torch.Tensor]:
        """As of plain ViTs; of one that tells classes, detection tokens and their positions are
        new.
        """
        positions = positions_in(state, shape.width)
        if "reg_token" not in state and positions is not None:
            state = {key: value for key, value in state.items() if key not in CLASSIFIER}
            fresh = vit.state_dict()
            places = fresh["pos_embed"][:, 1 : shape.prefix_tokens]
            state["reg_token"] = fresh["reg_token"]
            state["pos_embed"] = torch.cat([positions[:, :1], places, positions[:, 1:]], dim=1)
        return PlainViT.carried_over(self, state, vit, shape)

    def macs(self, shape: Architecture, *, keep: int, classes: int, efficient: bool) -> Macs:
        """As of a plain ViT, with two heads of three layers on every detection token."""
        plain = PlainViT.macs(self, shape, keep=keep, classes=0, efficient=efficient)
        d = shape.width
        heads = 4 * d * d + d * (classes + 1 + COORDINATES)
        return replace(plain, head=shape.detection_tokens * heads)

    def forward(
        self,
        vit: Any,
        images: torch.Tensor,
        *,
        keep: torch.Tensor | None,
        outputs: ForwardRequest,
        efficient: bool,
    ) -> ForwardOutput:
        wanted = outputs if efficient else replace(outputs, patches=True)
        features = forward_features(vit, images, keep=keep, outputs=wanted, embed_all=not efficient)
        found = features.normed[:, 1 : features.prefix]
        # of 16 bits, shares of a picture would be whole pixels apart
        boxes = vit.head["boxes"](found).float().sigmoid()
        return ForwardOutput(
            logits=vit.head["classes"](found),
            boxes=boxes,
            saliency=features.saliency,
            tokens=features.tokens,
            detections=found,
            patches=features.patches if outputs.patches else None,
        )


def _three_layers(width: int, outputs: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Linear(width, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, width),
        torch.nn.ReLU(),
        torch.nn.Linear(width, outputs),
    )
