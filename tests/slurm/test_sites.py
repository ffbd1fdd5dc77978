"""What sites and users do to SLURM: environment, wrappers, limits, clean-ups, odd paths."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Experiments
from tests.launch.processes import LAST_RESORT, harness, metrics, reached, start_harness
from tests.slurm.cluster import SlurmCluster
from tests.slurm.conftest import Submit
from tests.slurm.runs import counting_runs, finished, job_of, only, outcomes, slow_run, status
from tests.slurm.runs import undisturbed as right

LOGIN = {
    "SBATCH_ACCOUNT": "nobody",
    "SBATCH_PARTITION": "nowhere",
    "SBATCH_TIMELIMIT": "1",
    "SBATCH_NO_REQUEUE": "1",
    "SBATCH_JOB_NAME": "mine",
    "SBATCH_EXPORT": "NONE",
    "SBATCH_ARRAY_INX": "0-3",
    "SQUEUE_STATES": "COMPLETED",
    "SQUEUE_PARTITION": "urgent",
    "SQUEUE_FORMAT": "%i",
    "SACCT_FORMAT": "User",
    "SLURM_CLUSTERS": "elsewhere",
    "SLURM_TIME_FORMAT": "relative",
}


def wrapper(folder: Path, program: str, text: str) -> str:
    """A site's own program of that name before SLURM's; the PATH that finds it."""
    folder.mkdir(exist_ok=True)
    path = folder / program
    path.write_text(f"#!/bin/sh\n{text}\n".replace("REAL", str(shutil.which(program))))
    path.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_options_in_the_environment_of_the_login_change_nothing(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments
) -> None:
    table = slow_run(experiments, pause=0.2)
    assert "1 run submitted" in submit(table, **LOGIN)
    job = job_of(only())
    shown = cluster.call("scontrol", "show", "job", job)
    for part in ("Partition=main", "TimeLimit=00:30:00", "Requeue=1", "JobName=tests-slurm"):
        assert part in shown
    assert "1 run submitted before" in submit(table, **LOGIN)  # asked with the same environment
    cluster.wait(lambda: finished(only()))
    assert right(only())


def test_the_plan_is_made_with_the_environment_of_the_jobs(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, description: Path
) -> None:
    table = slow_run(experiments, pause=0)
    variables = r"""
environment:
  PATH: /opt/none:$PATH
  COUNTING_JOURNAL: "${HARNESS_HOME}/it's $$5 “é”\t`x` $(x).txt"
