"""Plans handed to a real SLURM: what is submitted, when, once, and with which code."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Experiments
from tests.launch.processes import REPOSITORY, environment, harness, metrics
from tests.slurm.cluster import SlurmCluster
from tests.slurm.conftest import Submit
from tests.slurm.runs import counting_runs, finished, first, only, slow_run, status, undisturbed

PASSING_ON = """#!/bin/sh
# the first submission arrives, of the second only the answer is lost
if mkdir {folder}/first 2>/dev/null; then exec {sbatch} "$@"; fi
{sbatch} "$@" >/dev/null
echo "sbatch: error: the answer is lost" >&2
exit 1
"""


def test_a_dry_run_prints_the_scripts_and_writes_nothing(
    submit: Submit, experiments: Experiments
) -> None:
    table = counting_runs(experiments, rows=["a", "b"], seeds=[0, 1], pause=0)
    said = submit(table, "--dry-run", "--jobs", "3")
    assert "#SBATCH --array=0-3%3" in said
    assert "#SBATCH --signal=USR2@60" in said
    assert not Path("results").exists()


@pytest.mark.parametrize("more", [[], ["--processes", "2", "--nodes", "2"]])
def test_a_dry_run_prints_what_is_submitted(
    submit: Submit, experiments: Experiments, more: list[str]
) -> None:
    """Line by line, but for the name of the submission; so it shows when submitit changes."""
    rows = ["a"] if more else ["a", "b"]
    column = "together" if more else "value"
    table = counting_runs(experiments, rows=rows, seeds=[0], pause=0, column=column)
    summary, _, rest = submit(table, "--dry-run", *more).partition("\n")
    runs = 1 if more else 2
    assert summary.startswith(f"# would be submitted: 1 array, {runs} job")
    printed = rest.partition(f"\n# {runs} runs:")[0]
    submit(table, *more)
    (script,) = Path("results/slurm/jobs").glob("*/*_submission.sh")
    submission = json.loads((only() if more else first()).joinpath("job.json").read_text())
    text = printed.replace("jobs/<submission>", f"jobs/{submission['submission'][:8]}")
    text = text.replace("<submission>", submission["submission"])
    assert text.replace("'", "").strip() == script.read_text().replace("'", "").strip()


def test_what_is_submitted_is_not_submitted_again(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments
) -> None:
    table = slow_run(experiments, pause=0.1)
    assert "1 run submitted" in submit(table)
    assert "1 run submitted before" in submit(table)
    cluster.wait(cluster.empty)
    assert undisturbed(only())
    assert "Everything is computed already" in submit(table)


def test_a_submission_without_controller_is_made_up_for(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments
) -> None:
    table = slow_run(experiments, pause=0.1)
    cluster.kill("slurmctld", signal.SIGTERM)
    assert "the same command submits what is left" in submit(table, code=1)
    cluster.start_controller()
    cluster.wait(cluster.answers)
    assert "1 run submitted" in submit(table)
    cluster.wait(lambda: finished(only()))
    assert undisturbed(only())


def test_a_submission_whose_answer_is_lost_half_way_is_made_up_for(
    cluster: SlurmCluster,
    submit: Submit,
    experiments: Experiments,
    description: Path,
    tmp_path: Path,
) -> None:
    description.write_text("node: {cpus: 4}\nmax_array_size: 2\n")
    table = counting_runs(experiments, rows=["a", "b"], seeds=[0, 1], pause=0)
    folder = tmp_path / "bin"
    folder.mkdir()
    wrapper = folder / "sbatch"
    wrapper.write_text(PASSING_ON.format(folder=folder, sbatch=shutil.which("sbatch")))
    wrapper.chmod(0o755)
    said = submit(table, code=1, PATH=f"{folder}:{os.environ['PATH']}")
    assert "the answer is lost. 2 were submitted before" in said
    assert "2 runs submitted" in submit(table)
    cluster.wait(cluster.empty)
    runs = status()
    assert len(runs) == 4
    assert {(run["state"], run["attempt"]) for run in runs.values()} == {("done", 1)}


def test_an_option_that_slurm_refuses_is_told_and_leaves_nothing_behind(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, description: Path
) -> None:
    table = slow_run(experiments, pause=0)
    description.write_text("node: {cpus: 4}\npartition: nowhere\n")
    assert "invalid partition specified: nowhere" in submit(table, code=1)
    assert {run["state"] for run in status().values()} == {"planned"}


def test_submitting_from_inside_a_job(
    cluster: SlurmCluster, description: Path, experiments: Experiments, tmp_path: Path
) -> None:
    table = slow_run(experiments, pause=0.1)
    words = ["run", table, "--executor", "slurm", "--cluster", str(description)]
    command = shlex.join([sys.executable, "-m", "harness", *words])
    subprocess.run(
        ["sbatch", "--mem=50", "-t", "5", "-o", str(tmp_path / "outer"), "--wrap", command],
        env=environment(),
        check=True,
        capture_output=True,
    )
    cluster.wait(lambda: Path("results/runs").exists() and finished(only()))
    assert undisturbed(only())


def test_editing_the_code_changes_no_queued_job(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, tmp_path: Path
) -> None:
    table = slow_run(experiments, pause=0.1)
    code = tmp_path / "code"
    shutil.copytree(REPOSITORY / "harness", code / "harness")
    urgent = ["-p", "urgent", "-N3", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 60"]
    before = cluster.call("sbatch", "--parsable", *urgent).strip()
    cluster.wait(lambda: cluster.node_of(before))
    submit(table, PYTHONPATH=f"{code}:{REPOSITORY}")
    for file in (code / "harness").rglob("*.py"):
        file.write_text("raise RuntimeError('edited')\n")
    assert metrics(only()) == []
    cluster.call("scancel", before)
    cluster.wait(lambda: finished(only()))
    assert undisturbed(only())
    (snapshot,) = (tmp_path / "results/slurm/code").iterdir()
    assert json.loads((snapshot / "snapshot.json").read_text()) == {
        "commit": None,
        "dirty": None,
        "code": "not a git checkout",
    }


@pytest.mark.parametrize("follow", [[], ["--follow"]])
def test_the_log_of_a_run(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, follow: list[str]
) -> None:
    submit(slow_run(experiments, pause=0.05))
    if not follow:
        cluster.wait(cluster.empty)
    said = harness("logs", "a-counting", *follow).stdout
    assert "attempt 1 on" in said
    assert "done: count/value" in said
