"""`harness diff RUN RUN`: why two runs did not give the same number."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.cli import main
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import Store
from tests.conftest import Experiments
from tests.report.results import finish, run_of
from tests.spec.specs import GOOD


def test_two_runs_are_compared(
    experiments: Experiments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expansion = expand(load_table(experiments.table("paper/good", GOOD)), "paper", seeds=(0, 1))
    first, second = (run_of(expansion, "train", "none", seed) for seed in (0, 1))
    finish(Store(), first, {"val/top1": 72.0})
    theirs = Store(tmp_path / "theirs")
    finish(theirs, first, {"val/top1": 71.5}, environment={"cpu": "Another CPU"})
    finish(Store(), second, {"val/top1": 72.25, "val/loss": 1.5})

    def diff(*words: str) -> str:
        assert main(["diff", *words]) == 0
        return "\n".join(" ".join(line.split()) for line in capsys.readouterr().out.splitlines())

    said = diff("none-s0", "none-s1")
    assert f"first {first.name} train of paper/good paper, row none, seed 0: done" in said
    assert "configuration\ntrain.seed 0 1\ncode\nno difference" in said
    assert "machine\nno difference\nmetrics\nval/top1 72 72.25 +0.25\nval/loss – 1.5" in said
    said = diff(first.name, str(theirs.runs / first.name))  # of another machine
    assert "configuration\nno difference" in said
    assert 'machine\ncpu "A CPU" "Another CPU"\nmetrics\nval/top1 72 71.5 -0.5' in said


def test_what_is_no_run_is_told(
    experiments: Experiments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expansion = expand(load_table(experiments.table("paper/good", GOOD)), "paper", seeds=(0,))
    run = run_of(expansion, "train", "none", 0)
    finish(Store(), run, {"val/top1": 72.0})
    (tmp_path / "empty").mkdir()
    shutil.copytree(Store().runs / run.name, tmp_path / "alone")
    assert main(["diff", run.name, str(tmp_path / "alone")]) == 0
    for words, why in (
        ([run.name, "noen-s0"], f"unknown run 'noen-s0' (valid: {run.name})"),
        ([run.name, str(tmp_path / "empty")], "empty is no run directory: there is no run.json"),
        ([run.name, run.name, "--profile", "paper"], "two runs are compared: leave --profile"),
    ):
        assert main(["diff", *words]) == 1
        assert why in capsys.readouterr().err
