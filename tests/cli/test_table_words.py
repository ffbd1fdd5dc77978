"""What commands take for a table, seeds, counts and logs; one broken table beside good ones."""

from __future__ import annotations

import argparse

import pytest

from harness.cli import main
from harness.cli._table import _at_least_one, _number, _seeds
from harness.store import Store
from tests.conftest import TINY_VIT, Experiments
from tests.spec.specs import GOOD


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("0", (0,)),
        ("0,1,2", (0, 1, 2)),
        ("0-9", tuple(range(10))),
        ("3-5,1, 9 ,7-7", (3, 4, 5, 1, 9, 7)),
        ("0-999", tuple(range(1000))),
    ],
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: tuple[int, ...]) -> None:
    assert _seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "give whole numbers from 0 up"),
        ("-1", "give whole numbers from 0 up"),
        ("0-", "give whole numbers from 0 up"),
        ("1.5", "give whole numbers from 0 up"),
        ("٣", "give whole numbers from 0 up"),
        ("0,,1", "give whole numbers from 0 up"),
        ("9-0", "a range goes up: 0-9, not 9-0"),
        ("0-1000", "give at most 1000 seeds"),
        ("0-500,600-1200", "give at most 1000 seeds"),
        ("0-999999999", "give at most 1000 seeds"),
        ("0,0", "seed 0 is given twice in '0,0'"),
        ("3-5,1,4", "seed 4 is given twice in '3-5,1,4'"),
        ("2147483648", "a seed is at most 2147483647"),
        ("9" * 20, "a seed is at most 2147483647"),
        ("0-99999999999", "a seed is at most 2147483647"),
        ("9" * 5000, "give whole numbers from 0 up"),
    ],
)
def test_seeds_that_are_none(text: str, said: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=said):
        _seeds(text)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "²", "9" * 5000])
def test_counts_that_are_none(text: str) -> None:
    for read in (_at_least_one, _number):
        with pytest.raises(argparse.ArgumentTypeError, match=f"whole number.* got '{text[:40]}'"):
            read(text)
    with pytest.raises(argparse.ArgumentTypeError, match="of at least 1, got '0'"):
        _at_least_one("0")
    assert (_at_least_one("12"), _number("0")) == (12, 0)


def test_a_table_is_called_by_its_last_name_where_it_is_the_only_one(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    for command in ("check", "plan", "status"):
        assert main([command, "good"]) == 0
    assert main(["check", "god"]) == 1
    assert "unknown table 'god'; did you mean 'paper/good'?" in capsys.readouterr().err
    experiments.table("other/good", GOOD)
    assert main(["plan", "good"]) == 1
    said = capsys.readouterr().err
    assert said == "error: 'good' is in several papers: say other/good or paper/good\n"


def test_a_broken_table_takes_no_other_down(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/good", GOOD)
    experiments.table("paper/bad", "rows: [")
    experiments.table("paper/latin", "x: 1")
    (experiments.root / "experiments/paper/latin.yaml").write_bytes(b"note: \xe9\n")
    assert main(["list"]) == 1
    shown = capsys.readouterr().out
    assert "paper/bad" in shown
    assert "problem: run `harness check paper/bad`" in shown
    assert shown.count("paper/good") == 2
    assert main(["claims", "--profile", "paper"]) == 1
    said = capsys.readouterr().err
    assert "error: paper/bad is left out: 1 problem: run `harness check paper/bad`" in said
    assert "error: paper/latin is left out: " in said


TEACHER = f"""
paper: {{title: Teachers}}
columns: {{acc: {{label: Acc, from: train, metric: val/top1, unit: "%", decimals: 1}}}}
seeds: [0]
base: {{data: {{name: fashion-mnist}}, method: supervised, recipe: light, student: {{{TINY_VIT}}}}}
rows: [{{id: teacher, label: T}}]
profiles: {{paper: {{}}}}
"""
STUDENT = f"""
paper: {{title: Students}}
columns:
  acc: {{label: Acc, from: train, metric: val/top1, unit: "%", decimals: 1}}
  macs: {{label: MACs, from: cost, metric: teacher/gmacs, decimals: 1}}
seeds: [0]
base:
  data: {{name: fashion-mnist}}
  recipe: light
  student: {{{TINY_VIT}}}
  teacher: {{{TINY_VIT}, weights: {{run: paper/teacher#teacher}}}}
  method: {{name: distillation}}
rows: [{{id: a, label: A}}]
profiles: {{paper: {{}}}}
"""


def test_the_former_name_of_the_option_is_told(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/teacher", TEACHER)
    with pytest.raises(SystemExit) as stop:
        main(["plan", "paper/teacher", "--kinds", "train"])
    assert stop.value.code == 1
    assert capsys.readouterr().err.endswith("error: argument --kinds: is now called --tasks\n")


def test_tasks_that_train_nothing_bring_no_training_along(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    experiments.table("paper/teacher", TEACHER)
    experiments.table("paper/student", STUDENT)
    assert main(["plan", "paper/student", "--tasks", "cost"]) == 0
    assert "paper/student, profile paper: 1 run (" in capsys.readouterr().out
    assert main(["plan", "paper/student", "--tasks", "train"]) == 0
    assert "paper/student, profile paper: 2 runs (" in capsys.readouterr().out


def test_a_run_without_a_log_says_so(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.spec.expand import expand
    from harness.spec.load import load_table

    experiments.table("paper/teacher", TEACHER)
    run = expand(load_table("paper/teacher"), "paper").runs[0]
    directory = Store().create(run)
    for _ in range(2):
        assert main(["logs", run.name]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"error: {run.name} (planned) has printed nothing: ")
        (directory / "log.txt").touch()
    (directory / "log.txt").write_text("hello\n", encoding="utf-8")
    assert main(["logs", run.name]) == 0
    assert capsys.readouterr().out == "hello\n"
    # a variable of a script that is not set: the only run there is was not meant
    for command in ("logs", "cancel"):
        assert main([command, ""]) == 1
        assert "error: the name of the run is empty" in capsys.readouterr().err
