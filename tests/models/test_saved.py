"""Equal networks are equal files, so that a checksum of a file tells about the network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from harness.models.build import save_model
from harness.models.config import ModelConfig
from harness.models.vit import VisionTransformer
from tests.models.networks import build

TINY = ModelConfig(arch="vit", image_size=28, patch_size=7, width=16, depth=1, heads=2)


@pytest.fixture
def network() -> VisionTransformer:
    """A tiny one."""
    return build(TINY, 3, seed=0)


def test_equal_networks_are_equal_files(network: VisionTransformer, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.safetensors" for number in range(12)]
    for path in files:
        save_model(network, path)
    assert len({path.read_bytes() for path in files}) == 1
    with safe_open(files[0], "pt") as opened:
        assert {"format", "mean", "std"} >= set(opened.metadata())
        assert set(opened.keys()) == set(network.vit.state_dict())
        for name, value in network.vit.state_dict().items():
            assert torch.equal(opened.get_tensor(name), value)
