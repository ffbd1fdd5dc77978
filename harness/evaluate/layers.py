"""What the layers of a network do: how far and how evenly they look, and how many directions their
representations have.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from harness.evaluate.features import effective_rank, require_finite_features
from harness.models.families.vit import attention_rows, embed_tokens
from harness.models.vit import VisionTransformer

AT_ONCE = 50  # images: their attention is written out, for every pair of patches


def distances(rows: int, columns: int) -> Tensor:
    """(N, N): how far patches of a grid are from each other, in patches."""
    place = torch.arange(rows * columns)
    points = torch.stack([place.div(columns, rounding_mode="floor"), place % columns], 1).double()
    return torch.cdist(points, points).float()


@torch.no_grad()
def look_into_layers(
    model: VisionTransformer, batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics over (images (B, C, H, W), labels), and curves as JSON values.

    Of each block and head, over patches that ask: the mean distance of what they attend to, in
    patches, and the entropy of their attention to patches, in nats. Of the mean patch token after
    the last norm, over images: the singular values of the centred features, over the largest.
    """
    vit: Any = model.vit
    apart, sums, features, count = distances(*model.grid), None, [], 0
    pieces = (piece for images, _ in batches for piece in torch.split(images, AT_ONCE))
    for images in pieces:
        apart = apart.to(images.device)
        tokens, found = embed_tokens(vit, model.preprocess(images)), []
        for block in vit.blocks:
            attention = attention_rows(block, tokens, tokens.shape[1])
            shares = attention[:, :, model.prefix :, model.prefix :]
            shares = shares / shares.sum(dim=-1, keepdim=True)
            far = (shares * apart).sum(dim=-1).mean(dim=2)
            nats = -(shares * shares.clamp(min=1e-30).log()).sum(dim=-1).mean(dim=2)
            found.append(torch.stack([far, nats]).double().sum(dim=1))  # (2, heads)
            tokens = block(tokens)
        total = torch.stack(found)  # (depth, 2, heads)
        sums = total if sums is None else sums + total
        features.append(vit.norm(tokens)[:, model.prefix :].mean(dim=1).double())
        count += len(images)
    assert sums is not None, "there are images"
    collected = torch.cat(features)
    require_finite_features(collected, model)
    means = (sums / count).cpu()
    spectrum = _spectrum(collected)
    distance = means[:, 0].mean(dim=1)
    metrics = {
        "layers/distance_first": float(distance[0]),
        "layers/distance_last": float(distance[-1]),
        "layers/distance_even": float(apart.mean()),
        "layers/rank": effective_rank(spectrum.square()),
    }
    curves = {
        "distance": means[:, 0].tolist(),
        "entropy": means[:, 1].tolist(),
        "spectrum": (spectrum / spectrum[0].clamp(min=1e-300)).tolist(),
    }
    return metrics, curves


def _spectrum(features: Tensor) -> Tensor:
    """Singular values of centred features (N, D), the largest first."""
    centred = features - features.mean(dim=0)
    values = torch.linalg.eigvalsh(centred.T @ centred).flip(0).clamp(min=0)
    spectrum: Tensor = values.sqrt().cpu()
    return spectrum
