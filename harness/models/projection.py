"""The projection head of DINO and iBOT: an MLP to a unit vector, then weight-normed prototypes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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

    def project(self, embedded: Tensor) -> Tensor:
        """Logits of unit vectors: linear, so the mean of logits is the logits of the mean."""
        weight = self.gain * functional.normalize(self.direction, dim=1)
        return functional.linear(embedded, weight)

    def last_layer(self) -> list[nn.Parameter]:
        """What DINO keeps frozen in the first epochs."""
        return [self.direction, self.gain]
