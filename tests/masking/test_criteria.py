"""What each criterion keeps, on networks whose attention a float64 reference knows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.errors import FieldError
from harness.masking import CRITERIA, Criterion, CriterionInput
from harness.masking.attention import (
    LayerAttention,
    PatchAttention,
    SaliencyModelAttention,
    StudentAttention,
    TeacherAttention,
)
from harness.masking.keep import to_grid
from harness.masking.late_random import LateRandom
from harness.methods import Batch, Networks, Step
from harness.methods.distillation import Distillation, DistillationObjective, Mask
from harness.models.build import freeze
from harness.models.config import ModelConfig
from harness.models.vit import VisionTransformer
from harness.train.config import Recipe
from tests.models.networks import build, shake
from tests.models.reference import Reference

RECIPE = Recipe(epochs=1, batch_size=2, lr=1e-3)


def network(seed: int, *, size: int = 16, patch: int = 4, depth: int = 3) -> VisionTransformer:
    config = ModelConfig(
        arch="vit", image_size=size, patch_size=patch, width=32, depth=depth, heads=4
    )
    return shake(build(config, 5, channels=1, seed=seed), 0.3)


def images(count: int = 5) -> Tensor:
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(9))


def kept(
    criterion: Criterion,
    networks: Networks,
    keep: int = 6,
    *,
    index: int = 0,
    total: int = 2,
) -> list[list[int]]:
    """The patches that the teacher was shown, for each image."""
    seen: list[Tensor] = []
    assert networks.teacher is not None
    original = networks.teacher.forward

    def spy(pixels: Tensor, **options: object) -> object:
        assert isinstance(options["keep"], Tensor)
        seen.append(options["keep"])
        return original(pixels, **options)  # type: ignore[arg-type]

    networks.teacher.forward = spy  # type: ignore[method-assign, assignment]
    objective = Distillation(mask=Mask(keep=keep, criterion=criterion)).build(networks)
    step = Step(index=index, total=total, generator=torch.Generator().manual_seed(0))
    objective.losses(Batch(images=images(), targets=torch.full((5, 5), 0.2)), step)
    networks.teacher.forward = original  # type: ignore[method-assign]
    return seen[0].tolist()  # type: ignore[no-any-return]


def best(scores: Tensor, keep: int = 6) -> list[list[int]]:
    return [sorted(row.argsort(descending=True)[:keep].tolist()) for row in scores]


def attention(model: VisionTransformer, depth: int) -> Tensor:
    """Maps (B, heads, n, n) of block `depth`, counted from 1."""
    reference = Reference(model.vit.state_dict(), heads=4, depth=depth, patch=4)
    return torch.stack(reference.maps(images()))


def trio() -> Networks:
    return Networks(
        student=network(1), teacher=freeze(network(2)), saliency_model=freeze(network(3, depth=2))
    )


def test_each_criterion_keeps_what_its_own_attention_is_highest_on() -> None:
    networks = trio()
    student, teacher, saliency_model = networks.student, networks.teacher, networks.saliency_model
    assert teacher is not None
    assert saliency_model is not None
    cls = {
        StudentAttention(): (student, 3),
        LayerAttention(layer="first"): (student, 1),
        LayerAttention(layer="2"): (student, 2),
        TeacherAttention(): (teacher, 3),
        TeacherAttention(layer="first"): (teacher, 1),
        SaliencyModelAttention(): (saliency_model, 2),
    }
    for criterion, (model, depth) in cls.items():
        expected = best(attention(model, depth)[:, :, 0, 1:].mean(dim=1))
        assert kept(criterion, networks) == expected, criterion
    for layer, depth in (("first", 1), ("last", 3)):
        expected = best(attention(student, depth)[:, :, 1:, 1:].mean(dim=(1, 2)))
        assert kept(PatchAttention(layer=layer), networks) == expected


def test_criteria_differ() -> None:
    networks = trio()
    found = {
        str(kept(criterion, networks))
        for criterion in (
            StudentAttention(),
            LayerAttention(layer="first"),
            PatchAttention(),
            TeacherAttention(),
            SaliencyModelAttention(),
        )
    }
    assert len(found) == 5


def test_late_random_is_attention_first_and_then_attention_and_others() -> None:
    networks = trio()
    criterion = LateRandom(random=2, start=0.5, attention=StudentAttention())
    scores = attention(networks.student, 3)[:, :, 0, 1:].mean(dim=1)
    assert kept(criterion, networks, index=0) == best(scores)
    later = kept(criterion, networks, index=1)
    for row, sure in zip(later, best(scores, 4), strict=True):
        assert len(set(row)) == 6
        assert set(sure) <= set(row)
    assert later != best(scores)


def test_late_draws_are_uniform_over_the_rest() -> None:
    view = CriterionInput(
        attention=torch.arange(8.0).expand(4000, -1),
        batch=4000,
        patches=8,
        keep=4,
        device=torch.device("cpu"),
        generator=torch.Generator().manual_seed(1),
        progress=1.0,
    )
    scores = LateRandom(random=3, attention=StudentAttention()).scores(view)
    shares = torch.zeros(8).scatter_add(
        0, scores.topk(4).indices.flatten(), torch.full((16000,), 1 / 4000)
    )
    assert float(shares[7]) == pytest.approx(1, rel=1e-3)
    # 3 of the other 7; a share of 3/7 over 4000 images has a standard deviation of 0.8 %
    assert shares[:7].tolist() == pytest.approx([3 / 7] * 7, abs=0.04)


def test_late_random_leaves_something_to_the_attention() -> None:
    most = LateRandom(random=7, attention=StudentAttention())
    assert Mask(keep=8, criterion=most).criterion is most
    with pytest.raises(FieldError, match="`random` must be below the 7 patches that are kept"):
        Mask(keep=7, criterion=most)
    nested = LateRandom(random=2, attention=most)
    with pytest.raises(FieldError, match="must be below the 5 patches that are kept, got 7"):
        Mask(keep=5, criterion=nested)


def test_bilinear_interpolation_of_a_row_by_hand() -> None:
    scores = torch.tensor([[0.0, 4.0]])
    # centres of 4 cells in units of 2: -0.25 (held at the edge), 0.25, 0.75, 1.25 (held)
    assert to_grid(scores, (1, 2), (1, 4)).tolist() == [[0.0, 1.0, 3.0, 4.0]]
    assert to_grid(scores, (1, 2), (1, 2)) is scores
    with pytest.raises(AssertionError, match="2 scores"):
        to_grid(scores, (2, 2), (4, 4))


def test_the_choice_is_made_on_the_teachers_grid() -> None:
    # the student has 4 x 4 patches of 4 px; the teacher sees 24 px in 6 x 6 patches of 4 px
    networks = Networks(student=network(1), teacher=freeze(network(2, size=24)))
    scores = attention(networks.student, 3)[:, :, 0, 1:].mean(dim=1)
    expected = best(to_grid(scores, (4, 4), (6, 6)), 18)
    found = kept(StudentAttention(), networks, 18)
    # float32 may swap the last place for a tie of interpolated values
    for row, wanted in zip(found, expected, strict=True):
        assert len(set(row) ^ set(wanted)) <= 2
        assert max(row) < 36
    assert any(index > 15 for row in found for index in row)


def test_a_bright_corner_stays_a_corner_on_any_grid() -> None:
    scores = torch.zeros(1, 16)
    scores[0, 3] = 1.0  # top right of 4 x 4
    for side in (2, 5, 6, 8):
        grid = to_grid(scores, (4, 4), (side, side))
        assert int(grid.argmax()) == side - 1


def test_the_teachers_own_accuracy_is_measured_on_what_it_is_shown() -> None:
    networks = trio()
    networks.student.eval()
    method = Distillation(mask=Mask(keep=6), teacher_accuracy=True)
    objective = method.build(networks)
    assert isinstance(objective, DistillationObjective)
    found = objective.extra_predictors()["teacher"](images())
    scores = attention(networks.student, 3)[:, :, 0, 1:].mean(dim=1)
    assert networks.teacher is not None
    expected = networks.teacher(images(), keep=torch.tensor(best(scores))).logits
    torch.testing.assert_close(found, expected)
    assert Distillation(mask=Mask(keep=6)).build(networks).extra_predictors() == {}
    whole = (
        Distillation(teacher_accuracy=True).build(networks).extra_predictors()["teacher"](images())
    )
    torch.testing.assert_close(whole, networks.teacher(images()).logits)


@pytest.mark.parametrize(
    ("student", "teacher", "criterion", "message"),
    [
        ("swin_tiny_patch4_window7_224", "deit_small_patch16_224", "student-attention", "patches"),
        ("deit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "random", "no mask"),
        ("cait_s24_224", "deit_small_patch16_224", "patch-attention", "cls only"),
        (
            "deit_tiny_patch16_224",
            "deit_small_patch16_224",
            "saliency-model-attention",
            "is missing",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    student: str, teacher: str, criterion: str, message: str
) -> None:
    shapes = {
        "student": ModelConfig(arch=student).shape,
        "teacher": ModelConfig(arch=teacher).shape,
    }
    with pytest.raises(FieldError, match=message):
        Distillation(mask=Mask(keep=20, criterion=CRITERIA.get(criterion)())).check(shapes, RECIPE)


def test_a_layer_that_is_not_there_is_refused() -> None:
    shape = ModelConfig(arch="deit_tiny_patch16_224").shape
    mask = Mask(keep=20, criterion=LayerAttention(layer="13"))
    with pytest.raises(FieldError, match="at most 12"):
        Distillation(mask=mask).check({"student": shape, "teacher": shape}, RECIPE)
    for layer in ("upper", "0", "²", "9" * 5000):  # the last two: digits that int() does not take
        with pytest.raises(FieldError, match=f"or a number from 1, got '{layer[:40]}'"):
            LayerAttention(layer=layer)
