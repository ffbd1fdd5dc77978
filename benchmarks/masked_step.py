"""A training step of MaskedKD against the same written plainly, against the machine's own speed,
and against what the multiply-adds say of fewer patches.

    python benchmarks/masked_step.py [--device cpu] [--batch 16] [--repeats 7] [--csv FILE]

DeiT-S teaches DeiT-Ti at 224 px, fp32, random images: student forward and backward, choice of
patches, teacher forward, AdamW. Batches of `--batch` and of half as many. All variants are timed in
turn within one process, so a drifting machine slows all of them alike; a ratio is the median over
turns, with the least and the largest.

"plain" is `plain_masked.py`: timm and PyTorch alone, attention maps in full, every patch embedded;
"plain, fused": with a full map in the one block whose attention is needed. "matrix products" are
those of the step alone (`products.py`): the ratio is the share of the machine's matmul rate at
which the step runs. Where the CPU multiplies bf16: "teacher in bf16" is the recipe's
`teacher_precision: bf16`, "bf16" its `precision: bf16`.
"""

from __future__ import annotations

from collections.abc import Callable

import timm
import torch
from options import compared, multiplies_bf16, options, show
from plain_masked import PlainMaskedKD
from products import multiplied, of_step

from harness.evaluate.throughput import interleaved_seconds
from harness.methods import Batch, Networks, Step
from harness.methods.distillation import Distillation, Mask
from harness.models.build import build_model, freeze
from harness.models.config import ModelConfig
from harness.models.cost import efficient_macs
from harness.models.families import known_architectures
from harness.models.vit import Normalisation, VisionTransformer
from harness.precision import autocast, choose_attention
from harness.train.config import Recipe
from harness.train.optimizer import build_optimizer

STUDENT, TEACHER, CLASSES = "deit_tiny_patch16_224", "deit_small_patch16_224", 1000
ALL, KEEP = 196, 98
SEEN = Normalisation(mean=(0.0,) * 3, std=(1.0,) * 3)


def step_macs(keep: int) -> float:
    """Multiply-adds of a step for one image: three passes of the student and one of the teacher."""
    student, teacher = known_architectures()[STUDENT], known_architectures()[TEACHER]
    return (
        3 * efficient_macs(student, keep=student.patches, classes=CLASSES).total
        + efficient_macs(teacher, keep=keep, classes=CLASSES).total
    )


def network(arch: str) -> VisionTransformer:
    """With random weights."""
    config = ModelConfig(arch=arch)
    return build_model(config, classes=CLASSES, channels=3, input_norm=SEEN, dependencies={})


def data(batch: int, device: torch.device) -> Batch:
    """A fixed random batch."""
    return Batch(
        images=torch.randn(batch, 3, 224, 224, device=device),
        targets=torch.rand(batch, CLASSES, device=device).softmax(dim=1),
    )


def training_step(
    keep: int,
    batch: int,
    device: torch.device,
    precision: str = "fp32",
    teacher_precision: str | None = None,
) -> Callable[[], object]:
    """A whole optimiser step of (Masked)KD."""
    student, teacher = (network(arch).to(device) for arch in (STUDENT, TEACHER))
    choose_attention(student, precision, device)
    choose_attention(teacher, teacher_precision or precision, device)
    mask = Mask(keep=keep) if keep < ALL else None
    networks = Networks(
        student=student.train(), teacher=freeze(teacher), teacher_precision=teacher_precision
    )
    objective = Distillation(mask=mask).build(networks)
    optimizer = build_optimizer(objective.modules, Recipe(epochs=1, batch_size=batch, lr=1e-4))
    given = data(batch, device)
    step = Step(index=0, total=1, generator=torch.Generator())

    def run() -> None:
        with autocast(precision, device):
            loss = objective.losses(given, step)["total"]
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def plain_step(
    batch: int, device: torch.device, *, fused: bool = False, bf16: bool = False
) -> Callable[[], object]:
    """The same, as one would write it."""
    student, teacher = (
        timm.create_model(arch, num_classes=CLASSES).to(device) for arch in (STUDENT, TEACHER)
    )
    plain, given = (
        PlainMaskedKD(student, teacher, KEEP, fused=fused, bf16=bf16),
        data(batch, device),
    )
    return lambda: plain.step(given.images, given.targets)


def measure(
    batch: int, device: torch.device, repeats: int, keeps: tuple[int, ...]
) -> list[dict[str, object]]:
    """The lines of one batch size."""
    ours, products = f"batch {batch}, keep {KEEP}", f"batch {batch}, matrix products"
    plain = f"batch {batch}, plain"
    shapes = known_architectures()[STUDENT], known_architectures()[TEACHER]
    work = of_step(*shapes, keep=KEEP, batch=batch, classes=CLASSES)
    steps = {
        plain: plain_step(batch, device),
        f"{plain}, fused": plain_step(batch, device, fused=True),
        products: multiplied(work, device),
    }
    pairs = [(name, ours) for name in steps]
    expected: dict[str, float] = {}
    steps[ours] = training_step(KEEP, batch, device)
    for keep in keeps:
        name = f"batch {batch}, keep {keep}"
        steps[name] = training_step(keep, batch, device)
        pairs.append((name, ours))
        expected[name] = step_macs(keep) / step_macs(KEEP)
    if multiplies_bf16(device):
        half, whole = f"{ours}, teacher in bf16", f"{ours}, bf16"
        steps[half] = training_step(KEEP, batch, device, teacher_precision="bf16")
        steps[whole] = training_step(KEEP, batch, device, "bf16")
        steps[f"{plain}, bf16"] = plain_step(batch, device, bf16=True)
        pairs += [(half, ours), (plain, half), (whole, ours), (plain, whole)]
        pairs.append((f"{plain}, bf16", whole))
    seconds = interleaved_seconds(steps, device=device, warmup=1, repeats=repeats)
    rate = 2e-9 * sum(product.macs * times for product, times in work.items())
    print(f"{products}: {rate / min(seconds[products]):.0f} GFLOP/s at best")
    return [
        {**compared(name, against, seconds), "by multiply-adds": expected.get(name)}
        for name, against in pairs
    ]


def main() -> None:
    """Print the table; keep it as CSV where asked."""
    arguments = options(__doc__, batch=16)
    device, repeats = torch.device(arguments.device), arguments.repeats
    lines = measure(arguments.batch // 2, device, repeats, ())
    lines += measure(arguments.batch, device, repeats, (196, 147, 49))
    if not multiplies_bf16(device):
        print("bf16: not measured, this CPU has neither AVX512_BF16 nor AMX")
    show(lines, f"{TEACHER} -> {STUDENT}", arguments)


if __name__ == "__main__":
    main()
