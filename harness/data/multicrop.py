"""Multi-crop as data: how many crops of an image, how large, and how each is recoloured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from harness.bounds import (
    Bound,
    NotNegative,
    PositiveRange,
    Probability,
    Scale,
    at_least,
    check_bounds,
)

HUE = "must be from 0 to 0.5 of the circle, got "


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiCrop:
    """Two global crops of the student's image size, and local ones (arXiv 2104.14294, BYOL's
    colours).

    Crops, mirroring and colours are drawn per crop and image; the order of the colour operations
    once per crop and batch. Saturation, hue and grey do nothing to images of one channel.
    """

    global_scale: Scale = (0.4, 1.0)  # area of a global crop, share of the image
    local_scale: Scale = (0.05, 0.4)
    local_crops: Annotated[int, at_least(0, most=1000)] = 8
    local_size: Annotated[int, at_least(1, "pixel", most=4096)] = 96  # pixels
    ratio: PositiveRange = (0.75, 4 / 3)
    flip: Probability = 0.5
    jitter: Probability = 0.8  # probability
    brightness: NotNegative = 0.4
    contrast: NotNegative = 0.4
    saturation: NotNegative = 0.2
    hue: Annotated[float, Bound(least=0, most=0.5, says=HUE)] = 0.1
    grey: Probability = 0.2  # probability
    blur: tuple[Probability, Probability, Probability] = (
        1.0,
        0.1,
        0.5,
    )  # probability: global 1, global 2, local
    blur_sigma: PositiveRange = (0.1, 2.0)  # pixels
    solarize: Probability = 0.2  # probability, second global crop only

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class CropSpec:
    """One crop of an image."""

    size: int  # pixels
    scale: tuple[float, float]  # area, as a fraction of the image
    blur: float  # probability
    solarize: float  # probability


def crop_specs(crops: MultiCrop, image_size: int) -> list[CropSpec]:
    """The two global crops, then the local ones."""
    first, second, local = crops.blur
    specs = [
        CropSpec(size=image_size, scale=crops.global_scale, blur=first, solarize=0.0),
        CropSpec(size=image_size, scale=crops.global_scale, blur=second, solarize=crops.solarize),
    ]
    small = CropSpec(size=crops.local_size, scale=crops.local_scale, blur=local, solarize=0.0)
    return specs + [small] * crops.local_crops
