"""Disks that are full or locked: one clear message, nothing corrupt, everything resumable."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.launch.worker import EXIT_CANNOT_WRITE
from harness.store import DONE, INTERRUPTED, read_record
from tests.launch.counting import CountingRun, expected
from tests.launch.processes import environment, harness, metrics, run_of, store_in, work

FILLING = CountingRun(steps=12, seed=2, behaviour="fill")  # writes 30 MB at step 7


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a file system is not allowed here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_a_run_that_goes_on_when_there_is_room(small_disk: Path) -> None:
    directory = store_in(small_disk).create(run_of(FILLING))
    code, said = work(directory)
    assert code == EXIT_CANNOT_WRITE
    assert said.count("error:") == 1
    assert "No space left on device" in said
    assert str(directory / "large.bin") in said
    assert "Traceback" not in said
    found = read_record(directory)
    assert found is not None
    assert found.state == INTERRUPTED
    assert metrics(directory) == expected(7, 2)
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert work(directory)[0] == 0
    assert metrics(directory) == expected(12, 2)


def test_a_disk_without_a_single_free_byte_loses_nothing(small_disk: Path) -> None:
    directory = store_in(small_disk).create(run_of(CountingRun(steps=12, seed=2)))
    with (small_disk / "ballast").open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"x" * 4096)
        except OSError:
            pass
    code, said = work(directory)
    assert (code, said.count("error:")) == (EXIT_CANNOT_WRITE, 1)
    found = read_record(directory)
    assert found is not None
    assert (found.state, found.result) != (DONE, None)
    (small_disk / "ballast").unlink()
    assert work(directory)[0] == 0
    assert metrics(directory) == expected(12, 2)


def test_a_file_size_limit_reads_like_a_full_disk(tmp_path: Path) -> None:
    directory = store_in(tmp_path).create(run_of(FILLING))
    worker = subprocess.run(
        [sys.executable, "-m", "harness.launch.worker", str(directory)],
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )
    assert worker.returncode == EXIT_CANNOT_WRITE
    assert "File too large" in worker.stderr
    assert not list(directory.glob(".*"))
    assert work(directory)[0] == 0
    assert metrics(directory) == expected(12, 2)


def test_a_read_only_disk_is_one_message(small_disk: Path) -> None:
    directory = store_in(small_disk).create(run_of(CountingRun(steps=4)))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, said = work(directory)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert (code, said.count("error:")) == (EXIT_CANNOT_WRITE, 1)
    assert "Read-only file system" in said
    assert work(directory)[0] == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_locked_folder_is_one_message(tmp_path: Path) -> None:
    directory = store_in(tmp_path).create(run_of(CountingRun(steps=4)))
    directory.chmod(0o555)
    code, said = work(directory)
    directory.chmod(0o755)
    assert (code, said.count("error:")) == (EXIT_CANNOT_WRITE, 1)
    assert "Permission denied" in said
    assert work(directory)[0] == 0


def test_harness_run_ends_with_that_message(small_disk: Path, counting_table: str) -> None:
    """The whole command, on a disk that is full or locked."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = harness("run", counting_table, HARNESS_RESULTS=str(small_disk / "results"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write")
    assert done.stderr.count("\n") == 1
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    done = harness("run", counting_table, HARNESS_RESULTS=str(small_disk / "results"))
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write")
    assert done.stderr.count("\n") == 1
    ballast.unlink()
    assert (
        harness("run", counting_table, HARNESS_RESULTS=str(small_disk / "results")).returncode == 0
    )
