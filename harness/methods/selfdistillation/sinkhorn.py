"""Sinkhorn-Knopp: a batch is spread evenly over the prototypes (arXiv 2006.09882, section 3.2).

Q = diag(u) exp(logits / T) diag(v), u for prototypes and v for samples. An iteration gives every
prototype the weight 1 / K, then every sample the weight 1 / B. As the samples come last, a sample's
row of Q, scaled to a sum of 1, is softmax(logits / T + log u): log u alone, (1, K), is what the
batch must agree on. Everything is done in logarithms, so no temperature is too low.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.distributed import DistContext
from harness.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def prototype_offsets(
    parts: Sequence[Tensor], temperature: float, iterations: int, prototypes: int
) -> Tensor:
    """log u (1, K) after so many iterations over all logits (B, K), which stand in `parts`, here
    and in the other processes.
    """
    dist = DistContext.current()
    samples: list[Tensor | float] = [0.0] * len(parts)  # log v, (B, 1) each
    offsets = torch.zeros(1, prototypes, device=parts[0].device)
    with torch.no_grad():
        for _ in range(iterations):
            offsets = -_log_sums(parts, samples, temperature, offsets, dist)
            samples = [
                -(part.float() / temperature + offsets).logsumexp(dim=1, keepdim=True)
                for part in parts
            ]
    return offsets


def _log_sums(
    parts: Sequence[Tensor],
    samples: Sequence[Tensor | float],
    temperature: float,
    like: Tensor,
    dist: DistContext,
) -> Tensor:
    """log of the sum over all samples of exp(logits / T) v, (1, K); 0 where there are none."""
    largest = torch.full_like(like, -torch.inf)
    for part, sample in zip(parts, samples, strict=True):
        if len(part):
            scores = part.float() / temperature + sample
            largest = torch.maximum(largest, scores.amax(dim=0, keepdim=True))
    largest = dist.all_gather(largest).amax(dim=0, keepdim=True)
    sums = torch.zeros_like(like)
    for part, sample in zip(parts, samples, strict=True):
        sums += (part.float() / temperature + sample - largest).exp().sum(dim=0, keepdim=True)
    dist.all_reduce_sum_([sums])
    return torch.where(largest == -torch.inf, 0.0, largest + sums.log())


def assigned(logits: Tensor, offsets: Tensor, temperature: float) -> Tensor:
    """The targets (B, K) of samples of that batch."""
    return (logits.float() / temperature + offsets).softmax(dim=-1)