"""
    description.write_text("node: {cpus: 4}\n" + variables)
    submit(table)
    cluster.wait(lambda: finished(only()))
    journal = experiments.root / "it's $5 “é”\t`x` $(x).txt"
    assert "start CountingRun 1" in journal.read_text()


def test_output_of_a_wrapper_is_no_number_of_a_job(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, tmp_path: Path
) -> None:
    banner = r"printf 'Welcome to \377!\nYour last job 17 used 5 hours\n'"
    wrapper(tmp_path / "bin", "squeue", f'{banner}; exec REAL "$@"')
    path = wrapper(tmp_path / "bin", "sbatch", f'{banner}; REAL "$@"; echo 12 hours are left')
    table = slow_run(experiments, pause=0)
    cluster.call("sbatch", "-o", "/dev/null", "--comment", "a\nb|c|d", "--wrap", "true")
    assert "1 run submitted" in submit(table, PATH=path)
    cluster.wait(lambda: finished(only()))
    assert right(only())


def test_a_job_that_may_not_be_requeued_ends_at_once(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, description: Path
) -> None:
    description.write_text("node: {cpus: 4}\nrequeue: false\n")
    table = slow_run(experiments, pause=0.5)
    submit(table)
    directory = only()
    cluster.wait(reached(directory, 6))
    os.kill(json.loads((directory / "state.json").read_text())["pid"], 9)
    cluster.wait(cluster.empty)
    run = status()[directory.name]
    assert run["state"] == "interrupted"
    assert "cannot be requeued" in run["error"]
    assert "run again" in run["error"]
    assert "1 run submitted" in submit(table)
    cluster.wait(lambda: finished(directory))
    assert metrics(directory)[-1]["step"] == 12
    assert outcomes(directory)[0] is None


def test_a_setup_line_that_fails_ends_the_job_and_is_named(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, description: Path
) -> None:
    description.write_text("node: {cpus: 4}\nsetup: [export A=1, module load cuda/99]\n")
    submit(slow_run(experiments, pause=0))
    cluster.wait(cluster.empty)
    run = status()[only().name]
    assert "(this line of `setup` failed: module load cuda/99)" in run["error"]
    assert metrics(only()) == []


def test_a_snapshot_that_a_purge_has_thinned_is_mended(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, tmp_path: Path
) -> None:
    submit(slow_run(experiments, pause=0))
    cluster.wait(lambda: finished(only()))
    (snapshot,) = (tmp_path / "results/slurm/code").iterdir()
    (snapshot / "harness/launch/worker.py").unlink()
    (snapshot / "harness/plan.py").write_text("raise SystemExit('changed')")
    more = counting_runs(experiments, rows=["b"], seeds=[7], pause=0)
    assert "1 run submitted" in submit(more)
    cluster.wait(cluster.empty)
    assert {run["state"] for run in status().values()} == {"done"}


def test_a_job_refuses_other_code_than_that_of_its_submission(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, tmp_path: Path
) -> None:
    table = slow_run(experiments, pause=0)
    urgent = ["-p", "urgent", "-N3", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 600"]
    before = cluster.call("sbatch", "--parsable", *urgent).strip()
    cluster.wait(lambda: cluster.node_of(before))
    submit(table)
    (snapshot,) = (tmp_path / "results/slurm/code").iterdir()
    (snapshot / "harness/cli/plan.py").unlink()
    cluster.call("scancel", before)
    cluster.wait(cluster.empty)
    assert metrics(only()) == []
    assert "1 run submitted" in submit(table)  # whose call has noted why
    errors = [json.loads(path.read_text()) for path in (only() / "attempts").glob("0*.json")]
    assert "is not whole any more (harness/cli/plan.py)" in json.dumps(errors)
    cluster.wait(lambda: finished(only()))
    assert right(only())


def test_arrays_are_no_larger_than_the_cluster_takes(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, description: Path
) -> None:
    description.write_text("node: {cpus: 4}\nmax_array_size: 100000\n")
    submit(counting_runs(experiments, rows=["a", "b"], seeds=list(range(502)), pause=60))
    sizes = [
        line.count("submitted.pkl")
        for line in map(str, [list(one.iterdir()) for one in Path("results/slurm/jobs").iterdir()])
    ]
    assert sorted(sizes) == [3, 1001]


@pytest.mark.parametrize("name", ["a b%x 'c' \"d\" #é $HOME", "%%A"])
def test_any_path_holds_the_files_of_jobs(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, tmp_path: Path, name: str
) -> None:
    results = tmp_path / name
    table = slow_run(experiments, pause=0)
    if "%A" in name:
        said = submit(table, code=1, HARNESS_RESULTS=str(results))
        assert "must not hold '%A'; give `scratch:`" in said
        return
    submit(table, HARNESS_RESULTS=str(results))
    (directory,) = (results / "runs").iterdir()
    cluster.wait(lambda: finished(directory))
    assert right(directory)
    assert list((results / "slurm/jobs").glob("*/*_0_log.out"))


def jobs_of_parts(cluster: SlurmCluster, folder: Path) -> dict[str, list[str]]:
    """By partition: what each job asks for."""
    found: dict[str, list[str]] = {}
    for directory in sorted((folder / "results/runs").iterdir()):
        job = json.loads((directory / "job.json").read_text())["job"]
        shown = dict(
            word.partition("=")[::2]
            for word in cluster.call("scontrol", "show", "job", job).split()
        )
        asked = f"{shown['CPUs/Task']} {shown.get('TresPerNode', '')} {shown['OverSubscribe']}"
        found.setdefault(shown["Partition"], []).append(f"{job} {asked}")
    return found


def test_each_sort_of_work_goes_where_it_belongs(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, description: Path
) -> None:
    if not cluster.gpus:
        pytest.skip("needs device files")
    description.write_text(
        "node: {cpus: 4, gpus: 2}\npartition: main\n"
        "cpu: {node: {cpus: 2}, partition: urgent, minutes: 10}\n"
        "timing: {partition: urgent, minutes: 30}\n"
    )
    for column in ("value", "batch", "alone"):
        table = counting_runs(experiments, rows=["a"], seeds=[0, 1, 2], pause=5, column=column)
        # three CPUs a run would leave the second GPU of a node without any
        submit(table, "--device", "cuda", "--threads", "1", "--workers", "2")
    found = jobs_of_parts(cluster, experiments.root)
    assert {job.partition(" ")[2] for job in found["main"]} == {"2 gres:gpu:1 OK"}
    assert len(set(found["main"])) == 3
    assert sorted({job.partition(" ")[2] for job in found["urgent"]}) == [
        "1  OK",
        "2 gres:gpu:1 NO",
    ]
    assert len(set(found["urgent"])) == 2  # arithmetic in one job, timings in another


def test_doctor_holds_a_description_against_the_cluster(
    cluster: SlurmCluster, experiments: Experiments, description: Path
) -> None:
    done = harness("doctor", "--cluster", str(description))
    assert done.returncode == 0, done.stdout + done.stderr
    for what in ("jobs: training", "python on a node", "shared code", "shared results"):
        assert f"ok  {what}" in done.stdout
    assert not list(Path("results/slurm/jobs").iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partition: nowhere", "partition` in the cluster description"),
        (
            "node: {cpus: 4, memory_gb: 900}",
            "`node.memory_gb` is 900, and no node of the partition has more than 3.9",
        ),
        ("node: {cpus: 99}", "`node.cpus` is 99, and no node of the partition has more than 4"),
        ("constraint: a100", "correct `constraint`"),
        (
            "gpu_type: h100\nnode: {cpus: 4, gpus: 2}",
            "`gpu_type` is h100, and the partition has gpu:2",
        ),
        ("python: /nowhere/python", "/nowhere/python"),
        ("setup: ['false # why']", "this line of `setup` failed: false # why"),
        ("scratch: /tmp/$NOBODY/x", "$NOBODY is not known"),
    ],
)
def test_doctor_names_what_is_wrong(
    cluster: SlurmCluster, experiments: Experiments, description: Path, text: str, said: str
) -> None:
    description.write_text(text + ("" if "node:" in text else "\nnode: {cpus: 4}") + "\n")
    done = harness("doctor", "--cluster", str(description))
    assert done.returncode == 1
    assert said in " ".join(done.stdout.split())
    assert "Traceback" not in done.stderr


def test_a_local_run_goes_on_with_what_a_job_leaves(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments
) -> None:
    table = slow_run(experiments, pause=0)
    cluster.call("scontrol", "update", "partition=main", "state=down")
    try:
        submit(table)
        job = job_of(only())
        local = start_harness("run", table)
        assert local.stdout is not None
        assert any("1 running" in line for line in local.stdout)  # waits for the job
        cluster.call("scancel", job)
        _, said = local.communicate(timeout=LAST_RESORT)
    finally:
        cluster.call("scontrol", "update", "partition=main", "state=up")
    assert local.returncode == 0, said
    assert right(only())
