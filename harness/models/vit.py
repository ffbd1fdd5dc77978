"""The network that training, methods and evaluators see: any family of vision transformer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harness.models.architectures import Architecture
from harness.models.families import family_of
from harness.models.families.vit import attention_in, forward_features
from harness.models.interface import (
    LOGITS_ONLY,
    Features,
    ForwardOutput,
    ForwardRequest,
    Normalisation,
    Saliency,
)
from harness.models.merging import merged_logits

__all__ = ["ForwardOutput", "Normalisation", "VisionTransformer"]


class VisionTransformer(nn.Module):
    """timm's network `vit`, able to run on any subset of its patches.

    Its family (`harness/models/families`) knows how. `vit` keeps timm's parameter names, so weights
    are exchanged with timm as they are.
    """

    norm_factor: Tensor | None  # (C, 1, 1)
    norm_shift: Tensor | None

    def __init__(self, vit: Any, shape: Architecture) -> None:
        super().__init__()
        self.vit = vit
        self.shape = shape
        self.family = family_of(shape)
        self.image_size = shape.image_size
        self.image_shape = shape.image_shape
        self.grid = self.family.grid(shape)
        self.prefix = shape.prefix_tokens
        self.source = "random weights"  # what it starts from, for messages
        self.weights_norm: Normalisation | None = None  # how its weights want images scaled
        # what turns images normalised otherwise into such; not among the weights
        self.register_buffer("norm_factor", None, persistent=False)
        self.register_buffer("norm_shift", None, persistent=False)
        self._watched = False
        self._nan_flag: Tensor | None = None  # 0, or NaN once something was not finite

    @property
    def patches(self) -> int:
        """N, of the grid."""
        return self.grid[0] * self.grid[1]

    def set_input_norm(self, weights_norm: Normalisation, input_norm: Normalisation) -> None:
        """Convert images normalised as `input_norm` into what the weights were trained on."""
        self.weights_norm = weights_norm
        if weights_norm == input_norm:
            return
        weights_std, input_std = torch.tensor(weights_norm.std), torch.tensor(input_norm.std)
        factor = input_std / weights_std
        shift = (torch.tensor(input_norm.mean) - torch.tensor(weights_norm.mean)) / weights_std
        self.norm_factor, self.norm_shift = factor.view(-1, 1, 1), shift.view(-1, 1, 1)

    def watch_nans(self) -> None:
        """From now on, remember whether a pass met a number that is not finite (`diverged`).

        The logits alone do not tell: fused attention over few keys gives finite values for queries
        and keys that are NaN. So queries and keys are looked at too, wherever a module makes them.
        The flag is kept on the device: no pass waits for it.
        """
        if self._watched:
            return
        self._watched = True
        for module in self.vit.modules():
            made = dict(module.named_children())
            makers = ("q_norm", "k_norm") if "q_norm" in made else ("qkv", "qk", "q", "k")
            for name in makers:
                if name in made:
                    made[name].register_forward_hook(self._note_nans_of_output)

    @property
    def nan_flag(self) -> Tensor | None:
        """What `diverged` looks at, on the device: 0, or NaN; None before a watched pass."""
        return self._nan_flag

    @property
    def diverged(self) -> bool:
        """Whether a watched pass met a number that is not finite. Waits for the device."""
        return self._nan_flag is not None and not bool(torch.isfinite(self._nan_flag))

    def _note_nans_of_output(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.note_nans(output)

    def note_nans(self, values: Tensor) -> None:
        """Where it is watched: remember whether all of `values` are finite."""
        if self._watched:
            # the sum of finite numbers is finite in fp32, and 0 times anything else is NaN
            flag = values.detach().sum(dtype=torch.float32) * 0
            self._nan_flag = flag if self._nan_flag is None else self._nan_flag + flag

    def forward(
        self,
        images: Tensor,
        *,
        keep: Tensor | None = None,
        outputs: ForwardRequest = LOGITS_ONLY,
        efficient: bool = True,
    ) -> ForwardOutput:
        """Logits for `images` (B, C, H, W), seeing only the patches `keep` (B, K), raster indices,
        and what else `outputs` asks for.

        `efficient=False` embeds every patch and runs the whole last block, as the papers count
        cost; the result is the same.
        """
        assert keep is None or self.family.maskable, "this network cannot leave patches out"
        output = self.family.forward(
            self.vit, self.preprocess(images), keep=keep, outputs=outputs, efficient=efficient
        )
        self.note_nans(output.logits)
        return output

    def forward_features(
        self,
        images: Tensor,
        *,
        keep: Tensor | None = None,
        mask: Tensor | None = None,
        mask_token: Tensor | None = None,
        outputs: ForwardRequest = LOGITS_ONLY,
        embed_all: bool = True,  # projecting gathered pixels rounds otherwise: recorded runs do
    ) -> Features:
        """What leaves the blocks for `images` of any size, which are not resized; plain ViTs only.

        `keep`, `mask` and `mask_token` are those of `families.vit.forward_features`.
        """
        return forward_features(
            self.vit,
            self.renormalise(images),
            keep=keep,
            mask=mask,
            mask_token=mask_token,
            outputs=outputs,
            embed_all=embed_all,
        )

    def probed_features(self, images: Tensor, *, blocks: int, average: bool) -> Tensor:
        """Class tokens of the last `blocks` blocks, each after the last norm, (B, blocks * D).

        `average` appends the mean of the last block's normed patch tokens: (B, blocks * D + D)
        (arXiv 2104.14294, appendix F.2). No gradient; plain ViTs only.
        """
        with torch.no_grad():
            features = forward_features(
                self.vit,
                self.preprocess(images),
                outputs=ForwardRequest(patches=True, cls_blocks=blocks),
            )
            parts = list(features.cls_blocks)
            if average:
                parts.append(features.patches.mean(dim=1))
            return torch.cat(parts, dim=1).float()

    def attention_by_head(self, images: Tensor) -> Tensor:
        """The class token's attention in the last block, (B, heads, N); plain ViTs only.

        Softmax is over all tokens: a row sums to less than 1 by what other prefix tokens get.
        """
        last = len(self.vit.blocks) - 1
        return attention_in(self.vit, self.preprocess(images), last, rows=1)[:, :, 0, self.prefix :]

    @torch.no_grad()
    def saliency(self, images: Tensor, saliency: Saliency) -> Tensor:
        """Scores (B, N) of all patches on this network's grid, without a forward to the end."""
        scores = self.family.saliency(self.vit, self.preprocess(images), saliency)
        self.note_nans(scores)  # the patches with the largest scores are chosen, whatever NaN means
        return scores

    def merged_logits(self, images: Tensor, merge: int) -> Tensor:
        """Logits when every block merges `merge` tokens away; plain ViTs only. No gradient."""
        logits = merged_logits(self.vit, self.preprocess(images), merge)
        self.note_nans(logits)
        return logits

    def preprocess(self, images: Tensor) -> Tensor:
        """Images as this network expects them: its own normalisation, its own size.

        A teacher of another size gets the student's augmented image, resized (bicubic, with
        antialiasing): both see the same crop.
        """
        images = self.renormalise(images)
        if images.shape[-2:] != self.image_shape:
            size = self.image_shape
            images = nn.functional.interpolate(images, size, mode="bicubic", antialias=True)
        return images

    def renormalise(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) of any size in this network's own normalisation; the same tensor
        where that is the one they have.
        """
        if self.norm_factor is None or self.norm_shift is None:
            return images
        return images * self.norm_factor.to(images) + self.norm_shift.to(images)
