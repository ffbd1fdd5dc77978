"""Features of whole images, and whether they still tell images apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.errors import RunFailed
from harness.models.vit import VisionTransformer


@dataclass(frozen=True, slots=True)
class LabelledFeatures:
    """What a network makes of a set of images."""

    features: Tensor  # (N, D), of length 1
    labels: Tensor  # (N,)


@torch.no_grad()
def extract(model: VisionTransformer, batches: Iterable[tuple[Tensor, Tensor]]) -> LabelledFeatures:
    """What the classifier sees, of length 1, of (images (B, C, H, W), labels (B,)).

    That is the CLS token after the last norm, or the mean of the tokens in networks without one.
    The model is in eval mode meanwhile. Without a batch there are no rows, of the right width: with
    few images not every process has one. Raises RunFailed where features are not finite.
    """
    device = next(model.parameters()).device
    features = [torch.empty(0, model.vit.head_hidden_size, device=device)]
    labels = [torch.empty(0, dtype=torch.int64, device=device)]
    lengths = [torch.empty(0, device=device)]
    with eval_mode(model), _before_the_head(model) as entered:
        for images, targets in batches:
            model(images)
            found = entered.pop().float()
            features.append(functional.normalize(found, dim=1))
            lengths.append(found.norm(dim=1))  # too large for fp32, they make features of 0
            labels.append(targets)
    require_finite_features(torch.cat(lengths), model)
    return LabelledFeatures(torch.cat(features), torch.cat(labels))


def require_finite_features(collected: Tensor, model: VisionTransformer) -> None:
    """Raise RunFailed where features of `model`, or their lengths, are not finite: whatever is
    computed of them would be about nothing. Waits for the device: once for all images.
    """
    if not bool(torch.isfinite(collected).all()):
        raise RunFailed(
            f"the network, which started from {model.source}, computes features that are not "
            "finite (NaN, infinite or too large for float32): look at its weights, or at the "
            "training that made them"
        )


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode for the length of a block."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _before_the_head(model: VisionTransformer) -> Iterator[list[Tensor]]:
    """Collects what enters the classifier (of the class token, where there are two)."""
    entered: list[Tensor] = []
    head = model.vit.get_classifier()
    head = head[0] if isinstance(head, tuple) else head
    hook = head.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    try:
        yield entered
    finally:
        hook.remove()


def pixels(batches: Iterable[tuple[Tensor, Tensor]]) -> LabelledFeatures:
    """The images themselves as features: what a representation must beat."""
    pairs = [(functional.normalize(images.flatten(1), dim=1), labels) for images, labels in batches]
    features, labels = zip(*pairs, strict=True)
    return LabelledFeatures(torch.cat(features), torch.cat(labels))


def spread(features: Tensor) -> dict[str, float]:
    """`features/std` and `features/rank` of unit features (N, D).

    `std`: root mean square distance from their mean; 1 if they point everywhere, 0 if they are all
    the same. `rank`: effective number of dimensions.
    """
    centred = (features - features.mean(dim=0)).double()
    variance = centred.square().sum(dim=1).mean()
    rank = effective_rank(torch.linalg.eigvalsh(centred.T @ centred).clamp(min=0))
    return {"features/std": float(variance.sqrt()), "features/rank": rank}


def effective_rank(eigenvalues: Tensor) -> float:
    """Effective number of dimensions of a covariance with these eigenvalues (D,), from 1 to D: exp
    of the entropy of their shares (Roy and Vetterli 2007).
    """
    shares = eigenvalues / eigenvalues.sum().clamp(min=1e-300)
    entropy = -(shares * shares.clamp(min=1e-300).log()).sum()
    return float(entropy.exp())
