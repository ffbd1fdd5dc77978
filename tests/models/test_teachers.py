"""Every architecture that can be a masked teacher, shrunk: parity with timm and a float64 forward,
and no gradient.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.methods import Batch, Networks, Step
from harness.methods.distillation import Distillation, Mask
from harness.models.build import freeze
from harness.models.config import ModelConfig
from harness.models.families import family_of, known_architectures
from harness.models.vit import VisionTransformer
from tests.models.networks import build, shake
from tests.models.reference import Reference
from tests.models.test_families import CaitReference, ConvitReference

TEACHERS = sorted(
    name
    for name, shape in known_architectures().items()
    # `vit` has no dimensions of its own; others have tests of their own (YOLOS, Segmenter, AST)
    if family_of(shape).maskable
    and shape.width
    and family_of(shape).labelling == "classes"
    and not family_of(shape).takes_spectrograms
)
STUDENT = ModelConfig(
    arch="deit_tiny_patch16_224", image_size=32, patch_size=8, width=48, depth=2, heads=4
)


def teacher(arch: str) -> VisionTransformer:
    """16 patches of its own size, 3 blocks, weights far from their initial values."""
    patch = 8 if arch.startswith("cait") else known_architectures()[arch].patch_size
    config = ModelConfig(
        arch=arch, image_size=4 * patch, patch_size=patch, width=48, depth=3, heads=4
    )
    return freeze(shake(build(config)))


def images(size: int, count: int = 4) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2))


def slow(arch: str, model: VisionTransformer, image: Tensor, keep: list[list[int]]) -> Tensor:
    """Logits (B, classes) in float64."""
    weights = model.vit.state_dict()
    family = known_architectures()[arch].family
    if family in ("cait", "convit"):
        reference_of = {"cait": CaitReference, "convit": ConvitReference}[family]
        runs = [reference_of(weights).run(one, rows) for one, rows in zip(image, keep, strict=True)]
        return torch.stack([logits for logits, _ in runs])
    patch = known_architectures()[arch].patch_size
    eps = 1e-5 if "clip" in arch else 1e-6
    reference = Reference(weights, heads=4, depth=3, patch=patch, prefix=model.prefix, eps=eps)
    return reference.run(image, keep)[0]


def test_every_teacher_of_the_paper_is_among_them() -> None:
    families = ("deit_", "deit_small_distilled", "deit3_huge", "cait", "vit_base_patch16_clip")
    for start in (*families, "vit_large", "vit_huge", "mae_base", "mae_large", "mae_huge"):
        assert any(name.startswith(start) for name in TEACHERS), start


@pytest.mark.parametrize("arch", TEACHERS)
def test_all_patches_kept_equals_timm(arch: str) -> None:
    model = teacher(arch)
    image = images(model.image_size)
    keep = torch.arange(16).expand(4, -1)
    for efficient in (True, False):
        torch.testing.assert_close(
            model(image, keep=keep, efficient=efficient).logits,
            model.vit(image),
            rtol=1e-5,
            atol=1e-5,
        )


@pytest.mark.parametrize("arch", TEACHERS)
def test_a_subset_equals_the_float64_forward(arch: str) -> None:
    model = teacher(arch)
    image = images(model.image_size)
    torch.manual_seed(3)
    keep = torch.stack([torch.randperm(16)[:7].sort().values for _ in range(4)])
    expected = slow(arch, model, image, keep.tolist())
    for efficient in (True, False):
        found = model(image, keep=keep, efficient=efficient).logits.double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("arch", TEACHERS)
def test_in_float64_only_rounding_is_left_of_the_difference(arch: str) -> None:
    model = teacher(arch).double()
    image = images(model.image_size).double()
    keep = torch.stack([torch.arange(16)[offset::2] for offset in (0, 1, 0, 1)])
    found = model(image, keep=keep, efficient=False).logits
    assert found.dtype == torch.float64
    expected = slow(arch, model, image, keep.tolist())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("arch", TEACHERS)
def test_no_gradient_reaches_it(arch: str) -> None:
    student = build(STUDENT, seed=4)
    model = teacher(arch)
    for parameter in model.parameters():
        parameter.requires_grad_(True)  # even so
    objective = Distillation(mask=Mask(keep=5)).build(Networks(student=student, teacher=model))
    batch = Batch(images=images(32), targets=torch.full((4, 7), 1 / 7))
    step = Step(index=0, total=1, generator=torch.Generator())
    objective.losses(batch, step)["total"].backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.grad is not None for parameter in student.parameters())
