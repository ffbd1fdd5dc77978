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
from harness.models.build import save_model
from harness.models.config import Weights
from harness.models.vit import Normalisation
from harness.train.config import TrainConfig
from tests.models.networks import build
from tests.train import few
from tests.train.systems import SYSTEMS, YOLOS
from tests.train.test_together import assert_same
from tests.train.together import outcome, train_together

NAMES = [name for name in SYSTEMS if name.startswith(("detection", "segmentation", "sounds"))]
ALIKE = "detection, all alike"
"""Every box is as probable: in which order they count decides."""
TAUGHT = [name for name in NAMES if SYSTEMS[name].teacher is not None]


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TrainConfig]:
    """Detectors begin with a guess that is right now and then: else AP is 0, whoever counts."""
    folder = tmp_path_factory.mktemp("weights")
    norm = Normalisation(mean=(0.0,), std=(1.0,))
    model = build(YOLOS, 10, channels=1, norm=norm, seed=0)
    side = few.SQUARE / SIDE
    with torch.no_grad():
        model.vit.head["boxes"][4].bias.copy_(torch.tensor([0.5, 0.5, side, side]).logit())
        model.vit.head["classes"][4].bias[few.LABEL] += 3
    starts = [Weights(file=str(folder / f"{at}.safetensors")) for at in range(2)]
    save_model(model, Path(str(starts[0].file)))
    with torch.no_grad():
        model.vit.head["classes"][4].weight.zero_()
    save_model(model, Path(str(starts[1].file)))
    guessing = {
        name: replace(SYSTEMS[name], student=replace(SYSTEMS[name].student, weights=starts[0]))
        for name in NAMES
        if name.startswith("detection")
    }
    alike = replace(
        SYSTEMS["detection"],
        student=replace(YOLOS, weights=starts[1]),
        recipe=replace(SYSTEMS["detection"].recipe, lr=1e-30),
    )
    return {**{name: guessing.get(name, SYSTEMS[name]) for name in NAMES}, ALIKE: alike}


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
    every = [(trainings[name], None) for name in (*trainings, *TAUGHT)]
    pipelines = [None] * len(trainings) + [2] * len(TAUGHT)
    found = train_together(every, folder, 2, pipelines, prepare=few.install)
    shared, piped = found[: len(trainings)], found[len(trainings) :]
    return Together(
        dict(zip(trainings, shared, strict=True)), dict(zip(TAUGHT, piped, strict=True)), folder
    )


@pytest.mark.parametrize("name", [*NAMES, ALIKE])
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
        for folder in (tmp_path / "alone", together.folder / f"{[*trainings].index(name)}-0")
    )
    # not the weights: Adam takes a whole step along a gradient that is rounding alone
    means = [  # of the gradients
        {number: state.get("exp_avg", state.get("momentum_buffer")) for number, state in some}
        for some in (found["optimizer"]["state"].items() for found in (one, two))
    ]
    assert means[0]
    torch.testing.assert_close(means[1], means[0], rtol=1e-3, atol=1e-5)
