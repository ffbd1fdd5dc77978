"""Transforms of single images, made of timm's and torchvision's parts as DeiT uses them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import v2

from harness.data.multicrop import MultiCrop, crop_specs

if TYPE_CHECKING:
    from harness.train.config import Augment


Transform = Callable[[Image.Image], Tensor]  # to bytes (C, S, S)


def per_image(augment: Augment) -> bool:
    """Whether a part of `augment` works on one image at a time only."""
    return augment.rand_augment is not None or augment.color_jitter > 0


def training_transform(
    augment: Augment, *, image_size: int, native: int | None, mean: Sequence[float]
) -> Transform:
    """Crop, mirror, RandAugment or colour jitter; the result is bytes (C, S, S).

    `native` is the images' size if they all have one: a padded crop is then taken before resizing.
    """
    mode = _pillow_mode(augment.interpolation)
    parts: list[Any] = _crop(augment, image_size, native, mode)
    if augment.flip > 0:
        parts.append(v2.RandomHorizontalFlip(augment.flip))
    if augment.rand_augment is not None:
        parts.append(_InColour(_rand_augment(augment.rand_augment, image_size, mean, mode)))
    elif augment.color_jitter > 0:
        strength = augment.color_jitter
        parts.append(_InColour(v2.ColorJitter(strength, strength, strength)))
    composed: Transform = v2.Compose([*parts, v2.PILToTensor()])
    return composed


def evaluation_transform(*, image_size: int, eval_crop: float) -> Transform:
    """The shorter side resized to image_size / eval_crop, bicubic, and the centre cut out."""
    side = int(image_size / eval_crop)
    bicubic = v2.InterpolationMode.BICUBIC
    parts = [v2.Resize(side, bicubic), v2.CenterCrop(image_size), v2.PILToTensor()]
    composed: Transform = v2.Compose(parts)
    return composed


class MultiCropTransform:
    """All crops of one image, cropped and mirrored, as one row of bytes."""

    def __init__(self, crops: MultiCrop, image_size: int) -> None:
        bicubic = v2.InterpolationMode.BICUBIC
        self._transforms = [
            v2.Compose(
                [
                    v2.RandomResizedCrop(spec.size, spec.scale, crops.ratio, bicubic),
                    v2.RandomHorizontalFlip(crops.flip),
                    v2.PILToTensor(),
                ]
            )
            for spec in crop_specs(crops, image_size)
        ]

    def __call__(self, image: Image.Image) -> Tensor:
        """(sum of C * S * S,) bytes."""
        return torch.cat([transform(image).flatten() for transform in self._transforms])


def _crop(augment: Augment, image_size: int, native: int | None, mode: int) -> list[Any]:
    interpolation = v2.InterpolationMode(augment.interpolation)
    if augment.crop == "resized":
        return [v2.RandomResizedCrop(image_size, augment.scale, augment.ratio, interpolation)]
    whole = v2.Compose([v2.Resize(image_size, interpolation), v2.CenterCrop(image_size)])
    if augment.crop == "none":
        return [whole]
    if native is None:
        return [whole, v2.RandomCrop(image_size, padding=augment.pad_pixels)]
    return [v2.RandomCrop(native, padding=augment.pad_pixels), whole]


def _rand_augment(spec: str, image_size: int, mean: Sequence[float], mode: int) -> Any:
    from timm.data import auto_augment

    colour = [mean[0]] * 3 if len(mean) == 1 else mean
    options = {
        "translate_const": int(image_size * 0.45),
        "img_mean": tuple(min(255, round(255 * value)) for value in colour),
        "interpolation": mode,
    }
    transform = auto_augment.rand_augment_transform(spec, options)
    for operation in transform.ops:
        if operation.aug_fn is auto_augment.posterize:
            operation.aug_fn = _posterize
    return transform


def _posterize(image: Image.Image, bits: int, **_: object) -> Image.Image:
    """Keep the highest bits of each value. Of no bits, black is left: newer Pillows refuse that."""
    if bits >= 8:
        return image
    return ImageOps.posterize(image, bits) if bits > 0 else Image.new(image.mode, image.size)


def _pillow_mode(interpolation: str) -> int:
    return {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[
        interpolation
    ]


class _InColour(torch.nn.Module):
    """Applies a transform of RGB images to grey ones too."""

    def __init__(self, transform: Callable[[Image.Image], Image.Image]) -> None:
        super().__init__()
        self._transform = transform

    def forward(self, image: Image.Image) -> Image.Image:
        return self._transform(image.convert("RGB")).convert(image.mode)
