"""One cluster for all tests of this folder, empty at the start of each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Experiments
from tests.launch.processes import harness
from tests.slurm import accounting
from tests.slurm.cluster import NEEDED, SlurmCluster, lacking
from tests.slurm.runs import slow_run

Submit = Callable[..., str]


@contextmanager
def running(**options: Any) -> Iterator[SlurmCluster]:
    """A cluster; its `variables` are the environment in which commands find it."""
    if lacking():
        pytest.skip(f"needs {NEEDED}")
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        root.chmod(0o755)  # munge refuses a socket that others cannot reach
        cluster = SlurmCluster(root, **options)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="session")
def _running() -> Iterator[SlurmCluster]:
    with running() as cluster, pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.variables.items():
            patch.setenv(name, value)
        yield cluster


@pytest.fixture(scope="session")
def aside() -> Iterator[SlurmCluster]:
    """A cluster of one node, with accounts if that can be, for what takes long beside the rest."""
    with running(nodes=("n1",), accounts=not accounting.lacking()) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def short_of_time(aside: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of a minute, in jobs that may take one and are signalled before."""
    # SLURM looks at time limits every thirty seconds: the signal comes 2 to 32 s after the start
    root = tmp_path_factory.mktemp("short")
    description = root / "cluster.yaml"
    description.write_text("node: {cpus: 4}\nminutes: 1\nsignal_seconds: 58\n")
    table = slow_run(Experiments(root), pause=5)
    variables = {"HARNESS_HOME": str(root), "HARNESS_RESULTS": str(root / "results")}
    words = [table, "--executor", "slurm", "--cluster", str(description)]
    done = harness("run", *words, **aside.variables, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    (directory,) = (root / "results/runs").iterdir()
    return directory


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
