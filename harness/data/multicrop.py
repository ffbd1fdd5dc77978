"""Multi-crop as data: how many crops of an image, how large, and how each is recoloured."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import FieldError


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiCrop:
    """Two global crops of the student's image size, and local ones (arXiv 2104.14294, BYOL's
    colours).

    Crops, mirroring and colours are drawn per crop and image; the order of the colour operations
    once per crop and batch. Saturation, hue and grey do nothing to images of one channel.
    """

    global_scale: tuple[float, float] = (0.4, 1.0)  # area of a global crop, share of the image
    local_scale: tuple[float, float] = (0.05, 0.4)
    local_crops: int = 8
    local_size: int = 96  # pixels
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.8  # probability
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    grey: float = 0.2  # probability
    blur: tuple[float, float, float] = (1.0, 0.1, 0.5)  # probability: global 1, global 2, local
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # pixels
    solarize: float = 0.2  # probability, second global crop only

    def __post_init__(self) -> None:
        for key in ("flip", "jitter", "grey", "solarize"):
            if not 0 <= getattr(self, key) <= 1:
                raise FieldError(key, f"is a probability, from 0 to 1; got {getattr(self, key)}")
        if not all(0 <= chance <= 1 for chance in self.blur):
            raise FieldError("blur", f"is three probabilities, 0 to 1 each; got {list(self.blur)}")
        for key in ("brightness", "contrast", "saturation"):
            if getattr(self, key) < 0:
                raise FieldError(key, f"must not be negative, got {getattr(self, key)}")
        if not 0 <= self.hue <= 0.5:
            raise FieldError("hue", f"must be from 0 to 0.5 of the circle, got {self.hue}")
        for key in ("global_scale", "local_scale"):
            low, high = getattr(self, key)
            if not 0 < low <= high <= 1:
                raise FieldError(key, f"is [low, high], 0 < low <= high <= 1; got {[low, high]}")
        for key in ("ratio", "blur_sigma"):
            low, high = getattr(self, key)
            if not 0 < low <= high:
                raise FieldError(key, f"is [low, high] with 0 < low <= high, got {[low, high]}")
        if self.local_crops < 0:
            raise FieldError("local_crops", f"must not be negative, got {self.local_crops}")
        if self.local_size < 1:
            raise FieldError("local_size", f"must be at least 1 pixel, got {self.local_size}")
