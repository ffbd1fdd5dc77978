"""Top-1 and top-5 accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from harness.distributed import DistContext
from harness.evaluate.features import eval_mode
from harness.models.vit import VisionTransformer


@dataclass(frozen=True, slots=True)
class Scores:
    """`top1` and `top5` in percent and `loss` in nats, and which images the first choice got right,
    (N,), in their order.
    """

    metrics: dict[str, float]
    right: Tensor


def classify(model: VisionTransformer, batches: Iterable[tuple[Tensor, Tensor]]) -> Scores:
    """Over (images (B, C, H, W), labels (B,)), each image once.

    With five classes or fewer top-5 is left out. The model is in eval mode meanwhile.
    """
    with eval_mode(model):
        return accuracy(lambda images: model(images).logits, batches)


@torch.no_grad()
def accuracy(
    predict: Callable[[Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]
) -> Scores:
    """The same for anything that gives logits (B, classes) for images (B, C, H, W).

    Over the batches of all processes, where several evaluate together; one may have none.
    """
    hits1 = hits5 = count = among_many = 0
    loss = 0.0
    right: list[Tensor] = []
    for images, labels in batches:
        logits = predict(images).float()
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels.unsqueeze(1)
        right.append(ranked[:, 0].to("cpu", torch.uint8))
        hits1 += int(right[-1].sum())
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
    return Scores(metrics, _in_order(right))


def _in_order(right: list[Tensor]) -> Tensor:
    """The bits of all processes, which have taken the batches in turn, one after the other."""
    dist = DistContext.current()
    none = torch.zeros(0, dtype=torch.uint8)
    mine = torch.cat([none, *right])
    lengths = torch.tensor([len(batch) for batch in right], dtype=torch.int64)
    if dist.size == 1:
        return mine
    counts = torch.zeros(dist.size, dtype=torch.int64)
    counts[dist.rank] = len(right)
    dist.all_reduce_sum_([counts])
    batches = iter(torch.split(dist.all_gather(mine), dist.all_gather(lengths).tolist()))
    by_process = [[next(batches) for _ in range(count)] for count in counts.tolist()]
    return torch.cat(
        [one[turn] for turn in range(int(counts.max())) for one in by_process if turn < len(one)]
    )
