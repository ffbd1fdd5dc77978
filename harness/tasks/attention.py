"""Where a trained network looks: numbers for the table and pictures for the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from harness.data import open_dataset
from harness.evidence import FigureOf
from harness.run import TASKS, RunContext
from harness.tasks.of_network import NetworkEvaluation, save_json

PICTURES = "attention.json"
"""The artifact: images with the attention of every head, which the report draws."""

HEADS: Final = FigureOf(
    figure="image-maps",
    id="attention",
    source=PICTURES,
    caption="What the class token attends to in the last block, on images that judge; one seed.",
    alt="Attention of the class token by head",
    label="head",
)


@TASKS.register("attention")
@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionRun(NetworkEvaluation):
    """Attention of the last block's class token to the patches, over all images that judge.

    `attention/entropy` in nats, of how it is shared among the patches, mean over heads;
    `attention/entropy_even` is that of even attention. Where objects are known (`fashion-mnist`:
    every pixel that is not black; of sounds, all that does not pad the clip), in percent:
    `attention/foreground`, what falls on them, mean over heads; `attention/foreground_best`, of the
    head with most; `attention/foreground_even`, what even attention would have. After arXiv
    2104.14294, section 4.2.2.
    """

    figures: ClassVar[tuple[FigureOf, ...]] = (HEADS,)
    families: ClassVar[frozenset[str]] = frozenset({"vit", "ast"})

    @classmethod
    def metrics(cls) -> frozenset[str]:
        """Of a network, and of even attention."""
        names = ("entropy", "entropy_even", "foreground", "foreground_best", "foreground_even")
        return frozenset(f"attention/{name}" for name in names)

    def execute(self, context: RunContext) -> dict[str, float]:
        """See `harness.evaluate.attention`."""
        from harness.evaluate.attention import look

        data, network = self.opened(context)
        dataset = open_dataset(self.data)
        metrics, pictures = look(
            network,
            data.pictures(),
            background=dataset.background,
            spectrograms=dataset.spectrograms,
        )
        save_json(context, PICTURES, pictures)
        return metrics
