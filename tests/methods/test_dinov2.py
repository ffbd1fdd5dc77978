"""DINOv2's losses, gradients and schedules against float64 references; iBOT as its special case."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from harness.batch_slice import FULL_BATCH
from harness.errors import FieldError
from harness.masking.views.block import BlockWise
from harness.masking.views.stratified import StratifiedBlocks
from harness.methods import Batch, Step
from harness.methods.dinov2 import Dinov2
from harness.methods.ibot import Ibot
from harness.methods.selfdistillation.config import Head
from harness.models.config import ModelConfig
from harness.train.config import Recipe
from harness.train.optimizer import build_optimizer, parameter_groups
from tests.methods.selfdistillation_reference import project, tokens
from tests.methods.test_dino import SMALL, batch, objective, step
from tests.methods.test_ibot import drawn
from tests.models.networks import shake

IBOT: dict[str, Any] = {
    "targets": "centering",
    "koleo_weight": 0.0,
    "heads": "shared",
    "patch_center_of": "all",
    "clip_by": "tensor",
    "warmup_by": "epoch",
    "mask": BlockWise(),
    "momentum": 0.996,
}


COSTLY: dict[str, Any] = SMALL | {
    "head": Head(out_dim=24, hidden=128, bottleneck=12, norm_last_layer=False),
    "mask": StratifiedBlocks(ratio=(0.32, 0.32), smallest_block=1),  # 5 of 16 in half of the views
}


def prepared(method: Ibot) -> Any:
    built = objective(method)
    with torch.no_grad():
        built.token.mask_token.normal_()
        built.patch_center.value = torch.randn_like(built.patch_center.value) * 0.1
        if "patch_head" in built.modules:
            for name in ("patch_head", "teacher_patch_head"):
                shake(built.modules[name], 0.1)
    return built


def losses_of(built: Any, data: Batch, one: Step) -> dict[str, Tensor]:
    """Of a batch that is computed at once."""
    built.before_losses(iter([(data, one)]))
    losses: dict[str, Tensor] = built.losses(data, one)
    return losses


def sinkhorn(logits: Tensor, temperature: float, iterations: int = 3) -> Tensor:
    """arXiv 2006.09882, appendix A: (B, K) to (B, K), on the matrix itself, in float64."""
    matrix = (logits.double() / temperature).exp().T
    prototypes, samples = matrix.shape
    matrix = matrix / matrix.sum()
    for _ in range(iterations):
        matrix = matrix / matrix.sum(dim=1, keepdim=True) / prototypes
        matrix = matrix / matrix.sum(dim=0, keepdim=True) / samples
    return (matrix * samples).T


def nearest(features: Tensor) -> Tensor:
    """arXiv 2304.07193, section 4, for (B, D): image by image."""
    units = features / features.norm(dim=1, keepdim=True)
    each = []
    for at, unit in enumerate(units):
        others = torch.cat([units[:at], units[at + 1 :]])
        each.append(-(unit - others).norm(dim=1).min().log())
    return torch.stack(each).mean()


def reference(built: Any, views: tuple[Tensor, ...], hidden: Tensor, t: float) -> dict[str, Tensor]:
    """All three losses with Sinkhorn's targets; pairs and patches one by one."""
    token = built.token.mask_token[0].detach()
    student, patches, spread = [], [], []
    for at, view in enumerate(views):
        mask = hidden[at] if at < 2 else None
        cls, own, _ = tokens(built.student, view, patch=4, hidden=mask, token=token)
        student.append((project(built.head, cls) / 0.1).log_softmax(dim=1))
        if mask is not None:
            patches.append((project(built.patch_head, own) / 0.1).log_softmax(dim=2))
            spread.append(nearest(cls))
    taught = [tokens(built.teacher, view, patch=4) for view in views[:2]]
    logits = project(built.teacher_head, torch.cat([cls for cls, _, _ in taught]))
    targets = sinkhorn(logits, t).chunk(2)
    pairs = [
        -(targets[q] * student[v]).sum(dim=1).mean()
        for q in range(2)
        for v in range(len(views))
        if q != v
    ]
    raw = project(built.teacher_patch_head, torch.stack([own for _, own, _ in taught]))
    assignments = torch.zeros_like(raw)
    assignments[hidden] = sinkhorn(raw[hidden], t)
    each = -(assignments * torch.stack(patches)).sum(dim=3)
    of_view = (each * hidden).sum(dim=2) / hidden.sum(dim=2).clamp(min=1)
    cls_loss, patch, koleo = torch.stack(pairs).mean(), of_view.mean(), torch.stack(spread).sum()
    return {"cls": cls_loss, "patch": patch, "koleo": koleo}


