"""A student and its teacher in a process each, as real workers: killed and stopped."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from harness.launch.worker import EXIT_INTERRUPTED
from harness.run import Resources
from harness.tasks.train import TrainRun
from tests.launch.processes import run_of, start_worker, store_in, wait_for
from tests.launch.test_worker import record
from tests.launch.test_worker_group import companion, ended, gone, interrupted
from tests.train.test_loop import config

TWO = '--resources={"device": "cpu", "processes": 2, "pipeline": 2}'
ENDLESS = TrainRun(train=config(epochs=5000))


def training(tmp_path: Path) -> tuple[Path, subprocess.Popen[str], int]:
    """One that would take hours, some steps after its beginning; and the teacher's process."""
    directory = store_in(tmp_path).create(run_of(ENDLESS))
    worker = start_worker(Path(TWO), directory)
    other = companion(directory)
    metrics = directory / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 0)
    return directory, worker, other


def test_the_death_of_the_teacher_ends_the_student_with_one_sentence(tmp_path: Path) -> None:
    directory, worker, other = training(tmp_path)
    os.kill(other, signal.SIGKILL)
    why = interrupted(directory, worker)
    assert re.fullmatch(
        rf"process 1 of 2 \(.*, pid {other}\) ended without a word: killed, .*", why
    )
    assert record(directory).environment["processes"] == 2


def test_the_death_of_the_student_ends_the_teacher(tmp_path: Path) -> None:
    _, worker, other = training(tmp_path)
    worker.kill()
    ended(worker)
    wait_for(lambda: gone(other))


def test_a_teacher_that_is_asked_to_stop_stops_the_run(tmp_path: Path) -> None:
    directory, worker, other = training(tmp_path)
    os.kill(other, signal.SIGUSR2)
    assert ended(worker) == EXIT_INTERRUPTED
    assert re.fullmatch(r"stopped at step \d+ of \d+", record(directory).error or "")
    assert (directory / "checkpoint.pt").exists()
    wait_for(lambda: gone(other))


@pytest.mark.parametrize(
    ("asked", "students", "used"),
    [
        (Resources(processes=2, pipeline=4), 1, (2, 4)),
        (Resources(processes=8, pipeline=2), 4, (8, 2)),
        (Resources(processes=64, pipeline=2), 32, (50, 2)),  # each student has mixup's partners
        (Resources(processes=2), 2, (2, None)),
    ],
)
def test_half_of_the_processes_are_teachers(
    asked: Resources, students: int, used: tuple[int, int | None]
) -> None:
    assert asked.students == students
    found = asked.for_run(ENDLESS)  # a batch of 50
    assert (found.processes, found.pipeline) == used


def test_without_a_frozen_teacher_all_processes_train() -> None:
    from harness.methods.supervised import Supervised

    asked = Resources(processes=4, pipeline=2)
    found = asked.for_run(TrainRun(train=config(Supervised())))
    assert (found.processes, found.pipeline) == (4, None)
