"""The specs of MAE and LUT as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.methods.lut import Lut
from harness.methods.mae import Decoder, Mae
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.train.config import TrainConfig
from tests.makefile import reproduced

TARGETS = {
    "mae/sizes": "mae",
    "mae/ablation": "mae-ablation",
    "lut/sizes": "lut",
    "lut/views": "lut-views",
}
SMALL = ("fashion-mnist", "cifar10-small", "cifar10", "smoke")
ROOT = Path(__file__).parents[1]


def configs(name: str, profile: str) -> dict[str, TrainConfig]:
    return {row.row.id: row.config for row in expand(load_table(name), profile).rows}


@pytest.mark.parametrize("name", TARGETS)
def test_every_table_has_its_profiles_and_a_make_target(name: str) -> None:
    assert set(load_table(name).profiles) == {"paper", *SMALL}
    assert reproduced(TARGETS[name]) == [name]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("profile", SMALL)
def test_small_profiles_hide_as_much_and_have_what_to_hold_it_against(
    name: str, profile: str
) -> None:
    found, paper = configs(name, profile), configs(name, "paper")
    assert {"untrained", "pixels"} < found.keys()
    trained = {row: one for row, one in found.items() if isinstance(one.method, Mae)}
    assert trained.keys() == found.keys() - {"untrained", "pixels"}
    for row, config in trained.items():
        own, small = paper[row].method, config.method
        assert isinstance(own, Mae)
        assert isinstance(small, Mae)
        assert type(own) is type(small)
        assert own.mask_ratio == small.mask_ratio == 0.75
        if isinstance(own, Lut) and isinstance(small, Lut):
            assert own.context_weight == small.context_weight
            assert own.second_view == small.second_view
            assert own.teacher_view == small.teacher_view
    assert {one.student for one in found.values()} == {found["untrained"].student}
    assert len({one.finetune for one in found.values()}) == 1, "all are fine-tuned alike"
    assert len({one.recipe.epochs for one in trained.values()}) == 1, "at equal epochs"
    assert {one.student.init for one in found.values()} == {"mae"}


def test_the_published_settings() -> None:
    mae, lut = configs("mae/sizes", "paper"), configs("lut/sizes", "paper")
    for config in (mae["vit_b"], lut["vit_b.lut"]):
        recipe = config.recipe
        assert (recipe.epochs, recipe.batch_size, recipe.warmup_epochs) == (1600, 4096, 40)
        assert recipe.peak_lr == pytest.approx(2.4e-3)
        assert (recipe.betas, recipe.weight_decay) == ((0.9, 0.95), 0.05)
        assert isinstance(config.method, Mae)
        assert config.method.decoder == Decoder(width=512, depth=8, heads=16)
    method = lut["vit_b.lut"].method
    assert isinstance(method, Lut)
    assert (method.context_weight, method.momentum, method.head.hidden) == (0.25, 0.996, 4096)
    tuned = {row: config.finetune for row, config in {**mae, **lut}.items()}
    rates = {row: (how.recipe.peak_lr, how.recipe.layer_decay) for row, how in tuned.items() if how}
    assert rates["vit_b"] == pytest.approx((2e-3, 0.65))
    assert rates["vit_l"] == pytest.approx((4e-3, 0.75))
    assert rates["vit_s.lut"] == rates["vit_b.lut"] == pytest.approx((4e-3, 0.75))
    half = [how.recipe.batch_size for how in tuned.values() if how]
    assert set(half) == {1024}


def test_one_change_a_row_of_the_ablation() -> None:
    """arXiv 2111.06377, Table 1: against its default, 800 epochs of ViT-L."""
    rows = configs("mae/ablation", "paper")
    default = rows["default"]
    assert (default.recipe.epochs, default.recipe.peak_lr) == (800, pytest.approx(2.4e-3))
    assert (default.student.shape.width, default.student.shape.depth) == (1024, 24)
    method = default.method
    assert isinstance(method, Mae)
    assert (method.mask_ratio, method.normalise_targets) == (0.75, False)
    changed: dict[str, Any] = {
        **{f"depth-{n}": {"decoder": Decoder(depth=n)} for n in (1, 2, 4, 12)},
        **{f"width-{n}": {"decoder": Decoder(width=n)} for n in (128, 256, 768, 1024)},
        "normalised": {"normalise_targets": True},
    }
    for row, changes in changed.items():
        assert rows[row] == replace(default, method=replace(method, **changes)), row
    augments = {
        "no-crops": {"crop": "none", "flip": 0.0},
        "jitter": {"color_jitter": 0.4},
    }
    for row, parts in augments.items():
        augment = replace(default.recipe.augment, **parts)  # type: ignore[arg-type]
        assert rows[row] == replace(default, recipe=replace(default.recipe, augment=augment)), row
    assert rows.keys() == {"default", *changed, *augments}


def test_the_square_root_rule_is_the_released_one() -> None:
    """1.5e-4 * sqrt(batch) / 4 for pre-training, 1e-3 * sqrt(batch) / 8 for fine-tuning."""
    config = configs("lut/sizes", "paper")["vit_b.lut"]
    assert config.finetune is not None
    for batch in (512, 1024, 8192):
        recipe = replace(config.recipe, batch_size=batch)
        assert recipe.peak_lr == pytest.approx(1.5e-4 * batch**0.5 / 4)
        tuning = replace(config.finetune.recipe, batch_size=batch)
        assert tuning.peak_lr == pytest.approx(1e-3 * batch**0.5 / 8)


def test_published_cells_are_the_readmes() -> None:
    published = {row.id: row.published["tuned"].value for row in load_table("lut/sizes").rows}
    assert [published[f"vit_{size}.mae"] for size in "sbl"] == [81.4, 83.7, 85.6]
    assert [published[f"vit_{size}.lut"] for size in "sbl"] == [82.0, 84.2, 86.0]
    assert [published[f"vit_{size}.ibot"] for size in "sbl"] == [82.04, 84.0, 84.8]
    assert [published[f"vit_{size}.dino"] for size in "sb"] == [81.5, 82.8]


def test_transfer_starts_from_the_networks_of_the_sizes() -> None:
    """Pre-trained with a class token that is pooled, fine-tuned by the mean of the patches."""
    expansion = expand(load_table("lut/transfer"), "paper")
    sizes = {run.identity for run in expand(load_table("lut/sizes"), "paper").runs}
    assert len(expansion.rows) == 4
    for row in expansion.rows:
        assert row.config.student.shape.pooling == "avg"
        assert row.config.student.weights.head == "new"
        assert row.config.student.weights.run in sizes
        assert row.config.data.name.startswith("inaturalist-")


@pytest.mark.parametrize("name", ["lut/segmentation", "lut/robustness"])
def test_other_tasks_start_from_them_too(name: str) -> None:
    expansion = expand(load_table(name), "paper")
    sizes = {run.identity for run in expand(load_table("lut/sizes"), "paper").runs}
    weights = [row.config.student.weights for row in expansion.rows]
    assert len({one.run for one in weights}) == 2
    assert all(one.run in sizes and one.head == "new" for one in weights)
    tuned = configs("lut/sizes", "paper")
    for row in expansion.rows if name == "lut/robustness" else ():
        finetune = tuned[f"vit_b.{row.row.id}"].finetune
        assert finetune is not None
        assert row.config.recipe == finetune.recipe, "the networks are those of lut/sizes"
        assert row.config.student.drop_path == finetune.drop_path


def test_every_network_is_fine_tuned_from_its_own_training() -> None:
    expansion = expand(load_table("lut/sizes"), "fashion-mnist")
    runs = {run.identity: run for run in expansion.runs}
    for row in expansion.rows:
        tuned = [runs[key] for key in row.runs["tuned"]]
        if row.row.id == "pixels":
            assert tuned == []
            continue
        assert [run.title.seed for run in tuned] == [0, 1, 2]
        before = [[runs[key].title for key in run.depends] for run in tuned]
        if row.row.id == "untrained":
            assert before == [[], [], []]
        else:
            assert [[(t.row, t.seed) for t in those] for those in before] == [
                [(row.row.id, seed)] for seed in (0, 1, 2)
            ]
