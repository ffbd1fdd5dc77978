"""How random weights are drawn: timm's way, or in proportion to the width."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from harness.errors import FieldError
from harness.models.config import ModelConfig
from harness.models.vit import VisionTransformer
from harness.spec.identity import identity_form
from tests.models.networks import build

VIT = ModelConfig(arch="vit", image_size=28, patch_size=7, width=64, depth=2, heads=2)


def built(config: ModelConfig, seed: int = 1) -> VisionTransformer:
    return build(config, 10, channels=1, seed=seed)


@pytest.mark.parametrize(
    ("layer", "inputs", "outputs"),
    [("attn.qkv", 64, 64), ("attn.proj", 64, 64), ("mlp.fc1", 64, 256), ("mlp.fc2", 256, 64)],
)
def test_moco_is_xavier_uniform_with_queries_keys_and_values_apart(
    layer: str, inputs: int, outputs: int
) -> None:
    bound = math.sqrt(6 / (inputs + outputs))
    weight = built(replace(VIT, init="moco")).vit.blocks[1].get_submodule(layer).weight.detach()
    assert 0.99 * bound < float(weight.abs().max()) <= bound
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.03)
    small = built(VIT).vit.blocks[1].get_submodule(layer).weight.detach()
    assert float(small.std()) == pytest.approx(0.02, rel=0.03)


def test_moco_tells_positions_by_sines_and_cosines() -> None:
    found = built(replace(VIT, init="moco")).vit.pos_embed.detach()
    assert found.shape == (1, 1 + 16, 64)
    assert not found[0, 0].any()
    for row, column in ((0, 0), (1, 2), (3, 1)):
        angles = [place / 10000 ** (k / 16) for place in (row, column) for k in range(16)]
        wanted = sorted([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
        own = found[0, 1 + 4 * row + column]
        assert torch.allclose(own.sort().values, torch.tensor(wanted), atol=1e-6)
    assert len({tuple(place.tolist()) for place in found[0]}) == 17


def test_dino_differs_from_timm_in_the_class_token_alone() -> None:
    """torch's truncated normal 0.02 is cut at 2, a hundred standard deviations away."""
    wide = replace(VIT, width=512, heads=8)
    timms, dinos = built(wide).vit, built(replace(wide, init="dino")).vit
    assert float(timms.cls_token.detach().std()) < 2e-6
    assert float(dinos.cls_token.detach().std()) == pytest.approx(0.02, rel=0.1)
    rest = dict(dinos.named_parameters())
    same = [name for name, value in timms.named_parameters() if torch.equal(value, rest[name])]
    assert same == [name for name in rest if name != "cls_token"]


def test_networks_that_are_no_plain_vit_have_one_way() -> None:
    with pytest.raises(FieldError, match="must be timm: 'cait_s24_224' is no plain ViT; got moco"):
        ModelConfig(arch="cait_s24_224", init="moco")
    with pytest.raises(FieldError, match=r"moco needs a width that 4 divides.*; got 6"):
        replace(VIT, width=6, init="moco")


def test_the_way_is_identity_but_costs_are_shared() -> None:
    assert "init" not in identity_form(VIT)
    assert identity_form(replace(VIT, init="moco"))["init"] == "moco"
    assert identity_form(replace(VIT, init="dino"))["init"] == "dino"
    assert (
        replace(VIT, init="moco").cost_config(1)
        == replace(VIT, init="dino").cost_config(1)
        == VIT.cost_config(1)
    )
