"""The specs of DINOv2: the released settings, and what changes from row to row."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from harness.masking.views.stratified import StratifiedBlocks
from harness.methods.dinov2 import Dinov2
from harness.methods.ibot import Ibot
from harness.methods.selfdistillation.config import SelfDistillation
from harness.spec.expand import expand
from harness.spec.identity import to_dict
from harness.spec.load import load_table
from harness.train.config import TrainConfig
from tests.makefile import reproduced

SMALL = ("fashion-mnist", "cifar10-small", "cifar10")
AT_ANY_SCALE = {
    "layerscale": {"student.layer_scale", "student.drop_path", "student.drop_path_rule"},
    "prototypes": {"method.head.out_dim"},
    "koleo": {"method.koleo_weight"},
    "swiglu": {"student.mlp"},
    "sinkhorn": {"method.targets"},
    "heads": {"method.heads"},
    "masks": {"method.mask"},
    "clip": {"method.clip_by", "method.warmup_by"},
    "rates": {"recipe.layer_decay", "recipe.patch_embed_rate"},
}
AT_PAPER = {
    "patch14": {"student.patch_size", "method.crops.local_size"},
    "momentum": {"method.momentum"},
    "warmup": {"recipe.warmup_epochs"},
    "batch": {
        "recipe.batch_size",
        "recipe.epochs",
        "recipe.warmup_epochs",
        "method.temperatures.warmup_epochs",
        "method.head.freeze_last_layer_epochs",
    },
}


def configs(name: str, profile: str) -> dict[str, TrainConfig]:
    return {row.row.id: row.config for row in expand(load_table(name), profile).rows}


def leaves(config: TrainConfig) -> dict[str, Any]:
    """By dotted path; a mask is one, and what makes `dinov2` iBOT is left out."""
    found: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict) and path != "method.mask":
            for key, part in value.items():
                walk(part, f"{path}.{key}".lstrip("."))
        else:
            found[path] = value

    walk(to_dict(config), "")
    if not isinstance(config.method, Dinov2):
        found |= {"method.koleo_weight": 0, "method.targets": "centering", "method.heads": "shared"}
        found |= {"method.clip_by": "tensor", "method.warmup_by": "epoch"}
        found["method.patch_center_of"] = "all"
    inert = ("method.name", "method.koleo_images", "method.sinkhorn_iterations")
    return {key: value for key, value in found.items() if key not in inert}


@pytest.mark.parametrize("profile", ["paper", *SMALL])
def test_one_change_a_row(profile: str) -> None:
    rows = configs("dinov2/ablation", profile)
    wanted = AT_ANY_SCALE | (AT_PAPER if profile == "paper" else {})
    order = [row for row in rows if row not in ("dino", "untrained", "pixels")]
    assert set(order) == {"ibot", *wanted}
    for before, row in itertools.pairwise(order):
        old, new = leaves(rows[before]), leaves(rows[row])
        changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        assert changed - {"method.patch_bottleneck"} == wanted[row], row
    dino, ibot = rows["dino"].method, rows["ibot"].method
    assert isinstance(dino, SelfDistillation)
    assert isinstance(ibot, Ibot)
    for key in ("head", "crops", "temperatures", "momentum", "weight_decay_end", "clip"):
        assert getattr(dino, key) == getattr(ibot, key)
    assert rows["dino"].student == rows["ibot"].student


@pytest.mark.parametrize("profile", SMALL)
@pytest.mark.parametrize("name", ["dinov2/ablation", "dinov2/short"])
def test_small_profiles_hold_it_against_no_training_and_raw_pixels(name: str, profile: str) -> None:
    rows = configs(name, profile)
    assert {"untrained", "pixels"} <= rows.keys()
    assert not any(config.probe.augment for config in rows.values()), "minutes, not hours"
    claims = load_table(name).profile(profile).claims
    assert any(claim.id == "training-helps" for claim in claims)
    trained = [claim for claim in claims if claim.id != "training-helps"]
    assert all(len(claim.given) >= 2 for claim in trained)


def test_the_short_recipe_is_the_released_one() -> None:
    """125,000 steps of 2,048 of ImageNet-1k's 1,281,167 images."""
    config = configs("dinov2/short", "paper")["dinov2"]
    recipe, method = config.recipe, config.method
    steps = 1_281_167 // recipe.batch_size
    assert recipe.epochs * steps == 125_000
    assert recipe.warmup_epochs * steps == 12_500
    assert recipe.peak_lr == pytest.approx(4e-3 * 2**0.5)
    assert (recipe.layer_decay, recipe.patch_embed_rate) == (0.9, 0.2)
    assert isinstance(method, Dinov2)
    assert method.temperatures.warmup_epochs * steps == 37_500
    assert method.head.freeze_last_layer_epochs * steps == 1_250
    assert (method.targets, method.heads, method.head.out_dim) == ("centering", "shared", 65536)
    assert (method.koleo_weight, method.momentum, method.weight_decay_end) == (0.1, 0.992, 0.4)
    assert isinstance(method.mask, StratifiedBlocks)
    student = config.student
    assert (student.drop_path, student.drop_path_rule, student.layer_scale) == (
        0.3,
        "uniform",
        1e-5,
    )
    assert (student.shape.width, student.shape.depth, student.shape.patches) == (1024, 24, 196)
    cells = load_table("dinov2/short").rows[0].published
    assert {key: cell.value for key, cell in cells.items()} == {"knn": 81.6, "linear": 82.9}


@pytest.mark.parametrize("row", ["ibot", "warmup", "batch", "heads", "rates"])
def test_the_long_recipe_is_that_of_the_released_vit_l14(row: str) -> None:
    """Epochs of the code are 1,250 steps, whatever the batch; those here are passes."""
    config = configs("dinov2/ablation", "paper")[row]
    recipe, method = config.recipe, config.method
    assert isinstance(method, Ibot)
    steps = 1_281_167 / recipe.batch_size
    slow = row != "ibot"
    wanted = {"total": 500, "warm-up": 80 if slow else 10, "temperature": 30, "last layer": 1}
    found = {
        "total": recipe.epochs,
        "warm-up": recipe.warmup_epochs,
        "temperature": method.temperatures.warmup_epochs,
        "last layer": method.head.freeze_last_layer_epochs,
    }
    for name, epochs in found.items():
        assert epochs * steps / 1250 == pytest.approx(wanted[name], rel=0.01), name
    assert recipe.batch_size == (3072 if row in ("batch", "heads", "rates") else 2048)
    assert method.weight_decay_end == 0.2


@pytest.mark.parametrize("profile", SMALL)
def test_shallow_networks_have_the_layer_scale_of_shallow_networks(profile: str) -> None:
    """arXiv 2103.17239, section 2: 0.1 up to 18 blocks."""
    for name in ("dinov2/ablation", "dinov2/short"):
        for row, config in configs(name, profile).items():
            assert config.student.shape.depth <= 18
            assert config.student.layer_scale in (None, 0.1), (name, row)


def test_make_targets() -> None:
    assert reproduced("dinov2-short") == ["dinov2/short"]
    assert reproduced("dinov2-ablation") == ["dinov2/ablation"]
    assert reproduced("dinov2") == ["dinov2/ablation", "dinov2/short"]
