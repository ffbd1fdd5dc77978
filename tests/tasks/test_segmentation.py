"""A Segmenter trained, judged and looked at: the loop, the task `segmentation`, the figure."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from harness.data import DATASETS, open_dataset
from harness.data.config import DataConfig
from harness.data.dataset import Arrays, Splits
from harness.methods.distillation import Distillation, Mask
from harness.methods.losses.manifold import Manifold
from harness.methods.supervised import Supervised
from harness.models.config import ModelConfig, Weights
from harness.report.figures.masks import Masks, colour, coloured
from harness.tasks.segmentation import PICTURES, SegmentationRun
from harness.tasks.train import TrainRun
from harness.train.config import Augment, Recipe, TrainConfig
from harness.train.evaluation_data import open_evaluation_data
from harness.train.loop import train
from tests.train.test_loop import Context

STUDENT = ModelConfig(arch="segmenter", image_size=56, patch_size=14, width=16, depth=2, heads=2)


@pytest.fixture(autouse=True)
def few_canvases(fashion_mnist: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn in a moment."""
    canvases = DATASETS.get("canvases-masks")
    monkeypatch.setattr(canvases, "train_images", 48, raising=False)
    monkeypatch.setattr(canvases, "val_images", 24, raising=False)


def config(**more: object) -> TrainConfig:
    parts = {
        "data": DataConfig(name="canvases-masks"),
        "student": STUDENT,
        "teacher": replace(STUDENT, width=24),
        "method": Distillation(loss=Manifold(logit=0.0, group=8), mask=Mask(keep=12)),
        "recipe": Recipe(
            epochs=2, batch_size=16, lr=1e-3, augment=Augment(crop="scaled", scaled=(0.8, 1.2))
        ),
    }
    return TrainConfig(**{**parts, **more})  # type: ignore[arg-type]


def pixels(png: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        return np.asarray(image)


def test_micro_batches_change_rounding_only(tmp_path: Path) -> None:
    found = []
    for name, micro in (("whole", None), ("parts", 8)):
        context = Context(tmp_path / name, micro_batch=micro)
        result = train(config(), context)
        losses = [one["loss/total"] for one in context.metrics if "loss/total" in one]
        found.append([*losses, result["val/loss"]])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_what_the_task_shows_is_what_the_network_tells(tmp_path: Path) -> None:
    training = config(teacher=None, method=Supervised())
    before, after = Context(tmp_path / "before"), Context(tmp_path / "after")
    result = train(training, before)
    assert {"val/miou", "val/pixel_accuracy", "val/one_class_miou", "val/loss"} == set(result)
    assert set(result) <= TrainRun.metrics()
    student = replace(training.student, weights=Weights(run="it"))
    run = SegmentationRun.of(replace(training, student=student))
    assert run is not None
    after.dependencies = {"it": before.directory}
    metrics = run.execute(after)
    assert metrics.keys() == run.metrics()
    for name in ("miou", "pixel_accuracy", "one_class_miou"):
        assert metrics[f"masks/{name}"] == result[f"val/{name}"]

    pictures = json.loads((tmp_path / "after" / PICTURES).read_text())["pictures"]
    val = open_dataset(run.data).load().val
    assert isinstance(val, Arrays)
    assert val.targets is not None
    data = open_evaluation_data(run.data, image_size=56, eval_crop=1.0, seed=0, context=after)
    network = data.network(run.model, seed=0)
    for number, picture in enumerate(pictures):
        assert np.array_equal(pixels(picture["image"]), val.images[number, 0])
        assert np.array_equal(pixels(picture["truth"]), val.targets[number])
        image = (val.images[number] / 255 - data.module.mean[0]) / data.module.std[0]
        with torch.no_grad():
            scores = network(torch.tensor(image).float()[None]).logits[0].reshape(11, 4, 4)
        told = torch.nn.functional.interpolate(scores[None], (56, 56), mode="bilinear")
        same = pixels(picture["guess"]) == told[0].argmax(dim=0).numpy()
        assert same.mean() > 0.999  # but for ties that rounding decides
    shares = [(val.targets[number] == 0).mean() for number in range(24)]
    every = {int(label) for number in range(24) for label in np.unique(val.targets[number])}
    expected = 100 * float(np.mean(shares)) / len(every)
    assert metrics["masks/one_class_miou"] == pytest.approx(expected)
    read = Masks.read(tmp_path / "after" / PICTURES)
    assert len(read) == len(pictures) == 8


def test_no_two_classes_share_a_colour_and_what_is_unknown_is_white() -> None:
    assert len({colour(number) for number in range(150)}) == 150
    assert coloured(np.array([[0, 255]], np.uint8)).tolist() == [[[33, 33, 33], [255, 255, 255]]]


def test_a_damaged_file_of_pictures_is_told(tmp_path: Path) -> None:
    path = tmp_path / PICTURES
    for content in (b"[]", b"{", b'{"pictures": [{"image": "AAAA", "truth": "", "guess": ""}]}'):
        path.write_bytes(content)
        with pytest.raises((ValueError, TypeError, KeyError)):
            Masks.read(path)
