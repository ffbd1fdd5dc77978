"""DINO against a float64 reference with explicit pairs; schedules against closed forms."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.data.multicrop import MultiCrop
from harness.methods import Batch, Networks, Step
from harness.methods.dino import Dino
from harness.methods.selfdistillation.config import Head, SelfDistillation, Temperatures
from harness.methods.selfdistillation.objective import SelfDistillationObjective
from harness.methods.selfdistillation.parts import Center, cosine, warmed_up
from harness.models.config import ModelConfig
from harness.models.families.vit import resize_positions
from harness.models.vit import VisionTransformer
from harness.train.config import Recipe
from harness.train.optimizer import build_optimizer
from harness.train.schedule import learning_rate
from tests.methods.selfdistillation_reference import dino_loss, project, tokens
from tests.models.networks import build, shake

SMALL: dict[str, Any] = {
    "head": Head(out_dim=24, hidden=20, bottleneck=12, norm_last_layer=False),
    "crops": MultiCrop(local_crops=3, local_size=16),
    "temperatures": Temperatures(teacher=0.07, teacher_start=0.04, warmup_epochs=3),
}


def network(seed: int = 1) -> VisionTransformer:
    config = ModelConfig(arch="vit", image_size=16, patch_size=4, width=32, depth=3, heads=4)
    return shake(build(config, 5, channels=1, seed=seed))


def objective(method: SelfDistillation) -> Any:
    """An objective whose teacher is not its student any more."""
    built: Any = method.build(Networks(student=network(), teacher=None))
    for name in ("head", "teacher", "teacher_head"):
        shake(built.modules[name], 0.1)
    built.center.value = torch.randn_like(built.center.value) * 0.1
    return built


def batch(views: int = 5, size: int = 6) -> Batch:
    draws = torch.Generator().manual_seed(9)
    crops = tuple(torch.randn(size, 1, 16, 16, generator=draws) for _ in range(views))
    return Batch(images=crops[0], targets=torch.zeros(size, 5), views=crops)


def step(index: int = 0, seed: int = 0) -> Step:
    draws = torch.Generator().manual_seed(seed)
    return Step(index=index, total=40, generator=draws, per_epoch=10)


def reference_logits(
    model: VisionTransformer, head: Any, views: tuple[Tensor, ...]
) -> list[Tensor]:
    return [project(head, tokens(model, view, patch=4)[0]) for view in views]


@pytest.mark.parametrize(("index", "temperature"), [(0, 0.04), (10, 0.055), (20, 0.07), (39, 0.07)])
def test_loss_and_centre_equal_a_float64_loop_over_pairs(index: int, temperature: float) -> None:
    built, data = objective(Dino(**SMALL)), batch()
    before = built.center.value.double()
    found = built.losses(data, step(index))["total"].detach()
    student = reference_logits(built.student, built.head, data.views)
    teacher = reference_logits(built.teacher, built.teacher_head, data.views[:2])
    expected = dino_loss(teacher, student, before, temperature, 0.1)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)

    built.after_step(step(index))
    mean = torch.cat(teacher).mean(dim=0)
    torch.testing.assert_close(built.center.value.double()[0], 0.9 * before[0] + 0.1 * mean)


def test_crops_of_two_sizes_run_in_two_passes() -> None:
    built, data = objective(Dino(**SMALL)), batch()
    small = tuple(view[:, :, :8, :8] for view in data.views[2:])
    mixed = Batch(images=data.images, targets=data.targets, views=data.views[:2] + small)
    found = built._student_views(mixed)
    for view, cls in zip(mixed.views, found, strict=True):
        torch.testing.assert_close(
            cls, built.student.forward_features(view).cls, atol=1e-5, rtol=1e-5
        )


def test_the_teacher_has_no_gradient_and_moves_by_its_momentum() -> None:
    built, data = objective(Dino(**SMALL, momentum=0.9)), batch()
    built.losses(data, step())["total"].backward()
    assert all(p.grad is None for p in built.teacher.parameters())
    old = built.teacher.vit.norm.weight.clone()
    built.after_step(step(index=20))
    share = 1 + 0.5 * (0.9 - 1) * (1 + math.cos(math.pi * 0.5))
    expected = share * old + (1 - share) * built.student.vit.norm.weight
    torch.testing.assert_close(built.teacher.vit.norm.weight, expected)


def test_the_teacher_has_no_stochastic_depth() -> None:
    student = network()
    student.vit.blocks[1].drop_path1.drop_prob = 0.5
    student.train()
    built: Any = Dino(**SMALL).build(Networks(student=student, teacher=None))
    images = batch().images
    assert torch.equal(
        built.teacher.forward_features(images).cls, built.teacher.forward_features(images).cls
    )


def test_parts_of_a_batch_give_the_centre_of_the_whole() -> None:
    logits = torch.randn(10, 7, dtype=torch.float64)
    whole, parts = (Center(7, 0.9, torch.device("cpu")) for _ in range(2))
    whole.add(logits.mean(0, keepdim=True), 10)
    for part in (logits[:3], logits[3:]):
        parts.add(part.mean(0, keepdim=True), len(part))
    whole.update()
    parts.update()
    torch.testing.assert_close(parts.value, whole.value)
    torch.testing.assert_close(whole.value.double()[0], 0.1 * logits.mean(0), atol=1e-6, rtol=1e-5)


def test_every_tensor_is_clipped_alone_and_prototypes_wait_an_epoch() -> None:
    built = objective(Dino(**SMALL, clip=0.5))
    recipe = Recipe(epochs=4, batch_size=6, lr=1e-3, weight_decay=0.04)
    optimizer = build_optimizer(built.modules, recipe, decay_tokens=True)
    for index, frozen in ((9, True), (10, False)):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        built.before_update(step(index), optimizer)
        assert (built.head.direction.grad is None) is frozen
        for parameter in built.student.vit.blocks.parameters():
            norm = min(1.0, 0.5 / (parameter.numel() ** 0.5 + 1e-6)) * parameter.numel() ** 0.5
            assert float(parameter.grad.norm()) == pytest.approx(norm, rel=1e-5)


def test_weight_decay_grows_and_spares_only_what_has_one_axis() -> None:
    built = objective(Dino(**SMALL))
    recipe = Recipe(epochs=4, batch_size=6, lr=1e-3, weight_decay=0.04)
    optimizer = build_optimizer(built.modules, recipe, decay_tokens=built.decays_tokens)
    built.before_update(step(20), optimizer)
    decay = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    halfway = 0.4 + 0.5 * (0.04 - 0.4)
    vit = built.student.vit
    for parameter in (vit.cls_token, vit.pos_embed, built.head.gain, vit.blocks[0].mlp.fc1.weight):
        assert decay[id(parameter)] == pytest.approx(halfway)
    for parameter in (vit.norm.weight, vit.blocks[0].mlp.fc1.bias):
        assert decay[id(parameter)] == 0
    assert id(vit.head.weight) not in decay
    assert id(built.teacher.vit.cls_token) not in decay


def test_normalised_prototypes_keep_their_length_of_one() -> None:
    """What `norm_last_layer` means: no group of the optimiser has the gain, so nothing decays it,
    in the student's head or in the teacher's.
    """
    built: Any = Dino(
        head=replace(SMALL["head"], norm_last_layer=True, freeze_last_layer_epochs=0)
    ).build(Networks(student=network(), teacher=None))
    recipe = Recipe(epochs=4, batch_size=6, lr=1e-2, weight_decay=0.4)
    optimizer = build_optimizer(built.modules, recipe, decay_tokens=True)
    optimised = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert id(built.head.gain) not in optimised
    assert id(built.head.direction) in optimised
    before = built.head.direction.detach().clone()
    built.losses(batch(), step())["total"].backward()
    for group in optimizer.param_groups:
        group["lr"] = 1e-2
    built.before_update(step(), optimizer)
    optimizer.step()
    built.after_step(step())
    assert not torch.equal(built.head.direction, before)
    for head in (built.head, built.teacher_head):
        assert head.gain.unique().tolist() == [1]


def test_schedules() -> None:
    assert [warmed_up(0.04, 0.07, epoch, 3) for epoch in range(5)] == pytest.approx(
        [0.04, 0.055, 0.07, 0.07, 0.07]
    )
    assert warmed_up(0.04, 0.05, 0, 0) == 0.05
    assert cosine(0.04, 0.4, 0, 10) == pytest.approx(0.04)
    assert cosine(0.04, 0.4, 9, 10) < 0.4
    recipe = Recipe(
        epochs=10, batch_size=4, lr=1.0, min_lr=0.1, warmup_epochs=2, schedule="from-warmup-lr"
    )
    rates = [learning_rate(recipe, index, 3) for index in range(30)]
    assert rates[:7] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert rates[-1] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 23 / 24)))


def test_collapse_shows_in_the_entropies() -> None:
    built: Any = objective(Dino(**SMALL))
    same = torch.zeros(2, 6, 24)
    same[:, :, 3] = 1
    built.collapse_monitor.observe(same)
    assert built.summary() == {"teacher_entropy": 0.0, "mean_entropy": 0.0}
    built.collapse_monitor.observe(torch.full((2, 6, 24), 1 / 24))
    assert built.summary() == pytest.approx(
        {"teacher_entropy": math.log(24), "mean_entropy": math.log(24)}, rel=1e-5
    )
    assert built.summary() == {}


def test_positions_are_their_own_on_their_own_grid_and_constant_when_constant() -> None:
    grid = torch.randn(1, 16, 8)
    assert resize_positions(grid, 4, 4) is grid
    assert resize_positions(torch.ones(1, 16, 8), 2, 3).shape == (1, 6, 8)
    torch.testing.assert_close(resize_positions(torch.ones(1, 16, 8), 2, 3), torch.ones(1, 6, 8))


def test_the_released_default_is_the_vanilla_run() -> None:
    method = Dino()
    assert isinstance(
        method.build(Networks(student=network(), teacher=None)), SelfDistillationObjective
    )
    assert (method.head.out_dim, method.momentum, method.crops.local_crops) == (65536, 0.996, 8)
