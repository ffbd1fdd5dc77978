"""Multi-crop as data: how many crops of an image, how large, and how each is recoloured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from harness.bounds import (
    Bound,
    NotNegative,
    PositiveRange,
    Probability,
    Scale,
    at_least,
    check_bounds,
)
from harness.errors import FieldError

HUE = "must be from 0 to 0.5 of the circle, got "


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiCrop:
    """Two global crops of the student's image size, and local ones (arXiv 2104.14294, BYOL's
    colours).

    Crops, mirroring and colours are drawn per crop and image; the order of the colour operations
    once per crop and batch. Saturation, hue and grey do nothing to images of one channel.
    """

    global_scale: Scale = (0.4, 1.0)  # area of a global crop, fraction of the image
    local_scale: Scale = (0.05, 0.4)  # area of a local crop, fraction of the image
    local_crops: Annotated[int, at_least(0, most=1000)] = 8  # local crops of an image
    # pixels of a side of a local crop
    local_size: Annotated[int, at_least(1, "pixel", most=4096)] = 96
    ratio: PositiveRange = (0.75, 4 / 3)  # aspect of a crop
    flip: Probability = 0.5  # probability of a horizontal flip
    jitter: Probability = 0.8  # probability that a crop's colours are changed
    brightness: NotNegative = 0.4  # largest change, as torchvision's ColorJitter takes it
    contrast: NotNegative = 0.4  # likewise
    saturation: NotNegative = 0.2  # likewise
    # likewise, in turns of the colour circle
    hue: Annotated[float, Bound(least=0, most=0.5, message=HUE)] = 0.1
    grey: Probability = 0.2  # probability that a crop becomes grey
    # probability of blur: first global crop, second, local ones
    blur: tuple[Probability, Probability, Probability] = (
        1.0,
        0.1,
        0.5,
    )
    blur_sigma: PositiveRange = (0.1, 2.0)  # standard deviation of the blur, pixels
    solarize: Probability = 0.2  # probability that the second global crop is solarised
    # how a global crop is cut. pad: the whole image, shifted within a border of its reflection
    # (arXiv 2204.07118, simple random crop); `global_scale` and `ratio` have no effect then
    cut: Literal["resized", "pad"] = "resized"
    pad_pixels: Annotated[int, at_least(0, most=4096)] = 4  # width of that border
    recolored: Literal["all", "second"] = "all"  # which crops' colours are changed at all
    # what happens after the jitter. each: grey, blur and solarise as their probabilities say; one:
    # exactly one of the three, each as often
    effects: Literal["each", "one"] = "each"

    ADDED_LATER: ClassVar[frozenset[str]] = frozenset({"cut", "pad_pixels", "recolored", "effects"})

    def __post_init__(self) -> None:
        check_bounds(self)
        if self.cut == "pad" and self.local_crops:
            raise FieldError("local_crops", f"goes with `cut: resized`; got {self.local_crops}")

    def check(self, image_size: int) -> None:
        """Raise FieldError, of the field `crops`, where a border cannot reflect such an image."""
        if self.cut == "pad" and self.pad_pixels >= image_size:
            what = f"must be below the image's {image_size}, got {self.pad_pixels}"
            raise FieldError("crops.pad_pixels", what)


@dataclass(frozen=True, kw_only=True, slots=True)
class CropSpec:
    """One crop of an image."""

    size: int  # pixels
    scale: tuple[float, float]  # area, as a fraction of the image
    blur: float  # probability
    solarize: float  # probability
    padded: bool = False  # whether the whole image is shifted within a border
    recolored: bool = True  # whether its colours are changed at all


def crop_specs(crops: MultiCrop, image_size: int) -> list[CropSpec]:
    """The two global crops, then the local ones."""
    first, second, local = crops.blur
    specs = [
        CropSpec(
            size=image_size,
            scale=crops.global_scale,
            blur=blur,
            solarize=solarize,
            padded=crops.cut == "pad",
            recolored=crops.recolored == "all" or number == 1,
        )
        for number, (blur, solarize) in enumerate(((first, 0.0), (second, crops.solarize)))
    ]
    small = CropSpec(
        size=crops.local_size,
        scale=crops.local_scale,
        blur=local,
        solarize=0.0,
        recolored=crops.recolored == "all",
    )
    return specs + [small] * crops.local_crops
