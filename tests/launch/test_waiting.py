"""A command that waits for the machine says for whom, and what to do where that one is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.launch.timing_lock import TimingLock
from tests.launch.processes import REPOSITORY, environment, start_harness, wait_for

HOLD = """
import sys
from pathlib import Path
from harness.launch.timing_lock import TimingLock
lock = TimingLock(Path(sys.argv[1]))
assert lock.acquire_shared() if sys.argv[2] == "shared" else lock.acquire_exclusive()
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(path: Path, how: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the lock, and is killed at the end."""
    words = [sys.executable, "-c", HOLD, str(path), how]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def drawing(*words: str) -> tuple[subprocess.Popen[bytes], int]:
    """A command that has a terminal, and where what it draws is read."""
    mine, theirs = os.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "harness", *words],
        env=environment(COLUMNS="400"),
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    return command, mine


def test_who_holds_the_lock_and_whether_it_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    mine = TimingLock(path)
    assert mine.holders() == []
    with holding(path, "shared") as other:
        assert mine.acquire_shared()
        (holder,) = mine.holders()
        assert (holder.pid, holder.stopped) == (other.pid, None)
        other.send_signal(signal.SIGSTOP)
        wait_for(lambda: mine.holders()[0].stopped == other.pid)
        assert str(mine.holders()[0]).endswith(
            f": is stopped; `fg` in its terminal or `kill -CONT {other.pid}` lets it go on, "
            f"`kill -9 {other.pid}` ends it"
        )
    assert mine.holders() == []


def test_a_timing_that_waits_for_a_stopped_command_says_so(
    slow_table: str, counting_table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_LOCKS", str(tmp_path / "locks"))
    go, journal = tmp_path / "go", tmp_path / "journal"
    held = {"COUNTING_HOLD": "6", "COUNTING_GO": str(go), "COUNTING_JOURNAL": str(journal)}
    first = start_harness("run", slow_table, "--jobs", "1", **held)
    wait_for(journal.exists)
    second, drawn = drawing("run", counting_table, "--tasks", "counting-alone")
    waits = "the next run times something and waits for process "
    read_until(drawn, f"{waits}{first.pid} (harness run tests/slow --jobs 1)")
    first.send_signal(signal.SIGSTOP)
    stopped = f"{first.pid} (harness run tests/slow --jobs 1): is stopped; `fg` in its terminal"
    read_until(drawn, stopped)
    first.send_signal(signal.SIGCONT)
    go.touch()
    read_until(drawn, "4 runs done in ")
    os.close(drawn)
    assert second.wait() == 0
    first.communicate()
    assert first.returncode == 0


def test_all_wait_for_a_timing_and_say_whose(
    counting_table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_LOCKS", str(tmp_path))
    with holding(tmp_path / f"harness-{os.getuid()}.lock", "exclusive") as timing:
        words = ("run", counting_table, "--tasks", "counting-alone", "--rows", "a")
        command, drawn = drawing(*words)
        read_until(drawn, f"waiting for a timing of process {timing.pid} (")
    read_until(drawn, "2 runs done in ")
    os.close(drawn)
    assert command.wait() == 0


def read_until(terminal: int, words: str) -> None:
    """Read what a command draws, up to these words."""
    seen = ""
    while words not in seen:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the command has ended
            part = b""
        assert part, seen
        seen += part.decode(errors="replace")
