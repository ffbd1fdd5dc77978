"""A network that is there already, and the images that judge it: what evaluations start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.data import pixel_side
from harness.data.config import DataConfig
from harness.data.module import DataModule, open_data
from harness.errors import Interrupted
from harness.models.build import freeze
from harness.models.config import ModelConfig
from harness.models.vit import VisionTransformer
from harness.run import RunContext
from harness.train.config import Augment
from harness.train.networks import network_for, pick_device, seed_weights

AS_THEY_ARE = Augment(crop="none", flip=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationData:
    """The images of a run, batch by batch, with its progress told and its stop signal obeyed."""

    module: DataModule
    device: torch.device
    context: RunContext

    def network(self, model: ModelConfig, *, seed: int) -> VisionTransformer:
        """The frozen network on the device; random weights are those that training at this seed
        starts from.
        """
        seed_weights(seed)
        return freeze(network_for(self.module, model, self.context.dependencies, self.device))

    def bank(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every training image, unaugmented: normalised (B, C, H, W), labels (B,)."""
        return self._told(self.module.train_eval(self.module.eval_batch), 0, self._all)

    def queries(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image that judges, in the same form."""
        done = self.module.train_images
        return self._told(self.module.val(self.module.eval_batch), done, self._all)

    def pictures(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """As `queries`, with the pixels as they are in between: (B, C, H, W) in 0..255."""
        batches = self.module.val_source.in_order(self.module.eval_batch)
        for pixels, labels in self._told(batches, 0, self.module.eval_images):
            yield self.module.normalised(pixels), pixels.float(), labels

    def judging(self, batch_size: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Every image that judges, normalised, with its boxes or mask in place of a label."""
        batches = self.module.val(batch_size or self.module.eval_batch)
        return self._told(batches, 0, self.module.eval_images)

    @property
    def _all(self) -> int:
        return self.module.train_images + self.module.eval_images

    def _told(
        self, batches: Iterator[tuple[Tensor, Tensor]], done: int, total: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in batches:
            yield images, labels
            done += len(labels)
            self.context.progress(done, total, unit="image")
            if self.context.should_stop():
                raise Interrupted(f"at image {done} of {total}; evaluations start over")


def image_side(model: ModelConfig | None, data: DataConfig) -> int:
    """Of the images that a network sees, in pixels; without one, of the images as they are."""
    return pixel_side(data) if model is None else model.shape.image_size


def open_evaluation_data(
    data: DataConfig,
    *,
    image_size: int,
    eval_crop: float,
    seed: int,
    context: RunContext,
    augment: Augment = AS_THEY_ARE,
    batch_size: int = 1,
) -> EvaluationData:
    """The images of `data` at `image_size` pixels, on the device of `context`.

    `augment` and `batch_size` are of training batches, for evaluations that train something.
    """
    device = pick_device(context.resources.device)
    module = open_data(
        data,
        augment,
        image_size=image_size,
        batch_size=batch_size,
        eval_crop=eval_crop,
        seed=seed,
        device=device,
        workers=context.resources.workers,
        stopping=context.should_stop,
    )
    context.before_result(module.changed)
    return EvaluationData(module=module, device=device, context=context)
