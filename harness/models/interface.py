"""What a network can be asked for beside its logits, and what it gives (no torch until used)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from harness.errors import FieldError
from harness.lazy import torch
from harness.transfer import to_device

NAMED_LAYERS = ("first", "middle", "last")
Queries: TypeAlias = Literal["cls", "special", "patches", "detections"]
"""Whose attention to the patches: of the class token, of all tokens that are no patches (the
distillation token, registers), of the patches, or of a YOLOS's detection tokens.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Saliency:
    """Which attention scores the patches: a layer, and whose queries are averaged."""

    layer: str = "last"  # first, middle, last, or a number counted from 1
    queries: Queries = "cls"

    def __post_init__(self) -> None:
        number = re.fullmatch("[0-9]{1,6}", self.layer)  # not isdigit, which knows more than int
        if self.layer not in NAMED_LAYERS and not (number and int(self.layer)):
            what = f"must be first, middle, last or a number from 1, got '{self.layer[:40]}'"
            raise FieldError("layer", what)

    def index(self, depth: int) -> int:
        """The block it stands for, from 0: of 12, `middle` is the sixth (arXiv 2302.10494, Table 6
        counts from 1).
        """
        named = {"first": 1, "middle": max(1, depth // 2), "last": depth}
        number = named.get(self.layer) or int(self.layer)
        if number > depth:
            raise FieldError(
                "layer", f"must be at most {depth}, the network's blocks; got {number}"
            )
        return number - 1


@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardRequest:
    """What a forward pass is to give beside the logits; what is not asked for is not computed."""

    saliency: Saliency | None = None
    patches: bool = False  # patch tokens after the last norm; without them the last block is short
    cls_blocks: int = 0  # class tokens after so many of the last blocks, normed
    tokens: bool = False  # patch tokens after every block
    maps: bool = False  # attention of every block
    heads: bool = False  # the distillation token's logits apart from the class token's


LOGITS_ONLY = ForwardRequest()


@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardOutput:
    """What a forward pass gives. K is the number of patches it saw, M of its detection tokens."""

    # (B, classes); of a network that finds boxes (B, M, classes + 1), the last for no object
    logits: torch.Tensor
    # (B, K): the saliency that was asked for, mean over heads, detached
    saliency: torch.Tensor | None
    tokens: tuple[torch.Tensor, ...] = ()  # of every block (B, K, D)
    # of every block (B, 1 + K, 1 + K): softmaxed attention of CLS and patches, mean over heads
    maps: tuple[torch.Tensor, ...] = ()
    distilled: torch.Tensor | None = None  # (B, classes): the distillation token's logits
    # (B, M, 4): centre x and y, width and height of each box, shares of the picture
    boxes: torch.Tensor | None = None
    detections: torch.Tensor | None = None  # (B, M, D): detection tokens after the last norm
    # (B, K, D): patch tokens after the last norm, of networks that give boxes, if asked for
    patches: torch.Tensor | None = None

    def select(self, images: Sequence[int]) -> ForwardOutput:
        """The same for some of the images, by their places in the batch."""
        chosen = to_device(torch.tensor(images), self.logits.device)
        return self._each(lambda value: value.index_select(0, chosen))

    def fp32(self) -> ForwardOutput:
        """The same in fp32."""
        return self._each(torch.Tensor.float)

    def _each(self, changed: Callable[[torch.Tensor], torch.Tensor]) -> ForwardOutput:
        new: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, tuple):
                new[one.name] = tuple(changed(part) for part in value)
            else:
                new[one.name] = None if value is None else changed(value)
        return ForwardOutput(**new)


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What leaves the blocks of a plain ViT, before any classifier. K is as in ForwardOutput."""

    normed: torch.Tensor  # (B, P or P + K, D): prefix tokens, and patches where wanted, normed
    prefix: int  # P
    # (B, K): the saliency that was asked for, mean over heads, detached
    saliency: torch.Tensor | None = None
    cls_blocks: tuple[torch.Tensor, ...] = ()  # (B, D) each
    tokens: tuple[torch.Tensor, ...] = ()  # (B, K, D) each
    maps: tuple[torch.Tensor, ...] = ()  # (B, 1 + K, 1 + K) each

    @property
    def cls(self) -> torch.Tensor:
        """The class token (B, D) after the last norm."""
        return self.normed[:, 0]

    @property
    def patches(self) -> torch.Tensor:
        """Patch tokens (B, K, D) after the last norm; ask for them (`ForwardRequest.patches`)."""
        assert self.normed.shape[1] > self.prefix
        return self.normed[:, self.prefix :]


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalisation:
    """How a network expects its input scaled, per channel, when pixels are in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
