"""LUT against a float64 reference with loops over views and images."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from harness.batch_plan import BatchPlan
from harness.errors import FieldError
from harness.methods import Batch, Networks
from harness.methods.lut import Lut, LutHead, TwoViews
from harness.methods.mae import Decoder
from harness.models.batch_norm import EmbeddingHead, GlobalBatchNorm
from harness.models.config import ModelConfig
from harness.train.config import Recipe
from tests.methods.mae_reference import (
    assert_gradients,
    context_loss,
    doubled,
    mae_loss,
)
from tests.methods.test_dino import network
from tests.methods.test_mae import step

SMALL = Lut(decoder=Decoder(width=16, depth=1, heads=2), head=LutHead(hidden=24))


def objective(method: Lut = SMALL) -> Any:
    """An objective whose teacher is not its student any more."""
    built: Any = method.build(Networks(student=network(), teacher=None))
    torch.manual_seed(2)
    with torch.no_grad():
        for name in ("decoder", "head", "predictor", "teacher", "teacher_head"):
            for key, parameter in built.modules[name].named_parameters():
                if key != "vit.pos_embed":
                    parameter.add_(torch.randn_like(parameter) * 0.1)
        built.teacher_head.norm.running_mean.normal_()
        built.teacher_head.norm.running_var.uniform_(0.5, 2.0)
    return built


def batch(size: int = 6) -> Batch:
    draws = torch.Generator().manual_seed(9)
    views = tuple(torch.randn(size, 1, 16, 16, generator=draws) for _ in range(2))
    return Batch(images=views[0], targets=torch.zeros(size, 5), views=views)


@pytest.mark.parametrize(
    "method",
    [
        replace(SMALL, context_weight=0.6),
        replace(SMALL, mask_ratio=0.5),
        replace(SMALL, teacher_view="own", second_view="independent", mask_ratio=0.4),
    ],
    ids=["disjoint", "half", "own"],
)
def test_losses_and_gradients_equal_the_reference(method: Lut) -> None:
    built, data = objective(method), batch()
    found = built.losses(data, step(4))
    found["total"].backward()
    order, second = built.draw_views(step(4), 6)
    first = order[:, : second.shape[1]]
    weights = {name: doubled(module) for name, module in built.modules.items()}
    for name in ("student", "teacher"):
        weights[name] = doubled(built.modules[name].vit, gradients=name == "student")
    pixels = mae_loss(built, weights["student"], weights["decoder"], data.views[0], first)
    own = method.teacher_view == "own"
    context = context_loss(built, weights, data.views, (first, second), own=own)
    expected = pixels + method.context_weight * context
    expected.backward()
    for name, value in (("pixels", pixels), ("context", context), ("total", expected)):
        assert float(found[name].detach()) == pytest.approx(float(value.detach()), rel=2e-5), name
    classifier = {"head.weight", "head.bias", "pos_embed"}
    assert_gradients(built.student.vit, weights["student"], classifier)
    for name in ("decoder", "head", "predictor"):
        assert_gradients(built.modules[name], weights[name], set())
    assert all(
        p.grad is None for p in (*built.teacher.parameters(), *built.teacher_head.parameters())
    )


def test_the_two_views_show_different_places_and_as_many() -> None:
    built = objective()
    order, second = built.draw_views(step(2), 50)
    first = order[:, :4]
    for one, other in zip(first.tolist(), second.tolist(), strict=True):
        assert len({*one, *other}) == 8
    same = objective(replace(SMALL, second_view="same")).draw_views(step(2), 50)
    assert torch.equal(same[1], first), "the first view's draw is the same, whatever the second is"
    again = objective(replace(SMALL, second_view="independent")).draw_views(step(2), 50)
    assert torch.equal(again[0], order)
    overlaps = [len({*a} & {*b}) for a, b in zip(first.tolist(), again[1].tolist(), strict=True)]
    assert 0 < sum(overlaps) < 200


def test_the_teacher_and_its_statistics_follow_the_student() -> None:
    built, data = objective(), batch()
    built.losses(data, step(3))
    pairs = [
        (name, {k: v.clone() for k, v in built.modules[f"teacher{name}"].state_dict().items()},
         built.modules[fast].state_dict())
        for name, fast in (("", "student"), ("_head", "head"))
    ]  # fmt: skip
    built.after_step(step(3))
    momentum = 1 - (1 - 0.996) * (1 + math.cos(math.pi * 3 / 40)) / 2
    for name, before, fast in pairs:
        now = built.modules[f"teacher{name}"].state_dict()
        assert {"norm.running_mean", "norm.running_var"} <= now.keys() or not name
        for key, value in now.items():
            wanted = momentum * before[key].double() + (1 - momentum) * fast[key].double()
            torch.testing.assert_close(value.double(), wanted, atol=1e-6, rtol=1e-5)


def test_batch_norm_is_torchs() -> None:
    torch.manual_seed(0)
    ours, torchs = GlobalBatchNorm(5), torch.nn.BatchNorm1d(5)
    rows = torch.randn(7, 5) * 3 + 1
    for _ in range(3):
        one, other = rows.clone().requires_grad_(), rows.clone().requires_grad_()
        found, wanted = ours(one), torchs(other)
        torch.testing.assert_close(found, wanted)
        (found**3).sum().backward()
        (wanted**3).sum().backward()
        torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-4)
        rows = rows * 1.5
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(ours, name), getattr(torchs, name))
    ours.eval(), torchs.eval()
    torch.testing.assert_close(ours(rows), torchs(rows))


def test_statistics_are_in_fp32_whatever_the_step_is_in() -> None:
    rows = torch.randn(7, 5, generator=torch.Generator().manual_seed(1)) * 300
    for dtype in (torch.float32, torch.bfloat16):
        given, plain, cast = rows.to(dtype), GlobalBatchNorm(5), GlobalBatchNorm(5)
        expected = plain(given.float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = cast(given)
        assert torch.equal(found, expected)
        assert torch.equal(cast.running_var, plain.running_var)


def test_what_does_not_fit_is_refused() -> None:
    student = ModelConfig(arch="vit", image_size=16, patch_size=4, width=32, depth=1, heads=2)
    recipe = Recipe(epochs=1, batch_size=4, lr=1e-3)
    with pytest.raises(FieldError, match=r"must be 0\.5 or more for disjoint views, got 0\.4"):
        replace(SMALL, mask_ratio=0.4).check({"student": student.shape}, recipe)
    with pytest.raises(FieldError, match="must be below the image's 16, got 16"):
        replace(SMALL, crops=TwoViews(pad_pixels=16)).check({"student": student.shape}, recipe)
    with pytest.raises(FieldError, match="must be 0, got 2"):
        TwoViews(local_crops=2)
    with pytest.raises(FieldError, match=r"needs a `recipe\.batch_size` of 2 or more"):
        SMALL.check({"student": student.shape}, replace(recipe, batch_size=1))


def test_heads_start_as_in_the_released_code() -> None:
    """Xavier, in proportion to both widths: the second layer far from torch's own."""
    torch.manual_seed(1)
    head = EmbeddingHead(32, hidden=128, outputs=32)
    for layer in (head.first, head.second):
        bound = (6 / 160) ** 0.5
        assert 0.97 * bound < float(layer.weight.detach().abs().max()) <= bound


@pytest.mark.parametrize(
    ("processes", "micro_batch", "fits"),
    [(1, None, True), (1, 54, True), (1, 53, False), (2, 28, True), (2, 27, False), (4, 14, True)],
)
def test_a_batch_is_not_computed_in_parts(
    processes: int, micro_batch: int | None, fits: bool
) -> None:
    plan = BatchPlan(batch=54, processes=processes, micro_batch=micro_batch, whole=True)
    wrong = plan.why_not_computable()
    assert (wrong is None) == fits
    assert wrong is None or "leave micro_batch out, or use more processes" in wrong


def test_the_cost_of_an_image_is_that_of_both_networks() -> None:
    """Against torch's count of the operations of a forward and a backward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    built, data = objective(), batch()
    with FlopCounterMode(display=False) as counter:
        built.losses(data, step())["total"].backward()
    counted = counter.get_total_flops() / 2 / 6
    shape = ModelConfig(
        arch="vit", image_size=16, patch_size=4, channels=1, width=32, depth=3, heads=4
    ).shape
    assert SMALL.image_macs(shape) == pytest.approx(counted, rel=0.05)
