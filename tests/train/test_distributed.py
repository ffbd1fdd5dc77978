"""Several processes train one model: together they do what one does."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from harness.distributed import DistContext
from harness.evaluate.right import RIGHT, read_right
from tests.conftest import TINY_VIT, Experiments
from tests.launch.processes import LAST_RESORT, metrics, start_harness

TABLE = f"""
paper: {{title: Together}}
columns:
  acc: {{label: Top-1, from: train, metric: val/top1, unit: "%", decimals: 1}}
seeds: [0]
base:
  data: {{name: fashion-mnist, train_fraction: 0.01}}
  student: {{{TINY_VIT}}}
  method: supervised
  recipe:
    epochs: 1.5
    batch_size: 50
    lr: 1e-3
    clip_norm: 1.0
    augment: {{mixup: 0.8, cutmix: 1.0, label_smoothing: 0.1}}
rows:
  - {{id: alone, label: Alone}}
  - id: taught
    label: Taught
    set:
      teacher: {{{TINY_VIT}, weights: {{run: "#alone"}}}}
      method: {{name: distillation, loss: logit, mask: {{keep: 8}}}}
profiles:
  paper: {{resources: {{device: cpu, threads: 1}}}}
"""


@given(size=st.integers(1, 8), batch=st.integers(2, 99))
def test_the_shares_of_a_batch_are_the_batch_and_turn_around_with_it(size: int, batch: int) -> None:
    shares = [DistContext(rank, size).shard_indices(batch) for rank in range(size)]
    assert sorted(chain(*shares)) == list(range(batch))
    for share in shares:
        assert share[::-1] == [batch - 1 - place for place in share]
    assert DistContext(0, 1).shard_indices(batch) == list(range(batch))


def test_two_processes_give_the_numbers_of_one_step_by_step(
    experiments: Experiments, tmp_path: Path
) -> None:
    table = experiments.table("tests/together", TABLE)
    found = []
    started = [
        start_harness(
            *["run", table, "--processes", processes, "--jobs", "1"],
            HARNESS_RESULTS=str(tmp_path / processes),
        )
        for processes in ("1", "2")
    ]
    for process, results in zip(started, ("1", "2"), strict=True):
        out, err = process.communicate(timeout=LAST_RESORT)
        assert process.returncode == 0, out + err
        found.append(sorted((tmp_path / results / "runs").iterdir()))
    assert [run.name for run in found[0]] == [run.name for run in found[1]]
    for one, two in zip(*found, strict=True):
        assert_alike(one, two)


def assert_alike(one: Path, two: Path) -> None:
    lines, others = metrics(one), metrics(two)
    assert len(lines) == len(others) > 15
    for line, other in zip(lines, others, strict=True):
        assert line.keys() == other.keys()
        for name, value in line.items():
            assert other[name] == pytest.approx(value, rel=1e-3, abs=1e-3), (name, line, other)
    # 20 batches of 500 in turn: bits in another order would differ in thousands of places
    bits, others = (read_right(run / RIGHT)["val/top1"] for run in (one, two))
    assert len(bits) == len(others) == 10_000
    assert (bits != others).sum() < 20
    weights, right = load_file(two / "model.safetensors"), load_file(one / "model.safetensors")
    for name, value in right.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-3)
