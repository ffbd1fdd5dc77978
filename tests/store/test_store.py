"""Run directories: made whole, found by identity, read back even when damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.store import DONE, FAILED, INTERRUPTED, PLANNED, RUNNING, claim
from tests.launch.counting import CountingRun
from tests.launch.processes import LAST_RESORT, environment, run_of, store_in
from tests.store.conftest import Own

RUN = run_of(CountingRun(steps=3, seed=7))

CREATE = """
from pathlib import Path
import sys
from tests.launch.counting import CountingRun
from tests.launch.processes import run_of, store_in
for seed in range(30):
    print(store_in(Path(sys.argv[1])).create(run_of(CountingRun(steps=3, seed=seed))).name)
"""


def test_who_has_just_begun_is_named_before_its_state_is_written(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    lease = claim(store.create(RUN))
    assert lease is not None
    (record,) = store.records()
    assert (record.state, record.attempt, record.pid) == (RUNNING, 1, os.getpid())
    assert record.host == os.uname().nodename
    lease.release(INTERRUPTED)


def test_a_run_directory_tells_what_is_computed_in_it(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    directory = store.create(RUN)
    assert directory == tmp_path / "results" / "runs" / RUN.name
    assert store.create(RUN) == directory
    written = json.loads((directory / "run.json").read_text(encoding="utf-8"))
    assert written["config"]["steps"] == 3
    assert written["identity"] == RUN.identity
    record = store.record(RUN.identity)
    assert record is not None
    assert (record.task, record.plain, record.title) == ("counting", RUN.plain, RUN.title)
    assert (record.state, record.attempt, record.result) == (PLANNED, 0, None)
    assert store.records() == [record]


def test_an_empty_store_has_no_runs_and_is_not_made_by_looking(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert (store.record(RUN.identity), store.records()) == (None, [])
    assert os.listdir(tmp_path) == []


def test_processes_that_make_the_same_directories_agree(tmp_path: Path) -> None:
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, str(tmp_path)],
            env=environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = {maker.communicate(timeout=LAST_RESORT)[0] for maker in makers}
    assert [maker.returncode for maker in makers] == [0, 0, 0]
    assert len(said) == 1
    assert len(os.listdir(tmp_path / "results" / "runs")) == 30
    assert all(record.state == PLANNED for record in store_in(tmp_path).records())


def test_states_follow_the_attempts(tmp_path: Path, own: Own) -> None:
    store = store_in(tmp_path)
    directory = store.create(RUN)

    def state() -> tuple[str, int]:
        record = store.record(RUN.identity)
        assert record is not None
        return record.state, record.attempt

    writer = own(directory)
    assert state() == (RUNNING, 1)
    writer.state(RUNNING)
    assert state() == (RUNNING, 1)
    os.utime(directory / "attempts" / "0001.json", (1, 1))  # no heartbeat any more
    assert state() == (INTERRUPTED, 1)
    writer = own(directory)
    writer.state(FAILED, error="the loss is nan")
    writer.lease.release(FAILED)
    assert state() == (FAILED, 2)
    writer = own(directory)
    writer.finish({"count/value": 5.0}, device="cpu")
    assert state() == (DONE, 3)
    (directory / "state.json").unlink()  # died before it could say so
    assert state() == (DONE, 3)


def test_seconds_add_up_over_attempts(tmp_path: Path, own: Own) -> None:
    store = store_in(tmp_path)
    directory = store.create(RUN)
    begun = time.monotonic()
    own(directory).state(RUNNING)
    state = json.loads((directory / "state.json").read_text(encoding="utf-8"))
    (directory / "state.json").write_text(json.dumps({**state, "seconds": 100.0}))
    own(directory).finish({}, device="cpu")
    record = store.record(RUN.identity)
    assert record is not None
    assert 100 <= record.seconds <= 100 + time.monotonic() - begun


@pytest.mark.parametrize("text", ["", '{"schema": 1, "iden', "[]", '{"schema": 99}', "null"])
def test_a_damaged_run_json_is_reported_and_refused(tmp_path: Path, text: str) -> None:
    store = store_in(tmp_path)
    directory = store.create(RUN)
    (directory / "run.json").write_text(text, encoding="utf-8")
    record = store.record(RUN.identity)
    assert record is not None
    assert (record.state, record.broken) == (FAILED, True)
    assert record.error is not None
    assert str(directory) in record.error
    with pytest.raises(HarnessError, match="remove the folder"):
        store.create(RUN)


@pytest.mark.parametrize("text", ["", '{"state": "runn', "[]", '{"state": "nonsense"}'])
def test_a_damaged_state_json_is_made_up_from_the_attempts(tmp_path: Path, text: str) -> None:
    store = store_in(tmp_path)
    directory = store.create(RUN)
    lease = claim(directory)
    assert lease is not None
    lease.release(INTERRUPTED)
    (directory / "state.json").write_text(text, encoding="utf-8")
    record = store.record(RUN.identity)
    assert record is not None
    assert (record.state, record.attempt) == (INTERRUPTED, 1)


@pytest.mark.parametrize("text", ["", '{"metrics": {"a": 1', '{"metrics": {"a": "x"}}', "[]"])
def test_a_damaged_result_is_no_result(tmp_path: Path, text: str) -> None:
    store = store_in(tmp_path)
    directory = store.create(RUN)
    (directory / "result.json").write_text(text, encoding="utf-8")
    record = store.record(RUN.identity)
    assert record is not None
    assert (record.state, record.result, record.broken) == (FAILED, None, False)


def test_runs_whose_short_hashes_agree_are_told_apart(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    twin = replace(RUN, identity=RUN.identity[:8] + "0" * 56, name=f"twin-{RUN.identity[:8]}")
    store.create(RUN)
    store.create(twin)
    for run in (RUN, twin):
        record = store.record(run.identity)
        assert record is not None
        assert record.directory.name == run.name


def test_a_directory_made_elsewhere_meanwhile_is_seen(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.create(RUN)
    assert store.record(RUN.identity) is not None
    other = run_of(CountingRun(steps=3, seed=8))
    assert store.record(other.identity) is None
    store_in(tmp_path).create(other)
    assert store.record(other.identity) is not None
