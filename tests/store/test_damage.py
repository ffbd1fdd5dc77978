"""Run directories that are damaged in every way: told, and no other run suffers."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.store import DONE, FAILED, RUNNING, Store, claim, read_record
from tests.launch.counting import CountingRun
from tests.launch.processes import harness, run_of, store_in
from tests.store.conftest import Own

RUN = run_of(CountingRun(steps=3, seed=7))
DAMAGED = 230
ALL = "HARNESS_TEST_KILLS" in os.environ
"""Every command for every damage; takes a minute."""
FILES = ("run.json", "state.json", "result.json", "environment.json", "job.json", "metrics.jsonl")
FILES = (*FILES, "attempts/0001.json", "attention.json")
VALUES = (None, True, -1, 0.5, 1e999, float("nan"), 10**400, "", "text", "\ud800", [], {}, [[]])
VALUES = (*VALUES, {"a": {}}, [1, "x", None], "2020-13-99", 10**18, -(10**18), "9" * 5000)


def whole(folder: Path, own: Own) -> Path:
    """A finished run with every file there is."""
    directory = store_in(folder).create(RUN)
    writer = own(directory)
    writer.metric({"step": 1, "epoch": 1.0, "loss/total": 1.0, "kept": [0.5, 0.5]})
    writer.environment({"commit": "a" * 40, "packages": {"torch": "2"}, "gpus": ["A"]})
    writer.state(RUNNING)
    writer.finish({"count/value": 5.0, "val/top1": 50.0}, device="cpu")
    writer.lease.release(DONE)
    (directory / "job.json").write_text(json.dumps({"submission": "a", "index": 0, "job": "1"}))
    (directory / "attention.json").write_text(json.dumps({"grid": [2, 2], "pictures": []}))
    return directory


def truncated(content: bytes, rng: random.Random) -> bytes:
    """Without its end."""
    return content[: rng.randrange(len(content))]


def flipped(content: bytes, rng: random.Random) -> bytes:
    """With some bytes changed to anything."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def retyped(content: bytes, rng: random.Random) -> bytes:
    """One value, somewhere, of another type."""
    value = json.loads(content.splitlines()[0] if content.startswith(b'{"step') else content)
    places: list[tuple[Any, Any]] = []

    def visit(parent: Any) -> None:
        keys = parent.keys() if isinstance(parent, dict) else range(len(parent))
        for key in keys:
            places.append((parent, key))
            if isinstance(parent[key], dict | list):
                visit(parent[key])

    visit(value)
    parent, key = rng.choice(places)
    parent[key] = rng.choice(VALUES)
    return json.dumps(value).encode()


def another(_: bytes, rng: random.Random) -> bytes:
    """Something else entirely."""
    texts = (b"", b"5", b"null", b"[]", b'"x"', b"\xff\xfe", b"{" * 5000, b"[" * 100_000, b"NaN")
    return rng.choice((*texts, b'{"schema": 99}', b'{"schema": "1"}', b"\x00" * 50))


Change = Callable[[bytes, random.Random], bytes]
CHANGES: tuple[Change, ...] = (truncated, flipped, retyped, retyped, retyped, another)


def damage(directory: Path, rng: random.Random) -> str:
    """Damage one file of a run directory, which one and how by chance."""
    path = directory / rng.choice(FILES)
    change = rng.choice(CHANGES)
    try:
        path.write_bytes(change(path.read_bytes(), rng))
    except (ValueError, LookupError, TypeError, FileNotFoundError):
        path.write_bytes(another(b"", rng))
    return f"{path.name}: {path.read_bytes()[:200]!r}"


@pytest.fixture
def finished_table(counting_table: str) -> str:
    """The table with every run done, once."""
    assert harness("run", counting_table, "--tasks", "counting").returncode == 0
    return counting_table


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and output of a command in this process."""
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def copy_back(kept: dict[Path, bytes], directory: Path) -> None:
    """The files of a run directory as they were."""
    for path in directory.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
    for path, content in kept.items():
        path.write_bytes(content)


def test_damaged_run_directories_take_nobody_down(
    finished_table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each of many damages, in a run of four: `status`, `plan` and the reports' model speak of the
    other three as before.
    """
    rng = random.Random(5)
    records = Store().records()
    victim, others = records[0].directory, records[1:]
    (victim / "job.json").write_text(json.dumps({"submission": "a", "index": 0, "job": "1"}))
    (victim / "attention.json").write_text(json.dumps({"grid": [2, 2], "pictures": []}))
    kept = {path: path.read_bytes() for path in victim.rglob("*") if path.is_file()}
    for number in range(DAMAGED):
        copy_back(kept, victim)
        what = damage(victim, rng)
        survey = Store().survey()
        assert [one for one in survey.records if one.directory != victim] == others, what
        commands = [("status", "--json"), ("status",), ("plan", finished_table)]
        commands += [("plan", finished_table, "--json")]
        if ALL or number % 40 == 0:
            commands += [("report", finished_table, "--format", "csv"), ("list",)]
            commands += [("claims",), ("diff", finished_table)]
        if not ALL and number % 5:
            continue
        for words in commands:
            code, said = told(capsys, *words)
            assert code in (0, 1), what
            if "--json" in words:
                json.loads(said, parse_constant=pytest.fail)
            said.encode()


