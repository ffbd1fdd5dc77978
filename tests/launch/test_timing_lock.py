"""Commands that compute share the machine; one that times has it alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.launch.timing_lock import TimingLock


def test_many_compute_at_once_but_nobody_times_meanwhile(tmp_path: Path) -> None:
    first, second, timing = (TimingLock(tmp_path / "lock") for _ in range(3))
    assert first.acquire_shared()
    assert second.acquire_shared()
    assert not timing.acquire_exclusive()
    first.release()
    assert not timing.acquire_exclusive()
    second.close()
    assert timing.acquire_exclusive()


def test_nobody_computes_while_one_times(tmp_path: Path) -> None:
    timing, other = TimingLock(tmp_path / "lock"), TimingLock(tmp_path / "lock")
    assert timing.acquire_exclusive()
    assert not other.acquire_shared()
    assert not other.acquire_exclusive()
    timing.release()
    assert other.acquire_shared()


def test_the_lock_follows_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_LOCKS", str(tmp_path))
    (tmp_path / f"harness-{os.getuid()}.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HarnessError, match=r"lock .* cannot be opened: it is a link; remove it"):
        TimingLock()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: os.mkfifo(path)])
def test_the_lock_is_a_file(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_LOCKS", str(tmp_path))
    make(tmp_path / f"harness-{os.getuid()}.lock")
    with pytest.raises(HarnessError, match=r"remove it, or set HARNESS_LOCKS"):
        TimingLock()


def test_the_folder_of_locks_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_LOCKS", str(tmp_path / "new" / "locks"))
    TimingLock().close()
    assert (tmp_path / "new" / "locks" / f"harness-{os.getuid()}.lock").is_file()
    monkeypatch.setenv("HARNESS_LOCKS", "/proc/new")
    with pytest.raises(HarnessError, match=r"^\$HARNESS_LOCKS is /proc/new, which cannot be made"):
        TimingLock()


def test_without_a_name_the_lock_is_in_a_folder_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARNESS_LOCKS")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    TimingLock().close()
    name = f"harness-{os.getuid()}"
    assert (tmp_path / name / f"{name}.lock").is_file()
