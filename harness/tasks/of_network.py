"""What evaluations that look at a network have in common."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from harness.data import open_dataset
from harness.data.config import DataConfig
from harness.methods.untrained import Pixels
from harness.models.available import missing_inputs
from harness.models.config import ModelConfig
from harness.models.cost import efficient_macs
from harness.run import RunContext, Task
from harness.train.config import TrainConfig

if TYPE_CHECKING:
    from harness.models.vit import VisionTransformer
    from harness.train.evaluation_data import EvaluationData


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkEvaluation(Task):
    """Looks at a network that is there already, on all images that judge, and leaves numbers for
    the table and a file for a figure.
    """

    model: ModelConfig
    data: DataConfig
    eval_crop: float
    seed: int  # of random weights; 0 where there are none, so that one run serves all seeds

    is_evaluation: ClassVar[bool] = True
    families: ClassVar[frozenset[str]] = frozenset({"vit"})  # of networks that it can look at

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """The student of `train`; None where there is no network, or it is of another family."""
        if isinstance(train.method, Pixels) or train.student.shape.family not in cls.families:
            return None
        return cls(
            model=train.student.for_evaluation(),
            data=train.data.all_of_it(),
            eval_crop=train.recipe.eval_crop,
            seed=train.seed if train.student.weights.random else 0,
        )

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """The data set, and published weights that are not at hand."""
        return missing_inputs(self.data, [self.model])

    def macs(self) -> float:
        """The network on every image that judges."""
        return judging_macs(self.model, self.data)

    def opened(self, context: RunContext) -> tuple[EvaluationData, VisionTransformer]:
        """The images, and the frozen network."""
        from harness.train.evaluation_data import open_evaluation_data

        size = self.model.shape.image_size
        data = open_evaluation_data(
            self.data, image_size=size, eval_crop=self.eval_crop, seed=self.seed, context=context
        )
        return data, data.network(self.model, seed=self.seed)


def judging_macs(model: ModelConfig, data: DataConfig) -> float:
    """Of `model` on every image of `data` that judges; an image that it sees in windows counts as
    one of them.
    """
    dataset, shape = open_dataset(data), model.shape
    each = efficient_macs(shape, keep=shape.patches, classes=dataset.classes).total
    return dataset.val_images * each


def save_json(context: RunContext, name: str, content: object) -> None:
    """Put `content` into the run directory as the artifact `name`, which a figure reads."""

    def write(path: Path) -> None:
        path.write_text(json.dumps(content), encoding="utf-8")

    context.save_artifact(name, write)
