"""Patches hidden from the student: what DINO with masks and iBOT share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.lazy import torch
from harness.masking.views import MaskInput, MaskSampler, PatchMask
from harness.methods import Step
from harness.methods.selfdistillation.parts import RunningSums
from harness.models.interface import Features, ForwardRequest
from harness.transfer import to_device

if TYPE_CHECKING:
    from torch import Tensor

    from harness.models.layers import MaskToken
    from harness.models.vit import VisionTransformer


class PatchMasking(RunningSums):
    """Draws masks, and counts how much they hide."""

    def __init__(self, sampler: MaskSampler, device: torch.device) -> None:
        super().__init__()
        self.sampler, self.device = sampler, device
        self._shared = (0.0, 0.0)
        self._shared_of: tuple[int, torch.Generator] | None = None  # step and (micro-)batch

    def draw(
        self, step: Step, views: int, grid: tuple[int, int], attention: Tensor | None
    ) -> PatchMask:
        """The hidden patches of `views` views; `attention` (views, N) where the mask needs it."""
        inputs = MaskInput(
            views=views,
            rows=grid[0],
            columns=grid[1],
            attention=attention,
            step_draws=self._of_step(step),
            generator=step.generator,
            device=self.device,
            batch_slice=step.batch_slice,
        )
        hidden = self.sampler.sample(inputs)
        self.add(
            hidden=torch.full((), len(hidden.indices), device=self.device),
            patches=torch.full((), views * inputs.patches, device=self.device),
        )
        return hidden

    def _of_step(self, step: Step) -> tuple[float, float]:
        """The same in all parts of a batch, whose generators all start at the same place."""
        if self._shared_of != (step.index, step.generator):
            first, second = torch.rand(2, generator=step.generator, dtype=torch.float64).tolist()
            self._shared, self._shared_of = (first, second), (step.index, step.generator)
        return self._shared

    def summary(self) -> dict[str, Any]:
        """`hidden_share`: of the patches of the views that a mask was drawn for."""
        sums = self.take()
        return {"hidden_share": int(sums["hidden"]) / int(sums["patches"])} if sums else {}


def replaced(
    model: VisionTransformer,
    images: Tensor,
    hidden: PatchMask,
    token: MaskToken,
    *,
    patches: bool = False,
) -> Features:
    """Features of `images` whose hidden patches' embeddings are the mask token (BEiT, iBOT)."""
    return model.forward_features(
        images,
        mask=hidden.flags(),
        mask_token=token.mask_token,
        outputs=ForwardRequest(patches=patches),
    )


def dropped(model: VisionTransformer, images: Tensor, hidden: PatchMask) -> Tensor:
    """CLS tokens (V, D) of `images` without their hidden patches, as MAE leaves them out.

    Views that lose the same number go through together: one pass for every number there is.
    """
    order = hidden.flags().to(torch.uint8).argsort(dim=1, stable=True)  # what is seen comes first
    counts = sorted(set(hidden.counts.tolist()))
    tokens, views = [], []
    for count in counts:
        chosen = to_device((hidden.counts == count).nonzero()[:, 0], images.device)
        keep = order[chosen, : hidden.patches - count] if count else None
        tokens.append(model.forward_features(images[chosen], keep=keep).cls)
        views.append(chosen)
    in_order = torch.cat(views).argsort()
    return torch.cat(tokens)[in_order]
