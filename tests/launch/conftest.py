"""The counting kinds, known to this process too, and a table that asks for them."""

from __future__ import annotations

import pytest

import tests.launch.counting  # noqa: F401 (registers them)
from tests.conftest import TINY_VIT, Experiments

TABLE = f"""
paper: {{{{title: Counting}}}}
columns:
  value: {{{{label: Value, from: counting, metric: val/top1, unit: "%", decimals: 1}}}}
  batch: {{{{label: Batch, from: counting-batched, metric: count/value, decimals: 0}}}}
  alone: {{{{label: Alone, from: counting-alone, metric: count/value, decimals: 0}}}}
seeds: [0, 1]
base:
  data: {{{{name: fashion-mnist}}}}
  student: {{{{{TINY_VIT}}}}}
  method: supervised
  recipe: {{{{epochs: 12, batch_size: 64, lr: 100, min_lr: {{pause}}}}}}
rows:
  - {{{{id: a, label: A}}}}
  - {{{{id: b, label: B, set: {{{{recipe: {{{{epochs: 15}}}}}}}}}}}}
{{more}}
profiles:
  paper: {{{{}}}}
"""

FAILING = "  - {id: bad, label: Bad, set: {recipe: {weight_decay: 0.5}}}"
STUBBORN = "  - {id: stubborn, label: Stubborn, set: {recipe: {weight_decay: 0.125}}}"
BLOCKED = "  - {id: far, label: Far, set: {recipe: {weight_decay: 0.25}}}"


def plainly(*, pause: float, more: str = "") -> str:
    """The table with the plain counting kind alone."""
    text = TABLE.format(pause=pause, more=more)
    return "\n".join(line for line in text.splitlines() if "counting-" not in line)


@pytest.fixture
def counting_table(experiments: Experiments) -> str:
    """Twelve runs that take no time."""
    return experiments.table("tests/counting", TABLE.format(pause=0.0, more=""))


@pytest.fixture
def slow_table(experiments: Experiments) -> str:
    """Four runs of some steps: commands can meet over them, and COUNTING_HOLD can keep them."""
    return experiments.table("tests/slow", plainly(pause=0.02))


@pytest.fixture
def troubled_table(experiments: Experiments) -> str:
    """A row that fails and one that lacks something."""
    return experiments.table("tests/troubled", plainly(pause=0.0, more=FAILING + "\n" + BLOCKED))
