"""LayerScale, registers and SwiGLU as options of a plain ViT, against timm's DINOv2 networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from harness.errors import FieldError
from harness.evaluate.flops import counted_macs
from harness.models.config import ModelConfig, Weights
from harness.models.cost import efficient_macs, published_macs
from harness.models.interface import ForwardRequest, Saliency
from harness.models.vit import VisionTransformer
from harness.spec.identity import identity_form
from tests.models.networks import build, shake

VIT = ModelConfig(arch="vit", image_size=56, patch_size=14, width=48, depth=3, heads=4)
TIMMS: dict[str, tuple[ModelConfig, str]] = {
    "layer scale": (replace(VIT, layer_scale=1e-5), "vit_small_patch14_dinov2"),
    "registers": (replace(VIT, layer_scale=1e-5, registers=4), "vit_small_patch14_reg4_dinov2"),
    "swiglu": (
        replace(VIT, layer_scale=1e-5, registers=4, mlp="swiglu"),
        "vit_giant_patch14_reg4_dinov2",
    ),
}


def built(config: ModelConfig, seed: int = 1) -> VisionTransformer:
    return build(config, seed=seed).eval()


def timms(name: str) -> Any:
    """timm's own, with weights far from their initial values."""
    torch.manual_seed(2)
    small = {"img_size": 56, "embed_dim": 48, "depth": 3, "num_heads": 4, "num_classes": 7}
    return shake(timm.create_model(name, pretrained=False, **small).eval())


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 56, 56, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=TIMMS)
def pair(request: pytest.FixtureRequest) -> tuple[VisionTransformer, Any]:
    """Ours with the weights of timm's, and timm's."""
    config, name = TIMMS[request.param]
    model, vit = built(config), timms(name)
    model.vit.load_state_dict(vit.state_dict())  # strict: the same names and shapes
    return model, vit


@pytest.mark.parametrize("efficient", [True, False])
def test_the_whole_image_equals_timms(pair: tuple[VisionTransformer, Any], efficient: bool) -> None:
    model, vit = pair
    found = model(images(), efficient=efficient).logits
    torch.testing.assert_close(found, vit(images()), rtol=1e-5, atol=1e-5)
    features = model.forward_features(images(), outputs=ForwardRequest(patches=True))
    torch.testing.assert_close(features.normed, vit.forward_features(images()))
    assert features.patches.shape == (3, 16, 48)


def test_kept_patches_equal_timms_blocks_on_those_alone(
    pair: tuple[VisionTransformer, Any],
) -> None:
    model, vit = pair
    keep = torch.stack([torch.randperm(16)[:7].sort().values for _ in range(3)])
    tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(images())))
    prefix = tokens[:, : vit.num_prefix_tokens]
    rows = keep.unsqueeze(2) + vit.num_prefix_tokens
    kept = torch.cat([prefix, tokens.gather(1, rows.expand(-1, -1, 48))], dim=1)
    expected = vit.forward_head(vit.norm(vit.blocks(kept)))
    for efficient in (True, False):
        found = model(images(), keep=keep, efficient=efficient).logits
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_saliency_is_of_the_patches_alone(pair: tuple[VisionTransformer, Any]) -> None:
    """The class token's row of the last block, head by head in float64, without registers."""
    model, vit = pair
    vit.double()
    tokens = vit.norm_pre(vit._pos_embed(vit.patch_embed(images().double())))
    tokens = vit.blocks[-1].norm1(vit.blocks[:-1](tokens))
    attention = vit.blocks[-1].attn
    query, key, _ = attention.qkv(tokens).chunk(3, dim=2)
    maps = [
        (q[:, :1] @ k.transpose(1, 2) / 12**0.5).softmax(dim=2)[:, 0, vit.num_prefix_tokens :]
        for q, k in zip(query.split(12, dim=2), key.split(12, dim=2), strict=True)
    ]
    found = model(images(), outputs=ForwardRequest(saliency=Saliency())).saliency
    assert found is not None
    expected = torch.stack(maps).mean(dim=0)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("registers", [0, 1, 4])
