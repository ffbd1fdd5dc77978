"""iBOT and AttMask against a float64 reference that projects every patch, view by view."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from harness.errors import FieldError
from harness.masking.views import MaskSampler, PatchMask
from harness.masking.views.attmask import AttMaskHigh, AttMaskHint
from harness.masking.views.block import BlockWise
from harness.masking.views.random import RandomMask
from harness.methods import Networks
from harness.methods.ibot import Ibot
from harness.models.interface import ForwardRequest
from tests.methods.selfdistillation_reference import cross_entropy, dino_loss, project, tokens
from tests.methods.test_dino import SMALL, batch, network, objective, step

MASKS = [RandomMask(), BlockWise(), AttMaskHigh(), AttMaskHint(ratio=(0.4, 0.8), show=0.5)]


def drawn(built: Any) -> list[PatchMask]:
    """The masks that the objective draws from now on."""
    found: list[PatchMask] = []
    hide = built.patch_masking.draw

    def spy(*arguments: Any) -> PatchMask:
        found.append(hide(*arguments))
        return found[-1]

    built.patch_masking.draw = spy
    return found


def prepared(method: Ibot) -> Any:
    built = objective(method)
    with torch.no_grad():
        built.token.mask_token.normal_()
        built.patch_center.value = torch.randn_like(built.patch_center.value) * 0.1
    return built


def reference(built: Any, views: tuple[Tensor, ...], hidden: Tensor, t: float) -> dict[str, Tensor]:
    """Both losses, and the mean logits over all of the teacher's patches."""
    token = built.token.mask_token[0].detach()
    student, patch, every = [], [], []
    teacher = []
    for at, view in enumerate(views):
        mask = hidden[at] if at < 2 else None
        cls, patches, _ = tokens(built.student, view, patch=4, hidden=mask, token=token)
        student.append(project(built.head, cls))
        if mask is None:
            continue
        own, given, _ = tokens(built.teacher, view, patch=4)
        teacher.append(project(built.teacher_head, own))
        raw = project(built.teacher_head, given)
        every.append(raw.flatten(0, 1))
        guess = project(built.head, patches)
        loss = cross_entropy(raw, built.patch_center.value.double(), t, guess, 0.1)
        of_image = (loss * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        patch.append(of_image.mean())
    return {
        "cls": dino_loss(teacher, student, built.center.value.double(), t, 0.1),
        "patch": torch.stack(patch).mean(),
        "mean": torch.cat(every).mean(dim=0),
    }


@pytest.mark.parametrize("mask", MASKS, ids=lambda mask: type(mask).__name__)
@pytest.mark.parametrize(("index", "t"), [(0, 0.04), (12, 0.055), (39, 0.07)])
def test_losses_and_both_centres_equal_the_reference(
    mask: MaskSampler, index: int, t: float
) -> None:
    built, data = prepared(Ibot(**SMALL, mask=mask, cls_weight=0.7, patch_weight=1.3)), batch()
    masks = drawn(built)
    before = built.patch_center.value.double()[0]
    found = {name: loss.detach() for name, loss in built.losses(data, step(index)).items()}
    flags = masks[0].flags().view(2, 6, 16)
    assert 0 < int(flags.sum()) < flags.numel()
    expected = reference(built, data.views, flags, t)
    for name in ("cls", "patch"):
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=2e-5), name
    total = 0.7 * expected["cls"] + 1.3 * expected["patch"]
    assert float(found["total"]) == pytest.approx(float(total), rel=2e-5)
    built.after_step(step(index))
    moved = 0.9 * before + 0.1 * expected["mean"]
    torch.testing.assert_close(built.patch_center.value.double()[0], moved, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mask", [AttMaskHigh(ratio=(0.3, 0.3), probability=1.0)])
def test_attmask_hides_what_the_teacher_attends_to(mask: MaskSampler) -> None:
    built, data = prepared(Ibot(**SMALL, mask=mask)), batch()
    masks = drawn(built)
    built.losses(data, step())
    flags = masks[0].flags().view(2, 6, 16)
    for view in range(2):
        _, _, attention = tokens(built.teacher, data.views[view], patch=4)
        for image in range(6):
            ranking = attention[image].argsort(descending=True).tolist()
            assert set(flags[view, image].nonzero()[:, 0].tolist()) == set(ranking[:4])


def test_the_teacher_runs_once_and_sees_whole_views(monkeypatch: pytest.MonkeyPatch) -> None:
    built, data = prepared(Ibot(**SMALL, mask=AttMaskHigh())), batch()
    passes: list[tuple[int, ...]] = []
    projection = built.teacher.vit.patch_embed.proj
    projection.register_forward_hook(lambda _, inputs, __: passes.append(tuple(inputs[0].shape)))
    built.losses(data, step())
    assert passes == [(12, 1, 16, 16)]


def test_before_the_start_nothing_is_hidden_and_the_patch_loss_is_zero() -> None:
    built, data = prepared(Ibot(**SMALL, start_epoch=2)), batch()
    masks = drawn(built)
    early = built.losses(data, step(19))
    assert masks == []
    early["total"].backward()
    assert float(early["patch"].detach()) == 0
    assert torch.equal(early["total"].detach(), early["cls"].detach())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in built.student.parameters())
    built.losses(data, step(20))
    assert len(masks) == 1
    assert built._patch_temperature(step(20)) == pytest.approx(0.04)
    assert built._patch_temperature(step(30)) == pytest.approx(0.055)


