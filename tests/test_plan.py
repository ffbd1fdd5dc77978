"""A plan says what would run, what is there, what blocks it, and why results are stale."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tests.launch.counting  # noqa: F401 (registers its kinds)
from harness.cli import main
from harness.estimate import UNKNOWN_RATE, UNKNOWN_START, Rates
from harness.plan import Change, Plan, Reason, make_plan
from harness.spec.expand import Expansion, Run, expand
from harness.spec.load import load_table
from harness.store import DONE, FAILED, INTERRUPTED, RUNNING, RunWriter, Store, claim
from tests.conftest import TINY_VIT, Experiments
from tests.launch.counting import CountingRun

TABLE = f"""
paper: {{title: Counting}}
columns:
  value: {{label: Value, from: counting, metric: val/top1, unit: "%"}}
seeds: [0, 1]
base:
  data: {{name: fashion-mnist}}
  student: {{{TINY_VIT}}}
  method: supervised
  recipe: {{epochs: 12, batch_size: 64, lr: 1e-3}}
rows:
  - {{id: a, label: A}}
  - {{id: far, label: Far, set: {{recipe: {{weight_decay: 0.25}}}}}}
profiles:
  paper: {{}}
"""


@pytest.fixture
def expansion(experiments: Experiments) -> Expansion:
    """Row a with two seeds, row far that is blocked."""
    return expand(load_table(experiments.table("tests/plan", TABLE)), "paper")


def plan_of(expansion: Expansion, *, jobs: int = 1) -> Plan:
    """The plan on a CPU, for the store of the project."""
    return make_plan(expansion, Store(), device="cpu", jobs=jobs)


def with_runs(expansion: Expansion, *runs: Run) -> Expansion:
    """Other runs in place of the table's."""
    return replace(expansion, runs=runs)


def put(run: Run, state: str, *, seconds: float = 10.0) -> Path:
    """A run directory in that state."""
    directory = Store().create(run)
    lease = claim(directory)
    assert lease is not None
    writer = RunWriter(lease)
    if state == DONE:
        writer.finish({"val/top1": 50.0}, device="cpu")
        result = json.loads((directory / "result.json").read_text(encoding="utf-8"))
        (directory / "result.json").write_text(json.dumps({**result, "seconds": seconds}))
    else:
        writer.state(state, error="the loss is nan" if state == FAILED else None)
    if state != RUNNING:
        lease.release(state)
    return directory


def statuses(plan: Plan) -> list[str]:
    """In the order of the runs."""
    return [planned.status for planned in plan.runs]


def test_an_empty_store_has_everything_to_do(expansion: Expansion) -> None:
    plan = plan_of(expansion)
    assert statuses(plan) == ["todo", "todo", "blocked", "blocked"]
    assert plan.counts["todo"] == 2
    assert plan.runs[2].reasons == (Reason("unobtainium: dig deeper"),)
    assert not Store().root.exists()


@pytest.mark.parametrize(
    ("state", "status"),
    [(DONE, "cached"), (RUNNING, "running"), (INTERRUPTED, "interrupted"), (FAILED, "failed")],
)
def test_a_run_stands_as_its_directory_says(expansion: Expansion, state: str, status: str) -> None:
    put(expansion.runs[1], state)
    assert statuses(plan_of(expansion)) == ["todo", status, "blocked", "blocked"]


def test_a_result_is_worth_more_than_what_is_missing(expansion: Expansion) -> None:
    put(expansion.runs[2], DONE)
    assert statuses(plan_of(expansion)) == ["todo", "todo", "cached", "blocked"]


def test_what_depends_on_a_blocked_run_is_blocked_in_turn(expansion: Expansion) -> None:
    free, _, blocked, _ = expansion.runs
    student = replace(free, depends=(blocked.identity,))
    plan = plan_of(with_runs(expansion, blocked, student))
    (why,) = plan.runs[1].reasons
    assert (why.needs, str(why)) == (
        blocked.name,
        f"needs run {blocked.name}, which is blocked",
    )
    put(blocked, DONE)
    assert statuses(plan_of(with_runs(expansion, blocked, student))) == ["cached", "todo"]


def test_a_damaged_directory_blocks_with_what_to_do(expansion: Expansion) -> None:
    directory = Store().create(expansion.runs[0])
    (directory / "run.json").write_text("{", encoding="utf-8")
    planned = plan_of(expansion).runs[0]
    assert planned.status == "blocked"
    assert f"remove the folder {directory}" in planned.reasons[0].text


def put_old(wanted: Run, **changes: object) -> None:
    """`wanted` is done as an earlier spec asked for it, with `changes` of its configuration."""
    directory = put(replace(wanted, identity="0" * 64, name="a-old-00000000"), DONE)
    about = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    about["config"] |= changes
    (directory / "run.json").write_text(json.dumps(about), encoding="utf-8")


def test_a_stale_result_says_what_changed(expansion: Expansion) -> None:
    put_old(expansion.runs[0], steps=9, gone={"a": 1})
    found = plan_of(expansion).runs[0].stale
    assert found is not None
    assert found.record.identity == "0" * 64
    assert found.changes == (
        Change(key="steps", old=9, new=12),
        Change(key="gone", old={"a": 1}, new=None),
    )


