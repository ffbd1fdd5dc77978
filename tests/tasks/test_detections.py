"""What a detector leaves for the table and for the report, and how that is drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.evaluate import average_precision
from harness.evaluate.average_precision import predictions
from harness.evaluate.box_pictures import LEAST, PICTURES, drawn_boxes
from harness.models.config import ModelConfig, Weights
from harness.models.vit import VisionTransformer
from harness.report.figures.boxes import ImagesWithBoxes, _iou
from harness.tasks.detections import DetectionsRun
from harness.train.loop import train
from tests.models.networks import build
from tests.train import few
from tests.train.systems import SYSTEMS
from tests.train.test_loop import Context

TRUTH = torch.tensor([[[1, 0.5, 0.25, 0.5, 0.5, 0], [-1, 0, 0, 0, 0, 0]]])


@pytest.fixture
def network() -> VisionTransformer:
    """That is sure of something: class 1 in every place."""
    config = ModelConfig(
        arch="yolos", image_size=16, patch_size=8, width=8, depth=1, heads=2, detection_tokens=3
    )
    model = build(config, 2, channels=1, seed=0)
    with torch.no_grad():
        model.vit.head["classes"][4].bias += torch.tensor([0.0, 5.0, 0.0])
    return model.eval()


def test_pictures_hold_true_and_found_boxes(network: VisionTransformer, tmp_path: Path) -> None:
    images = torch.randn(PICTURES + 2, 1, 16, 16)
    truth = TRUTH.expand(len(images), -1, -1)
    drawn = drawn_boxes(network, [(images, images * 255, truth)])
    assert len(drawn["pictures"]) == PICTURES
    found = predictions(network, images)
    assert (found[:, :, 0] == 1).all()
    assert (found[:, :, 5] > LEAST).all()
    for picture, rows in zip(drawn["pictures"], found, strict=False):
        assert picture["truth"] == [[1, 0.25, 0.0, 0.5, 0.5]]
        assert len(picture["found"]) == 3
        for box, (label, x, y, wide, tall, score) in zip(picture["found"], rows, strict=True):
            expected = [label, x - wide / 2, y - tall / 2, wide, tall, score]
            assert box == pytest.approx([float(value) for value in expected])
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(drawn))
    read = ImagesWithBoxes.read(path)
    assert [len(one.found) for one in read] == [3] * PICTURES


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"png": "bm90IGEgcG5n"}, "no PNG"),
        ({"truth": [[1, 0.2, 0.3, 0.1]]}, "not 5 finite numbers"),
        ({"found": [[1, 0.2, 0.3, 0.1, 0.1, float("nan")]]}, "not 6 finite numbers"),
    ],
)
def test_damaged_pictures_are_said(
    network: VisionTransformer, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    images = torch.randn(1, 1, 16, 16)
    drawn = drawn_boxes(network, [(images, images, TRUTH)])
    drawn["pictures"][0].update(change)
    path = tmp_path / "detections.json"
    path.write_text(json.dumps(drawn))
    with pytest.raises(ValueError, match=words):
        ImagesWithBoxes.read(path)


def test_overlap_of_boxes() -> None:
    """Two squares that share a quarter of either."""
    one, other = (0, 0.0, 0.0, 0.4, 0.4), (0, 0.2, 0.2, 0.4, 0.4)
    assert _iou(one, other) == pytest.approx(0.04 / 0.28)
    assert _iou(one, (0, 0.5, 0.5, 0.1, 0.1)) == 0


class Told(Context):
    """Keeps what it is told of progress."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.told: list[tuple[int, int, str]] = []

    def progress(self, done: int, total: int, unit: str = "step") -> None:
        """Kept."""
        self.told.append((done, total, unit))


def test_the_task_finds_what_its_training_found_in_batches_of_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few.install(monkeypatch)
    looked: list[int] = []
    forward = average_precision.predictions

    def counted(model: VisionTransformer, images: torch.Tensor) -> torch.Tensor:
        looked.append(len(images))
        return forward(model, images)

    monkeypatch.setattr(average_precision, "predictions", counted)
    training = replace(SYSTEMS["detection"], recipe=replace(SYSTEMS["detection"].recipe, epochs=1))
    before, after = Context(tmp_path / "before"), Told(tmp_path / "after")
    result = train(training, before)
    assert looked == [3] * 6 + [2]
    student = replace(training.student, weights=Weights(run="it"))
    run = DetectionsRun.of(replace(training, student=student))
    assert run is not None
    after.dependencies = {"it": before.directory}
    found = run.execute(after)
    assert looked[7:] == looked[:7]
    assert found == {f"detections/{name}": result[f"val/{name}"] for name in ("ap", "ap50", "ap75")}
    assert after.told[-1] == (few.VAL, few.VAL, "image")
    assert {total for _, total, _ in after.told} == {few.VAL}
