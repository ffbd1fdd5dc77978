"""How much faster a training step gets when the teacher sees fewer patches, next to what the
multiply-adds say.

    python benchmarks/masked_step.py [--device cpu] [--batch 16] [--repeats 7] [--csv FILE]

DeiT-S teaches DeiT-Ti at 224 px, fp32, random images: student forward and backward, choice of
patches, teacher forward, AdamW. All variants are timed in turn within one process, so a drifting
machine slows all of them alike; ratios are medians over turns. "as released" is what MaskedKD's
public code computes: attention maps in every block, every patch embedded, the whole last block.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import pandas as pd
import torch
from options import machine, options

from harness.evaluate.throughput import interleaved_seconds, median_ratio
from harness.methods import Batch, Networks, Step
from harness.methods.distillation import Distillation, Mask
from harness.models.build import build_model, freeze
from harness.models.config import ModelConfig
from harness.models.cost import efficient_macs
from harness.models.families import Architecture, known_architectures
from harness.models.vit import ForwardOutput, Normalisation, VisionTransformer
from harness.train.config import Recipe
from harness.train.optimizer import build_optimizer

STUDENT, TEACHER = "deit_tiny_patch16_224", "deit_small_patch16_224"
KEEPS = (196, 147, 98, 49)
SEEN = Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3)


class AsReleased(VisionTransformer):
    """The same numbers, computed as the released code does."""

    def __init__(self, vit: object, shape: Architecture) -> None:
        super().__init__(vit, shape)
        for block in self.vit.blocks:
            block.attn.fused_attn = False

    def forward(self, images: torch.Tensor, **options: object) -> ForwardOutput:
        """All patches embedded, the whole last block."""
        return super().forward(images, **{**options, "efficient": False})  # type: ignore[arg-type]


def step_macs(keep: int) -> float:
    """Multiply-adds of a step for one image: three passes of the student and one of the teacher."""
    student, teacher = known_architectures()[STUDENT], known_architectures()[TEACHER]
    return (
        3 * efficient_macs(student, keep=student.patches, classes=1000).total
        + efficient_macs(teacher, keep=keep, classes=1000).total
    )


def wrapped(arch: str, wrap: type[VisionTransformer]) -> VisionTransformer:
    """A network with random weights behind one way of computing."""
    config = ModelConfig(arch=arch)
    model = build_model(config, classes=1000, channels=3, input_norm=SEEN, dependencies={})
    return wrap(model.vit, config.shape)


def training_step(
    keep: int, batch: int, device: torch.device, wrap: type[VisionTransformer]
) -> Callable[[], object]:
    """A whole optimiser step of (Masked)KD on a fixed random batch."""
    student, teacher = (wrapped(arch, wrap).to(device) for arch in (STUDENT, TEACHER))
    mask = Mask(keep=keep) if keep < 196 else None
    objective = Distillation(mask=mask).build(
        Networks(student=student.train(), teacher=freeze(teacher))
    )
    optimizer = build_optimizer(objective.modules, Recipe(epochs=1, batch_size=batch, lr=1e-4))
    data = Batch(
        images=torch.randn(batch, 3, 224, 224, device=device),
        targets=torch.rand(batch, 1000, device=device).softmax(dim=1),
    )
    step = Step(index=0, total=1, generator=torch.Generator())

    def run() -> None:
        objective.losses(data, step)["total"].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def measure(batch: int, device: torch.device, repeats: int) -> pd.DataFrame:
    """One line per keep count, and one for the released way of computing."""
    steps = {
        f"keep {keep}": training_step(keep, batch, device, VisionTransformer) for keep in KEEPS
    }
    steps["as released, keep 196"] = training_step(196, batch, device, AsReleased)
    steps["as released, keep 98"] = training_step(98, batch, device, AsReleased)
    seconds = interleaved_seconds(steps, device=device, warmup=1, repeats=repeats)
    full = seconds["keep 196"]
    lines = []
    for name, taken in seconds.items():
        expected = (
            step_macs(196) / step_macs(int(name.split()[-1]))
            if name.startswith("keep")
            else float("nan")
        )
        speedup = median_ratio(full, taken)
        lines.append(
            {
                "step": name,
                "ms": 1000 * statistics.median(taken),
                "min": 1000 * min(taken),
                "max": 1000 * max(taken),
                "img/s": batch / statistics.median(taken),
                "speedup": speedup,
                "speedup by MACs": expected,
                "share reached": speedup / expected,
            }
        )
    return pd.DataFrame(lines)


def main() -> None:
    """Print the table; keep it as CSV where asked."""
    arguments = options(__doc__, batch=16)
    found = measure(arguments.batch, torch.device(arguments.device), arguments.repeats)
    print(f"{machine()}, torch {torch.__version__}")
    print(
        f"{TEACHER} -> {STUDENT}, batch {arguments.batch}, "
        f"{arguments.device}, {arguments.threads} threads, fp32\n"
    )
    print(
        found.to_string(
            index=False,
            float_format=lambda value: f"{value:.3g}" if value < 100 else f"{value:.0f}",
        )
    )
    if arguments.csv:
        found.to_csv(arguments.csv, index=False)


if __name__ == "__main__":
    main()