WEIGHTS = {"cls_weight": 0.7, "patch_weight": 1.3, "koleo_weight": 0.4}


def weighted(found: dict[str, Tensor]) -> Tensor:
    return 0.7 * found["cls"] + 1.3 * found["patch"] + 0.4 * found["koleo"]


@pytest.mark.parametrize("heads", ["separate", "shared"])
@pytest.mark.parametrize(("index", "t"), [(0, 0.04), (12, 0.04 + 0.03 * 12 / 29), (39, 0.07)])
def test_losses_equal_the_reference(heads: Any, index: int, t: float) -> None:
    built, data = prepared(Dinov2(**SMALL, heads=heads, **WEIGHTS)), batch()
    masks = drawn(built)
    found = {name: loss.detach() for name, loss in losses_of(built, data, step(index)).items()}
    flags = masks[0].flags().view(2, 6, 16)
    assert sum(count > 0 for count in masks[0].counts.tolist()) >= 5  # 6 of 12 views are masked
    expected = reference(built, data.views, flags, t)
    for name in ("cls", "patch", "koleo"):
        assert float(found[name]) == pytest.approx(float(expected[name]), rel=3e-5), name
    assert float(found["total"]) == pytest.approx(float(weighted(expected)), rel=3e-5)


def test_gradients_equal_differences_of_the_reference() -> None:
    """Along one direction through all weights of the student, central differences in float64."""
    built, data = prepared(Dinov2(**SMALL, **WEIGHTS)), batch(size=4)
    masks = drawn(built)
    losses_of(built, data, step(39))["total"].backward()
    flags = masks[0].flags().view(2, 4, 16)
    names = ("student", "head", "patch_head", "mask_token")
    trained = [p for name in names for p in built.modules[name].parameters() if p.grad is not None]
    torch.manual_seed(4)
    directions = [torch.randn_like(p) for p in trained]
    slope = sum(
        float((p.grad.double() * d.double()).sum())  # type: ignore[union-attr]
        for p, d in zip(trained, directions, strict=True)
    )
    for name in names:
        built.modules[name].double()
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for p, d in zip(trained, directions, strict=True):
                p.add_(d.double(), alpha=sign * 1e-5)
            ends.append(float(weighted(reference(built, data.views, flags, 0.07))))
            for p, d in zip(trained, directions, strict=True):
                p.add_(d.double(), alpha=-sign * 1e-5)
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=2e-3)
    slow = ("teacher", "teacher_head", "teacher_patch_head")
    assert all(p.grad is None for name in slow for p in built.modules[name].parameters())


@pytest.mark.parametrize("index", [0, 12])
def test_with_all_changes_off_it_is_ibot(index: int) -> None:
    found, expected = prepared(Dinov2(**SMALL, **IBOT)), prepared(Ibot(**SMALL))
    for built in (found, expected):
        losses = losses_of(built, batch(), step(index))
        losses["total"].backward()
        built.all = {name: float(loss.detach()) for name, loss in losses.items()}
        built.optimizer = build_optimizer(
            built.modules, Recipe(epochs=4, batch_size=6, lr=1e-3, weight_decay=0.04)
        )
        built.before_update(step(index), built.optimizer)
        built.optimizer.step()
        built.after_step(step(index))
    assert found.all == expected.all
    assert found.modules.keys() == expected.modules.keys()
    for name, module in found.modules.items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, expected.modules[name].state_dict()[key]), (name, key)
    for name in ("center", "patch_center"):
        assert torch.equal(getattr(found, name).value, getattr(expected, name).value)


def piece(data: Batch, chosen: list[int]) -> tuple[Batch, Step]:
    """Some images of a batch, and a step that knows which."""
    views = tuple(view[chosen] for view in data.views)
    whole = len(chosen) == len(data.images)
    some = FULL_BATCH if whole else FULL_BATCH.subset(chosen, len(data.images))
    draws = torch.Generator().manual_seed(0)
    return (
        Batch(images=views[0], targets=data.targets[chosen], views=views),
        Step(index=3, total=40, generator=draws, per_epoch=10, batch_slice=some),
    )


