"""Sets in folds: seeds are judged by folds; no network has seen the fold that judges it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import SpecError
from harness.spec.expand import Expansion, expand
from harness.spec.load import load_table

SPEC = """
paper: {title: T, table: "1"}
columns: {acc: {from: train, metric: val/top1}, half: {from: occlusion, metric: teacher/top1}}
seeds: [0, 1, 2]
base: {data: {name: esc50}, recipe: ast-esc50, student: ast_s, method: supervised}
rows:
  - {id: teacher, label: Teacher, set: {%sstudent: ast_b}}
  - id: taught
    label: Taught
    set:
      data: {%s}
      teacher: {arch: ast_base, weights: {run: "#teacher"}}
      method: {name: distillation, loss: logit}
profiles: {paper: {description: d}}
"""


@pytest.fixture
def expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))

    def of(fold: str = "", teachers: str = "") -> Expansion:
        path = tmp_path / "t.yaml"
        path.write_text(SPEC % (teachers, fold))
        return expand(load_table(str(path)), "paper")

    return of


def trained(found: Expansion) -> list[tuple[str, int, int | None, set[tuple[int, int | None]]]]:
    """(row, seed, fold, the (seed, fold) of what it depends on) of every training."""
    runs = {run.identity: run for run in found.runs}

    def place(run: Any) -> tuple[int, int | None]:
        return run.config.train.seed, run.config.train.data.fold

    return [
        (run.title.row, *place(run), {place(runs[other]) for other in run.depends})
        for run in found.runs
        if run.task == "train"
    ]


def test_seeds_are_folds_and_teachers_are_of_the_same(expanded: Any) -> None:
    found = expanded()
    assert sorted(trained(found), key=str) == [
        ("taught", 0, 1, {(0, 1)}),
        ("taught", 1, 2, {(1, 2)}),
        ("taught", 2, 3, {(2, 3)}),
        ("teacher", 0, 1, set()),
        ("teacher", 1, 2, set()),
        ("teacher", 2, 3, set()),
    ]
    (occlusion,) = [run for run in found.runs if run.task == "occlusion"]
    assert occlusion.config.data.fold == 1
    assert len(occlusion.depends) == 1
    (teacher,) = [run for run in found.runs if run.identity == occlusion.depends[0]]
    assert teacher.config.train.data.fold == 1


@pytest.mark.parametrize("fold", [1, 2, 5])
def test_one_fold_for_all_seeds_has_one_teacher(expanded: Any, fold: int) -> None:
    found = [one for one in trained(expanded(f"fold: {fold}")) if one[0] == "taught"]
    assert found == [("taught", seed, fold, {(fold - 1, fold)}) for seed in (0, 1, 2)]


def test_a_teacher_that_has_seen_the_judging_fold_is_refused(expanded: Any) -> None:
    with pytest.raises(SpecError, match="was trained on fold 2, which judges here"):
        expanded("fold: 2", "data: {fold: 1}, ")
    assert trained(expanded("fold: 2", "data: {fold: 2}, "))
