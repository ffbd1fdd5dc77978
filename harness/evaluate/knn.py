"""Nearest neighbours in feature space: DINO's weighted vote, and votes of few images per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from harness.evaluate.features import LabelledFeatures

KS = (10, 20, 100, 200)
TEMPERATURE = 0.07
SIMILARITIES = 1 << 27
"""How many cosines are held at once: 512 MB, whatever the size of the bank."""
MOST_QUERIES = 1000  # at a time
# AttMask's protocol: images of every class taken from these places in file order
FEW_SHOT_STARTS: Mapping[int, Sequence[int]] = {
    1: (0, 5, 10, 15, 20),
    5: (0, 5, 10, 15, 20),
    10: (0, 10, 20, 30, 40),
    20: (0, 20, 40, 60, 80),
}


def knn_metrics(
    bank: LabelledFeatures, queries: LabelledFeatures, *, classes: int
) -> dict[str, float]:
    """`val/knn20_top1` for every k of KS, `val/knn_nu5_top1` for every few-shot bank; percent.

    Without those that the bank has too few images for.
    """
    voted = knn_accuracy(bank, queries, ks=KS, classes=classes)
    metrics = {f"val/knn{k}_top1": value for k, value in voted.items()}
    for images in FEW_SHOT_STARTS:
        few = few_shot_accuracy(bank, queries, images=images, classes=classes)
        if few is not None:
            metrics[f"val/knn_nu{images}_top1"] = few
    return metrics


def knn_accuracy(
    bank: LabelledFeatures, queries: LabelledFeatures, *, ks: Sequence[int], classes: int
) -> dict[int, float]:
    """Top-1 in percent for every k that the bank can serve.

    The k most similar images of the bank vote for their class with weight exp(cosine / 0.07)
    (arXiv 1805.01978; arXiv 2104.14294, section 4.1). Both sets of features have length 1.
    """
    served = [k for k in ks if k <= len(bank.labels)]
    if not served:
        return {}
    device, count = queries.features.device, len(queries.labels)
    hits = torch.zeros(len(served), dtype=torch.int64, device=device)  # read once, at the end
    chunk = max(1, min(MOST_QUERIES, SIMILARITIES // len(bank.labels)))
    for first in range(0, count, chunk):
        asked = queries.features[first : first + chunk]
        labels = queries.labels[first : first + chunk]
        similarity, nearest = (asked @ bank.features.T).topk(max(served), dim=1)
        votes, voters = (similarity / TEMPERATURE).exp(), bank.labels[nearest]
        for index, k in enumerate(served):
            sums = torch.zeros(len(asked), classes, device=device)
            sums.scatter_add_(1, voters[:, :k], votes[:, :k])
            hits[index] += (sums.argmax(dim=1) == labels).sum()
    return {k: 100 * hit / count for k, hit in zip(served, hits.tolist(), strict=True)}


def few_shot_accuracy(
    bank: LabelledFeatures, queries: LabelledFeatures, *, images: int, classes: int
) -> float | None:
    """Mean top-1 in percent over five banks of `images` per class; None if a class has too few.

    With one image the nearest decides, else k is 20, or the whole bank where that is smaller
    (arXiv 2203.12719, section 4.2, as released).
    """
    found = []
    for start in FEW_SHOT_STARTS[images]:
        chosen = _per_class(bank.labels, classes, start, images)
        if chosen is None:
            return None
        few = LabelledFeatures(bank.features[chosen], bank.labels[chosen])
        k = 1 if images == 1 else min(20, len(chosen))
        found.append(knn_accuracy(few, queries, ks=[k], classes=classes)[k])
    return sum(found) / len(found)


def _per_class(labels: Tensor, classes: int, start: int, images: int) -> Tensor | None:
    parts = [torch.nonzero(labels == label)[start : start + images, 0] for label in range(classes)]
    return None if any(len(part) < images for part in parts) else torch.cat(parts)
