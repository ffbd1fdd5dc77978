"""What `sacct` says of jobs that have left the queue, on a cluster that keeps accounts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.launch.scheduler import Scheduler, _sacct, _squeue
from tests.slurm import accounting
from tests.slurm.cluster import NEEDED, SlurmCluster, lacking
from tests.slurm.conftest import running


@pytest.fixture
def accounts() -> Iterator[SlurmCluster]:
    if lacking() or accounting.lacking():
        pytest.skip(f"needs {NEEDED}, and for accounts {accounting.NEEDED}")
    with running(nodes=("n1",), accounts=True) as cluster:
        yield cluster


def submit(cluster: SlurmCluster, *words: str) -> str:
    return cluster.call("sbatch", "--parsable", "-o", "/dev/null", *words).strip()


def test_accounting_tells_how_jobs_ended(accounts: SlurmCluster) -> None:
    """Of an array, each job; of a job with steps, the job; cancelled ones, whoever did it."""
    array = submit(accounts, "--array=0-1", "--wrap", "srun sh -c 'exit $SLURM_ARRAY_TASK_ID'")
    accounts.wait(accounts.empty)
    long = submit(accounts, "--wrap", "sleep 100")
    accounts.wait(lambda: accounts.node_of(long))
    accounts.call("scancel", long)
    accounts.wait(accounts.empty)
    jobs = [f"{array}_0", f"{array}_1", long]
    expected = {
        jobs[0]: ("COMPLETED", "ended"),
        jobs[1]: ("FAILED", "failed"),
        jobs[2]: ("CANCELLED", "ended"),
    }

    def told() -> bool:  # accounts are a few seconds behind
        return {job: (one.state, one.standing) for job, one in _sacct(jobs).items()} == expected

    accounts.wait(told, seconds=30)
    assert {one.node for one in _sacct(jobs).values()} == {"n1"}
    assert {job: one.state for job, one in _squeue().jobs.items()} == {
        job: state for job, (state, _) in expected.items()
    }
    assert _sacct(["987654"]) == {}
    assert set(Scheduler().ask([*jobs, "987654"]).jobs) == set(jobs)
