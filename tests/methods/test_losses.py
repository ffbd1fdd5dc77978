"""Manifold, attention and G2SD losses against the definitions, in float64, and masked."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from harness.errors import FieldError
from harness.methods import Batch, Networks, Step
from harness.methods.distillation import Distillation, Mask
from harness.methods.losses import DistillationLoss
from harness.methods.losses.attention import Attention, matched
from harness.methods.losses.g2sd import G2SD
from harness.methods.losses.logit import Logit
from harness.methods.losses.manifold import Manifold, layer_pairs
from harness.models.build import freeze
from harness.models.config import ModelConfig
from harness.models.interface import ForwardOutput
from harness.models.vit import VisionTransformer
from tests.models.networks import build, shake
from tests.models.reference import Reference

KEPT = torch.tensor([[0, 5, 9, 14], [2, 3, 4, 15], [1, 6, 8, 11]])


def network(seed: int, *, arch: str = "vit", width: int = 32, depth: int = 3) -> VisionTransformer:
    config = ModelConfig(arch=arch, image_size=16, patch_size=4, width=width, depth=depth, heads=4)
    return shake(build(config, 5, channels=1, seed=seed), 0.3)


def images() -> Tensor:
    return torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(9))


def outputs(
    loss: DistillationLoss, kept: Tensor | None, *, arch: str = "vit"
) -> tuple[ForwardOutput, ForwardOutput, VisionTransformer, VisionTransformer]:
    student, teacher = network(1, arch=arch), freeze(network(2, width=48, depth=6))
    return (
        student(images(), outputs=loss.of_student),
        teacher(images(), keep=kept, outputs=loss.of_teacher),
        student,
        teacher,
    )


def reference(model: VisionTransformer, depth: int) -> Reference:
    return Reference(model.vit.state_dict(), heads=4, depth=depth, patch=4, prefix=model.prefix)


def chosen(kept: Tensor | None) -> list[list[int]]:
    return [list(range(16))] * 3 if kept is None else kept.tolist()


@pytest.mark.parametrize("kept", [None, KEPT])
def test_manifold_equals_its_definition_in_float64(kept: Tensor | None) -> None:
    # all patches are drawn, so that the draw is the whole batch in some order
    loss = Manifold(intra=3.0, inter=0.5, sampled=0.25, samples=999, layers=1, logit=0.0)
    own, its, student, teacher = outputs(loss, kept)
    expected = 0.0
    for mine, yours in ((1, 1), (3, 6)):  # blocks, from 1: the first and the last of either
        s = torch.stack(reference(student, mine).tokens(images()))[:, 1:]
        s = torch.stack([tokens[rows] for tokens, rows in zip(s, chosen(kept), strict=True)])
        t = torch.stack(reference(teacher, yours).tokens(images(), chosen(kept)))[:, 1:]
        s, t = s / s.norm(dim=2, keepdim=True), t / t.norm(dim=2, keepdim=True)
        batch, patches, _ = s.shape
        intra = (
            sum(float(((s[b] @ s[b].T - t[b] @ t[b].T) ** 2).mean()) for b in range(batch)) / batch
        )
        inter = (
            sum(
                float(((s[:, k] @ s[:, k].T - t[:, k] @ t[:, k].T) ** 2).mean())
                for k in range(patches)
            )
            / patches
        )
        flat_s, flat_t = s.reshape(-1, s.shape[2]), t.reshape(-1, t.shape[2])
        drawn = float(((flat_s @ flat_s.T - flat_t @ flat_t.T) ** 2).mean())
        expected += (3.0 * intra + 0.5 * inter + 0.25 * drawn) / 2
    assert float(loss(own, its, kept).detach()) == pytest.approx(expected, rel=1e-4)


def test_the_manifold_draw_comes_from_torchs_generator() -> None:
    loss = Manifold(intra=0.0, inter=0.0, samples=5, logit=0.0)
    own, its, _, _ = outputs(loss, None)
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(float(loss(own, its, None).detach()))
    assert found[0] == found[1] != found[2]


def test_images_are_compared_within_groups_of_mixup_partners() -> None:
    """Of six, two at a time: the first with the last, and so on."""
    torch.manual_seed(4)
    pictures = torch.randn(6, 1, 16, 16)
    student, teacher = network(1), freeze(network(2))
    batch = Batch(images=pictures, targets=torch.full((6, 5), 0.2))
    step = Step(index=0, total=1, generator=torch.Generator().manual_seed(0))
    # all patches are drawn, so that the draw is the whole group in some order
    loss = Manifold(group=2, samples=999)
    objective = Distillation(loss=loss).build(Networks(student=student, teacher=teacher))
    found = float(objective.losses(batch, step)["distill"].detach())
    each = []
    for rows in ([0, 5], [1, 4], [2, 3]):
        own, its = (
            model(pictures[rows], outputs=loss.of_student).select([0, 1])
            for model in (student, teacher)
        )
        each.append(float(loss(own, its, None).detach()))
    assert found == pytest.approx(sum(each) / 3, rel=1e-5)
    assert max(each) - min(each) > 1e-3 * found  # or any grouping would do


def test_layers_are_paired_as_in_the_original() -> None:
    # DeiT-Ti (12) with CaiT-S24 (24): s-id 0 1 2 3 8 9 10 11, t-id 0 1 2 3 20 21 22 23
    ends = [(0, 0), (1, 1), (2, 2), (3, 3), (8, 20), (9, 21), (10, 22), (11, 23)]
    assert layer_pairs(12, 24, 4) == ends
    assert layer_pairs(4, 6, 4) == [(0, 0), (1, 1), (2, 4), (3, 5)]
    assert layer_pairs(1, 1, 4) == [(0, 0)]


@pytest.mark.parametrize("kept", [None, KEPT])
@pytest.mark.parametrize("arch", ["vit", "deit_small_distilled_patch16_224"])
def test_attention_equals_its_definition_in_float64(kept: Tensor | None, arch: str) -> None:
    loss = Attention(weight=2.0, logit=0.0)
    own, its, student, teacher = outputs(loss, kept, arch=arch)
    p = student.prefix
    total, rows = 0.0, 0
    for mine, yours in ((1, 2), (2, 4), (3, 6)):
        s_maps = reference(student, mine).maps(images())
        t_maps = reference(teacher, yours).maps(images(), chosen(kept))
        for s_map, t_map, patches in zip(s_maps, t_maps, chosen(kept), strict=True):
            wanted = [0, *(p + patch for patch in patches)]
            s = s_map.mean(dim=0)[wanted][:, wanted]
            t = t_map.mean(dim=0)
            for s_row, t_row in zip(s / s.sum(1, True), t / t.sum(1, True), strict=True):
                total += sum(
                    float(b) * math.log(float(b) / float(a))
                    for a, b in zip(s_row, t_row, strict=True)
                )
                rows += 1
    assert float(loss(own, its, kept).detach()) == pytest.approx(2.0 * total / rows, rel=1e-3)


def test_layers_of_the_same_relative_depth_are_compared() -> None:
    assert matched(12, 12) == list(range(12))
    assert matched(3, 6) == [1, 3, 5]
    assert matched(4, 6) == [1, 2, 3, 5]  # 1.5, 3, 4.5, 6 rounded to even, less one


@pytest.mark.parametrize("keep", [4, None])
@pytest.mark.parametrize("hard", [False, True])
def test_g2sd_teaches_the_distillation_token_and_labels_the_class_token(
    hard: bool, keep: int | None
) -> None:
    student = network(1, arch="deit_small_distilled_patch16_224")
    teacher = freeze(network(2))
    targets = torch.tensor([[1.0, 0, 0, 0, 0]] * 3)
    step = Step(index=0, total=1, generator=torch.Generator().manual_seed(0))
    mask = None if keep is None else Mask(keep=keep)
    objective = Distillation(loss=G2SD(hard=hard), mask=mask).build(
        Networks(student=student, teacher=teacher)
    )
    losses = objective.losses(Batch(images=images(), targets=targets), step)
    last = torch.stack(reference(student, 3).tokens(images()))
    weights = {name: value.double() for name, value in student.vit.state_dict().items()}
    normed = torch.nn.functional.layer_norm(
        last, (32,), weights["norm.weight"], weights["norm.bias"], 1e-6
    )
    cls = normed[:, 0] @ weights["head.weight"].T + weights["head.bias"]
    dist = normed[:, 1] @ weights["head_dist.weight"].T + weights["head_dist.bias"]
    ce = -float(cls.log_softmax(1)[:, 0].mean())
    assert float(losses["ce"].detach()) == pytest.approx(ce, rel=1e-4)

    scores = torch.stack(reference(student, 3).maps(images()))[:, :, 0, 2:].mean(dim=1)
    kept = scores.argsort(descending=True)[:, : keep or 16].sort().values
    p = reference(teacher, 3).run(images(), kept.tolist())[0].softmax(1)
    expected = (p * (p.log() - dist.log_softmax(1))).sum(1).mean()
    if hard:
        expected = -dist.log_softmax(1)[torch.arange(3), p.argmax(dim=1)].mean()
    assert float(losses["distill"].detach()) == pytest.approx(float(expected), rel=1e-3)
    # at evaluation both are averaged
    torch.testing.assert_close(
        student.eval()(images()).logits.double(), (cls + dist) / 2, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("loss", [Manifold(), Attention()])
def test_a_masked_loss_reaches_the_student_and_never_the_teacher(loss: DistillationLoss) -> None:
    student, teacher = network(1), freeze(network(2))
    for parameter in teacher.parameters():
        parameter.requires_grad_(True)  # even so
    objective = Distillation(loss=loss, mask=Mask(keep=4)).build(
        Networks(student=student, teacher=teacher)
    )
    batch = Batch(images=images(), targets=torch.full((3, 5), 0.2))
    step = Step(index=0, total=1, generator=torch.Generator().manual_seed(0))
    objective.losses(batch, step)["distill"].backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_a_student_equal_to_its_teacher_has_nothing_to_learn() -> None:
    model = network(1).eval()
    for loss in (Manifold(), Attention()):
        seen = model(images(), outputs=loss.of_student)
        assert float(loss(seen, seen, None).detach()) == pytest.approx(0, abs=1e-6)
    assert float(Logit()(seen, seen, None).detach()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("loss", "student", "teacher", "message"),
    [
        (Manifold(), "deit_tiny_patch16_224", "deit3_huge_patch14_224", "same grid"),
        (Attention(), "deit_tiny_patch16_224", "cait_s24_224", "no maps of a cait"),
        (Manifold(), "swin_tiny_patch4_window7_224", "deit_small_patch16_224", "no tokens"),
        (G2SD(), "deit_small_patch16_224", "vit_base_patch16_224", "distillation token"),
    ],
)
def test_networks_that_cannot_be_compared_are_refused(
    loss: DistillationLoss, student: str, teacher: str, message: str
) -> None:
    with pytest.raises(FieldError, match=message):
        loss.check(ModelConfig(arch=student).shape, ModelConfig(arch=teacher).shape)
