"""Tables on a real SLURM: submitted, killed, requeued, and nothing lost or computed twice."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Experiments
from tests.launch.conftest import TABLE
from tests.launch.counting import expected
from tests.launch.processes import REPOSITORY, harness, metrics
from tests.slurm.cluster import SlurmCluster

Submit = Callable[..., str]


@pytest.fixture
def submit(cluster: SlurmCluster, description: Path) -> Submit:
    """`harness run TABLE --executor slurm`, which must succeed unless told otherwise."""

    def call(table: str, *more: str, code: int = 0) -> str:
        done = harness("run", table, "--executor", "slurm", "--cluster", str(description), *more)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call


@pytest.fixture
def slow(experiments: Experiments) -> str:
    """One run of twelve steps, a second each."""
    text = TABLE.format(pause=1.0, more="")
    lines = [line for line in text.splitlines() if "counting-" not in line and "id: b" not in line]
    return experiments.table("tests/slow", "\n".join(lines).replace("[0, 1]", "[1]"))


def status(*words: str) -> dict[str, dict[str, object]]:
    """The runs of `harness status --json`, by name."""
    done = harness("status", *words, "--json")
    return {run["name"]: run for run in json.loads(done.stdout)["runs"]}


def only() -> Path:
    """The only run directory."""
    (directory,) = Path("results/runs").iterdir()
    return directory


def undisturbed(directory: Path) -> bool:
    """Whether a run gave what it gives without SLURM."""
    return metrics(directory) == expected(12, 1) and (directory / "result.json").exists()


def test_the_whole_table_runs_through_arrays_and_dependencies(
    cluster: SlurmCluster, description: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("HARNESS_HOME", str(REPOSITORY))
    words = ["maskedkd/table2", "--profile", "smoke"]
    done = harness("run", *words, "--executor", "slurm", "--cluster", str(description))
    assert "11 runs submitted" in done.stdout, done.stdout + done.stderr
    again = harness("run", *words, "--executor", "slurm", "--cluster", str(description))
    assert "submitted before" in again.stdout
    cluster.wait(cluster.empty, seconds=200)
    runs = status(*words)
    assert {run["state"] for run in runs.values()} == {"done"}
    assert {run["attempt"] for run in runs.values()} == {1}
    code = list((tmp_path / "results/slurm/code").iterdir())
    environment = json.loads(
        (tmp_path / "results/runs" / min(runs) / "environment.json").read_text()
    )
    assert len(code) == 1
    assert environment["commit"] == json.loads((code[0] / "snapshot.json").read_text())["commit"]


def test_a_requeued_run_goes_on_to_the_same_result(
    cluster: SlurmCluster, submit: Submit, slow: str
) -> None:
    submit(slow)
    directory = only()
    cluster.wait(lambda: len(metrics(directory)) >= 6)
    cluster.call("scontrol", "requeue", str(status()[directory.name]["job"]))
    cluster.wait(lambda: (directory / "result.json").exists())
    assert undisturbed(directory)
    assert "resuming at step" in (directory / "log.txt").read_text()


def test_a_run_longer_than_the_time_limit_takes_several_attempts(
    cluster: SlurmCluster, submit: Submit, slow: str, description: Path
) -> None:
    description.write_text("node: {cpus: 4}\nminutes: 1\nsignal_seconds: 58\n")
    submit(slow)
    directory = only()
    cluster.wait(lambda: (directory / "result.json").exists(), seconds=150)
    assert undisturbed(directory)
    assert len(list((directory / "attempts").glob("0*.json"))) > 1


def test_a_cancelled_run_keeps_its_checkpoint_and_is_submitted_again(
    cluster: SlurmCluster, submit: Submit, slow: str
) -> None:
    submit(slow)
    directory = only()
    cluster.wait(lambda: len(metrics(directory)) >= 2)
    cluster.call("scancel", str(status()[directory.name]["job"]))
    cluster.wait(cluster.empty)
    run = status()[directory.name]
    assert run["state"] == "interrupted"
    assert "CANCELLED" in str(run["error"])
    assert "1 run submitted" in submit(slow)
    cluster.wait(lambda: (directory / "result.json").exists())
    assert undisturbed(directory)


def test_cancel_takes_the_jobs_of_a_table_back(
    cluster: SlurmCluster, submit: Submit, slow: str
) -> None:
    submit(slow)
    assert "cancelled 1 job" in harness("cancel", slow).stdout
    cluster.wait(cluster.empty)
    assert status()[only().name]["state"] in ("planned", "interrupted")
    again = harness("cancel", slow)
    assert again.returncode == 1
    assert "has no jobs" in again.stderr


def test_a_killed_node_daemon_loses_and_doubles_nothing(
    cluster: SlurmCluster, submit: Submit, slow: str
) -> None:
    submit(slow)
    directory = only()
    cluster.wait(lambda: len(metrics(directory)) >= 2)
    job = str(status()[directory.name]["job"])
    node = cluster.call("squeue", "-h", "-j", job, "-o", "%N").strip()
    cluster.kill(node)
    cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    cluster.wait(lambda: (directory / "result.json").exists())
    assert undisturbed(directory)


def test_a_killed_worker_is_requeued(cluster: SlurmCluster, submit: Submit, slow: str) -> None:
    submit(slow)
    directory = only()
    cluster.wait(lambda: len(metrics(directory)) >= 6)
    os.kill(json.loads((directory / "state.json").read_text())["pid"], signal.SIGKILL)
    cluster.wait(lambda: (directory / "result.json").exists())
    assert undisturbed(directory)
    assert status()[directory.name]["attempt"] == 2


def test_a_submission_without_controller_is_made_up_for(
    cluster: SlurmCluster, submit: Submit, slow: str
) -> None:
    cluster.kill("slurmctld", signal.SIGTERM)
    assert "the same command submits what is left" in submit(slow, code=1)
    cluster.start_controller()
    cluster.wait(lambda: "is UP" in cluster.call("scontrol", "ping"))
    assert "1 run submitted" in submit(slow)
    cluster.wait(lambda: (only() / "result.json").exists())
    assert undisturbed(only())


def test_a_dry_run_prints_the_scripts_and_writes_nothing(
    submit: Submit, counting_table: str
) -> None:
    said = submit(counting_table, "--dry-run")
    assert "#SBATCH --array=0-3%4" in said
    assert "#SBATCH --signal=USR2@60" in said
    assert not Path("results").exists()