def test_a_stale_result_of_an_older_version_says_so(
    expansion: Expansion, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = replace(expansion.runs[0], identity="0" * 64, name="a-old-00000000")
    put(old, DONE)
    monkeypatch.setattr(CountingRun, "version", 2)
    found = plan_of(expansion).runs[0].stale
    assert found is not None
    assert found.changes == (Change(key="version", old=1, new=2),)


@pytest.mark.parametrize("other", [{"row": "b"}, {"seed": 5}, {"profile": "cpu"}])
def test_results_of_another_cell_make_nothing_stale(
    expansion: Expansion, other: dict[str, Any]
) -> None:
    wanted = expansion.runs[0]
    title = replace(wanted.title, **other)
    old = replace(wanted, identity="0" * 64, name="a-old-00000000", title=title)
    put(old, DONE)
    assert plan_of(expansion).runs[0].stale is None


def test_a_cached_run_is_not_stale(expansion: Expansion) -> None:
    put(replace(expansion.runs[0], identity="0" * 64, name="a-old-00000000"), DONE)
    put(expansion.runs[0], DONE)
    assert plan_of(expansion).runs[0].stale is None


def test_estimates_come_from_finished_runs(expansion: Expansion) -> None:
    first, second, *_ = expansion.runs
    unknown = plan_of(expansion).runs[1].seconds
    assert unknown == pytest.approx(UNKNOWN_START + 12 * UNKNOWN_RATE["cpu"])
    put(first, DONE, seconds=30.0)
    plan = plan_of(expansion)
    assert plan.runs[1].seconds == pytest.approx(30.0)
    assert (plan.work, plan.seconds) == (pytest.approx(30.0), pytest.approx(30.0))
    directory = put(second, INTERRUPTED)
    state = json.loads((directory / "state.json").read_text(encoding="utf-8"))
    state["progress"] = {"done": 9, "total": 12, "unit": "step"}
    (directory / "state.json").write_text(json.dumps(state), encoding="utf-8")
    assert plan_of(expansion).runs[1].seconds == pytest.approx(7.5)


def test_an_estimate_follows_runs_of_about_its_size() -> None:
    small = [(10.0 + i, 1.0) for i in range(5)]
    large = [(1000.0 + i, 500.0) for i in range(5)]
    rates = Rates("cpu", {"train": [*small, *large]})
    assert rates.seconds("train", 12.0) == pytest.approx(1.0)
    assert rates.seconds("train", 1002.0) == pytest.approx(500.0)
    assert rates.seconds("cost", 0.0) == 1.0


def test_needs_are_asked_once_for_runs_that_differ_in_their_seed_only(
    expansion: Expansion, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(CountingRun, "needs", lambda run, device: asked.append(run.seed) or [])
    plan_of(expansion)
    assert asked == [0, 0]  # rows a and far


def test_the_command_prints_the_plan(
    expansion: Expansion, capsys: pytest.CaptureFixture[str]
) -> None:
    put(expansion.runs[0], FAILED)
    put_old(expansion.runs[1], steps=9)
    assert main(["plan", "tests/plan", "--jobs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tests/plan, profile paper: 4 runs (1 failed, 1 todo, 2 blocked); ")
    assert lines[0].endswith("with 2 jobs at once")
    for line in (
        "  2 runs: unobtainium: dig deeper",
        "  1 run: steps: 9 -> 12",
        f"  {expansion.runs[0].name}: the loss is nan",
    ):
        assert line in lines


def test_the_plan_as_json(expansion: Expansion, capsys: pytest.CaptureFixture[str]) -> None:
    directory = put(expansion.runs[0], DONE)
    assert main(["plan", "tests/plan", "--json", "--device", "cpu", "--jobs", "3"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["table"], found["profile"]) == (1, "tests/plan", "paper")
    assert (found["device"], found["jobs"]) == ("cpu", 3)
    counts = {"cached": 1, "running": 0, "interrupted": 0, "failed": 0, "todo": 1, "blocked": 2}
    assert found["counts"] == counts
    first = found["runs"][0]
    assert (first["status"], first["directory"]) == ("cached", str(directory))
    assert (first["row"], first["seed"], first["kind"]) == ("a", 0, "counting")
    assert found["runs"][2]["reasons"] == ["unobtainium: dig deeper"]


def test_a_dry_run_shows_the_jobs_of_blocked_runs_too(
    expansion: Expansion, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cluster.yaml").write_text("node: {cpus: 64, gpus: 8}\n")
    words = ["run", "tests/plan", "--executor", "slurm", "--dry-run", "--device", "cuda"]
    assert main([*words, "--cluster", "cluster.yaml"]) == 0
    said = capsys.readouterr().out
    # each run takes 4 s to start, before anything was measured
    assert said.startswith("# would be submitted: 1 array, 2 jobs, 2 runs, roughly 8 s\n")
    now, then = said.split("# would be submitted once this is there:\n")
    assert "\n# blocked: 1 array, 2 jobs, 2 runs, roughly 8 s\n" in now
    assert then.startswith("#   unobtainium: dig deeper\n#!/bin/bash\n")
    for script, row in ((now, "a"), (then, "far")):
        assert script.count("#SBATCH --gpus-per-node=1\n") == 1
        assert f"# 2 runs:\n# {row}-counting-s0-" in script
    main([*words, "--cluster", "cluster.yaml", "--rows", "a"])
    assert "blocked" not in capsys.readouterr().out


def test_the_status_of_a_table_and_of_everything(
    expansion: Expansion, capsys: pytest.CaptureFixture[str]
) -> None:
    put(expansion.runs[0], DONE)
    put(expansion.runs[1], FAILED)
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("2 runs (1 done, 1 failed)")
    assert lines[1] == "  tests/plan paper  1/2 done, 1 failed"
    assert lines[2] == f"  failed       {expansion.runs[1].name}  the loss is nan"
    assert main(["status", "tests/plan", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["state"] for run in found["runs"]] == ["done", "failed", "planned", "planned"]
    assert found["runs"][0]["result"] == {"val/top1": 50.0}
    assert found["runs"][1]["error"] == "the loss is nan"
    assert found["counts"]["planned"] == 2


def test_the_status_of_a_table_lists_every_run(
    experiments: Experiments, expansion: Expansion, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also what another table had computed, by the name it has there and as a row of this one."""
    put(expansion.runs[0], DONE, seconds=190)
    put(expansion.runs[1], FAILED)
    experiments.table("tests/other", TABLE.replace("{id: a,", "{id: b,"))
    first, second, *far = [run.name for run in expansion.runs]
    for table, remark in (("tests/plan", ""), ("tests/other", "  here row b, seed 0")):
        assert main(["status", table]) == 0
        _, counts, *lines = capsys.readouterr().out.splitlines()
        assert counts == f"  {table} paper  1/4 done, 2 planned, 1 failed"
        assert lines[0] == f"  failed       {second}  the loss is nan"
        assert lines[1:3] == [f"  planned      {name}" for name in far]
        line = (
            rf"  done         {first}  value 50\.00 %  3 min 10 s  \d{{4}}-\d\d-\d\d \d\d:\d\d UTC"
        )
        assert re.fullmatch(line + remark, lines[3])
    assert main(["status", "tests/other", "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [(run["table"], run["row"]) for run in runs[:2]] == [("tests/other", "b")] * 2
    assert main(["status", first[:-2]]) == 0
    assert f"  done         {first}  val/top1 50.00  3 min 10 s" in capsys.readouterr().out
    assert main(["status", first, "--rows", "a"]) == 1
    assert main(["status", first.replace("a-", "b-")]) == 1
    assert f"did you mean '{first}'" in capsys.readouterr().err


def test_runs_that_no_table_wants_are_listed_with_their_size(
    experiments: Experiments, expansion: Expansion, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another seed than the profile's is wanted; what another configuration gave no longer is."""
    other_seed = expand(expansion.table, "paper", rows="a", seeds=(7,)).runs[0]
    directories = [put(run, DONE) for run in (expansion.runs[0], expansion.runs[2], other_seed)]
    put(expansion.runs[3], RUNNING)
    assert main(["status", "--unused"]) == 0
    assert capsys.readouterr().out.startswith("0 runs that no table in ")
    changed = TABLE.replace("weight_decay: 0.25", "weight_decay: 0.2")
    experiments.table("tests/plan", changed)
    (directories[1] / "model.safetensors").write_bytes(bytes(3_000_000))
    assert main(["status", "--unused"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("1 run that no table in ")
    assert first.endswith(" 3.0 MB")
    name = directories[1].name
    assert [line.split() for line in lines] == [["3.0", "MB", "done", name, "tests/plan", "paper"]]
    assert main(["status", "--unused", "--json"]) == 0
    assert [run["name"] for run in json.loads(capsys.readouterr().out)["runs"]] == [name]
    experiments.table("tests/plan", changed.replace("epochs: 12", "epochs: many"))
    assert main(["status", "--unused"]) == 1
    assert (
        "what tests/plan wants is not known: 1 problem: run `harness check"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "wrong",
    [
        ["status", "tests/plan", "--unused"],
        ["plan", "tests/plam"],
        ["plan", "tests/plan", "--profile", "papr"],
        ["run", "tests/plan", "--rows", "b"],
        ["run", "tests/plan", "--seeds", "0,x"],
        ["run", "tests/plan", "--tasks", "flop"],
        ["status", "--tasks", "cost"],
        ["run", "tests/plan", "--jobs", "0"],
        ["run", "tests/plan", "--executor", "slrm"],
        ["status", "tests/plam"],
        ["status", "--rows", "b"],
        ["run", "tests/plan", "--workers", "x"],
    ],
)
def test_wrong_command_lines_are_the_users_errors(
    expansion: Expansion, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(wrong)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 1
    assert "error:" in capsys.readouterr().err
