"""Sinkhorn-Knopp and KoLeo against closed forms and plain float64 loops."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from harness.methods.selfdistillation.koleo import koleo
from harness.methods.selfdistillation.sinkhorn import assigned, prototype_offsets
from tests.methods.test_dinov2 import nearest, sinkhorn


def targets(parts: list[Tensor], temperature: float, iterations: int = 3) -> Tensor:
    offsets = prototype_offsets(parts, temperature, iterations, parts[0].shape[1])
    return assigned(torch.cat(parts), offsets, temperature)


def draw(samples: int, prototypes: int, seed: int = 0) -> Tensor:
    """Cosines, as of unit vectors."""
    draws = torch.Generator().manual_seed(seed)
    return torch.rand(samples, prototypes, generator=draws) * 2 - 1


@pytest.mark.parametrize("iterations", [1, 3, 10])
@pytest.mark.parametrize("temperature", [0.04, 0.07, 1.0])
def test_equals_the_matrix_scaled_in_float64(temperature: float, iterations: int) -> None:
    logits = draw(20, 12)
    found = targets([logits], temperature, iterations)
    expected = sinkhorn(logits, temperature, iterations)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-7)


def test_parts_of_a_batch_have_the_targets_of_the_whole() -> None:
    logits = draw(20, 12)
    parts = [logits[:3], logits[3:3], logits[3:]]  # one of them is empty
    torch.testing.assert_close(targets(parts, 0.05), targets([logits], 0.05))


def test_at_its_end_both_sums_are_even() -> None:
    found = targets([draw(30, 10)], 0.3, 500)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(30))
    torch.testing.assert_close(found.sum(dim=0), torch.full((10,), 3.0), rtol=1e-4, atol=1e-4)


def test_after_any_iteration_every_sample_is_whole() -> None:
    for iterations in (1, 2, 3):
        found = targets([draw(9, 14)], 0.04, iterations)
        torch.testing.assert_close(found.sum(dim=1), torch.ones(9))
        assert bool((found >= 0).all())


def test_uniform_logits_are_a_fixed_point() -> None:
    for iterations in (1, 3):
        found = targets([torch.full((6, 8), 0.7)], 0.04, iterations)
        assert torch.equal(found, torch.full((6, 8), 1 / 8))


@pytest.mark.parametrize("iterations", [1, 3])
def test_what_is_added_to_a_prototype_changes_nothing(iterations: int) -> None:
    """Its scaling absorbs it at once: exp(a + b) = exp(a) exp(b)."""
    logits = draw(10, 7)
    shifted = logits + torch.linspace(-0.5, 0.5, 7)
    found, expected = (targets([one], 0.05, iterations) for one in (shifted, logits))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_one_prototype_that_takes_everything_is_shared_out() -> None:
    """Plain softmax gives it all 8 samples; here every prototype gets 2 of them."""
    logits = draw(8, 4) * 0.01
    logits[:, 0] += 1.0
    assert bool(((logits / 0.04).softmax(dim=1)[:, 0] > 0.99).all())
    found = targets([logits], 0.04, 50)
    torch.testing.assert_close(found.sum(dim=0), torch.full((4,), 2.0), rtol=1e-3, atol=1e-3)


def test_at_low_temperature_it_is_the_best_assignment() -> None:
    """As many prototypes as samples: the permutation with the largest sum of logits."""
    logits = draw(5, 5, seed=3)
    found = targets([logits], 0.02, 500)
    rows, columns = linear_sum_assignment(logits.numpy(), maximize=True)
    assert found.argmax(dim=1).tolist() == columns.tolist()
    assert rows.tolist() == list(range(5))
    assert torch.isfinite(found).all()


def test_no_temperature_is_too_low_and_no_samples_are_no_error() -> None:
    found = targets([draw(6, 5) * 50], 0.004)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.sum(dim=1), torch.ones(6))
    nothing = prototype_offsets([torch.zeros(0, 5)], 0.04, 3, 5)
    assert torch.equal(nothing, torch.zeros(1, 5))


def test_what_is_not_finite_is_not_hidden() -> None:
    logits = draw(6, 5)
    logits[2, 3] = math.nan
    assert bool(targets([logits], 0.04).isnan().any())


@pytest.mark.parametrize("points", [2, 3, 12])
def test_koleo_of_points_on_a_circle(points: int) -> None:
    """Neighbours are 2 sin(pi / n) apart, whatever the vectors' lengths."""
    angles = torch.arange(points) * 2 * math.pi / points
    lengths = torch.linspace(0.5, 3, points)[:, None]
    circle = torch.stack([angles.cos(), angles.sin()], dim=1) * lengths
    found = float(koleo(circle, [range(points)]))
    assert found == pytest.approx(-math.log(2 * math.sin(math.pi / points)), rel=1e-5)


def test_koleo_and_its_gradient_equal_a_float64_loop() -> None:
    tokens = torch.randn(9, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
    exact = tokens.detach().double().requires_grad_()
    found, expected = koleo(tokens, [range(9)]), nearest(exact)
    found.backward()
    expected.backward()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert tokens.grad is not None
    torch.testing.assert_close(tokens.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)


def test_koleo_seeks_neighbours_within_groups_alone() -> None:
    tokens = torch.randn(8, 5, generator=torch.Generator().manual_seed(2))
    twice = torch.cat([tokens, tokens])  # a twin of every image, in the other group
    groups = [list(range(8)), list(range(8, 16))]
    assert float(koleo(twice, groups)) == pytest.approx(float(nearest(tokens.double())), rel=1e-5)
    part = koleo(twice, [[0], groups[0][1:], groups[1]])
    rest = 7 * nearest(tokens[1:].double()) + 8 * nearest(tokens.double())
    assert float(part) == pytest.approx(float(rest) / 16, rel=1e-5)


def test_both_are_in_fp32_whatever_the_step_is_in() -> None:
    """Under bf16 the same bits as without, from the same inputs."""
    logits, tokens = draw(20, 12).bfloat16(), draw(8, 6, seed=1)
    expected = targets([logits.float()], 0.04), koleo(tokens, [range(8)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = targets([logits], 0.04), koleo(tokens, [range(8)])
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
