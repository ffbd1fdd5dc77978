"""Images as text, for files that a report draws from, and which of them are kept."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Final

import torch
from PIL import Image
from torch import Tensor

PICTURES: Final = 8
"""Images that an evaluation keeps for looking at."""


class FirstOfClasses:
    """Chooses them: the first image of each of the first classes to appear."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def among(self, labels: Tensor) -> Iterator[tuple[int, int]]:
        """Place and label of those in the next batch, whose labels (B,) these are."""
        if len(self._seen) == PICTURES:
            return
        for at, label in enumerate(labels.tolist()):
            if label not in self._seen and len(self._seen) < PICTURES:
                self._seen.add(label)
                yield at, label


def png(pixels: Tensor) -> str:
    """An image (C, H, W) in 0..255, grey or RGB, as PNG in base64."""
    raw = pixels.round().clamp(0, 255).to(torch.uint8).cpu()
    array = raw[0].numpy() if len(raw) == 1 else raw.permute(1, 2, 0).numpy()
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def levels(values: Tensor) -> Tensor:
    """Log energies (1, H, W) as levels of grey in 0..255, from the lowest to the highest."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low).clamp(min=1e-6) * 255