@pytest.mark.parametrize("targets", ["sinkhorn", "centering"])
def test_micro_batches_do_what_one_batch_does(targets: Any) -> None:
    """Of 12 images in KoLeo's groups of 4: the first two groups, then the third."""
    method = Dinov2(**SMALL, koleo_images=4, targets=targets)
    data, found = batch(size=12), []
    first, second, third = FULL_BATCH.groups(12, 4).values()
    for cuts in ([list(range(12))], [first + second, third]):
        built = prepared(method)
        built.before_losses(piece(data, cut) for cut in cuts)
        totals: dict[str, float] = {}
        for part, one in (piece(data, cut) for cut in cuts):
            losses, share = built.losses(part, one), len(part.images) / 12
            (losses["total"] * share).backward()
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0.0) + float(loss.detach()) * share
        built.after_step(step(3))
        gradients = [p.grad for p in built.student.parameters() if p.grad is not None]
        found.append((totals, gradients, built.center.value, built.patch_center.value))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found[1][2:], found[0][2:], rtol=1e-4, atol=1e-6)


def test_no_centre_moves_where_nothing_is_centred() -> None:
    built = prepared(Dinov2(**SMALL))
    before = built.center.value.clone(), built.patch_center.value.clone()
    losses_of(built, batch(), step())
    built.after_step(step())
    assert torch.equal(built.center.value, before[0])
    assert torch.equal(built.patch_center.value, before[1])


def test_centering_takes_the_mean_of_the_hidden_patches() -> None:
    built, data = prepared(Dinov2(**SMALL, targets="centering")), batch()
    masks = drawn(built)
    before = built.patch_center.value.double()[0]
    losses_of(built, data, step())
    built.after_step(step())
    flags = masks[0].flags().view(2, 6, 16)
    # the teacher has moved since
    before_it = prepared(Dinov2(**SMALL, targets="centering"))
    own = [tokens(before_it.teacher, view, patch=4)[1] for view in data.views[:2]]
    raw = project(before_it.teacher_patch_head, torch.stack(own))[flags]
    expected = 0.9 * before + 0.1 * raw.mean(dim=0)
    torch.testing.assert_close(built.patch_center.value.double()[0], expected, atol=1e-6, rtol=1e-5)


def test_the_teachers_heads_follow_their_own_students() -> None:
    built = prepared(Dinov2(**SMALL, momentum=0.9))
    old = built.teacher_patch_head.direction.clone()
    losses_of(built, batch(), step())
    built.after_step(step(20))
    share = 1 + 0.5 * (0.9 - 1) * (1 + math.cos(math.pi * 0.5))
    expected = share * old + (1 - share) * built.patch_head.direction
    torch.testing.assert_close(built.teacher_patch_head.direction, expected)


def test_temperatures_rise_with_every_step() -> None:
    """A line through 30 steps of 3 epochs, its ends among them; then constant."""
    built = prepared(Dinov2(**SMALL))
    found = [built.teacher_temperature(step(index)) for index in range(40)]
    line = torch.linspace(0.04, 0.07, 30, dtype=torch.float64).tolist()
    assert found == pytest.approx(line + [0.07] * 10)
    assert [built._patch_temperature(step(index)) for index in range(40)] == pytest.approx(found)
    later = prepared(Dinov2(**SMALL, start_epoch=1))
    moved = [later._patch_temperature(step(index)) for index in range(40)]
    assert moved == pytest.approx([0.04] * 10 + line)


def test_network_and_heads_are_clipped_apart() -> None:
    built = prepared(Dinov2(**SMALL, clip=0.5))
    optimizer = build_optimizer(built.modules, Recipe(epochs=4, batch_size=6, lr=1e-3))
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    built.before_update(step(10), optimizer)
    parts = {
        "network": [*built.student.parameters(), *built.token.parameters()],
        "head": [*built.head.parameters()],
        "patch_head": [*built.patch_head.parameters()],
    }
    for name, parameters in parts.items():
        squares = [float(p.grad.square().sum()) for p in parameters if p.grad is not None]
        assert math.sqrt(sum(squares)) == pytest.approx(0.5, rel=1e-5), name


