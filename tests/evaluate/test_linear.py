"""Classifiers trained side by side against torch's own, one by one; features against timm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from harness.evaluate.linear import LinearHeads
from harness.models.config import ModelConfig
from tests.models.networks import build

RATES = (0.05, 0.5, 2.0)


def heads(classes: int = 4) -> LinearHeads:
    return LinearHeads(
        RATES,
        width=6,
        classes=classes,
        generator=torch.Generator().manual_seed(0),
        device=torch.device("cpu"),
    )


def test_each_equals_sgd_with_momentum_in_float64() -> None:
    found = heads()
    start = found.weight[0].double().clone()
    assert 0.005 < float(start.std()) < 0.02
    draws = torch.Generator().manual_seed(1)
    batches = [
        (torch.randn(10, 6, generator=draws), torch.randint(4, (10,), generator=draws))
        for _ in range(12)
    ]
    shares = [1.0] * 6 + [0.3] * 6
    for (features, labels), share in zip(batches, shares, strict=True):
        found.step(features, labels, share)
    for index, rate in enumerate(RATES):
        layer = nn.Linear(6, 4).double()
        with torch.no_grad():
            layer.weight.copy_(start.T)
            layer.bias.zero_()
        optimizer = torch.optim.SGD(layer.parameters(), lr=rate, momentum=0.9)
        for (features, labels), share in zip(batches, shares, strict=True):
            optimizer.param_groups[0]["lr"] = rate * share
            optimizer.zero_grad()
            nn.functional.cross_entropy(layer(features.double()), labels).backward()
            optimizer.step()
        assert torch.allclose(found.weight[index].double(), layer.weight.T, atol=1e-4)
        assert torch.allclose(found.bias[index, 0].double(), layer.bias, atol=1e-4)


def test_accuracy_counts_each_classifier_and_none_that_diverged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("harness.evaluate.linear.CHUNK", 3)
    found = heads(classes=2)
    found.weight.zero_()
    found.weight[0, 0, 0] = 1  # class 0 where the first feature is positive, else class 1
    found.weight[1, 0, 1] = 1  # the other way round
    found.weight[2] = torch.nan
    features = torch.zeros(8, 6)
    features[:, 0] = torch.tensor([1.0, 1, 1, 1, 1, -1, -1, -1])
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 0, 0])
    assert found.accuracy(features, labels) == [100 * 5 / 8, 100 * 3 / 8, 0.0]


@pytest.mark.parametrize("average", [False, True])
def test_features_are_the_last_class_tokens_as_timm_gives_them(average: bool) -> None:
    config = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=5, heads=2)
    model = build(config, 3, seed=0).eval()
    images = torch.randn(2, 3, 28, 28)
    layers = model.vit.get_intermediate_layers(images, n=3, norm=True, return_prefix_tokens=True)
    expected = [prefix[:, 0] for _, prefix in layers]
    if average:
        expected.append(layers[-1][0].mean(dim=1))
    found = model.probed_features(images, blocks=3, average=average)
    assert torch.allclose(found, torch.cat(expected, dim=1), atol=1e-5)
