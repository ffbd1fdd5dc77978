"""The loss over pairs of views, running centres, and what watches for collapse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def sharpened(logits: Tensor, center: Tensor, temperature: float) -> Tensor:
    """The teacher's distribution (..., out_dim): centred, then sharpened."""
    return ((logits.float() - center) / temperature).softmax(dim=-1)


def view_loss(teacher: Tensor, student: Sequence[Tensor], temperature: float) -> Tensor:
    """Mean cross-entropy over all pairs of a teacher's view and another view of the student.

    `teacher` (V, B, D) holds distributions of the first V views, `student` logits (B, D) of all
    views in the same order. The sum over pairs is taken before the product: it costs one product
    per view, not one per pair.
    """
    targets = teacher.detach()
    every = targets.sum(dim=0)
    total = torch.zeros((), device=targets.device)
    for view, logits in enumerate(student):
        others = every - targets[view] if view < len(targets) else every
        total = total - (others * functional.log_softmax(logits.float() / temperature, -1)).sum()
    pairs = len(targets) * (len(student) - 1)
    return total / (pairs * targets.shape[1])


class Center:
    """The running mean of the teacher's logits, (1, out_dim); starts at 0.

    `see` adds up what a (micro-)batch gave, `update` moves the centre once per step, over all
    processes.
    """

    def __init__(self, out_dim: int, momentum: float, device: torch.device) -> None:
        self.value = torch.zeros(1, out_dim, device=device)
        self._momentum = momentum
        self._sum = torch.zeros(1, out_dim, device=device)
        self._count = 0

    @torch.no_grad()
    def see(self, mean: Tensor, count: int) -> None:
        """The mean logits (1, out_dim) over `count` tokens."""
        self._sum += mean.detach().float() * count
        self._count += count

    @torch.no_grad()
    def update(self) -> None:
        """One step of the running mean."""
        total, count = self._sum, torch.tensor(float(self._count), device=self._sum.device)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(total)
            torch.distributed.all_reduce(count)
        self.value = self.value * self._momentum + total / count * (1 - self._momentum)
        self._sum, self._count = torch.zeros_like(self._sum), 0


class Watch:
    """Tells collapse from learning, by entropies in nats of the teacher's distributions.

    Uniform outputs: `teacher_entropy` near log(out_dim). One prototype for everything:
    `mean_entropy`, of the mean distribution, near 0. Healthy: the first low, the second high.
    """

    def __init__(self) -> None:
        self._entropy: Tensor | None = None
        self._mean: Tensor | None = None
        self._count = 0

    @torch.no_grad()
    def see(self, teacher: Tensor) -> None:
        """Distributions (V, B, out_dim)."""
        flat = teacher.flatten(0, 1)
        entropy, mean = entropies(flat).sum(), flat.sum(dim=0)
        self._entropy = entropy if self._entropy is None else self._entropy + entropy
        self._mean = mean if self._mean is None else self._mean + mean
        self._count += len(flat)

    def summary(self) -> dict[str, Any]:
        """Both entropies over what was seen since the last call."""
        if self._entropy is None or self._mean is None:
            return {}
        found = {
            "teacher_entropy": float(self._entropy) / self._count,
            "mean_entropy": float(entropies(self._mean / self._count)),
        }
        self._entropy, self._mean, self._count = None, None, 0
        return found

    def state(self) -> dict[str, Any]:
        """The open sums."""
        return {"entropy": self._entropy, "mean": self._mean, "count": self._count}

    def load_state(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue those."""
        self._count = state["count"]
        self._entropy, self._mean = (
            None if state[key] is None else state[key].to(device) for key in ("entropy", "mean")
        )


def entropies(distributions: Tensor) -> Tensor:
    """Entropy in nats over the last axis."""
    return -(distributions * distributions.clamp(min=1e-30).log()).sum(dim=-1)
