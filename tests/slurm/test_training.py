"""Real training runs on a real SLURM."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.conftest import Experiments
from tests.launch.processes import REPOSITORY, harness, start_harness
from tests.slurm.cluster import SlurmCluster
from tests.slurm.conftest import Submit
from tests.slurm.runs import TRAINING, finished, job_of, outcomes, status


def test_the_whole_of_table_2_runs_through_arrays_and_dependencies(
    cluster: SlurmCluster, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("HARNESS_HOME", str(REPOSITORY))
    words = ["maskedkd/table2", "--profile", "smoke"]
    assert "11 runs submitted" in submit(*words)
    cluster.wait(cluster.empty, seconds=300)
    runs = status(*words)
    assert {(run["state"], run["attempt"]) for run in runs.values()} == {("done", 1)}
    assert harness("report", *words).returncode == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_requeued_training_ends_with_the_same_bits(
    cluster: SlurmCluster,
    submit: Submit,
    experiments: Experiments,
    tmp_path: Path,
    processes: str,
) -> None:
    table = experiments.table("tests/train", TRAINING.format(epochs=20, lr="1e-3"))
    words = [table, "--rows", "teacher", "--processes", processes]
    elsewhere = tmp_path / "elsewhere"
    reference = start_harness("run", *words, HARNESS_RESULTS=str(elsewhere))
    _, said = reference.communicate(timeout=240)
    assert reference.returncode == 0, said
    (expected,) = (elsewhere / "runs").iterdir()
    submit(*words)
    (directory,) = Path("results/runs").iterdir()
    metrics = directory / "metrics.jsonl"
    cluster.wait(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") > 60)
    cluster.call("scontrol", "requeue", job_of(directory))
    cluster.wait(lambda: finished(directory), seconds=120)
    assert len(outcomes(directory)) == 2
    assert "resuming at step" in (directory / "log.txt").read_text()
    assert metrics.read_bytes() == (expected / "metrics.jsonl").read_bytes()
    results = [json.loads((one / "result.json").read_text()) for one in (directory, expected)]
    assert results[0]["metrics"] == results[1]["metrics"]
    weights, right = (load_file(one / "model.safetensors") for one in (directory, expected))
    assert weights.keys() == right.keys()
    assert all(weights[name].equal(right[name]) for name in right)


def test_the_students_of_a_failed_teacher_end_as_blocked(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments
) -> None:
    table = experiments.table("tests/train", TRAINING.format(epochs=1, lr="1e30"))
    assert "2 runs submitted" in submit(table)
    cluster.wait(cluster.empty)
    teacher, student = (
        next(run for run in status(table).values() if run["row"] == row)
        for row in ("teacher", "student")
    )
    assert teacher["state"] == "failed"
    assert "loss is" in teacher["error"]
    assert student["state"] == "planned"
    assert student["error"] == f"blocked: needs run {teacher['name']}, which failed"
