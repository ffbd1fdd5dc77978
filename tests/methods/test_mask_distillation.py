"""What a Segmenter learns from its teacher, whole and masked, and from its labels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from harness.data.config import DataConfig
from harness.errors import FieldError
from harness.methods import Batch, Networks, Step
from harness.methods.distillation import Distillation, Mask
from harness.methods.losses.logit import Logit
from harness.methods.losses.manifold import Manifold
from harness.methods.masked_student import MaskedStudent
from harness.methods.supervised import Supervised
from harness.models.build import freeze
from harness.models.config import ModelConfig
from harness.models.interface import ForwardOutput, ForwardRequest, Saliency
from harness.models.vit import VisionTransformer
from harness.train.config import Augment, Recipe, TrainConfig
from tests.models.test_segmenter import CLASSES, CONFIG, built, images, slow

KEPT = torch.tensor([[1, 2, 6, 11, 13], [0, 5, 9, 10, 15]])
WIDE = replace(CONFIG, width=36, depth=4)


def pair() -> tuple[VisionTransformer, VisionTransformer]:
    student = built()
    for parameter in student.parameters():
        parameter.requires_grad_(True)
    return student.train(), freeze(built(WIDE))


def outputs(loss: Manifold, keep: Tensor | None) -> tuple[ForwardOutput, ForwardOutput]:
    student, teacher = pair()
    return (
        student(images(), outputs=loss.of_student),
        teacher(images(), keep=keep, outputs=loss.of_teacher),
    )


def test_a_teacher_that_keeps_everything_is_no_masked_one() -> None:
    loss, everything = Manifold(layers=1, samples=999), torch.arange(16).expand(2, -1)
    torch.manual_seed(0)
    masked = loss(*outputs(loss, everything), everything)
    torch.manual_seed(0)
    whole = loss(*outputs(loss, None), None)
    assert float(masked.detach()) == pytest.approx(float(whole.detach()), rel=1e-5)


@pytest.mark.parametrize("keep", [None, KEPT])
def test_logits_of_patches_are_compared_where_the_teacher_saw_them(keep: Tensor | None) -> None:
    loss = Manifold()
    found = Logit(temperature=2.0)(*outputs(loss, keep), keep)
    student = slow(built(), [list(range(16))] * 2)
    rows = [list(range(16))] * 2 if keep is None else keep.tolist()
    with torch.no_grad():
        teacher = built(WIDE)(images(), keep=keep).logits.double()
    total = 0.0
    for image, patches in enumerate(rows):
        for place, patch in enumerate(patches):
            p = (teacher[image, :, place] / 2).softmax(dim=0)
            q = (student[image, :, patch] / 2).softmax(dim=0)
            total += float((p * (p / q).log()).sum()) * 4
    assert float(found.detach()) == pytest.approx(total / 2 / len(rows[0]), rel=1e-3)


def test_a_step_learns_from_pixels_and_from_kept_patches() -> None:
    student, teacher = pair()
    method = Distillation(loss=Manifold(logit=0.0), mask=Mask(keep=12), weight=2.0)
    objective = method.build(Networks(student=student, teacher=teacher))
    masks = torch.randint(0, CLASSES, (2, 32, 32), dtype=torch.uint8)
    step = Step(index=0, total=1, generator=torch.Generator().manual_seed(0))
    losses = objective.losses(Batch(images=images(), targets=masks), step)
    total = float(losses["total"].detach())
    assert total == pytest.approx(float((losses["ce"] + 2 * losses["distill"]).detach()), rel=1e-6)
    losses["total"].backward()
    without = {name for name, value in student.named_parameters() if value.grad is None}
    assert not without
    assert all(value.grad is None for value in teacher.parameters())
    objective.after_step(step)
    kept = torch.tensor(objective.summary()["kept"])
    assert float(kept.sum()) == pytest.approx(12)
    saliency = student(images(), outputs=ForwardRequest(saliency=Saliency())).saliency
    assert saliency is not None
    best = saliency.topk(12, dim=1).indices
    assert torch.equal(
        kept, torch.zeros(16).scatter_add_(0, best.flatten(), torch.full((24,), 0.5))
    )


def config(**more: object) -> TrainConfig:
    student = replace(CONFIG, channels=1)
    parts = {
        "data": DataConfig(name="canvases-masks"),
        "student": student,
        "method": Supervised(),
        "recipe": Recipe(epochs=1, batch_size=8, lr=1e-3, augment=Augment(crop="none")),
    }
    return TrainConfig(**{**parts, **more})  # type: ignore[arg-type]


def test_what_does_not_go_with_masks_is_told() -> None:
    config()
    with pytest.raises(FieldError, match="'fashion-mnist' has classes of its images"):
        config(data=DataConfig(name="fashion-mnist"))
    with pytest.raises(FieldError, match="is not for images with masks"):
        config(recipe=Recipe(epochs=1, batch_size=8, lr=1e-3, augment=Augment(mixup=0.5)))
    teacher = replace(CONFIG, channels=1)
    with pytest.raises(FieldError, match="does not train networks that tell masks"):
        config(method=MaskedStudent(keep=3), teacher=teacher)
    with pytest.raises(FieldError, match="is of networks that tell classes"):
        config(method=Distillation(loss=Manifold(), teacher_accuracy=True), teacher=teacher)
    plain = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=2, heads=2)
    with pytest.raises(FieldError, match="is for images with boxes or masks"):
        config(
            data=DataConfig(name="fashion-mnist"),
            student=plain,
            recipe=Recipe(epochs=1, batch_size=8, lr=1e-3, augment=Augment(crop="scaled")),
        )
