"""What a masked autoencoder guesses: how wrong, in a table; and pictures for the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Self

from harness.data import open_dataset
from harness.errors import WeightsError
from harness.evidence import FigureOf
from harness.methods import Networks
from harness.methods.mae import DECODER_FILE, Mae, MaeObjective
from harness.run import TASKS, RunContext
from harness.tasks.of_network import NetworkEvaluation, save_json
from harness.train.config import TrainConfig

PICTURES = "reconstruction.json"
"""The artifact: images, what is seen of them and the guess, which the report draws."""

GUESSES: Final = FigureOf(
    figure="reconstructions",
    id="reconstructions",
    source=PICTURES,
    caption="Images that judge, the patches that the encoder sees, and what the decoder makes of "
    "them; one seed. Hidden patches are shown with the mean and the contrast of the true ones "
    "where those are not guessed.",
    alt="Original, masked and reconstructed images",
)


@TASKS.register("reconstruction")
@dataclass(frozen=True, kw_only=True, slots=True)
class ReconstructionRun(NetworkEvaluation):
    """Guesses of hidden patches, over all images that judge: rows of `mae` and `lut`.

    `reconstruction/error`: mean squared error of their pixels, each patch less its mean and over
    its standard deviation; `reconstruction/error_of_means`: the same of a guess of each patch's
    mean, about 1.
    """

    method: Mae  # the masks have the seed of the run

    figures: ClassVar[tuple[FigureOf, ...]] = (GUESSES,)

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of the decoder, and of means."""
        return frozenset({"reconstruction/error", "reconstruction/error_of_means"})

    @classmethod
    def of(cls, train: TrainConfig) -> Self | None:
        """The student of `train` with its decoder; None where it has none."""
        method = train.method
        if not isinstance(method, Mae):
            return None
        guessing = Mae(
            mask_ratio=method.mask_ratio,
            decoder=method.decoder,
            normalise_targets=method.normalise_targets,
        )
        return cls(
            model=train.student.for_evaluation(),
            method=guessing,
            data=train.data.all_of_it(),
            eval_crop=train.recipe.eval_crop,
            seed=train.seed,
        )

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.train.reconstruction`."""
        from harness.models.vit import Normalisation
        from harness.train.reconstruction import reconstruct

        data, network = self.opened(context)
        built = MaeObjective(self.method, Networks(student=network, teacher=None))
        assert self.model.weights.run is not None
        load_decoder(built, context.dependencies[self.model.weights.run] / DECODER_FILE)
        metrics, pictures = reconstruct(
            built,
            data.pictures(),
            seed=self.seed,
            norm=Normalisation(mean=data.module.mean, std=data.module.std),
        )
        save_json(context, PICTURES, pictures)
        return metrics

    def macs(self) -> float:
        """Encoder and decoder on every image that judges."""
        return self.method.image_macs(self.model.shape) / 3 * open_dataset(self.data).val_images


def load_decoder(built: MaeObjective, path: Path) -> None:
    """The weights that a training left; WeightsError where it left others, or none."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        built.decoder.load_state_dict(load(path.read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).split("\n")[0]
        raise WeightsError(
            f"{path}: not the decoder that this training left ({reason}): run the training again"
        ) from error
