"""Classifiers of ImageNet-1k on other images, against Pillow and the network's logits by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data import DATASETS
from harness.data.config import DataConfig
from harness.data.dataset import IMAGENET_MEAN, IMAGENET_STD
from harness.data.sets.imagenet_shifts import ShiftedImageNet, synsets
from harness.data.tree import Directory
from harness.errors import HarnessError, SpecError, WeightsError
from harness.methods.mae import Mae
from harness.methods.supervised import Supervised
from harness.methods.untrained import Pixels, Untrained
from harness.models.build import ARTIFACT, save_model
from harness.models.config import ModelConfig, Weights
from harness.models.vit import Normalisation
from harness.spec.expand import expand
from harness.spec.read import read_table
from harness.tasks.shifts import OnImageNetR
from harness.train.config import Recipe, TrainConfig
from tests.data.conftest import write_images
from tests.models.networks import build
from tests.models.test_vit import published
from tests.train.test_loop import Context

SIDE = 16
VIT = ModelConfig(arch="vit", image_size=SIDE, patch_size=8, width=16, depth=2, heads=2)
PRESENT = {"n01440764": 5, "n01443537": 4, "n15075141": 6}
ROW = TrainConfig(
    data=DataConfig(name="imagenet-1k"),
    student=replace(VIT, weights=Weights(run="it")),
    method=Supervised(),
    recipe=Recipe(epochs=1, batch_size=8, lr=1e-3, eval_crop=1.0),
)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's, of three classes."""
    few = ShiftedImageNet(
        "imagenet-r", "few", images=15, present=3, folders="<synset>/*", licence="none"
    )
    monkeypatch.setitem(DATASETS._items, "imagenet-r", few)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path))
    write_images(tmp_path / "imagenet-r", PRESENT, size=(SIDE, SIDE))
    return tmp_path / "imagenet-r"


def test_classes_that_the_set_lacks_are_no_answer(copy: Path, tmp_path: Path) -> None:
    context = Context(tmp_path / "run")
    seen = Normalisation(mean=IMAGENET_MEAN, std=IMAGENET_STD)
    model = build(VIT, 1000, norm=seen, seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.vit.head.bias[5] = 1e3  # a class that is not there would win every time
    folder = tmp_path / "it"
    folder.mkdir()
    save_model(model, folder / ARTIFACT)
    run = OnImageNetR.of(ROW)
    assert run is not None
    context.dependencies = {"it": folder}
    with patch.object(Directory, "listing", autospec=True, side_effect=Directory.listing) as listed:
        found = run.execute(context)
    assert listed.call_count == 1, "an archive of a network's disk takes a while to list"

    labels = {name: synsets().index(name) for name in PRESENT}
    answers = sorted(labels.values())
    hits = 0
    model.eval()
    for name, label in labels.items():
        for file in sorted((copy / name).iterdir()):
            pixels = np.asarray(Image.open(file), dtype=np.float32) / 255
            normed = (pixels - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
            image = torch.tensor(normed.transpose(2, 0, 1)[None], dtype=torch.float32)
            with torch.no_grad():
                logits = model.vit(image)[0]
            assert logits.argmax() == 5
            hits += answers[int(logits[answers].argmax())] == label
    assert 0 < hits < 15, "a test that tells something"
    assert found == {"val/top1": pytest.approx(100 * hits / 15)}
    assert found.keys() == OnImageNetR.metrics()


def test_it_asks_networks_that_learned_imagenet(copy: Path) -> None:
    assert OnImageNetR.of(replace(ROW, method=Pixels())) is None
    for other, what in (
        ({"data": DataConfig(name="mini-imagenet")}, "learns mini-imagenet"),
        ({"method": Mae()}, "learns imagenet-1k without labels"),
    ):
        row = replace(ROW, **other)  # type: ignore[arg-type]
        with pytest.raises(HarnessError, match=what):
            OnImageNetR.of(row)


def test_one_run_serves_all_seeds_of_public_weights(copy: Path) -> None:
    row = replace(ROW, student=replace(VIT, weights=Weights(file="model.safetensors")))
    runs = {OnImageNetR.of(replace(row, seed=seed)) for seed in (0, 1, 2)}
    assert len(runs) == 1


def test_a_classifier_of_the_hub_for_other_classes_is_refused(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """timm draws a new one without a word: its answers would be those of chance."""
    hub = published(tmp_path / "hub", monkeypatch)  # which tells 7 classes apart
    row = replace(ROW, student=ModelConfig(arch="deit_tiny_patch16_224", weights=hub))
    run = OnImageNetR.of(replace(row, method=Untrained()))
    assert run is not None
    with pytest.raises(WeightsError, match=r"the student's weights .* tell 7 classes apart"):
        run.execute(Context(tmp_path / "run"))


SPEC = """
paper: {title: T}
columns:
  r: {from: imagenet-r, metric: val/top1}
  entropy: {from: attention, metric: attention/entropy}
seeds: [0]
base: {data: {name: imagenet-1k}, recipe: {epochs: 1, batch_size: 8, lr: 1e-3}, method: untrained}
rows:
  - {id: random, label: Random, set: {student: {arch: vit_small_patch16_224}}}
  - {id: mae, label: MAE, set: {student: {arch: vit_small_patch16_224}, method: mae}}
  - {id: it, label: It, set: {student: {arch: vit_small_patch16_224, weights: %s}}}
profiles:
  all: {description: every row}
"""


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ('{hub: "vit_small_patch16_224.augreg_in1k"}', None),
        ('{hub: "vit_small_patch16_224.augreg_in1k", head: new}', "`head: new` is a classifier of"),
        ('{hub: "vit_small_patch16_224.augreg_in21k"}', "tell 21,843 other classes apart"),
        ('{run: "#mae"}', "learns without labels: its classifier is random"),
    ],
)
def test_a_row_that_trains_nothing_has_a_classifier_of_its_own(
    copy: Path, tmp_path: Path, weights: str, why: str | None
) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(SPEC % weights)
    table = read_table(str(path))[0]
    assert expand(table, "all", rows="random,it", tasks=["attention"]).runs
    if why is None:
        assert len(expand(table, "all", rows="random,it", tasks=["imagenet-r"]).runs) == 2
        return
    with pytest.raises(SpecError) as caught:
        expand(table, "all", rows="random,it", tasks=["imagenet-r"])
    (problem,) = [one for one in caught.value.problems if "row 'it'" in one.what]
    assert why in problem.what
    assert "imagenet-r: asks the row's classifier" in problem.what
