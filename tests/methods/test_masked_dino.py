"""DINO with hidden patches, on the student's side or the teacher's, against the float64 loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.errors import FieldError
from harness.masking.attention import LayerAttention
from harness.masking.random import RandomCriterion as RandomKeep
from harness.masking.views.attmask import AttMaskHigh
from harness.masking.views.random import RandomMask
from harness.methods.dino import Dino
from harness.methods.dino_masked_teacher import DinoMaskedTeacher
from harness.methods.masked_dino import MaskedDino
from harness.models.architectures import PLAIN
from harness.train.config import Recipe
from tests.methods.selfdistillation_reference import dino_loss, project, tokens
from tests.methods.test_dino import SMALL, batch, objective, step
from tests.methods.test_ibot import drawn


def seen(model: Any, view: Tensor, mask: Tensor | None, token: Tensor | None) -> Tensor:
    """CLS tokens: hidden patches replaced by `token`, or left out without one; image by image."""
    if mask is None or token is not None:
        return tokens(model, view, patch=4, hidden=mask, token=token)[0]
    one_by_one = []
    for image, hidden in zip(view, mask, strict=True):
        keep = (~hidden).nonzero()[:, 0][None]
        one_by_one.append(tokens(model, image[None], patch=4, keep=keep)[0][0])
    return torch.stack(one_by_one)


@pytest.mark.parametrize("per", ["batch", "view"])
@pytest.mark.parametrize("how", ["replace", "drop"])
@pytest.mark.parametrize("where", ["student-global", "student-all", "student-and-teacher"])
def test_the_loss_equals_the_reference_in_every_arm(where: Any, how: Any, per: Any) -> None:
    mask = RandomMask(ratio=(0.2, 0.6), probability=0.7, ratio_per=per)
    built, data = objective(MaskedDino(**SMALL, mask=mask, where=where, how=how)), batch()
    tokens_of = {"student": None, "teacher": None}
    with torch.no_grad():
        for name, key in (("mask_token", "student"), ("teacher_mask_token", "teacher")):
            if name in built.modules:
                tokens_of[key] = built.modules[name].mask_token.normal_()[0].detach()
    assert (tokens_of["student"] is None) is (how == "drop")
    masks = drawn(built)
    found = float(built.losses(data, step())["total"].detach())
    flags = list(masks[0].flags().view(2, 6, 16))
    locals_: list[Tensor | None] = [None] * 3
    if where == "student-all":
        locals_ = list(masks[1].flags().view(3, 6, 16))
    assert len(masks) == (2 if where == "student-all" else 1)
    student = [
        project(built.head, seen(built.student, view, hidden, tokens_of["student"]))
        for view, hidden in zip(data.views, [*flags, *locals_], strict=True)
    ]
    taught = flags if where == "student-and-teacher" else [None, None]
    teacher = [
        project(built.teacher_head, seen(built.teacher, view, hidden, tokens_of["teacher"]))
        for view, hidden in zip(data.views, taught, strict=False)
    ]
    expected = dino_loss(teacher, student, built.center.value.double(), 0.04, 0.1)
    assert found == pytest.approx(float(expected), rel=2e-5)


def test_attmask_hides_from_the_student_what_the_teacher_attends_to() -> None:
    mask = AttMaskHigh(ratio=(0.3, 0.3), probability=1.0)
    built, data = objective(MaskedDino(**SMALL, mask=mask)), batch()
    masks = drawn(built)
    built.losses(data, step())
    flags = masks[0].flags().view(2, 6, 16)
    for view in range(2):
        attention = tokens(built.teacher, data.views[view], patch=4)[2]
        for image in range(6):
            ranking = attention[image].argsort(descending=True).tolist()
            assert set(flags[view, image].nonzero()[:, 0].tolist()) == set(ranking[:4])


def test_a_mask_of_nothing_is_dino() -> None:
    data = batch()
    plain = objective(Dino(**SMALL)).losses(data, step())["total"]
    for how in ("replace", "drop"):
        method = MaskedDino(**SMALL, mask=RandomMask(probability=0.0), how=how)  # type: ignore[arg-type]
        torch.testing.assert_close(objective(method).losses(data, step())["total"], plain)


def test_the_teachers_mask_token_follows_the_students() -> None:
    built = objective(MaskedDino(**SMALL, where="student-and-teacher", momentum=0.9))
    with torch.no_grad():
        built.token.mask_token.fill_(1.0)
    built.after_step(step(0))
    slow = built.teacher_token.mask_token
    torch.testing.assert_close(slow, torch.full_like(slow, 0.1))
    assert not slow.requires_grad


@pytest.mark.parametrize("where", ["student-all", "student-and-teacher"])
def test_attention_of_views_that_the_teacher_does_not_see_whole_is_refused(where: Any) -> None:
    with pytest.raises(FieldError, match="must be student-global"):
        MaskedDino(mask=AttMaskHigh(), where=where)


def test_the_masked_teacher_sees_what_its_student_attends_to() -> None:
    built, data = objective(DinoMaskedTeacher(**SMALL, keep=5)), batch()
    found = float(built.losses(data, step())["total"].detach())
    student, teacher, counts = [], [], torch.zeros(16)
    for at, view in enumerate(data.views):
        cls, _, attention = tokens(built.student, view, patch=4)
        student.append(project(built.head, cls))
        if at < 2:
            kept = attention.topk(5, dim=1).indices
            counts += torch.bincount(kept.flatten(), minlength=16)
            teacher.append(project(built.teacher_head, tokens(built.teacher, view, patch=4, keep=kept)[0]))  # fmt: skip  # noqa: E501
    expected = dino_loss(teacher, student, built.center.value.double(), 0.04, 0.1)
    assert found == pytest.approx(float(expected), rel=2e-5)
    assert built.summary()["kept"] == pytest.approx((counts / 12).tolist())


def test_a_teacher_that_keeps_everything_is_dinos() -> None:
    data = batch()
    plain = objective(Dino(**SMALL)).losses(data, step())["total"]
    whole = objective(DinoMaskedTeacher(**SMALL, keep=16)).losses(data, step())["total"]
    assert torch.equal(plain, whole)


def test_a_masked_teachers_local_views_stay_with_the_student() -> None:
    built, data = objective(DinoMaskedTeacher(**SMALL, keep=5)), batch()
    passes: list[tuple[int, ...]] = []
    projection = built.teacher.vit.patch_embed.proj
    projection.register_forward_hook(lambda _, inputs, __: passes.append(tuple(inputs[0].shape)))
    built.losses(data, step())
    assert passes == [(12, 1, 16, 16)]


def test_random_patches_for_the_teacher() -> None:
    built, data = objective(DinoMaskedTeacher(**SMALL, keep=5, criterion=RandomKeep())), batch()
    built.losses(data, step())
    assert sum(built.summary()["kept"]) == pytest.approx(5)


def test_keep_and_criterion_are_checked() -> None:
    with pytest.raises(FieldError, match="at least 1 patch"):
        DinoMaskedTeacher(keep=0)
    with pytest.raises(FieldError, match="last block or at nothing"):
        DinoMaskedTeacher(keep=5, criterion=LayerAttention(layer="first"))
    tiny = PLAIN["vit_tiny_patch16_224"]
    recipe = Recipe(epochs=1, batch_size=2, lr=1e-3)
    DinoMaskedTeacher(keep=196).check({"student": tiny}, recipe)
    with pytest.raises(FieldError, match="must be at most the student's 196, got 197") as wrong:
        DinoMaskedTeacher(keep=197).check({"student": tiny}, recipe)
    assert wrong.value.field == "keep"
