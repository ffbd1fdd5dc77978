"""What the objectives are made of: the loss over pairs of views, running centres, what watches for
collapse, schedules, and what is done to all tensors of a network at once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


def center_and_sharpen(logits: Tensor, center: Tensor, temperature: float) -> Tensor:
    """The teacher's distribution (..., out_dim): centred, then sharpened."""
    return (logits.float() - center).div_(temperature).softmax(dim=-1)


def log_distribution_(logits: Tensor, temperature: float) -> Tensor:
    """The logarithm of the student's distribution (..., out_dim); the logits are written to."""
    return torch.nn.functional.log_softmax(logits.float().div_(temperature), dim=-1)


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
        total = (
            total
            - (others * torch.nn.functional.log_softmax(logits.float() / temperature, -1)).sum()
        )
    pairs = len(targets) * (len(student) - 1)
    return total / (pairs * targets.shape[1])


class Counted(ABC):
    """What the processes of a run add up after every step, and a checkpoint keeps."""

    @abstractmethod
    def pending(self) -> list[Tensor]:
        """What is to be replaced by the sums over all processes before `update`."""

    @abstractmethod
    def update(self) -> None:
        """A step is over."""

    @abstractmethod
    def state(self) -> Any:
        """What `load_state` takes back."""

    @abstractmethod
    def load_state(self, state: Any, device: torch.device) -> None:
        """Continue from there."""

    def summary(self) -> dict[str, Any]:
        """Plain values about the steps since the last call."""
        return {}


class RunningSums(Counted):
    """Sums over steps and processes of what the method counts, by name."""

    def __init__(self) -> None:
        self._step: dict[str, Tensor] = {}  # this process's, of this step
        self._sums: dict[str, Tensor] = {}  # everybody's, of the steps before

    def add(self, **values: Tensor) -> None:
        """Add what a (micro-)batch gave."""
        with torch.no_grad():
            for name, value in values.items():
                self._step[name] = self._step[name] + value if name in self._step else value.clone()

    def pending(self) -> list[Tensor]:
        return list(self._step.values())

    def update(self) -> None:
        for name, value in self._step.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._step = {}

    def take(self) -> dict[str, Tensor]:
        """The sums since the last call; nothing where nothing was seen."""
        self.update()
        sums, self._sums = self._sums, {}
        return sums

    def state(self) -> dict[str, Tensor]:
        return {**self._sums}

    def load_state(self, state: dict[str, Tensor], device: torch.device) -> None:
        self._sums = {name: value.to(device) for name, value in state.items()}


class Center(Counted):
    """The running mean of the teacher's logits, (1, out_dim); starts at 0.

    `add` sums what a (micro-)batch gave, `update` moves the centre once per step.
    """

    def __init__(self, out_dim: int, momentum: float, device: torch.device) -> None:
        self.value = torch.zeros(1, out_dim, device=device)
        self._momentum = momentum
        self._sum = torch.zeros(1, out_dim, device=device)
        self._count = torch.zeros(1, device=device)

    def add(self, mean: Tensor, count: int) -> None:
        """The mean logits (1, out_dim) over `count` tokens."""
        with torch.no_grad():
            self._sum += mean.detach().float() * count
            self._count += count

    def pending(self) -> list[Tensor]:
        return [self._sum, self._count]

    def update(self) -> None:
        with torch.no_grad():
            mean = self._sum / self._count
            moved = self.value * self._momentum + mean * (1 - self._momentum)
            self.value = torch.where(self._count > 0, moved, self.value)  # nothing seen: it stays
            self._sum, self._count = torch.zeros_like(self._sum), torch.zeros_like(self._count)

    def state(self) -> Tensor:
        return self.value

    def load_state(self, state: Tensor, device: torch.device) -> None:
        self.value = state.to(device)


class CollapseMonitor(RunningSums):
    """Tells collapse from learning, by entropies in nats of the teacher's distributions.

    Uniform outputs: `teacher_entropy` near log(out_dim). One prototype for everything:
    `mean_entropy`, of the mean distribution, near 0. Healthy: the first low, the second high.
    """

    def observe(self, teacher: Tensor) -> None:
        """Distributions (V, B, out_dim)."""
        with torch.no_grad():
            flat = teacher.flatten(0, 1)
            count = torch.full((), len(flat), dtype=torch.float32, device=flat.device)
            self.add(entropy=entropies(flat).sum(), mean=flat.sum(dim=0), count=count)

    def summary(self) -> dict[str, Any]:
        """Both entropies over what was seen since the last call."""
        sums = self.take()
        if not sums:
            return {}
        count = float(sums["count"])
        return {
            "teacher_entropy": float(sums["entropy"]) / count,
            "mean_entropy": float(entropies(sums["mean"] / count)),
        }


def entropies(distributions: Tensor) -> Tensor:
    """Entropy in nats over the last axis."""
    return -(distributions * distributions.clamp(min=1e-30).log()).sum(dim=-1)


def cosine(start: float, end: float, step: int, total: int) -> float:
    """From `start` at step 0 towards `end`, which step `total` would reach."""
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * step / total))


def warmed_up(start: float, end: float, epoch: int, epochs: int) -> float:
    """Linear by whole epochs from `start` (epoch 0) to `end` (epoch `epochs` - 1), then `end`."""
    if epoch >= epochs:
        return end
    return start if epochs == 1 else start + (end - start) * epoch / (epochs - 1)


def clip_grad_norm_per_tensor_(gradients: list[Tensor], most: float) -> None:
    """Shrink each tensor, in place, to a norm of at most `most` of its own: DINO does not clip the
    norm of all together (arXiv 2104.14294, as released). Bit for bit what a loop over the tensors
    gives on a CPU; on a GPU sums may be rounded otherwise.
    """
    with torch.no_grad():
        if not gradients:
            return
        norms = torch.stack(torch._foreach_norm(gradients))
        scales = (most / (norms + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(gradients, scales.unbind())


def ema_update_(slow: list[Tensor], fast: list[Tensor], share: float) -> None:
    """Move each of `slow` by `share` of the way to its partner in `fast`, in place."""
    with torch.no_grad():
        assert len(slow) == len(fast)
        torch._foreach_lerp_(slow, fast, share)
