"""Two real processes that compute one run: stopped, killed and at odds."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from harness.launch.worker import EXIT_FAILED, EXIT_INTERRUPTED
from harness.run import Resources
from harness.store import DONE, FAILED, INTERRUPTED
from tests.launch.counting import CountingRun, TogetherRun, expected
from tests.launch.processes import LAST_RESORT, metrics, reached, start_worker, wait_for
from tests.launch.test_worker import prepared, record

STEPS = 40
LONG = TogetherRun(steps=STEPS, seed=4)
TWO = '--resources={"processes": 2}'


def started(
    tmp_path: Path, config: CountingRun | TogetherRun, **more: str
) -> tuple[Path, subprocess.Popen[str]]:
    directory = prepared(tmp_path, config)  # type: ignore[arg-type]
    return directory, start_worker(Path(TWO), directory, **more)


def ended(worker: subprocess.Popen[str]) -> int:
    worker.communicate(timeout=LAST_RESORT)
    return worker.returncode


def interrupted(directory: Path, worker: subprocess.Popen[str]) -> str:
    """Why, as its run says once the worker has ended."""
    assert ended(worker) == EXIT_INTERRUPTED
    found = record(directory)
    assert found.state == INTERRUPTED
    assert found.error is not None
    return found.error


def killed(pid: int) -> str:
    """The pattern of what is said of a second process that was."""
    return rf"process 1 of 2 \(.*, pid {pid}\) ended without a word: killed, .*"


def goes_on(directory: Path) -> None:
    """A second attempt gives what one alone gives, from the checkpoint of the first."""
    assert ended(start_worker(Path(TWO), directory)) == 0
    assert metrics(directory) == expected(STEPS, 4)
    assert record(directory).attempt == 2
    assert "resuming at step" in (directory / "log.txt").read_text()


def companion(directory: Path) -> int:
    """The number of the second process, as the log tells it."""
    log = directory / "log.txt"
    found: list[str] = []

    def told() -> bool:
        found[:] = re.findall(r"process 1 of 2: .*, pid (\d+)", log.read_text())
        return bool(found)

    wait_for(log.exists)
    wait_for(told)
    return int(found[-1])


def gone(pid: int) -> bool:
    with suppress(OSError):
        os.kill(pid, 0)
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text()
    return True


def test_two_processes_compute_a_run_and_one_writes_it(tmp_path: Path) -> None:
    directory, worker = started(tmp_path, LONG)
    other = companion(directory)
    assert ended(worker) == 0
    assert metrics(directory) == expected(STEPS, 4)
    assert (record(directory).state, record(directory).attempt) == (DONE, 1)
    assert record(directory).environment["processes"] == 2
    wait_for(lambda: gone(other))


def test_a_run_that_one_process_computes_starts_no_other(tmp_path: Path) -> None:
    directory, worker = started(tmp_path, CountingRun(steps=12, seed=4))
    assert ended(worker) == 0
    assert "process 1 of" not in (directory / "log.txt").read_text()


def test_the_death_of_one_process_ends_the_other_and_nothing_is_lost(tmp_path: Path) -> None:
    directory, worker = started(tmp_path, LONG, COUNTING_HOLD="5")
    other = companion(directory)
    wait_for(reached(directory, 5))
    os.kill(other, signal.SIGKILL)
    why = interrupted(directory, worker)
    assert re.fullmatch(
        rf"process 1 of 2 \(.*, pid {other}\) ended without a word: killed, .*", why
    )
    goes_on(directory)


def test_the_death_of_the_first_process_ends_the_other(tmp_path: Path) -> None:
    directory, worker = started(tmp_path, LONG, COUNTING_HOLD="5")
    other = companion(directory)
    wait_for(reached(directory, 5))
    worker.kill()
    ended(worker)
    wait_for(lambda: gone(other))


@pytest.mark.parametrize("rank", [0, 1])
def test_whoever_is_asked_to_stop_all_stop_after_the_same_step(tmp_path: Path, rank: int) -> None:
    directory, worker = started(tmp_path, LONG, COUNTING_HOLD="5")
    other = companion(directory)
    wait_for(reached(directory, 5))
    os.kill(worker.pid if rank == 0 else other, signal.SIGUSR2)
    why = interrupted(directory, worker)
    assert why == f"stopped at step {len(metrics(directory))}"
    wait_for(lambda: gone(other))


def test_a_process_that_gives_up_waiting_interrupts_the_run(tmp_path: Path) -> None:
    """The first one is in a sum with it."""
    run = TogetherRun(steps=STEPS, seed=4, behaviour="starve")
    directory, worker = started(tmp_path, run, COUNTING_HOLD="5")
    other = companion(directory)
    wait_for(reached(directory, 5))
    os.kill(other, signal.SIGUSR2)
    why = interrupted(directory, worker)
    said = r"process 1 of 2 \(.*\): stopped at step 5, while it waited for images"
    assert re.fullmatch(said, why)
    goes_on(directory)
    assert "resuming at step 4" in (directory / "log.txt").read_text()


def test_what_only_the_second_process_cannot_do_fails_the_run(tmp_path: Path) -> None:
    directory, worker = started(tmp_path, TogetherRun(steps=9, behaviour="fail"))
    assert ended(worker) == EXIT_FAILED
    found = record(directory)
    assert found.state == FAILED
    assert re.fullmatch(r"process 1 of 2 \(.*\): the loss is nan at step 3", found.error or "")


def test_what_the_second_process_dies_of_is_told(tmp_path: Path) -> None:
    directory, worker = started(tmp_path, TogetherRun(steps=9, behaviour="crash"))
    why = interrupted(directory, worker)
    assert re.fullmatch(r"process 1 of 2 \(.*\): ValueError: a bug", why)


def test_a_process_that_cannot_be_woken_ends_when_another_is_dead(tmp_path: Path) -> None:
    directory, worker = started(
        tmp_path, TogetherRun(steps=9, behaviour="stuck"), COUNTING_PATIENCE="0.5"
    )
    other = companion(directory)
    wait_for(reached(directory, 3))
    os.kill(other, signal.SIGKILL)
    assert ended(worker) == EXIT_INTERRUPTED
    assert "ended without a word" in (record(directory).error or "")


def test_nodes_are_those_of_the_processes() -> None:
    with pytest.raises(ValueError, match=r"must divide the number of processes, 3: .* got 2"):
        Resources(processes=3, nodes=2)
