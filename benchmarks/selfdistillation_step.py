"""A self-distillation step against the same written plainly, and what masks and a patch loss add to
it, as ratios to DINO's.

    python benchmarks/selfdistillation_step.py [--device cpu] [--batch 8] [--repeats 7] [--csv FILE]

ViT-Ti/16, two global crops of 224 px and two local ones of 96 px, 8,192 prototypes, fp32, random
images: student forward and backward, teacher forward, gradient clipping, AdamW, moving averages.
All variants are timed in turn within one process, so a drifting machine slows all of them alike;
a ratio is the median over turns, with the least and the largest.

"plain" is `plain_selfdistillation.py`: timm and PyTorch alone, attention maps in full; in iBOT and
AttMask every token meets all prototypes. "plain, fused" has fused attention. "bf16" is the recipe's
`precision: bf16`, where the CPU multiplies bf16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import torch
from options import compared, multiplies_bf16, options, show
from plain_selfdistillation import PlainDino, PlainIbot

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
from harness.precision import autocast, choose_attention
from harness.seeding import generator
from harness.train.config import Recipe
from harness.train.optimizer import build_optimizer

ARCH = "vit_tiny_patch16_224"
CROPS = MultiCrop(local_crops=2)
HEAD = Head(out_dim=8192, norm_last_layer=False, freeze_last_layer_epochs=0)
TOTAL = 1000
PLAIN = ("DINO", "iBOT, block-wise", "AttMask-High")
COMPARED = (  # a step, and the one it is held against
    ("DINO, plain", "DINO"),
    ("DINO, plain, fused", "DINO"),
    ("iBOT, block-wise, plain", "iBOT, block-wise"),
    ("iBOT, block-wise, plain, fused", "iBOT, block-wise"),
    ("AttMask-High, plain", "AttMask-High"),
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


def prepared(
    method: SelfDistillation, batch: int, device: torch.device, precision: str = "fp32"
) -> tuple[Any, Recipe, Batch]:
    """The objective over a network of random weights, the recipe, and a fixed random batch."""
    seen = Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3)
    torch.manual_seed(0)
    config = ModelConfig(arch=ARCH)
    student = build_model(config, classes=1, channels=3, input_norm=seen, dependencies={})
    student = student.to(device)
    choose_attention(student, precision, device)
    objective = method.build(Networks(student=student.train(), teacher=None))
    sizes = [224] * 2 + [CROPS.local_size] * CROPS.local_crops
    views = tuple(torch.randn(batch, 3, size, size, device=device) for size in sizes)
    data = Batch(images=views[0], targets=torch.zeros(batch, 1, device=device), views=views)
    return objective, Recipe(epochs=1, batch_size=batch, lr=1e-4), data


def drawn() -> Iterator[Step]:
    """Masks are other ones at every step, and the same for every method that draws them alike."""
    for index in count():
        draws = generator(0, "method", index)
        yield Step(index=index, total=TOTAL, generator=draws, per_epoch=TOTAL)


def training_step(
    method: SelfDistillation, batch: int, device: torch.device, precision: str = "fp32"
) -> Callable[[], object]:
    """A whole optimiser step."""
    objective, recipe, data = prepared(method, batch, device, precision)
    optimizer = build_optimizer(objective.modules, recipe)
    steps = drawn()

    def run() -> None:
        step = next(steps)
        with autocast(precision, device):
            objective.before_losses(iter([(data, step)]))
            loss = objective.losses(data, step)["total"]
        loss.backward()
        objective.before_update(step, optimizer)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        objective.after_step(step)

    return run


def plain_step(
    method: SelfDistillation,
    batch: int,
    device: torch.device,
    *,
    fused: bool = False,
    bf16: bool = False,
) -> Callable[[], object]:
    """The same, as one would write it."""
    objective, recipe, data = prepared(method, batch, device)
    kind = PlainIbot if isinstance(method, Ibot) else PlainDino
    plain, steps = kind(objective, recipe, fused=fused, bf16=bf16), drawn()
    return lambda: plain.step(data.views, next(steps))


def main() -> None:
    """One line per comparison."""
    arguments = options(__doc__, batch=8)
    batch, device = arguments.batch, torch.device(arguments.device)
    steps = {name: training_step(method, batch, device) for name, method in methods().items()}
    pairs = list(COMPARED)
    for name in PLAIN if multiplies_bf16(device) else ():
        half = f"{name}, bf16"
        steps[half] = training_step(methods()[name], batch, device, "bf16")
        steps[f"{name}, plain, bf16"] = plain_step(methods()[name], batch, device, bf16=True)
        pairs += [(half, name), (f"{name}, plain", half), (f"{name}, plain, bf16", half)]
    for name in PLAIN:
        for fused in (False, True):
            called = f"{name}, plain, fused" if fused else f"{name}, plain"
            if any(called == step for step, _ in COMPARED):
                steps[called] = plain_step(methods()[name], batch, device, fused=fused)
    seconds = interleaved_seconds(steps, device=device, warmup=1, repeats=arguments.repeats)
    about = (
        f"{ARCH}, 2 x 224 px + {CROPS.local_crops} x {CROPS.local_size} px, "
        f"{HEAD.out_dim} prototypes, batch {batch}"
    )
    show([compared(name, base, seconds) for name, base in pairs], about, arguments)


if __name__ == "__main__":
    main()
