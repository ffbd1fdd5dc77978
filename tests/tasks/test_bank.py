"""`bank: subset` of the tasks `knn` and `linear`: only what was trained on is looked up."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from harness.data.config import DataConfig
from harness.methods.supervised import Supervised
from harness.models.config import ModelConfig
from harness.tasks.knn import KnnRun
from harness.tasks.linear import LinearRun
from harness.train.config import Probe, Recipe, TrainConfig
from tests.conftest import Experiments
from tests.tasks.pictures import runs_of, write_pictures
from tests.tasks.test_knn import reference
from tests.train.test_loop import Context

VIT = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=2, heads=2)
TRAINED = 12  # of every class


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    path = write_pictures(tmp_path / "pictures")
    return DataConfig(name="folder", path=str(path), train_per_class=TRAINED)


def test_columns_of_both_banks_share_the_training_run(experiments: Experiments) -> None:
    columns = """knn: {from: knn, metric: val/knn20_top1}
          own: {from: {name: knn, bank: subset}, metric: val/knn20_top1}
          linear: {from: {name: linear, bank: subset}, metric: val/linear_best_top1}"""
    rows = "- {id: labels, set: {probe: {blocks: 1}}}"
    runs = runs_of(experiments, columns, rows, "{name: fashion-mnist, train_fraction: 0.05}")
    assert [run.task for run in runs[:3]] == ["train", "knn", "train"]
    banks = [
        (run.task, run.plain["data"]["train_fraction"])
        for run in runs
        if run.title.seed == 0 and run.task != "train"
    ]
    assert banks == [("knn", 1), ("knn", 0.05), ("linear", 0.05)]
    assert all(
        run.depends == (runs[0].identity,) for run in runs if run.title.seed == 0 and run.depends
    )


def test_only_what_was_trained_on_votes(data: DataConfig, tmp_path: Path) -> None:
    own = KnnRun(model=VIT, data=data, eval_crop=1.0, seed=3)
    found = own.execute(Context(tmp_path / "own"))
    votes_of_all = {name for name in found if name.startswith("val/knn") and "nu" not in name}
    assert votes_of_all == {"val/knn10_top1", "val/knn20_top1"}  # 36 images cannot give 100 votes
    whole = KnnRun(model=VIT, data=data.all_of_it(), eval_crop=1.0, seed=3)
    bank, known = reference(whole, "train", TRAINED)  # the first ones by file name
    queries, asked = reference(whole, "val", 6)
    for k in (10, 20):
        hits = 0
        for query, label in zip(queries, asked, strict=True):
            cosines = (bank @ query).tolist()
            votes = [0.0] * 3
            for at in sorted(range(len(cosines)), key=lambda at: -cosines[at])[:k]:
                votes[known[at]] += math.exp(cosines[at] / 0.07)
            hits += votes.index(max(votes)) == label
        assert found[f"val/knn{k}_top1"] == pytest.approx(100 * hits / 18)
    every = whole.execute(Context(tmp_path / "whole"))
    assert [every[f"val/knn{k}_top1"] for k in (10, 20)] != [
        found[f"val/knn{k}_top1"] for k in (10, 20)
    ]


def test_the_bank_is_what_the_column_says(data: DataConfig) -> None:
    probe = Probe(blocks=2, epochs=3, batch_size=30, rates=(0.05, 1.0), augment=False)
    trained = replace(
        TrainConfig(
            data=data,
            student=VIT,
            method=Supervised(),
            recipe=Recipe(epochs=1, batch_size=10, lr=1e-3),
        ),
        probe=probe,
    )
    for task in (KnnRun, LinearRun):
        every, subset = task.of(trained), task.of(trained, bank="subset")
        assert every is not None
        assert subset is not None
        assert every.data == data.all_of_it()
        assert subset == replace(every, data=data)
