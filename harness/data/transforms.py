"""Transforms of single images, made of timm's and torchvision's parts as DeiT uses them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms import v2

from harness.data.multicrop import CropSpec, MultiCrop, crop_specs

if TYPE_CHECKING:
    from harness.train.config import Augment


Transform = Callable[[Image.Image], Tensor]  # to bytes (C, S, S)
ATTEMPTS = 10  # as torchvision: after that many misfits, the centre


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
        parts.append(RandomFlip(augment.flip))
    if augment.rand_augment is not None:
        parts.append(_InColour(_rand_augment(augment.rand_augment, image_size, mean, mode)))
    elif augment.color_jitter > 0:
        strength = augment.color_jitter
        parts.append(_InColour(v2.ColorJitter(strength, strength, strength)))
    return _Chain(parts)


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
        flip = RandomFlip(crops.flip)
        self._transforms = [(_cut(spec, crops), flip) for spec in crop_specs(crops, image_size)]

    def __call__(self, image: Image.Image) -> Tensor:
        """(sum of C * S * S,) bytes."""
        return torch.cat([to_bytes(flip(crop(image))).flatten() for crop, flip in self._transforms])


def _cut(spec: CropSpec, crops: MultiCrop) -> Callable[[Image.Image], Image.Image]:
    if not spec.padded:
        return RandomResizedCrop(spec.size, spec.scale, crops.ratio, Image.Resampling.BICUBIC)
    whole = v2.Resize(spec.size, v2.InterpolationMode.BICUBIC)
    shifted = v2.RandomCrop(spec.size, padding=crops.pad_pixels, padding_mode="reflect")
    composed: Callable[[Image.Image], Image.Image] = v2.Compose([whole, shifted])
    return composed


class RandomResizedCrop:
    """torchvision's, of Pillow's images: the same draws and pixels, without its dispatch, which
    takes as long as a small crop does.
    """

    def __init__(
        self, size: int, scale: Sequence[float], ratio: Sequence[float], resample: int
    ) -> None:
        self._size, self._scale, self._ratio, self._resample = size, scale, ratio, resample
        # torchvision draws between bounds that are rounded to 32 bits
        low, high = torch.log(torch.tensor(ratio)).tolist()
        self._log_ratio = low, high

    def __call__(self, image: Image.Image) -> Image.Image:
        box, size = self.box(*image.size), self._size
        cut = image.crop(box)
        return cut if cut.size == (size, size) else cut.resize((size, size), self._resample)

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, upper, right and lower; drawn from the global generator of torch."""
        for _ in range(ATTEMPTS):
            area = width * height * torch.empty(1).uniform_(*self._scale).item()
            aspect = torch.empty(1).uniform_(*self._log_ratio).exp_().item()
            wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < wide <= width and 0 < tall <= height:
                top = int(torch.randint(0, height - tall + 1, size=(1,)).item())
                left = int(torch.randint(0, width - wide + 1, size=(1,)).item())
                return left, top, left + wide, top + tall
        wide, tall = width, height
        if width / height < min(self._ratio):
            tall = round(width / min(self._ratio))
        elif width / height > max(self._ratio):
            wide = round(height * max(self._ratio))
        left, top = (width - wide) // 2, (height - tall) // 2
        return left, top, left + wide, top + tall


class RandomFlip:
    """torchvision's RandomHorizontalFlip of Pillow's images: the same draw."""

    def __init__(self, probability: float) -> None:
        self._probability = probability

    def __call__(self, image: Image.Image) -> Image.Image:
        if torch.rand(1).item() >= self._probability:
            return image
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


class _Chain:
    """Transforms of Pillow's images, one after the other, and the bytes of the last."""

    def __init__(self, parts: Sequence[Callable[[Image.Image], Image.Image]]) -> None:
        self._parts = parts

    def __call__(self, image: Image.Image) -> Tensor:
        for part in self._parts:
            image = part(image)
        return to_bytes(image)


def to_bytes(image: Image.Image) -> Tensor:
    """An image, grey or RGB, as bytes (C, H, W)."""
    width, height = image.size
    # one channel after the other: sorting all pixels afterwards takes three times as long
    channels = [image.tobytes("raw", channel) for channel in image.getbands()]
    pixels = torch.frombuffer(bytearray().join(channels), dtype=torch.uint8)
    return pixels.view(len(channels), height, width)


def _crop(augment: Augment, image_size: int, native: int | None, mode: int) -> list[Any]:
    interpolation = v2.InterpolationMode(augment.interpolation)
    if augment.crop == "resized":
        return [RandomResizedCrop(image_size, augment.scale, augment.ratio, mode)]
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


class _InColour:
    """Applies a transform of RGB images to grey ones too."""

    def __init__(self, transform: Callable[[Image.Image], Image.Image]) -> None:
        self._transform = transform

    def __call__(self, image: Image.Image) -> Image.Image:
        if image.mode == "RGB":  # converting would copy it, twice
            return self._transform(image)
        return self._transform(image.convert("RGB")).convert(image.mode)
