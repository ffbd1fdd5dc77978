"""Average precision of found boxes, as COCO counts it, by COCO's own code (pycocotools)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.distributed import DistContext
from harness.errors import DataError
from harness.evaluate.features import eval_mode
from harness.models.vit import VisionTransformer

METRICS: Final = ("ap", "ap50", "ap75")
"""In COCO's order: the mean over IoU 0.50 to 0.95, at 0.50, and at 0.75; all in percent."""
LARGEST_BATCH: Final = 2**20  # images
SCALE: Final = 1000.0  # COCO asks for pixels; of how large a picture makes no difference


def detect(model: VisionTransformer, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """`ap`, `ap50` and `ap75` over (images (B, C, H, W), boxes (B, M, 6)), each image once.

    Over the batches of all processes, where several evaluate together. The model is in eval mode
    meanwhile.
    """
    with eval_mode(model):
        found, truth, images = _collected(model, batches)
    return average_precision(found, truth, images)


@torch.no_grad()
def predictions(model: VisionTransformer, images: Tensor) -> Tensor:
    """What each detection token found, (B, M, 6): its most probable class, box and probability.

    A box is centre x and y, width and height, shares of the picture. As YOLOS is judged, "nothing"
    does not count among the classes; its probability lowers that of the others.
    """
    output = model(images)
    assert output.boxes is not None
    best = output.logits.float().softmax(dim=2)[:, :, :-1].max(dim=2)
    label = best.indices[..., None].float()
    return torch.cat([label, output.boxes.float(), best.values[..., None]], dim=2)


def _collected(
    model: VisionTransformer, batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Found (F, 7) and true boxes (T, 7), each after the number of its image, and the numbers.

    Images are numbered in the order of one process, whoever has them, for COCO takes boxes of equal
    probability in that order.
    """
    dist = DistContext.current()
    found, truth, numbers = (torch.zeros(0, width, dtype=torch.float64) for width in (7, 7, 1))
    for at, (images, boxes) in enumerate(batches):
        number = (at * dist.size + dist.rank) * LARGEST_BATCH + torch.arange(len(images))
        own = predictions(model, images).cpu()
        found = torch.cat([found, _numbered(own, number).flatten(0, 1)])
        rows = _numbered(boxes.cpu(), number)
        truth = torch.cat([truth, rows[boxes[:, :, 0].cpu() >= 0]])
        numbers = torch.cat([numbers, number[:, None].double()])
    gathered = [dist.all_gather(part).numpy() for part in (found, truth, numbers)]
    return gathered[0], gathered[1], gathered[2][:, 0]


def _numbered(rows: Tensor, number: Tensor) -> Tensor:
    of_row = number[:, None, None].expand(-1, rows.shape[1], 1)
    return torch.cat([of_row.double(), rows.double()], dim=2)


def average_precision(
    found: NDArray[Any], truth: NDArray[Any], images: NDArray[Any]
) -> dict[str, float]:
    """Of boxes in the images with these numbers (I,).

    A found box (F, 7) is image, class, centre x and y, width and height, and score; a true one has
    1 for a crowd, or 0, in the place of the score. Precision does not depend on the scale of x or
    y. DataError where there is no object at all.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not (truth[:, 6] == 0).any():
        raise DataError("the images that judge hold no object: there is nothing to find")
    if len(found) == 0:
        return dict.fromkeys(METRICS, 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of every step
        known = COCO()
        known.dataset = {
            "info": {},
            "images": [{"id": int(number)} for number in images],
            "categories": [{"id": int(label)} for label in np.unique(truth[:, 1])],
            "annotations": [
                {**one, "id": at, "iscrowd": int(row[6]), "area": one["bbox"][2] * one["bbox"][3]}
                for at, (one, row) in enumerate(zip(_as_coco(truth), truth, strict=True), 1)
            ],
        }
        known.createIndex()
        # boxes of a class that no image has are counted nowhere
        result = [
            {**one, "score": float(row[6])} for one, row in zip(_as_coco(found), found, strict=True)
        ]
        judge = COCOeval(known, known.loadRes(result), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {name: 100 * float(judge.stats[at]) for at, name in enumerate(METRICS)}


def _as_coco(rows: NDArray[Any]) -> list[dict[str, Any]]:
    """Image, class, and box as left, top, width and height."""
    sides = rows[:, 4:6] * SCALE
    corner = rows[:, 2:4] * SCALE - sides / 2
    boxes = np.concatenate([corner, sides], axis=1)
    return [
        {"image_id": int(row[0]), "category_id": int(row[1]), "bbox": box.tolist()}
        for row, box in zip(rows, boxes, strict=True)
    ]
