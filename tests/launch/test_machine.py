"""Commands that compute share the machine; one that times has it alone."""

from __future__ import annotations

from pathlib import Path

from harness.launch.machine import Machine


def test_many_compute_at_once_but_nobody_times_meanwhile(tmp_path: Path) -> None:
    first, second, timing = (Machine(tmp_path / "lock") for _ in range(3))
    assert first.share()
    assert second.share()
    assert not timing.alone()
    first.leave()
    assert not timing.alone()
    second.close()
    assert timing.alone()


def test_nobody_computes_while_one_times(tmp_path: Path) -> None:
    timing, other = Machine(tmp_path / "lock"), Machine(tmp_path / "lock")
    assert timing.alone()
    assert not other.share()
    assert not other.alone()
    timing.leave()
    assert other.share()
