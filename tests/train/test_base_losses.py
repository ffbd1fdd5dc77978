"""Every base loss in a real training: masked and not, on images."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.data.config import DataConfig
from harness.methods.distillation import Distillation, Mask
from harness.methods.losses import LOSSES, DistillationLoss
from harness.methods.losses.attention import Attention
from harness.methods.losses.g2sd import G2SD
from harness.methods.losses.logit import Logit
from harness.methods.losses.manifold import Manifold
from harness.models.config import ModelConfig
from harness.models.vit import VisionTransformer
from harness.train import networks
from harness.train.config import Augment, Recipe, TrainConfig
from harness.train.loop import train
from tests.train.test_loop import Context, vit

RECIPE = Recipe(
    epochs=0.5,
    batch_size=50,
    lr=1e-3,
    augment=Augment(crop="pad", mixup=0.8, cutmix=1.0, label_smoothing=0.1),
)
DISTILLED = ModelConfig(
    arch="deit_small_distilled_patch16_224",
    image_size=28,
    patch_size=7,
    width=16,
    depth=2,
    heads=2,
)
TRAININGS: dict[str, tuple[DistillationLoss, ModelConfig]] = {
    "logit": (Logit(), vit(drop_path=0.1)),
    "manifold": (Manifold(group=26, samples=32), vit()),
    "attention": (Attention(), vit(drop_path=0.1)),
    "g2sd": (G2SD(), DISTILLED),
    "g2sd, hard": (G2SD(hard=True), DISTILLED),
}


class Teachers:
    """Those that a training builds, with their weights as they were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[tuple[VisionTransformer, dict[str, torch.Tensor]]] = []
        self._freeze = networks.freeze_watched
        monkeypatch.setattr(networks, "freeze_watched", self._watch)

    def _watch(self, model: VisionTransformer) -> VisionTransformer:
        before = {name: value.clone() for name, value in model.state_dict().items()}
        self.found.append((model, before))
        return self._freeze(model)


@pytest.fixture
def teachers(monkeypatch: pytest.MonkeyPatch) -> Teachers:
    return Teachers(monkeypatch)


def test_every_loss_is_trained_with() -> None:
    """But those of detectors alone: tests/methods/test_set_loss.py."""
    of_classes = {name for name in LOSSES.names() if "classes" in LOSSES.get(name).labellings}
    assert {name.partition(",")[0] for name in TRAININGS} == of_classes


@pytest.mark.parametrize("mask", [None, Mask(keep=6)], ids=["whole", "masked"])
@pytest.mark.parametrize("name", TRAININGS)
def test_the_student_learns_and_the_teacher_stays(
    name: str, mask: Mask | None, teachers: Teachers, tmp_path: Path
) -> None:
    loss, student = TRAININGS[name]
    config = TrainConfig(
        data=DataConfig(name="fashion-mnist", train_fraction=0.01),
        student=student,
        teacher=vit(24),
        method=Distillation(loss=loss, mask=mask),
        recipe=RECIPE,
    )
    left, results = {}, {}
    for lr in (1e-3, 1e-12):  # the second: where it began
        run = Context(tmp_path / f"{lr}")
        results[lr] = train(replace(config, recipe=replace(RECIPE, lr=lr)), run)
        left[lr] = load_file(run.directory / "model.safetensors")
        steps = [record for record in run.metrics if "loss/total" in record]
        assert len(steps) == 6
        for record in steps:
            assert all(math.isfinite(record[f"loss/{part}"]) for part in ("total", "ce", "distill"))
            assert record["loss/distill"] > 0
    assert all(math.isfinite(value) for value in results[1e-3].values())
    moved = {
        key for key, value in left[1e-3].items() if (value - left[1e-12][key]).abs().max() > 1e-4
    }
    assert moved == left[1e-3].keys()

    for teacher, before in teachers.found:
        assert all(parameter.grad is None for parameter in teacher.parameters())
        assert not any(parameter.requires_grad for parameter in teacher.parameters())
        assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert len(teachers.found) == 2
