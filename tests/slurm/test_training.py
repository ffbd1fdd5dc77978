"""Real training runs on a real SLURM."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.conftest import Experiments
from tests.launch.processes import REPOSITORY, harness, start_harness
from tests.launch.processes import metrics as read_lines
from tests.slurm.cluster import SlurmCluster
from tests.slurm.conftest import Submit
from tests.slurm.runs import TRAINING, finished, job_of, member, only, outcomes, status


def test_the_whole_of_table_2_runs_through_arrays_and_dependencies(
    cluster: SlurmCluster, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("HARNESS_HOME", str(REPOSITORY))
    words = ["maskedkd/table2", "--profile", "smoke"]
    assert "11 runs submitted" in submit(*words)
    cluster.wait(cluster.empty)
    runs = status(*words)
    assert {(run["state"], run["attempt"]) for run in runs.values()} == {("done", 1)}
    assert harness("report", *words).returncode == 0


TWO = ["--processes", "2"]
WAY: dict[str, list[str]] = {
    "alone": [],
    "two processes of a node": TWO,
    "two nodes": [*TWO, "--nodes", "2"],
}
LONG = TRAINING.format(epochs=24, lr="1e-3")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The run directory of a training by so many processes, without a cluster."""
    found: dict[int, Path] = {}

    def train(processes: int) -> Path:
        if processes not in found:
            root = tmp_path_factory.mktemp("undisturbed")
            table = Experiments(root).table("tests/train", LONG)
            words = [table, "--rows", "teacher", "--processes", str(processes)]
            process = start_harness(
                "run", *words, HARNESS_HOME=str(root), HARNESS_RESULTS=str(root / "results")
            )
            _, said = process.communicate(timeout=900)
            assert process.returncode == 0, said
            (found[processes],) = (root / "results/runs").iterdir()
        return found[processes]

    return train


@pytest.mark.parametrize(
    ("way", "disturbances"),
    [
        ("alone", ["requeue"]),
        ("two processes of a node", ["kill"]),
        ("two nodes", ["requeue", "kill"]),
    ],
)
def test_a_disturbed_training_ends_with_the_same_bits(
    cluster: SlurmCluster,
    submit: Submit,
    experiments: Experiments,
    undisturbed: Callable[[int], Path],
    way: str,
    disturbances: list[str],
) -> None:
    table = experiments.table("tests/train", LONG)
    expected = undisturbed(2 if WAY[way] else 1)
    submit(table, "--rows", "teacher", *WAY[way])
    directory = only()
    metrics, log = directory / "metrics.jsonl", directory / "log.txt"
    job = job_of(directory)  # asked before, for it takes a while
    for number, disturb in enumerate(disturbances, 1):
        cluster.wait(lambda least=60 * number: metrics.exists() and lines(metrics) > least)
        assert cluster.node_of(job) == ("n[1-2]" if way == "two nodes" else "n1")
        if disturb == "requeue":
            cluster.call("scontrol", "requeue", job)
        else:
            cluster.wait((directory / "checkpoint.pt").exists)
            os.kill(member(directory), signal.SIGKILL)
        cluster.wait(lambda ended=number: outcomes(directory)[ended - 1] == "interrupted")
    cluster.wait(lambda: finished(directory))
    assert outcomes(directory) == ["interrupted"] * len(disturbances) + ["done"]
    assert log.read_text().count("ended without a word") == disturbances.count("kill")
    assert log.read_text().count("resuming at step") == len(disturbances)
    assert directory.name == expected.name
    assert read_lines(directory) == read_lines(expected)
    results = [json.loads((one / "result.json").read_text()) for one in (directory, expected)]
    assert results[0]["metrics"] == results[1]["metrics"]
    weights, right = (load_file(one / "model.safetensors") for one in (directory, expected))
    assert weights.keys() == right.keys()
    assert all(weights[name].equal(right[name]) for name in right)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


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
