"""Parameter groups against the names they must hold, and against timm's layer decay."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from timm.optim import param_groups_layer_decay

from harness.errors import FieldError
from harness.methods.supervised import Supervised
from harness.models.config import ModelConfig
from harness.models.vit import VisionTransformer
from harness.train.config import Recipe
from harness.train.optimizer import build_optimizer, parameter_groups
from tests.models.networks import build
from tests.train.test_loop import config


def network() -> VisionTransformer:
    config = ModelConfig(arch="vit", image_size=16, patch_size=4, width=32, depth=3, heads=4)
    return build(config, 5, channels=1)


def test_only_matrices_are_decayed() -> None:
    model = network()
    recipe = Recipe(epochs=1, batch_size=2, lr=1.0, weight_decay=0.3)
    plain, decayed = sorted(
        parameter_groups({"student": model}, recipe), key=lambda group: group["weight_decay"]
    )
    names = {
        id(parameter): name.removeprefix("vit.") for name, parameter in model.named_parameters()
    }
    kept = {names[id(parameter)] for parameter in plain["params"]}
    assert {"cls_token", "pos_embed", "head.bias", "norm.weight", "blocks.0.attn.qkv.bias"} <= kept
    assert {names[id(parameter)] for parameter in decayed["params"]} == {
        name for name in names.values() if name.endswith(".weight") and "norm" not in name
    }
    assert decayed["weight_decay"] == 0.3
    assert plain["weight_decay"] == 0.0
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


def test_swins_position_tables_are_not_decayed() -> None:
    swin = ModelConfig(arch="swin_tiny_patch4_window7_224")
    model = build(swin, 5)
    groups = parameter_groups({"student": model}, Recipe(epochs=1, batch_size=2, lr=1.0))
    plain = {id(p) for group in groups if not group["weight_decay"] for p in group["params"]}
    tables = [p for name, p in model.named_parameters() if name.endswith("bias_table")]
    assert len(tables) == 12
    assert all(id(table) in plain for table in tables)


def test_layer_decay_equals_timms() -> None:
    model = network()
    recipe = Recipe(epochs=1, batch_size=2, lr=1.0, weight_decay=0.3, layer_decay=0.5)
    found = {
        id(parameter): (group["lr_scale"], group["weight_decay"])
        for group in parameter_groups({"student": model}, recipe)
        for parameter in group["params"]
    }
    timms = param_groups_layer_decay(
        model.vit,
        weight_decay=0.3,
        layer_decay=0.5,
        no_weight_decay_list={"cls_token", "pos_embed"},
    )
    expected = {
        id(parameter): (group["lr_scale"], group["weight_decay"])
        for group in timms
        for parameter in group["params"]
    }
    for (
        parameter
    ) in model.vit.norm.parameters():  # timm gives it the last block's rate, MAE the head's
        assert expected[id(parameter)] == (0.5, 0.0)
        expected[id(parameter)] = (1.0, 0.0)
    assert found == expected


@pytest.mark.parametrize("arch", ["swin_tiny_patch4_window7_224", "cait_s24_224"])
def test_layer_decay_is_for_one_stack_of_blocks(arch: str) -> None:
    training = config(Supervised(), layer_decay=0.5)
    with pytest.raises(FieldError, match=f"one stack of blocks, no {arch[:4]}: give 1") as told:
        replace(training, student=ModelConfig(arch=arch))
    assert told.value.field == "recipe.layer_decay"
    replace(training, student=ModelConfig(arch="convit_tiny"))


def test_a_decoder_behind_the_encoder_has_the_full_rate() -> None:
    """Segmenter's has blocks of its own."""
    config = ModelConfig(arch="segmenter", image_size=16, patch_size=4, width=32, depth=3, heads=4)
    model = build(config, 5, channels=1)
    recipe = Recipe(epochs=1, batch_size=2, lr=1.0, layer_decay=0.5)
    scales = {
        id(parameter): group["lr_scale"]
        for group in parameter_groups({"student": model}, recipe)
        for parameter in group["params"]
    }
    assert {scales[id(one)] for one in model.vit.decoder.parameters()} == {1.0}
    assert {scales[id(one)] for one in model.vit.blocks[2].parameters()} == {0.5}


def test_frozen_parameters_are_left_out() -> None:
    model = network()
    model.vit.head.weight.requires_grad_(False)
    groups = parameter_groups({"student": model}, Recipe(epochs=1, batch_size=2, lr=1.0))
    assert id(model.vit.head.weight) not in {id(p) for group in groups for p in group["params"]}


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_with_momentum_is_its_formula(nesterov: bool) -> None:
    """v <- 0.9 v + g + decay w; w <- w - rate v, or w - rate (0.9 v + g + decay w) with the new v;
    what has one axis is not decayed.
    """
    layer = torch.nn.Linear(2, 2)
    recipe = Recipe(
        epochs=1, batch_size=2, lr=0.1, weight_decay=0.01, optimizer="sgd", nesterov=nesterov
    )
    optimizer = build_optimizer({"layer": layer}, recipe)
    inputs = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    weights = [layer.weight.detach().double(), layer.bias.detach().double()]
    velocities = [torch.zeros(2, 2).double(), torch.zeros(2).double()]
    for _ in range(3):
        optimizer.zero_grad()
        layer(inputs).square().sum().backward()
        optimizer.step()
        outputs = inputs.double() @ weights[0].T + weights[1]
        gradients = [2 * outputs.T @ inputs.double() + 0.01 * weights[0], 2 * outputs.sum(dim=0)]
        velocities = [0.9 * v + g for v, g in zip(velocities, gradients, strict=True)]
        steps = velocities
        if nesterov:
            steps = [0.9 * v + g for v, g in zip(velocities, gradients, strict=True)]
        weights = [w - 0.1 * s for w, s in zip(weights, steps, strict=True)]
    torch.testing.assert_close(layer.weight.detach().double(), weights[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(layer.bias.detach().double(), weights[1], rtol=1e-4, atol=1e-6)


def test_momentum_without_sgd_is_told() -> None:
    with pytest.raises(FieldError, match="is SGD's"):
        Recipe(epochs=1, batch_size=2, lr=1.0, momentum=0.5)
    with pytest.raises(FieldError, match="goes with `optimizer: sgd`"):
        Recipe(epochs=1, batch_size=2, lr=1.0, nesterov=True)


def test_adam_adds_the_decay_of_every_parameter_to_the_gradient() -> None:
    model = network()
    recipe = Recipe(
        epochs=1, batch_size=2, lr=0.01, weight_decay=0.3, optimizer="adam", betas=(0.95, 0.999)
    )
    optimizer = build_optimizer({"student": model}, recipe)
    before = {name: value.detach().double() for name, value in model.named_parameters()}
    gradients = {name: torch.randn_like(value) for name, value in model.named_parameters()}
    for name, value in model.named_parameters():
        value.grad = gradients[name].clone()
    optimizer.step()
    for name, value in model.named_parameters():  # of the first step both moments are g and g^2
        gradient = gradients[name].double() + 0.3 * before[name]
        expected = before[name] - 0.01 * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(value.detach().double(), expected, rtol=1e-5, atol=1e-6)
