"""What is shown while runs are computed."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness import device
from harness.launch import progress
from harness.launch.progress import Active, Display, Snapshot, duration
from harness.store import Progress
from harness.text import as_typed

SNAPSHOT = Snapshot(
    total=9,
    done=4,
    failed=1,
    blocked=0,
    active=[
        Active(
            name="logit-s0",
            progress=Progress(done=30, total=120, unit="step"),
            eta=95.0,
            latest="Top-1 61.5 %",
        ),
        Active(name="none-s1", elsewhere=True),
    ],
    left=3660.0,
)


class Terminal(io.StringIO):
    """Takes what is written for a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3600, "1 h 00 min"),
        (2 * 86400, "2 d 0 h"),
    ],
)
def test_times_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_log_gets_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    display = Display(stream)
    assert not display.due()
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    assert display.due()
    display.update(SNAPSHOT)
    display.say("done    logit-s0")
    display.close()
    assert stream.getvalue() == (
        "4 of 9 runs done, 1 failed, about 1 h 01 min left; logit-s0 25% (Top-1 61.5 %); none-s1\n"
        "done    logit-s0\n"
    )


def test_a_terminal_gets_a_block_that_is_drawn_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    display = Display(stream)
    display.update(SNAPSHOT)
    block = stream.getvalue()
    assert block.splitlines() == [
        "4 of 9 runs done, 1 failed, about 1 h 01 min left",
        "  [#####               ]  25% logit-s0  step 30/120  Top-1 61.5 %  1 min 35 s left",
        "  none-s1  ...  (another harness run)",
    ]
    display.update(SNAPSHOT)
    assert stream.getvalue() == block + "\x1b[3F\x1b[J" + block
    display.say("done    none-s1")
    display.close()
    erase = "\x1b[3F\x1b[J"
    assert stream.getvalue() == block + erase + block + erase + "done    none-s1\n"


def test_a_run_that_says_it_is_past_its_end_fills_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    far = Progress(done=10**300, total=1, unit="step")
    active = replace(SNAPSHOT.active[0], progress=far)
    Display(stream).update(replace(SNAPSHOT, active=[active]))
    assert f"[{'#' * 20}]" in stream.getvalue()


def test_lines_are_cut_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    Display(stream).update(SNAPSHOT)
    assert max(len(line) for line in stream.getvalue().splitlines()) == 39


def test_what_went_wrong_goes_to_stderr_below_no_half_drawn_block(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = Terminal()
    display = Display(stream)
    display.update(SNAPSHOT)
    display.warn("failed  none-s1: the loss is nan")
    assert stream.getvalue().endswith("\x1b[3F\x1b[J")
    assert capsys.readouterr().err == "failed  none-s1: the loss is nan\n"


def test_a_closed_terminal_does_not_stop_the_runs() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    display = Display(Closed())
    display.say("done")
    display.update(SNAPSHOT)


def test_devices_are_found_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setattr(device, "DRIVERS", ("/dev/null",))
    assert device.visible_gpus() == ["2", "3"]
    assert device.resolve_device("auto") == "cuda"
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert device.resolve_device("auto") == "cpu"
    assert device.resolve_device("cuda:1") == "cuda"
    assert device.resolve_device("cpu") == "cpu"


def test_jobs_fill_the_cores_or_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cores", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert device.default_jobs("cpu", 1) == 8
    assert device.default_jobs("cpu", 3) == 2
    assert device.default_jobs("cpu", 16) == 1
    assert device.default_jobs("cuda", 1) == 2


@pytest.mark.parametrize(
    ("given", "visible"),
    [
        ("0,-1,1", ["0"]),  # as CUDA reads it: up to the first that is none
        ("0,0", []),
        ("abc", []),
        (" 1 , 2 ", ["1", "2"]),
        ("GPU-8932f937,MIG-1", ["GPU-8932f937", "MIG-1"]),
        ("0,none,1", ["0"]),
    ],
)
def test_odd_values_of_visible_devices(
    given: str, visible: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert device.visible_gpus() == visible


def test_a_login_shell_may_name_gpus_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(device, "DRIVERS", ("/dev/no-such-driver",))
    assert device.resolve_device("auto") == "cpu"


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/box", {"box/cpu.max": "150000 100000"}, 1),
        ("0::/box", {"box/cpu.max": "max 100000", "cpu.max": "max 100000"}, 8),
        ("0::/box/in", {"box/cpu.max": "300000 100000", "box/in/cpu.max": "max 100000"}, 3),
        ("0::/box", {"box/cpu.max": "5000 100000"}, 1),
        (
            "4:cpu,cpuacct:/box",
            {
                "cpu,cpuacct/box/cpu.cfs_quota_us": "400000",
                "cpu,cpuacct/box/cpu.cfs_period_us": "100000",
            },
            4,
        ),
        (
            "4:cpu:/box",
            {"cpu/box/cpu.cfs_quota_us": "-1", "cpu/box/cpu.cfs_period_us": "100000"},
            8,
        ),
        ("nonsense", {}, 8),
        ("0::/../../box", {}, 8),
    ],
)
def test_cores_are_those_that_a_container_is_given(
    own: str,
    files: dict[str, str],
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(device, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(device, "OWN_CGROUPS", tmp_path / "own")
    (tmp_path / "own").write_text(own + "\n", encoding="ascii")
    for name, text in files.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="ascii")
    assert device.cores() == expected


def test_more_threads_than_cores_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cores", lambda: 2)
    assert device.crowded("cpu", 2, jobs=1) == device.crowded("cpu", 1, jobs=2) == ""
    assert device.crowded("cuda", 8, jobs=8) == ""
    assert device.crowded("cpu", 4, jobs=2).endswith("down; jobs=1, threads=2 is faster")
    with as_typed():
        assert device.crowded("cpu", 2, jobs=2) == (
            "2 runs at once with 2 threads each want 4 cores, and there are 2: "
            "they slow each other down; --jobs 1 is faster"
        )
        assert device.crowded("cpu", 1, jobs=1, processes=64) == (
            "1 run at once with 64 processes of 1 thread each want 64 cores, and there are 2: "
            "they slow each other down; --processes 2 is faster"
        )
        assert device.crowded("cpu", 4, jobs=1).endswith("down; --threads 2 is faster")
        assert device.crowded("cpu", 4, jobs=2).endswith("down; --jobs 1 --threads 2 is faster")
