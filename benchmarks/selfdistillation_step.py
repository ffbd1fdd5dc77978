"""What masks and a patch loss add to a self-distillation step, as ratios to DINO's.

    python benchmarks/selfdistillation_step.py [--device cpu] [--batch 8] [--repeats 7] [--csv FILE]

ViT-Ti/16, two global crops of 224 px and two local ones of 96 px, 8,192 prototypes, fp32, random
images: student forward and backward, teacher forward, gradient clipping, AdamW, moving averages.
All variants are timed in turn within one process, so a drifting machine slows all of them alike;
ratios are medians over turns.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch
from options import compared, options, show

from harness.data.multicrop import MultiCrop
from harness.evaluate.throughput import interleaved_seconds
from harness.masking.views.attmask import AttMaskHigh, AttMaskHint
from harness.masking.views.random import RandomMask
from harness.methods import Batch, Networks, Step
from harness.methods.dino import Dino
from harness.methods.dino_masked_teacher import DinoMaskedTeacher
from harness.methods.dinov2 import Dinov2
from harness.methods.ibot import Ibot
from harness.methods.masked_dino import MaskedDino
from harness.methods.selfdistillation.config import Head, SelfDistillation
from harness.models.build import build_model
from harness.models.config import ModelConfig
from harness.models.vit import Normalisation
from harness.seeding import generator
from harness.train.config import Recipe
from harness.train.optimizer import build_optimizer

ARCH = "vit_tiny_patch16_224"
CROPS = MultiCrop(local_crops=2)
HEAD = Head(out_dim=8192, norm_last_layer=False, freeze_last_layer_epochs=0)
TOTAL = 1000
COMPARED = (  # a step, and the one it is held against
    ("iBOT, random", "DINO"),
    ("iBOT, block-wise", "DINO"),
    ("DINOv2", "iBOT, block-wise"),
    ("AttMask-High", "iBOT, random per batch"),
    ("AttMask-Hint", "iBOT, random per batch"),
    ("DINO, masked student", "DINO"),
    ("DINO, AttMask-High", "DINO, masked student"),
    ("DINO, student drops half", "DINO"),
    ("DINO, teacher sees 120", "DINO"),
)


def methods() -> dict[str, SelfDistillation]:
    """What is timed, by name."""
    per_batch = RandomMask(ratio_per="batch")
    half = RandomMask(ratio=(0.5, 0.5), probability=1.0, ratio_per="batch")
    return {
        "DINO": Dino(crops=CROPS, head=HEAD),
        "iBOT, random": Ibot(crops=CROPS, head=HEAD, mask=RandomMask()),
        "iBOT, random per batch": Ibot(crops=CROPS, head=HEAD, mask=per_batch),
        "iBOT, block-wise": Ibot(crops=CROPS, head=HEAD),
        "DINOv2": Dinov2(crops=CROPS, head=HEAD),
        "AttMask-High": Ibot(crops=CROPS, head=HEAD, mask=AttMaskHigh()),
        "AttMask-Hint": Ibot(crops=CROPS, head=HEAD, mask=AttMaskHint()),
        "DINO, masked student": MaskedDino(crops=CROPS, head=HEAD, mask=per_batch),
        "DINO, AttMask-High": MaskedDino(crops=CROPS, head=HEAD, mask=AttMaskHigh()),
        "DINO, student drops half": MaskedDino(crops=CROPS, head=HEAD, mask=half, how="drop"),
        "DINO, teacher sees 120": DinoMaskedTeacher(crops=CROPS, head=HEAD, keep=120),
    }


def training_step(
    method: SelfDistillation, batch: int, device: torch.device
) -> Callable[[], object]:
    """A whole optimiser step on a fixed random batch; the masks are other ones at every step, and
    the same for every method that draws them alike.
    """
    seen = Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3)
    torch.manual_seed(0)
    config = ModelConfig(arch=ARCH)
    student = build_model(config, classes=1, channels=3, input_norm=seen, dependencies={})
    student = student.to(device)
    objective = method.build(Networks(student=student.train(), teacher=None))
    optimizer = build_optimizer(objective.modules, Recipe(epochs=1, batch_size=batch, lr=1e-4))
    sizes = [224] * 2 + [CROPS.local_size] * CROPS.local_crops
    views = tuple(torch.randn(batch, 3, size, size, device=device) for size in sizes)
    data = Batch(images=views[0], targets=torch.zeros(batch, 1, device=device), views=views)
    indices = count()

    def run() -> None:
        index = next(indices)
        draws = generator(0, "method", index)
        step = Step(index=index, total=TOTAL, generator=draws, per_epoch=TOTAL)
        objective.losses(data, step)["total"].backward()
        objective.before_update(step, optimizer)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.after_step(step)

    return run


def main() -> None:
    """One line per comparison."""
    arguments = options(__doc__, batch=8)
    batch, device = arguments.batch, torch.device(arguments.device)
    steps = {name: training_step(method, batch, device) for name, method in methods().items()}
    seconds = interleaved_seconds(steps, device=device, warmup=1, repeats=arguments.repeats)
    about = (
        f"{ARCH}, 2 x 224 px + {CROPS.local_crops} x {CROPS.local_size} px, "
        f"{HEAD.out_dim} prototypes, batch {batch}"
    )
    show([compared(name, base, seconds) for name, base in COMPARED], about, arguments)


if __name__ == "__main__":
    main()
