"""What the class token looks at: on the object or beside it, at one place or everywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from harness.evaluate.patches import foreground_shares
from harness.evaluate.png import FirstOfClasses, levels, png
from harness.models.vit import VisionTransformer


class AttentionMeter:
    """Sums over batches, on their device; read once, at the end."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = self._patches = 0

    def add(self, attention: Tensor, foreground: Tensor | None) -> None:
        """`attention` (B, heads, N) that patches get; `foreground` (B, N), each patch's share of
        it.
        """
        shares = attention / attention.sum(dim=2, keepdim=True)
        statistics = {"entropy": -(shares * shares.clamp(min=1e-30).log()).sum(dim=2)}
        if foreground is not None:
            statistics["foreground"] = (shares * foreground[:, None]).sum(dim=2)
            statistics["area"] = foreground.mean(dim=1, keepdim=True)
        for name, values in statistics.items():
            summed = values.double().sum(dim=0)
            self._sums[name] = self._sums[name] + summed if name in self._sums else summed
        self._count += len(attention)
        self._patches = attention.shape[2]

    def metrics(self) -> dict[str, float]:
        """Means over images (and heads), by the names of `harness.tasks.attention`."""
        means = {name: summed / self._count for name, summed in self._sums.items()}
        found = {
            "attention/entropy": float(means["entropy"].mean()),
            "attention/entropy_even": math.log(self._patches),
        }
        if "foreground" in means:
            found["attention/foreground"] = 100 * float(means["foreground"].mean())
            found["attention/foreground_best"] = 100 * float(means["foreground"].max())
            found["attention/foreground_even"] = 100 * float(means["area"].mean())
        return found


def look(
    model: VisionTransformer,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    *,
    background: int | None,
    spectrograms: bool = False,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics over (images normalised, pixels in 0..255, labels), and pictures as JSON values.

    The pictures: the first image of each of the first classes to appear, PNG in base64, with the
    attention of every head (heads, N) over a grid (rows, columns); `upward` where the first row is
    the lowest, as of spectrograms.
    """
    meter, pictures, first = AttentionMeter(), list[dict[str, Any]](), FirstOfClasses()
    for images, pixels, labels in batches:
        attention = model.attention_by_head(images)
        foreground = None
        if background is not None:
            foreground = foreground_shares(
                pixels, model.shape.patch_grid, background=background, exact=spectrograms
            )
        meter.add(attention, foreground)
        for at, label in first.among(labels):
            drawn = levels(pixels[at]) if spectrograms else pixels[at]
            pictures.append(_picture(drawn, attention[at], label))
    about: dict[str, Any] = {"grid": list(model.grid), "pictures": pictures}
    if spectrograms:
        about["upward"] = True
    return meter.metrics(), about


def _picture(pixels: Tensor, attention: Tensor, label: int) -> dict[str, Any]:
    heads = [[round(value, 7) for value in head] for head in attention.cpu().tolist()]
    return {"label": label, "png": png(pixels), "heads": heads}
