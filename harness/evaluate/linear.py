"""Many linear classifiers on the same features, one for each learning rate, trained side by side.

They share every batch, so a sweep costs one pass over the images. Weights of all of them are one
tensor and their gradients closed forms.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

MOMENTUM = 0.9
INITIAL_STD = 0.01
CHUNK = 1000  # images at a time when judged


class LinearHeads:
    """R softmax classifiers by SGD with momentum 0.9, without weight decay (arXiv 2104.14294,
    as released): weights from N(0, 0.01), the same for all; biases 0.
    """

    def __init__(
        self,
        rates: Sequence[float],
        *,
        width: int,
        classes: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        first = INITIAL_STD * torch.randn(width, classes, generator=generator)
        self.rates = torch.tensor(rates, device=device)[:, None, None]
        self.weight = first.to(device).repeat(len(rates), 1, 1)  # (R, D, classes)
        self.bias = torch.zeros(len(rates), 1, classes, device=device)
        self._velocity = torch.zeros_like(self.weight), torch.zeros_like(self.bias)

    def step(self, features: Tensor, labels: Tensor, lr_factor: float) -> None:
        """One step on (B, D) and (B,) with `lr_factor` of every rate."""
        wrong = self.logits(features).softmax(dim=2) - functional.one_hot(
            labels, self.bias.shape[2]
        )
        wrong /= len(labels)
        gradients = features.T @ wrong, wrong.sum(dim=1, keepdim=True)
        parts = zip((self.weight, self.bias), self._velocity, gradients, strict=True)
        for parameter, velocity, gradient in parts:
            velocity.mul_(MOMENTUM).add_(gradient)
            parameter.sub_(lr_factor * self.rates * velocity)

    def logits(self, features: Tensor) -> Tensor:
        """(R, B, classes) for (B, D)."""
        return features @ self.weight + self.bias

    def accuracy(self, features: Tensor, labels: Tensor) -> list[float]:
        """Top-1 of each classifier, in percent; one that diverged has 0."""
        hits = torch.zeros(len(self.rates), dtype=torch.int64, device=features.device)
        for first in range(0, len(labels), CHUNK):
            logits = self.logits(features[first : first + CHUNK])
            right = logits.argmax(dim=2) == labels[first : first + CHUNK]
            hits += (right & logits.isfinite().all(dim=2)).sum(dim=1)
        return [100 * hit / len(labels) for hit in hits.tolist()]

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold."""
        weight, bias = self._velocity
        return {"weight": self.weight, "bias": self.bias, "v_weight": weight, "v_bias": bias}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
