"""What can happen to jobs on a real SLURM, and nothing is lost or computed twice."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from tests.conftest import Experiments
from tests.launch.counting import expected
from tests.launch.processes import harness, metrics, reached, start_harness
from tests.slurm.cluster import NODES, SlurmCluster
from tests.slurm.conftest import Submit
from tests.slurm.runs import (
    STEPS,
    counting_runs,
    finished,
    has_result,
    job_of,
    member,
    only,
    outcomes,
    slow_run,
    status,
    undisturbed,
)

KILLS = 12


@pytest.fixture
def slow(experiments: Experiments) -> str:
    """One run of twelve steps, half a second each."""
    return slow_run(experiments)


def kill_worker(directory: Path) -> None:
    os.kill(json.loads((directory / "state.json").read_text())["pid"], signal.SIGKILL)


def test_a_preempted_run_goes_on_later(cluster: SlurmCluster, submit: Submit, slow: str) -> None:
    submit(slow)
    directory = only()
    cluster.wait(reached(directory, 2))
    urgent = ["-p", "urgent", "-N", str(len(NODES)), "--exclusive", "-o", "/dev/null"]
    cluster.call("sbatch", *urgent, "--wrap", "sleep 1")
    cluster.wait(lambda: finished(directory))
    assert undisturbed(directory)
    assert outcomes(directory) == ["interrupted", "done"]


def test_a_cancelled_run_keeps_its_checkpoint_and_is_submitted_again(
    cluster: SlurmCluster, submit: Submit, slow: str
) -> None:
    submit(slow)
    directory = only()
    cluster.wait(reached(directory, 2))
    cluster.call("scancel", job_of(directory))
    cluster.wait(cluster.empty)
    run = status()[directory.name]
    assert run["state"] == "interrupted"
    assert "CANCELLED" in run["error"]
    assert "1 run submitted" in submit(slow)
    cluster.wait(lambda: finished(directory))
    assert undisturbed(directory)
    assert "resuming at step" in (directory / "log.txt").read_text()


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


def test_cancel_takes_the_job_of_one_run_back_and_watching_shows_it(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments
) -> None:
    submit(counting_runs(experiments, rows=["a", "b"], seeds=[1], pause=1))
    left, ended = (next(Path("results/runs").glob(f"{row}-*")) for row in "ab")
    cluster.wait(lambda: reached(left, 2)() and reached(ended, 2)())
    node, job = cluster.node_of(job_of(ended)), job_of(ended)
    assert node in NODES
    with watching() as lines:
        how = (
            rf"running +{ended.name} +step \d+/13, .* left, on \S+, process \d+, job {job} running"
        )
        assert any(re.search(how, line) for line in lines)  # the lines end when all runs have
        assert "cancelled 1 job of 1 run" in harness("cancel", ended.name).stdout
        line = next(line for line in lines if f"interrupted  {ended.name}" in line)
        assert "stopped at step" in line
    cluster.wait(lambda: finished(left))
    assert undisturbed(left)
    again = harness("cancel", ended.name)
    assert again.returncode == 1
    assert "has no jobs" in again.stderr


def test_a_killed_node_daemon_does_not_double_the_run(
    cluster: SlurmCluster, submit: Submit, slow: str
) -> None:
    submit(slow)
    directory = only()
    cluster.wait(reached(directory, 2))
    job = job_of(directory)
    node = cluster.node_of(job)
    cluster.kill(node)  # what it computes goes on
    cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    cluster.wait(cluster.empty)
    assert "Restarts=1" in cluster.call("scontrol", "show", "job", job)
    assert undisturbed(directory)


def test_the_run_of_a_dead_node_goes_on_elsewhere(
    cluster: SlurmCluster, submit: Submit, slow: str
) -> None:
    submit(slow)
    directory = only()
    cluster.wait(reached(directory, 6))
    job = job_of(directory)
    node = cluster.node_of(job)
    cluster.kill_all(node, job)
    cluster.call("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    cluster.wait(lambda: finished(directory))
    assert undisturbed(directory)
    assert outcomes(directory) == [None, "done"]


def test_a_worker_killed_without_a_controller_is_requeued_when_it_is_back(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments
) -> None:
    # A controller writes its state down up to five seconds after a change: killed before, it comes
    # back without knowing that the job has begun, and starts it a second time.
    submit(slow_run(experiments, pause=1))
    directory = only()
    cluster.wait(reached(directory, 8))
    cluster.kill("slurmctld")
    kill_worker(directory)
    assert status()[directory.name]["state"] == "queued"  # nobody says that the job has ended
    cluster.start_controller()
    cluster.wait(lambda: finished(directory))
    assert undisturbed(directory)
    assert outcomes(directory) == [None, "done"]


@pytest.mark.parametrize("who", ["task", "signal"])
def test_whatever_happens_to_one_of_two_processes_both_go_on_from_the_checkpoint(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, who: str
) -> None:
    table = counting_runs(experiments, rows=["a"], seeds=[1], pause=0.3, column="together")
    submit(table, "--processes", "2", "--nodes", "2")
    directory = only()
    cluster.wait(reached(directory, 2))
    victim = member(directory)
    if who == "task":  # the process of SLURM's task, which waits for the run's
        victim = int(Path(f"/proc/{victim}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(victim, signal.SIGUSR2 if who == "signal" else signal.SIGKILL)
    cluster.wait(lambda: finished(directory))
    assert undisturbed(directory)
    assert outcomes(directory) == ["interrupted", "done"]
    log = (directory / "log.txt").read_text()
    assert ("ended without a word" in log) == (who != "signal")


@contextmanager
def watching() -> Iterator[IO[str]]:
    """What `harness status --watch` says, line by line."""
    watch = start_harness("status", "--watch")
    assert watch.stdout is not None
    try:
        yield watch.stdout
    finally:
        os.killpg(watch.pid, signal.SIGINT)
        watch.communicate()


def test_a_run_that_gets_no_further_is_given_up(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, description: Path
) -> None:
    description.write_text("node: {cpus: 4}\nattempts: 1\n")
    submit(slow_run(experiments, pause=5))
    directory = only()
    cluster.wait(lambda: len(outcomes(directory)) == 1)
    kill_worker(directory)
    cluster.wait(cluster.empty)
    run = status()[directory.name]
    assert run["state"] == "failed"
    assert "1 attempts in a row got no further" in run["error"]


def test_of_two_hundred_runs_killed_at_random_none_is_lost_or_doubled(
    cluster: SlurmCluster, submit: Submit, experiments: Experiments, description: Path
) -> None:
    # a run that is killed again and again before its first checkpoint is given up, and rightly so:
    # more attempts than kills, for how far a run gets before one depends on the machine
    description.write_text(f"node: {{cpus: 4}}\nmax_array_size: 10\nattempts: {KILLS + 1}\n")
    rows, draw = ["a", "b"], random.Random(0)
    single = counting_runs(experiments, rows=rows, seeds=list(range(12)), pause=0.02)
    assert "24 runs submitted" in submit(single)
    batched = counting_runs(
        experiments, rows=rows, seeds=list(range(88)), pause=0.01, column="batch"
    )
    assert "176 runs submitted" in submit(batched)
    directories = list(Path("results/runs").iterdir())
    assert len(directories) == 200
    killed: set[int] = set()
    while left := [directory for directory in directories if not has_result(directory)]:
        over = cluster.empty()
        assert not over or all(map(has_result, left)), [status()[one.name] for one in left]
        running = [pid for pid in map(_working, left) if pid is not None and pid not in killed]
        if running and len(killed) < KILLS:
            victim = draw.choice(running)
            killed.add(victim)
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
        time.sleep(0.5)
    cluster.wait(cluster.empty)
    for directory in directories:
        seed = int(directory.name.split("-s")[-1].split("-")[0])
        steps = STEPS + rows.index(directory.name[0])
        assert metrics(directory) == expected(steps, seed), directory
        # at most: a worker may be killed after it has written the result
        assert outcomes(directory).count("done") <= 1, directory
    attempts = sum(len(outcomes(directory)) for directory in directories)
    assert attempts > 200  # some were killed in the middle


def _working(directory: Path) -> int | None:
    try:
        state = json.loads((directory / "state.json").read_text())
    except OSError:
        return None
    return int(state["pid"]) if state["state"] == "running" and metrics(directory) else None
