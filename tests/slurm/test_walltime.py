"""A run that takes longer than its jobs may.

It was submitted with the first tests of this folder and comes to its end beside the others.
"""

from __future__ import annotations

from pathlib import Path

from tests.slurm.cluster import SlurmCluster
from tests.slurm.runs import finished, outcomes, undisturbed


def test_a_run_longer_than_the_time_limit_takes_several_attempts(
    aside: SlurmCluster, short_of_time: Path
) -> None:
    aside.wait(lambda: finished(short_of_time))
    assert undisturbed(short_of_time)
    assert len(outcomes(short_of_time)) >= 3
