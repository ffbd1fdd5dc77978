"""The specs of AttMask, asymmetric masking and MaskedKD's Table 4 as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.masking.views import RatioMask
from harness.masking.views.attmask import AttMaskHint
from harness.methods.ibot import Ibot
from harness.methods.masked_dino import MaskedDino
from harness.methods.selfdistillation.config import SelfDistillation
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.train.config import RATES, Probe, TrainConfig
from tests.makefile import reproduced

ROOT = Path(__file__).parents[1]
TARGETS = {
    "attmask/strategies": "attmask-strategies",
    "attmask/ratio": "attmask-ratio",
    "attmask/share": "attmask-share",
    "attmask/full": "attmask-full",
    "attmask/dino": "attmask-dino",
    "asymmetric/dino-tiny": "asymmetric-dino",
    "maskedkd/table4": "table4",
}


def configs(name: str, profile: str) -> dict[str, TrainConfig]:
    return {row.row.id: row.config for row in expand(load_table(name), profile).rows}


def config_patches(config: TrainConfig) -> int:
    return config.student.shape.patches


@pytest.mark.parametrize("name", TARGETS)
def test_every_table_has_its_profiles_and_a_make_target(name: str) -> None:
    table = load_table(name)
    assert {"paper", "fashion-mnist", "cifar10", "smoke"} <= set(table.profiles)
    assert reproduced(TARGETS[name]) == [name]


@pytest.mark.parametrize("profile", ["fashion-mnist", "cifar10", "smoke"])
@pytest.mark.parametrize("name", TARGETS)
def test_small_profiles_run_every_row_and_what_to_hold_it_against(name: str, profile: str) -> None:
    found, paper = configs(name, profile), configs(name, "paper")
    assert found.keys() == paper.keys() | {"untrained", "pixels"}
    for row, config in paper.items():
        own, small = config.method, found[row].method
        assert type(own) is type(small)
        if isinstance(own, Ibot | MaskedDino):
            assert isinstance(small, Ibot | MaskedDino)
            mask = small.mask
            if isinstance(own.mask, AttMaskHint) and isinstance(mask, AttMaskHint):
                assert int(mask.show * mask.ratio[1] * config_patches(found[row])) >= 1
                mask = replace(mask, show=own.mask.show)  # hints of few patches round to none
            assert own.mask == mask, "the masks are the paper's at every scale"
    trained = [c for c in found.values() if isinstance(c.method, SelfDistillation)]
    heads = {c.method.head for c in trained if isinstance(c.method, SelfDistillation)}
    assert len(heads) == 1, "rows differ in what the table is about alone"
    assert {c.student for c in found.values()} == {trained[0].student}
    columns = load_table(name).columns.values()
    if any(c.task.name == "linear" and c.shown_at(profile) for c in columns):
        assert not any(config.probe.augment for config in found.values()), "minutes, not hours"


@pytest.mark.parametrize(
    "name", ["maskedkd/table4", "attmask/ratio", "attmask/strategies", "asymmetric/dino-tiny"]
)
def test_reports_have_attention_pictures(name: str) -> None:
    pictured = {
        row.row.id
        for row in expand(load_table(name), "fashion-mnist").rows
        if row.runs["attention"]
    }
    assert pictured == configs(name, "fashion-mnist").keys() - {"pixels"}


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("maskedkd/table4", "dino"),
        ("attmask/ratio", "block.10-50"),
        ("asymmetric/dino-tiny", "none"),
    ],
)
def test_small_trainings_are_held_against_none(name: str, row: str) -> None:
    claims = {
        claim.id: claim.holds.text for claim in load_table(name).profile("fashion-mnist").claims
    }
    assert claims["training-helps"] == f"knn[{row}] > knn[untrained]"
    assert {claim.id for claim in load_table(name).claims} < set(claims)


@pytest.mark.parametrize("name", TARGETS)
def test_class_tokens_start_as_in_the_released_codes(name: str) -> None:
    starts = {
        profile: {config.student.init for config in configs(name, profile).values()}
        for profile in ("paper", "fashion-mnist", "cifar10")
    }
    assert starts == {"paper": {"dino"}, "fashion-mnist": {"moco"}, "cifar10": {"timm"}}


def test_the_published_settings_of_attmask() -> None:
    full = configs("attmask/full", "paper")["high"]
    assert isinstance(full.method, Ibot)
    assert (full.method.crops.local_crops, full.method.momentum) == (10, 0.996)
    assert full.recipe.peak_lr == pytest.approx(4.6875e-4)
    fifth = configs("attmask/strategies", "paper")["high"]
    assert isinstance(fifth.method, Ibot)
    assert (fifth.method.crops.local_crops, fifth.method.momentum) == (6, 0.99)
    assert fifth.data.train_per_class == 260
    share = configs("attmask/share", "paper")
    assert replace(share["high.20"], probe=fifth.probe) == fifth
    assert replace(share["high.100"], probe=full.probe) == full


@pytest.mark.parametrize("name", ["attmask/full", "attmask/strategies"])
def test_attmasks_linear_classifier_has_the_released_rate_at_the_papers_scale(name: str) -> None:
    published = Probe(blocks=4, epochs=100, batch_size=2048, rates=(0.005,))
    assert {config.probe for config in configs(name, "paper").values()} == {published}
    for profile in ("fashion-mnist", "cifar10"):
        assert {config.probe.rates for config in configs(name, profile).values()} == {RATES}


def test_the_tables_of_a_part_have_both_banks_at_the_papers_scale() -> None:
    for name in ("attmask/strategies", "attmask/ratio", "attmask/dino", "attmask/share"):
        table = load_table(name)
        banks = {column.task.bank for column in table.columns_at("fashion-mnist").values()}
        assert banks == {"all"}
        for resolved in expand(table, "paper").rows:
            assert len(resolved.runs["knn_own"]) == 3
            assert "knn_own" not in resolved.row.published


def test_the_ratios_of_the_study() -> None:
    wanted = {(0.1, 0.3), (0.1, 0.5), (0.1, 0.7), (0.3, 0.3), (0.75, 0.75)}
    ratios: dict[type, set[tuple[float, float]]] = {}
    for config in configs("attmask/ratio", "paper").values():
        assert isinstance(config.method, Ibot)
        mask = config.method.mask
        assert isinstance(mask, RatioMask)
        assert mask.probability == 0.5
        ratios.setdefault(type(mask), set()).add(mask.ratio)
    assert list(ratios.values()) == [wanted] * 3


def test_fine_tuning_starts_from_the_strategies() -> None:
    table = load_table("attmask/finetune")
    expansion, before = expand(table, "paper"), expand(load_table("attmask/strategies"), "paper")
    runs = {run.identity: run for run in (*expansion.runs, *before.runs)}
    trained = {row.row.id: runs[row.runs["knn"][0]].depends for row in before.rows}  # first seed
    assert len(expansion.rows) == 2 * len(trained)
    for resolved in expansion.rows:
        strategy, _, data = resolved.row.id.partition(".")
        config = resolved.config
        assert config.data.name == data
        assert config.recipe.peak_lr == pytest.approx(7.5e-6 * 900 / 512)
        assert {runs[key].depends for key in resolved.runs["acc"]} == {trained[strategy]}
    cells = {row.id: row.published["acc"].value for row in table.rows}
    assert [cells[f"high.{data}"] for data in ("cifar10", "cifar100")] == [98.2, 86.6]
    assert [cells[f"low.{data}"] for data in ("cifar10", "cifar100")] == [97.6, 84.6]


def test_the_arms_of_asymmetric_masking() -> None:
    rows = configs("asymmetric/dino-tiny", "paper")
    assert rows["none"].data.name == "mini-imagenet"
    assert all(config.student.arch == "vit_tiny_patch16_224" for config in rows.values())
    arms = {
        row: (config.method.where, config.method.how)
        for row, config in rows.items()
        if isinstance(config.method, MaskedDino)
    }
    assert arms["student-global"] == ("student-global", "replace")
    assert arms["student-all"][0] == "student-all"
    assert arms["teacher-too"][0] == "student-and-teacher"
    assert arms["drop"] == ("student-global", "drop")
    assert not any(row.published for row in load_table("asymmetric/dino-tiny").rows)
