"""Students of every family under a masked teacher: what is kept, and where gradients go."""

from __future__ import annotations

import pytest
import torch

from harness.masking import Criterion
from harness.masking.attention import PatchAttention, StudentAttention
from harness.masking.keep import to_grid
from harness.methods import Batch, Networks, Step
from harness.methods.distillation import Distillation, Mask
from harness.models.config import ModelConfig
from harness.models.interface import ForwardRequest
from tests.models.networks import build
from tests.models.test_teachers import images, teacher

SMALL = {"image_size": 48, "patch_size": 8, "width": 48, "depth": 3, "heads": 4}  # 6 x 6 patches


@pytest.mark.parametrize(
    ("config", "criterion", "grid"),
    [
        (ModelConfig(arch="swin_tiny_patch4_window7_224"), PatchAttention(), (7, 7)),
        (ModelConfig(arch="cait_s24_224", **SMALL), StudentAttention(), (6, 6)),
        (ModelConfig(arch="convit_tiny", **SMALL), StudentAttention(), (6, 6)),
        (ModelConfig(arch="deit_small_distilled_patch16_224", **SMALL), PatchAttention(), (6, 6)),
        (ModelConfig(arch="deit3_small_patch16_224", **SMALL), StudentAttention(), (6, 6)),
    ],
    ids=lambda value: value.arch if isinstance(value, ModelConfig) else "",
)
def test_the_teacher_sees_what_the_student_attends_to_on_its_own_grid(
    config: ModelConfig, criterion: Criterion, grid: tuple[int, int]
) -> None:
    student = build(config, seed=4)
    masked = teacher("deit_small_patch16_224")  # 4 x 4 patches, of its own size
    for parameter in masked.parameters():
        parameter.requires_grad_(True)  # even so
    pixels = images(student.image_size, count=2)
    look = criterion.attention_source()
    assert look is not None
    scores = student(pixels, outputs=ForwardRequest(saliency=look.saliency)).saliency
    assert scores is not None
    assert scores.shape == (2, grid[0] * grid[1])
    kept = to_grid(scores, grid, (4, 4)).topk(5).indices.sort().values
    expected = masked(pixels, keep=kept).logits.softmax(dim=1)

    objective = Distillation(mask=Mask(keep=5, criterion=criterion)).build(
        Networks(student=student, teacher=masked)
    )
    step = Step(index=0, total=1, generator=torch.Generator())
    losses = objective.losses(Batch(images=pixels, targets=torch.full((2, 7), 1 / 7)), step)
    logits = student(pixels).logits.log_softmax(dim=1)
    distill = (expected * (expected.log() - logits)).sum(dim=1).mean()
    assert losses["distill"].item() == pytest.approx(distill.item(), rel=1e-4)
    losses["total"].backward()
    assert all(parameter.grad is None for parameter in masked.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())
