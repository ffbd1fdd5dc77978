"""Images as text, for files that a report draws from."""

from __future__ import annotations

import base64
import io

import torch
from PIL import Image
from torch import Tensor


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
