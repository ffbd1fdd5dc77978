"""The specs of MaskedKD's tables and figures as a whole: profiles, targets, what they use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness.masking import CRITERIA
from harness.masking.views import MASK_SAMPLERS
from harness.methods import METHODS
from harness.methods.distillation import Distillation
from harness.methods.losses import LOSSES
from harness.methods.losses.g2sd import G2SD
from harness.methods.losses.manifold import Manifold
from harness.spec.expand import expand
from harness.spec.load import list_tables, load_table
from harness.train.config import Augment
from tests.makefile import reproduced

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "experiments/maskedkd"
SPECS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
TARGETS = {"budget": "budget-curve"}


def test_every_table_and_figure_is_there() -> None:
    tables = {f"table{number}" for number in (2, 4, 5, 6, 7, 8, 9, 10, 11)}
    assert {*tables, "fig2", "fig3", "fig6", "budget"} <= set(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_every_profile_expands_and_has_a_make_target(name: str) -> None:
    table = load_table(f"maskedkd/{name}")
    small = "canvases" if "canvases" in table.profiles else "fashion-mnist"  # of dense tasks
    wanted = {"paper", small, "smoke"} | (
        {"cifar10"} if name in ("table2", "table4", "table6") else set()
    )
    assert wanted <= set(table.profiles)
    for profile in wanted - {"paper"}:
        found = expand(table, profile)
        assert found.runs
    assert len(table.profiles[small].seeds) >= 3
    assert reproduced(TARGETS.get(name, name)) == [f"maskedkd/{name}"]


@pytest.mark.parametrize("name", SPECS)
def test_every_row_is_implemented(name: str) -> None:
    assert expand(load_table(f"maskedkd/{name}"), "paper").rows


def test_the_recipes_are_those_of_the_paper_and_its_code() -> None:
    """Values from arXiv 2302.10494, appendix A, and effl-lab/MaskedKD at 96d052d."""
    rows = {row.row.id: row for row in expand(load_table("maskedkd/table2"), "paper").rows}
    configs = {name: row.config for name, row in rows.items()}
    hard = configs["deit_s.none"].recipe
    assert (hard.epochs, hard.batch_size, hard.weight_decay, hard.eps) == (300, 1024, 0.05, 1e-8)
    assert (hard.peak_lr, hard.min_lr, hard.warmup_lr) == (1e-3, 1e-5, 1e-6)
    assert (hard.warmup_epochs, hard.clip_norm, hard.eval_crop) == (5, None, 0.875)
    assert hard.augment == Augment(
        rand_augment="rand-m9-mstd0.5-inc1", color_jitter=0.3, erasing=0.25, mixup=0.8,
        cutmix=1.0, label_smoothing=0.1, repeats=3,
    )  # fmt: skip
    tiny = configs["deit_ti.none"].recipe
    simple = Augment(label_smoothing=0.1, repeats=3)
    assert tiny == replace(hard, augment=simple)
    assert configs["mae_l.none"].recipe.epochs == 50


def test_g2sd_is_fine_tuned_as_by_its_own_code() -> None:
    """pengzhiliang/G2SD at 6178b78: SD.sh, and the defaults of main_finetune_dis.py."""
    rows = {row.row.id: row for row in expand(load_table("maskedkd/table2"), "paper").rows}
    for name in ("deit_s_distilled.mae_b.g2sd", "deit_s_distilled.mae_b.g2sd.keep75"):
        config = rows[name].config
        assert isinstance(config.method, Distillation)
        assert config.method.loss == G2SD(hard=True)
        assert (config.method.labels, config.method.weight) == (1.0, 1.0)
        found = config.recipe
        assert (found.epochs, found.batch_size, found.precision) == (200, 1024, "fp16")
        assert (found.peak_lr, found.min_lr, found.warmup_lr) == (4e-3, 1e-6, 0.0)
        assert (found.warmup_epochs, found.schedule, found.layer_decay) == (5, "step", 0.75)
        assert (found.weight_decay, found.betas, found.clip_norm) == (0.05, (0.9, 0.999), None)
        assert found.augment == Augment(
            rand_augment="rand-m9-mstd0.5-inc1", color_jitter=0.3, erasing=0.25, mixup=0.8,
            cutmix=1.0, label_smoothing=0.1, repeats=1,
        )  # fmt: skip


def test_manifold_distillation_has_its_own_settings() -> None:
    """Hao840/manifold-distillation at 1096b82: its command for DeiT-Ti from CaiT-S24."""
    found = 0
    for resolved in expand(load_table("maskedkd/table2"), "paper").rows:
        if "manifold" not in resolved.row.id:
            continue
        method = resolved.config.method
        assert isinstance(method, Distillation)
        assert (method.labels, method.weight) == (0.0, 1.0)
        assert method.loss == Manifold(
            intra=4.0, inter=0.1, sampled=0.2, samples=192, layers=4, logit=1.0, group=128
        )
        found += 1
    assert found == 4


def components(config: Any) -> Iterator[tuple[str, str]]:
    """(kind, name) of everything registered in a configuration."""
    if not is_dataclass(config):
        return
    registry = getattr(config, "registry", None)
    if registry is not None:
        yield registry.kind, registry.name_of(type(config))
    for field in fields(config):
        yield from components(getattr(config, field.name))


def test_everything_that_is_registered_is_in_a_spec() -> None:
    used: set[tuple[str, str]] = set()
    for table in map(load_table, list_tables()):
        for profile in table.profiles:
            for row in expand(table, profile).rows:
                used |= set(components(row.config))
    for registry in (CRITERIA, METHODS, LOSSES, MASK_SAMPLERS):
        found = {name for kind, name in used if kind == registry.kind}
        own = {n for n in registry.names() if registry.get(n).__module__.startswith("harness.")}
        assert own <= found, f"in no table of experiments/: {', '.join(sorted(own - found))}"


def test_the_paper_has_three_misprints_one_of_them_a_throughput() -> None:
    """As the README and docs/maskedkd.md say."""
    found = {
        (name, column, cell.value, cell.corrected.value)
        for name in SPECS
        for row in load_table(f"maskedkd/{name}").profiles["paper"].rows
        for column, cell in row.published.items()
        if cell.corrected is not None
    }
    assert found == {
        ("table2", "throughput", 512, 271),
        ("table7", "pflops", 5694, 5964),
        ("table8", "pflops", 5765, 5767),
    }
