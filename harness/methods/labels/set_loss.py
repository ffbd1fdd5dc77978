"""The loss of a set of boxes (DETR, Carion et al. 2020, arXiv 2005.12872), as YOLOS has it.

Each object of an image is matched with one detection token, so that the sum of costs is least: less
the probability of its class, 5 times the L1 distance, less 2 times the generalised IoU of the
boxes. Matched tokens learn class and box, all others that they found nothing, with a tenth of the
weight.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_convert, generalized_box_iou

from harness.distributed import DistContext
from harness.methods.labels import LabelLoss
from harness.models.interface import ForwardOutput
from harness.transfer import to_device

if TYPE_CHECKING:
    from harness.methods import Batch, Step

CLASS, L1, GIOU = 1.0, 5.0, 2.0
"""Of costs and losses."""
NOTHING: Final = 0.1  # weight of the class "no object"


class SetLoss(LabelLoss):
    """`class`, `l1` and `giou`, each with its weight.

    `class` is a weighted mean over the detection tokens of the batch; the others are sums over its
    objects, over their number (at least 1). The number is that of the whole batch, however many
    processes and micro-batches there are.
    """

    def __init__(self, tokens: int) -> None:
        self._tokens = tokens  # detection tokens of an image
        self._whole: Tensor | None = None  # (3,): images, objects and matched tokens of the batch

    def prepare(self, pieces: Iterable[tuple[Batch, Step]]) -> None:
        """Count what is in the batch."""
        counted = torch.stack([self._count(batch.targets) for batch, _ in pieces]).sum(dim=0)
        DistContext.current().all_reduce_sum_([counted])
        self._whole = counted

    def _count(self, targets: Tensor) -> Tensor:
        objects = is_object(targets).sum(dim=1)
        images = objects.new_tensor(len(targets))
        matched = objects.clamp(max=self._tokens).sum()
        return torch.stack([images, objects.sum(), matched]).double()

    def __call__(self, output: ForwardOutput, targets: Tensor) -> dict[str, Tensor]:
        """Targets are (B, T, 6), as `harness.data.dense` says."""
        assert output.boxes is not None
        assert self._whole is not None, "prepare comes first"
        logits, boxes = output.logits.float(), output.boxes.float()
        image, token, truth = match(logits, boxes, targets)
        images, objects, matched = self._whole.unbind()
        share = images / len(targets)  # so that the mean over the parts of a batch is its loss

        nothing = logits.shape[2] - 1
        labels = torch.full(logits.shape[:2], nothing, device=logits.device)
        labels[image, token] = truth[:, 0].long()
        weights = torch.ones(nothing + 1, device=logits.device)
        weights[nothing] = NOTHING
        wrong = functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), weight=weights, reduction="sum"
        )
        weight = matched + NOTHING * (images * self._tokens - matched)
        found, wanted = boxes[image, token], truth[:, 1:5]
        overlaps = generalized_box_iou(corners(found), corners(wanted)).diagonal()
        scale = share / objects.clamp(min=1)
        return {
            "class": CLASS * wrong * (share / weight).to(wrong),
            "l1": L1 * (found - wanted).abs().sum() * scale.to(wrong),
            "giou": GIOU * (1 - overlaps).sum() * scale.to(wrong),
        }


def is_object(targets: Tensor) -> Tensor:
    """(B, T): which rows are objects to be found; not those that fill up, and no crowds."""
    return (targets[:, :, 0] >= 0) & (targets[:, :, 5] == 0)


def corners(boxes: Tensor) -> Tensor:
    """From centres and sides to corners, (..., 4) each."""
    return box_convert(boxes, "cxcywh", "xyxy")


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of all images with the least sum of costs: image (P,), token (P,), and the row of
    the targets (P, 6). Of more objects than tokens some are left out.
    """
    there = is_object(targets)
    truth = targets[there]  # (T, 6), image after image
    batch, tokens, _ = logits.shape
    labels, wanted = truth[:, 0].long(), truth[:, 1:5]
    flat = boxes.flatten(0, 1)
    cost = (
        -CLASS * logits.softmax(dim=2).flatten(0, 1)[:, labels]
        + L1 * torch.cdist(flat, wanted, p=1)
        - GIOU * generalized_box_iou(corners(flat), corners(wanted))
    )
    # numbers that are not finite fail the run where the loss is looked at
    costs = torch.nan_to_num(cost).view(batch, tokens, len(truth)).cpu().numpy()
    chosen: list[tuple[int, int, int]] = []
    first = 0
    for number, count in enumerate(there.sum(dim=1).tolist()):
        rows, columns = linear_sum_assignment(costs[number, :, first : first + count])
        chosen += [(number, int(r), first + int(c)) for r, c in zip(rows, columns, strict=True)]
        first += count
    pairs = to_device(torch.tensor(chosen, dtype=torch.long).reshape(-1, 3), logits.device)
    return pairs[:, 0], pairs[:, 1], truth[pairs[:, 2]]
