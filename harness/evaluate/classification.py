"""Top-1 and top-5 accuracy."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from harness.models.vit import VisionTransformer


@torch.no_grad()
def classify(
    model: VisionTransformer, batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, float]:
    """`top1` and `top5` in percent and `loss` in nats over (images (B, C, H, W), labels (B,)), each
    image once.

    With five classes or fewer top-5 is left out. The model is in eval mode meanwhile.
    """
    training = model.training
    model.eval()
    hits1 = hits5 = count = 0
    loss = 0.0
    for images, labels in batches:
        logits = model(images).logits.float()
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels.unsqueeze(1)
        hits1 += int(ranked[:, 0].sum())
        hits5 += int(ranked.sum())
        loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
        count += len(labels)
    model.train(training)
    found = {"top1": 100 * hits1 / count, "loss": loss / count}
    if logits.shape[1] > 5:
        found["top5"] = 100 * hits5 / count
    return found
