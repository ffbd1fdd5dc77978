"""Batch normalisation over the whole batch of a step, whichever processes compute it, on any
device; and the two-layer heads that have it (arXiv 2310.13593).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.distributed import DistContext

MOMENTUM = 0.1  # of the running statistics: the share of the newest
EPS = 1e-5


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        DistContext.current().all_reduce_sum_([total])
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        DistContext.current().all_reduce_sum_([total])
        return total


class GlobalBatchNorm(nn.Module):
    """torch's `BatchNorm1d` of rows (B, D) which several processes may share, the CPU included.

    Losses of the processes are added up with their share of the batch as weight, as the training
    loop does: gradients then equal those of one process. Statistics are in fp32.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, rows: Tensor) -> Tensor:
        """Normalised by the batch's statistics in training mode, else by the running ones."""
        with torch.autocast(rows.device.type, enabled=False):
            rows = rows.float()
            mean, variance = self.running_mean, self.running_var
            if self.training:
                mean, variance = self._statistics(rows)
            scale = self.weight * (variance + EPS).rsqrt()
            return (rows - mean) * scale + self.bias

    def _statistics(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and (biased) variance of the batch, noted in the running ones (unbiased)."""
        together = DistContext.current().size > 1
        count = rows.new_full((1,), len(rows))
        first = torch.cat([rows.sum(dim=0), count])
        first = _Sum.apply(first) if together else first
        images = first[-1].detach()
        mean = first[:-1] / images
        second = (rows - mean).square().sum(dim=0)
        second = _Sum.apply(second) if together else second
        variance: Tensor = second / images
        with torch.no_grad():
            unbiased = variance * images / (images - 1).clamp(min=1)
            self.running_mean.lerp_(mean, MOMENTUM)
            self.running_var.lerp_(unbiased, MOMENTUM)
        return mean, variance


class EmbeddingHead(nn.Module):
    """Two linear layers without bias around a batch norm and a ReLU: rows (B, D) to (B, D).

    Their weights start as all of MAE's, Xavier (naver-ai/lut, as released).
    """

    def __init__(self, inputs: int, *, hidden: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden, bias=False)
        self.norm = GlobalBatchNorm(hidden)
        self.second = nn.Linear(hidden, outputs, bias=False)
        for layer in (self.first, self.second):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, rows: Tensor) -> Tensor:
        """The embeddings."""
        embedded: Tensor = self.second(functional.relu(self.norm(self.first(rows))))
        return embedded
