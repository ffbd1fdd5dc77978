"""The task `layers`: against numpy and timm's own modules in float64."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.data.config import DataConfig
from harness.errors import RunFailed
from harness.evaluate.layers import distances, look_into_layers
from harness.tasks.layers import LayersRun
from tests.methods.test_dino import network
from tests.tasks.pictures import write_pictures
from tests.tasks.test_attention import VIT
from tests.train.test_loop import Context


def test_distances_are_those_of_a_grid() -> None:
    found = distances(2, 3)
    for one in range(6):
        for other in range(6):
            rows, columns = one // 3 - other // 3, one % 3 - other % 3
            assert float(found[one, other]) == pytest.approx(math.hypot(rows, columns), abs=1e-6)


def test_features_that_are_not_finite_are_told_of_their_network() -> None:
    model = network().eval()
    with torch.no_grad():
        model.vit.norm.weight *= float("inf")
    with pytest.raises(RunFailed, match="started from random weights, computes features that"):
        look_into_layers(model, [(torch.randn(7, 1, 16, 16), torch.zeros(7))])


def test_numbers_and_curves_equal_float64() -> None:
    model, draws = network().eval(), torch.Generator().manual_seed(4)
    images = torch.randn(7, 1, 16, 16, generator=draws)
    batches = [(images[:4], torch.zeros(4)), (images[4:], torch.zeros(3))]
    metrics, curves = look_into_layers(model, batches)
    vit = network().vit.double().eval()
    apart = np.array(
        [[math.dist((i // 4, i % 4), (j // 4, j % 4)) for j in range(16)] for i in range(16)]
    )
    with torch.no_grad():
        tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(images.double())))
        for number, block in enumerate(vit.blocks):
            parts = block.attn.qkv(block.norm1(tokens)).reshape(7, 17, 3, 4, 8)
            query, key, _ = parts.permute(2, 0, 3, 1, 4).unbind(0)
            weights = (query @ key.transpose(2, 3) / math.sqrt(8)).softmax(dim=-1)
            own = weights[:, :, 1:, 1:].numpy()
            own = own / own.sum(axis=-1, keepdims=True)
            far = (own * apart).sum(axis=-1).mean(axis=(0, 2))
            nats = -(own * np.log(own)).sum(axis=-1).mean(axis=(0, 2))
            np.testing.assert_allclose(curves["distance"][number], far, rtol=1e-5)
            np.testing.assert_allclose(curves["entropy"][number], nats, rtol=1e-5)
            tokens = block(tokens)
        features = vit.norm(tokens)[:, 1:].mean(dim=1).numpy()
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(curves["spectrum"][:6], (values / values[0])[:6], rtol=1e-4)
    shares = values**2 / (values**2).sum()
    rank = math.exp(-sum(share * math.log(share) for share in shares if share > 1e-20))
    assert metrics["layers/rank"] == pytest.approx(rank, rel=1e-4)
    assert metrics["layers/distance_even"] == pytest.approx(apart.mean(), rel=1e-6)
    assert metrics["layers/distance_first"] == pytest.approx(np.mean(curves["distance"][0]))
    assert metrics["layers/distance_last"] == pytest.approx(np.mean(curves["distance"][2]))


def test_a_run_leaves_its_curves(tmp_path: Path) -> None:
    data = DataConfig(name="folder", path=str(write_pictures(tmp_path / "pictures")))
    run = LayersRun(model=VIT, data=data, eval_crop=1.0, seed=0)
    assert run.execute(Context(tmp_path / "run")).keys() == run.metrics()
    curves = json.loads((tmp_path / "run" / "layers.json").read_text())
    assert np.shape(curves["distance"]) == np.shape(curves["entropy"]) == (2, 2)
    assert len(curves["spectrum"]) == 16