@pytest.mark.parametrize(
    ("metrics", "name"),
    [
        ('{"val/top1": NaN}', "val/top1 is nan"),
        ('{"val/top1": Infinity}', "val/top1 is inf"),
        ('{"val/top1": 1e999}', "val/top1 is inf"),
        ('{"val/top1": 1e9}', "val/top1 is 1e"),
        ('{"val/top1": -0.5}', "val/top1 is -0.5"),
        ('{"val/top1": 100.5}', "val/top1 is 100.5"),
        ('{"val/top1": "90.5"}', "val/top1 is '90.5'"),
        ('{"val/top1": null}', "val/top1 is None"),
        ('{"val/top1": true}', "val/top1 is True"),
        ('{"val/top1": [90.5]}', "val/top1 is [90.5]"),
        ('{"count/value": 1' + "0" * 400 + "}", "count/value is 1000"),
        ('{"val/knn20_top1": 101}', "val/knn20_top1 is 101"),
        ("5", "metrics must be an object"),
    ],
)
def test_what_is_no_number_is_damage_with_its_name(
    tmp_path: Path, own: Own, metrics: str, name: str
) -> None:
    directory = whole(tmp_path, own)
    (directory / "job.json").unlink()
    text = '{"metrics": %s, "seconds": 1, "attempt": 1, "finished": "", "device": "cpu"}'
    (directory / "result.json").write_text(text % metrics)
    record = read_record(directory)
    assert record is not None
    assert (record.state, record.result) == (FAILED, None)
    assert record.error is not None
    assert record.error.startswith(f"result.json is damaged ({name}")
    assert json.dumps(record.error).isascii()


def test_numbers_that_are_none_are_never_written(tmp_path: Path, own: Own) -> None:
    from harness.errors import RunFailed

    writer = own(store_in(tmp_path).create(RUN))
    with pytest.raises(RunFailed, match="val/top1 is nan"):
        writer.finish({"val/top1": float("nan")}, device="cpu")
    assert not (writer.directory / "result.json").exists()


def test_a_damaged_result_is_kept_beside_the_new_one(tmp_path: Path, own: Own) -> None:
    directory = store_in(tmp_path).create(RUN)
    (directory / "result.json").write_text('{"metrics": {"val/top1": 8')
    own(directory).finish({"val/top1": 81.5}, device="cpu")
    assert (directory / "result.damaged.1.json").read_text() == '{"metrics": {"val/top1": 8'
    record = read_record(directory)
    assert record is not None
    assert record.result == {"val/top1": 81.5}


def test_copies_of_run_directories_are_not_counted(
    finished_table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    records = Store().records()
    first = records[0].directory
    names = (f"{first.name}.bak", f"{first.name} (copy)", f"copy-of-{first.name}")
    for name in names:
        shutil.copytree(first, first.with_name(name))
    assert Store().records() == records
    assert Store().survey().copies == tuple(sorted(names))
    code, said = told(capsys, "status")
    assert code == 0
    (line,) = [line for line in said.splitlines() if line.startswith("copies of run")]
    assert all(name in line for name in names)
    found = Store().record(records[0].identity)
    assert found == records[0]


def test_clocks(tmp_path: Path, own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader's clock may be wrong; a heartbeat from the future is none."""
    import time

    store = store_in(tmp_path)
    directory = store.create(RUN)
    own(directory).state(RUNNING)
    real = time.time

    def state() -> str:
        record = store.record(RUN.identity)
        assert record is not None
        return record.state

    for ahead in (300.0, -300.0, 86_400.0):
        monkeypatch.setattr(time, "time", lambda ahead=ahead: real() + ahead)
        assert state() == RUNNING
        assert claim(directory) is None
    monkeypatch.undo()
    beat = directory / "attempts" / "0001.json"
    os.utime(beat, (real() + 1e6,) * 2)
    assert state() == "interrupted"
    assert claim(directory) is not None


def test_looking_changes_nothing(tmp_path: Path, own: Own) -> None:
    store = store_in(tmp_path)
    directory = store.create(RUN)
    own(directory).state(RUNNING)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert store.records()[0].state == RUNNING
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