def test_prototypes_of_both_heads_wait_an_epoch() -> None:
    built = prepared(Dinov2(**SMALL))
    optimizer = build_optimizer(built.modules, Recipe(epochs=4, batch_size=6, lr=1e-3))
    for index, frozen in ((9, True), (10, False)):
        for head in (built.head, built.patch_head):
            for parameter in head.parameters():
                parameter.grad = torch.ones_like(parameter)
        built.before_update(step(index), optimizer)
        for head in (built.head, built.patch_head):
            assert (head.direction.grad is None) is frozen
            assert head.mlp[0].weight.grad is not None


def test_rates_fall_towards_the_patches() -> None:
    """3 blocks, decay 0.9: 4 powers for what comes before them, a fifth of that for the patch
    embedding; heads and the last norm have the full rate, and the mask token that of the tokens.
    """
    built = prepared(Dinov2(**SMALL))
    recipe = Recipe(
        epochs=1, batch_size=256, lr=4e-3, lr_batch=1024, lr_rule="sqrt", layer_decay=0.9,
        patch_embed_rate=0.2, weight_decay=0.04,
    )  # fmt: skip
    assert recipe.peak_lr == pytest.approx(2e-3)
    groups = parameter_groups(built.modules, recipe, decay_tokens=True)
    found = {id(p): (g["lr_scale"], g["weight_decay"]) for g in groups for p in g["params"]}
    vit = built.student.vit
    start = 0.9**4
    wanted = {
        vit.patch_embed.proj.weight: (0.2 * start, 0.04),
        vit.patch_embed.proj.bias: (0.2 * start, 0.0),
        vit.pos_embed: (start, 0.04),
        vit.cls_token: (start, 0.04),
        built.token.mask_token: (start, 0.04),
        vit.blocks[0].mlp.fc1.weight: (0.9**3, 0.04),
        vit.blocks[2].norm1.weight: (0.9, 0.0),
        vit.norm.weight: (1.0, 0.0),
        built.head.direction: (1.0, 0.04),
        built.patch_head.mlp[0].weight: (1.0, 0.04),
    }
    for parameter, (rate, decay) in wanted.items():
        assert found[id(parameter)] == (pytest.approx(rate), decay)
    with pytest.raises(FieldError, match="sqrt needs `lr_batch`"):
        Recipe(epochs=1, batch_size=2, lr=1.0, lr_rule="sqrt")


@pytest.mark.parametrize(
    "method",
    [
        Ibot(**COSTLY),
        Dinov2(**COSTLY),
        Dinov2(**COSTLY, targets="centering", heads="shared"),
        Dinov2(**COSTLY, targets="centering", patch_center_of="all"),
    ],
    ids=["ibot", "sinkhorn", "centering", "centre of all"],
)
def test_the_cost_of_an_image_is_that_of_what_is_computed(method: Ibot) -> None:
    """Against torch's count of the operations of a forward and a backward pass."""
    built, data = prepared(method), batch(size=4)
    with FlopCounterMode(display=False) as counter:
        losses_of(built, data, step())["total"].backward()
    counted = counter.get_total_flops() / 2 / 4
    shape = ModelConfig(
        arch="vit", image_size=16, patch_size=4, channels=1, width=32, depth=3, heads=4
    ).shape
    assert method.image_macs(shape) == pytest.approx(counted, rel=0.05)


def test_a_single_image_is_enough() -> None:
    built = prepared(Dinov2(**SMALL))
    losses = losses_of(built, batch(size=1), step())
    losses["total"].backward()
    built.after_step(step())
    assert torch.isfinite(losses["total"])
    assert float(losses["koleo"].detach()) == 0


def test_options_that_do_nothing_are_refused() -> None:
    with pytest.raises(FieldError, match="has no effect with `heads: shared`"):
        Dinov2(heads="shared", patch_bottleneck=64)
    with pytest.raises(FieldError, match="at least 2 images"):
        Dinov2(koleo_images=1)
    own = prepared(Dinov2(**SMALL, patch_bottleneck=5))
    assert own.patch_head.direction.shape == (24, 5)
    assert own.head.direction.shape == (24, 12)
    assert (Dinov2().group_size, Dinov2(koleo_weight=0.0).group_size) == (64, 1)
