"""Clipping and moving averages of many tensors: the same bits as one tensor at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.methods.selfdistillation.parts import clip_grad_norm_per_tensor_, ema_update_

SHAPES = [(1,), (1, 1, 192), (7,), (192,), (64, 3, 16, 16), (576, 192), (8192, 256), (8192, 1)]


def tensors(seed: int, scale: float = 1.0) -> list[Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=draws) for shape in SHAPES]


@pytest.mark.parametrize("scale", [1e-4, 0.02, 30.0])
def test_each_is_clipped_as_alone(scale: float) -> None:
    found, expected = tensors(1, scale), tensors(1, scale)
    clip_grad_norm_per_tensor_(found, 3.0)
    for gradient in expected:
        gradient.mul_((3.0 / (gradient.norm() + 1e-6)).clamp(max=1.0))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    norms = [float(gradient.double().norm()) for gradient in tensors(1, scale)]
    for gradient, norm in zip(found, norms, strict=True):
        assert float(gradient.double().norm()) == pytest.approx(min(norm, 3.0), rel=1e-4)


def test_nothing_to_clip() -> None:
    clip_grad_norm_per_tensor_([], 3.0)
    zero = [torch.zeros(4)]
    clip_grad_norm_per_tensor_(zero, 3.0)
    assert zero[0].tolist() == [0.0] * 4


@pytest.mark.parametrize("share", [0.0, 0.004, 0.3, 0.7, 1.0])
def test_each_follows_as_alone(share: float) -> None:
    found, expected, fast = tensors(1), tensors(1), tensors(2)
    ema_update_(found, fast, share)
    for old, new in zip(expected, fast, strict=True):
        old.lerp_(new, share)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    for old, moved, new in zip(tensors(1), found, fast, strict=True):
        torch.testing.assert_close(moved, (1 - share) * old + share * new, atol=1e-5, rtol=1e-5)
