"""How fast a training is, in its own records, and by the arithmetic of the clock."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from harness.models.cost import efficient_macs
from harness.train import speed
from harness.train.loop import train
from harness.train.macs import image_macs
from harness.train.peaks import peak_flops
from harness.train.speed import Speedometer
from tests.train.test_loop import Context, config


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    return now


def test_waits_and_pauses_are_told_apart(clock: list[float]) -> None:
    meter = Speedometer(torch.device("cpu"), images=100, flops_per_image=3e9, peak=4e12)
    for _ in range(4):
        with meter.waiting():
            clock[0] += 0.5
        clock[0] += 1.5
        meter.step()
    with meter.paused():
        clock[0] += 1000
    first = meter.take()
    clock[0] += 2
    meter.step()
    # 400 images in 8 s, of which 2 s were waits; 50 images/s of 3 GFLOP are 3.75 % of 4 TFLOP/s
    assert first.record() == {"images_per_second": 50.0, "data_wait": 0.25, "mfu": 0.0375}
    assert meter.take().record() == {"images_per_second": 50.0, "data_wait": 0.0, "mfu": 0.0375}


def test_no_step_has_no_speed(clock: list[float]) -> None:
    meter = Speedometer(torch.device("cpu"), images=100, flops_per_image=3e9, peak=None)
    assert meter.take().record() == {}
    clock[0] += 1
    assert meter.take().record() == {}


def test_every_line_of_losses_has_it_and_no_other(tmp_path: Path) -> None:
    context = Context(tmp_path)
    train(config(), context)
    losses = [record for record in context.metrics if "loss/total" in record]
    assert len(losses) == len(context.speeds) > 5
    for found in context.speeds:
        assert found.keys() == {"images_per_second", "data_wait"}  # no peak is known of a CPU
        assert found["images_per_second"] > 0
        assert 0 < found["data_wait"] < 1


def test_the_macs_of_an_image_are_three_students_and_a_masked_teacher() -> None:
    training = config()
    student, teacher = training.student.shape, training.teacher.shape  # type: ignore[union-attr]
    expected = (
        3 * efficient_macs(student, keep=16, classes=10).total
        + efficient_macs(teacher, keep=6, classes=10).total
    )
    assert image_macs(training) == expected


@pytest.mark.parametrize(
    ("card", "precision", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4e12),
        ("NVIDIA H100 80GB HBM3", "fp32", 66.9e12),
        ("NVIDIA H100 PCIe", "fp16", 756.4e12),
        ("NVIDIA H200", "tf32", 494.7e12),
        ("NVIDIA GH200 480GB", "bf16", 989.4e12),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312e12),
        ("NVIDIA L40S", "bf16", 362.1e12),
        ("NVIDIA L4", "bf16", 121e12),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2e12),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "bf16", None),
        ("NVIDIA GeForce GTX 1080", "fp32", None),
    ],
)
def test_peaks_are_of_the_card_that_the_driver_names(
    card: str, precision: str, expected: float | None
) -> None:
    assert peak_flops(card, precision) == (expected and pytest.approx(expected))
