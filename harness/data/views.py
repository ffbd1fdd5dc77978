"""Batches of crops for self-distillation, every crop of the batch made at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from harness.data.colour import color_jitter
from harness.data.crops import draw_boxes, resized_crops
from harness.data.loader import LoaderTraining
from harness.data.memory import MemoryTraining
from harness.data.multicrop import MultiCrop
from harness.data.pipeline import Pipeline
from harness.seeding import generator


@dataclass(frozen=True, kw_only=True, slots=True)
class CropSpec:
    """One crop of an image."""

    size: int
    scale: tuple[float, float]
    blur: float
    solarize: float


def crop_specs(crops: MultiCrop, image_size: int) -> list[CropSpec]:
    """The two global crops, then the local ones."""
    first, second, local = crops.blur
    found = [
        CropSpec(size=image_size, scale=crops.global_scale, blur=first, solarize=0.0),
        CropSpec(size=image_size, scale=crops.global_scale, blur=second, solarize=crops.solarize),
    ]
    one = CropSpec(size=crops.local_size, scale=crops.local_scale, blur=local, solarize=0.0)
    return found + [one] * crops.local_crops


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """The crops of every batch of a pipeline. Every draw is a function of seed and step."""

    pipeline: Pipeline
    crops: MultiCrop
    image_size: int

    def batches(self, start_step: int) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """(crops, each (B, C, S, S) normalised, labels (B,)) from `start_step` on, without end."""
        for step, (crops, labels) in enumerate(self._cropped(start_step), start_step):
            yield tuple(self._finished(crop, step, at) for at, crop in enumerate(crops)), labels

    def _finished(self, crop: Tensor, step: int, at: int) -> Tensor:
        kind = crop_specs(self.crops, self.image_size)[at]
        draws = generator(self.pipeline.seed, "augment", step, "colour", at)
        images = color_jitter(
            crop.float(),
            self.crops,
            blur=kind.blur,
            solarize=kind.solarize,
            generator=draws,
            batch_slice=self.pipeline.dist.batch_slice(self.pipeline.batch),
        )
        return self.pipeline.normalised(images)

    def _cropped(self, start_step: int) -> Iterator[tuple[list[Tensor], Tensor]]:
        source = self.pipeline.training
        if isinstance(source, MemoryTraining):
            yield from self._from_memory(source, start_step)
        else:
            assert isinstance(source, LoaderTraining)
            yield from self._from_files(source, start_step)

    def _from_memory(
        self, source: MemoryTraining, start_step: int
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        for step, indices in source.order.batches(start_step):
            places, count = source.ranks.shard_indices(len(indices)), len(indices)
            mine = indices[places].to(source.images.device)
            images, crops = source.images[mine], []
            for at, kind in enumerate(crop_specs(self.crops, self.image_size)):
                draws = generator(source.order.seed, "augment", step, "view", at)
                crops.append(self._crop(images, kind, draws, count, places))
            yield crops, source.labels[mine]

    def _crop(
        self, images: Tensor, kind: CropSpec, draws: torch.Generator, count: int, places: list[int]
    ) -> Tensor:
        """Of some images of a batch of `count`: the draws are those of the batch."""
        boxes = draw_boxes(
            count,
            size=images.shape[-1],
            scale=kind.scale,
            ratio=self.crops.ratio,
            generator=draws,
        ).some(places)
        flip = torch.rand(count, generator=draws)[places] < self.crops.flip
        return resized_crops(images, boxes, flip, size=kind.size, interpolation="bicubic")

    def _from_files(
        self, source: LoaderTraining, start_step: int
    ) -> Iterator[tuple[list[Tensor], Tensor]]:
        """Workers crop and mirror single images; a row holds all crops of one, flattened."""
        channels = self.pipeline.channels
        wanted = crop_specs(self.crops, self.image_size)
        lengths = [channels * kind.size**2 for kind in wanted]
        cropping = LoaderTraining(
            images=source.images.transformed(Cropping(self.crops, self.image_size)),
            order=source.order,
            device=source.device,
            workers=source.workers,
            ranks=source.ranks,
            stopping=source.stopping,
        )
        for rows, labels in cropping.batches(start_step):
            crops = [
                part.view(len(part), channels, kind.size, kind.size)
                for part, kind in zip(torch.split(rows, lengths, dim=1), wanted, strict=True)
            ]
            yield crops, labels


class Cropping:
    """All crops of one image as one row of bytes."""

    def __init__(self, crops: MultiCrop, image_size: int) -> None:
        bicubic = v2.InterpolationMode.BICUBIC
        self._transforms = [
            v2.Compose(
                [
                    v2.RandomResizedCrop(kind.size, kind.scale, crops.ratio, bicubic),
                    v2.RandomHorizontalFlip(crops.flip),
                    v2.PILToTensor(),
                ]
            )
            for kind in crop_specs(crops, image_size)
        ]

    def __call__(self, image: Image.Image) -> Tensor:
        """(sum of C * S * S,) bytes."""
        return torch.cat([transform(image).flatten() for transform in self._transforms])
