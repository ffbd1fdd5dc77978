"""The controls of Figure 6: a teacher that merges tokens, a student that is masked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.errors import FieldError
from harness.methods import Networks
from harness.methods.labels import soft_cross_entropy
from harness.methods.masked_student import MaskedStudent
from harness.methods.merged_teacher import MergedTeacher
from harness.models.architectures import PLAIN
from harness.models.build import freeze
from harness.models.config import ModelConfig
from harness.models.families import known_architectures
from harness.train.config import Recipe
from tests.methods.test_distillation import batch, network, reference, step

RECIPE = Recipe(epochs=1, batch_size=2, lr=1e-3)

SWIN = known_architectures()["swin_tiny_patch4_window7_224"]
DISTILLED = PLAIN["deit_small_distilled_patch16_224"]
DEIT = ModelConfig(arch="deit_tiny_patch16_224").shape


def kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student), mean over the batch, in float64."""
    p = teacher.double().softmax(dim=1)
    return (p * (p.log() - student.double().log_softmax(dim=1))).sum(dim=1).mean()


def test_the_student_is_shown_what_it_attends_to_and_the_teacher_all() -> None:
    student, teacher = network(1), freeze(network(2, width=64))
    objective = MaskedStudent(keep=5, weight=2.0).build(Networks(student=student, teacher=teacher))
    images, targets = batch().images, batch().targets
    found = objective.losses(batch(), step())
    _, saliency = reference(student).run(images)
    kept = [sorted(row.topk(5).indices.tolist()) for row in saliency]
    logits, _ = reference(student).run(images, kept)
    distill = kl(logits, reference(teacher).run(images)[0])
    ce = soft_cross_entropy(logits, targets)
    assert found["distill"].detach().item() == pytest.approx(distill.item(), rel=1e-4)
    assert found["total"].detach().item() == pytest.approx((ce + 2 * distill).item(), rel=1e-4)


def test_a_student_that_keeps_everything_is_not_masked() -> None:
    networks = Networks(student=network(1), teacher=freeze(network(2)))
    images = batch().images
    found = MaskedStudent(keep=16).build(networks).losses(batch(), step())["distill"]
    assert networks.teacher is not None
    expected = kl(networks.student(images).logits, networks.teacher(images).logits)
    assert found.detach().item() == pytest.approx(expected.detach().item(), rel=1e-5)


def test_the_student_learns_from_the_merging_teacher_which_learns_nothing() -> None:
    student, teacher = network(1), freeze(network(2))
    for parameter in teacher.parameters():
        parameter.requires_grad_(True)  # even so
    method = MergedTeacher(merge=4, teacher_accuracy=True)
    objective = method.build(Networks(student=student, teacher=teacher))
    found = objective.losses(batch(), step())
    merged = teacher.merged_logits(batch().images, 4)
    assert found["distill"].detach().item() == pytest.approx(
        kl(student(batch().images).logits, merged).detach().item(), rel=1e-5
    )
    found["total"].backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert torch.equal(objective.extra_predictors()["teacher"](batch().images), merged)
    assert (
        not MergedTeacher(merge=4)
        .build(Networks(student=student, teacher=teacher))
        .extra_predictors()
    )


def test_what_they_cannot_do_is_refused() -> None:
    for shape in (SWIN, DISTILLED):
        with pytest.raises(FieldError, match="cannot merge tokens"):
            MergedTeacher(merge=1).check({"student": DEIT, "teacher": shape}, RECIPE)
    with pytest.raises(FieldError, match="cannot leave patches out"):
        MaskedStudent(keep=1).check({"student": SWIN, "teacher": DEIT}, RECIPE)
    with pytest.raises(FieldError, match="at least 1 token"):
        MergedTeacher(merge=0)
    with pytest.raises(FieldError, match="at least 1 patch"):
        MaskedStudent(keep=0)
    with pytest.raises(FieldError, match="the student's 196 patches, got 197"):
        MaskedStudent(keep=197).check({"student": DEIT, "teacher": DEIT}, RECIPE)
    with pytest.raises(FieldError, match="below the teacher's 196 patches, got 196"):
        MergedTeacher(merge=196).check({"student": DEIT, "teacher": DEIT}, RECIPE)
