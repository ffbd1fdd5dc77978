"""Entropy and foreground shares in cases that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from harness.evaluate.attention import AttentionMeter, foreground_shares


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


def test_a_pixel_is_foreground_when_any_channel_differs_from_the_background() -> None:
    pixels = torch.zeros(1, 3, 4, 4)
    pixels[0, 1, 0, 0] = 9
    pixels[0, :, 2:, 2:] = 255
    pixels[0, 0, 3, 0] = 0.3  # left by resizing: rounds to the background
    found = foreground_shares(pixels, background=0, grid=(2, 2))
    assert found.tolist() == [[0.25, 0.0, 0.0, 1.0]]


def test_without_known_objects_there_is_no_foreground() -> None:
    meter = AttentionMeter()
    meter.add(torch.rand(2, 2, 4), None)
    assert sorted(meter.metrics()) == ["attention/entropy", "attention/entropy_even"]
