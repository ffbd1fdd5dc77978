"""Top-1 and top-5 accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional

from harness.distributed import DistContext
from harness.models.vit import VisionTransformer


def classify(
    model: VisionTransformer, batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, float]:
    """`top1` and `top5` in percent and `loss` in nats over (images (B, C, H, W), labels (B,)), each
    image once.

    With five classes or fewer top-5 is left out. The model is in eval mode meanwhile.
    """
    training = model.training
    model.eval()
    metrics = accuracy(lambda images: model(images).logits, batches)
    model.train(training)
    return metrics


@torch.no_grad()
def accuracy(
    predict: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, float]:
    """The same for anything that gives logits (B, classes) for images (B, C, H, W).

    Over the batches of all processes, where several evaluate together; one may have none.
    """
    hits1 = hits5 = count = among_many = 0
    loss = 0.0
    for images, labels in batches:
        logits = predict(images).float()
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels.unsqueeze(1)
        hits1 += int(ranked[:, 0].sum())
        hits5 += int(ranked.sum())
        loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
        count += len(labels)
        among_many += len(labels) if logits.shape[1] > 5 else 0
    # on the CPU, whatever the device: a process without a single image takes part as well
    sums = torch.tensor([hits1, hits5, count, among_many, loss], dtype=torch.float64)
    DistContext.current().all_reduce_sum_([sums])
    hits1, hits5, count, among_many, loss = sums.tolist()
    metrics = {"top1": 100 * hits1 / count, "loss": loss / count}
    if among_many:
        metrics["top5"] = 100 * hits5 / count
    return metrics
