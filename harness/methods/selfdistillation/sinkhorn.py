"""Sinkhorn-Knopp: a batch is spread evenly over the prototypes (arXiv 2006.09882, section 3.2).

Q = diag(u) exp(logits / T) diag(v), u for prototypes and v for samples. An iteration gives every
prototype the weight 1 / K, then every sample the weight 1 / B. As the samples come last, a sample's
row of Q, scaled to a sum of 1, is softmax(logits / T + log u): log u alone, (1, K), is what the
batch must agree on. Everything is done in logarithms, so no temperature is too low; on a CPU some
samples at a time, as many as its cache holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.data.chunks import chunks
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
    offsets = torch.zeros(1, prototypes, device=parts[0].device)
    with torch.no_grad():
        samples = [torch.zeros(len(part), 1, device=part.device) for part in parts]  # log v
        for iteration in range(iterations):
            if iteration > 0:
                for part, sample in zip(parts, samples, strict=True):
                    for piece in chunks(part):
                        scores = _scores(part[piece], temperature, offsets)
                        sample[piece] = -scores.logsumexp(dim=1, keepdim=True)
            offsets = -_log_sums(parts, samples, temperature, offsets, dist)
    return offsets


def _log_sums(
    parts: Sequence[Tensor],
    samples: Sequence[Tensor],
    temperature: float,
    like: Tensor,
    dist: DistContext,
) -> Tensor:
    """log of the sum over all samples of exp(logits / T) v, (1, K); 0 where there are none."""
    largest = torch.full_like(like, -torch.inf)
    for part, sample in zip(parts, samples, strict=True):
        for piece in chunks(part):
            scores = _scores(part[piece], temperature, sample[piece])
            largest = torch.maximum(largest, scores.amax(dim=0, keepdim=True))
    largest = dist.all_gather(largest).amax(dim=0, keepdim=True)
    sums = torch.zeros_like(like)
    for part, sample in zip(parts, samples, strict=True):
        for piece in chunks(part):
            scores = _scores(part[piece], temperature, sample[piece])
            sums += scores.sub_(largest).exp_().sum(dim=0, keepdim=True)
    dist.all_reduce_sum_([sums])
    return torch.where(largest == -torch.inf, 0.0, largest + sums.log())


def _scores(logits: Tensor, temperature: float, scaling: Tensor) -> Tensor:
    """log of exp(logits / T), scaled by log u (1, K) or log v (B, 1); memory of its own."""
    return (logits.float() / temperature).add_(scaling)


def assigned(logits: Tensor, offsets: Tensor, temperature: float) -> Tensor:
    """The targets (B, K) of samples of that batch."""
    out = torch.empty(logits.shape, device=logits.device)
    for piece in chunks(logits):
        scores = _scores(logits[piece], temperature, offsets)
        torch.softmax(scores, dim=-1, out=out[piece])
    return out
