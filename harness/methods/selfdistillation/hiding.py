"""Patches hidden from the student: what DINO with masks and iBOT share."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.masking.views import Hidden, Sight, ViewMask
from harness.methods import Step
from harness.models.tokens import Encoded, encode
from harness.models.vit import VisionTransformer


class MaskToken(nn.Module):
    """The learned vector (1, D) that stands for a hidden patch; starts at 0 (arXiv 2111.07832)."""

    def __init__(self, width: int, device: torch.device) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, width, device=device))


class Hiding:
    """Draws masks, and counts how much they hide."""

    def __init__(self, mask: ViewMask, device: torch.device) -> None:
        self.mask, self.device = mask, device
        self._shared: tuple[int, tuple[float, float]] = (-1, (0.0, 0.0))  # of which step
        self._hidden = self._patches = 0

    def draw(
        self, step: Step, views: int, grid: tuple[int, int], attention: Tensor | None
    ) -> Hidden:
        """The hidden patches of `views` views; `attention` (views, N) where the mask looks."""
        sight = Sight(
            views=views,
            rows=grid[0],
            columns=grid[1],
            attention=attention,
            shared=self._of_step(step),
            generator=step.generator,
            device=self.device,
        )
        hidden = self.mask.hide(sight)
        self._hidden += int(hidden.counts.sum())
        self._patches += views * sight.patches
        return hidden

    def _of_step(self, step: Step) -> tuple[float, float]:
        if self._shared[0] != step.index:
            first, second = torch.rand(2, generator=step.generator, dtype=torch.float64).tolist()
            self._shared = (step.index, (first, second))
        return self._shared[1]

    def summary(self) -> dict[str, Any]:
        """`hidden_share`: of the patches of the views that a mask was drawn for."""
        if not self._patches:
            return {}
        share = self._hidden / self._patches
        self._hidden = self._patches = 0
        return {"hidden_share": share}

    def state(self) -> dict[str, Any]:
        """The open counts."""
        return {"hidden": self._hidden, "patches": self._patches}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue those."""
        self._hidden, self._patches = state["hidden"], state["patches"]


def replaced(
    model: VisionTransformer,
    images: Tensor,
    hidden: Hidden,
    token: MaskToken,
    *,
    patches: bool = False,
) -> Encoded:
    """Features of `images` whose hidden patches' embeddings are the mask token (BEiT, iBOT)."""
    return encode(
        model, images, masked=hidden.flags(), mask_token=token.mask_token, patches=patches
    )


def dropped(model: VisionTransformer, images: Tensor, hidden: Hidden) -> Tensor:
    """CLS tokens (V, D) of `images` without their hidden patches, as MAE leaves them out.

    Views that lose the same number go through together: one pass for every number there is.
    """
    order = hidden.flags().to(torch.uint8).argsort(dim=1, stable=True)  # what is seen comes first
    numbers = sorted(set(hidden.counts.tolist()))
    found, places = [], []
    for number in numbers:
        chosen = (hidden.counts == number).nonzero()[:, 0].to(images.device, non_blocking=True)
        keep = order[chosen, : hidden.patches - number] if number else None
        found.append(encode(model, images[chosen], keep=keep).cls)
        places.append(chosen)
    back = torch.cat(places).argsort()
    return torch.cat(found)[back]
