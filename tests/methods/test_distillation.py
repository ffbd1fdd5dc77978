"""Losses against closed forms; the kept set and the masked teacher against the slow reference."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from harness.errors import FieldError
from harness.masking import CRITERIA
from harness.methods import Batch, Networks, Step
from harness.methods.distillation import Distillation, DistillationObjective, Mask
from harness.methods.labels import soft_cross_entropy
from harness.methods.losses.logit import Logit
from harness.methods.supervised import Supervised
from harness.models.build import freeze
from harness.models.config import ModelConfig
from harness.models.interface import ForwardRequest, Saliency
from harness.models.vit import ForwardOutput, VisionTransformer
from tests.models.networks import build, shake
from tests.models.reference import Reference


def network(seed: int, width: int = 32) -> VisionTransformer:
    config = ModelConfig(arch="vit", image_size=16, patch_size=4, width=width, depth=3, heads=4)
    return shake(build(config, 5, channels=1, seed=seed), 0.3)


def batch(size: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(9)
    targets = torch.rand(size, 5, generator=generator)
    return Batch(
        images=torch.randn(size, 1, 16, 16, generator=generator),
        targets=targets / targets.sum(dim=1, keepdim=True),
    )


def step(seed: int = 0) -> Step:
    return Step(index=0, total=1, generator=torch.Generator().manual_seed(seed))


def reference(model: VisionTransformer) -> Reference:
    return Reference(model.vit.state_dict(), heads=4, depth=3, patch=4)


def output(logits: Tensor) -> ForwardOutput:
    return ForwardOutput(logits=logits, saliency=None)


def kl(teacher: list[float], student: list[float], temperature: float) -> float:
    """T^2 sum p log(p/q), written out."""

    def softmax(logits: list[float]) -> list[float]:
        powers = [math.exp(x / temperature) for x in logits]
        return [power / sum(powers) for power in powers]

    p, q = softmax(teacher), softmax(student)
    return temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_is_summed_over_classes_and_averaged_over_the_batch(temperature: float) -> None:
    teacher, student = [[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]], [[0.0, 1.0, 0.0], [2.0, -2.0, 1.0]]
    found = Logit(temperature=temperature)(
        output(torch.tensor(student)), output(torch.tensor(teacher)), None
    )
    expected = sum(kl(t, s, temperature) for t, s in zip(teacher, student, strict=True)) / 2
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_hard_distillation_is_cross_entropy_with_the_teachers_choice() -> None:
    student = torch.tensor([[0.0, 1.0, 0.0], [2.0, -2.0, 1.0]])
    teacher = torch.tensor([[9.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    expected = -(student.log_softmax(1)[0, 0] + student.log_softmax(1)[1, 2]) / 2
    assert float(Logit(hard=True)(output(student), output(teacher), None)) == pytest.approx(
        float(expected)
    )


def test_cross_entropy_of_soft_labels() -> None:
    logits, targets = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.3, 0.7]])
    normaliser = math.log(math.e + math.e**2)
    expected = 0.3 * (normaliser - 1) + 0.7 * (normaliser - 2)
    assert float(soft_cross_entropy(logits, targets)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("keep", [1, 4, 9, 15])
def test_losses_equal_a_float64_computation_of_the_paper(keep: int) -> None:
    student, teacher = network(1), freeze(network(2, width=48))
    method = Distillation(weight=0.7, mask=Mask(keep=keep))
    data = batch()
    losses = method.build(Networks(student=student, teacher=teacher)).losses(data, step())
    found = {name: value.detach() for name, value in losses.items()}

    logits, saliency = reference(student).run(data.images)
    kept = [sorted(row.argsort(descending=True)[:keep].tolist()) for row in saliency]
    masked, _ = Reference(teacher.vit.state_dict(), heads=4, depth=3, patch=4).run(
        data.images, kept
    )
    ce = -(data.targets.double() * logits.log_softmax(1)).sum(1).mean()
    teacher_p = masked.softmax(1)
    distill = (teacher_p * (teacher_p.log() - logits.log_softmax(1))).sum(1).mean()
    assert float(found["ce"]) == pytest.approx(float(ce), rel=1e-4)
    assert float(found["distill"]) == pytest.approx(float(distill), rel=1e-3, abs=1e-5)
    assert float(found["total"]) == pytest.approx(float(ce + 0.7 * distill), rel=1e-3)


@pytest.mark.parametrize("keep", [5, 16])
@pytest.mark.parametrize("loss", [Logit(temperature=3.0), Logit(hard=True)])
def test_any_logit_loss_is_taken_with_the_masked_teacher(loss: Logit, keep: int) -> None:
    student, teacher = network(1), freeze(network(2, width=48))
    objective = Distillation(loss=loss, mask=Mask(keep=keep)).build(
        Networks(student=student, teacher=teacher)
    )
    found = objective.losses(batch(), step())["distill"].detach()
    logits, saliency = reference(student).run(batch().images)
    kept = [sorted(row.argsort(descending=True)[:keep].tolist()) for row in saliency]
    masked, _ = reference(teacher).run(batch().images, kept)
    if loss.hard:
        chosen = masked.argmax(dim=1)
        expected = -logits.log_softmax(1)[torch.arange(6), chosen].mean()
    else:
        pairs = zip(masked.tolist(), logits.tolist(), strict=True)
        expected = torch.tensor([kl(t, s, loss.temperature) for t, s in pairs]).mean()
    assert float(found) == pytest.approx(float(expected), rel=1e-3)


def test_the_kept_set_is_what_the_student_attends_to_most() -> None:
    student, teacher = network(1), freeze(network(2))
    objective = Distillation(mask=Mask(keep=5)).build(Networks(student=student, teacher=teacher))
    data = batch()
    objective.losses(data, step())
    _, saliency = reference(student).run(data.images)
    expected = torch.zeros(16)
    for row in saliency:
        expected[row.argsort(descending=True)[:5]] += 1 / 6
    assert objective.summary()["kept"] == pytest.approx(expected.tolist())


def test_bottom_k_keeps_what_top_k_drops() -> None:
    student, teacher = network(1), freeze(network(2))
    shares = []
    for name, keep in (("student-attention", 6), ("student-attention-lowest", 10)):
        mask = Mask(keep=keep, criterion=CRITERIA.get(name)())
        objective = Distillation(mask=mask).build(Networks(student=student, teacher=teacher))
        objective.losses(batch(), step())
        shares.append(objective.summary()["kept"])
    assert [a + b for a, b in zip(*shares, strict=True)] == pytest.approx([1.0] * 16)


def test_keeping_all_patches_is_plain_distillation_bit_by_bit() -> None:
    found = []
    for mask in (None, Mask(keep=16), Mask(keep=99)):
        networks = Networks(student=network(1), teacher=freeze(network(2)))
        found.append(Distillation(mask=mask).build(networks).losses(batch(), step())["total"])
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_the_teacher_gets_no_gradient_and_the_student_all_of_it() -> None:
    student, teacher = network(1), freeze(network(2))
    for parameter in teacher.parameters():
        parameter.requires_grad_(True)  # even so
    objective = Distillation(mask=Mask(keep=4)).build(Networks(student=student, teacher=teacher))
    objective.losses(batch(), step())["total"].backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())


def test_the_distillation_gradient_ignores_the_choice_of_patches() -> None:
    student, teacher = network(1), freeze(network(2))
    networks = Networks(student=student, teacher=teacher)
    data = batch()
    attention = student(data.images, outputs=ForwardRequest(saliency=Saliency())).saliency
    assert attention is not None
    kept = attention.topk(4).indices.sort().values
    masked = teacher(data.images, keep=kept).logits.detach()
    by_hand = Logit()(student(data.images), output(masked), None)
    (expected,) = torch.autograd.grad(by_hand, student.vit.patch_embed.proj.weight)
    found = Distillation(mask=Mask(keep=4)).build(networks).losses(data, step())["distill"]
    (gradient,) = torch.autograd.grad(found, student.vit.patch_embed.proj.weight)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_random_masks_are_uniform_and_come_from_the_steps_generator() -> None:
    mask = Mask(keep=4, criterion=CRITERIA.get("random")())
    networks = Networks(student=network(1), teacher=freeze(network(2)))

    def shares(seed: int, size: int) -> list[float]:
        objective = Distillation(mask=mask).build(networks)
        objective.losses(batch(size), step(seed))
        kept: list[float] = objective.summary()["kept"]
        return kept

    assert shares(1, 64) == shares(1, 64)
    assert shares(1, 64) != shares(2, 64)
    # a share of 1/4 over 4000 images has a standard deviation of 0.7 %; five of them
    assert shares(3, 4000) == pytest.approx([0.25] * 16, abs=0.035)


def test_kept_counts_survive_a_checkpoint() -> None:
    networks = Networks(student=network(1), teacher=freeze(network(2)))
    whole, first, second = (Distillation(mask=Mask(keep=4)).build(networks) for _ in range(3))
    for objective in (whole, first):
        objective.losses(batch(), step())
    assert isinstance(second, DistillationObjective)
    second.load_state(first.state())
    for objective in (whole, second):
        objective.losses(batch(3), step())
    assert second.summary() == whole.summary()


def test_supervised_is_cross_entropy_alone() -> None:
    student = network(1)
    losses = Supervised().build(Networks(student=student, teacher=None)).losses(batch(), step())
    logits, _ = reference(student).run(batch().images)
    expected = -(batch().targets.double() * logits.log_softmax(1)).sum(1).mean()
    assert float(losses["total"].detach()) == pytest.approx(float(expected), rel=1e-4)
    assert set(losses) == {"total"}


def test_keep_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 patch, got 0"):
        Mask(keep=0)


def test_labels_and_teacher_are_weighted() -> None:
    student, teacher = network(1), freeze(network(2))
    both = Networks(student=student, teacher=teacher)
    method = Distillation(weight=0.7, labels=0.2)
    losses = method.build(both).losses(batch(), step())
    expected = 0.2 * float(losses["ce"].detach()) + 0.7 * float(losses["distill"].detach())
    assert float(losses["total"].detach()) == pytest.approx(expected, rel=1e-6)

    alone = Distillation(labels=0.0).build(both)
    gradients = []
    for name in ("total", "distill"):
        loss = alone.losses(batch(), step())[name]
        gradients.append(torch.autograd.grad(loss, student.vit.head.weight)[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("wrong", [{"labels": -1.0}, {"weight": -1.0}, {"labels": 0, "weight": 0}])
def test_weights_that_teach_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(FieldError, match=r"negative|nothing to learn from"):
        Distillation(**wrong)  # type: ignore[arg-type]
