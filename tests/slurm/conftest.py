"""One cluster for all tests of this folder, empty at the start of each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.launch.processes import harness
from tests.slurm.cluster import NEEDED, SlurmCluster, lacking

Submit = Callable[..., str]


@contextmanager
def running(**options: Any) -> Iterator[SlurmCluster]:
    """A cluster, and the environment in which commands find it."""
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        root.chmod(0o755)  # munge refuses a socket that others cannot reach
        cluster = SlurmCluster(root, **options)
        before = dict(os.environ)
        os.environ["SLURM_CONF"] = str(root / "slurm.conf")
        os.environ["PATH"] += ":/usr/sbin"
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
            os.environ.clear()
            os.environ.update(before)


@pytest.fixture(scope="session")
def _running() -> Iterator[SlurmCluster]:
    if lacking():
        pytest.skip(f"needs {NEEDED}")
    with running() as cluster:
        yield cluster


@pytest.fixture
def cluster(_running: SlurmCluster) -> Iterator[SlurmCluster]:
    """A cluster without jobs."""
    _running.clear()
    yield _running
    _running.clear()


@pytest.fixture
def description(tmp_path: Path) -> Path:
    """The cluster as its users describe it."""
    path = tmp_path / "cluster.yaml"
    path.write_text("partition: main\nnode: {cpus: 4}\nminutes: 30\nsignal_seconds: 60\n")
    return path


@pytest.fixture
def submit(cluster: SlurmCluster, description: Path) -> Submit:
    """`harness run TABLE --executor slurm`, with the exit code it must have; what it says."""

    def call(table: str, *more: str, code: int = 0, **variables: str) -> str:
        words = [table, "--executor", "slurm", "--cluster", str(description), *more]
        done = harness("run", *words, **variables)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return call
