"""Data for a cluster is got once: by the command that submits, or by one job for all."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import TINY_VIT, Experiments
from tests.data.origin import Origin, origin
from tests.data.test_fetch import NAME, TABLE, Server
from tests.slurm.cluster import SlurmCluster
from tests.slurm.conftest import Submit


def test_the_data_is_there_before_a_job_is(
    cluster: SlurmCluster,
    submit: Submit,
    experiments: Experiments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    server = Server(tmp_path)
    table = experiments.table("tests/needs", TABLE)
    said = submit(table, "--offline", "--tasks", "train", code=1, **server.variables)
    assert said.splitlines()[-1].startswith("Nothing of tests/needs can be trained here: ")
    server.go()
    said = submit(table, "--dry-run", "--tasks", "train", **server.variables)
    assert said.startswith("# would be submitted: nothing\n# blocked: 1 array, 1 job, 1 run, ")
    assert not server.begun
    said = submit(table, "--tasks", "train", **server.variables)
    assert said.index(f"getting data set {NAME}") < said.index("1 run submitted;")
    cluster.wait(cluster.empty)
    (directory,) = Path("results/runs").iterdir()
    assert json.loads((directory / "state.json").read_text())["state"] == "done"
    assert len(server.begun) == 1


SERVED = f"""
paper: {{title: Three jobs that train the same}}
columns: {{acc: {{from: train, metric: val/top1}}}}
seeds: [0]
base:
  data: {{name: served-fashion}}
  student: {{{TINY_VIT}}}
  method: supervised
  recipe: {{epochs: 3, batch_size: 20, lr: 1e-3}}
rows:  # no gradient is so large
  - {{id: a, label: A, set: {{recipe: {{clip_norm: 1e6}}}}}}
  - {{id: b, label: B, set: {{recipe: {{clip_norm: 1e7}}}}}}
  - {{id: c, label: C, set: {{recipe: {{clip_norm: 1e8}}}}}}
profiles:
  paper: {{}}
"""


@pytest.fixture
def waiting_jobs(
    cluster: SlurmCluster,
    submit: Submit,
    experiments: Experiments,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Origin]:
    """Three jobs at once whose set was there when they were submitted, and is nowhere now: one has
    asked the server for it, the others wait for that one.
    """
    cache = tmp_path / "cache"
    monkeypatch.setenv("HARNESS_CACHE", str(cache))
    with origin() as server:
        server.answer("whole")
        with closed(cluster):
            said = submit(experiments.table("tests/served", SERVED), **server.variables)
            assert "3 runs submitted" in said
            shutil.rmtree(cache)
        cluster.wait(lambda: server.asked == 2 and len(lines("waiting for process")) == 2)
        yield server


@contextmanager
def closed(cluster: SlurmCluster) -> Iterator[None]:
    """Meanwhile, no job starts."""
    cluster.call("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        yield
    finally:
        cluster.call("scontrol", "update", "PartitionName=main", "State=UP")


def lines(part: str) -> list[str]:
    """Of the logs of all runs, those that hold `part`."""
    logs = Path("results/runs").glob("*/log.txt")
    return [line for log in logs for line in log.read_text().splitlines() if part in line]


def downloader() -> int:
    """The process that gets the set."""
    lock = Path(os.environ["HARNESS_CACHE"], ".served-fashion.lock").read_text()
    return int(re.findall(r"process (\d+) on ", lock)[0])


def outcome(cluster: SlurmCluster) -> set[str]:
    """What the runs, all done, have come to; nothing but the whole set is in the cache."""
    cluster.wait(cluster.empty)
    runs = list(Path("results/runs").iterdir())
    states = [json.loads((run / "state.json").read_text())["state"] for run in runs]
    assert states == ["done"] * 3, lines("error") + lines("failed")
    kept = {path.name.partition("-d")[0] for path in Path(os.environ["HARNESS_CACHE"]).iterdir()}
    assert kept == {"served-fashion", ".served-fashion.lock", "sources.json"}
    results = [json.loads((run / "result.json").read_text()) for run in runs]
    return {json.dumps(result["metrics"]) for result in results}


def test_jobs_that_want_the_same_set_wait_for_one_download(
    cluster: SlurmCluster, waiting_jobs: Origin
) -> None:
    waiting_jobs.answer("whole")
    assert len(outcome(cluster)) == 1
    assert (waiting_jobs.asked, waiting_jobs.whole) == (2, 2)  # one of them by the submission


def test_what_was_cut_short_is_begun_again_and_never_taken_for_whole(
    cluster: SlurmCluster, waiting_jobs: Origin
) -> None:
    first = downloader()
    os.kill(first, signal.SIGKILL)
    cluster.wait(lambda: waiting_jobs.asked == 3)
    second = downloader()
    assert second != first
    waiting_jobs.answer("half")  # to the process that is gone
    waiting_jobs.answer("half")
    cluster.wait(lambda: waiting_jobs.asked == 4)
    assert downloader() == second
    waiting_jobs.answer("whole")
    assert len(outcome(cluster)) == 1
    assert (waiting_jobs.asked, waiting_jobs.whole) == (4, 2)
