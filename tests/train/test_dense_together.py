"""Detection and segmentation by two processes are those by one: losses, gradients, AP and mIoU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.data.sets.canvases import SIDE
from harness.distributed import DistContext
from harness.models.build import build_model, save_model
from harness.models.config import Weights
from harness.models.vit import Normalisation
from harness.train.config import TrainConfig
from tests.train import few
from tests.train.systems import SYSTEMS, YOLOS
from tests.train.test_together import assert_same
from tests.train.together import outcome, train_together

NAMES = [name for name in SYSTEMS if name.startswith(("detection", "segmentation"))]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainConfig]:
    """Detectors begin with a guess that is right now and then: else AP is 0, whoever counts."""
    path = tmp_path_factory.mktemp("weights") / "detector.safetensors"
    norm = Normalisation(mean=(0.0,), std=(1.0,))
    torch.manual_seed(0)
    model = build_model(YOLOS, classes=10, channels=1, input_norm=norm, dependencies={})
    side = few.SQUARE / SIDE
    with torch.no_grad():
        model.vit.head["boxes"][4].bias.copy_(torch.tensor([0.5, 0.5, side, side]).logit())
        model.vit.head["classes"][4].bias[few.LABEL] += 3
    save_model(model, path)
    starts = Weights(file=str(path))
    guessing = {
        name: replace(SYSTEMS[name], student=replace(SYSTEMS[name].student, weights=starts))
        for name in NAMES
        if name.startswith("detection")
    }
    return {name: guessing.get(name, SYSTEMS[name]) for name in NAMES}


@pytest.fixture(scope="module")
def together(
    trainings: dict[str, TrainConfig], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[dict[str, Any], Path]]:
    """What two processes computed, and where the first has left its last checkpoint."""
    folder = tmp_path_factory.mktemp("together")
    every = [(training, None) for training in trainings.values()]
    found = train_together(every, folder, 2, prepare=few.install)
    places = [folder / f"{at}-0" for at in range(len(NAMES))]
    return dict(zip(NAMES, zip(found, places, strict=True), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_do_what_one_does(
    name: str,
    trainings: dict[str, TrainConfig],
    together: dict[str, tuple[dict[str, Any], Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few.install(monkeypatch)
    alone = outcome(trainings[name], tmp_path / "alone", DistContext())
    both, place = together[name]
    assert_same(alone, both)
    judged = "val/ap50" if name.startswith("detection") else "val/miou"
    assert alone["result"][judged] > 1
    one, two = (
        torch.load(folder / "checkpoint.pt", weights_only=True)
        for folder in (tmp_path / "alone", place)
    )
    # not the weights: Adam takes a whole step along a gradient that is rounding alone
    means = [  # of the gradients
        {number: state.get("exp_avg", state.get("momentum_buffer")) for number, state in some}
        for some in (found["optimizer"]["state"].items() for found in (one, two))
    ]
    assert means[0]
    torch.testing.assert_close(means[1], means[0], rtol=1e-3, atol=1e-5)
