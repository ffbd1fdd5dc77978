"""Data for a cluster is got once, by the command that submits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Experiments
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
    assert "#SBATCH" not in submit(table, "--dry-run", "--tasks", "train", **server.variables)
    assert not server.begun
    said = submit(table, "--tasks", "train", **server.variables)
    assert said.index(f"getting data set {NAME}") < said.index("1 run submitted;")
    cluster.wait(cluster.empty)
    (directory,) = Path("results/runs").iterdir()
    assert json.loads((directory / "state.json").read_text())["state"] == "done"
    assert len(server.begun) == 1
