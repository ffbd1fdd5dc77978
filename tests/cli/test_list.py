"""`harness list`."""

from __future__ import annotations

import pytest

from harness.cli import main
from harness.spec.expand import expand
from harness.spec.load import load_table
from harness.store import RunWriter, Store, claim
from tests.conftest import Experiments
from tests.spec.specs import GOOD, changed


def listed(capsys: pytest.CaptureFixture[str], *, code: int = 0) -> list[list[str]]:
    """The words of every line that the command prints."""
    assert main(["list"]) == code
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_tables_with_their_profiles_and_runs(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    experiments.table("paper/more", GOOD)
    assert listed(capsys) == [
        ["TABLE", "PROFILE", "ROWS", "RUNS", "DONE"],
        ["paper/good", "paper", "2", "5", "0"],
        ["paper/good", "tiny", "2", "3", "0"],
        ["paper/more", "paper", "2", "5", "0"],
        ["paper/more", "tiny", "2", "3", "0"],
    ]


def test_runs_that_are_done_count(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    table = load_table(experiments.table("paper/good", GOOD))
    first, second, *_ = expand(table, "paper").runs
    store = Store()
    for run, finished in ((first, True), (second, False)):
        lease = claim(store.create(run))
        assert lease is not None
        if finished:
            RunWriter(lease).finish({"val/top1": 50.0}, device="cpu")
    assert listed(capsys)[1] == ["paper/good", "paper", "2", "5", "1"]


def test_a_broken_spec_does_not_hide_the_others(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/bad", changed("{keep: 8}", "{keep: 0}"))
    experiments.table("paper/good", GOOD)
    bad, *good = listed(capsys, code=1)[1:]
    assert " ".join(bad) == "paper/bad 1 problem: run `harness check paper/bad`"
    assert len(good) == 2


def test_no_specs(experiments: Experiments, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 1
    assert "there are no specs" in capsys.readouterr().err
