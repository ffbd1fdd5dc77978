"""What is done to every parameter tensor of a network, to all of them at once.

Bit for bit what a loop over the tensors gives on a CPU; on a GPU sums may be rounded otherwise.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def clip_grad_norm_per_tensor_(gradients: list[Tensor], most: float) -> None:
    """Shrink each tensor, in place, to a norm of at most `most` of its own: DINO does not clip the
    norm of all together (arXiv 2104.14294, as released).
    """
    if not gradients:
        return
    norms = torch.stack(torch._foreach_norm(gradients))
    scales = (most / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, scales.unbind())


@torch.no_grad()
def ema_update_(slow: list[Tensor], fast: list[Tensor], share: float) -> None:
    """Move each of `slow` by `share` of the way to its partner in `fast`, in place."""
    assert len(slow) == len(fast)
    torch._foreach_lerp_(slow, fast, share)
