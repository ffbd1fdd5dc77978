"""Images with true and found boxes, as JSON values: what a report draws."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor

from harness.evaluate.average_precision import predictions
from harness.evaluate.png import PICTURES, png
from harness.models.vit import VisionTransformer

LEAST: Final = 0.5  # probability of what is drawn


@torch.no_grad()
def drawn_boxes(
    network: VisionTransformer, batches: Iterable[tuple[Tensor, Tensor, Tensor]]
) -> dict[str, Any]:
    """Of (images normalised, pixels in 0..255, boxes (B, M, 6)), the first of the first batch.

    A box is class, left, top, width and height in shares of the picture, and what is found has its
    probability too.
    """
    images, pixels, truth = next(iter(batches))
    found = predictions(network, images[:PICTURES]).cpu()
    pictures = []
    for image, mine, true in zip(pixels[:PICTURES], found, truth.cpu(), strict=False):
        pictures.append(
            {
                "png": png(image),
                "found": [_box(row, probable=True) for row in mine if float(row[5]) >= LEAST],
                "truth": [_box(row, probable=False) for row in true if float(row[0]) >= 0],
            }
        )
    return {"pictures": pictures}


def _box(row: Tensor, *, probable: bool) -> list[float]:
    label, x, y, wide, tall, last = row.tolist()
    box = [int(label), x - wide / 2, y - tall / 2, wide, tall]
    return [*box, last] if probable else box
