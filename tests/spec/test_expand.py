"""From a table to runs: one for each seed, shared, in the order of their dependencies."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from harness.cli import main
from harness.errors import HarnessError, SpecError
from harness.spec.expand import Expansion, SharedParts, expand
from harness.spec.identity import from_dict, identity, to_dict
from harness.spec.load import load_table
from harness.train.config import TrainConfig
from tests.conftest import TINY_VIT, Experiments
from tests.spec.specs import GOOD, changed
from tests.work import calls

TEACHERS = f"""\
paper: {{title: Teachers}}
columns: {{acc: {{from: train, metric: val/top1}}}}
seeds: [5, 6]
base: {{recipe: light, data: fashion-mnist, method: supervised}}
rows:
  - {{id: big, set: {{student: {{{TINY_VIT}}}}}}}
profiles:
  paper: {{}}
  tiny: {{description: smaller, base: {{recipe: {{lr: 1e-2}}}}}}
"""
WEIGHTS = f"      teacher: {{{TINY_VIT}}}\n"


@pytest.fixture
def good(experiments: Experiments) -> Expansion:
    """The good spec at its paper profile."""
    return expand(load_table(experiments.table("paper/good", GOOD)), "paper")


def test_a_run_for_each_seed_and_one_for_what_needs_no_seed(good: Expansion) -> None:
    none, logit = good.rows
    assert (len(none.runs["acc"]), len(none.runs["pflops"])) == (2, 0)
    assert (len(logit.runs["acc"]), len(logit.runs["pflops"])) == (2, 1)
    runs = {run.identity: run for run in good.runs}
    assert [runs[key].title.seed for key in logit.runs["acc"]] == [0, 1]
    assert [runs[key].title.seed for key in logit.runs["pflops"]] == [None]
    assert {run.task for run in good.runs} == {"train", "cost"}


def test_a_run_at_a_seed_is_what_its_plain_form_says(good: Expansion) -> None:
    """Rows are checked once and copied for each seed: no run may keep another one's."""
    for run in good.runs:
        again = from_dict(run.task, run.plain)
        assert again == run.config
        assert identity(run.task, again) == run.identity
        if run.title.seed is not None:
            assert run.plain["train"]["seed"] == run.title.seed


def test_names_can_be_read(good: Expansion) -> None:
    names = {run.name: run for run in good.runs}
    assert all(name.endswith(f"-{run.identity[:8]}") for name, run in names.items())
    assert [re.sub("-[0-9a-f]{8}$", "", name) for name in names] == [
        "none-s0", "none-s1", "logit-s0", "logit-s1", "logit-cost",
    ]  # fmt: skip


def test_the_data_version_is_filled_in(good: Expansion) -> None:
    from harness.data import DATASETS

    config = good.rows[0].config
    assert config.data.version == DATASETS.get("fashion-mnist").version


def test_rows_that_ask_for_the_same_share_their_runs(experiments: Experiments) -> None:
    text = changed(
        "  - id: logit\n", "  - {id: again, set: {method: {name: supervised}}}\n  - id: logit\n"
    )
    found = expand(load_table(experiments.table("paper/good", text)), "paper")
    assert found.rows[0].runs == found.rows[1].runs
    assert len(found.runs) == 5
    assert {run.title.row for run in found.runs} == {"none", "logit"}


def test_seeds_and_rows_can_be_chosen(experiments: Experiments) -> None:
    table = load_table(experiments.table("paper/good", GOOD))
    one = expand(table, "paper", rows="log*", seeds=[7])
    assert [row.row.id for row in one.rows] == ["logit"]
    assert [(run.task, run.title.seed) for run in one.runs] == [("train", 7), ("cost", None)]
    assert len(expand(table, "paper", rows="logit, none").rows) == 2
    for seeds in ([], [-1], [0, 0]):
        with pytest.raises(HarnessError, match="seeds must be different whole numbers from 0 up"):
            expand(table, "paper", seeds=seeds)
    with pytest.raises(HarnessError, match=r"unknown row 'logti'; did you mean 'logit'\?"):
        expand(table, "paper", rows="none,logti")
    with pytest.raises(HarnessError, match=r"unknown profile 'papr'; did you mean 'paper'\?"):
        expand(table, "papr")


