"""Features of whole images, and whether they still tell images apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from harness.models.tokens import encode
from harness.models.vit import VisionTransformer

COLLAPSED = 0.05
"""Below this `features/std` nothing is left that tells images apart; networks just initialised are
above it."""


@dataclass(frozen=True, slots=True)
class Features:
    """What a network makes of a set of images."""

    features: Tensor  # (N, D), of length 1
    labels: Tensor  # (N,)


@torch.no_grad()
def extract(model: VisionTransformer, batches: Iterable[tuple[Tensor, Tensor]]) -> Features:
    """The CLS token after the last norm, L2-normalised, of (images (B, C, H, W), labels (B,)).

    The model is in eval mode meanwhile.
    """
    training = model.training
    model.eval()
    features, labels = [], []
    for images, targets in batches:
        features.append(functional.normalize(encode(model, images).cls.float(), dim=1))
        labels.append(targets)
    model.train(training)
    return Features(torch.cat(features), torch.cat(labels))


def pixels(batches: Iterable[tuple[Tensor, Tensor]]) -> Features:
    """The images themselves as features: what a representation must beat."""
    found = [(images.flatten(1), labels) for images, labels in batches]
    return Features(
        torch.cat([functional.normalize(images, dim=1) for images, _ in found]),
        torch.cat([labels for _, labels in found]),
    )


def spread(features: Tensor) -> dict[str, float]:
    """`features/std` and `features/rank` of unit features (N, D).

    `std`: root mean square distance from their mean; 1 if they point everywhere, 0 if they are all
    the same. `rank`: effective number of dimensions, exp of the entropy of the covariance's
    eigenvalues (Roy and Vetterli 2007), from 1 to D.
    """
    centred = (features - features.mean(dim=0)).double()
    variance = centred.square().sum(dim=1).mean()
    shares = torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0)
    shares = shares / shares.sum().clamp(min=1e-300)
    entropy = -(shares * shares.clamp(min=1e-300).log()).sum()
    return {"features/std": float(variance.sqrt()), "features/rank": float(entropy.exp())}
