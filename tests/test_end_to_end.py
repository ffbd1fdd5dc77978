"""The whole of Table 2 at its `smoke` profile, by the commands that a person types."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from harness.spec.load import load_table
from tests.launch.processes import LAST_RESORT, metrics, wait_for
from tests.report.committed import assert_remade

ROOT = Path(__file__).parents[1]
TABLE = "maskedkd/table2"


def command(*words: str, home: Path) -> subprocess.Popen[str]:
    """`harness WORDS`, with its results in `home`."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness", *words],
        cwd=ROOT,
        env={**os.environ, "HARNESS_RESULTS": str(home / "results")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """What it printed."""
    out, err = process.communicate(timeout=LAST_RESORT)
    assert process.returncode == code, f"{out}\n{err}"
    return out


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the table was run."""
    home = tmp_path_factory.mktemp("table2")
    finish(command("run", TABLE, "--profile", "smoke", home=home))
    return home


def runs(home: Path) -> Iterator[Path]:
    yield from sorted((home / "results/runs").iterdir())


def test_every_run_has_a_result(home: Path) -> None:
    found = list(runs(home))
    assert len(found) == 11
    for directory in found:
        assert json.loads((directory / "state.json").read_text())["state"] == "done"
        result = json.loads((directory / "result.json").read_text())["metrics"]
        assert all(isinstance(value, float) for value in result.values())
        assert not (directory / "checkpoint.pt").exists()


def test_the_teacher_is_trained_once_and_named_by_its_students(home: Path) -> None:
    plain = {path.name: json.loads((path / "run.json").read_text()) for path in runs(home)}
    (teacher,) = (run for run in plain.values() if run["title"]["row"] == "teacher")
    students = [run for run in plain.values() if run["depends"]]
    assert len(students) == 4
    assert all(run["depends"] == [teacher["identity"]] for run in students)


def test_a_second_call_computes_nothing(home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (home / "results/runs").rglob("*")}
    said = finish(command("run", TABLE, "--profile", "smoke", home=home))
    assert "Everything is computed already." in said
    assert {path: path.stat().st_mtime_ns for path in (home / "results/runs").rglob("*")} == before


def test_the_report_says_what_was_measured(home: Path) -> None:
    finish(
        command("report", TABLE, "--profile", "smoke", "--format", "csv,md,html,tex,pdf", home=home)
    )
    with (home / "results/maskedkd/table2.smoke.csv").open() as file:
        cells = {(line["row"], line["column"]): line for line in csv.DictReader(file)}
    measured = []
    for seed in (0, 1):
        (path,) = (home / "results/runs").glob(f"deit_ti.none-s{seed}-*")
        measured.append(json.loads((path / "result.json").read_text())["metrics"]["val/top1"])
    cell = cells["deit_ti.none", "acc"]
    assert float(cell["mean"]) == pytest.approx(sum(measured) / 2)
    assert cell["published"] == "72.0"
    assert cell["verdict"] == "not comparable"
    for ending in ("md", "html", "tex", "pdf"):
        (report,) = home.rglob(f"table2.smoke.{ending}")
        assert report.stat().st_size > 1000


def test_the_report_is_made_again_from_its_per_seed_values(home: Path) -> None:
    finish(command("report", TABLE, "--profile", "smoke", "--format", "csv,md", home=home))
    results, reports = home / "results", home / "reports"
    assert_remade(load_table(TABLE), "smoke", results, reports)
    with (results / "maskedkd/table2.smoke.seeds.csv").open() as file:
        every = list(csv.DictReader(file))
    lines = [line for line in every if (line["column"], line["state"]) == ("acc", "done")]
    assert {line["seed"] for line in lines} == {"0", "1"}
    assert all(line["cpu"] and line["threads"] == "1" and line["torch"] for line in lines)
    assert {(line["images"], line["look"]) for line in lines} == {("10000", "2")}
    seeds = results / "maskedkd/table2.smoke.seeds.csv"
    kept = seeds.read_text()
    first = next(line for line in lines)["value"]
    seeds.write_text(kept.replace(first, str(float(first) + 1), 1))
    with pytest.raises(AssertionError):  # the test would tell
        assert_remade(load_table(TABLE), "smoke", results, reports)
    seeds.write_text(kept)


LONG = """
paper: {title: A run long enough to be interrupted, table: long}
columns:
  acc: {from: train, metric: val/top1, better: higher}
rows:
  - id: masked
    set:
      recipe: {from: smoke, epochs: 15, evaluate_every: 4}
      data: {name: fashion-mnist, train_fraction: 0.02}
      student: {arch: vit, image_size: 28, patch_size: 7, width: 16, depth: 2, heads: 2}
      teacher: {arch: vit, image_size: 28, patch_size: 7, width: 32, depth: 2, heads: 2}
      method: {name: distillation, mask: {keep: 6}}
profiles:
  smoke:
    description: only for this test
    seeds: [0]
    resources: {device: cpu, threads: 1, checkpoint_seconds: 0.2}
"""


def long_run(home: Path) -> subprocess.Popen[str]:
    spec = home / "long.yaml"
    spec.write_text(LONG)
    return command("run", str(spec), "--profile", "smoke", home=home)


def outcome(home: Path) -> tuple[object, ...]:
    """Everything that a resumed run must reproduce."""
    (path,) = (home / "results/runs").iterdir()
    result = json.loads((path / "result.json").read_text())["metrics"]
    weights = {
        name: value.tolist() for name, value in load_file(path / "model.safetensors").items()
    }
    return result, metrics(path), weights


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """What the long run gives when nobody disturbs it."""
    home = tmp_path_factory.mktemp("undisturbed")
    finish(long_run(home))
    return outcome(home)


def checkpointed(home: Path) -> Path:
    """The directory of the run, as soon as it has a checkpoint."""
    wait_for(lambda: list((home / "results").glob("runs/*/checkpoint.pt")))
    (found,) = (home / "results/runs").iterdir()
    return found


def test_ctrl_c_then_kill_9_and_going_on_gives_the_same_bits(
    undisturbed: object, tmp_path: Path
) -> None:
    process = long_run(tmp_path)
    directory = checkpointed(tmp_path)
    process.send_signal(signal.SIGINT)
    finish(process, code=130)
    assert json.loads((directory / "state.json").read_text())["state"] == "interrupted"
    saved = (directory / "checkpoint.pt").stat().st_mtime_ns
    process = long_run(tmp_path)
    wait_for(lambda: (directory / "checkpoint.pt").stat().st_mtime_ns > saved)
    os.kill(json.loads((directory / "state.json").read_text())["pid"], signal.SIGKILL)
    finish(process, code=2)
    finish(long_run(tmp_path))
    assert len(list((directory / "attempts").iterdir())) == 3
    assert (directory / "log.txt").read_text().count("resuming at step") == 2
    assert outcome(tmp_path) == undisturbed
