"""What `sacct` says of jobs that have left the queue, on a cluster that keeps accounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.launch.scheduler import Scheduler, _sacct, _squeue
from tests.slurm import accounting
from tests.slurm.cluster import SlurmCluster


@pytest.fixture
def accounts(
    aside: SlurmCluster, short_of_time: Path, monkeypatch: pytest.MonkeyPatch
) -> SlurmCluster:
    """That of the run which takes long, so that it is under way from the first test on."""
    if accounting.lacking():
        pytest.skip(f"needs accounts: {accounting.NEEDED}")
    for name, value in aside.variables.items():
        monkeypatch.setenv(name, value)
    return aside


def over(cluster: SlurmCluster, job: str) -> bool:
    return cluster.call("squeue", "-h", "-j", job) == ""


def submit(cluster: SlurmCluster, *words: str) -> str:
    return cluster.call("sbatch", "--parsable", "-o", "/dev/null", *words).strip()


def test_accounting_tells_how_jobs_ended(accounts: SlurmCluster) -> None:
    """Of an array, each job; of a job with steps, the job; cancelled ones, whoever did it."""
    array = submit(accounts, "--array=0-1", "--wrap", "srun sh -c 'exit $SLURM_ARRAY_TASK_ID'")
    accounts.wait(lambda: over(accounts, array))
    long = submit(accounts, "--wrap", "sleep 100")
    accounts.wait(lambda: accounts.node_of(long))
    accounts.call("scancel", long)
    accounts.wait(lambda: over(accounts, long))
    jobs = [f"{array}_0", f"{array}_1", long]
    expected = {
        jobs[0]: ("COMPLETED", "ended"),
        jobs[1]: ("FAILED", "failed"),
        jobs[2]: ("CANCELLED", "ended"),
    }

    def told() -> bool:  # accounts are a few seconds behind
        return {job: (one.state, one.phase) for job, one in _sacct(jobs).items()} == expected

    accounts.wait(told)
    assert {one.node for one in _sacct(jobs).values()} == {"n1"}
    queue = _squeue().jobs  # which still knows them here
    assert {job: queue[job].state for job in jobs} == {job: expected[job][0] for job in jobs}
    assert _sacct(["987654"]) == {}
    assert jobs[0] in Scheduler().ask([*jobs, "987654"]).jobs
