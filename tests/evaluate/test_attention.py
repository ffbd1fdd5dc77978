"""Entropy and foreground shares in cases that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from harness.evaluate.attention import AttentionMeter, look
from harness.evaluate.patches import foreground_shares
from harness.models.config import ModelConfig
from tests.models.networks import build


def test_even_attention_has_the_foreground_by_its_area() -> None:
    meter = AttentionMeter()
    foreground = torch.tensor([[1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 0.0, 0.25]])
    meter.add(torch.full((2, 3, 4), 0.2), foreground)  # a fifth is the class token's own
    assert meter.metrics() == pytest.approx(
        {
            "attention/entropy": math.log(4),
            "attention/entropy_even": math.log(4),
            "attention/foreground": 21.875,
            "attention/foreground_best": 21.875,
            "attention/foreground_even": 21.875,
        }
    )


def test_each_head_counts_and_batches_are_weighted_by_their_images() -> None:
    meter = AttentionMeter()
    on, off = [1.0, 0.0], [0.0, 1.0]
    foreground = torch.tensor([[1.0, 0.0]])
    meter.add(torch.tensor([[on, off], [on, on], [on, off]]), foreground.expand(3, -1))
    meter.add(torch.tensor([[on, off]]), foreground)
    found = meter.metrics()
    assert found["attention/entropy"] == pytest.approx(0.0, abs=1e-12)
    assert found["attention/foreground_best"] == pytest.approx(100.0)
    assert found["attention/foreground"] == pytest.approx(100 * 5 / 8)
    assert found["attention/foreground_even"] == pytest.approx(50.0)


def test_without_known_objects_there_is_no_foreground() -> None:
    meter = AttentionMeter()
    meter.add(torch.rand(2, 2, 4), None)
    assert sorted(meter.metrics()) == ["attention/entropy", "attention/entropy_even"]


def test_attention_to_sounds_lies_as_spectrograms_do() -> None:
    config = ModelConfig(
        arch="ast_small",
        image_size=20,
        image_width=33,
        patch_size=8,
        stride=5,
        width=24,
        depth=2,
        heads=4,
    )
    model = build(config, 3, channels=1).eval()
    values = torch.randn(2, 1, 20, 33, generator=torch.Generator().manual_seed(1))
    values[:, :, :, 20:] = 0
    batches = [(values, values, torch.tensor([0, 1]))]
    metrics, about = look(model, batches, background=0, spectrograms=True)
    assert about["grid"] == [3, 6]
    assert about["upward"]
    share = foreground_shares(values, config.shape.patch_grid, background=0, exact=True)
    heads = model.attention_by_head(values)
    heads = heads / heads.sum(dim=2, keepdim=True)
    expected = 100 * float((heads * share[:, None]).sum(dim=2).mean())
    assert metrics["attention/foreground"] == pytest.approx(expected, rel=1e-5)
    (saliency,) = {len(head) for one in about["pictures"] for head in one["heads"]}
    assert saliency == 18
