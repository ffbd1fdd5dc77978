"""What a mask shows the teacher of the images that judge: numbers for the table, pictures for the
report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Literal, Self

from harness.data import open_dataset
from harness.data.config import DataConfig
from harness.evidence import FigureOf
from harness.lazy import torch
from harness.masking import AttentionSource, CriterionInput
from harness.masking.keep import kept_patches, to_grid
from harness.methods.distillation import Distillation, Mask
from harness.models.architectures import PatchGrid
from harness.models.available import missing_inputs
from harness.models.config import ModelConfig
from harness.run import TASKS, RunContext, Task
from harness.seeding import stream
from harness.shown_patches import shown_patches
from harness.tasks.of_network import judging_macs, save_json
from harness.train.config import TrainConfig

if TYPE_CHECKING:
    from harness.models.vit import VisionTransformer

PICTURES: Final = "kept.json"
AT_START: Final = "kept-at-start.json"
"""The artifacts: images, which of their patches are kept, and the shares of objects."""

CAPTION: Final = (
    "Images that judge as the teacher sees them, {when}; one seed. As in Figure {number} of "
    "MaskedKD, arXiv 2302.10494."
)


@TASKS.register("kept")
@dataclass(frozen=True, kw_only=True, slots=True)
class KeptRun(Task):
    """What the teacher is shown of the images that judge, after training: rows with a `mask`.

    Of the positions, as `train` has them over training: `kept/evenness`, `kept/distance`. Of what
    is in the patches, in percent: `kept/likeness`, the share of the variance of their mean colours
    within an image that lies between kept and hidden ones, 100 / (N - 1) of N patches where they
    are drawn at random, more where patches that look alike are hidden together. Where objects are
    known (`fashion-mnist`: every pixel that is not black; of sounds, all that does not pad the
    clip): `kept/foreground`, the part of them that is kept, mean over images;
    `kept/foreground_even`, what a random choice keeps of them on average; and
    `kept/foreground_spread`, the standard deviation over images, which is large where whole objects
    are kept or hidden at once (arXiv 2302.10494, Figure 7).
    """

    chooser: ModelConfig | None  # the network whose attention chooses; none: nobody's
    mask: Mask
    patches: PatchGrid  # the teacher's
    image_size: int  # the student's
    data: DataConfig
    eval_crop: float
    seed: int  # of random weights; 0 where there are none, so that one run serves all seeds

    is_evaluation: ClassVar[bool] = True
    progress: ClassVar[float] = 1.0  # share of the training that is over
    artifact: ClassVar[str] = PICTURES
    figures: ClassVar[tuple[FigureOf, ...]] = (
        FigureOf(
            figure="masked-images",
            id="masked-images",
            source=PICTURES,
            caption=CAPTION.format(when="after training", number=5),
            alt="Images without their hidden patches, after training",
            extent=shown_patches,
        ),
    )

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of positions, of colours, of objects."""
        names = ("evenness", "distance", "likeness")
        of_objects = ("foreground", "foreground_even", "foreground_spread")
        return frozenset(f"kept/{name}" for name in names + of_objects)

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """None for rows whose teacher sees all patches."""
        method, teacher = train.method, train.teacher
        if not isinstance(method, Distillation) or method.mask is None or teacher is None:
            return None
        if method.teacher_keep(teacher.shape.patches) == teacher.shape.patches:
            return None
        source = method.mask.criterion.attention_source()
        chooser = None if source is None else train.networks()[source.network].for_evaluation()
        drawn = chooser is not None and chooser.weights.random
        return cls(
            chooser=chooser,
            mask=method.mask,
            patches=teacher.shape.patch_grid,
            image_size=train.student.shape.image_size,
            data=train.data.all_of_it(),
            eval_crop=train.recipe.eval_crop,
            seed=train.seed if drawn else 0,
        )

    def lacks(self, metric: str) -> str | None:
        """Objects are not known of every data set."""
        if "foreground" in metric and open_dataset(self.data).background is None:
            return f"where the objects are is not known of {self.data.name}: ask for kept/likeness"
        return None

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.evaluate.kept`."""
        from harness.evaluate.kept import look_at_kept
        from harness.train.evaluation_data import open_evaluation_data

        data = open_evaluation_data(
            self.data,
            image_size=self.image_size,
            eval_crop=self.eval_crop,
            seed=self.seed,
            context=context,
        )
        network = None if self.chooser is None else data.network(self.chooser, seed=self.seed)
        source = self.mask.criterion.attention_source()
        generator = torch.Generator().manual_seed(stream(self.seed, "kept"))

        def choose(images: torch.Tensor) -> torch.Tensor:
            attention = None
            if network is not None and source is not None:
                attention = self._attention(network, source, images)
            return self._best(attention, images, generator)

        dataset = open_dataset(self.data)
        metrics, pictures = look_at_kept(
            choose,
            data.pictures(),
            patches=self.patches,
            background=dataset.background,
            spectrograms=dataset.spectrograms,
        )
        save_json(context, self.artifact, pictures)
        return metrics

    def _attention(
        self, network: VisionTransformer, source: AttentionSource, images: torch.Tensor
    ) -> torch.Tensor:
        with torch.no_grad():
            scores = network.saliency(images, source.saliency)
            return to_grid(scores, network.grid, self.patches.shape)

    def _best(
        self, attention: torch.Tensor | None, images: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        rows, columns = self.patches.shape
        inputs = CriterionInput(
            attention=attention,
            batch=len(images),
            patches=rows * columns,
            keep=self.mask.keep,
            device=images.device,
            generator=generator,
            progress=self.progress,
        )
        return kept_patches(self.mask.criterion, inputs)

    def needs(self, device: Literal["cpu", "cuda"]) -> list[str]:
        """The data set, and published weights that are not at hand."""
        return missing_inputs(self.data, [self.chooser])

    def macs(self) -> float:
        """The chooser on every image that judges."""
        return 0.0 if self.chooser is None else judging_macs(self.chooser, self.data)


@TASKS.register("kept-at-start")
@dataclass(frozen=True, kw_only=True, slots=True)
class KeptAtStartRun(KeptRun):
    """As `kept`, before training: a student has the random weights that it starts from, or those of
    `weights`. Nothing is trained.
    """

    is_evaluation: ClassVar[bool] = False
    progress: ClassVar[float] = 0.0
    artifact: ClassVar[str] = AT_START
    figures: ClassVar[tuple[FigureOf, ...]] = (
        FigureOf(
            figure="masked-images",
            id="masked-images-at-start",
            source=AT_START,
            caption=CAPTION.format(
                when="before training, where a student has random weights", number=7
            ),
            alt="Images without their hidden patches, before training",
            extent=shown_patches,
        ),
    )
