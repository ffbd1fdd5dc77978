"""Which patches of an image a masked teacher is shown, once its student is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from harness.evaluate.png import levels, png
from harness.masking.keep import kept_counts
from harness.masking.positions import distance_from_centre, evenness
from harness.models.architectures import Architecture

PICTURES: Final = 6  # images that are kept for looking at, each of another class


def look_at_kept(
    choose: Callable[[Tensor], Tensor],
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    shape: Architecture,
    *,
    background: int | None,
    spectrograms: bool,
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics over (images normalised, values as they are, labels), and pictures as JSON values.

    `choose` gives the patches (B, K) of `shape`, the teacher's, that it is shown.
    """
    counts = torch.zeros(shape.patches, dtype=torch.float64)
    content, even, images = 0.0, 0.0, 0
    pictures, shown = list[dict[str, Any]](), set[int]()
    for normalised, values, labels in batches:
        kept = choose(normalised)
        counts += kept_counts(kept, shape.patches).cpu()
        if background is not None:
            share = content_shares(values, shape, background=background, exact=spectrograms)
            content += float(share.gather(1, kept).mean(dim=1).sum())
            even += float(share.mean(dim=1).sum())
        images += len(labels)
        for at, label in enumerate(labels.tolist() if len(pictures) < PICTURES else ()):
            if label not in shown and len(pictures) < PICTURES:
                shown.add(label)
                drawn = levels(values[at]) if spectrograms else values[at]
                pictures.append({"label": label, "png": png(drawn), "kept": kept[at].tolist()})
    metrics = {
        "kept/evenness": evenness(counts),
        "kept/distance": distance_from_centre(counts, shape.grid),
    }
    if background is not None:
        metrics["kept/content"] = 100 * content / images
        metrics["kept/content_even"] = 100 * even / images
    return metrics, {
        "grid": list(shape.grid),
        "size": list(shape.image_shape),
        "patch": shape.patch_size,
        "stride": shape.stride or shape.patch_size,
        "spectrograms": spectrograms,
        "pictures": pictures,
    }


def content_shares(values: Tensor, shape: Architecture, *, background: int, exact: bool) -> Tensor:
    """Share of each patch, (B, N), that is not `background`, of `values` (B, C, H, W).

    A pixel is background when all channels are; `exact`: to the last bit, as what pads a clip is,
    not to the next whole number.
    """
    differs = (values if exact else values.round()) != background
    pixels = differs.any(dim=1, keepdim=True).float()
    if pixels.shape[-2:] != shape.image_shape:  # a teacher of another size sees it resized
        pixels = functional.adaptive_avg_pool2d(pixels, shape.image_shape)
    step = shape.stride or shape.patch_size
    return functional.avg_pool2d(pixels, shape.patch_size, step).flatten(1)