def test_a_row_that_a_profile_does_not_list_is_told_with_the_place(
    experiments: Experiments,
) -> None:
    row = "  - {id: other, set: {method: supervised}}\nclaims:\n"
    told = "paper/good at profile 'tiny': row 'oth*' is in the table, but this profile lists "
    told += "its rows (experiments/paper/good.yaml:29:11): add it there, or take profile paper"
    table = load_table(experiments.table("paper/good", changed("claims:\n", row)))
    with pytest.raises(HarnessError) as error:
        expand(table, "tiny", rows="oth*")
    assert str(error.value) == told
    with pytest.raises(HarnessError, match=r"paper': unknown row 'othr'; did you mean 'other'\?"):
        expand(table, "paper", rows="othr")
    uses = changed(
        f"      teacher: {{{TINY_VIT}}}\n",
        f'      teacher: {{{TINY_VIT}, weights: {{run: "#other"}}}}\n',
        changed("claims:\n", row),
    )
    with pytest.raises(SpecError, match="tiny': row 'other' is in the table, but this profile"):
        expand(load_table(experiments.table("paper/good", uses)), "tiny")


def test_tasks_can_be_chosen_and_bring_along_what_they_need(experiments: Experiments) -> None:
    neighbours = "columns:\n  knn: {from: knn, metric: val/knn20_top1}\n"
    table = load_table(experiments.table("paper/good", changed("columns:\n", neighbours)))
    costs = expand(table, "paper", tasks=["cost"])
    assert [(run.task, run.title.row) for run in costs.runs] == [("cost", "logit")]
    assert costs.rows[1].runs["acc"] == ()
    judged = expand(table, "paper", rows="none", seeds=[0], tasks=["knn"])
    assert [run.task for run in judged.runs] == ["train", "knn"]
    assert judged.runs[1].depends == (judged.runs[0].identity,)
    whole = {run.identity for run in expand(table, "paper").runs}
    assert {run.identity for run in (*costs.runs, *judged.runs)} < whole
    assert expand(table, "paper", tasks=["throughput"]).runs == ()
    with pytest.raises(HarnessError, match=r"unknown task 'costs'; did you mean 'cost'\?"):
        expand(table, "paper", tasks=["costs"])
    with pytest.raises(HarnessError, match="task 'operations' is now called 'cost'"):
        expand(table, "paper", tasks=["operations"])


def teacher_from(reference: str) -> str:
    """The good spec with a teacher that is trained first."""
    weights = f"      teacher: {{{TINY_VIT}, weights: {{run: {reference}}}}}\n"
    return changed(WEIGHTS, weights)


def test_a_teacher_is_one_run_before_all_its_students(experiments: Experiments) -> None:
    experiments.table("paper/teachers", TEACHERS)
    table = load_table(experiments.table("paper/good", teacher_from("paper/teachers#big")))
    found = expand(table, "paper")
    teachers = [run for run in found.runs if run.title.table == "paper/teachers"]
    assert [(run.title.row, run.title.seed) for run in teachers] == [("big", 5)]
    students = [run for run in found.runs if run.depends]
    assert [run.title.seed for run in students] == [0, 1]
    assert all(run.depends == (teachers[0].identity,) for run in students)
    order = [run.identity for run in found.runs]
    assert order.index(teachers[0].identity) < min(order.index(run.identity) for run in students)


def test_a_teacher_is_trained_at_the_same_profile(experiments: Experiments) -> None:
    experiments.table("paper/teachers", TEACHERS)
    table = load_table(experiments.table("paper/good", teacher_from("paper/teachers#big")))
    rates = {}
    for profile in table.profiles:
        (teacher,) = (run for run in expand(table, profile).runs if run.title.row == "big")
        rates[profile] = teacher.plain["train"]["recipe"]["lr"]
    assert rates == {"paper": 1e-3, "tiny": 1e-2}


def test_who_expands_many_reads_a_table_that_they_start_from_once(
    experiments: Experiments,
) -> None:
    experiments.table("paper/teachers", TEACHERS)
    table = load_table(experiments.table("paper/good", teacher_from("paper/teachers#big")))
    shared = SharedParts()
    first = [expand(table, profile, shared=shared).runs for profile in table.profiles]
    teachers = shared.tables["paper/teachers"]
    assert first == [expand(table, profile).runs for profile in table.profiles]
    assert [expand(table, profile, shared=shared).runs for profile in table.profiles] == first
    assert shared.tables == {"paper/teachers": teachers}
    assert [run.plain for runs in first for run in runs] == [
        to_dict(run.config) for runs in first for run in runs
    ]


def test_a_teacher_at_no_such_profile(experiments: Experiments) -> None:
    other = TEACHERS.replace("tiny: {", "huge: {")
    experiments.table("paper/teachers", other)
    table = load_table(experiments.table("paper/good", teacher_from("paper/teachers#big")))
    assert expand(table, "paper").runs
    with pytest.raises(HarnessError, match="paper/teachers: unknown profile 'tiny'"):
        expand(table, "tiny")


