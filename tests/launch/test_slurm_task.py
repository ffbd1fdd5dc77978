"""The tasks of a job that wait for the first one: what they do when it does not come."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.launch import slurm_task as task_module
from harness.launch.rendezvous import failed_start, mark_done, write_heartbeat
from harness.launch.slurm_task import SlurmTask
from tests.launch.processes import LAST_RESORT, environment

FOLLOW = """
import sys
from pathlib import Path
from harness.launch import slurm_task
slurm_task.SILENCE = float(sys.argv[2])
task = slurm_task.SlurmTask(rank=1, size=2, nodes=2, local=0, folder=Path(sys.argv[1]))
slurm_task.FollowerProcess(task).run()
"""


def follow(
    folder: Path, *, silence: float = LAST_RESORT, **variables: str
) -> subprocess.Popen[str]:
    """A task that waits, and takes so many seconds of silence for the end of the first one."""
    return subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(folder), str(silence)],
        env=environment(**variables),
        text=True,
        stderr=subprocess.PIPE,
    )


def test_signs_of_life_keep_a_task_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(task_module.time, "monotonic", lambda: now)
    pulse = task_module._Heartbeat(tmp_path)
    for sign in range(5):
        now += task_module.SILENCE - 1
        write_heartbeat(tmp_path)
        os.utime(tmp_path / "heartbeat", (sign, sign))  # as a file server shows it: another time
        assert not pulse.lost()
    now += task_module.SILENCE - 1
    assert not pulse.lost()
    now += 2
    assert pulse.lost()


def test_a_task_ends_when_the_first_one_says_so(tmp_path: Path) -> None:
    task = follow(tmp_path)
    mark_done(tmp_path)
    _, said = task.communicate(timeout=LAST_RESORT)
    assert (task.returncode, said) == (0, "")


def test_a_task_ends_when_the_first_one_is_silent(tmp_path: Path) -> None:
    task = follow(tmp_path, silence=0.1)
    _, said = task.communicate(timeout=LAST_RESORT)
    assert task.returncode == 1
    assert "the first task of the job is gone" in said


def test_a_process_that_cannot_begin_is_told_to_the_first(tmp_path: Path) -> None:
    """A node whose Python ends at once."""
    (tmp_path / "wrong").mkdir()
    broken = tmp_path / "wrong/sitecustomize.py"
    broken.write_text("import sys\nif 'harness.launch.follower' in sys.orig_argv: sys.exit(9)\n")
    task = follow(tmp_path, PYTHONPATH=f"{tmp_path / 'wrong'}:{environment()['PYTHONPATH']}")
    task.communicate(timeout=LAST_RESORT)
    assert task.returncode == 1
    assert "ended with exit code 1 before it began" in (failed_start(tmp_path) or "")


def test_each_task_of_a_node_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    task = SlurmTask(rank=5, size=8, nodes=2, local=1, folder=Path("unused"))
    for visible, own in {"4,5,6,7": "5", "6": "6", "": None}.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert task.gpu() == own
    third = SlurmTask(rank=2, size=3, nodes=1, local=2, folder=Path("unused"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(SystemExit):
        third.gpu()
