"""Costs as MaskedKD prints them: what each table counts. `tests/test_papers.py` has every cell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from harness.evaluate.flops import counted_macs
from harness.models.config import ModelConfig
from harness.run import TASKS, Resources
from harness.spec.expand import expand
from harness.spec.load import list_tables, load_table
from harness.spec.table import Column, Published
from harness.tasks.cost import ACTIVATIONS, STUDENTS, CostRun
from harness.train.config import TrainConfig
from tests.models.networks import build

MISPRINTS = {
    ("table7", "s384.logit"): (5694, 5964),
    ("table8", "vit_b.deit3_l.logit.keep75"): (5765, 5767),
}


class Nothing:
    """The context of a run that needs nothing of it."""

    resources = Resources(device="cpu")


def computed(column: Column, config: TrainConfig) -> float:
    run = TASKS.get(column.task.name).of(config)
    assert run is not None
    return run.execute(Nothing())[column.metric]  # type: ignore[arg-type]


def cells(name: str) -> list[tuple[str, Column, TrainConfig, Published]]:
    """Row, column, configuration and printed value of every published count of multiply-adds."""
    table = load_table(f"maskedkd/{name}")
    columns = [c for c in table.columns.values() if c.task.name == "cost"]
    return [
        (resolved.row.id, column, resolved.config, resolved.row.published[column.id])
        for resolved in expand(table, "paper").rows
        for column in columns
        if column.id in resolved.row.published
    ]


def test_make_costs_leaves_no_count_out() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    rule = makefile.split("\ncosts:")[1].split("\n\n")[0]
    tables = re.search(r"for table in (.*);", rule)
    tasks = re.search(r"--tasks (\S+)", rule)
    assert tables is not None
    assert tasks is not None
    wanted = {
        table.name.removeprefix("maskedkd/")
        for table in map(load_table, list_tables())
        for column in table.columns.values()
        if table.name.startswith("maskedkd/") and column.task.name == "cost"
        if column.metric in ACTIVATIONS or any(column.id in row.published for row in table.rows)
    }
    assert wanted <= set(tables[1].split())
    assert tasks[1] == "cost"  # the others need a GPU or time


def test_the_misprints_are_those_that_the_specs_name() -> None:
    named = {
        (name, row): (printed.value, printed.corrected.value)
        for name in ("table2", "table4", "table7", "table8", "table9", "table10", "fig6")
        for row, _, _, printed in cells(name)
        if printed.corrected is not None
    }
    assert named == MISPRINTS


def test_every_teacher_gives_all_but_what_it_is_said_to_lack() -> None:
    def config(table: str, row: str) -> TrainConfig:
        resolved = expand(load_table(f"maskedkd/{table}"), "fashion-mnist", rows=row).rows[0]
        assert resolved.config is not None
        return resolved.config

    teachers = [("table11", "keep50"), ("table4", "dino"), ("fig6", "tome.merge3")]
    lacking = []
    for run in (CostRun.of(config(*row)) for row in teachers):
        assert run is not None
        lacking.append({metric for metric in run.metrics() if run.lacks(metric)})
        assert run.execute(Nothing()).keys() == run.metrics() - lacking[-1]  # type: ignore[arg-type]
    assert lacking == [
        {"teacher/one_view_pmacs", "teacher/views_pmacs"},
        {"teacher/train_pmacs", "teacher/epoch_tmacs", *STUDENTS, *ACTIVATIONS},
        {"teacher/one_view_pmacs", "teacher/views_pmacs", *ACTIVATIONS},
    ]


def test_table_3_counts_one_pass_of_a_wide_teacher_over_four_folds() -> None:
    printed = {"logit": (92.8, 602), "keep83": (75.9, 502), "keep50": (44.0, 302)}
    found = cells("table3")
    assert {row: published.value for row, _, _, published in found} == {
        row: value for row, (value, _) in printed.items()
    }
    for row, column, config, published in found:
        value, n = computed(column, config), printed[row][1]
        blocks = 12 * (12 * n * 768**2 + 2 * n**2 * 768)
        embedding, head = 600 * 16**2 * 768, 768 * 50
        assert value == pytest.approx(1600 * (blocks + embedding + head) / 1e12, rel=1e-12)
        assert value == pytest.approx(published.value, rel=5e-3), row


def test_throughput_names_what_it_gives() -> None:
    row = expand(load_table("maskedkd/table11"), "fashion-mnist", rows="keep50").rows[0]
    assert row.config is not None
    run = TASKS.get("throughput").of(row.config)
    assert run is not None
    assert run.execute(Nothing()).keys() == run.metrics()  # type: ignore[arg-type]


def test_table_4_counts_one_view_an_image_and_the_other_column_both() -> None:
    printed = {"dino": 589, "keep170": 507, "keep150": 446, "keep130": 384, "keep120": 354}
    counts = [cell for cell in cells("table4") if cell[1].id == "pflops"]
    assert {row: published.value for row, _, _, published in counts} == printed
    both = load_table("maskedkd/table4").columns["both"]
    for row, column, config, published in counts:
        one = computed(column, config)
        assert one == pytest.approx(published.value, rel=5e-3), row
        assert computed(both, config) == pytest.approx(2 * one)


@pytest.mark.parametrize("keep", [196, 120])
def test_a_view_of_a_self_taught_teacher_costs_what_torch_counts(keep: int) -> None:
    teacher = ModelConfig(arch="vit_tiny_patch16_224", channels=3)
    run = CostRun(student=teacher, teacher=teacher, keep=keep, classes=0, train_images=1, epochs=1)
    found = run.execute(Nothing())  # type: ignore[arg-type]
    with torch.device("meta"):
        model = build(teacher, 0)
    for name, efficient in (("gmacs", False), ("computed_gmacs", True)):
        counted = counted_macs(model, keep=keep, efficient=efficient)
        assert found[f"teacher/{name}"] == pytest.approx(counted / 1e9, rel=1e-12), name


def test_the_parts_of_table_10_are_its_totals() -> None:
    found: dict[str, dict[str, float]] = {}
    for row, column, config, _ in cells("table10"):
        found.setdefault(row, {})[column.id] = computed(column, config)
    assert len(found) == 6
    for parts in found.values():
        total = parts.pop("total")
        assert sum(parts.values()) == pytest.approx(total, rel=1e-12)
