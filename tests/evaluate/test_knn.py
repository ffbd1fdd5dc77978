"""Votes against a loop in float64; features that tell collapse; the run kind in a plan."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from harness.evaluate.features import Features, spread
from harness.evaluate.knn import FEW_SHOT_STARTS, few_shot_accuracy, knn_accuracy
from harness.spec.expand import expand
from harness.spec.load import load_table
from tests.conftest import TINY_VIT, Experiments


def features(count: int, seed: int, classes: int = 5) -> Features:
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=draws)
    points = torch.randn(count, 8, generator=draws) + torch.eye(8)[labels]
    return Features(functional.normalize(points, dim=1), labels)


def loop(bank: Features, queries: Features, k: int) -> float:
    hits = 0
    for query, label in zip(queries.features.double(), queries.labels.tolist(), strict=True):
        cosines = (bank.features.double() @ query).tolist()
        best = sorted(range(len(cosines)), key=lambda at: -cosines[at])[:k]
        votes = dict.fromkeys(range(5), 0.0)
        for at in best:
            votes[int(bank.labels[at])] += math.exp(cosines[at] / 0.07)
        hits += max(votes, key=lambda name: votes[name]) == label
    return 100 * hits / len(queries.labels)


def test_votes_equal_a_float64_loop() -> None:
    bank, queries = features(150, 0), features(73, 1)  # fewer queries than a chunk
    found = knn_accuracy(bank, queries, ks=(1, 10, 20, 200), classes=5)
    assert found == {k: pytest.approx(loop(bank, queries, k)) for k in (1, 10, 20)}


@pytest.mark.parametrize("images", [1, 5])
def test_few_shot_is_the_mean_of_five_fixed_banks(images: int) -> None:
    bank, queries = features(400, 0), features(60, 1)
    accuracies = []
    for start in FEW_SHOT_STARTS[images]:
        chosen = [
            at
            for label in range(5)
            for at in [i for i, one in enumerate(bank.labels.tolist()) if one == label][
                start : start + images
            ]
        ]
        few = Features(bank.features[chosen], bank.labels[chosen])
        accuracies.append(loop(few, queries, 1 if images == 1 else 20))
    found = few_shot_accuracy(bank, queries, images=images, classes=5)
    assert found == pytest.approx(sum(accuracies) / 5)


def test_few_shot_needs_enough_images_of_every_class() -> None:
    assert few_shot_accuracy(features(50, 0), features(9, 1), images=20, classes=5) is None


def test_spread_tells_collapse() -> None:
    same = torch.zeros(50, 4)
    same[:, 1] = 1
    assert spread(same)["features/std"] == 0
    axes = torch.cat([torch.eye(4), -torch.eye(4)])
    assert spread(axes) == pytest.approx({"features/std": 1.0, "features/rank": 4.0})


def test_a_column_of_knn_brings_its_training_run_along(experiments: Experiments) -> None:
    experiments.table(
        "self/tiny",
        f"""
        paper: {{title: A table}}
        columns:
          knn: {{from: knn, metric: knn-k20-t0.07/top1}}
        base:
          recipe: light
          data: {{name: fashion-mnist, train_fraction: 0.05}}
          student: {{{TINY_VIT}}}
          method: {{name: dino, crops: {{local_size: 14}}}}
        rows:
          - {{id: dino}}
        profiles:
          cpu: {{says: small, seeds: [0, 1]}}
        """,
    )
    runs = expand(load_table("self/tiny"), "cpu").runs
    assert [run.kind for run in runs] == ["train", "knn", "train", "knn"]
    assert runs[1].depends == (runs[0].identity,)
    assert runs[1].plain["data"]["train_fraction"] == 1
