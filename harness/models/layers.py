"""Modules beside timm's: stochastic depth whose draws belong to the images of the whole batch, and
the projection head and the mask token of DINO and iBOT.
"""

from __future__ import annotations

import torch
from timm.layers.drop import DropPath
from torch import Tensor, nn
from torch.nn import functional

from harness.batch_slice import BatchSlice


class StochasticDepth(nn.Module):
    """timm's `DropPath`, bit for bit where a batch is computed at once."""

    def __init__(self, replaced: DropPath) -> None:
        super().__init__()
        self.drop = float(replaced.drop_prob or 0.0)
        self.drops = self.drop > 0
        self.scale = replaced.scale_by_keep
        self.batch_slice = BatchSlice()

    def forward(self, branch: Tensor) -> Tensor:
        """The branch (B, ...) of a residual block, 0 for the images that skip it."""
        if not self.drops or not self.training:
            return branch
        return branch * self.draw(branch)

    def draw(self, branch: Tensor) -> Tensor:
        """(B, 1, ...): 0 for the images that skip it, and what keeps the mean for the others."""
        keep, rest = 1 - self.drop, (1,) * (branch.ndim - 1)
        mask = self.batch_slice.draw_for_slice(
            len(branch), lambda rows: branch.new_empty(rows, *rest).bernoulli_(keep)
        )
        return mask / keep if keep > 0 and self.scale else mask


def replace_drop_path(network: nn.Module) -> list[StochasticDepth]:
    """Replace timm's modules in a network; `set_batch_slice` is for those that took their place."""
    replacements = []
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, DropPath):
                new = StochasticDepth(child).train(child.training)
                setattr(parent, name, new)
                replacements.append(new)
    return replacements


def set_batch_slice(depths: list[StochasticDepth], batch_slice: BatchSlice) -> None:
    """Whose draws the next passes are."""
    for depth in depths:
        depth.batch_slice = batch_slice


class ProjectionHead(nn.Module):
    """Tokens (..., D) to logits (..., out_dim), in two halves that can be called apart.

    Three layers with GELU, trunc-normal 0.02 and zero bias, L2 normalisation, and a linear layer
    whose rows are `gain * direction / |direction|` (arXiv 2104.14294, appendix C). The gain starts
    at 1 and is trained only if `norm_last_layer` is false.
    """

    def __init__(
        self, width: int, *, hidden: int, bottleneck: int, out_dim: int, norm_last_layer: bool
    ) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.direction = nn.Parameter(torch.empty(out_dim, bottleneck))
        nn.init.kaiming_uniform_(self.direction, a=5**0.5)  # as nn.Linear
        self.gain = nn.Parameter(torch.ones(out_dim, 1), requires_grad=not norm_last_layer)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of `tokens`."""
        return self.project(self.embed(tokens))

    def embed(self, tokens: Tensor) -> Tensor:
        """Unit vectors (..., bottleneck)."""
        return functional.normalize(self.mlp(tokens), dim=-1)

    def project(self, embedded: Tensor, prototypes: Tensor | None = None) -> Tensor:
        """Logits of unit vectors: linear, so the mean of logits is the logits of the mean.

        `prototypes` are the head's own, where the caller needs them more than once.
        """
        return functional.linear(embedded, self.prototypes() if prototypes is None else prototypes)

    def prototypes(self) -> Tensor:
        """The rows (out_dim, bottleneck) that unit vectors meet."""
        # as `weight_norm` of torch.nn.utils: one pass over them, and one for their gradients
        return torch._weight_norm(self.direction, self.gain, 0)

    def last_layer(self) -> list[nn.Parameter]:
        """What DINO keeps frozen in the first epochs."""
        return [self.direction, self.gain]


class MaskToken(nn.Module):
    """The learned vector (1, D) that stands for a hidden patch; starts at 0 (arXiv 2111.07832)."""

    def __init__(self, width: int, device: torch.device) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, width, device=device))