def test_students_that_teach(experiments: Experiments) -> None:
    """A chain: the student of one row teaches the next."""
    text = teacher_from("'#none'").replace("claims:", f"""\
  - id: second
    set:
      teacher: {{{TINY_VIT}, weights: {{run: '#logit'}}}}
      method: distillation
claims:""")  # fmt: skip
    found = expand(load_table(experiments.table("paper/good", text)), "paper", rows="second")
    trained = [run for run in found.runs if run.task == "train"]
    assert [run.title.row for run in trained] == ["none", "logit", "second", "second"]
    assert [len(run.depends) for run in trained] == [0, 1, 1, 1]


def test_a_changed_teacher_changes_its_students(experiments: Experiments) -> None:
    experiments.table("paper/teachers", TEACHERS)
    experiments.table("paper/good", teacher_from("paper/teachers#big"))
    before = expand(load_table("paper/good"), "paper")
    slower = changed("base: {recipe: light", "base: {recipe: {from: light, lr: 1e-4}", TEACHERS)
    experiments.table("paper/teachers", slower)
    after = expand(load_table("paper/good"), "paper")
    assert before.rows[0].runs == after.rows[0].runs
    assert set(before.rows[1].runs["acc"]).isdisjoint(after.rows[1].runs["acc"])
    assert before.rows[1].runs["pflops"] == after.rows[1].runs["pflops"]


def test_a_file_of_weights_counts_by_its_content(experiments: Experiments) -> None:
    weights = f"      teacher: {{{TINY_VIT}, weights: {{file: a.safetensors}}}}\n"
    experiments.table("paper/good", changed(WEIGHTS, weights))
    experiments.table("paper/moved", changed(WEIGHTS, weights.replace("a.s", "b.s")))
    one, two = (b"\x02" + bytes(7) + b"{}" + end for end in (b"one", b"two"))
    for name, content in (("a", one), ("b", one)):
        (experiments.root / f"{name}.safetensors").write_bytes(content)
    runs = {
        name: expand(load_table(f"paper/{name}"), "paper").rows[1] for name in ("good", "moved")
    }
    config = runs["good"].config
    assert isinstance(config, TrainConfig)
    assert config.teacher is not None
    assert config.teacher.weights.sha256 == hashlib.sha256(one).hexdigest()
    assert runs["good"].runs == runs["moved"].runs
    (experiments.root / "a.safetensors").write_bytes(two)
    again = expand(load_table("paper/good"), "paper").rows[1]
    assert set(again.runs["acc"]).isdisjoint(runs["good"].runs["acc"])


def test_four_times_the_runs_are_four_times_the_work(experiments: Experiments) -> None:
    """Counted in calls: what grows with the square shows on any machine."""
    spent = []
    for weights in (10, 40):
        axes = {
            "method.mask.keep": list(range(1, 17)),
            "method.weight": [n / 8 for n in range(weights)],
        }
        grid = f"- id: 'k{{keep}}.w{{weight}}'\n    grid: {json.dumps(axes)}\n"
        text = changed("- id: logit\n", grid)
        text = changed(
            "    published: {acc: 75.0, pflops: {value: 1770, note: scanned}}\n", "", text
        )
        text = changed(
            '  - {id: helps, text: It helps, holds: "acc[logit] > acc[none]"}\n', "  []\n", text
        )
        experiments.table("paper/big", text.partition("  tiny:")[0])

        def work(runs: int = 3 + 3 * 16 * weights + 16) -> None:
            found = expand(load_table("paper/big"), "paper", seeds=[0, 1, 2])
            assert len(found.runs) == runs

        spent.append(calls(work))
    assert spent[1] < 4.4 * spent[0]


def test_every_spec_of_the_project_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.spec.paths import list_tables

    monkeypatch.setenv("HARNESS_HOME", str(Path(__file__).resolve().parents[2]))
    assert list_tables()
    for name in list_tables():
        table = load_table(name)
        for profile in table.profiles:
            assert expand(table, profile).runs


def test_weights_that_cannot_be_read_are_a_problem_of_their_row(
    experiments: Experiments, capsys: pytest.CaptureFixture[str]
) -> None:
    """`/proc/self/mem` is a regular file whose first byte no one may read."""
    weights = "student: {weights: {file: /proc/self/mem%s}}"
    for checksum in ("", f", sha256: {'0' * 64}"):
        text = GOOD.replace("{method: supervised}", f"{{method: supervised, {weights % checksum}}}")
        experiments.table("paper/unreadable", text)
        experiments.table("paper/good", GOOD)
        assert main(["list"]) == 1
        listed = capsys.readouterr().out
        assert "paper/unreadable  1 problem: run `harness check paper/unreadable`" in listed
        assert "paper/good" in listed
        assert main(["check", "paper/unreadable"]) == 1
        told = capsys.readouterr().err
        assert "input/output error" in told.lower()
        assert "file: /proc/self/mem" in told
