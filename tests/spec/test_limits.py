"""What is larger than a table can be is said with its place, at once and without a deep stack."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.spec.paths import stray_specs
from tests.conftest import TINY_VIT, Experiments
from tests.spec.specs import GOOD, changed

MANY = ", ".join(map(str, range(1000)))
CHAIN = "".join(
    f"  - {{id: r{i}, set: {{method: supervised, student: {{{TINY_VIT}, "
    f"weights: {{run: '#r{i + 1}'}}}}}}}}\n"
    for i in range(600)
)
ROW = "set: {method: supervised}"
LIMITS = {
    "rows of a grid": (
        changed(ROW, f"grid: {{a.keep: &g [{MANY}], b.lr: *g, c.eps: *g}}"),
        "grid: makes 1,000,000,000 rows (1000 x 1000 x 1000), 5,000 at most",
    ),
    "seeds": (
        changed("seeds: [0, 1]", f"seeds: [{', '.join(map(str, range(1001)))}]"),
        "seeds: 1,000 at most",
    ),
    "shared aliases": (
        "x0: &a0 [1, 2]\n"
        + "".join(f"x{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 31))
        + GOOD,
        "more than 20,000 values here",
    ),
    "nested aliases": (
        "x0: &a0 [1]\n" + "".join(f"x{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 5000)) + GOOD,
        "nested too deeply: 50 levels at most, those of aliases counted",
    ),
    "chained weights": (changed("rows:\n  - id: none", f"rows:\n{CHAIN}  - id: none"), "chain"),
    "a long file": (GOOD + "#" * 1_000_001, "larger than 1,000,000 bytes"),
    "a long text": (changed("text: It helps", f"text: {'x' * 20_001}"), "longer than 20,000"),
    "lr_batch 0": (changed("{epochs: 2}", "{lr_batch: 0}"), "lr_batch: must be at least 1, got 0"),
    "lr_batch": (changed("{epochs: 2}", "{lr_batch: -5}"), "lr_batch: must be at least 1, got -5"),
    "epochs": (changed("{epochs: 2}", "{epochs: 1e300}"), "epochs: must be at most 1,000,000"),
    "depth": (
        changed("heads: 2}\nrows", "heads: 2, depth: 100000000000000000}\nrows").replace(
            "depth: 2, heads: 2, depth", "heads: 2, depth"
        ),
        "depth: must be at most 512",
    ),
    "rand_augment": (
        changed("{epochs: 2}", "{augment: {rand_augment: rand-m9-n99999999999}}"),
        "n is 99999999999 in it, 20 at most",
    ),
    "a separator": (changed("{epochs: 2}", "{batch_size: 1_000}"), "without separators: 1000"),
    "a replaced value": (
        changed(
            "  recipe: light\n", "  recipe: light\n  method: {name: distillation, weight: -1}\n"
        ),
        "weight: must not be negative, got -1",
    ),
    "UTF-16": ("utf-16", "is not UTF-8 text but UTF-16"),
    "k above the images": (
        changed("metric: val/top1", "metric: val/knn200_top1")
        .replace("from: train", "from: knn")
        .replace("{name: fashion-mnist}", "{name: fashion-mnist, train_fraction: 0.002}")
        .replace("knn,", "{name: knn, bank: subset},"),
        "200 neighbours are asked for",
    ),
    "a teacher with a new head": (
        changed(
            f"      teacher: {{{TINY_VIT}}}",
            f"      teacher: {{{TINY_VIT}, weights: {{run: '#none', head: new}}}}",
        ),
        "head: a teacher with `head: new` says things at random: fine-tune it",
    ),
}


def read(name: str) -> None:
    """All of a table."""
    table = load_table(name)
    for profile in table.profiles:
        expand(table, profile)


@pytest.mark.parametrize("case", LIMITS)
def test_what_is_too_large_or_cannot_be_is_said(case: str, experiments: Experiments) -> None:
    text, words = LIMITS[case]
    experiments.table("paper/good", text)
    if text == "utf-16":
        path = experiments.root / "experiments" / "paper" / "good.yaml"
        path.write_bytes(GOOD.encode("utf-16"))
    with pytest.raises(HarnessError, match=re.escape(words)):
        read("paper/good")


def test_specs_that_nobody_reads_are_named(experiments: Experiments) -> None:
    experiments.table("paper/good", GOOD)
    folder = experiments.root / "experiments"
    strays = [folder / "a.yaml", folder / "paper" / "b.yml", folder / "paper" / "c" / "d.yaml"]
    for path in strays:
        path.parent.mkdir(exist_ok=True)
        Path(path).write_text(GOOD)
    assert stray_specs() == strays
