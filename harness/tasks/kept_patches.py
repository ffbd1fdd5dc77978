"""Which patches a masked teacher is shown: numbers for the table, and pictures for the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Self

from harness.data import open_dataset
from harness.evidence import FigureOf
from harness.methods import Networks
from harness.methods.distillation import Distillation, DistillationObjective, Mask
from harness.models.available import missing_inputs
from harness.models.config import ModelConfig
from harness.models.cost import efficient_macs
from harness.models.families import family_of
from harness.run import TASKS, RunContext
from harness.tasks.of_network import NetworkEvaluation, save_json
from harness.train.config import TrainConfig

PICTURES = "kept.json"
"""The artifact: images and the patches of them that the teacher is shown, which the report draws.
"""

KEPT_PICTURES: Final = FigureOf(
    figure="kept-patches",
    id="kept-patches",
    source=PICTURES,
    caption="Patches that the trained student shows its teacher, on examples that judge; one seed.",
    alt="Examples with the patches that the teacher is shown",
)


@TASKS.register("kept-patches")
@dataclass(frozen=True, kw_only=True, slots=True)
class KeptPatchesRun(NetworkEvaluation):
    """What the trained student shows its masked teacher, over all images that judge; rows of
    `distillation` with a `mask`.

    `kept/evenness` and `kept/distance` as in training (`teacher_accuracy`). Where it is known what
    is nothing (black pixels of `fashion-mnist`, what pads a clip of sound), in percent of the area:
    `kept/content`, how much of the patches that are shown is something, and `kept/content_even`,
    how much of all patches is.
    """

    teacher: ModelConfig
    saliency_model: ModelConfig | None
    mask: Mask

    figures: ClassVar[tuple[FigureOf, ...]] = (KEPT_PICTURES,)

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of positions, and of what stands there."""
        return frozenset(
            f"kept/{name}" for name in ("evenness", "distance", "content", "content_even")
        )

    def lacks(self, metric: str) -> str | None:
        """Of pictures in which nobody marked anything."""
        if "content" in metric and open_dataset(self.data).background is None:
            return f"of {self.data.name} nobody has said what is background"
        return None

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """None where no teacher is masked."""
        method, teacher = train.method, train.teacher
        if not isinstance(method, Distillation) or method.mask is None or teacher is None:
            return None
        if method.mask.keep >= teacher.shape.patches:
            return None
        third = train.saliency_model
        return cls(
            model=train.student.for_evaluation(),
            teacher=teacher,
            saliency_model=None if third is None else third.for_evaluation(),
            mask=method.mask,
            data=train.data.all_of_it(),
            eval_crop=train.recipe.eval_crop,
            seed=train.seed,  # of criteria that draw
        )

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.evaluate.kept`."""
        import torch

        from harness.evaluate.kept_patches import look_at_kept

        data, student = self.opened(context)
        third = self.saliency_model
        objective = DistillationObjective(
            Distillation(mask=self.mask),
            Networks(
                student=student,
                teacher=data.network(self.teacher, seed=self.seed),
                saliency_model=None if third is None else data.network(third, seed=self.seed),
            ),
        )
        generator = torch.Generator().manual_seed(self.seed)

        def choose(images: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                kept = objective.choose(images, generator)
            assert kept is not None
            return kept

        dataset = open_dataset(self.data)
        metrics, pictures = look_at_kept(
            choose,
            data.pictures(),
            self.teacher.shape,
            background=dataset.background,
            spectrograms=dataset.spectrograms,
        )
        save_json(context, PICTURES, pictures)
        return metrics

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """The data set, and published weights that are not at hand."""
        models = [self.model, self.teacher, self.saliency_model]
        return missing_inputs(self.data, [one for one in models if one is not None])

    def macs(self) -> float:
        """The student on every image that judges."""
        dataset, shape = open_dataset(self.data), self.model.shape
        if not family_of(shape).maskable:
            return 0.0
        each = efficient_macs(shape, keep=shape.patches, classes=dataset.classes).total
        return dataset.val_images * each
