"""How well a classifier of ImageNet-1k does on images that differ from those it learned from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from harness.data import fingerprint
from harness.data.config import DataConfig
from harness.errors import HarnessError
from harness.lazy import torch
from harness.methods.untrained import Pixels
from harness.run import TASKS, RunContext
from harness.tasks.of_network import NetworkEvaluation
from harness.train.config import TrainConfig

LEARNED = "imagenet-1k"


@dataclass(frozen=True, kw_only=True, slots=True)
class ShiftedImages(NetworkEvaluation):
    """Top-1 in percent over all images of one such set, without training: `val/top1`. A task is
    called as its set.

    The classes that the set lacks are no answer: the largest logit among those that are there
    counts, as in the released code of ImageNet-A and -R (arXiv 1907.07174, 2006.16241).
    """

    asks_classifier: ClassVar[bool] = True

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Accuracy alone: no other number is published for all of these sets."""
        return frozenset({"val/top1"})

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """The student of `train`, of any family; HarnessError where it does not learn the classes
        of ImageNet-1k.
        """
        if isinstance(train.method, Pixels):
            return None
        if train.data.name != LEARNED or (train.method.trains and not train.method.uses_labels):
            learned = train.data.name + ("" if train.method.uses_labels else " without labels")
            raise HarnessError(
                f"asks a classifier of {LEARNED}, and this row learns {learned}: give rows "
                f"`method: supervised` or `distillation` on {LEARNED}, or leave the column out"
            )
        data = DataConfig(name=TASKS.name_of(cls))
        return cls(
            model=train.student.for_evaluation(),
            data=replace(data, version=fingerprint(data)),
            eval_crop=train.recipe.eval_crop,
            seed=train.seed if train.student.weights.random else 0,
        )

    def execute(self, context: RunContext) -> dict[str, float]:
        """One pass over the images."""
        from harness.evaluate.classification import accuracy
        from harness.evaluate.features import eval_mode
        from harness.models.build import require_classifier

        data, network = self.opened(context)
        classes = data.module.classes
        require_classifier(network, self.model.weights, classes, who="student")
        absent = torch.ones(classes, dtype=torch.bool)
        absent[list(data.module.eval_classes)] = False
        absent = absent.to(data.device)

        def predict(images: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = network(images).logits
            return logits.masked_fill(absent, -torch.inf)

        with eval_mode(network):
            return {"val/top1": accuracy(predict, data.judging()).metrics["top1"]}


@TASKS.register("imagenet-a")
class OnImageNetA(ShiftedImages):
    """On ImageNet-A: photographs that a ResNet-50 gets wrong, 200 classes."""


@TASKS.register("imagenet-r")
class OnImageNetR(ShiftedImages):
    """On ImageNet-R: renditions, 200 classes."""


@TASKS.register("imagenet-sketch")
class OnImageNetSketch(ShiftedImages):
    """On ImageNet-Sketch: drawings of all classes."""


@TASKS.register("imagenet-v2")
class OnImageNetV2(ShiftedImages):
    """On ImageNet-V2, matched frequency: a second test set of all classes."""
