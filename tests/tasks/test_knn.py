"""The task `knn`: what a spec gets, and its numbers against timm and a loop in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data import fingerprint
from harness.data.config import DataConfig
from harness.errors import Interrupted, SpecError
from harness.models.config import ModelConfig
from harness.seeding import stream
from harness.tasks.knn import KnnRun
from tests.conftest import TINY_VIT, Experiments
from tests.data.conftest import write_images
from tests.models.networks import build
from tests.tasks.pictures import TRAIN, runs_of, write_pictures
from tests.train.test_loop import Context

KNN = "knn: {from: knn, metric: val/knn20_top1}"
FASHION = "{name: fashion-mnist, train_fraction: 0.05}"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_a_column_of_knn_brings_its_training_run_along(experiments: Experiments) -> None:
    runs = runs_of(experiments, KNN, "- {id: labels}", FASHION)
    assert [run.task for run in runs] == ["train", "knn", "train", "knn"]
    assert runs[1].depends == (runs[0].identity,)
    assert runs[3].depends == (runs[2].identity,)
    assert runs[0].plain["train"]["data"]["train_fraction"] == 0.05
    assert runs[1].plain["data"]["train_fraction"] == 1  # the bank is the whole set


def test_rows_that_train_nothing_are_judged_as_they_are(experiments: Experiments) -> None:
    rows = """
          - {id: untrained, set: {method: untrained}}
          - {id: pixels, set: {method: pixels}}"""
    columns = f"acc: {{from: train, metric: val/top1}}\n          {KNN}"
    runs = runs_of(experiments, columns, rows, FASHION)
    assert [(run.task, run.title.row, run.title.seed) for run in runs] == [
        ("knn", "untrained", 0),
        ("knn", "untrained", 1),
        ("knn", "pixels", 0),  # one run serves all seeds
    ]
    assert all(run.depends == () for run in runs)
    assert runs[0].config.macs() > 60_000 * 1000


def test_other_rows_cannot_start_from_one_that_trains_nothing(experiments: Experiments) -> None:
    rows = f"""
          - {{id: untrained, set: {{method: untrained}}}}
          - {{id: more, set: {{student: {{{TINY_VIT}, weights: {{run: '#untrained'}}}}}}}}"""
    with pytest.raises(SpecError, match="row 'untrained' of judged/tiny trains nothing"):
        runs_of(experiments, KNN, rows, FASHION)


@pytest.fixture
def run(tmp_path: Path) -> KnnRun:
    root = write_pictures(tmp_path / "pictures")
    model = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=2, heads=2)
    data = DataConfig(name="folder", path=str(root))
    return KnnRun(model=model, data=data, eval_crop=1.0, seed=3)


def reference(run: KnnRun, split: str, count: int) -> tuple[torch.Tensor, list[int]]:
    """Features in float64 through timm's own forward, of pictures read one by one."""
    assert run.model is not None
    model = build(run.model, 3, seed=stream(run.seed, "init"))
    timms = model.vit.double().eval()
    features, labels = [], []
    for label in range(3):
        for number in range(count):
            path = Path(str(run.data.path)) / split / f"class{label}" / f"{number:02}.png"
            pixels = (np.asarray(Image.open(path)) / 255 - MEAN) / STD
            with torch.no_grad():
                found = timms.forward_features(torch.tensor(pixels.transpose(2, 0, 1))[None])
            features.append(found[0, 0] / found[0, 0].norm())
            labels.append(label)
    return torch.stack(features), labels


def test_a_result_is_not_kept_where_images_have_changed(run: KnnRun, tmp_path: Path) -> None:
    context = Context(tmp_path / "run")
    replace(run, data=replace(run.data, version=fingerprint(run.data))).execute(context)
    (why_not,) = context.doubts
    assert why_not() is None
    Image.new("RGB", (28, 28)).save(tmp_path / "pictures/train/class0/00.png")
    assert "pictures: the images changed while the run read them" in str(why_not())


def test_the_whole_run_equals_timm_and_a_loop_in_float64(run: KnnRun, tmp_path: Path) -> None:
    found = run.execute(Context(tmp_path / "run"))
    assert found.keys() <= run.metrics()
    bank, known = reference(run, "train", TRAIN)
    queries, asked = reference(run, "val", 6)
    hits = 0
    for query, label in zip(queries, asked, strict=True):
        cosines = (bank @ query).tolist()
        votes = [0.0] * 3
        for at in sorted(range(len(cosines)), key=lambda at: -cosines[at])[:20]:
            votes[known[at]] += math.exp(cosines[at] / 0.07)
        hits += votes.index(max(votes)) == label
    assert found["val/knn20_top1"] == pytest.approx(100 * hits / 18)
    assert 100 / 3 < found["val/knn20_top1"] < 100  # neither chance nor a set that proves nothing
    assert sorted(found) == sorted(
        [f"val/knn{name}_top1" for name in ("10", "20", "_nu1", "_nu5")]  # of 75 pictures
        + ["features/std", "features/rank"]
    )
    centred = queries - queries.mean(0)
    assert found["features/std"] == pytest.approx(
        math.sqrt(float(centred.square().sum(1).mean())), rel=1e-4
    )


def test_a_stop_signal_ends_it_between_batches(run: KnnRun, tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="at image 75 of 93"):
        run.execute(Context(tmp_path / "run", stop_at=75))


@pytest.mark.parametrize(
    ("column", "row"),
    [
        ("acc: {from: train, metric: val/top1}", "method: supervised"),
        (KNN, "method: untrained"),
        (
            "linear: {from: linear, metric: val/linear_best_top1}",
            "method: untrained, probe: {blocks: 1}",
        ),
        (
            "tuned: {from: finetune, metric: val/top1}",
            "method: untrained, finetune: {recipe: light}",
        ),
    ],
)
def test_one_class_judges_nothing(experiments: Experiments, column: str, row: str) -> None:
    """But features can be looked at."""
    write_images(experiments.root / "plain", {"train/all": 64, "val/all": 2})
    data = "{name: folder, path: plain}"
    with pytest.raises(SpecError, match=r"all images of .*folder are of one class, so no"):
        runs_of(experiments, column, f"- {{id: it, set: {{{row}}}}}", data)
    spread = "spread: {from: knn, metric: features/std}"
    assert runs_of(experiments, spread, "- {id: it, set: {method: untrained}}", data)


def test_pixels_of_a_set_on_disk_are_no_row(experiments: Experiments) -> None:
    write_pictures(experiments.root / "pictures")
    rows = "- {id: pixels, set: {method: pixels}}"
    assert runs_of(experiments, KNN, rows, "{name: folder, path: pictures}") == []
