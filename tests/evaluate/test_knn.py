"""Votes against a loop in float64; features of networks; features that tell collapse."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from harness.errors import RunFailed
from harness.evaluate import knn
from harness.evaluate.features import LabelledFeatures, extract, pixels, spread
from harness.evaluate.knn import few_shot_accuracy, knn_accuracy, knn_metrics
from harness.models.config import ModelConfig
from tests.models.networks import build


def features(count: int, seed: int, classes: int = 5) -> LabelledFeatures:
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=draws)
    points = torch.randn(count, 8, generator=draws) + torch.eye(8)[labels]
    return LabelledFeatures(functional.normalize(points, dim=1), labels)


def loop(bank: LabelledFeatures, queries: LabelledFeatures, k: int) -> float:
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


@pytest.mark.parametrize(
    ("images", "starts"),
    [
        (1, [0, 5, 10, 15, 20]),
        (5, [0, 5, 10, 15, 20]),
        (10, [0, 10, 20, 30, 40]),
        (20, [0, 20, 40, 60, 80]),
    ],
)
def test_few_shot_is_the_mean_of_five_fixed_banks(images: int, starts: list[int]) -> None:
    bank, queries = features(700, 0), features(60, 1)
    assert min(torch.bincount(bank.labels).tolist()) >= 100
    accuracies = []
    for start in starts:
        chosen = [
            at
            for label in range(5)
            for at in [i for i, one in enumerate(bank.labels.tolist()) if one == label][
                start : start + images
            ]
        ]
        few = LabelledFeatures(bank.features[chosen], bank.labels[chosen])
        accuracies.append(loop(few, queries, 1 if images == 1 else 20))
    assert len(set(accuracies)) > 1, "every bank votes the same: the starts prove nothing"
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


def test_a_bank_larger_than_one_chunk_gives_the_same_votes(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, queries = features(150, 0), features(73, 1)
    whole = knn_accuracy(bank, queries, ks=(10,), classes=5)
    monkeypatch.setattr(knn, "SIMILARITIES", 7 * 150)  # 7 queries at a time, 3 in the last chunk
    assert knn_accuracy(bank, queries, ks=(10,), classes=5) == whole


def test_metrics_are_named_for_their_protocol() -> None:
    found, right = knn_metrics(features(400, 0), features(60, 1), classes=5)
    assert {name: 100 * hits.double().mean().item() for name, hits in right.items()} == {
        name: pytest.approx(found[name]) for name in found if "nu" not in name
    }
    assert sorted(found) == sorted(
        [f"val/knn{k}_top1" for k in (10, 20, 100, 200)]
        + [f"val/knn_nu{images}_top1" for images in (1, 5, 10)]  # 20 a class: starts reach 80
    )
    assert found["val/knn20_top1"] == pytest.approx(loop(features(400, 0), features(60, 1), 20))


@pytest.mark.parametrize("arch", ["deit_tiny_patch16_224", "deit_small_distilled_patch16_224"])
def test_features_are_what_the_classifier_reads(arch: str) -> None:
    config = ModelConfig(arch=arch, image_size=32, depth=2)
    model = build(config, seed=0).train()
    images = torch.randn(5, 3, 32, 32)
    found = extract(model, [(images[:3], torch.arange(3)), (images[3:], torch.arange(3, 5))])
    assert model.training
    with torch.no_grad():
        expected = model.eval().vit.forward_features(images)[:, 0]
    assert torch.allclose(found.features, functional.normalize(expected, dim=1), atol=1e-6)
    assert found.labels.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("scale", [1e30, float("nan")])
def test_features_that_are_not_finite_are_told_of_their_network(scale: float) -> None:
    """A length of 1e30 is beyond fp32, whatever the numbers: features would all be 0."""
    model = build(ModelConfig(arch="deit_tiny_patch16_224", image_size=32, depth=2))
    with torch.no_grad():
        model.vit.norm.weight *= scale
    images, labels = torch.randn(2, 3, 32, 32), torch.arange(2)
    with pytest.raises(RunFailed, match="started from random weights, computes features that"):
        extract(model, [(images, labels), (images, labels)])


def test_pixels_are_compared_by_their_angle() -> None:
    images = torch.tensor([[3.0, 4.0], [0.0, -2.0]]).view(2, 1, 1, 2)
    found = pixels([(images, torch.tensor([4, 2]))])
    assert torch.allclose(found.features, torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    assert found.labels.tolist() == [4, 2]
