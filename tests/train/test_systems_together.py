"""Detection, segmentation and sounds by two processes are those by one: losses, gradients, what is
measured; and so they are where one of the two is the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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

NAMES = [name for name in SYSTEMS if name.startswith(("detection", "segmentation", "sounds"))]
TAUGHT = [name for name in NAMES if SYSTEMS[name].teacher is not None]


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


@dataclass(frozen=True, slots=True)
class Together:
    """What the first of two processes saw, and where it has left its last checkpoint."""

    shared: dict[str, dict[str, Any]]  # each has its part of the images
    piped: dict[str, dict[str, Any]]  # the other is the teacher
    folder: Path


@pytest.fixture(scope="module")
def together(
    trainings: dict[str, TrainConfig], tmp_path_factory: pytest.TempPathFactory
) -> Together:
    folder = tmp_path_factory.mktemp("together")
    every = [(trainings[name], None) for name in (*NAMES, *TAUGHT)]
    pipelines = [None] * len(NAMES) + [2] * len(TAUGHT)
    found = train_together(every, folder, 2, pipelines, prepare=few.install)
    shared, piped = found[: len(NAMES)], found[len(NAMES) :]
    return Together(
        dict(zip(NAMES, shared, strict=True)), dict(zip(TAUGHT, piped, strict=True)), folder
    )


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_do_what_one_does(
    name: str,
    trainings: dict[str, TrainConfig],
    together: Together,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few.install(monkeypatch)
    alone = outcome(trainings[name], tmp_path / "alone", DistContext())
    assert_same(alone, together.shared[name])
    if name in TAUGHT:
        assert_same(alone, together.piped[name])
    judged = {"detection": "val/ap50", "segmentation": "val/miou", "sounds": "val/top1"}
    assert alone["result"][judged[name.partition(",")[0]]] > 1
    one, two = (
        torch.load(folder / "checkpoint.pt", weights_only=True)
        for folder in (tmp_path / "alone", together.folder / f"{NAMES.index(name)}-0")
    )
    # not the weights: Adam takes a whole step along a gradient that is rounding alone
    means = [  # of the gradients
        {number: state.get("exp_avg", state.get("momentum_buffer")) for number, state in some}
        for some in (found["optimizer"]["state"].items() for found in (one, two))
    ]
    assert means[0]
    torch.testing.assert_close(means[1], means[0], rtol=1e-3, atol=1e-5)