@pytest.mark.parametrize("mlp", ["gelu", "swiglu"])
@pytest.mark.parametrize("efficient", [True, False])
def test_the_counter_equals_the_closed_form(registers: int, mlp: Any, efficient: bool) -> None:
    config = ModelConfig(
        arch="vit_small_patch16_224", registers=registers, mlp=mlp, layer_scale=1e-5
    )
    with torch.device("meta"):
        model = build(config, 1000)
    closed = efficient_macs if efficient else published_macs
    for keep in (196, 98):
        assert (
            counted_macs(model, keep=keep, efficient=efficient)
            == closed(config.shape, keep=keep, classes=1000).total
        )


def test_a_gated_mlp_costs_what_the_other_does() -> None:
    """arXiv 2304.07193: 4,096 gates at the width 1,536, and as many multiply-adds elsewhere."""
    giant = replace(VIT, width=1536, heads=24, mlp="swiglu").shape
    assert giant.gate_width == 4096
    plain, gated = (
        efficient_macs(ModelConfig(arch="vit_base_patch16_224", mlp=mlp).shape, keep=196, classes=0)
        for mlp in ("gelu", "swiglu")
    )
    assert gated.mlp == plain.mlp
    assert built(replace(VIT, mlp="swiglu", width=64)).vit.blocks[0].mlp.fc1.out_features == 352


def test_stochastic_depth_is_the_same_in_every_block() -> None:
    model = built(replace(VIT, drop_path=0.3, drop_path_rule="uniform"))
    linear = built(replace(VIT, drop_path=0.3))
    rates = [
        [getattr(block.drop_path1, "drop_prob", 0.0) for block in one.vit.blocks]
        for one in (model, linear)
    ]
    assert rates[0] == [0.3] * 3
    assert rates[1] == pytest.approx([0.0, 0.15, 0.3])
    assert [block.drop_path2.drop_prob for block in model.vit.blocks] == [0.3] * 3


@pytest.mark.parametrize(("init", "spread"), [("timm", 0.02), ("moco", (2 / (48 + 256)) ** 0.5)])
def test_gates_start_like_every_layer(init: Any, spread: float) -> None:
    """timm starts the values of a gated MLP at a constant 1; DINOv2 does not."""
    layer = built(replace(VIT, mlp="swiglu", init=init)).vit.blocks[1].mlp.fc1
    assert layer.weight.shape == (256, 48)
    assert not bool(layer.bias.any())
    for half in layer.weight.detach().chunk(2):
        assert float(half.std()) == pytest.approx(spread, rel=0.05)


def test_without_the_options_it_is_todays_network_and_identity() -> None:
    form = identity_form(VIT)
    assert not {"registers", "layer_scale", "mlp", "drop_path_rule"} & form.keys()
    used = [
        replace(VIT, registers=4),
        replace(VIT, layer_scale=0.1),
        replace(VIT, mlp="swiglu"),
        replace(VIT, drop_path=0.1, drop_path_rule="uniform"),
    ]
    assert len({str(identity_form(config)) for config in [VIT, *used]}) == 5
    assert set(built(VIT).vit.state_dict()) < set(built(used[0]).vit.state_dict())
    assert used[3].for_evaluation() == VIT
    assert used[1].cost_config(3) == VIT.cost_config(3)
    assert used[0].cost_config(3) != VIT.cost_config(3)


@pytest.mark.parametrize(
    ("arch", "field", "value", "words"),
    [
        ("cait_s24_224", "registers", 4, "is an option of plain ViTs, and 'cait_s24_224' is none"),
        ("swin_tiny_patch4_window7_224", "mlp", "swiglu", "is an option of plain ViTs"),
        ("deit_small_distilled_patch16_224", "registers", 4, "do not go with a distillation token"),
        ("vit_small_patch16_224", "registers", -1, "must not be negative"),
        ("vit_small_patch16_224", "layer_scale", 0.0, "must be above 0"),
        ("vit_small_patch16_224", "drop_path_rule", "uniform", "has no effect without drop_path"),
    ],
)
def test_options_that_do_not_fit_are_refused(arch: str, field: str, value: Any, words: str) -> None:
    with pytest.raises(FieldError, match=words) as raised:
        ModelConfig(arch=arch, **{field: value})
    assert raised.value.field == field


def test_weights_of_a_hub_have_what_their_network_has() -> None:
    with pytest.raises(FieldError, match="have 0, got 4; leave it out") as raised:
        ModelConfig(
            arch="vit_small_patch16_224",
            registers=4,
            weights=Weights(hub="vit_small_patch16_224.dino"),
        )
    assert raised.value.field == "registers"