def test_patches_can_have_a_temperature_of_their_own() -> None:
    own = prepared(Ibot(**SMALL, patch_teacher=0.09, patch_teacher_start=0.05))
    assert own._patch_temperature(step(0)) == pytest.approx(0.05)
    assert own._patch_temperature(step(39)) == pytest.approx(0.09)


def test_gradients_reach_the_mask_token_and_none_the_teacher() -> None:
    built, data = prepared(Ibot(**SMALL)), batch()
    built.losses(data, step())["total"].backward()
    assert float(built.token.mask_token.grad.abs().sum()) > 0
    slow = [*built.teacher.parameters(), *built.teacher_head.parameters()]
    assert all(parameter.grad is None for parameter in slow)


def test_gradients_equal_autograd_through_all_patches() -> None:
    """Projecting hidden patches alone must not change what the student learns."""
    built, data = prepared(Ibot(**SMALL, cls_weight=0.0)), batch()
    masks = drawn(built)
    built.losses(data, step())["total"].backward()
    flags = masks[0].flags()
    own = {name: p.grad.clone() for name, p in built.head.named_parameters() if p.grad is not None}
    built.head.zero_grad()
    images, outputs = torch.cat(data.views[:2]), ForwardRequest(patches=True)
    seen = built.student.forward_features(
        images, mask=flags, mask_token=built.token.mask_token, outputs=outputs
    )
    with torch.no_grad():
        patches = built.teacher.forward_features(images, outputs=outputs).patches
        given = built.teacher_head(patches)
        targets = ((given - built.patch_center.value) / 0.04).softmax(dim=-1)
    loss = -(targets * (built.head(seen.patches) / 0.1).log_softmax(-1)).sum(-1)
    ((loss * flags).sum(1) / flags.sum(1).clamp(min=1)).mean().backward()
    for name, parameter in built.head.named_parameters():
        torch.testing.assert_close(own[name], parameter.grad, atol=1e-5, rtol=1e-4)


def test_parts_of_a_batch_share_the_ratio_of_the_step() -> None:
    built, data = prepared(Ibot(**SMALL, mask=AttMaskHigh(probability=1.0))), batch()
    masks = drawn(built)
    one = step(3, seed=5)
    for _ in range(3):
        built.losses(data, one)
    assert len({int(count) for hidden in masks for count in hidden.counts}) == 1


def test_the_share_that_was_hidden_is_reported() -> None:
    mask = RandomMask(ratio=(0.5, 0.5), probability=1.0)
    built, data = prepared(Ibot(**SMALL, mask=mask)), batch()
    built.losses(data, step())
    assert built.summary()["hidden_share"] == 0.5
    assert "hidden_share" not in built.summary()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cls_weight", -1.0),
        ("patch_weight", -1.0),
        ("start_epoch", -1),
        ("patch_teacher", 0.0),
        ("patch_teacher_start", -0.1),
        ("patch_center_momentum", 1.5),
        ("momentum", 2.0),
    ],
)
def test_options_that_cannot_be_are_refused(field: str, value: float) -> None:
    with pytest.raises(FieldError) as raised:
        Ibot(**{field: value})
    assert raised.value.field == field


def test_a_single_image_is_enough() -> None:
    built: Any = Ibot(**SMALL).build(Networks(student=network(), teacher=None))
    loss = built.losses(batch(size=1), step())["total"]
    loss.backward()
    built.after_step(step())
    assert torch.isfinite(loss)
    assert torch.isfinite(built.patch_center.value).all()
